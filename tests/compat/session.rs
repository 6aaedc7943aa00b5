//! One session: two fresh servers and some hundred steps in lock-step.
use bramble_proto::etcdserverpb as pb;
use bramble_proto::etcdserverpb::request_op::Request as Op;
use bramble_tests::chance::Chance;
use bytes::Bytes;

use crate::allow;
use crate::grid::Grid;
use crate::side::Side;
use crate::watching::{Act, Seen, Twin};
use crate::words::{Outcome, Reply, Request};
use crate::world::World;
use crate::{generate, options};

/// Streams open at one time.
const STREAMS_MAX: usize = 3;
/// Watchers on one stream.
const WATCHERS_MAX: usize = 6;
/// Leases at one time.
const LEASES_MAX: usize = 24;
/// A lease with less to live could end in the middle of a session.
const SHORT_TTL_S: i64 = 60;
/// How many candidates are looked at to find one that fills a thin cell.
const CANDIDATES: usize = 200;

/// See the module.
pub struct Session<'a> {
    sides: [Side; 2],
    world: World,
    chance: Chance,
    streams: Vec<Twin>,
    grid: &'a mut Grid,
    /// Requests made so far.
    pub requests: usize,
    /// How often each known difference was met.
    pub known: Vec<usize>,
    /// How often a watch missed on the oracle what it had erased at the floor.
    pub erased: usize,
}

impl<'a> Session<'a> {
    /// Two fresh servers.
    pub fn new(sides: [Side; 2], chance: Chance, grid: &'a mut Grid, picked_leases: bool) -> Self {
        Session {
            sides,
            world: World::new(picked_leases),
            chance,
            streams: Vec::new(),
            grid,
            requests: 0,
            known: vec![0; allow::KNOWN.len()],
            erased: 0,
        }
    }

    /// Takes so many steps; stops at the first difference and tells it.
    pub async fn run(&mut self, steps: usize) -> Result<(), String> {
        let mut thin = self.grid.thin();
        for step in 0..steps {
            if step % 100 == 0 {
                thin = self.grid.thin();
            }
            if step == steps / 2 {
                self.fragments().await?;
                self.twice_at_the_floor().await?;
            }
            if self.chance.percent(13) {
                self.watch_step(&thin).await?;
            } else {
                let request = self.choose(&thin);
                self.unary(request).await?;
            }
        }
        Ok(())
    }

    /// Most requests are chosen for a thin cell, if one of some candidates would hit it.
    fn choose(&mut self, thin: &[(String, String)]) -> Request {
        let first = generate::request(&self.world, &mut self.chance);
        if thin.is_empty() || self.chance.percent(30) {
            return first;
        }
        let (rpc, option) = self.chance.pick(thin).clone();
        for _ in 0..CANDIDATES {
            let candidate = generate::request_to(&rpc, &self.world, &mut self.chance);
            if options::of(&candidate, &self.world).contains(&option) {
                return candidate;
            }
        }
        first
    }

    /// The same for watchers.
    fn choose_act(&mut self, index: usize, thin: &[(String, String)]) -> Act {
        let living: Vec<i64> = self.streams[index].watchers.keys().copied().collect();
        let thin: Vec<&String> =
            thin.iter().filter(|(rpc, _)| rpc == "Watch").map(|(_, option)| option).collect();
        let retired = &self.streams[index].retired;
        let first = generate::act(&self.world, &mut self.chance, &living, retired);
        if thin.is_empty() || self.chance.percent(30) {
            return first;
        }
        let option = *self.chance.pick(&thin);
        for _ in 0..CANDIDATES {
            let candidate = generate::act(&self.world, &mut self.chance, &living, retired);
            let hits = match &candidate {
                Act::Create(create) => options::of_watch(create, &self.world).contains(option),
                Act::Cancel(_) => option == "cancel",
                Act::Progress => option == "progress",
                Act::Nothing => option == "nothing set",
            };
            if hits {
                return candidate;
            }
        }
        first
    }

    async fn unary(&mut self, request: Request) -> Result<(), String> {
        if matches!(&request, Request::HashKv(_)) && self.world.picked_leases {
            return Ok(());
        }
        if matches!(&request, Request::Grant(_)) && self.world.leases.len() >= LEASES_MAX {
            return Ok(());
        }
        if matches!(&request, Request::Compact(_)) {
            // What was there before an event is looked up when the event is sent. A stream that cannot
            // be asked whether all is sent must not race with a compaction.
            let revision = self.world.revision;
            self.streams.retain(|twin| !twin.waits(revision));
        }
        self.requests += 1;
        let (theirs, ours) = tokio::join!(self.sides[0].call(&request), self.sides[1].call(&request));
        if let Err(refused) = &theirs
            && refused.code == tonic::Code::Unavailable
        {
            return Err(format!("the oracle is gone\n  {}\n  {}", short(&request), refused.text));
        }
        self.note(&request, &theirs);
        self.judge(&request, theirs.clone(), ours.clone())?;
        self.learn(&request, &theirs, &ours).await?;
        self.end_short_lease(&request, &theirs).await
    }

    fn note(&mut self, request: &Request, theirs: &Outcome) {
        let options = options::of(request, &self.world);
        self.grid.hit(request.rpc(), &options, options::outcome(theirs));
        if let Err(refused) = theirs {
            let error = format!("error={:?} {}", refused.code, without_numbers(&refused.text));
            self.grid.hit(request.rpc(), &[error], "refused");
        }
    }

    fn judge(&mut self, request: &Request, mut theirs: Outcome, mut ours: Outcome) -> Result<(), String> {
        if let (Request::Grant(asked), Ok(Reply::Grant(a)), Ok(Reply::Grant(b))) =
            (request, &mut theirs, &mut ours)
            && asked.id == 0
            && a.id > 0
            && b.id > 0
        {
            b.id = a.id;
        }
        allow::loosen(request, &mut theirs, &mut ours);
        if theirs == ours {
            return Ok(());
        }
        for (index, known) in allow::KNOWN.iter().enumerate() {
            if (known.explains)(&self.world, request, &theirs, &ours) {
                self.known[index] += 1;
                return Ok(());
            }
        }
        let world = &self.world;
        Err(format!(
            "{}\n  request: {}\n  etcd:    {}\n  bramble: {}\n  (revision {}, floor {}, leases {:?})",
            request.rpc(),
            short(request),
            short(&theirs),
            short(&ours),
            world.revision,
            world.floor,
            world.leases
        ))
    }

    /// Keeps the picture of the servers up to date, and compares what the watches saw.
    async fn learn(&mut self, request: &Request, theirs: &Outcome, ours: &Outcome) -> Result<(), String> {
        let Ok(reply) = theirs else { return Ok(()) };
        match (request, reply) {
            (Request::Compact(asked), _) => {
                self.world.floor = asked.revision;
                self.world.compactions.push(asked.revision);
            }
            (Request::Grant(asked), Reply::Grant(granted)) => self.learn_grant(asked, granted, ours),
            (Request::Revoke(asked), _) => self.world.leases.retain(|id| *id != asked.id),
            _ => {}
        }
        let revision = reply.header().map_or(0, |header| header.revision);
        if revision > self.world.revision {
            self.world.revision = revision;
            self.compare_streams().await?;
        }
        Ok(())
    }

    /// A lease with the least time to live would end in the middle of the comparison; it goes at once.
    async fn end_short_lease(&mut self, request: &Request, theirs: &Outcome) -> Result<(), String> {
        match (request, theirs) {
            (Request::Grant(_), Ok(Reply::Grant(granted))) if granted.ttl < SHORT_TTL_S => {
                Box::pin(self.unary(Request::Revoke(pb::LeaseRevokeRequest { id: granted.id }))).await
            }
            _ => Ok(()),
        }
    }

    /// Which server is gone, with the end of its log.
    pub fn casualties(&mut self) -> String {
        self.sides.iter_mut().filter_map(Side::obituary).collect()
    }

    fn learn_grant(
        &mut self,
        asked: &pb::LeaseGrantRequest,
        granted: &pb::LeaseGrantResponse,
        ours: &Outcome,
    ) {
        if asked.id == 0
            && let Ok(Reply::Grant(own)) = ours
        {
            self.sides[1].same_lease(granted.id, own.id);
        }
        // Records with an id that the server picked have other bytes on each side.
        if asked.id != 0 || self.world.picked_leases || granted.ttl < SHORT_TTL_S {
            self.world.leases.push(granted.id);
        }
    }

    async fn compare_streams(&mut self) -> Result<(), String> {
        for index in 0..self.streams.len() {
            self.compare_stream(index).await?;
        }
        Ok(())
    }

    async fn compare_stream(&mut self, index: usize) -> Result<(), String> {
        let revision = self.world.revision;
        let twin = &mut self.streams[index];
        twin.barrier(revision).await.map_err(|what| format!("Watch progress\n  {what}"))?;
        let seen =
            twin.compare(&self.sides, &self.world).await.map_err(|what| format!("Watch events\n  {what}"))?;
        self.erased += usize::from(seen.erased);
        note_events(self.grid, &seen);
        Ok(())
    }

    async fn watch_step(&mut self, thin: &[(String, String)]) -> Result<(), String> {
        if self.streams.is_empty() || (self.streams.len() < STREAMS_MAX && self.chance.percent(10)) {
            self.streams.push(Twin::open(&self.sides));
        }
        let index = self.chance.below(self.streams.len());
        if self.chance.percent(4) || self.streams[index].watchers.len() >= WATCHERS_MAX {
            self.streams.swap_remove(index);
            return Ok(());
        }
        let act = self.choose_act(index, thin);
        self.watch_act(index, &act).await
    }

    async fn watch_act(&mut self, index: usize, act: &Act) -> Result<(), String> {
        self.requests += 1;
        let revision = self.world.revision;
        let told = |what: String| format!("Watch {act:?}\n  {what}\n  (revision {revision})");
        let before: Vec<i64> = self.streams[index].watchers.keys().copied().collect();
        self.streams[index].act(act, revision).await.map_err(told)?;
        let twin = &mut self.streams[index];
        let new = twin.watchers.keys().copied().find(|id| !before.contains(id));
        let mut compacted = false;
        if let (Act::Create(create), Some(id)) = (act, new) {
            compacted = create.start_revision > 0 && create.start_revision < self.world.floor;
            if compacted {
                twin.await_compacted(id).await.map_err(told)?;
            }
        }
        self.note_act(act, new.is_some(), compacted, &before);
        self.compare_stream(index)
            .await
            .map_err(|what| format!("{what}\n  after {act:?} at revision {revision}"))?;
        if self.streams[index].spent {
            self.streams.swap_remove(index);
        }
        Ok(())
    }

    fn note_act(&mut self, act: &Act, made: bool, compacted: bool, before: &[i64]) {
        match act {
            Act::Create(create) => {
                let outcome = if compacted {
                    "compacted"
                } else if made {
                    "created"
                } else {
                    "refused"
                };
                self.grid.hit("Watch", &options::of_watch(create, &self.world), outcome);
            }
            Act::Cancel(id) => {
                let outcome = if before.contains(id) { "cancelled" } else { "silence" };
                self.grid.hit("Watch", &["cancel".to_string()], outcome);
            }
            Act::Progress => self.grid.hit("Watch", &["progress".to_string()], "as promised"),
            Act::Nothing => self.grid.hit("Watch", &["nothing set".to_string()], "silence"),
        }
    }

    /// A key that one transaction puts and deletes, compacted at that very revision, watched from there.
    async fn twice_at_the_floor(&mut self) -> Result<(), String> {
        let key = Bytes::from_static(b"twice");
        let put = pb::PutRequest { key: key.clone(), value: Bytes::from_static(b"v"), ..Default::default() };
        let delete = pb::DeleteRangeRequest { key: key.clone(), ..Default::default() };
        let inner =
            |op| pb::TxnRequest { success: vec![pb::RequestOp { request: Some(op) }], ..Default::default() };
        let both = [inner(Op::RequestPut(put)), inner(Op::RequestDeleteRange(delete))];
        let success = both.map(|txn| pb::RequestOp { request: Some(Op::RequestTxn(txn)) }).to_vec();
        self.unary(Request::Txn(pb::TxnRequest { success, ..Default::default() })).await?;
        let revision = self.world.revision;
        self.unary(Request::Compact(pb::CompactionRequest { revision, physical: true })).await?;
        self.streams.push(Twin::open(&self.sides));
        let create =
            pb::WatchCreateRequest { key, start_revision: revision, prev_kv: true, ..Default::default() };
        self.watch_act(self.streams.len() - 1, &Act::Create(create)).await
    }

    /// More than a message's worth of history, to a watcher that takes it in pieces and to one that does not.
    async fn fragments(&mut self) -> Result<(), String> {
        let from = self.world.revision + 1;
        for index in 0..8u8 {
            let key = Bytes::from(vec![b'B', index]);
            let put = pb::PutRequest { key, value: Bytes::from(vec![index; 300_000]), ..Default::default() };
            self.unary(Request::Put(put)).await?;
        }
        self.streams.push(Twin::open(&self.sides));
        let index = self.streams.len() - 1;
        for fragment in [true, false] {
            let act = Act::Create(pb::WatchCreateRequest {
                key: Bytes::from_static(b"B"),
                range_end: Bytes::from_static(b"C"),
                start_revision: from,
                fragment,
                ..Default::default()
            });
            self.watch_act(index, &act).await?;
        }
        self.streams.swap_remove(index);
        let clean = pb::DeleteRangeRequest {
            key: Bytes::from_static(b"B"),
            range_end: Bytes::from_static(b"C"),
            prev_kv: false,
        };
        self.unary(Request::Delete(clean)).await
    }
}

fn note_events(grid: &mut Grid, seen: &Seen) {
    if seen.fragmented {
        grid.hit("Watch", &["in pieces".to_string()], "delivered");
    }
    for response in &seen.responses {
        for event in &response.events {
            let kind = if event.r#type == 0 { "put" } else { "delete" };
            let before = if event.prev_kv.is_some() { "with what was before" } else { "alone" };
            grid.hit("Watch", &[format!("event {kind} {before}")], "delivered");
        }
    }
}

/// Debug text, cut where a large value would fill the screen.
fn short(it: &impl std::fmt::Debug) -> String {
    let text = format!("{it:?}");
    if text.len() <= 6000 {
        text
    } else {
        format!("{}… ({} characters)", text.chars().take(6000).collect::<String>(), text.len())
    }
}

fn without_numbers(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_digit() { '#' } else { c }).collect::<String>().replace("##", "#")
}
