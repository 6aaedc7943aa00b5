//! Writers at work until the server is gone, and somebody who keeps house meanwhile.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bramble_proto::etcdserverpb as pb;
use bramble_proto::etcdserverpb::request_op::Request as Op;
use bramble_tests::chance::Chance;
use bramble_tests::wire::Wire;
use bytes::Bytes;
use tokio::task::JoinHandle;

use crate::ledger::{Effects, Findings, Ledger, key};
use crate::shown;

const WRITERS: usize = 6;
/// Keys of each writer.
const NAMES: usize = 40;
/// No lease ends while a test runs.
const LEASE_TTL: i64 = 1_000_000;

/// What is known of leases.
#[derive(Clone, Debug, Default)]
pub struct Leases {
    granted: BTreeSet<i64>,
    revoked: BTreeSet<i64>,
    /// Asked for, or to be ended, without an answer.
    open: BTreeSet<i64>,
}

impl Leases {
    /// What is there counts from then on.
    fn check(&mut self, there: &BTreeSet<i64>) -> Vec<String> {
        let lost = self.granted.difference(there).map(|id| format!("lease {id} was granted and is gone"));
        let back = self.revoked.intersection(there).map(|id| format!("lease {id} was revoked and is back"));
        let known = |id: &&i64| [&self.granted, &self.revoked, &self.open].iter().any(|ids| ids.contains(id));
        let strange = there.iter().filter(|id| !known(id)).map(|id| format!("nobody asked for lease {id}"));
        let wrong = lost.chain(back).chain(strange).collect();
        for id in std::mem::take(&mut self.open) {
            if there.contains(&id) { &mut self.granted } else { &mut self.revoked }.insert(id);
        }
        wrong
    }
}

/// All that is known outside the card.
#[derive(Clone, Debug)]
struct Promises {
    ledger: Ledger,
    leases: Leases,
    /// The newest revision at which history was erased, as far as answers told.
    compacted: i64,
    /// Numbers for leases and values.
    number: i64,
}

type Shared = Arc<Mutex<Promises>>;

fn lock(promises: &Shared) -> MutexGuard<'_, Promises> {
    promises.lock().unwrap_or_else(PoisonError::into_inner)
}

/// See the module.
pub struct Load {
    promises: Shared,
    chance: Chance,
    /// How many values have hundreds of sectors.
    large_percent: u32,
}

impl Load {
    /// For a server with an empty data directory.
    pub fn new(seed: u64) -> Load {
        let (ledger, leases) = (Ledger::new(WRITERS), Leases::default());
        let promises = Promises { ledger, leases, compacted: 0, number: 0 };
        let mut chance = Chance::from_seed(seed);
        // With many large values the log's ring is gone round while a card lasts.
        let large_percent = if chance.percent(30) { 30 } else { 2 };
        Load { promises: Arc::new(Mutex::new(promises)), chance, large_percent }
    }

    /// The same promises again, for another copy of the same card.
    pub fn copy(&self) -> Load {
        let promises = lock(&self.promises).clone();
        Load { promises: Arc::new(Mutex::new(promises)), chance: self.chance.clone(), ..*self }
    }

    /// Everybody at work.
    pub async fn begin(&mut self, url: &str) -> Vec<JoinHandle<()>> {
        let wire = Wire::connect(url).await;
        let writers = (0..WRITERS).map(|number| self.writer(number, &wire));
        let mut tasks: Vec<_> = writers.map(|writer| tokio::spawn(writer.work())).collect();
        let house = keep_house(self.promises.clone(), wire, Chance::from_seed(self.chance.roll()));
        tasks.push(tokio::spawn(house));
        tasks
    }

    fn writer(&mut self, number: usize, wire: &Wire) -> Writer {
        let keys = lock(&self.promises).ledger.keys_of(number);
        let chance = Chance::from_seed(self.chance.roll());
        let (promises, wire) = (self.promises.clone(), wire.clone());
        Writer { number, promises, wire, chance, keys, large_percent: self.large_percent }
    }

    /// Waits until all have noticed that the server is gone; how many writes it acknowledged.
    pub async fn end(&self, tasks: Vec<JoinHandle<()>>) -> u64 {
        for task in tasks {
            task.await.expect("nobody panics");
        }
        lock(&self.promises).ledger.acknowledged()
    }

    /// One write, alone.
    ///
    /// # Errors
    /// What the server answers.
    pub async fn write_once(&mut self, url: &str) -> Result<(), tonic::Status> {
        let wire = Wire::connect(url).await;
        self.writer(0, &wire).write().await
    }

    /// Reads all that the server has and holds it against what was promised.
    ///
    /// # Errors
    /// When the server cannot be read.
    pub async fn check(&self, url: &str) -> Result<Findings, String> {
        let wire = Wire::connect(url).await;
        let (since, compacted) = {
            let promises = lock(&self.promises);
            (promises.ledger.checked(), promises.compacted)
        };
        let there = shown::read(&wire, since).await?;
        let leases = shown::leases(&wire).await?;
        let erased = shown::erased(&wire, compacted).await?;
        let mut promises = lock(&self.promises);
        let mut findings = promises.ledger.check(&there);
        findings.wrong.extend(promises.leases.check(&leases));
        if !erased {
            findings.wrong.push(format!("what was compacted at revision {compacted} is back"));
        }
        Ok(findings)
    }
}

/// Erases history that was checked, and defragments, which makes the engine write all its files anew.
async fn keep_house(promises: Shared, wire: Wire, mut chance: Chance) {
    loop {
        tokio::time::sleep(Duration::from_millis(chance.between(5, 150) as u64)).await;
        let done = match chance.below(3) {
            0 => wire.maintenance().defragment(pb::DefragmentRequest {}).await.map(drop),
            _ => compact(&promises, &wire, &mut chance).await,
        };
        if done.is_err() {
            return;
        }
    }
}

async fn compact(promises: &Shared, wire: &Wire, chance: &mut Chance) -> Result<(), tonic::Status> {
    let (from, to) = {
        let promises = lock(promises);
        (promises.compacted + 1, promises.ledger.checked())
    };
    if from > to {
        return Ok(());
    }
    let revision = chance.between(from, to);
    wire.kv().compact(pb::CompactionRequest { revision, physical: chance.percent(50) }).await?;
    lock(promises).compacted = revision;
    Ok(())
}

/// What a writer asks for.
enum Ask {
    Put(pb::PutRequest),
    Delete(pb::DeleteRangeRequest),
    Txn(pb::TxnRequest),
    Revoke(i64),
}

struct Writer {
    number: usize,
    promises: Shared,
    wire: Wire,
    chance: Chance,
    /// Its keys and their leases.
    keys: BTreeMap<String, i64>,
    large_percent: u32,
}

impl Writer {
    /// Until the server is gone.
    async fn work(mut self) {
        while self.write().await.is_ok() {}
    }

    /// Asks for one thing, and notes the answer.
    async fn write(&mut self) -> Result<(), tonic::Status> {
        let (ask, effects) = self.choose().await?;
        lock(&self.promises).ledger.ask(self.number, effects.clone());
        if let Ask::Revoke(id) = ask {
            self.note_open(id);
        }
        let revision = self.send(&ask).await?;
        let mut promises = lock(&self.promises);
        promises.ledger.acknowledge(self.number, revision);
        if let Ask::Revoke(id) = ask {
            promises.leases.open.remove(&id);
            promises.leases.revoked.insert(id);
        }
        for (key, effect) in effects {
            match effect {
                Some((_, lease)) => self.keys.insert(key, lease),
                None => self.keys.remove(&key),
            };
        }
        Ok(())
    }

    fn note_open(&self, id: i64) {
        let leases = &mut lock(&self.promises).leases;
        leases.granted.remove(&id);
        leases.open.insert(id);
    }

    async fn choose(&mut self) -> Result<(Ask, Effects), tonic::Status> {
        Ok(match self.chance.below(20) {
            0..9 => self.put(0),
            9 => {
                let lease = self.grant().await?;
                self.put(lease)
            }
            10..12 => self.delete(),
            12 => self.delete_all(),
            13..15 => self.revoke(),
            _ => self.txn(),
        })
    }

    async fn send(&self, ask: &Ask) -> Result<i64, tonic::Status> {
        let header = match ask {
            Ask::Put(put) => self.wire.kv().put(put.clone()).await?.into_inner().header,
            Ask::Delete(delete) => self.wire.kv().delete_range(delete.clone()).await?.into_inner().header,
            Ask::Txn(txn) => self.wire.kv().txn(txn.clone()).await?.into_inner().header,
            Ask::Revoke(id) => {
                let revoke = pb::LeaseRevokeRequest { id: *id };
                self.wire.lease().lease_revoke(revoke).await?.into_inner().header
            }
        };
        Ok(header.expect("an answer has a header").revision)
    }

    fn name(&mut self) -> String {
        key(self.number, &format!("{:02}", self.chance.below(NAMES)))
    }

    /// A value that nobody wrote before, sometimes of hundreds of sectors.
    fn value(&mut self) -> Bytes {
        let number = {
            let mut promises = lock(&self.promises);
            promises.number += 1;
            promises.number
        };
        let len = match self.chance.percent(self.large_percent) {
            true => self.chance.between(50_000, 300_000),
            false => self.chance.between(0, 3_000),
        };
        let mut value = format!("{number} ").into_bytes();
        value.extend(bramble_bench::value(number as u64, len as usize));
        value.into()
    }

    fn put(&mut self, lease: i64) -> (Ask, Effects) {
        let (put, effect) = self.one_put(lease);
        (Ask::Put(put), Effects::from([effect]))
    }

    fn one_put(&mut self, lease: i64) -> (pb::PutRequest, (String, Option<(Bytes, i64)>)) {
        let (name, value) = (self.name(), self.value());
        let put =
            pb::PutRequest { key: name.clone().into(), value: value.clone(), lease, ..Default::default() };
        (put, (name, Some((value, lease))))
    }

    /// One of its keys; a put when it has none.
    fn delete(&mut self) -> (Ask, Effects) {
        let keys: Vec<&String> = self.keys.keys().collect();
        if keys.is_empty() {
            return self.put(0);
        }
        let name = (*self.chance.pick(&keys)).clone();
        let delete = pb::DeleteRangeRequest { key: name.clone().into(), ..Default::default() };
        (Ask::Delete(delete), Effects::from([(name, None)]))
    }

    /// The later half of its keys.
    fn delete_all(&mut self) -> (Ask, Effects) {
        let (from, to) = (key(self.number, "20"), key(self.number, "99"));
        let effects: Effects =
            self.keys.range(from.clone()..to.clone()).map(|(name, _)| (name.clone(), None)).collect();
        if effects.is_empty() {
            return self.put(0);
        }
        let delete = pb::DeleteRangeRequest { key: from.into(), range_end: to.into(), ..Default::default() };
        (Ask::Delete(delete), effects)
    }

    /// A lease with keys, which go with it; a put when there is none.
    fn revoke(&mut self) -> (Ask, Effects) {
        let Some(lease) = self.keys.values().copied().find(|lease| *lease != 0) else { return self.put(0) };
        let with = self.keys.iter().filter(|(_, of)| **of == lease);
        let effects = with.map(|(name, _)| (name.clone(), None)).collect();
        (Ask::Revoke(lease), effects)
    }

    /// Several puts and a delete, all or none.
    fn txn(&mut self) -> (Ask, Effects) {
        let op = |request| pb::RequestOp { request: Some(request) };
        let (mut ops, mut effects) = (Vec::new(), Effects::new());
        for _ in 0..self.chance.between(1, 6) {
            let (put, (name, effect)) = self.one_put(0);
            // No key twice in one transaction.
            if effects.insert(name, effect).is_none() {
                ops.push(op(Op::RequestPut(put)));
            } else {
                return self.put(0);
            }
        }
        let gone = self.keys.keys().find(|name| !effects.contains_key(*name)).cloned();
        if let Some(name) = gone.filter(|_| self.chance.percent(50)) {
            let delete = pb::DeleteRangeRequest { key: name.clone().into(), ..Default::default() };
            ops.push(op(Op::RequestDeleteRange(delete)));
            effects.insert(name, None);
        }
        (Ask::Txn(pb::TxnRequest { success: ops, ..Default::default() }), effects)
    }

    /// A lease whose number it chooses, so that it is known also without an answer.
    async fn grant(&mut self) -> Result<i64, tonic::Status> {
        let id = {
            let mut promises = lock(&self.promises);
            promises.number += 1;
            let id = promises.number;
            promises.leases.open.insert(id);
            id
        };
        self.wire.lease().lease_grant(pb::LeaseGrantRequest { ttl: LEASE_TTL, id }).await?;
        let leases = &mut lock(&self.promises).leases;
        leases.open.remove(&id);
        leases.granted.insert(id);
        Ok(id)
    }
}
