//! A watch stream as its reader holds it.
use std::sync::Arc;

use bramble_store::watch::StreamId;

use super::answers::{Header, WatchCreate, WatchResponse};
use super::core::Core;
use super::error::{Error, NotNow};
use super::pump::Ask;
use super::sessions::Outbox;

/// One watch stream: many watchers, one ordered sequence of responses.
pub struct WatchStream {
    requests: WatchRequests,
    responses: WatchResponses,
}

/// The asking half.
#[derive(Clone)]
pub struct WatchRequests {
    core: Arc<Core>,
    stream: StreamId,
    outbox: Arc<Outbox>,
}

/// The answering half. Dropping it ends the stream and its watchers.
pub struct WatchResponses {
    core: Arc<Core>,
    stream: StreamId,
    outbox: Arc<Outbox>,
}

impl WatchStream {
    pub(super) fn open(core: &Arc<Core>, stream: StreamId) -> Result<WatchStream, NotNow> {
        let outbox = Arc::new(Outbox::new());
        if !core.pump.ask(Ask::Open(stream, outbox.clone())) {
            return Err(NotNow::Stopped);
        }
        Ok(WatchStream {
            requests: WatchRequests { core: core.clone(), stream, outbox: outbox.clone() },
            responses: WatchResponses { core: core.clone(), stream, outbox },
        })
    }

    /// Asks for a watcher; the answer comes through `next`, in order.
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
    pub async fn create(&self, create: WatchCreate) -> Result<(), Error> {
        self.ask(Ask::Create(self.stream, create)).await
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

impl WatchResponses {
    /// See [`WatchStream::next`].
    pub async fn next(&mut self) -> Option<Result<WatchResponse, Error>> {
        let (mut response, room) = self.outbox.next().await?;
        if room {
            self.core.pump.ask(Ask::Room(self.stream));
        }
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
