//! How long the store's own steps take, without network and Raft: log, apply, range, watch.
//!
//! The log and RocksDB are on the real disk, in `BRAMBLE_BENCH_DIR` (default: the build directory).
use std::cell::Cell;
use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bramble_bench::{entry, filled, key, puts, value};
use bramble_store::auth::Need;
use bramble_store::command::{Action, AuthChange, Origin};
use bramble_store::disk::real::RealDisk;
use bramble_store::engine::Engine;
use bramble_store::engine::mem::Mem;
use bramble_store::engine::rocks::{Rocks, RocksOptions};
use bramble_store::log::{Log, LogOptions};
use bramble_store::store::{ReadView, open};
use bramble_store::types::{
    ChangedKey, Changes, Detail, EventKind, KeyRange, KeyValue, LeaseId, Permission, PermissionKind,
    RangeEnd, RangeRequest,
};
use bramble_store::watch::{Hub, HubOptions, StreamId, WatchSpec};
use criterion::{BenchmarkId, Criterion, Throughput};
use tempfile::TempDir;

const VALUE_BYTES: usize = 1024;
const KEYS: u64 = 10_000;
const WATCHERS: u64 = 100;

fn directory() -> TempDir {
    let place = std::env::var_os("BRAMBLE_BENCH_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    TempDir::new_in(place).expect("a directory to measure in")
}

/// Question: what does a group of entries cost until it is durable? Every write hits zeros written
/// before, as after the first minutes of a node's life; the ring is freed as it goes.
fn log(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("log append and flush, 1 KiB entries");
    for entries in [1, 64] {
        let dir = directory();
        let opened = Log::open(Arc::new(RealDisk), &dir.path().join("log"), LogOptions::default());
        let (mut log, _) = opened.expect("a new log");
        while log.fill_ahead(u64::MAX).expect("fill") {}
        let mut next = 0;
        group.throughput(Throughput::Elements(entries));
        group.bench_function(BenchmarkId::from_parameter(entries), |bench| {
            bench.iter_batched(
                || {
                    next += entries;
                    puts(next - entries, entries, KEYS, VALUE_BYTES)
                },
                |batch| {
                    log.append(&batch).expect("append");
                    let last = log.flush().expect("flush").last.expect("not empty");
                    log.note_durable(last);
                    log.purge(last);
                },
                criterion::BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

/// Entries applied to one store before it is made anew, so that history and memory stay bounded.
const APPLIED_MAX: u64 = 30_000;

fn apply_to<E: Engine>(criterion: &mut Criterion, name: &str, engine: impl Fn() -> E) {
    let mut group = criterion.benchmark_group(format!("apply, {KEYS} keys, 1 KiB values, {name}"));
    for entries in [1, 64] {
        group.throughput(Throughput::Elements(entries));
        group.bench_function(BenchmarkId::from_parameter(entries), |bench| {
            let fresh = || filled(engine(), KEYS, VALUE_BYTES).expect("a filled store").0;
            let (mut writer, mut next) = (fresh(), KEYS);
            bench.iter_custom(|iterations| {
                let mut spent = Duration::ZERO;
                for _ in 0..iterations {
                    if next > KEYS + APPLIED_MAX {
                        (writer, next) = (fresh(), KEYS);
                    }
                    let batch = puts(next, entries, KEYS, VALUE_BYTES);
                    next += entries;
                    let start = Instant::now();
                    black_box(writer.apply(&batch).expect("apply"));
                    spent += start.elapsed();
                }
                spent
            });
        });
    }
    group.finish();
}

/// Question: what does a group of puts cost between commit and answer?
fn apply(criterion: &mut Criterion) {
    apply_to(criterion, "mem", Mem::new);
    let dir = directory();
    let made = Cell::new(0);
    apply_to(criterion, "rocks", || {
        made.set(made.get() + 1);
        let path = dir.path().join(made.get().to_string());
        Rocks::open(&path, RocksOptions::default()).expect("open")
    });
}

/// Question: what does a read cost on flushed data?
fn range(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group(format!("range, {KEYS} keys, 1 KiB values, rocks"));
    let dir = directory();
    let rocks = Rocks::open(dir.path(), RocksOptions::default()).expect("open");
    let (_writer, reader) = filled(rocks, KEYS, VALUE_BYTES).expect("a filled store");
    let page = RangeRequest { limit: 500, ..RangeRequest::new(KeyRange::prefix("/registry/pods/")) };
    let count = RangeRequest { detail: Detail::CountOnly, limit: 0, ..page.clone() };
    let mut number = 0;
    group.bench_function("get", |bench| {
        bench.iter(|| {
            number = (number + 7919) % KEYS;
            reader.view().range(&RangeRequest::new(KeyRange::single(key(number)))).expect("range")
        });
    });
    group.bench_function("page of 500", |bench| bench.iter(|| reader.view().range(&page).expect("range")));
    group.bench_function("count", |bench| bench.iter(|| reader.view().range(&count).expect("range")));
    group.finish();
}

/// Question: what does it cost to queue one change for 100 watchers of one prefix, and to take it out?
fn watch(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group(format!("watch, {WATCHERS} watchers, 1 KiB values"));
    let (_writer, reader) = filled(Mem::new(), 1, VALUE_BYTES).expect("a filled store");
    let view = reader.view();
    let mut hub = Hub::at(view.revision(), HubOptions::default());
    for stream in 0..WATCHERS {
        let range = KeyRange::prefix("/registry/pods/");
        let spec = WatchSpec { range, start: 0, no_put: false, no_delete: false, prev_kv: false };
        hub.watch(StreamId(stream), spec, 0);
    }
    let change = |main: i64| {
        let kv = KeyValue {
            key: key(main as u64 % 100),
            create_revision: 1,
            mod_revision: main,
            version: main,
            value: value(main as u64, VALUE_BYTES),
            lease: LeaseId::NONE,
        };
        Changes { main, changes: vec![ChangedKey { sub: 0, kind: EventKind::Put, kv }] }
    };
    group.throughput(Throughput::Elements(WATCHERS));
    group.bench_function("publish and take", |bench| {
        bench.iter_custom(|iterations| {
            let mut spent = Duration::ZERO;
            for _ in 0..iterations {
                let changes = [change(hub.revision() + 1)];
                let start = Instant::now();
                hub.publish(&view, &changes).expect("publish");
                let taken = hub.ready().into_iter().map(|stream| hub.take(stream, usize::MAX).len());
                assert_eq!(taken.sum::<usize>() as u64, WATCHERS);
                spent += start.elapsed();
            }
            spent
        });
    });
    group.finish();
}

/// Question: what does it cost to ask whether a user may read a key? The user has 10 roles with 10 ranges
/// each, every second one touching the one before; "compiled" asks again, "first" asks a view whose users
/// have just changed, on RocksDB.
fn permit(criterion: &mut Criterion) {
    let dir = directory();
    let engine = Rocks::open(dir.path(), RocksOptions::default()).expect("opens");
    let (mut writer, reader) = open(engine).expect("opens");
    let mut index = 0;
    let mut change = |change: AuthChange| {
        let entry =
            entry(index, Action::Auth(change), Origin { user: "root".into(), auth_revision: u64::MAX });
        index += 1;
        let applied = writer.apply(&[entry]).expect("applies");
        assert!(applied.answers[0].outcome.is_ok(), "{:?}", applied.answers);
    };
    for name in ["root", "user"] {
        let (name, password, no_password) = (name.to_owned(), "hash".into(), false);
        change(AuthChange::UserAdd { name, password, no_password });
    }
    change(AuthChange::UserGrantRole { user: "root".into(), role: "root".into() });
    for role in 0..10 {
        let name = format!("role{role}");
        change(AuthChange::RoleAdd { name: name.clone() });
        for range in 0..10 {
            let at = role * 100 + range * 10;
            let range = KeyRange { start: key(at), end: RangeEnd::Before(key(at + 5 + 5 * (range % 2))) };
            let permission = Some(Permission { kind: PermissionKind::ReadWrite, range });
            change(AuthChange::RoleGrantPermission { role: name.clone(), permission });
        }
        change(AuthChange::UserGrantRole { user: "user".into(), role: name });
    }
    change(AuthChange::Enable);
    let mut group = criterion.benchmark_group("permit, 10 roles of 10 ranges");
    let asked = |view: &ReadView<_>| {
        let origin = Origin { user: "user".into(), auth_revision: view.auth().revision };
        (origin, Need::Read(KeyRange::single(key(513))))
    };
    let view = reader.view();
    let (origin, need) = asked(&view);
    group.bench_function("compiled", |bench| bench.iter(|| view.permit(black_box(&origin), &need).is_ok()));
    group.bench_function("first", |bench| {
        bench.iter_batched(
            || {
                change(AuthChange::UserChangePassword { name: "root".into(), password: "hash".into() });
                let view = reader.view();
                let (origin, need) = asked(&view);
                (view, origin, need)
            },
            |(view, origin, need)| assert!(view.permit(&origin, &need).is_ok()),
            criterion::BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    log(&mut criterion);
    apply(&mut criterion);
    range(&mut criterion);
    watch(&mut criterion);
    permit(&mut criterion);
    criterion.final_summary();
}
