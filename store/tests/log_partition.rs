//! The log on a partition of its own: made, moved to, cut short at every call, and never taken for another.
use std::path::Path;
use std::sync::Arc;

use bramble_store::command::{Entry, Payload};
use bramble_store::data_dir::{DataDir, Ids};
use bramble_store::disk::partition::{Claimed, Contents, Label, Owner};
use bramble_store::disk::real::RealDisk;
use bramble_store::disk::sim::SimDisk;
use bramble_store::disk::{Disk, Open};
use bramble_store::log::{Log, LogOptions, Recovered, Vote};
use bramble_store::log_place::{LogPlace, Making, PlaceError};
use bramble_store::types::LogId;

const DIR: &str = "/var/bramble";
const DEVICE: &str = "/partition";
const OURS: Ids = Ids { cluster: 1, member: 2, instance: 3 };
const OTHERS: Ids = Ids { instance: 4, ..OURS };
const UNIT_BYTES: u32 = 64 << 10;
const UNITS: usize = 8;
/// Where the copy of the table lies.
const COPY_AT: u64 = 32 << 10;

fn options() -> LogOptions {
    let segment_bytes = u64::from(UNIT_BYTES);
    LogOptions { segment_bytes, ring_segments: 2, first_fill_bytes: 8192, ..LogOptions::default() }
}

fn entries(indexes: std::ops::Range<u64>) -> Vec<Entry> {
    let entry =
        |index| Entry { id: LogId { term: 1, index }, payload: Payload::Command(vec![7; 3000].into()) };
    indexes.map(entry).collect()
}

/// A machine with a file that is taken for a partition.
struct Machine {
    disk: SimDisk,
}

impl Machine {
    fn new(seed: u64) -> Machine {
        let machine = Machine { disk: SimDisk::new(seed) };
        machine.add_device(DEVICE, UNITS * UNIT_BYTES as usize);
        machine
    }

    fn add_device(&self, path: &str, bytes: usize) {
        self.disk.open(Path::new(path), Open::CreateNew).expect("it is new");
        self.disk.sync_dir(Path::new("/")).expect("the power is on");
        self.disk.set_contents(Path::new(path), &vec![0; bytes]).expect("it is there");
    }

    fn disk(&self) -> Arc<dyn Disk> {
        Arc::new(self.disk.clone())
    }

    /// Starts as a member does; `id` is what a partition gets that is made now.
    fn start(&self, ids: Ids, device: Option<&str>, id: u64) -> Result<Running, String> {
        let dir = DataDir::open(self.disk(), Path::new(DIR), ids).map_err(|error| error.to_string())?;
        let making = Making { id, unit_bytes: UNIT_BYTES };
        let partition = device.map(|device| (Path::new(device), making));
        let place = LogPlace::find(self.disk(), &dir, partition, options());
        let place = place.map_err(|error: PlaceError| error.to_string())?;
        let opened = Log::open(place.disk, &place.dir, place.options);
        let (log, recovered) = opened.map_err(|fatal| fatal.to_string())?;
        Ok(Running { log, recovered, _dir: dir })
    }

    /// Starts, and again with power whenever a planned cut was in the way.
    fn start_through_cuts(&self, device: Option<&str>, cuts: &mut u64) -> Running {
        for id in 1.. {
            match self.start(OURS, device, id) {
                Ok(running) => {
                    self.disk.cut_at_call(None);
                    return running;
                }
                Err(_) if !self.disk.powered() => {
                    self.disk.power_on();
                    *cuts += 1;
                }
                Err(why) => panic!("a start after a cut: {why}"),
            }
        }
        unreachable!("it starts or panics")
    }

    fn refusal(&self, ids: Ids, device: Option<&str>) -> String {
        match self.start(ids, device, 77) {
            Ok(_) => panic!("it was not refused"),
            Err(why) => why,
        }
    }

    fn bytes_of(&self, path: &str) -> Vec<u8> {
        self.disk.contents(Path::new(path)).expect("it is there")
    }

    fn segments_in_directory(&self) -> usize {
        self.disk.files().iter().filter(|(path, _)| path.starts_with("/var/bramble/log")).count()
    }
}

struct Running {
    log: Log,
    recovered: Recovered,
    _dir: DataDir,
}

impl Running {
    fn write(&mut self, entries: &[Entry]) {
        self.log.append(entries).expect("they follow");
        self.log.flush().expect("the disk works");
    }

    fn assert_holds(&self, expected: &[Entry]) {
        assert_eq!(self.recovered.last, expected.last().map(|entry| entry.id));
        let mut found = Vec::new();
        while found.len() < expected.len() {
            let more = self.log.read(found.len() as u64..u64::MAX, 1 << 20).expect("they can be read");
            assert!(!more.is_empty(), "entry {} is not there", found.len());
            found.extend(more);
        }
        assert!(found == expected, "other entries");
    }
}

#[test]
fn a_first_start_may_be_cut_at_every_call() {
    let mut cuts = 0;
    for seed in 0..15 {
        for call in 1.. {
            let machine = Machine::new(1000 * seed + call);
            machine.disk.cut_at_call(Some(machine.disk.calls() + call));
            let before = cuts;
            let mut running = machine.start_through_cuts(Some(DEVICE), &mut cuts);
            running.write(&entries(0..40));
            machine.disk.cut();
            drop(running);
            machine.start_through_cuts(Some(DEVICE), &mut cuts).assert_holds(&entries(0..40));
            if cuts == before {
                break;
            }
        }
    }
    assert!(cuts > 15 * 20, "{cuts} cuts");
}

#[test]
fn a_log_is_moved_to_a_partition_and_a_move_may_be_cut_at_every_call() {
    let (mut cuts, all) = (0, entries(0..40));
    for seed in 0..15 {
        for call in 1.. {
            let machine = Machine::new(1000 * seed + call);
            let mut running = machine.start(OURS, None, 0).expect("an empty disk");
            running.log.save_vote(Vote { term: 1, node: 2, committed: true });
            running.write(&all);
            drop(running);
            assert!(machine.segments_in_directory() >= 2, "more than one segment is moved");
            machine.disk.cut_at_call(Some(machine.disk.calls() + call));
            let before = cuts;
            let mut running = machine.start_through_cuts(Some(DEVICE), &mut cuts);
            running.assert_holds(&all);
            assert_eq!(running.recovered.vote.map(|vote| vote.node), Some(2));
            assert_eq!(machine.segments_in_directory(), 0, "it lies in one place");
            running.write(&entries(40..45));
            machine.disk.cut();
            drop(running);
            let running = machine.start_through_cuts(Some(DEVICE), &mut cuts);
            running.assert_holds(&entries(0..45));
            if cuts == before {
                break;
            }
        }
    }
    assert!(cuts > 15 * 30, "{cuts} cuts");
}

/// A table of several sectors, of which a cut leaves any.
#[test]
fn a_cut_leaves_a_table_as_it_was_or_as_it_is_to_be() {
    let path = |n: u64| Path::new(DEVICE).join(format!("{n}"));
    let label = Label { id: 1, owner: Owner { cluster: 1, member: 2, instance: 3 }, unit_bytes: UNIT_BYTES };
    let mut cuts = 0;
    for seed in 0..40 {
        for call in 1.. {
            let machine = Machine::new(1000 * seed + call);
            let claim = || Claimed::open(&machine.disk, Path::new(DEVICE)).expect("a partition");
            let partition = claim().format(label).expect("the power is on");
            for n in 0..80 {
                partition.open(&path(n), Open::CreateNew).expect("it is new");
            }
            partition.sync_dir(Path::new(DEVICE)).expect("the power is on");
            machine.disk.cut_at_call(Some(machine.disk.calls() + call));
            partition.unlink(&path(seed % 80)).expect("it is there");
            partition.open(&path(80), Open::CreateNew).expect("it is new");
            let saved = partition.sync_dir(Path::new(DEVICE));
            drop(partition);
            if saved.is_err() {
                cuts += 1;
                machine.disk.power_on();
            } else {
                machine.disk.cut_at_call(None);
                machine.disk.cut();
            }
            let contents = claim().contents().expect("it can be read");
            assert!(matches!(contents, Contents::Log { label: found } if found == label), "{contents:?}");
            let partition = claim().mount().expect("it can be read");
            let there = |n: u64| partition.exists(&path(n)).expect("the power is on");
            assert_eq!(there(80), !there(seed % 80), "half of it, seed {seed} call {call}");
            assert!(there(80) || saved.is_err(), "it was lost, seed {seed} call {call}");
            assert_eq!(partition.list(Path::new(DEVICE)).expect("it can be listed").len(), 80);
            if saved.is_ok() {
                break;
            }
        }
    }
    assert!(cuts >= 160, "{cuts} cuts");
}

#[test]
fn a_directory_and_a_partition_that_do_not_belong_together_are_refused() {
    let machine = Machine::new(1);
    machine.add_device("/empty", UNITS * UNIT_BYTES as usize);
    machine.add_device("/small", 3 * UNIT_BYTES as usize);
    let refusal = machine.refusal(OURS, Some("/small"));
    assert!(refusal.contains("/small is too small") && refusal.contains("262144 are needed"), "{refusal}");
    let mut running = machine.start(OURS, Some(DEVICE), 5).expect("an empty partition");
    running.write(&entries(0..3));
    drop(running);
    let before = machine.bytes_of(DEVICE);

    let without = machine.refusal(OURS, None);
    assert!(
        without.contains("--log-partition /partition") && without.contains("0000000000000005"),
        "{without}"
    );
    let empty = machine.refusal(OURS, Some("/empty"));
    assert!(empty.contains("/empty is not the partition") && empty.contains("it is empty"), "{empty}");
    let missing = machine.refusal(OURS, Some("/absent"));
    assert!(missing.contains("there is no /absent") && missing.contains("lsblk"), "{missing}");

    // The same directory, and a partition that was made for it at another time.
    let other_time = Machine::new(2);
    drop(other_time.start(OURS, Some(DEVICE), 6).expect("an empty partition"));
    machine.add_device("/older", 0);
    machine.disk.set_contents(Path::new("/older"), &other_time.bytes_of(DEVICE)).expect("it is there");
    let older = machine.refusal(OURS, Some("/older"));
    assert!(older.contains("its id is 0000000000000006"), "{older}");

    // The partition, and a directory that was made anew because the old one was not mounted.
    let unmounted = Machine::new(3);
    unmounted.disk.set_contents(Path::new(DEVICE), &before).expect("it is there");
    let others = unmounted.refusal(OTHERS, Some(DEVICE));
    assert!(others.contains("another data directory") && others.contains("is it mounted?"), "{others}");
    assert!(unmounted.bytes_of(DEVICE) == before, "something was written");

    assert!(machine.bytes_of("/empty").iter().all(|byte| *byte == 0), "something was written");
    machine.start(OURS, Some(DEVICE), 9).expect("nothing has changed").assert_holds(&entries(0..3));
}

#[test]
fn what_is_not_empty_is_not_written_to() {
    for (at, mark, name) in [
        (1080, &[0x53, 0xef][..], "an ext4 file system"),
        ((1 << 20) - 1, &[1][..], "something that is not known here"),
    ] {
        let machine = Machine::new(1);
        machine.add_device("/used", 2 << 20);
        let mut bytes = machine.bytes_of("/used");
        bytes[at..at + mark.len()].copy_from_slice(mark);
        machine.disk.set_contents(Path::new("/used"), &bytes).expect("it is there");
        let refusal = machine.refusal(OURS, Some("/used"));
        assert!(refusal.contains(name) && refusal.contains("dd if=/dev/zero of=/used"), "{refusal}");
        assert!(machine.bytes_of("/used") == bytes, "something was written");
    }
}

#[test]
fn either_copy_of_the_table_is_enough_and_what_others_made_of_the_partition_is_theirs() {
    let machine = Machine::new(1);
    let mut running = machine.start(OURS, Some(DEVICE), 5).expect("an empty partition");
    running.write(&entries(0..30));
    drop(running);
    let whole = machine.bytes_of(DEVICE);
    let damage = |ats: &[u64]| {
        machine.disk.set_contents(Path::new(DEVICE), &whole).expect("it is there");
        ats.iter().for_each(|at| machine.disk.flip_bit(Path::new(DEVICE), *at, 3).expect("it is there"));
    };
    for bad in [0, 7, 20, 100, 4000] {
        for copy in [0, COPY_AT] {
            damage(&[copy + bad]);
            machine
                .start(OURS, Some(DEVICE), 6)
                .expect("the other copy is whole")
                .assert_holds(&entries(0..30));
            assert!(machine.bytes_of(DEVICE)[..4096] == machine.bytes_of(DEVICE)[COPY_AT as usize..][..4096]);
        }
    }
    damage(&[20, COPY_AT + 20]);
    let both = machine.refusal(OURS, Some(DEVICE));
    assert!(both.contains("/partition is damaged: neither copy"), "{both}");
    // Whoever makes a file system writes here, and need not hit the copy.
    damage(&[]);
    let mut bytes = whole.clone();
    bytes[1080..1082].copy_from_slice(&[0x53, 0xef]);
    machine.disk.set_contents(Path::new(DEVICE), &bytes).expect("it is there");
    let refusal = machine.refusal(OURS, Some(DEVICE));
    assert!(refusal.contains("an ext4 file system"), "{refusal}");
    assert!(machine.bytes_of(DEVICE) == bytes, "something was written");
    // A device that is shorter than it was.
    machine.disk.set_contents(Path::new(DEVICE), &whole[..2 * UNIT_BYTES as usize]).expect("it is there");
    let refusal = machine.refusal(OURS, Some(DEVICE));
    assert!(refusal.contains("too small") || refusal.contains("lie beyond"), "{refusal}");
}

#[test]
fn a_plain_file_serves_as_one_and_keeps_its_length() {
    let temp = tempfile::tempdir().expect("a directory");
    let (path, bytes) = (temp.path().join("partition"), 88 << 20);
    std::fs::File::create(&path).and_then(|file| file.set_len(bytes)).expect("a sparse file");
    let real: Arc<dyn Disk> = Arc::new(RealDisk);
    let dir = DataDir::open(real.clone(), &temp.path().join("data"), OURS).expect("a new directory");
    let large = LogOptions { frame_align: 16384, segment_bytes: 64 << 20, ..LogOptions::default() };
    let find = || LogPlace::find(real.clone(), &dir, Some((&path, Making::with_id(8))), large.clone());
    let open = |place: LogPlace| Log::open(place.disk, &place.dir, place.options).expect("a log");
    let place = find().expect("it has room for a ring of smaller segments");
    assert_eq!((place.options.segment_bytes, place.options.frame_align), (16 << 20, 16384));
    let (mut log, _) = open(place);
    let busy = find().err().expect("it is taken").to_string();
    assert!(busy.contains("is in use"), "{busy}");
    for from in 0..10 {
        log.append(&entries(from * 20..from * 20 + 20)).expect("they follow");
        log.flush().expect("the disk works");
    }
    drop(log);
    let (log, recovered) = open(find().expect("it was let go"));
    assert_eq!(recovered.last.map(|id| id.index), Some(199));
    assert_eq!(log.read(0..200, u64::MAX).expect("they can be read"), entries(0..200));
    assert_eq!(std::fs::metadata(&path).expect("it is there").len(), bytes);
}
