//! A log file that is put aside when it has grown, as etcd's rotation does it.
//!
//! ```text
//!   bramble.log                              being written
//!   bramble-2026-11-21T07-07-40.492.log      put aside then; older ones go by number and by age
//!   bramble-2026-11-20T03-00-12.007.log.gz   compressed behind the writer's back
//! ```
//! A file that cannot be put aside goes on to be written: a line is worth more than a bound.
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, SystemTime};

use bramble_server::config::LogRotation;
use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// When a file was put aside, as it stands in its name.
const STAMP: &str = "%Y-%m-%dT%H-%M-%S%.3f";
const COMPRESSED: &str = ".gz";
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The file, and what has been put aside.
pub struct RotatedFile {
    path: PathBuf,
    file: File,
    bytes: u64,
    rotation: LogRotation,
    /// Wakes the thread that clears up. One wish may wait: it means everything.
    clear_up: SyncSender<()>,
}

impl RotatedFile {
    /// Opens the file to append to it, and clears up behind an earlier run.
    ///
    /// # Errors
    /// The file cannot be opened, or a thread not started.
    pub fn open(path: &Path, rotation: LogRotation) -> io::Result<RotatedFile> {
        let file = append(path)?;
        let bytes = file.metadata()?.len();
        let (clear_up, wishes) = sync_channel(1);
        let aside = Aside { path: path.to_owned(), rotation: rotation.clone() };
        std::thread::Builder::new().name("log-files".into()).spawn(move || aside.keep_clear(&wishes))?;
        let _ = clear_up.try_send(());
        Ok(RotatedFile { path: path.to_owned(), file, bytes, rotation, clear_up })
    }

    /// Writes one line; before one that would make the file too large, a new file is begun.
    ///
    /// # Errors
    /// What the file says.
    pub fn write_line(&mut self, line: &[u8], now: SystemTime) -> io::Result<()> {
        let after = self.bytes.saturating_add(line.len() as u64);
        if after > self.rotation.bytes_max && self.bytes > 0 {
            let _ = self.rotate(now);
        }
        let written = self.file.write_all(line);
        self.bytes = match &written {
            Ok(()) => self.bytes.saturating_add(line.len() as u64),
            // Some of it may be there.
            Err(_) => self.file.metadata().map_or(self.bytes, |file| file.len()),
        };
        written
    }

    /// A file that is not there any more, put aside by an earlier try or by somebody else, is no obstacle.
    fn rotate(&mut self, now: SystemTime) -> io::Result<()> {
        match fs::rename(&self.path, free_backup_path(&self.path, now, self.rotation.local_time)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.file = append(&self.path)?;
        self.bytes = 0;
        // A full queue: it is about to clear up anyway.
        let _ = self.clear_up.try_send(());
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

fn zone(local_time: bool) -> TimeZone {
    if local_time { TimeZone::system() } else { TimeZone::UTC }
}

/// `dir/name-STAMP.ext`
fn backup_path(path: &Path, now: SystemTime, local_time: bool) -> PathBuf {
    let now = Timestamp::try_from(now).unwrap_or(Timestamp::UNIX_EPOCH);
    let stamp = now.to_zoned(zone(local_time)).strftime(STAMP).to_string();
    let (stem, extension) = name_parts(path);
    path.with_file_name(format!("{stem}-{stamp}{extension}"))
}

/// A name that no file has, for the files of one millisecond; compressed it were the same file.
fn free_backup_path(path: &Path, now: SystemTime, local_time: bool) -> PathBuf {
    let mut names = (0..1000).map(|later| backup_path(path, now + Duration::from_millis(later), local_time));
    let first = backup_path(path, now, local_time);
    names.find(|name| !name.exists() && !compressed_path(name).exists()).unwrap_or(first)
}

fn compressed_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(COMPRESSED);
    PathBuf::from(name)
}

/// What comes before and behind the stamp in the names of files put aside.
fn name_parts(path: &Path) -> (String, String) {
    let part = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
    let extension = part(path.extension());
    let extension = if extension.is_empty() { extension } else { format!(".{extension}") };
    (part(path.file_stem()), extension)
}

/// The files put aside.
struct Aside {
    path: PathBuf,
    rotation: LogRotation,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Backup {
    when: Timestamp,
    path: PathBuf,
    compressed: bool,
}

impl Aside {
    /// The thread's body; ends with the file it works for.
    fn keep_clear(&self, wishes: &Receiver<()>) {
        while wishes.recv().is_ok() {
            for doomed in self.doomed(SystemTime::now()) {
                let _ = fs::remove_file(doomed.path);
            }
            if self.rotation.compress {
                let plain = self.backups().into_iter().filter(|backup| !backup.compressed);
                plain.for_each(|backup| drop(compress(&backup.path)));
            }
        }
    }

    /// Newest first.
    fn backups(&self) -> Vec<Backup> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let Ok(entries) = fs::read_dir(folder.unwrap_or(Path::new("."))) else { return Vec::new() };
        let mut found: Vec<Backup> =
            entries.flatten().filter_map(|entry| self.backup(&entry.path())).collect();
        found.sort();
        found.reverse();
        found
    }

    /// What the name of a file says, if it is one of ours.
    fn backup(&self, path: &Path) -> Option<Backup> {
        let (stem, extension) = name_parts(&self.path);
        let name = path.file_name()?.to_str()?;
        let (plain, compressed) = match name.strip_suffix(COMPRESSED) {
            Some(plain) => (plain, true),
            None => (name, false),
        };
        let stamp = plain.strip_prefix(&stem)?.strip_prefix('-')?.strip_suffix(&extension)?;
        let when = DateTime::strptime(STAMP, stamp).ok()?;
        let when = when.to_zoned(zone(self.rotation.local_time)).ok()?.timestamp();
        Some(Backup { when, path: path.to_owned(), compressed })
    }

    /// Those beyond the number and the age that are kept; 0 keeps all.
    fn doomed(&self, now: SystemTime) -> Vec<Backup> {
        let kept = if self.rotation.backups_max == 0 { usize::MAX } else { self.rotation.backups_max };
        let age_max = DAY.checked_mul(self.rotation.days_max).filter(|age| !age.is_zero());
        let oldest =
            age_max.and_then(|age| now.checked_sub(age)).and_then(|then| Timestamp::try_from(then).ok());
        let doomed = |(place, backup): &(usize, Backup)| {
            *place >= kept || oldest.is_some_and(|oldest| backup.when < oldest)
        };
        self.backups().into_iter().enumerate().filter(doomed).map(|(_, backup)| backup).collect()
    }
}

/// Replaces a file by its compressed form. What fails is tried again after the next rotation.
fn compress(path: &Path) -> io::Result<()> {
    let (target, unfinished) = (compressed_path(path), path.with_extension("compressing"));
    let mut encoder = GzEncoder::new(File::create(&unfinished)?, Compression::default());
    io::copy(&mut File::open(path)?, &mut encoder)?;
    encoder.finish()?;
    fs::rename(&unfinished, target)?;
    fs::remove_file(path)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::time::Instant;

    use super::*;

    fn rotation() -> LogRotation {
        LogRotation { bytes_max: 20, days_max: 0, backups_max: 0, local_time: false, compress: false }
    }

    fn at(second: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000 + second)
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("a folder");
        let mut names: Vec<String> = entries
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    fn wait_for(folder: &Path, wanted: &[&str]) {
        let begun = Instant::now();
        while names(folder) != wanted {
            assert!(begun.elapsed() < Duration::from_secs(20), "{:?}, not {wanted:?}", names(folder));
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_file_that_would_grow_too_large_is_put_aside_whole() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = folder.path().join("node.log");
        let mut file = RotatedFile::open(&path, rotation()).expect("opened");
        for (second, line) in ["123456789\n", "abcdefghi\n", "next\n"].iter().enumerate() {
            file.write_line(line.as_bytes(), at(second as u64)).expect("written");
        }
        assert_eq!(names(folder.path()), ["node-2026-09-21T14-13-22.000.log", "node.log"]);
        assert_eq!(fs::read_to_string(&path).expect("read"), "next\n");
        // A line above the bound is kept whole, in a file of its own.
        file.write_line(b"a line that is longer than a whole file may be\n", at(5)).expect("written");
        file.write_line(b"x\n", at(6)).expect("written");
        assert_eq!(names(folder.path()).len(), 4);
        // What is there is counted when the file is opened again.
        drop(file);
        let mut file = RotatedFile::open(&path, rotation()).expect("opened");
        file.write_line(b"1234567890123456789\n", at(7)).expect("written");
        assert_eq!(names(folder.path()).len(), 5);
    }

    #[test]
    fn a_file_that_was_taken_away_is_begun_again() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = folder.path().join("node.log");
        let mut file = RotatedFile::open(&path, rotation()).expect("opened");
        file.write_line(b"1234567890123456789\n", at(0)).expect("written");
        fs::remove_file(&path).expect("removed");
        file.write_line(b"next\n", at(1)).expect("written");
        assert_eq!(fs::read_to_string(&path).expect("read"), "next\n");
        assert_eq!(names(folder.path()), ["node.log"]);
    }

    #[test]
    fn files_of_one_millisecond_are_all_kept() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = folder.path().join("node.log");
        let mut file = RotatedFile::open(&path, rotation()).expect("opened");
        for _ in 0..4 {
            file.write_line(b"1234567890123456789\n", at(0)).expect("written");
        }
        assert_eq!(names(folder.path()).len(), 4, "{:?}", names(folder.path()));
        let backups = ["node-2026-09-21T14-13-20.000.log", "node-2026-09-21T14-13-20.001.log"];
        assert_eq!(names(folder.path())[..2], backups);
    }

    #[test]
    fn half_a_line_counts_too() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = folder.path().join("node.log");
        let mut file = RotatedFile::open(&path, rotation()).expect("opened");
        // What another writer has left there stands for what a failed write has.
        fs::write(&path, "1234567890123456789\n").expect("written");
        let kept = std::mem::replace(&mut file.file, File::open(&path).expect("opened to be read"));
        file.write_line(b"x\n", at(0)).expect_err("it cannot be written");
        assert_eq!(file.bytes, 20);
        file.file = kept;
        file.write_line(b"y\n", at(1)).expect("written");
        assert_eq!(fs::read_to_string(&path).expect("read"), "y\n");
    }

    #[test]
    fn only_so_many_are_kept_and_strangers_stay() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = folder.path().join("node.log");
        fs::write(folder.path().join("node-2020.log"), "not ours").expect("written");
        let kept = LogRotation { backups_max: 2, ..rotation() };
        let mut file = RotatedFile::open(&path, kept).expect("opened");
        for second in 0..6 {
            file.write_line(b"123456789012345678\n", at(second)).expect("written");
        }
        let newest = ["node-2026-09-21T14-13-24.000.log", "node-2026-09-21T14-13-25.000.log"];
        wait_for(folder.path(), &["node-2020.log", newest[0], newest[1], "node.log"]);
    }

    #[test]
    fn old_ones_go() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        for day in ["10", "20"] {
            fs::write(folder.path().join(format!("node-2026-09-{day}T00-00-00.000.log")), "")
                .expect("written");
        }
        let aside = Aside {
            path: folder.path().join("node.log"),
            rotation: LogRotation { days_max: 7, ..rotation() },
        };
        let doomed = aside.doomed(at(0));
        assert_eq!(doomed.len(), 1, "{doomed:?}");
        assert!(doomed[0].path.ends_with("node-2026-09-10T00-00-00.000.log"), "{doomed:?}");
    }

    #[test]
    fn compressed_ones_hold_the_same_text() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = folder.path().join("node");
        let packed = LogRotation { compress: true, local_time: true, ..rotation() };
        let mut file = RotatedFile::open(&path, packed).expect("opened");
        file.write_line(b"the first line\n", at(0)).expect("written");
        file.write_line(b"the second line\n", at(1)).expect("written");
        let backup = backup_path(&path, at(1), true);
        let name = format!("{}.gz", backup.file_name().expect("a name").to_string_lossy());
        wait_for(folder.path(), &["node", &name]);
        let mut text = String::new();
        let packed = File::open(folder.path().join(name)).expect("opened");
        flate2::read::GzDecoder::new(packed).read_to_string(&mut text).expect("unpacked");
        assert_eq!(text, "the first line\n");
    }
}
