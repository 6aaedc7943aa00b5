//! A medium as a file: `card`, alone in a FUSE file system.
use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen,
    ReplyWrite, Request, WriteFlags,
};

use super::medium::Medium;
use super::timing::SharedTiming;

/// The file's name.
pub const FILE: &str = "card";
const CARD: INodeNo = INodeNo(2);
/// What the kernel was told of a file it may believe for so long: nothing changes but the contents.
const BELIEVE: Duration = Duration::from_secs(3600);

/// A medium that a file system and a test both hold.
#[derive(Clone)]
pub struct Shared(Arc<Mutex<Medium>>);

impl Shared {
    pub fn new(medium: Medium) -> Shared {
        Shared(Arc::new(Mutex::new(medium)))
    }

    pub fn lock(&self) -> MutexGuard<'_, Medium> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Shows the medium at `mountpoint/card`, until the session is dropped.
pub fn mount(medium: Shared, timing: SharedTiming, mountpoint: &Path) -> io::Result<BackgroundSession> {
    let mut options = Config::default();
    options.mount_options = vec![MountOption::FSName("cardsim".to_owned()), MountOption::NoAtime];
    fuser::spawn_mount(Device(medium, timing), mountpoint, &options)
}

/// One thread answers all requests, so a card that waits lets all wait.
struct Device(Shared, SharedTiming);

impl Device {
    fn attr(&self, ino: INodeNo) -> FileAttr {
        let (kind, size, perm) = match ino {
            CARD => (FileType::RegularFile, self.0.lock().bytes(), 0o600),
            _ => (FileType::Directory, 0, 0o700),
        };
        let (atime, mtime, ctime, crtime) = (UNIX_EPOCH, UNIX_EPOCH, UNIX_EPOCH, UNIX_EPOCH);
        let (uid, gid) = owner();
        let (blocks, blksize) = (size / 512, 4096);
        FileAttr {
            ino,
            size,
            blocks,
            atime,
            mtime,
            ctime,
            crtime,
            kind,
            perm,
            nlink: 1,
            uid,
            gid,
            rdev: 0,
            blksize,
            flags: 0,
        }
    }
}

/// Whoever runs this.
fn owner() -> (u32, u32) {
    (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw())
}

impl Filesystem for Device {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match parent == INodeNo::ROOT && name == FILE {
            true => reply.entry(&BELIEVE, &self.attr(CARD), Generation(0)),
            false => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&BELIEVE, &self.attr(ino));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        // Every call of the loop device reaches the medium, and none is answered from memory.
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut bytes = vec![0; size as usize];
        match self.0.lock().read(offset, &mut bytes) {
            Ok(length) => reply.data(&bytes[..length]),
            Err(error) => reply.error(error.into()),
        }
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let written = self.0.lock().write(offset, data);
        self.1.wait(|timing| timing.write(offset, data.len() as u64));
        match written {
            Ok(()) => reply.written(data.len() as u32),
            Err(error) => reply.error(error.into()),
        }
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let flushed = self.0.lock().flush();
        self.1.wait(|timing| timing.flush());
        match flushed {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error.into()),
        }
    }

    /// Closing a file is no flush of the card.
    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fallocate(&self, _: &Request, _: INodeNo, _: FileHandle, _: u64, _: u64, _: i32, reply: ReplyEmpty) {
        // Discarded sectors keep what they had, as on a card without TRIM.
        reply.error(Errno::EOPNOTSUPP);
    }
}
