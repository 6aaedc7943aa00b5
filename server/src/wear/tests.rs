use std::fs;
use std::path::Path;

use bramble_store::types::{ChangedKey, KeyValue};

use super::*;
use crate::metrics::Metrics;

const TODAY: u32 = 20_779;

#[derive(Default)]
struct Hand {
    now: Mutex<Duration>,
}

impl Clock for Hand {
    fn now(&self) -> Duration {
        *self.now.lock().expect("no panic")
    }
}

impl Hand {
    fn forward(&self, by: Duration) {
        *self.now.lock().expect("no panic") += by;
    }
}

struct Day(AtomicU64);

impl Calendar for Day {
    fn today(&self) -> u32 {
        self.0.load(Ordering::Relaxed) as u32
    }
}

struct World {
    clock: Arc<Hand>,
    day: Arc<Day>,
    wear: Wear,
}

/// A life of a member that goes on from `note`.
fn life(device: Option<&Path>, note: Option<&Bytes>) -> World {
    let (clock, day) = (Arc::new(Hand::default()), Arc::new(Day(AtomicU64::new(u64::from(TODAY)))));
    let (metrics, _) = Metrics::new(Duration::from_secs(1));
    let sources = Sources {
        disk: metrics.disk.clone(),
        log: metrics.log.clone(),
        engine: metrics.flushes.clone(),
        device: device.map(Device::at),
        clock: clock.clone(),
        calendar: day.clone(),
    };
    let medium = Medium { media: Media::SdA1, endurance_bytes: None };
    World { clock, day, wear: Wear::begin(sources, medium, note) }
}

/// The bytes of one change of `key`, made at revision `main`.
fn change(main: i64, key: &str, value: &str) -> Changes {
    let kv = KeyValue { key: key.to_owned().into(), value: value.to_owned().into(), ..KeyValue::default() };
    Changes { main, changes: vec![ChangedKey { sub: 0, kind: EventKind::Put, kv }] }
}

fn engine_wrote(wear: &Wear, bytes: u64) {
    wear.engine_worked(&EngineWork { flush_bytes: bytes, ..EngineWork::default() });
}

#[test]
fn what_is_applied_again_is_counted_once() {
    let first = life(None, None);
    first.wear.changed(&[change(2, "/a/b/c/d", "1234"), change(3, "/a/b/c/d", "1234")]);
    let note = first.wear.note();
    // Not in the note: lost with the crash, and applied again by the next life.
    first.wear.changed(&[change(4, "/a/b/c/d", "1234")]);
    let second = life(None, Some(&note));
    second.wear.changed(&[change(3, "/a/b/c/d", "1234"), change(4, "/a/b/c/d", "1234")]);
    let json = second.wear.report().json();
    assert_eq!(json["windows"]["all"]["writes"], 3);
    assert_eq!(json["windows"]["all"]["user_bytes"], 3 * 12);
    assert_eq!(json["top_prefixes"][0], serde_json::json!({ "prefix": "/a/b/", "bytes": 3 * 12 }));
}

#[test]
fn a_note_is_due_after_a_time() {
    let World { clock, wear, .. } = life(None, None);
    assert_eq!(wear.note_if_due(), None);
    clock.forward(NOTE_EVERY - Duration::from_millis(1));
    assert_eq!(wear.note_if_due(), None);
    clock.forward(Duration::from_millis(1));
    assert!(wear.note_if_due().is_some());
    assert_eq!(wear.note_if_due(), None, "there is one already");
}

#[test]
fn a_note_alone_has_to_be_worth_its_write() {
    let World { wear, clock, .. } = life(None, None);
    engine_wrote(&wear, ALONE_BYTES - 1);
    clock.forward(ALONE_AFTER - Duration::from_secs(1));
    assert_eq!(wear.note_if_worth_a_write(), None);
    engine_wrote(&wear, ALONE_BYTES);
    let note = wear.note_if_worth_a_write().expect("worth it");
    assert_eq!(wear.note_if_worth_a_write(), None, "said already");
    clock.forward(ALONE_AFTER);
    assert!(wear.note_if_worth_a_write().is_some(), "the time that it has run");
    let next = life(None, Some(&note)).wear.report().json();
    assert_eq!(next["windows"]["today"]["own_bytes_by_cause"]["engine_flush"], ALONE_BYTES);
}

#[test]
fn days_go_by_between_lives_and_a_clock_at_1970_loses_nothing() {
    let first = life(None, None);
    engine_wrote(&first.wear, 1000);
    let second = life(None, Some(&first.wear.note()));
    second.day.0.store(0, Ordering::Relaxed);
    engine_wrote(&second.wear, 500);
    let windows = &second.wear.report().json()["windows"];
    assert_eq!((&windows["today"]["own_bytes"], &windows["all"]["own_bytes"]), (&1500.into(), &1500.into()));
    second.day.0.store(u64::from(TODAY) + 3, Ordering::Relaxed);
    engine_wrote(&second.wear, 700);
    let json = second.wear.report().json();
    let own = |window: &str| json["windows"][window]["own_bytes"].as_u64();
    assert_eq!(
        [own("today"), own("7d"), own("30d"), own("all")].map(Option::unwrap_or_default),
        [200, 1700, 1700, 1700]
    );
    assert_eq!(json["date"], "2026-11-25");
}

#[test]
fn a_device_is_counted_while_the_member_runs() {
    let dir = tempfile::tempdir().expect("a directory");
    let stat = |sectors: u64, flushes: u64| {
        let line = format!("1 0 8 0 2 0 {sectors} 0 0 0 0 0 0 0 0 {flushes} 0\n");
        fs::write(dir.path().join("stat"), line).expect("written");
    };
    stat(1000, 50);
    let first = life(Some(dir.path()), None);
    stat(1010, 53);
    let note = first.wear.note();
    stat(9000, 60);
    let second = life(Some(dir.path()), Some(&note));
    stat(9005, 61);
    let today = &second.wear.report().json()["windows"]["today"];
    assert_eq!((&today["device_bytes"], &today["device_flushes"]), (&(15 * 512).into(), &4.into()));
    fs::remove_file(dir.path().join("stat")).expect("removed");
    second.wear.report();
    stat(9006, 61);
    let today = &second.wear.report().json()["windows"]["today"];
    assert_eq!(today["device_bytes"], 16 * 512, "it could not be read once");
    let unseen = life(None, None).wear.report().json();
    assert!(unseen["windows"]["today"]["device_bytes"].is_null() && unseen["device"].is_null());
}

#[test]
fn a_note_of_another_version_begins_anew() {
    let World { wear, .. } = life(None, Some(&Bytes::from_static(b"\x07 nobody knows")));
    engine_wrote(&wear, 5);
    assert_eq!(wear.report().json()["windows"]["all"]["own_bytes"], 5);
}
