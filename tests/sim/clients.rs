//! Clients: each does one thing after another, at whichever member is there, and writes down what it was told.
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bramble_server::node::client::{Answer, Caller, Client, Consistency};
use bramble_server::node::error::{Error, NotNow, Refusal};
use bramble_store::disk::sim::Rng;
use bramble_store::types::{
    Compare, CompareResult, CompareTarget, DeleteRequest, KeyRange, LeaseId, Op as TxnOp, PutRequest,
    RangeReply, RangeRequest, TxnRequest,
};
use tokio::time::{sleep, timeout};

use crate::eye::Eye;
use crate::record::{Op, Outcome, Recorder, Reply};
use crate::world::Door;

/// Keys that everybody uses.
const KEYS: u64 = 12;

/// What all clients share.
#[derive(Clone)]
pub struct Desk {
    pub door: Arc<Door>,
    pub eye: Arc<Eye>,
    pub recorder: Recorder,
}

/// One client.
pub struct Person {
    desk: Desk,
    number: usize,
    rng: Rng,
    /// What it writes is never written twice.
    written: u64,
    leases: Vec<LeaseId>,
    /// Milliseconds between two requests, at most.
    pause_ms: u64,
    /// How many of a hundred values are large.
    large_percent: u64,
}

/// All keys, as the wire says it.
pub fn everything() -> KeyRange {
    KeyRange::from_wire("\0".into(), "\0".into())
}

/// A key of those that everybody uses.
pub fn key(rng: &mut Rng) -> String {
    format!("k{:02}", rng.below(KEYS))
}

impl Person {
    pub fn new(desk: Desk, number: usize, seed: u64, (pause_ms, large_percent): (u64, u64)) -> Person {
        let rng = Rng::new(seed.wrapping_mul(31).wrapping_add(number as u64));
        Person { desk, number, rng, written: 0, leases: Vec::new(), pause_ms, large_percent }
    }

    /// Goes on until the world closes its door for good.
    pub async fn live(mut self) {
        while !self.desk.door.closed() {
            sleep(Duration::from_millis(self.rng.below(self.pause_ms) + 1)).await;
            let Some(client) = self.desk.door.client(&mut self.rng) else { continue };
            let op = self.choose();
            let patience = match self.rng.chance(10) {
                true => Duration::from_millis(50 + self.rng.below(3000)),
                false => Duration::from_secs(60),
            };
            ask(&self.desk, self.number, &client, op, patience).await;
        }
    }

    fn choose(&mut self) -> Op {
        let known = self.desk.recorder.history().known;
        match self.rng.below(100) {
            0..40 => Op::Put(self.put()),
            40..50 => Op::Delete(self.delete()),
            50..62 => self.txn(),
            62..78 => self.range(known),
            78..81 => {
                // Who writes much leaves those who read slowly their history.
                let lag = if self.large_percent > 50 { 3000 } else { 150 };
                let revision = (known - self.rng.below(lag) as i64).max(1);
                Op::Compact { revision, physical: self.rng.chance(30) }
            }
            81..87 => self.grant(),
            87..95 => self.own_lease().map_or_else(|| Op::Put(self.put()), Op::KeepAlive),
            95..97 => self.own_lease().map_or_else(|| Op::Put(self.put()), Op::Revoke),
            _ => self.own_lease().map_or_else(|| Op::Put(self.put()), Op::TimeToLive),
        }
    }

    fn put(&mut self) -> PutRequest {
        let lease = if self.rng.chance(20) { self.own_lease() } else { None };
        let key = key(&mut self.rng);
        let prev_kv = self.rng.chance(30);
        PutRequest {
            key: key.into(),
            value: self.value().into(),
            lease: lease.unwrap_or(LeaseId::NONE),
            prev_kv,
            ..PutRequest::default()
        }
    }

    /// Never the same twice.
    fn value(&mut self) -> String {
        self.written += 1;
        let length =
            if self.rng.chance(self.large_percent) { self.rng.below(12_000) } else { self.rng.below(60) };
        format!("{}-{}-{}", self.number, self.written, "v".repeat(length as usize))
    }

    fn delete(&mut self) -> DeleteRequest {
        let range = match self.rng.chance(25) {
            true => KeyRange::prefix(format!("k{}", self.rng.below(2))),
            false => KeyRange::single(key(&mut self.rng)),
        };
        DeleteRequest { range, prev_kv: self.rng.chance(30) }
    }

    /// Guarded by one key; writes two others.
    fn txn(&mut self) -> Op {
        let guard = key(&mut self.rng);
        let target = match self.rng.below(3) {
            0 => CompareTarget::Version(self.rng.below(3) as i64),
            1 => CompareTarget::Mod(0),
            _ => CompareTarget::Create(0),
        };
        let result = if self.rng.chance(50) { CompareResult::Equal } else { CompareResult::Greater };
        let compare = vec![Compare { range: KeyRange::single(guard.clone()), target, result }];
        let read = TxnOp::Range(RangeRequest::new(KeyRange::prefix("k")));
        let gone = DeleteRequest { range: KeyRange::single(guard), prev_kv: true };
        let other = PutRequest { key: format!("t{}", self.rng.below(4)).into(), ..self.put() };
        let success = vec![read.clone(), TxnOp::Put(self.put()), TxnOp::Put(other)];
        let failure = if self.rng.chance(50) { vec![TxnOp::Delete(gone), read] } else { vec![read] };
        Op::Txn(TxnRequest { compare, success, failure })
    }

    fn range(&mut self, known: i64) -> Op {
        let range = match self.rng.below(3) {
            0 => KeyRange::prefix("k"),
            1 => everything(),
            _ => KeyRange::single(key(&mut self.rng)),
        };
        let mut request = RangeRequest::new(range);
        if self.rng.chance(30) {
            request.limit = 1 + self.rng.below(5) as i64;
        }
        if self.rng.chance(25) {
            request.revision = (known - self.rng.below(60) as i64).max(1);
            return Op::Range(request, Consistency::Linearizable);
        }
        let local = self.rng.chance(25);
        Op::Range(request, if local { Consistency::Serializable } else { Consistency::Linearizable })
    }

    fn grant(&mut self) -> Op {
        self.written += 1;
        let id = LeaseId((self.number as i64 + 1) << 32 | self.written as i64);
        self.leases.push(id);
        Op::Grant { id, ttl_s: 2 + self.rng.below(4) as i64 }
    }

    fn own_lease(&mut self) -> Option<LeaseId> {
        // The newest ones: older ones have ended long ago.
        let newest = self.leases.len().saturating_sub(3);
        let among = &self.leases[newest..];
        among.get(self.rng.below(among.len() as u64) as usize).copied()
    }
}

/// Asks, and writes down what came of it.
pub async fn ask(desk: &Desk, number: usize, client: &Client, op: Op, patience: Duration) -> Outcome {
    let Desk { eye, recorder, door } = desk;
    eye.note(format_args!("client {number} asks {}", Brief(&op)));
    let (call, known) = (recorder.begin(number, op.clone(), eye.moment()), recorder.history().known);
    let outcome = match timeout(patience, carry_out(client, &op)).await {
        Ok(Ok((reply, revision))) => Outcome::Answered(reply, revision),
        Ok(Err(Error::Unknown(_))) => {
            eye.hit("write timed out or was lost");
            Outcome::Open
        }
        Ok(Err(error)) => Outcome::Refused(error),
        Err(_) => {
            eye.hit("client lost patience");
            Outcome::Open
        }
    };
    eye.note(format_args!("client {number} is told {}", Brief(&outcome)));
    if let Outcome::Answered(reply, revision) = &outcome {
        if *revision > eye.revision() {
            eye.violated(format_args!("{op:?} was answered at {revision}, and there is {}", eye.revision()));
        }
        if *revision < known && !matches!(op, Op::Range(_, Consistency::Serializable)) {
            eye.violated(format_args!("{op:?} was answered at {revision}, and {known} was known before"));
        }
        if matches!(reply, Reply::Put(_) | Reply::Delete(_) | Reply::Txn(_) | Reply::Granted(_)) {
            door.acknowledged(eye, *revision);
        }
    }
    count(eye, &op, &outcome);
    recorder.end(call, outcome.clone(), eye.moment());
    outcome
}

async fn carry_out(client: &Client, op: &Op) -> Result<(Reply, i64), Error> {
    let anyone = Caller::default();
    fn with<T, R>(reply: impl FnOnce(T) -> R) -> impl FnOnce(Answer<T>) -> (R, i64) {
        move |answer| (reply(answer.body), answer.header.revision)
    }
    match op.clone() {
        Op::Put(request) => client.put(&anyone, request).await.map(with(Reply::Put)),
        Op::Delete(request) => client.delete(&anyone, request).await.map(with(Reply::Delete)),
        Op::Txn(request) => {
            client.txn(&anyone, request, Consistency::Linearizable).await.map(with(Reply::Txn))
        }
        Op::Range(request, consistency) => {
            let answer = client.range(&anyone, request, consistency).await;
            answer.map(with(|body: RangeReply| Reply::Range(body)))
        }
        Op::Compact { revision, physical } => {
            client.compact(&anyone, revision, physical).await.map(with(|()| Reply::Compacted))
        }
        Op::Grant { id, ttl_s } => {
            let answer = client.lease_grant(&anyone, id, ttl_s).await;
            answer.map(with(|given: bramble_server::node::client::Granted| Reply::Granted(given.ttl_s)))
        }
        Op::KeepAlive(id) => client.lease_keep_alive(&anyone, id).await.map(with(Reply::KeptAlive)),
        Op::Revoke(id) => client.lease_revoke(&anyone, id).await.map(with(|()| Reply::Revoked)),
        Op::TimeToLive(id) => {
            let answer = client.lease_time_to_live(&anyone, id, false).await;
            answer.map(with(|left: bramble_server::node::client::Remaining| Reply::Left(left.ttl_s)))
        }
    }
}

/// As much of it as a line of the trace shows.
struct Brief<T>(T);

impl<T: fmt::Debug> fmt::Display for Brief<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Start(String);
        impl fmt::Write for Start {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                self.0.push_str(text);
                if self.0.len() > 300 { Err(fmt::Error) } else { Ok(()) }
            }
        }
        let mut start = Start(String::new());
        // It is an error that it is long, and nothing else can be.
        let _ = fmt::write(&mut start, format_args!("{:?}", self.0));
        f.write_str(&start.0)
    }
}

fn count(eye: &Eye, op: &Op, outcome: &Outcome) {
    match (op, outcome) {
        (_, Outcome::Refused(Error::Refused(Refusal::NoSpace))) => eye.writes(true),
        (Op::Put(_), Outcome::Answered(..)) => eye.writes(false),
        (Op::Delete(_), Outcome::Answered(..)) if eye.is_short() => {
            eye.hit("deleted where there was no room");
        }
        (Op::Compact { .. }, Outcome::Answered(..)) if eye.is_short() => {
            eye.hit("compacted where there was no room");
        }
        _ => {}
    }
    match (op, outcome) {
        (Op::Compact { physical, .. }, Outcome::Answered(..)) => {
            eye.hit(if *physical { "physical compaction" } else { "compaction" });
        }
        (_, Outcome::Answered(Reply::Txn(reply), _)) if !reply.succeeded => {
            eye.hit("transaction took the other branch");
        }
        (Op::Range(request, _), Outcome::Answered(..)) if request.revision > 0 => {
            eye.hit("read at an older revision");
        }
        (Op::Range(..), Outcome::Refused(Error::Refused(Refusal::Compacted { .. }))) => {
            eye.hit("read below the floor refused");
        }
        (Op::Put(_), Outcome::Refused(Error::Refused(Refusal::LeaseNotFound))) => {
            eye.hit("lease gone when its key was written");
        }
        (Op::KeepAlive(_), Outcome::Answered(Reply::KeptAlive(1..), _)) => eye.hit("lease kept alive"),
        (Op::KeepAlive(_), Outcome::Answered(Reply::KeptAlive(_), _)) => eye.hit("lease found ended"),
        (Op::Revoke(_), Outcome::Answered(..)) => eye.hit("lease revoked"),
        (Op::Put(_) | Op::Txn(_), Outcome::Refused(Error::NotNow(NotNow::TooManyRequests))) => {
            eye.hit("write refused while the log was full");
        }
        _ => {}
    }
}
