//! The requests.
use std::future::Future;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bramble_proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use bramble_proto::etcdserverpb::kv_client::KvClient;
use bramble_proto::etcdserverpb::lease_client::LeaseClient;
use bramble_proto::etcdserverpb::request_op::Request as Op;
use bramble_proto::etcdserverpb::watch_client::WatchClient;
use bramble_proto::etcdserverpb::watch_request::RequestUnion;
use bramble_proto::etcdserverpb::{
    Compare, LeaseGrantRequest, LeaseRevokeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
    WatchCreateRequest, WatchRequest,
};
use bramble_store::disk::sim::Rng;
use bytes::Bytes;
use tokio::sync::watch::Receiver;
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Request, Status};

use super::{Course, Tally};

/// What each request of a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// A put of any key.
    Put,
    /// A linearizable get of any key.
    Get,
    /// A serializable one.
    SerializableGet,
    /// As an API server writes: put it if it is still what was read, else read it again.
    Update,
    /// A page of keys from any on.
    List {
        /** Keys in a page. */
        limit: u32,
    },
    /// A put, while all keys are watched.
    Watch {
        /** How many watch. */
        watchers: u32,
    },
    /// A lease granted and revoked.
    Lease,
}

/// Keys and values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Data {
    /// How many keys, at least one.
    pub keys: u64,
    /// How long a value is, at least 8 bytes where changes are watched.
    pub value_bytes: usize,
    /// How much of a value is noise, in percent; the rest compresses to nothing.
    pub noise_percent: u8,
}

impl Data {
    /// As an API server names them, about 40 bytes.
    pub fn key(&self, number: u64) -> Bytes {
        crate::key(number)
    }

    fn value(&self, rng: &mut Rng) -> Vec<u8> {
        let mut value = vec![b'x'; self.value_bytes];
        let noise = self.value_bytes * usize::from(self.noise_percent.min(100)) / 100;
        for bytes in value[..noise].chunks_mut(8) {
            let number = rng.number().to_le_bytes();
            bytes.copy_from_slice(&number[..bytes.len()]);
        }
        value
    }
}

/// One client's hand.
pub(super) struct Hand {
    kv: KvClient<Channel>,
    lease: LeaseClient<Channel>,
    data: Data,
    rng: Rng,
}

impl Hand {
    pub fn new(channel: Channel, data: Data, seed: u64) -> Hand {
        let kv = KvClient::new(channel.clone()).max_decoding_message_size(usize::MAX);
        Hand { kv, lease: LeaseClient::new(channel), data, rng: Rng::new(seed) }
    }

    /// One request; the bytes of values that it moved.
    pub async fn work(&mut self, work: Work) -> Result<u64, Status> {
        let key = self.rng.below(self.data.keys);
        match work {
            Work::Put | Work::Watch { .. } => self.put(key).await,
            Work::Get => self.get(key, false).await,
            Work::SerializableGet => self.get(key, true).await,
            Work::Update => self.update(key).await,
            Work::List { limit } => self.list(key, limit).await,
            Work::Lease => self.lease().await,
        }
    }

    pub async fn put(&mut self, key: u64) -> Result<u64, Status> {
        let put = self.put_of(key);
        self.kv.put(put).await?;
        Ok(self.data.value_bytes as u64)
    }

    /// The value begins with the time, by which watchers know how late it is.
    fn put_of(&mut self, key: u64) -> PutRequest {
        let mut value = self.data.value(&mut self.rng);
        if let Some(begin) = value.first_chunk_mut() {
            *begin = now_ns().to_le_bytes();
        }
        PutRequest { key: self.data.key(key), value: value.into(), ..PutRequest::default() }
    }

    async fn get(&mut self, key: u64, serializable: bool) -> Result<u64, Status> {
        let get = RangeRequest { key: self.data.key(key), serializable, ..RangeRequest::default() };
        Ok(bytes_of(&self.kv.range(get).await?.into_inner().kvs))
    }

    async fn update(&mut self, key: u64) -> Result<u64, Status> {
        let get = RangeRequest { key: self.data.key(key), ..RangeRequest::default() };
        let found = self.kv.range(get.clone()).await?.into_inner().kvs;
        let mut revision = found.first().map_or(0, |kv| kv.mod_revision);
        loop {
            let is_still = Compare {
                key: self.data.key(key),
                target: CompareTarget::Mod.into(),
                result: CompareResult::Equal.into(),
                target_union: Some(TargetUnion::ModRevision(revision)),
                ..Compare::default()
            };
            let op = |op| RequestOp { request: Some(op) };
            let txn = TxnRequest {
                compare: vec![is_still],
                success: vec![op(Op::RequestPut(self.put_of(key)))],
                failure: vec![op(Op::RequestRange(get.clone()))],
            };
            let answer = self.kv.txn(txn).await?.into_inner();
            if answer.succeeded {
                return Ok(self.data.value_bytes as u64);
            }
            revision = read_again(&answer.responses);
        }
    }

    async fn list(&mut self, from: u64, limit: u32) -> Result<u64, Status> {
        let list = RangeRequest {
            key: self.data.key(from),
            range_end: self.data.key(u64::MAX),
            limit: i64::from(limit),
            ..RangeRequest::default()
        };
        Ok(bytes_of(&self.kv.range(list).await?.into_inner().kvs))
    }

    async fn lease(&mut self) -> Result<u64, Status> {
        let granted = self.lease.lease_grant(LeaseGrantRequest { ttl: 60, id: 0 }).await?.into_inner();
        self.lease.lease_revoke(LeaseRevokeRequest { id: granted.id }).await?;
        Ok(0)
    }
}

fn bytes_of(kvs: &[bramble_proto::mvccpb::KeyValue]) -> u64 {
    kvs.iter().map(|kv| kv.value.len() as u64).sum()
}

fn read_again(responses: &[bramble_proto::etcdserverpb::ResponseOp]) -> i64 {
    use bramble_proto::etcdserverpb::response_op::Response;
    match responses.first().and_then(|response| response.response.as_ref()) {
        Some(Response::ResponseRange(range)) => range.kvs.first().map_or(0, |kv| kv.mod_revision),
        _ => 0,
    }
}

fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64
}

/// Begins to watch all keys; what is returned follows until it is stopped, and counts how late each event was.
pub(super) async fn watch(
    channel: Channel,
    data: &Data,
    times: Course,
    mut stopped: Receiver<()>,
) -> Result<impl Future<Output = Tally> + use<>, Status> {
    let create = WatchCreateRequest {
        key: data.key(0),
        range_end: data.key(u64::MAX),
        ..WatchCreateRequest::default()
    };
    let (ask, asked) = tokio::sync::mpsc::channel(1);
    let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    ask.send(request).await.map_err(|_| Status::internal("a channel that was just made"))?;
    let asked = tokio_stream::wrappers::ReceiverStream::new(asked);
    let mut client = WatchClient::new(channel).max_decoding_message_size(usize::MAX);
    let mut told = client.watch(Request::new(asked)).await?.into_inner();
    told.message().await?;
    Ok(async move {
        let (mut tally, _open) = (Tally::default(), ask);
        loop {
            let message = tokio::select! {
                _ = stopped.changed() => return tally,
                message = told.message() => message,
            };
            match message {
                Ok(Some(response)) => {
                    let now = Instant::now();
                    if now >= times.measured_from && now < times.end {
                        response.events.iter().for_each(|event| late(&mut tally, event));
                    }
                }
                Ok(None) => return tally,
                Err(status) => {
                    tally.failed(status.code());
                    return tally;
                }
            }
        }
    })
}

fn late(tally: &mut Tally, event: &bramble_proto::mvccpb::Event) {
    let Some(kv) = &event.kv else { return };
    let sent = kv.value.first_chunk().map_or(0, |begin| u64::from_le_bytes(*begin));
    tally.answered(Duration::from_nanos(now_ns().saturating_sub(sent)), kv.value.len() as u64);
}
