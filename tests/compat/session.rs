//! One session: two fresh servers and some hundred steps in lock-step.
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bramble_proto::etcdserverpb as pb;
use bramble_tests::chance::Chance;
use tonic::Code;

use crate::call::Call;
use crate::grid::Grid;
use crate::side::Side;
use crate::watching::{Act, Twin};
use crate::words::{Outcome, Refused, Reply, Request};
use crate::world::{Kind, World};
use crate::{allow, blocked, generate, options};

/// Leases at one time.
const LEASES_MAX: usize = 24;
/// A lease with less to live could end in the middle of a session.
const SHORT_TTL_S: i64 = 60;
/// How many candidates are looked at to find one that fills a thin cell.
const CANDIDATES: usize = 40;
/// What the oracle says of downgrades before it knows its version, and for how long it may.
const NO_VERSION: &str = "etcdserver: cluster version not found during downgrade";
const VERSION_WITHIN: Duration = Duration::from_secs(20);
/// Calls told with a difference.
const LAST_MAX: usize = 12;
/// After so many requests that changed something the streams are compared.
const CHANGES_MAX: usize = 8;

/// See the module.
pub struct Session {
    pub sides: [Side; 2],
    pub world: World,
    pub(crate) chance: Chance,
    pub(crate) streams: Vec<Twin>,
    /// Changes since the streams were compared.
    pub(crate) changes: usize,
    /// What earlier sessions have met.
    before: Arc<Grid>,
    /// What this one has met.
    pub grid: Grid,
    pub counts: Counts,
    /// The last calls and what the oracle said.
    last: VecDeque<(Call, Outcome)>,
}

/// How much was compared.
#[derive(Debug)]
pub struct Counts {
    /// Requests made so far.
    pub requests: usize,
    /// How often each known difference was met.
    pub known: Vec<usize>,
    /// How often a watch missed on the oracle what it had erased at the floor.
    pub erased: usize,
}

impl Default for Counts {
    fn default() -> Self {
        Counts { requests: 0, known: vec![0; allow::known().count()], erased: 0 }
    }
}

impl Counts {
    /// Adds another's.
    pub fn add(&mut self, other: &Counts) {
        self.requests += other.requests;
        self.erased += other.erased;
        self.known.iter_mut().zip(&other.known).for_each(|(sum, met)| *sum += met);
    }
}

impl Session {
    /// Two fresh servers.
    pub fn new(sides: [Side; 2], kind: Kind, chance: Chance, before: Arc<Grid>) -> Self {
        Session {
            sides,
            world: World::new(kind),
            chance,
            streams: Vec::new(),
            changes: 0,
            before,
            grid: Grid::default(),
            counts: Counts::default(),
            last: VecDeque::new(),
        }
    }

    /// Takes so many steps; stops at the first difference and tells it.
    pub async fn run(&mut self, steps: usize) -> Result<(), String> {
        let mut thin = self.thin();
        for step in 0..steps {
            if step % 100 == 0 {
                thin = self.thin();
            }
            if step == steps / 2 && matches!(self.world.kind, Kind::Plain | Kind::Picked) {
                self.fragments().await?;
                self.twice_at_the_floor().await?;
            }
            if self.chance.percent(13) {
                self.watch_step(&thin).await?;
            } else {
                let call = self.choose(&thin);
                self.call(call).await?;
            }
        }
        self.compare_streams().await
    }

    /// RPCs and options of thin cells that a session like this can meet.
    fn thin(&self) -> Vec<(String, String)> {
        let kind = self.world.kind;
        let met = self.before.and(&self.grid);
        let here = met.thin().filter(|(rpc, option, outcome)| {
            (rpc == "Watch" || generate::is_called(kind, rpc)) && options::can_be_met(kind, option, outcome)
        });
        let named: BTreeSet<_> = here.map(|(rpc, option, _)| (rpc.clone(), option.clone())).collect();
        named.into_iter().collect()
    }

    /// Most requests are chosen for a thin cell, if one of some candidates would hit it.
    fn choose(&mut self, thin: &[(String, String)]) -> Call {
        let first = generate::call(&self.world, &mut self.chance);
        // Of what fills thin cells with users, much takes away what they have.
        let unsteered = if self.world.kind == Kind::Auth { 45 } else { 30 };
        if thin.is_empty() || self.chance.percent(unsteered) {
            return first;
        }
        let (rpc, option) = self.chance.pick(thin).clone();
        if rpc == "Watch" {
            return first;
        }
        // Which request is refused in which words cannot be seen beforehand.
        let candidates = if option.starts_with("error=") { 1 } else { CANDIDATES };
        for _ in 0..candidates {
            let candidate = generate::call_to(&rpc, &self.world, &mut self.chance);
            if candidates == 1 || options::of(&candidate, &self.world).contains(&option) {
                return candidate;
            }
        }
        first
    }

    /// The same for watchers.
    pub(crate) fn choose_act(&mut self, index: usize, thin: &[(String, String)]) -> Act {
        let twin = &self.streams[index];
        let living: Vec<i64> = twin.watchers.keys().copied().collect();
        let thin: Vec<&String> =
            thin.iter().filter(|(rpc, _)| rpc == "Watch").map(|(_, option)| option).collect();
        let first = generate::act(&self.world, &mut self.chance, &living, twin);
        if thin.is_empty() || self.chance.percent(30) {
            return first;
        }
        let option = *self.chance.pick(&thin);
        for _ in 0..CANDIDATES {
            let candidate = generate::act(&self.world, &mut self.chance, &living, twin);
            let hits = match &candidate {
                Act::Create(create) => options::of_watch(create, twin, &self.world).contains(option),
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

    /// Asks both sides and compares everything.
    pub async fn call(&mut self, call: impl Into<Call>) -> Result<(), String> {
        self.answer(call).await.map(drop)
    }

    /// The same, for those who want to see what the oracle said.
    pub async fn answer(&mut self, call: impl Into<Call>) -> Result<Outcome, String> {
        let call = call.into();
        if !self.is_compared(&call.request) {
            return Ok(Err(Refused::new(Code::Cancelled, "not asked")));
        }
        if matches!(&call.request, Request::Compact(_)) {
            // What was there before an event is looked up when the event is sent. A stream that cannot
            // be asked whether all is sent must not race with a compaction.
            self.compare_streams().await?;
            let revision = self.world.revision;
            self.streams.retain(|twin| !twin.waits(revision));
        }
        self.counts.requests += 1;
        let [theirs, ours] = self.ask(&call).await?;
        self.note(&call, &theirs);
        self.last.push_back((call.clone(), theirs.clone()));
        if self.last.len() > LAST_MAX {
            self.last.pop_front();
        }
        self.judge(&call, theirs.clone(), ours.clone())?;
        self.learn(&call, &theirs, &ours).await?;
        self.end_short_lease(&call, &theirs).await?;
        Ok(theirs)
    }

    fn is_compared(&self, request: &Request) -> bool {
        match request {
            Request::HashKV(_) => !self.world.picked_leases(),
            Request::LeaseGrant(_) => self.world.leases.len() < LEASES_MAX,
            // What is left of a key that was deleted and put again at the floor is not compared.
            Request::Compact(asked) => !self.world.remade.contains(&asked.revision),
            _ => true,
        }
    }

    async fn ask(&mut self, call: &Call) -> Result<[Outcome; 2], String> {
        let told = |what: String| format!("{}\n  {}\n  {what}", call.request.rpc(), short(call));
        let deadline = Instant::now() + VERSION_WITHIN;
        let answers = loop {
            let answers = if blocked::place(&call.request).is_some() {
                blocked::call(&mut self.sides, call).await.map_err(told)?
            } else {
                let [first, second] = &mut self.sides;
                tokio::join!(first.call(call), second.call(call)).into()
            };
            // Some time after its start, the oracle knows the version of its cluster.
            let early = answers[0].as_ref().is_err_and(|refused| refused.text == NO_VERSION);
            if !early || Instant::now() > deadline {
                break answers;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        match &answers[0] {
            Err(refused) if refused.code == Code::Unavailable => {
                Err(told(format!("the oracle is gone: {}", refused.text)))
            }
            _ => Ok(answers),
        }
    }

    fn note(&mut self, call: &Call, theirs: &Outcome) {
        let options = options::of(call, &self.world);
        self.grid.hit(call.request.rpc(), &options, options::outcome(theirs));
        if let Err(refused) = theirs {
            let error = format!("error={:?} {}", refused.code, without_numbers(&refused.text));
            self.grid.hit(call.request.rpc(), &[error], "refused");
        }
    }

    fn judge(&mut self, call: &Call, mut theirs: Outcome, mut ours: Outcome) -> Result<(), String> {
        if let (Request::LeaseGrant(asked), Ok(Reply::LeaseGrant(a)), Ok(Reply::LeaseGrant(b))) =
            (&call.request, &mut theirs, &mut ours)
            && asked.id == 0
            && a.id > 0
            && b.id > 0
        {
            b.id = a.id;
        }
        allow::loosen(&call.request, &mut theirs, &mut ours);
        if theirs == ours {
            return Ok(());
        }
        for (index, known) in allow::known().enumerate() {
            if (known.explains)(&self.world, call, &theirs, &ours) {
                self.counts.known[index] += 1;
                return Ok(());
            }
        }
        let world = &self.world;
        Err(format!(
            "{}\n  request: {}\n  etcd:    {}\n  bramble: {}\n  (revision {}, floor {}, leases {:?}, {:?})",
            call.request.rpc(),
            short(call),
            short(&theirs),
            short(&ours),
            world.revision,
            world.floor,
            world.leases,
            world.auth,
        ))
    }

    /// Keeps the picture of the servers up to date, and compares what the watches saw.
    async fn learn(&mut self, call: &Call, theirs: &Outcome, ours: &Outcome) -> Result<(), String> {
        if blocked::place(&call.request).is_some() {
            self.look_at_revision().await?;
        }
        let Ok(reply) = theirs else { return Ok(()) };
        self.world.learn(&call.request, reply);
        if let (Request::LeaseGrant(asked), Reply::LeaseGrant(granted)) = (&call.request, reply) {
            self.learn_grant(asked, granted, ours);
        }
        let revision = reply.clone().header_mut().map_or(0, |header| header.revision);
        self.learn_revision(revision).await
    }

    async fn learn_revision(&mut self, revision: i64) -> Result<(), String> {
        if revision > self.world.revision {
            self.world.revision = revision;
            self.changes += 1;
        }
        if self.changes >= CHANGES_MAX { self.compare_streams().await } else { Ok(()) }
    }

    /// After something that may have written more than its answer tells.
    async fn look_at_revision(&mut self) -> Result<(), String> {
        let look = Request::Status(pb::StatusRequest {});
        Box::pin(self.call(look)).await
    }

    /// A lease with the least time to live would end in the middle of the comparison; it goes at once.
    async fn end_short_lease(&mut self, call: &Call, theirs: &Outcome) -> Result<(), String> {
        match (&call.request, theirs) {
            (Request::LeaseGrant(_), Ok(Reply::LeaseGrant(granted))) if granted.ttl < SHORT_TTL_S => {
                let revoke = Request::LeaseRevoke(pb::LeaseRevokeRequest { id: granted.id });
                let call = Call { request: revoke, asker: call.asker.clone() };
                Box::pin(self.call(call)).await
            }
            _ => Ok(()),
        }
    }

    /// What came before a difference, and which server is gone, with the end of its log.
    pub fn circumstances(&mut self) -> String {
        let last = self.last.iter().map(|(call, theirs)| {
            let by = options::of_identity(&call.asker.identity, &self.world);
            format!("  before: {:.300} ({by}) → {:.200}\n", short(&call.request), short(theirs))
        });
        let last: String = last.collect();
        last + &self.sides.iter_mut().filter_map(Side::obituary).collect::<String>()
    }

    fn learn_grant(
        &mut self,
        asked: &pb::LeaseGrantRequest,
        granted: &pb::LeaseGrantResponse,
        ours: &Outcome,
    ) {
        if asked.id == 0
            && let Ok(Reply::LeaseGrant(own)) = ours
        {
            self.sides[1].names.same_lease(granted.id, own.id);
        }
        // Records with an id that the server picked have other bytes on each side.
        if asked.id != 0 || self.world.picked_leases() || granted.ttl < SHORT_TTL_S {
            self.world.leases.push(granted.id);
        }
    }
}

/// Debug text, cut where a large value would fill the screen.
pub fn short(it: &impl std::fmt::Debug) -> String {
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
