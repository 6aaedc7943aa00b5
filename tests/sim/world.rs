//! One world: machines, clients and what happens to them, all by one seed. Chaos first; then everything is
//! healed and has to work; then the whole history is checked.
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bramble_server::node::client::Client;
use bramble_store::disk::sim::{Fault as DiskFault, Rng};
use bramble_store::log::LogOptions;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::clients::{Desk, Person, ask};
use crate::eye::Eye;
use crate::faults::{Fault, Weather};
use crate::machine::{Life, Machine, READY, revision_after_a_cut};
use crate::medium::Medium;
use crate::record::{Op, Recorder};
use crate::watchers::Watcher;
use crate::{check, heal};

/// Acknowledgements of which one is looked up on a copy of the disk.
const LOOK_UP_ONE_IN: u64 = 20;

/// Where clients find members.
#[derive(Default)]
pub struct Door {
    open: Mutex<Vec<Open>>,
    resting: AtomicBool,
    calm: AtomicBool,
    closed: AtomicBool,
    acknowledged: AtomicU64,
}

struct Open {
    client: Client,
    medium: Medium,
    log: LogOptions,
}

impl Door {
    /// A member that serves, if there is one.
    pub fn client(&self, rng: &mut Rng) -> Option<Client> {
        if self.resting.load(Ordering::SeqCst) {
            return None;
        }
        let open = self.open.lock().expect("one thread runs at a time");
        open.get(rng.below(open.len() as u64) as usize).map(|open| open.client.clone())
    }

    /// Whether clients go home.
    pub fn closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Whether clients leave the members alone.
    fn rests(&self, resting: bool) {
        self.resting.store(resting, Ordering::SeqCst);
    }

    /// Whether the chaos is over: nobody dawdles.
    pub fn calm(&self) -> bool {
        self.calm.load(Ordering::SeqCst)
    }

    pub fn calms(&self) {
        self.calm.store(true, Ordering::SeqCst);
    }

    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    fn opens(&self, life: &Life, log: LogOptions) {
        let (client, medium) = (life.node.client(), life.medium.clone());
        self.open.lock().expect("one thread runs at a time").push(Open { client, medium, log });
    }

    fn shuts(&self) {
        self.open.lock().expect("one thread runs at a time").clear();
    }

    /// Somebody was told that `revision` is made: it must be on the disk at this instant.
    pub fn acknowledged(&self, eye: &Eye, revision: i64) {
        if !self.acknowledged.fetch_add(1, Ordering::SeqCst).is_multiple_of(LOOK_UP_ONE_IN) {
            return;
        }
        let open = self.open.lock().expect("one thread runs at a time");
        let Some(Open { medium, log, .. }) = open.first() else { return };
        match revision_after_a_cut(medium, log) {
            Ok(there) if there >= revision => eye.hit("acknowledged write found on a copy of the disk"),
            Ok(there) => eye.violated(format_args!("{revision} is acknowledged; a cut now leaves {there}")),
            Err(fatal) => eye.violated(format_args!("{revision} is acknowledged; a cut now: {fatal}")),
        }
    }
}

/// Who compacts while all others rest.
const OPERATOR: usize = 98;

/// The machines, and who uses them.
pub struct World {
    pub desk: Desk,
    /// One for each member; a cluster's are several.
    pub machines: Vec<Machine>,
    pub rng: Rng,
    pub weather: Weather,
    seed: u64,
}

/// Lives the whole world of a seed, on the runtime it is called in.
pub async fn live(seed: u64, loud: bool) {
    let eye = Eye::new(seed, loud);
    let desk = Desk { door: Arc::default(), eye: eye.clone(), recorder: Recorder::default() };
    let mut rng = Rng::new(seed);
    let weather = Weather::draw(&mut rng);
    eye.note(format_args!("weather {weather:?}"));
    let machines = vec![Machine::new(seed, eye.clone())];
    let mut world = World { desk, machines, rng, weather, seed };
    let (people, positions) = world.people();
    let life = world.chaos().await;
    let life = heal::heal(&mut world, life, people, positions).await;
    world.desk.door.shuts();
    world.machines[0].stop(life).await;
    heal::nothing_is_left(&world).await;
    world.judge();
    eye.report();
}

impl World {
    /// Clients and watchers begin to live.
    fn people(&mut self) -> (JoinSet<()>, usize) {
        let mut people = JoinSet::new();
        // Pauses, and how many values are large: who reads slowly falls behind large ones.
        let large_percent = if self.weather.slow_watchers { 80 } else { 10 };
        let habits = ([40, 100, 300][self.rng.below(3) as usize], large_percent);
        for number in 0..3 + self.rng.below(3) as usize {
            people.spawn(Person::new(self.desk.clone(), number, self.seed, habits).live());
        }
        let watchers = 2 + self.rng.below(2) as usize;
        for number in 0..watchers {
            let slow = self.weather.slow_watchers && number == 0;
            people.spawn(Watcher::new(self.desk.clone(), number, self.seed, slow).live());
        }
        (people, watchers)
    }

    async fn chaos(&mut self) -> Life {
        self.weather.begin(&mut self.machines[0], &self.desk.eye);
        let mut life = self.begin_life().await;
        for _ in 0..self.weather.faults {
            let fault = self.weather.fault(&mut self.rng);
            if self.weather.lulls && self.rng.chance(40) {
                life = self.lull(life).await;
            }
            self.desk.eye.note(format_args!("next: {fault:?}"));
            life = self.spoil(life, &fault).await;
            self.desk.door.rests(false);
            let while_ms = 200 + self.rng.below(3300);
            life = self.run(life, Duration::from_millis(while_ms), fault.kills()).await;
        }
        life
    }

    /// Nobody asks for anything for a while, but perhaps for a compaction of all there is: what comes next
    /// finds everything at rest, and rows gone that were the newest.
    async fn lull(&mut self, mut life: Life) -> Life {
        self.desk.eye.hit("lull");
        self.desk.door.rests(true);
        let time = Duration::from_millis(300 + self.rng.below(1000));
        life = self.run(life, time, false).await;
        if self.rng.chance(70) {
            let op = Op::Compact { revision: self.desk.eye.revision(), physical: true };
            ask(&self.desk, OPERATOR, &life.node.client(), op, Duration::from_secs(10)).await;
        }
        life
    }

    /// Does it.
    async fn spoil(&mut self, mut life: Life, fault: &Fault) -> Life {
        let (machine, eye) = (&mut self.machines[0], self.desk.eye.clone());
        match fault {
            Fault::Cut => {
                eye.hit("power cut while idle");
                life = self.die(life, true).await;
            }
            Fault::Kill => {
                eye.hit("process killed");
                life = self.die(life, false).await;
            }
            Fault::Stop => {
                self.desk.door.shuts();
                machine.stop(life).await;
                eye.hit("stopped and started");
                eye.hit("log sealed by a stop");
                life = self.begin_life().await;
            }
            Fault::CutAtCall(calls) => machine.disk.cut_at_call(Some(machine.disk.calls() + calls)),
            Fault::Io(calls) => machine.disk.fail_at_call(machine.disk.calls() + calls, DiskFault::Io),
            Fault::Stall(time) => machine.pace.lock().expect("one thread runs at a time").stall = Some(*time),
            Fault::FlushBehind(batches) => {
                eye.hit("engine flushed by itself");
                machine.engine.flush_behind(*batches);
            }
            Fault::FlushThenCut(batches, calls) => {
                eye.hit("engine flushed by itself");
                machine.engine.flush_behind(*batches);
                machine.disk.cut_at_call(Some(machine.disk.calls() + calls));
            }
            Fault::Pause(time) => {
                eye.hit("whole machine paused");
                tokio::time::advance(*time).await;
            }
            Fault::Full(left) => machine.room(*left),
            Fault::Room => machine.room(u64::MAX),
            Fault::Quiet => {}
        }
        life
    }

    /// Lets it run for a while. It may die of what was planned, and then lives again.
    pub async fn run(&mut self, mut life: Life, time: Duration, may_die: bool) -> Life {
        let end = Instant::now() + time;
        loop {
            let died = tokio::select! {
                biased;
                why = life.node.failed() => Some(why),
                () = tokio::time::sleep_until(end) => None,
            };
            let Some(why) = died else { break };
            self.desk.eye.note(format_args!("the member died: {why}"));
            if !may_die {
                self.desk.eye.violated(format_args!("the member died, and nothing was done to it: {why}"));
            }
            let powered = self.machines[0].disk.powered();
            let what =
                if powered { "failed write or sync ended the member" } else { "power cut at a disk call" };
            self.desk.eye.hit(what);
            // What a failed write left behind is unknown: as if the power had gone with it.
            life = self.die(life, true).await;
        }
        if may_die {
            // What was planned and did not come to pass is taken back.
            self.machines[0].disk.cut_at_call(None);
            self.machines[0].disk.fail_at_call(0, DiskFault::Io);
        }
        life
    }

    async fn die(&mut self, life: Life, power: bool) -> Life {
        self.desk.door.shuts();
        self.machines[0].end(life, power).await;
        sleep(Duration::from_millis(self.rng.below(2000))).await;
        self.begin_life().await
    }

    /// Starts the member, however often the power goes while it starts.
    async fn begin_life(&mut self) -> Life {
        loop {
            self.look_before();
            let machine = &mut self.machines[0];
            if self.weather.cuts && self.rng.chance(20) {
                machine.disk.cut_at_call(Some(machine.disk.calls() + 1 + self.rng.below(40)));
            }
            let planned = Instant::now();
            let started = machine.start().await;
            let failed = match started {
                Ok(life) => match self.get_ready(life).await {
                    Ok(life) => return life,
                    Err(why) => why,
                },
                Err(error) => error.to_string(),
            };
            let machine = &mut self.machines[0];
            self.desk.eye.note(format_args!("no start, {:?} after: {failed}", planned.elapsed()));
            if machine.disk.powered() {
                self.desk.eye.violated(format_args!("the member does not start: {failed}"));
            }
            self.desk.eye.hit("power cut during a start");
            self.desk.eye.died();
            machine.disk.power_on();
            machine.engine = machine.engine.survivor();
        }
    }

    async fn get_ready(&mut self, life: Life) -> Result<Life, String> {
        let ready = life.node.ready(READY).await;
        let machine = &mut self.machines[0];
        let powered = machine.disk.powered();
        machine.disk.cut_at_call(None);
        match ready {
            Ok(()) if powered => {}
            Err(why) if powered => {
                self.desk.eye.violated(format_args!("the member is not ready after {READY:?}: {why}"));
            }
            _ => {
                let survivor = life.medium.survivor.lock().expect("one thread runs at a time").take();
                life.node.shutdown().await;
                machine.engine = survivor.unwrap_or_else(|| machine.engine.survivor());
                return Err("it had no power when it was ready".into());
            }
        }
        if self.desk.eye.is_short() {
            self.desk.eye.hit("started where there was no room");
        }
        self.desk.eye.compare(self.desk.recorder.history().floor);
        let log = machine.log_options();
        self.desk.door.opens(&life, log);
        Ok(life)
    }

    /// What the next start will find.
    fn look_before(&self) {
        let eye = &self.desk.eye;
        let Some(found) = self.machines[0].look() else { return };
        let hits = [
            (found.torn, "torn tail cut off"),
            (found.replayed > 0, "restart replayed entries"),
            (found.replayed > 20, "restart replayed more than 20 entries"),
            (found.replayed == 0, "restart with nothing to replay"),
            (found.purged, "log purged"),
            (found.epoch > found.segments, "ring came round"),
            (found.segments > self.machines[0].log_options().ring_segments, "ring grew beyond its size"),
        ];
        hits.iter().filter(|(happened, _)| *happened).for_each(|(_, what)| eye.hit(what));
    }

    /// The history against the truth.
    fn judge(&self) {
        let eye = &self.desk.eye;
        let history = self.desk.recorder.history();
        let (led, lives) = eye.all_lives();
        let short = eye.all_shortages();
        match eye.with_truth(|truth| check::check(&history, truth, led, &lives, &short)) {
            Ok(findings) => {
                let hits = [
                    (findings.open_done > 0, "lost write happened"),
                    (findings.open_not_done > 0, "lost write did not happen"),
                    (findings.expired_with_keys > 0, "lease expired with keys"),
                    (findings.lived_through_restarts > 0, "lease lived through a restart"),
                ];
                hits.iter().filter(|(happened, _)| *happened).for_each(|(_, what)| eye.hit(what));
            }
            Err(what) => eye.violated(format_args!("{what}")),
        }
    }
}

/// Waits until it holds, in virtual time.
pub async fn until(eye: &Eye, what: &str, patience: Duration, holds: impl Fn() -> bool) {
    let waited = timeout(patience, async {
        while !holds() {
            sleep(Duration::from_millis(20)).await;
        }
    });
    if waited.await.is_err() {
        eye.violated(format_args!("{what}: not within {patience:?}"));
    }
}
