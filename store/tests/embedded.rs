//! The embedded store as its users see it.
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bramble_store::disk::sim::SimDisk;
use bramble_store::disk::{Disk, File, LockError, LockGuard, Open};
use bramble_store::embedded::{Embedded, EmbeddedError, EmbeddedOptions};
use bramble_store::engine::{any::AnyEngine, mem::Mem};
use bramble_store::error::{Invalid, Refusal};
use bramble_store::log::LogOptions;
use bramble_store::types::*;

mod common;

const PATH: &str = "/data";

fn small_log() -> LogOptions {
    LogOptions { segment_bytes: 64 * 1024, first_fill_bytes: 4096, ..LogOptions::default() }
}

fn open(disk: &Arc<dyn Disk>, engine: &Mem) -> Result<Embedded, EmbeddedError> {
    let options = EmbeddedOptions { log: small_log(), ..EmbeddedOptions::default() };
    Embedded::open_on(Arc::clone(disk), Path::new(PATH), options, |_| Ok(AnyEngine::from(engine.clone())))
}

/// A store on a simulated disk.
fn store() -> Embedded {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(1));
    open(&disk, &Mem::new()).expect("open")
}

fn value(store: &Embedded, key: &'static str) -> Option<Vec<u8>> {
    store.get(key).expect("get").map(|kv| kv.value.to_vec())
}

fn seconds(s: u64) -> Duration {
    Duration::from_secs(s)
}

#[test]
fn calls_answer_as_on_the_wire() {
    let store = store();
    assert_eq!(store.revision(), 1);
    assert_eq!(store.put("a", "1").expect("put").revision, 2);
    let again = PutRequest { key: "a".into(), value: "2".into(), prev_kv: true, ..PutRequest::default() };
    let reply = store.put_with(again).expect("put");
    assert_eq!((reply.revision, reply.prev_kv.expect("was there").value.as_ref()), (3, &b"1"[..]));
    store.put("b", "3").expect("put");
    let all = store.range(&RangeRequest::new(KeyRange::all())).expect("range");
    assert_eq!((all.count, all.kvs[0].version, all.revision), (2, 2, 4));
    let then = RangeRequest { revision: 2, ..RangeRequest::new(KeyRange::single("a")) };
    assert_eq!(store.range(&then).expect("range").kvs[0].value.as_ref(), b"1");
    assert_eq!(store.delete("a").expect("delete").deleted, 1);
    assert_eq!(store.delete("a").expect("delete").deleted, 0);
    assert_eq!(store.revision(), 5);
    let everything = DeleteRequest { range: KeyRange::all(), prev_kv: true };
    assert_eq!(store.delete_with(everything).expect("delete").prev_kvs[0].key.as_ref(), b"b");
}

#[test]
fn a_transaction_compares_and_writes_at_one_revision() {
    let store = store();
    let absent = |key: &'static str| Compare {
        range: KeyRange::single(key),
        target: CompareTarget::Version(0),
        result: CompareResult::Equal,
    };
    let put = |key: &'static str, value: &'static str| {
        Op::Put(PutRequest { key: key.into(), value: value.into(), ..PutRequest::default() })
    };
    let create = |value: &'static str| TxnRequest {
        compare: vec![absent("a")],
        success: vec![put("a", value), put("b", value)],
        failure: vec![Op::Range(RangeRequest::new(KeyRange::single("a")))],
    };
    let first = store.txn(create("first")).expect("txn");
    assert!(first.succeeded);
    let second = store.txn(create("second")).expect("txn");
    assert!(!second.succeeded);
    let OpReply::Range(range) = &second.replies[0] else { panic!("{second:?}") };
    assert_eq!(range.kvs[0].value.as_ref(), b"first");
    assert_eq!(store.revision(), 2, "both keys at one revision, the refused branch wrote nothing");
    let read = TxnRequest { success: create("x").failure, ..TxnRequest::default() };
    assert!(store.txn(read).expect("a read").succeeded);
}

#[test]
fn what_is_wrong_is_said_and_nothing_is_written() {
    let store = store();
    let empty = store.put("", "x").expect_err("an empty key");
    assert!(matches!(empty, EmbeddedError::Invalid(Invalid::EmptyKey)), "{empty}");
    assert!(matches!(store.get(""), Err(EmbeddedError::Invalid(Invalid::EmptyKey))));
    let unleased = PutRequest { key: "a".into(), lease: LeaseId(7), ..PutRequest::default() };
    let refused = store.put_with(unleased).expect_err("no such lease");
    assert!(matches!(refused, EmbeddedError::Refused(Refusal::LeaseNotFound)), "{refused}");
    let future = store.compact(10).expect_err("the future");
    assert!(matches!(future, EmbeddedError::Refused(Refusal::Future { .. })), "{future}");
    let large = store.put("a", vec![0; 70_000]).expect_err("more than a segment holds");
    assert!(matches!(large, EmbeddedError::TooLarge { .. }), "{large}");
    assert_eq!(store.revision(), 1);
    store.put("a", "b").expect("and the store goes on");
}

#[test]
fn leases_end_when_the_host_says_it_is_time() {
    let store = store();
    let lease = store.lease_grant(LeaseId::NONE, 10).expect("grant");
    let with = |key: &'static str| PutRequest { key: key.into(), lease, ..PutRequest::default() };
    store.put_with(with("a")).expect("put");
    store.put_with(with("b")).expect("put");
    let begun = store.maintain(seconds(100)).expect("maintain");
    assert_eq!(begun.next_lease_end, Some(seconds(110)));
    assert_eq!(store.lease_keep_alive(lease, seconds(105)).expect("renew"), 10);
    assert_eq!(store.maintain(seconds(114)).expect("maintain").expired, 0);
    assert_eq!(value(&store, "a"), Some(Vec::new()));
    let before = store.revision();
    assert_eq!(store.maintain(seconds(115)).expect("maintain").expired, 1);
    assert_eq!((value(&store, "a"), value(&store, "b")), (None, None));
    assert_eq!(store.revision(), before + 1, "both keys at one revision");
    let gone = store.lease_keep_alive(lease, seconds(116)).expect_err("it ended");
    assert!(matches!(gone, EmbeddedError::Refused(Refusal::LeaseNotFound)));
    let chosen = store.lease_grant(LeaseId(77), 5).expect("grant");
    assert!(store.lease_grant(chosen, 5).is_err(), "the id is taken");
    store.lease_revoke(chosen).expect("revoke");
    assert_eq!(store.maintain(seconds(500)).expect("maintain").next_lease_end, None);
}

#[test]
fn a_watch_reads_on_from_where_it_is() {
    let store = store();
    store.put("a/1", "x").expect("put");
    store.put("b/1", "x").expect("put");
    let mut watch = store.watch(KeyRange::prefix("a/"), 2).with_prev_kv();
    store.put("a/1", "y").expect("put");
    store.delete("a/1").expect("delete");
    let mut seen = Vec::new();
    while seen.len() < 3 {
        seen.extend(watch.next(Duration::ZERO).expect("next"));
    }
    let short: Vec<_> = seen.iter().map(|e| (e.kind, e.kv.mod_revision, e.prev_kv.is_some())).collect();
    use EventKind::{Delete, Put};
    assert_eq!(short, [(Put, 2, false), (Put, 4, true), (Delete, 5, true)]);
    assert_eq!(watch.next(Duration::ZERO).expect("next"), []);
    let writer = std::thread::spawn(move || store.put("a/2", "z").expect("put").revision);
    let event = watch.next(seconds(30)).expect("next").pop().expect("the write woke it");
    assert_eq!(event.kv.mod_revision, writer.join().expect("the writer"));
}

#[test]
fn a_watch_is_told_when_a_compaction_overtook_it() {
    let store = store();
    (0..5).for_each(|_| drop(store.put("a", "x").expect("put")));
    let mut behind = store.watch(KeyRange::single("a"), 2);
    store.compact(5).expect("compact");
    while store.maintain(seconds(1)).expect("maintain").more {}
    let told = behind.next(Duration::ZERO).expect_err("revision 2 is gone");
    assert!(matches!(told, EmbeddedError::Refused(Refusal::Compacted { compacted: 5, .. })), "{told}");
    assert_eq!(store.watch(KeyRange::single("a"), 5).next(Duration::ZERO).expect("next").len(), 2);
}

#[test]
fn the_log_stays_within_its_ring_without_maintenance() {
    let disk = SimDisk::new(1);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let store = open(&shared, &Mem::new()).expect("open");
    (0..300).for_each(|_| drop(store.put("a", vec![7; 3000]).expect("put")));
    let bytes = log_bytes(&disk);
    assert!(bytes <= 4 * 64 * 1024, "{bytes} bytes for 300 frames of 4 KiB");
}

#[test]
fn maintenance_flushes_and_the_ring_is_used_again() {
    let disk = SimDisk::new(1);
    let (shared, engine): (Arc<dyn Disk>, _) = (Arc::new(disk.clone()), Mem::new());
    let store = open(&shared, &engine).expect("open");
    let mut flushes = 0;
    for second in 0..300 {
        store.put("a", vec![7; 3000]).expect("put");
        flushes += u64::from(store.maintain(seconds(second)).expect("maintain").flushed);
    }
    assert!((5..60).contains(&flushes), "{flushes} flushes of half a ring in 300 frames");
    assert!(log_bytes(&disk) <= 4 * 64 * 1024);
    store.flush().expect("flush");
    engine.crash();
    assert_eq!(store.view().revision(), 301, "all of it was in the engine");
}

fn log_bytes(disk: &SimDisk) -> u64 {
    let log = PathBuf::from(PATH).join("log");
    disk.files().iter().filter(|(path, _)| path.starts_with(&log)).map(|(_, bytes)| bytes).sum()
}

#[test]
fn a_failed_write_ends_writing_and_is_not_repeated() {
    let disk = SimDisk::new(1);
    let (shared, engine): (Arc<dyn Disk>, _) = (Arc::new(disk.clone()), Mem::new());
    let store = open(&shared, &engine).expect("open");
    store.put("a", "kept").expect("put");
    let mut watch = store.watch(KeyRange::all(), 0);
    disk.fail_at_call(disk.calls() + 1, bramble_store::disk::sim::Fault::Io);
    let first = store.put("b", "lost").expect_err("the disk failed");
    assert!(matches!(first, EmbeddedError::Fatal(_)), "{first}");
    let calls = disk.calls();
    assert!(matches!(store.put("c", "x"), Err(EmbeddedError::Fatal(_))));
    assert!(matches!(store.maintain(seconds(1)), Err(EmbeddedError::Fatal(_))));
    assert!(matches!(watch.next(seconds(30)), Err(EmbeddedError::Fatal(_))), "a waiter is told at once");
    assert_eq!(disk.calls(), calls, "nothing was tried again");
    assert_eq!(value(&store, "a"), Some(b"kept".to_vec()), "reads go on");
    drop((store, watch));
    disk.kill();
    engine.crash();
    assert_eq!(value(&open(&shared, &engine).expect("open"), "a"), Some(b"kept".to_vec()));
}

/// Syncs take as long as a card's, so that callers meet.
struct SlowDisk(SimDisk);
struct SlowFile(Arc<dyn File>);

impl Disk for SlowDisk {
    fn open(&self, path: &Path, how: Open) -> std::io::Result<Arc<dyn File>> {
        Ok(Arc::new(SlowFile(self.0.open(path, how)?)))
    }
    fn create_dir(&self, path: &Path) -> std::io::Result<()> {
        self.0.create_dir(path)
    }
    fn exists(&self, path: &Path) -> std::io::Result<bool> {
        self.0.exists(path)
    }
    fn list(&self, dir: &Path) -> std::io::Result<Vec<String>> {
        self.0.list(dir)
    }
    fn rename(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        self.0.rename(from, to)
    }
    fn unlink(&self, path: &Path) -> std::io::Result<()> {
        self.0.unlink(path)
    }
    fn sync_dir(&self, dir: &Path) -> std::io::Result<()> {
        self.0.sync_dir(dir)
    }
    fn free_bytes(&self, dir: &Path) -> std::io::Result<u64> {
        self.0.free_bytes(dir)
    }
    fn lock(&self, path: &Path) -> Result<Box<dyn LockGuard>, LockError> {
        self.0.lock(path)
    }
}

impl File for SlowFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> std::io::Result<()> {
        self.0.read_at(offset, buf)
    }
    fn write_at(&self, offset: u64, data: bramble_store::disk::AlignedSlice<'_>) -> std::io::Result<()> {
        self.0.write_at(offset, data)
    }
    fn write_small(&self, data: &[u8]) -> std::io::Result<()> {
        self.0.write_small(data)
    }
    fn sync(&self) -> std::io::Result<()> {
        std::thread::sleep(Duration::from_millis(3));
        self.0.sync()
    }
    fn settle(&self) -> std::io::Result<()> {
        self.0.settle()
    }
    fn len(&self) -> std::io::Result<u64> {
        self.0.len()
    }
}

#[test]
fn callers_at_the_same_time_share_flushes() {
    const CALLERS: u64 = 16;
    const PUTS: u64 = 25;
    let disk = SimDisk::new(1);
    let shared: Arc<dyn Disk> = Arc::new(SlowDisk(disk.clone()));
    let store = open(&shared, &Mem::new()).expect("open");
    let before = disk.counts().syncs;
    let mut revisions: Vec<i64> = std::thread::scope(|scope| {
        let puts = |caller: u64| {
            let store = store.clone();
            move || {
                let put = |n| store.put(format!("{caller}/{n}"), "x").expect("put").revision;
                (0..PUTS).map(put).collect::<Vec<_>>()
            }
        };
        let callers: Vec<_> = (0..CALLERS).map(|caller| scope.spawn(puts(caller))).collect();
        callers.into_iter().flat_map(|caller| caller.join().expect("a caller")).collect()
    });
    revisions.sort_unstable();
    let expected: Vec<i64> = (2..2 + (CALLERS * PUTS) as i64).collect();
    assert_eq!(revisions, expected, "each put has its own revision");
    assert_eq!(store.range(&RangeRequest::new(KeyRange::all())).expect("range").count, expected.len() as i64);
    let syncs = disk.counts().syncs - before;
    assert!(syncs <= CALLERS * PUTS / 4, "{syncs} syncs for {} puts", CALLERS * PUTS);
}
