//! Small files that a program keeps in its data directory beside the data: what it once found out and would
//! have to find out again without them.
//!
//! A note is text with a checksum in its last line. Like IDENTITY it appears whole or not at all; unlike it,
//! it may be lost: what a damaged note is worth, its reader decides.
use std::io;
use std::path::Path;

use super::{DataDirError, failed, read_small, write_whole};
use crate::disk::{Disk, Open};

/// The name of the note about the device under the directory.
pub const MEDIA: &str = "MEDIA";

/// The name of the note about the place of the log: see [`crate::log_place`].
pub const PLACE: &str = "PLACE";

/// Reads the note `name` in the directory `dir`; `None` when there is none.
///
/// # Errors
/// [`DataDirError::Damaged`] when it is not what was written; others when it cannot be read.
pub fn read(disk: &dyn Disk, dir: &Path, name: &str) -> Result<Option<String>, DataDirError> {
    let path = dir.join(name);
    match disk.open(&path, Open::Read) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("open", &path)(error)),
        Ok(_) => {}
    }
    let text = read_small(disk, &path)?;
    let body = text.rfind("crc32 ").map(|at| &text[..at]).filter(|body| sealed(body) == text);
    match body {
        Some(body) => Ok(Some(body.to_owned())),
        None => {
            let what = "its text does not match its checksum".to_owned();
            Err(DataDirError::Damaged { path, what })
        }
    }
}

/// Writes the note `name`, whole lines, in place of what was there.
///
/// # Errors
/// [`DataDirError`]: the disk's, with the name of the file.
pub fn write(disk: &dyn Disk, dir: &Path, name: &str, body: &str) -> Result<(), DataDirError> {
    write_whole(disk, dir, name, &sealed(body))
}

fn sealed(body: &str) -> String {
    format!("{body}crc32 {:08x}\n", crc32fast::hash(body.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::sim::SimDisk;

    #[test]
    fn a_note_is_read_as_it_was_written_or_called_damaged() {
        let (disk, dir) = (SimDisk::new(1), Path::new("/data"));
        disk.create_dir(dir).expect("a directory");
        assert!(matches!(read(&disk, dir, MEDIA), Ok(None)));
        for body in ["kind ssd\n", "kind sd-basic\ncrc32 of something else\n"] {
            write(&disk, dir, MEDIA, body).expect("written");
            assert_eq!(read(&disk, dir, MEDIA).expect("whole").as_deref(), Some(body));
        }
        let whole = sealed("kind ssd\n");
        for damaged in [&whole[..whole.len() - 2], &whole.replace("ssd", "sdd"), "", "kind ssd\n"] {
            write_whole(&disk, dir, MEDIA, damaged).expect("written");
            let error = read(&disk, dir, MEDIA).expect_err("damaged").to_string();
            assert!(error.contains("/data/MEDIA is damaged"), "{error}");
        }
    }
}
