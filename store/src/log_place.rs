//! Where the log of a data directory lies: in it, or on a partition of its own.
//!
//! On a partition a frame of 4 KiB is a write of 4,096 bytes and a flush: see [`crate::disk::partition`]. The
//! directory and the partition know each other, so that neither is ever taken for empty because the other is
//! not there:
//!
//! ```text
//!   DIR/PLACE      "partition 0123…"  ◄─ id ─►  the partition's table: id, and cluster, member and instance
//!   DIR/IDENTITY   instance 4567…     ◄──────►  of the directory
//! ```
//! A log that lies in the directory is moved when a partition is given for the first time:
//!
//! ```text
//!   partition   PLACE        log/       it counts
//!   empty       –            –          a new log: format, note it in PLACE
//!   empty       –            segments   the directory's: format, copy, PLACE, remove the segments
//!   ours        –            segments   the same: a cut came before PLACE
//!   ours        –            –          the partition's: PLACE
//!   ours        partition    –          the partition's; segments are what a cut has left of a move
//!   ours        directory    segments   the directory's, a repair has made it: as above
//! ```
//! Anything else is refused.
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::data_dir::note::{self, PLACE};
use crate::data_dir::{DataDir, DataDirError, Ids};
use crate::disk::partition::{Claimed, Contents, Label, Owner, Partition, UNIT_BYTES};
use crate::disk::{AlignedBuf, Disk, Open};
use crate::log::{LogOptions, is_segment_name};

mod refused;

pub use refused::PlaceError;
use refused::failed;

/// A segment is not made smaller than this to fit on a partition.
const SEGMENT_BYTES_MIN: u64 = 16 << 20;
/// Bytes that are copied at once.
const COPY_STEP: usize = 256 << 10;

/// Where a log lies, ready to be opened there.
pub struct LogPlace {
    /// The disk for [`Log::open`](crate::log::Log::open), and for nothing else.
    pub disk: Arc<dyn Disk>,
    /// The directory on it.
    pub dir: PathBuf,
    /// The sizes that fit there.
    pub options: LogOptions,
    /// Segments that were moved there now.
    pub moved: usize,
}

/// What a partition is made with when one is.
#[derive(Clone, Copy, Debug)]
pub struct Making {
    /// A random number.
    pub id: u64,
    /// See [`Label::unit_bytes`].
    pub unit_bytes: u32,
}

impl Making {
    /// In units that suit cards.
    pub fn with_id(id: u64) -> Making {
        Making { id, unit_bytes: UNIT_BYTES }
    }
}

/// What PLACE says.
enum Noted {
    /// In the directory.
    Directory,
    /// On the partition of this making, last seen at this path.
    Partition(u64, PathBuf),
}

impl LogPlace {
    /// Finds the log of an open data directory, which is to have these sizes; moves it to the partition if one
    /// is given for the first time.
    ///
    /// # Errors
    /// [`PlaceError`]: each text says what to do next.
    pub fn find(
        disk: Arc<dyn Disk>,
        dir: &DataDir,
        partition: Option<(&Path, Making)>,
        options: LogOptions,
    ) -> Result<LogPlace, PlaceError> {
        let noted = noted(&*disk, dir.path())?;
        let Some((device, making)) = partition else {
            return in_directory(disk, dir.path(), noted.as_ref(), options);
        };
        let claimed = claim(&*disk, device)?;
        let has_log = !segments(&*disk, &dir.log_path())?.is_empty();
        let label = label_of(&claimed, device, dir.path(), dir.ids())?;
        let options =
            fit(&claimed, device, label.map_or(making.unit_bytes, |label| label.unit_bytes), options)?;
        let mut moved = 0;
        let partition = match (&noted, label) {
            (Some(Noted::Partition(id, _)), found) => {
                expect(found, *id, dir.path(), device)?;
                mount(claimed, device)?
            }
            (None, Some(_)) if !has_log => mount(claimed, device)?,
            (None | Some(Noted::Directory), _) => {
                let label = Label { id: making.id, owner: owner(dir.ids()), unit_bytes: making.unit_bytes };
                let partition = claimed.format(label).map_err(failed("write", device))?;
                moved = move_log(&*disk, &dir.log_path(), &partition)?;
                partition
            }
        };
        note_partition(&*disk, dir.path(), noted.as_ref(), &partition)?;
        remove_segments(&*disk, &dir.log_path())?;
        Ok(LogPlace { moved, ..LogPlace::on(partition, options) })
    }

    /// Finds the log of a data directory for who looks at it and changes nothing, as a repair does.
    ///
    /// # Errors
    /// As [`LogPlace::find`].
    pub fn look(
        disk: Arc<dyn Disk>,
        dir: &Path,
        ids: Ids,
        partition: Option<&Path>,
    ) -> Result<LogPlace, PlaceError> {
        let noted = noted(&*disk, dir)?;
        let options = LogOptions::default();
        match (&noted, partition) {
            (Some(Noted::Partition(id, _)), Some(device)) => {
                let claimed = claim(&*disk, device)?;
                expect(label_of(&claimed, device, dir, ids)?, *id, dir, device)?;
                Ok(LogPlace::on(mount(claimed, device)?, options))
            }
            (None | Some(Noted::Directory), _) | (Some(Noted::Partition(..)), None) => {
                in_directory(disk, dir, noted.as_ref(), options)
            }
        }
    }

    fn on(partition: Partition, options: LogOptions) -> LogPlace {
        let dir = partition.path().to_owned();
        LogPlace { disk: Arc::new(partition), dir, options, moved: 0 }
    }
}

/// The sizes of a log on a partition that is too small for the ones it is to have: smaller segments, if that is
/// enough.
fn fit(
    claimed: &Claimed,
    device: &Path,
    unit_bytes: u32,
    options: LogOptions,
) -> Result<LogOptions, PlaceError> {
    let unit_bytes = u64::from(unit_bytes);
    // One segment more than the ring, which grows before it waits; one unit for the table.
    let needed = |segment_bytes: u64| {
        (u64::from(options.ring_segments) + 1) * segment_bytes.next_multiple_of(unit_bytes) + unit_bytes
    };
    let mut segment_bytes = options.segment_bytes;
    while needed(segment_bytes) > claimed.bytes() && segment_bytes / 2 >= SEGMENT_BYTES_MIN {
        segment_bytes /= 2;
    }
    let needed = needed(segment_bytes);
    if needed > claimed.bytes() {
        return Err(PlaceError::TooSmall { path: device.to_owned(), bytes: claimed.bytes(), needed });
    }
    // Nobody else wants the room.
    Ok(LogOptions { segment_bytes, keep_free_bytes: 0, ..options })
}

fn in_directory(
    disk: Arc<dyn Disk>,
    dir: &Path,
    noted: Option<&Noted>,
    options: LogOptions,
) -> Result<LogPlace, PlaceError> {
    match noted {
        None | Some(Noted::Directory) => Ok(LogPlace { disk, dir: dir.join("log"), options, moved: 0 }),
        Some(Noted::Partition(id, device)) => {
            let (dir, device) = (dir.to_owned(), device.clone());
            Err(PlaceError::Elsewhere { dir, id: *id, device })
        }
    }
}

fn noted(disk: &dyn Disk, dir: &Path) -> Result<Option<Noted>, PlaceError> {
    let damaged = |what: String| {
        let what = format!(
            "{what}; where log/ has no segments (*.seg), remove the note: the partition knows whose it is"
        );
        DataDirError::Damaged { path: dir.join(PLACE), what }
    };
    let text = match note::read(disk, dir, PLACE) {
        Ok(Some(text)) => text,
        Ok(None) => return Ok(None),
        Err(DataDirError::Damaged { what, .. }) => return Err(damaged(what).into()),
        Err(other) => return Err(other.into()),
    };
    let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let id = value("partition").and_then(|hex| u64::from_str_radix(hex, 16).ok());
    match (text.as_str(), id, value("device")) {
        ("directory\n", _, _) => Ok(Some(Noted::Directory)),
        (_, Some(id), Some(device)) => Ok(Some(Noted::Partition(id, PathBuf::from(device)))),
        _ => Err(damaged("it names no place that this version knows".to_owned()).into()),
    }
}

/// Notes the partition in the directory, unless that is what is noted.
fn note_partition(
    disk: &dyn Disk,
    dir: &Path,
    noted: Option<&Noted>,
    partition: &Partition,
) -> Result<(), PlaceError> {
    let (id, device) = (partition.label().id, partition.path());
    match noted {
        Some(Noted::Partition(noted, at)) if *noted == id && at == device => Ok(()),
        Some(_) | None => {
            let text = format!("partition {id:016x}\ndevice {}\n", device.display());
            Ok(note::write(disk, dir, PLACE, &text)?)
        }
    }
}

/// Notes in the directory that the log lies in it, whatever a partition says.
#[cfg(feature = "rocks")]
pub(crate) fn note_directory(disk: &dyn Disk, dir: &Path) -> Result<(), DataDirError> {
    note::write(disk, dir, PLACE, "directory\n")
}

fn claim(disk: &dyn Disk, device: &Path) -> Result<Claimed, PlaceError> {
    Claimed::open(disk, device).map_err(failed("open", device))
}

fn mount(claimed: Claimed, device: &Path) -> Result<Partition, PlaceError> {
    claimed.mount().map_err(failed("read", device))
}

/// What a partition of ours was made with; `None`: it is empty.
fn label_of(claimed: &Claimed, device: &Path, dir: &Path, ids: Ids) -> Result<Option<Label>, PlaceError> {
    let path = device.to_owned();
    let label = match claimed.contents().map_err(failed("read", device))? {
        Contents::Blank => return Ok(None),
        Contents::Log { label } => label,
        Contents::Newer { format } => return Err(PlaceError::Newer { path, format }),
        Contents::Damaged { what } => return Err(PlaceError::Damaged { path, what }),
        Contents::Foreign { what } => return Err(PlaceError::Occupied { path, what }),
    };
    if label.owner == owner(ids) {
        return Ok(Some(label));
    }
    let Owner { member, instance, .. } = label.owner;
    let dir = dir.to_owned();
    Err(PlaceError::Others { path, member, instance, dir, own_instance: ids.instance })
}

fn owner(Ids { cluster, member, instance }: Ids) -> Owner {
    Owner { cluster, member, instance }
}

/// Refuses any partition but the one that is noted.
fn expect(found: Option<Label>, id: u64, dir: &Path, device: &Path) -> Result<(), PlaceError> {
    let found = found.map(|label| label.id);
    if found == Some(id) {
        return Ok(());
    }
    Err(PlaceError::Wrong { path: device.to_owned(), dir: dir.to_owned(), found, id })
}

/// The names of the segments in a directory, which may be missing.
fn segments(disk: &dyn Disk, dir: &Path) -> Result<Vec<String>, PlaceError> {
    if !disk.exists(dir).map_err(failed("look for", dir))? {
        return Ok(Vec::new());
    }
    let mut names = disk.list(dir).map_err(failed("list", dir))?;
    names.retain(|name| is_segment_name(name));
    Ok(names)
}

/// Copies the segments of a directory to an empty partition; says how many there are.
fn move_log(disk: &dyn Disk, dir: &Path, partition: &Partition) -> Result<usize, PlaceError> {
    let mut files = Vec::new();
    for name in segments(disk, dir)? {
        let path = dir.join(&name);
        let file = disk.open(&path, Open::Read).map_err(failed("open", &path))?;
        let bytes = file.len().map_err(failed("read", &path))?;
        files.push((name, path, file, bytes));
    }
    let unit_bytes = u64::from(partition.label().unit_bytes);
    let needed: u64 = files.iter().map(|(.., bytes)| bytes.next_multiple_of(unit_bytes)).sum();
    if needed > partition.capacity_bytes() {
        let (path, bytes) = (partition.path().to_owned(), partition.capacity_bytes() + unit_bytes);
        return Err(PlaceError::TooSmall { path, bytes, needed: needed + unit_bytes });
    }
    let moved = files.len();
    for (name, path, from, bytes) in files {
        let to_path = partition.path().join(name);
        let to = partition.open(&to_path, Open::CreateNew).map_err(failed("write", &to_path))?;
        let mut offset = 0;
        while offset < bytes {
            let step = (bytes - offset).min(COPY_STEP as u64) as usize;
            // The last block of a file that a cut has torn is filled up with zeros.
            let mut buf = AlignedBuf::zeroed(step);
            from.read_at(offset, &mut buf[..step]).map_err(failed("read", &path))?;
            to.fill_at(offset, buf.slice(0, buf.len())).map_err(failed("write", &to_path))?;
            offset += step as u64;
        }
        to.sync().map_err(failed("write", &to_path))?;
    }
    partition.sync_dir(partition.path()).map_err(failed("write", partition.path()))?;
    Ok(moved)
}

/// Removes what has been moved.
fn remove_segments(disk: &dyn Disk, dir: &Path) -> Result<(), PlaceError> {
    let names = segments(disk, dir)?;
    if names.is_empty() {
        return Ok(());
    }
    for name in names {
        let path = dir.join(name);
        disk.unlink(&path).map_err(failed("remove", &path))?;
    }
    disk.sync_dir(dir).map_err(failed("sync", dir))
}
