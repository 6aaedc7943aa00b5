//! The data directory: who holds it, which format it has, whose it is.
//!
//! ```text
//! LOCK      held while a process runs; says which ("pid 4711")
//! FORMAT    "bramble data 1"
//! IDENTITY  cluster, member and instance id, with a checksum
//! log/      the ring of segments
//! engine/   the engine's files
//! IMPORT    while an import fills it: see `begun`
//! REPAIR    while a repair puts new files in the place of damaged ones: see `repair`
//! MEDIA     what the device was found to be, when somebody has found out: see [`note`]
//! PLACE     where the log lies, when it is not in log/: see [`crate::log_place`]
//! ```
//! Invariants: FORMAT and IDENTITY appear whole or not at all (written beside, synced, renamed, the
//! directory synced) and never change, except that an imported directory is nobody's until it is opened for
//! the first time; nothing else is made before them, so a first start that was cut short is told from a
//! directory that lost its identity.
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, LockError, LockGuard, Open};

/// For an import, which makes the engine's files.
#[cfg(feature = "rocks")]
pub(crate) mod begun;
/// For a repair, which knows the engine's files.
#[cfg(feature = "rocks")]
pub(crate) mod held;
pub mod note;

/// The format of data directories this version makes, and the newest it opens.
pub const FORMAT: u32 = 1;

/// There while an import fills the directory: what else is there is worth nothing yet.
const IMPORT: &str = "IMPORT";
/// There while a repair moves files, so that nobody takes the half for a whole.
pub(crate) const REPAIR: &str = "REPAIR";

const FORMAT_WORDS: &str = "bramble data ";
/// The small files are shorter than this; a longer one is not ours.
pub(crate) const SMALL_MAX: u64 = 4096;

/// The ids a data directory belongs to, chosen when it is made and never changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    /// The cluster.
    pub cluster: u64,
    /// The member.
    pub member: u64,
    /// This directory: a wiped card comes back with another one and cannot vote as its old self.
    pub instance: u64,
}

impl Ids {
    /// Those of an imported directory that nobody has opened: it belongs to the first who does.
    pub(crate) const NOBODY: Ids = Ids { cluster: 0, member: 0, instance: 1 };
}

/// Why a data directory was not opened, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process has it.
    #[error(
        "the data directory {path} is in use by another process ({holder}): \
         stop that one, or give this one a directory of its own with --data-dir"
    )]
    Locked {
        /** The directory. */
        path: PathBuf,
        /** What the other process left in LOCK: its process id. */
        holder: String,
    },
    /// A newer version made it.
    #[error(
        "{path}/FORMAT says {found}, and this version knows formats up to {known}: \
         start the newer bramble that wrote it; if there was none, the file is damaged"
    )]
    Newer {
        /** The directory. */
        path: PathBuf,
        /** Its format. */
        found: u32,
        /** The newest this version opens. */
        known: u32,
    },
    /// The file system is read-only.
    #[error(
        "the data directory {path} is on a read-only file system: \
         remount it for writing; a card that turned read-only by itself is worn out, replace it"
    )]
    ReadOnly {
        /** What could not be written. */
        path: PathBuf,
    },
    /// The file system is full.
    #[error("no space left for the data directory {path}: free some space and start again, nothing is lost")]
    Full {
        /** What could not be written. */
        path: PathBuf,
    },
    /// The user may not use it.
    #[error(
        "permission denied on {path}: the data directory must belong to the user that runs bramble \
         (chown -R <user> <directory>) with mode 0700"
    )]
    Permission {
        /** What could not be used. */
        path: PathBuf,
    },
    /// etcd's data.
    #[error(
        "{path} holds etcd's data (member/): this version cannot import it yet; \
         choose an empty directory with --data-dir and leave etcd's as it is"
    )]
    Etcd {
        /** The directory. */
        path: PathBuf,
    },
    /// Something else's data.
    #[error("{path} is not bramble's: it holds {name}; choose an empty directory with --data-dir")]
    Foreign {
        /** The directory. */
        path: PathBuf,
        /** A name in it that bramble does not make. */
        name: String,
    },
    /// It is a file.
    #[error("{path} is not a directory: choose another with --data-dir")]
    NotADirectory {
        /** The path. */
        path: PathBuf,
    },
    /// It is not empty.
    #[error("{path} is not empty: it holds {name}; import into an empty directory, or a new one")]
    NotEmpty {
        /** The directory. */
        path: PathBuf,
        /** A name in it. */
        name: String,
    },
    /// An import was cut short.
    #[error("an import into {path} was cut short: run the same `bramblectl import` again, it begins anew")]
    Unimported {
        /** The directory. */
        path: PathBuf,
    },
    /// A repair was cut short.
    #[error(
        "a repair of {path} was cut short: run `bramblectl repair --data-dir {path}` to finish it; \
         nothing is lost"
    )]
    Unrepaired {
        /** The directory. */
        path: PathBuf,
    },
    /// A file of it is missing or unreadable.
    #[error("{path} is damaged: {what}")]
    Damaged {
        /** The file. */
        path: PathBuf,
        /** What is wrong with it. */
        what: String,
    },
    /// Another failure.
    #[error("cannot {call} {path}: {source}")]
    Io {
        /** Which call. */
        call: &'static str,
        /** On which file. */
        path: PathBuf,
        /** What the system said. */
        source: io::Error,
    },
}

fn failed<'a>(call: &'static str, path: &'a Path) -> impl Fn(io::Error) -> DataDirError + 'a {
    move |source| {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::ReadOnlyFilesystem => DataDirError::ReadOnly { path },
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => DataDirError::Full { path },
            io::ErrorKind::PermissionDenied => DataDirError::Permission { path },
            io::ErrorKind::NotADirectory => DataDirError::NotADirectory { path },
            _ => DataDirError::Io { call, path, source },
        }
    }
}

/// An open, locked data directory.
pub struct DataDir {
    path: PathBuf,
    ids: Ids,
    fresh: bool,
    _lock: Box<dyn LockGuard>,
}

impl DataDir {
    /// Locks and opens the directory. A missing or empty one is made, with `new_ids`.
    ///
    /// # Errors
    /// See [`DataDirError`]: each text says what to do next.
    pub fn open(disk: Arc<dyn Disk>, path: &Path, new_ids: Ids) -> Result<DataDir, DataDirError> {
        make_directories(&*disk, path)?;
        let names = disk.list(path).map_err(failed("list", path))?;
        refuse_foreign(path, &names)?;
        let lock = take_lock(&*disk, path)?;
        // Listed again: the first look was before the lock, and another process may have just made it.
        let names = disk.list(path).map_err(failed("list", path))?;
        let has = |name: &str| names.iter().any(|n| n == name);
        let has_data = has("log") || has("engine");
        if has(IMPORT) {
            return Err(DataDirError::Unimported { path: path.to_owned() });
        }
        if has(REPAIR) {
            return Err(DataDirError::Unrepaired { path: path.to_owned() });
        }
        if has("FORMAT") {
            check_format(&*disk, path)?;
        } else if has("IDENTITY") || has_data {
            let what = "the file is missing".to_owned();
            return Err(DataDirError::Damaged { path: path.join("FORMAT"), what });
        } else {
            write_whole(&*disk, path, "FORMAT", &format!("{FORMAT_WORDS}{FORMAT}\n"))?;
        }
        let fresh = !has("IDENTITY");
        if fresh && has_data {
            let what = "the file is missing".to_owned();
            return Err(DataDirError::Damaged { path: path.join("IDENTITY"), what });
        }
        if fresh {
            write_whole(&*disk, path, "IDENTITY", &identity_text(new_ids))?;
        }
        let mut ids = read_identity(&*disk, &path.join("IDENTITY"))?;
        if ids == Ids::NOBODY {
            write_whole(&*disk, path, "IDENTITY", &identity_text(new_ids))?;
            ids = new_ids;
        }
        // Also after a start that was killed between a rename and its sync.
        disk.sync_dir(path).map_err(failed("sync", path))?;
        Ok(DataDir { path: path.to_owned(), ids, fresh, _lock: lock })
    }

    /// The ids it was made with.
    pub fn ids(&self) -> Ids {
        self.ids
    }

    /// Whether this call made it.
    pub fn fresh(&self) -> bool {
        self.fresh
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the log lives; made by the log.
    pub fn log_path(&self) -> PathBuf {
        self.path.join("log")
    }

    /// Where the engine lives; made by the engine.
    pub fn engine_path(&self) -> PathBuf {
        self.path.join("engine")
    }
}

/// Makes the directory and its missing parents, durably from the outside in.
fn make_directories(disk: &dyn Disk, path: &Path) -> Result<(), DataDirError> {
    if path.as_os_str().is_empty() || disk.exists(path).map_err(failed("look for", path))? {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        make_directories(disk, parent)?;
    }
    match disk.create_dir(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        done => done.map_err(failed("create directory", path))?,
    }
    let parent = parent.unwrap_or(Path::new("."));
    disk.sync_dir(parent).map_err(failed("sync", parent))
}

fn refuse_foreign(path: &Path, names: &[String]) -> Result<(), DataDirError> {
    const OURS: [&str; 15] = [
        "LOCK",
        "FORMAT",
        "IDENTITY",
        "FORMAT.new",
        "IDENTITY.new",
        "log",
        "engine",
        IMPORT,
        "IMPORT.new",
        REPAIR,
        "repair.new",
        note::MEDIA,
        "MEDIA.new",
        note::PLACE,
        "PLACE.new",
    ];
    if names.iter().any(|name| name == "FORMAT" || name == "IDENTITY") {
        return Ok(());
    }
    if names.iter().any(|name| name == "member") {
        return Err(DataDirError::Etcd { path: path.to_owned() });
    }
    // `lost+found`: the directory is a file system's root. A leading dot: someone's notes.
    let foreign =
        |name: &&String| !OURS.contains(&name.as_str()) && *name != "lost+found" && !name.starts_with('.');
    match names.iter().find(foreign) {
        Some(name) => Err(DataDirError::Foreign { path: path.to_owned(), name: name.clone() }),
        None => Ok(()),
    }
}

fn take_lock(disk: &dyn Disk, path: &Path) -> Result<Box<dyn LockGuard>, DataDirError> {
    let lock = path.join("LOCK");
    disk.lock(&lock).map_err(|e| match e {
        LockError::Held { holder } => DataDirError::Locked { path: path.to_owned(), holder },
        LockError::Io(e) => failed("lock", &lock)(e),
    })
}

fn check_format(disk: &dyn Disk, dir: &Path) -> Result<(), DataDirError> {
    let path = dir.join("FORMAT");
    let text = read_small(disk, &path)?;
    let number = text.strip_prefix(FORMAT_WORDS).and_then(|rest| rest.trim_end().parse::<u32>().ok());
    match number {
        Some(FORMAT) => Ok(()),
        Some(found) if found > FORMAT => {
            Err(DataDirError::Newer { path: dir.to_owned(), found, known: FORMAT })
        }
        _ => Err(DataDirError::Damaged { path, what: format!("it does not say \"{FORMAT_WORDS}{FORMAT}\"") }),
    }
}

/// The text of IDENTITY: three ids and the CRC-32 of the lines before the last.
fn identity_text(ids: Ids) -> String {
    let Ids { cluster, member, instance } = ids;
    let body = format!("cluster {cluster:016x}\nmember {member:016x}\ninstance {instance:016x}\n");
    let crc = crc32fast::hash(body.as_bytes());
    format!("{body}crc32 {crc:08x}\n")
}

/// The ids in the text of IDENTITY, if it is whole.
fn ids_of(text: &str) -> Option<Ids> {
    let id = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|hex| u64::from_str_radix(hex, 16).ok())
    };
    let ids = match (id("cluster"), id("member"), id("instance")) {
        (Some(cluster), Some(member), Some(instance)) => Some(Ids { cluster, member, instance }),
        _ => None,
    };
    // Written again from what was read, it has to be the same text, checksum included.
    ids.filter(|ids| identity_text(*ids) == text)
}

fn read_identity(disk: &dyn Disk, path: &Path) -> Result<Ids, DataDirError> {
    ids_of(&read_small(disk, path)?).ok_or_else(|| {
        let what = "the ids in it do not match their checksum".to_owned();
        DataDirError::Damaged { path: path.to_owned(), what }
    })
}

fn read_small(disk: &dyn Disk, path: &Path) -> Result<String, DataDirError> {
    let file = disk.open(path, Open::Read).map_err(failed("open", path))?;
    let bytes = file.len().map_err(failed("read", path))?;
    if bytes > SMALL_MAX {
        let what = format!("it has {bytes} bytes");
        return Err(DataDirError::Damaged { path: path.to_owned(), what });
    }
    let mut buf = vec![0; bytes as usize];
    file.read_at(0, &mut buf).map_err(failed("read", path))?;
    String::from_utf8(buf)
        .map_err(|_| DataDirError::Damaged { path: path.to_owned(), what: "it is not text".to_owned() })
}

/// Writes a small file so that it appears whole or not at all, and durably.
fn write_whole(disk: &dyn Disk, dir: &Path, name: &str, text: &str) -> Result<(), DataDirError> {
    let (beside, path) = (dir.join(format!("{name}.new")), dir.join(name));
    if disk.exists(&beside).map_err(failed("look for", &beside))? {
        disk.unlink(&beside).map_err(failed("remove", &beside))?;
    }
    let file = disk.open(&beside, Open::CreateNew).map_err(failed("create", &beside))?;
    file.write_small(text.as_bytes()).map_err(failed("write", &beside))?;
    file.sync().map_err(failed("sync", &beside))?;
    disk.rename(&beside, &path).map_err(failed("rename", &path))?;
    disk.sync_dir(dir).map_err(failed("sync", dir))
}
