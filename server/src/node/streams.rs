//! A watch stream as its reader holds it.
use std::sync::Arc;

use bramble_store::auth::Need;
use bramble_store::types::RangeEnd;
use bramble_store::watch::StreamId;
use bytes::Bytes;

use super::answers::{Caller, Header, WatchCreate, WatchResponse};
use super::budget::{Kind, Place, watch_cost};
use super::core::Core;
use super::error::{Error, NotNow, Refusal};
use super::outbox::Outbox;
use super::pump::Ask;

const TOO_MANY: &str = "etcdserver: too many requests";
// Whole statuses as text, unlike every other error of etcd's.
const INVALID_TOKEN: &str = "rpc error: code = Unauthenticated desc = etcdserver: invalid auth token";
const USER_EMPTY: &str = "rpc error: code = InvalidArgument desc = etcdserver: user name is empty";
const REVISION_OLD: &str =
    "rpc error: code = InvalidArgument desc = etcdserver: revision of auth store is old";
const PERMISSION_DENIED: &str = "rpc error: code = PermissionDenied desc = etcdserver: permission denied";

/// One watch stream: many watchers, one ordered sequence of responses.
pub struct WatchStream {
    requests: WatchRequests,
    responses: WatchResponses,
}

/// The asking half.
#[derive(Clone)]
pub struct WatchRequests {
    core: Arc<Core>,
    caller: Caller,
    stream: StreamId,
    outbox: Arc<Outbox>,
    place: Arc<Place>,
}

/// The answering half. Dropping it ends the stream and its watchers.
pub struct WatchResponses {
    core: Arc<Core>,
    stream: StreamId,
    outbox: Arc<Outbox>,
}

impl WatchStream {
    pub(super) fn open(
        core: &Arc<Core>,
        caller: &Caller,
        stream: StreamId,
        place: Arc<Place>,
    ) -> Result<WatchStream, NotNow> {
        let outbox = Arc::new(Outbox::new(core.backlog.clone()));
        if !core.pump.ask(Ask::Open(stream, outbox.clone(), place.clone())) {
            return Err(NotNow::Stopped);
        }
        let caller = caller.clone();
        Ok(WatchStream {
            requests: WatchRequests { core: core.clone(), caller, stream, outbox: outbox.clone(), place },
            responses: WatchResponses { core: core.clone(), stream, outbox },
        })
    }

    /// Asks for a watcher; the answer comes through `next`, in order. It is a refusal when there are too
    /// many watchers already.
    ///
    /// # Errors
    /// `NotNow::Stopped`.
    pub async fn create(&self, create: WatchCreate) -> Result<(), Error> {
        self.requests.create(create).await
    }

    /// Cancels a watcher; an unknown id is ignored.
    ///
    /// # Errors
    /// `NotNow::Stopped`.
    pub async fn cancel(&self, watch_id: i64) -> Result<(), Error> {
        self.requests.cancel(watch_id).await
    }

    /// Asks for a progress mark of the whole stream; dropped unless every watcher is synced.
    ///
    /// # Errors
    /// `NotNow::Stopped`.
    pub async fn progress(&self) -> Result<(), Error> {
        self.requests.progress().await
    }

    /// The next response. `None` when the node stops.
    pub async fn next(&mut self) -> Option<Result<WatchResponse, Error>> {
        self.responses.next().await
    }

    /// Splits into the asking and the answering half, for a gRPC stream's two directions.
    pub fn split(self) -> (WatchRequests, WatchResponses) {
        (self.requests, self.responses)
    }
}

impl WatchRequests {
    /// See [`WatchStream::create`].
    ///
    /// # Errors
    /// As there.
    pub async fn create(&self, mut create: WatchCreate) -> Result<(), Error> {
        if let Some(reason) = self.refusal(&create).await? {
            return self.ask(Ask::Refuse(self.stream, reason)).await;
        }
        // A key may be a slice of a much larger buffer, and a watcher may live long.
        let mut key_bytes = own(&mut create.range.start);
        if let RangeEnd::Before(end) = &mut create.range.end {
            key_bytes += own(end);
        }
        // Counted before it waits in the pump's inbox, as its keys take memory there, too.
        let cost = watch_cost(key_bytes);
        if self.place.take(Kind::Watches, cost) {
            return self.ask(Ask::Create(self.stream, create, cost)).await;
        }
        self.place.count_refusal(Kind::Watches);
        self.ask(Ask::Refuse(self.stream, TOO_MANY)).await
    }

    /// Why the caller may not have the watcher, in etcd's words. It is asked once: a running watcher
    /// outlives the permission, as in etcd.
    async fn refusal(&self, create: &WatchCreate) -> Result<Option<&'static str>, Error> {
        // Refused for that first.
        if create.start_revision < 0 {
            return Ok(None);
        }
        let mut range = create.range.clone();
        if range.start.is_empty() {
            range.start = Bytes::from_static(b"\0");
        }
        let seen = self.core.seen(&self.caller).await;
        match seen.and_then(|seen| self.core.permit(&seen, &[Need::Read(range)])) {
            Ok(()) => Ok(None),
            Err(Error::NotNow(NotNow::InvalidToken)) => Ok(Some(INVALID_TOKEN)),
            Err(Error::Refused(Refusal::UserEmpty)) => Ok(Some(USER_EMPTY)),
            Err(Error::Refused(Refusal::AuthRevisionOld)) => Ok(Some(REVISION_OLD)),
            Err(Error::Refused(_)) => Ok(Some(PERMISSION_DENIED)),
            Err(other) => Err(other),
        }
    }

    /// See [`WatchStream::cancel`].
    ///
    /// # Errors
    /// As there.
    pub async fn cancel(&self, watch_id: i64) -> Result<(), Error> {
        self.ask(Ask::Cancel(self.stream, watch_id)).await
    }

    /// See [`WatchStream::progress`].
    ///
    /// # Errors
    /// As there.
    pub async fn progress(&self) -> Result<(), Error> {
        self.ask(Ask::Progress(self.stream)).await
    }

    async fn ask(&self, ask: Ask) -> Result<(), Error> {
        match self.outbox.may_ask().await && self.core.pump.ask(ask) {
            true => Ok(()),
            false => Err(NotNow::Stopped.into()),
        }
    }
}

/// Makes the bytes a copy of their own; how many they are.
fn own(bytes: &mut Bytes) -> usize {
    *bytes = Bytes::copy_from_slice(bytes);
    bytes.len()
}

impl WatchResponses {
    /// See [`WatchStream::next`].
    pub async fn next(&mut self) -> Option<Result<WatchResponse, Error>> {
        let (mut response, room) = self.outbox.next().await?;
        if room {
            self.core.pump.ask(Ask::Room(self.stream));
        }
        self.core.metrics.events.inc_by(response.events.len() as u64);
        let Header { revision, .. } = response.header;
        response.header = self.core.header(revision);
        Some(Ok(response))
    }
}

impl Drop for WatchResponses {
    fn drop(&mut self) {
        self.core.pump.ask(Ask::Close(self.stream));
    }
}
