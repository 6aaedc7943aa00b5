//! One watch stream of one side: requests in, every response kept in order.
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bramble_proto::etcdserverpb as pb;
use bramble_proto::etcdserverpb::watch_request::RequestUnion;
use bramble_tests::wire::Wire;
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::ReceiverStream;

use crate::call::Asker;
use crate::side::Side;
use crate::words::Refused;

/// What has arrived so far.
#[derive(Debug, Default)]
struct Arrived {
    responses: Vec<pb::WatchResponse>,
    /// How the stream ended, once it has.
    ended: Option<Result<(), Refused>>,
}

/// See the module. Dropping it closes the stream.
pub struct Feed {
    requests: mpsc::Sender<pb::WatchRequest>,
    arrived: Arc<Mutex<Arrived>>,
    news: Arc<Notify>,
    reader: tokio::task::JoinHandle<()>,
}

impl Feed {
    /// Opens a stream. A server may answer nothing, not even headers, before the first request.
    pub fn open(side: &Side, asker: &Asker) -> Feed {
        let (requests, outgoing) = mpsc::channel(64);
        let arrived = Arc::new(Mutex::new(Arrived::default()));
        let news = Arc::new(Notify::new());
        let outgoing = side.grpc(asker, ReceiverStream::new(outgoing));
        let reader = tokio::spawn(read(side.wire.clone(), outgoing, arrived.clone(), news.clone()));
        Feed { requests, arrived, news, reader }
    }

    /// Sends one request; `None` is a message with nothing set.
    pub async fn send(&self, union: Option<RequestUnion>) {
        self.requests.send(pb::WatchRequest { request_union: union }).await.ok();
    }

    /// Everything from position `from` on.
    pub fn since(&self, from: usize) -> Vec<pb::WatchResponse> {
        self.arrived.lock().expect("no reader panics").responses[from..].to_vec()
    }

    /// How many responses have arrived.
    pub fn len(&self) -> usize {
        self.arrived.lock().expect("no reader panics").responses.len()
    }

    /// How the stream ended, if it has.
    pub fn ended(&self) -> Option<Result<(), Refused>> {
        self.arrived.lock().expect("no reader panics").ended.clone()
    }

    /// Waits until the responses from `from` on satisfy `enough`; false when time is up.
    pub async fn wait(
        &self,
        from: usize,
        within: Duration,
        enough: impl Fn(&[pb::WatchResponse]) -> bool,
    ) -> bool {
        let deadline = Instant::now() + within;
        loop {
            let news = self.news.notified();
            {
                let arrived = self.arrived.lock().expect("no reader panics");
                if enough(&arrived.responses[from..]) {
                    return true;
                }
                if arrived.ended.is_some() {
                    return false;
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || tokio::time::timeout(left, news).await.is_err() {
                return false;
            }
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

async fn read(
    wire: Wire,
    outgoing: tonic::Request<ReceiverStream<pb::WatchRequest>>,
    arrived: Arc<Mutex<Arrived>>,
    news: Arc<Notify>,
) {
    let end = match wire.watch().watch(outgoing).await {
        Err(status) => Err(status.into()),
        Ok(answer) => {
            let mut responses = answer.into_inner();
            loop {
                match responses.message().await {
                    Ok(Some(response)) => {
                        arrived.lock().expect("no user panics").responses.push(response);
                        news.notify_waiters();
                    }
                    Ok(None) => break Ok(()),
                    Err(status) => break Err(status.into()),
                }
            }
        }
    };
    arrived.lock().expect("no user panics").ended = Some(end);
    news.notify_waiters();
}
