//! The thread's whole life in one call: nobody rings, so time passes by its own pauses.
use std::path::Path;
use std::sync::OnceLock;

use bramble_store::disk::sim::{SimCounts, SimDisk};
use bramble_store::log::LogOptions;

use super::*;
use crate::metrics::Metrics;

/// The log is closed after so long.
const DAY: Duration = Duration::from_secs(86_400);

/// A clock that goes on whenever somebody waits.
#[derive(Default)]
struct Pauses {
    now: Mutex<Duration>,
    log: OnceLock<Arc<SharedLog>>,
    /// What the disk had done after two minutes.
    quiet: Mutex<Option<SimCounts>>,
    disk: OnceLock<SimDisk>,
}

impl Clock for Pauses {
    fn now(&self) -> Duration {
        *self.now.lock().expect("no panic")
    }
}

impl Bell for Pauses {
    fn ring(&self) {}

    fn wait(&self, pause: Duration) -> bool {
        *self.now.lock().expect("no panic") += pause;
        let now = self.now();
        if now >= Duration::from_secs(120) {
            let counts = || self.disk.get().expect("it is set").counts();
            self.quiet.lock().expect("no panic").get_or_insert_with(counts);
        }
        if now >= DAY {
            self.log.get().expect("it is set").close();
        }
        false
    }
}

/// A day of a log that is written to once. What it was asked for, and the writes of its last day but two minutes.
fn day(disk: &SimDisk, note_of: fn(Occasion) -> Option<Bytes>) -> (Vec<Occasion>, u64) {
    let (dir, pauses) = (Path::new("/log"), Arc::new(Pauses::default()));
    let options = LogOptions { segment_bytes: 1 << 20, ring_segments: 2, ..LogOptions::default() };
    let (log, recovered) = Log::open(Arc::new(disk.clone()), dir, options).expect("an empty disk");
    let meter = Metrics::new(Duration::from_secs(1)).0.log.clone();
    let shared =
        SharedLog::new(&log, &recovered, Tail::new(1 << 20), pauses.clone(), Failure::new(dir), meter);
    assert!(pauses.log.set(shared.clone()).is_ok() && pauses.disk.set(disk.clone()).is_ok());
    shared.give(Order::Vote(Vote::default(), oneshot::channel().0), |_| {});
    let occasions = Arc::new(Mutex::new(Vec::new()));
    let asked = occasions.clone();
    let notes: Notes = Box::new(move |occasion| {
        asked.lock().expect("no panic").push(occasion);
        note_of(occasion)
    });
    run(log, &shared, &*pauses, &notes);
    let quiet = pauses.quiet.lock().expect("no panic").take().expect("the day was long enough");
    let occasions = occasions.lock().expect("no panic").clone();
    (occasions, disk.counts().writes - quiet.writes)
}

fn note_in(disk: &SimDisk) -> Option<Bytes> {
    let options = LogOptions { segment_bytes: 1 << 20, ring_segments: 2, ..LogOptions::default() };
    Log::open(Arc::new(disk.survivor()), Path::new("/log"), options).expect("it is whole").1.note
}

#[test]
fn a_quiet_log_takes_one_note_with_its_seal_and_is_left_alone() {
    let disk = SimDisk::new(1);
    let (occasions, writes) = day(&disk, |occasion| match occasion {
        Occasion::Frames => None,
        Occasion::Seal => Some("sealed".into()),
        Occasion::Nothing => None,
    });
    assert_eq!(occasions, [Occasion::Frames, Occasion::Seal, Occasion::Nothing]);
    assert_eq!((writes, note_in(&disk)), (0, Some("sealed".into())));
}

#[test]
fn a_sealed_log_that_ends_is_written_to_for_a_note_alone() {
    let disk = SimDisk::new(2);
    let (_, writes) = day(&disk, |occasion| (occasion == Occasion::Nothing).then(|| "late".into()));
    assert_eq!((writes, note_in(&disk)), (1, Some("late".into())));
}

#[test]
fn a_note_rides_with_frames() {
    let disk = SimDisk::new(3);
    let (_, writes) = day(&disk, |occasion| (occasion == Occasion::Frames).then(|| "rode".into()));
    assert_eq!((writes, note_in(&disk)), (0, Some("rode".into())));
}
