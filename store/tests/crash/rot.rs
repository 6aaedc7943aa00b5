//! Bit rot: a change of anything that was proven synced is refused, or provably harmless.
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bramble_store::disk::sim::{Rng, SECTOR, SimDisk};
use bramble_store::disk::{Disk, Open};
use bramble_store::error::Fatal;
use bramble_store::log::{Log, LogOptions, Vote};

use super::{DIR, Entry, LogId, Payload, State, read_all};

/// A closed log on a disk, what it holds, and its files as they were one purge ago.
struct Closed {
    disk: SimDisk,
    options: LogOptions,
    state: State,
    files: Vec<(PathBuf, Vec<u8>)>,
    earlier: Vec<(PathBuf, Vec<u8>)>,
}

fn files(disk: &SimDisk) -> Vec<(PathBuf, Vec<u8>)> {
    let names = disk.files().into_iter().map(|(path, _)| path);
    names.map(|path| (path.clone(), disk.contents(&path).expect("it is listed"))).collect()
}

/// Writes until the ring has wrapped, with votes, truncations and purges on the way, then seals it.
fn closed_log() -> Closed {
    let options = LogOptions {
        segment_bytes: 10 * 4096,
        first_fill_bytes: 8192,
        ring_segments: 3,
        ..LogOptions::default()
    };
    let disk = SimDisk::new(3);
    let (mut log, _) =
        Log::open(Arc::new(disk.clone()), Path::new(DIR), options.clone()).expect("an empty disk");
    while log.fill_ahead(1 << 20).expect("the disk works") {}
    let mut state = State::default();
    let mut earlier = Vec::new();
    for round in 0..100u64 {
        // At the end the newest segment holds several frames: the tail rule is asked there.
        if round >= 60 && (5..8).contains(&(log.usage().used_bytes % options.segment_bytes / 4096)) {
            break;
        }
        let id = LogId { term: 1 + round / 7, index: state.next() };
        let length = [10, 300, 5000][round as usize % 3];
        let entry = Entry { id, payload: Payload::Command(vec![round as u8 + 1; length].into()) };
        log.append(std::slice::from_ref(&entry)).expect("it follows");
        state.entries.push(entry);
        if round % 9 == 4 {
            let vote = Vote { term: id.term, node: round, committed: true };
            log.save_vote(vote);
            state.vote = Some(vote);
        }
        if round % 11 == 10 {
            state.entries.pop();
            log.truncate_after(state.last()).expect("it is there");
        }
        if round % 10 == 9 {
            let id = state.entries[state.entries.len().saturating_sub(18)].id;
            log.save_committed(id);
            log.note_durable(id);
            log.purge(id);
            state.committed = Some(id);
            state.purge(id);
        }
        log.flush().expect("the disk works");
        if round == 45 {
            earlier = files(&disk);
        }
    }
    log.seal().expect("the disk works");
    assert!(log.usage().epoch > 6, "the ring has not wrapped twice: {:?}", log.usage());
    let files = files(&disk);
    Closed { disk, options, state, files, earlier }
}

impl Closed {
    /// Opens the log as it lies there; `Ok` when refused or whole, `Err` when something wrong was served.
    fn judge(&self) -> Result<bool, String> {
        let log = Log::open(Arc::new(self.disk.clone()), Path::new(DIR), self.options.clone());
        let verdict = match log {
            Err(Fatal::Damaged { path, .. }) if path.starts_with(DIR) => Ok(true),
            Err(other) => Err(format!("refused without naming the file: {other}")),
            Ok((log, recovered)) => match read_all(&log, &recovered) {
                Ok(state) if state == self.state => Ok(false),
                Ok(state) => Err(format!("served {:?} for {:?}", state.last(), self.state.last())),
                Err(wrong) => Err(wrong),
            },
        };
        self.restore();
        verdict
    }

    fn restore(&self) {
        for (path, bytes) in &self.files {
            if !self.disk.exists(path).expect("the disk works") {
                self.disk.open(path, bramble_store::disk::Open::CreateNew).expect("the disk works");
            }
            self.disk.set_contents(path, bytes).expect("it is there");
        }
    }
}

#[test]
fn a_flipped_bit_a_lost_sector_a_stale_or_swapped_block_is_never_served() {
    let closed = closed_log();
    assert_eq!(closed.judge(), Ok(false), "undamaged");
    let mut rng = Rng::new(11);
    let (mut refused, mut harmless) = (0, 0);
    let mut judge = |what: &str, path: &Path, at: usize| match closed.judge() {
        Ok(true) => refused += 1,
        Ok(false) => harmless += 1,
        Err(wrong) => panic!("{what} at {at} of {}: {wrong}", path.display()),
    };
    for (file, (path, bytes)) in closed.files.iter().enumerate() {
        for at in (0..bytes.len()).step_by(SECTOR) {
            for _ in 0..3 {
                let byte = at as u64 + rng.below(SECTOR as u64);
                closed.disk.flip_bit(path, byte, rng.number() as u8).expect("it is there");
                judge("a flipped bit", path, byte as usize);
            }
            closed.disk.zero_sector(path, at as u64).expect("it is there");
            judge("a zeroed sector", path, at);
        }
        for at in (0..bytes.len()).step_by(4096) {
            let put = |block: &[u8]| {
                let mut changed = bytes.clone();
                changed[at..at + 4096].copy_from_slice(block);
                closed.disk.set_contents(path, &changed).expect("it is there");
            };
            if let Some((_, earlier)) = closed.earlier.get(file) {
                put(&earlier[at..at + 4096]);
                judge("a stale block", path, at);
            }
            let other = rng.below((bytes.len() / 4096) as u64) as usize * 4096;
            put(&bytes[other..other + 4096]);
            judge("a block from elsewhere", path, at);
            put(&[0; 4096]);
            judge("a zeroed block", path, at);
            closed.disk.set_contents(path, &bytes[..at]).expect("it is there");
            judge("a truncated file", path, at);
        }
    }
    println!("{refused} refused, {harmless} harmless");
    assert!(refused > 500 && harmless > 100, "{refused} refused, {harmless} harmless");
}

#[test]
fn a_missing_or_swapped_segment_is_never_served() {
    let closed = closed_log();
    for (path, bytes) in &closed.files {
        closed.disk.unlink(path).expect("it is there");
        // The last file of the ring may be one that is not needed.
        let verdict = closed.judge().unwrap_or_else(|wrong| panic!("{} missing: {wrong}", path.display()));
        println!("{} missing: refused {verdict}", path.display());
        for (other, _) in closed.files.iter().filter(|(other, _)| other != path) {
            closed.disk.set_contents(other, bytes).expect("it is there");
            assert_eq!(closed.judge(), Ok(true), "{} copied over {}", path.display(), other.display());
        }
    }
}

/// The last batch before an unclean stop is the one place where rot looks like a torn write.
#[test]
fn without_a_seal_only_the_last_batch_can_be_taken_for_torn() {
    let options = LogOptions { segment_bytes: 16 * 4096, first_fill_bytes: 65536, ..LogOptions::default() };
    let disk = SimDisk::new(4);
    let (mut log, _) =
        Log::open(Arc::new(disk.clone()), Path::new(DIR), options.clone()).expect("an empty disk");
    let mut state = State::default();
    for index in 0..6 {
        let entry = Entry { id: LogId { term: 1, index }, payload: Payload::Command(vec![7; 100].into()) };
        log.append(std::slice::from_ref(&entry)).expect("it follows");
        state.entries.push(entry);
        log.flush().expect("the disk works");
    }
    let mut shorter = state.clone();
    shorter.entries.pop();
    let files = files(&disk);
    let closed = Closed { disk, options, state, files: files.clone(), earlier: files };
    let (path, _) = &closed.files[0];
    for frame in 1..=6u64 {
        closed.disk.flip_bit(path, frame * 4096 + 60, 0).expect("it is there");
        if frame < 6 {
            assert_eq!(closed.judge(), Ok(true), "frame {frame} is proven by the one after it");
            continue;
        }
        let disk = Arc::new(closed.disk.clone());
        let (log, recovered) = Log::open(disk, Path::new(DIR), closed.options.clone()).expect("looks torn");
        assert_eq!((recovered.torn_frames, read_all(&log, &recovered)), (1, Ok(shorter.clone())));
    }
}

/// Found by damaging files: the last frame and the seal that proves it, swapped, looked like torn writes.
#[test]
fn the_last_frame_and_its_seal_swapped_are_not_torn() {
    let closed = closed_log();
    let (path, bytes, last) = closed
        .files
        .iter()
        .filter_map(|(path, bytes)| {
            let sequence = |block: &[u8]| u64::from_le_bytes(block[8..16].try_into().expect("eight bytes"));
            let frames =
                bytes.chunks(4096).enumerate().skip(1).filter(|(_, block)| block[20..24] == *b"BrLf");
            let (at, block) = frames.max_by_key(|(_, block)| sequence(block))?;
            Some((sequence(block), (path, bytes, at)))
        })
        .max_by_key(|(sequence, _)| *sequence)
        .expect("a log has frames")
        .1;
    let mut swapped = bytes.clone();
    for byte in 0..4096 {
        swapped.swap(last * 4096 + byte, (last - 1) * 4096 + byte);
    }
    closed.disk.set_contents(path, &swapped).expect("it is there");
    assert_eq!(closed.judge(), Ok(true));
}

/// A full file has its length in the headers and records of others; one that is not says by its zeros that it is whole.
#[test]
fn a_file_cut_back_before_it_was_ever_full_is_refused() {
    let options = LogOptions { segment_bytes: 1 << 20, first_fill_bytes: 8192, ..LogOptions::default() };
    let disk = SimDisk::new(7);
    let (mut log, _) =
        Log::open(Arc::new(disk.clone()), Path::new(DIR), options.clone()).expect("an empty disk");
    let mut state = State::default();
    for index in 0..90u64 {
        let length = [10, 300, 9000][index as usize % 3];
        let id = LogId { term: 1, index };
        let entry = Entry { id, payload: Payload::Command(vec![index as u8 + 1; length].into()) };
        log.append(std::slice::from_ref(&entry)).expect("it follows");
        state.entries.push(entry);
        log.flush().expect("the disk works");
    }
    let files = files(&disk);
    let closed = Closed { disk, options, state, files: files.clone(), earlier: files };
    let (path, bytes) = &closed.files[0];
    let used = bytes.iter().rposition(|byte| *byte != 0).expect("there are frames").next_multiple_of(4096);
    assert!(used > 400 << 10 && used < bytes.len() && bytes.len() < 1 << 20, "{used} of {}", bytes.len());
    for length in (4096..used).step_by(SECTOR).chain([used, used + 1, used + 4095]) {
        closed.disk.set_contents(path, &bytes[..length]).expect("it is there");
        assert_eq!(closed.judge(), Ok(true), "cut back to {length} of {used} used bytes");
    }
    for length in [used + 4096, used + 4097, bytes.len()] {
        closed.disk.set_contents(path, &bytes[..length]).expect("it is there");
        assert_eq!(closed.judge(), Ok(false), "cut back to {length} of {used} used bytes");
    }
}

/// Found by the random runs: one cut leaves a frame without its padding, and the next one writes the
/// padding of the frame that was to replace it, which is alike.
#[test]
fn two_cuts_in_a_row_bring_no_torn_frame_back() {
    let disk = SimDisk::new(5);
    let options = LogOptions { segment_bytes: 16 * 4096, first_fill_bytes: 65536, ..LogOptions::default() };
    let open =
        || Log::open(Arc::new(disk.clone()), Path::new(DIR), options.clone()).expect("a torn tail at most");
    let entry = |index, text: &'static str| Entry {
        id: LogId { term: 1, index },
        payload: Payload::Command(text.into()),
    };
    let (mut log, _) = open();
    log.append(&[entry(0, "acknowledged")]).expect("it follows");
    log.flush().expect("the disk works");
    log.append(&[entry(1, "never acknowledged")]).expect("it follows");
    log.flush().expect("the disk works");
    let path = Path::new(DIR).join("00000000.seg");
    let padding = 2 * 4096 + SECTOR..3 * 4096;
    let mut bytes = disk.contents(&path).expect("it is there");
    bytes[padding.clone()].fill(0xee);
    disk.set_contents(&path, &bytes).expect("it is there");
    let (_, recovered) = open();
    assert_eq!((recovered.torn_frames, recovered.last), (1, Some(LogId { term: 1, index: 0 })));
    let mut bytes = disk.contents(&path).expect("it is there");
    bytes[padding].fill(0);
    disk.set_contents(&path, &bytes).expect("it is there");
    let (_, recovered) = open();
    assert_eq!((recovered.torn_frames, recovered.last), (0, Some(LogId { term: 1, index: 0 })));
}

/// Found by fuzzing: a header that is lost together with the frames behind it looked like one that was never
/// written, and the segment was begun anew; also when the frames that are left lie where others belong.
#[test]
fn a_header_lost_with_its_first_frames_is_no_first_start() {
    let options = LogOptions { segment_bytes: 10 * 4096, first_fill_bytes: 40960, ..LogOptions::default() };
    let disk = SimDisk::new(6);
    let (mut log, _) =
        Log::open(Arc::new(disk.clone()), Path::new(DIR), options.clone()).expect("an empty disk");
    let mut lost = Vec::new();
    for index in 0..14 {
        let entry = Entry { id: LogId { term: 1, index }, payload: Payload::Blank };
        log.append(&[entry]).expect("it follows");
        log.flush().expect("the disk works");
        // The only segment; and later one that the segment before it passed on to.
        if index == 4 || index == 13 {
            lost.push((files(&disk), log.usage().segments - 1));
        }
    }
    assert_eq!(lost.iter().map(|(_, newest)| *newest).collect::<Vec<_>>(), [0, 1]);
    for (files, newest) in lost {
        let (path, bytes) = &files[newest as usize];
        let frames = bytes.chunks(4096).skip(1).filter(|block| block[20..24] == *b"BrLf").count();
        for (gone, moved) in (1..frames).flat_map(|gone| [(gone, 0), (gone, 1)]) {
            let disk = SimDisk::new(7);
            disk.create_dir(Path::new(DIR)).expect("an empty disk");
            for (path, bytes) in &files {
                disk.open(path, Open::CreateNew).expect("a new file");
                disk.set_contents(path, bytes).expect("it is there");
            }
            let mut broken = bytes.clone();
            broken[..(1 + gone) * 4096].fill(0);
            broken.rotate_left(moved * 4096);
            disk.set_contents(path, &broken).expect("it is there");
            let opened = Log::open(Arc::new(disk.clone()), Path::new(DIR), options.clone());
            let opened = opened.map(|(_, recovered)| recovered);
            assert!(
                matches!(opened, Err(Fatal::Damaged { .. })),
                "{gone} gone, {moved} blocks back: {opened:?}"
            );
            assert_eq!(disk.contents(path).expect("it is there"), broken, "it must be left as it is");
        }
    }
}
