//! Why a log is not opened where it lies, and what to do.
use std::io;
use std::path::{Path, PathBuf};

use crate::data_dir::DataDirError;

/// Why a log is not opened where it lies, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// The directory's note cannot be read or written.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The log is on a partition, and none was given.
    #[error(
        "the log of {dir} lies on a partition of its own ({device} when last seen, id {id:016x}): \
         give it with --log-partition {device}"
    )]
    Elsewhere {
        /** The data directory. */
        dir: PathBuf,
        /** Of the partition. */
        id: u64,
        /** Where it was when it was last seen. */
        device: PathBuf,
    },
    /// Another partition than the one that has the log.
    #[error(
        "{path} is not the partition with the log of {dir}: {}, and the log is on the one with id {id:016x}; give \
         that one with --log-partition. If it is gone for good, restore a backup into an empty --data-dir",
        of_id(found)
    )]
    Wrong {
        /** What was given. */
        path: PathBuf,
        /** The data directory. */
        dir: PathBuf,
        /** The id of what was given; `None`: it is empty. */
        found: Option<u64>,
        /** The id that the directory notes. */
        id: u64,
    },
    /// The partition is another data directory's.
    #[error(
        "{path} has the log of another data directory (member {member:016x}, instance {instance:016x}) and not of \
         {dir} (instance {own_instance:016x}): give the data directory that it belongs to (is it mounted?), or \
         another partition; if that log is not needed any more, {}",
        clear(path)
    )]
    Others {
        /** The partition. */
        path: PathBuf,
        /** Its member. */
        member: u64,
        /** Its instance. */
        instance: u64,
        /** The data directory that was given. */
        dir: PathBuf,
        /** The instance of that. */
        own_instance: u64,
    },
    /// Something else lies on it.
    #[error(
        "{path} is not empty: it holds {what}, and nothing was written to it; give another --log-partition, or, if \
         nothing on it is needed any more, {}",
        clear(path)
    )]
    Occupied {
        /** The partition. */
        path: PathBuf,
        /** What, as far as that is known. */
        what: &'static str,
    },
    /// A newer version made it.
    #[error(
        "{path} has format {format}, which this version does not know: start the newer bramble that made it"
    )]
    Newer {
        /** The partition. */
        path: PathBuf,
        /** Its format. */
        format: u16,
    },
    /// Its table cannot be read.
    #[error("{path} is damaged: {what}; the log on it is lost, so restore a backup into an empty --data-dir")]
    Damaged {
        /** The partition. */
        path: PathBuf,
        /** What is wrong. */
        what: String,
    },
    /// There is no room for the log.
    #[error("{path} is too small for the log: it has {bytes} bytes, and {needed} are needed ({} MiB)", needed.div_ceil(1 << 20))]
    TooSmall {
        /** The partition. */
        path: PathBuf,
        /** What it has. */
        bytes: u64,
        /** What it must have. */
        needed: u64,
    },
    /// It is not there.
    #[error("there is no {path}: `lsblk -o NAME,SIZE,PARTLABEL` shows the partitions that there are")]
    Missing {
        /** What was given. */
        path: PathBuf,
    },
    /// Others use it.
    #[error(
        "{path} is in use: it is mounted, or another process has it; `lsblk {path}` and `fuser {path}` show which"
    )]
    Busy {
        /** The partition. */
        path: PathBuf,
    },
    /// The user may not use it.
    #[error(
        "permission denied on {path}: the user that runs bramble must be allowed to read and write it \
         (a udev rule with OWNER=, or the device's group)"
    )]
    Permission {
        /** What could not be used. */
        path: PathBuf,
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

fn of_id(found: &Option<u64>) -> String {
    found.map_or("it is empty".to_owned(), |id| format!("its id is {id:016x}"))
}

/// What makes a partition count as empty.
fn clear(path: &Path) -> String {
    let path = path.display();
    format!("clear it with `dd if=/dev/zero of={path} bs=1M count=1 conv=notrunc,fsync` and start again")
}

pub(super) fn failed<'a>(call: &'static str, path: &'a Path) -> impl Fn(io::Error) -> PlaceError + 'a {
    move |source| {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound if call == "open" => PlaceError::Missing { path },
            io::ErrorKind::ResourceBusy => PlaceError::Busy { path },
            io::ErrorKind::PermissionDenied => PlaceError::Permission { path },
            _ => PlaceError::Io { call, path, source },
        }
    }
}
