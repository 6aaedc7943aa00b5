//! The real file system.
//!
//! A file written with `write_at` goes around the page cache (`O_DIRECT`) and is durable when the call
//! returns (`RWF_DSYNC`), so one commit is one request to the device. A block device itself is written in the
//! same way, and flushed by `sync`. Where the file system refuses
//! that (tmpfs, some overlays), writes go through the page cache and `sync` is `fdatasync`. `fsync`
//! is never used on the log: it would also write the time stamps, through the file system's journal.
use std::fs;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::{ReadWriteFlags, pwritev2};

use super::{ALIGN, AlignedSlice, Disk, File, LockError, LockGuard, Open};

/// The operating system's files.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let mut options = fs::OpenOptions::new();
        options.read(true).mode(0o600);
        match how {
            Open::Read => {}
            Open::Write => {
                options.write(true);
            }
            Open::CreateNew => {
                options.write(true).create_new(true);
            }
            Open::WriteAlone => {
                options.write(true);
                if is_block_device(&fs::metadata(path)?) {
                    // Of a device the kernel lets one have it so, and takes a mounted one for had.
                    options.custom_flags(rustix::fs::OFlags::EXCL.bits() as i32);
                }
            }
        }
        let plain = options.open(path)?;
        let direct = match how {
            Open::Read => None,
            Open::Write => open_direct(path)?,
            Open::WriteAlone => {
                lock_file(&plain)?;
                open_direct(path)?
            }
            // Without the second handle there is no new file: the caller may try again.
            Open::CreateNew => open_direct(path).inspect_err(|_| drop(fs::remove_file(path)))?,
        };
        let is_device = is_block_device(&plain.metadata()?);
        Ok(Arc::new(RealFile {
            path: path.to_owned(),
            flags: if is_device { ReadWriteFlags::empty() } else { ReadWriteFlags::DSYNC },
            plain,
            use_direct: AtomicBool::new(direct.is_some()),
            direct,
            tried: AtomicBool::new(false),
            unsynced: AtomicBool::new(false),
        }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::DirBuilder::new().mode(0o700).create(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let names = fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        let mut names = names.collect::<io::Result<Vec<String>>>()?;
        names.sort();
        Ok(names)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        fs::File::open(dir)?.sync_all()
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(dir)?;
        // Some file systems do not know, and say that there is nothing at all.
        if stat.f_blocks == 0 {
            return Err(io::ErrorKind::Unsupported.into());
        }
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn LockGuard>, LockError> {
        let mut file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // The text only helps a person; a lock that cannot be read is still held.
                let _ = file.take(64).read_to_string(&mut holder);
                return Err(LockError::Held { holder: holder.trim().to_owned() });
            }
            Err(fs::TryLockError::Error(e)) => return Err(LockError::Io(e)),
        }
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "pid {}", std::process::id())?;
        Ok(Box::new(RealLock { _file: file }))
    }
}

fn is_block_device(found: &fs::Metadata) -> bool {
    found.file_type().is_block_device()
}

/// Locks a plain file. A device is left to its own way: udev locks it now and then, to look at it.
fn lock_file(file: &fs::File) -> io::Result<()> {
    if !file.metadata()?.is_file() {
        return Ok(());
    }
    file.try_lock().map_err(|error| match error {
        fs::TryLockError::WouldBlock => io::ErrorKind::ResourceBusy.into(),
        fs::TryLockError::Error(error) => error,
    })
}

/// Opens the second, direct handle; `None` where the file system has no direct I/O.
fn open_direct(path: &Path) -> io::Result<Option<fs::File>> {
    let flags = rustix::fs::OFlags::DIRECT.bits() as i32;
    match fs::OpenOptions::new().read(true).write(true).custom_flags(flags).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(e) if refuses_direct(&e) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Writes all of `data` around the page cache; with `DSYNC` it is durable when this returns. That goes with the
/// write and not with `open`, because rustix 1.1 gives `O_SYNC` for `O_DSYNC` on Linux: that would write time
/// stamps too.
fn write_direct(file: &fs::File, data: &[u8], offset: u64, flags: ReadWriteFlags) -> io::Result<()> {
    write_all(data, offset, |rest, at| pwritev2(file, &[io::IoSlice::new(rest)], at, flags))
}

/// Writes on after a part, and again after a signal.
fn write_all(
    data: &[u8],
    offset: u64,
    mut write: impl FnMut(&[u8], u64) -> rustix::io::Result<usize>,
) -> io::Result<()> {
    use rustix::io::Errno;
    let mut done = 0;
    while done < data.len() {
        match write(&data[done..], offset + done as u64) {
            Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero)),
            Ok(bytes) => done += bytes,
            Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

fn refuses_direct(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) || is_not_supported(e)
}

fn is_not_supported(e: &io::Error) -> bool {
    e.raw_os_error() == Some(rustix::io::Errno::OPNOTSUPP.raw_os_error())
}

struct RealLock {
    _file: fs::File,
}

impl LockGuard for RealLock {}

struct RealFile {
    path: PathBuf,
    plain: fs::File,
    direct: Option<fs::File>,
    /// False once the file system has refused a direct write although it opened the file for them.
    use_direct: AtomicBool,
    /// Whether a direct write has been accepted or refused: only the very first may fall back.
    tried: AtomicBool,
    /// Whether bytes were written since the last sync that are not durable by the way they were written.
    unsynced: AtomicBool,
    /// With each direct write. Of a device none: there the kernel (6.18) flushes twice for one that is to be
    /// durable, and once for a write and a sync.
    flags: ReadWriteFlags,
}

impl RealFile {
    fn direct(&self) -> Option<&fs::File> {
        self.direct.as_ref().filter(|_| self.use_direct.load(Ordering::Acquire))
    }

    fn write_plain(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.unsynced.store(true, Ordering::Release);
        self.plain.write_all_at(data, offset)
    }
}

impl File for RealFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let aligned = buf.as_ptr().align_offset(ALIGN) == 0
            && buf.len().is_multiple_of(ALIGN)
            && offset.is_multiple_of(ALIGN as u64);
        // Direct reads begin with the direct writes: recovery gains from the page cache's read-ahead.
        match self.direct().filter(|_| aligned && self.tried.load(Ordering::Acquire)) {
            Some(direct) => direct.read_exact_at(buf, offset),
            None => self.plain.read_exact_at(buf, offset),
        }
    }

    fn write_at(&self, offset: u64, data: AlignedSlice<'_>) -> io::Result<()> {
        assert!(
            offset.is_multiple_of(ALIGN as u64),
            "write at {offset} of {} is not aligned",
            self.path.display()
        );
        let Some(direct) = self.direct() else { return self.write_plain(offset, &data) };
        let first = !self.tried.swap(true, Ordering::AcqRel);
        if self.flags.is_empty() {
            self.unsynced.store(true, Ordering::Release);
        }
        match write_direct(direct, &data, offset, self.flags) {
            // Refused before anything was written: the file system opens for direct writes but takes none.
            Err(e) if first && refuses_direct(&e) => {
                self.use_direct.store(false, Ordering::Release);
                self.write_plain(offset, &data)
            }
            done => done,
        }
    }

    fn write_small(&self, data: &[u8]) -> io::Result<()> {
        self.write_plain(0, data)
    }

    fn sync(&self) -> io::Result<()> {
        if self.unsynced.swap(false, Ordering::AcqRel) { self.plain.sync_data() } else { Ok(()) }
    }

    fn settle(&self) -> io::Result<()> {
        self.plain.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        let found = self.plain.metadata()?;
        // A device has no length that its metadata would tell.
        if is_block_device(&found) { (&self.plain).seek(io::SeekFrom::End(0)) } else { Ok(found.len()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    #[test]
    fn signals_and_parts_are_invisible_and_errors_are_not() {
        let data: Vec<u8> = (0..=255).cycle().take(10_000).collect();
        let (mut file, mut calls) = (vec![0; 20_000], 0);
        let written = write_all(&data, 4096, |rest, at| {
            calls += 1;
            let part = rest.len().min(777);
            match calls % 3 {
                0 => Err(Errno::INTR),
                _ => {
                    file[at as usize..at as usize + part].copy_from_slice(&rest[..part]);
                    Ok(part)
                }
            }
        });
        assert!(written.is_ok() && file[4096..14_096] == data[..] && calls > 13, "{calls} calls");
        for errno in [Errno::IO, Errno::NOSPC, Errno::ROFS] {
            let mut calls = 0;
            let failed = write_all(&data, 0, |rest, _| {
                calls += 1;
                if calls == 1 { Ok(rest.len() / 2) } else { Err(errno) }
            });
            assert_eq!(failed.expect_err("an error").raw_os_error(), Some(errno.raw_os_error()));
            assert_eq!(calls, 2, "a failed write is not made again");
        }
        let none = write_all(&data, 0, |_, _| Ok(0)).expect_err("it would go on for ever");
        assert_eq!(none.kind(), io::ErrorKind::WriteZero);
    }
}
