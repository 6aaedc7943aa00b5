//! Puts new files in the place of damaged ones, so that it may be cut short anywhere.
//!
//! ```text
//!   DIR/repair.new/{log,engine,…}   made and synced; nobody looks at it, the next repair removes it
//!   DIR/REPAIR  "damaged-1"         from here on only `finish` touches the directory
//!   DIR/log → DIR/damaged-1/log,  DIR/repair.new/log → DIR/log,  and so on
//!   DIR/REPAIR removed              done
//! ```
//! Everything stays in the directory itself: it may be the root of a file system.
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, lchown};
use std::path::{Path, PathBuf};

use super::RepairError;
use crate::data_dir::REPAIR;
use crate::data_dir::note::PLACE;

pub(super) const STAGE: &str = "repair.new";

/// What may be put in place, in this order.
const PARTS: [&str; 5] = ["FORMAT", "IDENTITY", "engine", "log", PLACE];

/// Where the next repair leaves the damaged files.
pub(super) fn keep_at(dir: &Path) -> PathBuf {
    (1..).map(|n| dir.join(format!("damaged-{n}"))).find(|path| !path.exists()).unwrap_or_default()
}

/// An empty stage: what an earlier attempt left is removed.
pub(super) fn clear_stage(dir: &Path) -> Result<PathBuf, RepairError> {
    let stage = dir.join(STAGE);
    match fs::remove_dir_all(&stage) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed("remove", &stage)(e)),
        _ => {}
    }
    Ok(stage)
}

/// The stage is whole and synced: puts it in place. Returns where the damaged files are now.
pub(super) fn swap(dir: &Path) -> Result<PathBuf, RepairError> {
    let keep = keep_at(dir);
    fs::create_dir(&keep).map_err(failed("create directory", &keep))?;
    let owner = fs::metadata(dir).map_err(failed("look at", dir))?;
    for path in [&keep, &dir.join(STAGE)] {
        give_to(path, (owner.uid(), owner.gid()))?;
    }
    sync(&dir.join(STAGE))?;
    let beside = dir.join(format!("{REPAIR}.new"));
    let name = keep.file_name().unwrap_or_default().as_encoded_bytes();
    fs::write(&beside, name).map_err(failed("write", &beside))?;
    sync(&beside)?;
    fs::rename(&beside, dir.join(REPAIR)).map_err(failed("rename", &beside))?;
    sync(dir)?;
    finish(dir).map(Option::unwrap_or_default)
}

/// Gives what was made to the owner of the directory: root repairs what another user's server serves.
fn give_to(path: &Path, owner: (u32, u32)) -> Result<(), RepairError> {
    let found = fs::symlink_metadata(path).map_err(failed("look at", path))?;
    if (found.uid(), found.gid()) != owner {
        lchown(path, Some(owner.0), Some(owner.1)).map_err(failed("change the owner of", path))?;
    }
    if found.is_dir() {
        for entry in fs::read_dir(path).map_err(failed("list", path))? {
            give_to(&entry.map_err(failed("list", path))?.path(), owner)?;
        }
    }
    Ok(())
}

/// Goes on where a swap was cut short. `None`: none was.
pub(super) fn finish(dir: &Path) -> Result<Option<PathBuf>, RepairError> {
    let marker = dir.join(REPAIR);
    let name = match fs::read_to_string(&marker) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(failed("read", &marker))?,
    };
    let known = name.strip_prefix("damaged-").is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()));
    if !known {
        let what = format!("it says {name:?}; remove it by hand if {STAGE} is empty or not there");
        return Err(RepairError::Hopeless { what: format!("{} is damaged: {what}", marker.display()) });
    }
    let (stage, keep) = (dir.join(STAGE), dir.join(name));
    match fs::create_dir(&keep) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
            return Err(failed("create directory", &keep)(e));
        }
        _ => {}
    }
    // What cannot be looked at is not taken for what is not there.
    let is_there = |path: &Path| path.try_exists().map_err(failed("look for", path));
    for part in PARTS {
        let (new, old) = (stage.join(part), dir.join(part));
        if !is_there(&new)? {
            continue;
        }
        if is_there(&old)? {
            rename(&old, &keep.join(part))?;
            sync(&keep)?;
        }
        rename(&new, &old)?;
        sync(dir)?;
    }
    clear_stage(dir)?;
    fs::remove_file(&marker).map_err(failed("remove", &marker))?;
    sync(dir)?;
    Ok(Some(keep))
}

fn rename(from: &Path, to: &Path) -> Result<(), RepairError> {
    fs::rename(from, to).map_err(failed("rename", from))
}

pub(super) fn sync(path: &Path) -> Result<(), RepairError> {
    let file = fs::File::open(path).map_err(failed("open", path))?;
    file.sync_all().map_err(failed("sync", path))
}

pub(super) fn failed(call: &'static str, path: &Path) -> impl Fn(io::Error) -> RepairError + use<> {
    let path = path.to_owned();
    move |source| RepairError::Io { call, path: path.clone(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAGED: [&str; 3] = ["IDENTITY", "engine", "log"];

    /// A directory with new files staged and the marker set: `swap` has got so far.
    fn marked(dir: &Path) {
        let stage = dir.join(STAGE);
        for (at, text) in [(dir, "old"), (&stage, "new")] {
            for part in ["engine", "log"] {
                fs::create_dir_all(at.join(part)).expect("a directory");
                fs::write(at.join(part).join("file"), text).expect("a file");
            }
            fs::write(at.join("IDENTITY"), text).expect("a file");
        }
        fs::write(dir.join("FORMAT"), "old").expect("a file");
        fs::create_dir(dir.join("damaged-1")).expect("a directory");
        fs::write(dir.join(REPAIR), "damaged-1").expect("a file");
    }

    fn text(path: &Path) -> String {
        let path = if path.is_dir() { path.join("file") } else { path.to_owned() };
        fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    #[test]
    fn a_swap_that_was_cut_short_anywhere_is_finished() {
        let moves = STAGED.iter().flat_map(|part| {
            let old = (PathBuf::from(part), Path::new("damaged-1").join(part));
            [old, (Path::new(STAGE).join(part), PathBuf::from(part))]
        });
        let moves: Vec<_> = moves.collect();
        for done in 0..=moves.len() + 1 {
            let temp = tempfile::tempdir().expect("a directory");
            let dir = temp.path();
            marked(dir);
            for (from, to) in moves.iter().take(done) {
                fs::rename(dir.join(from), dir.join(to)).expect("moved");
            }
            if done > moves.len() {
                fs::remove_dir_all(dir.join(STAGE)).expect("removed");
            }
            assert_eq!(finish(dir).expect("finished"), Some(dir.join("damaged-1")), "after {done} moves");
            for part in STAGED {
                assert_eq!(text(&dir.join(part)), "new", "{part} after {done} moves");
                assert_eq!(text(&dir.join("damaged-1").join(part)), "old", "{part} after {done} moves");
            }
            assert_eq!(text(&dir.join("FORMAT")), "old", "what was not staged stays");
            assert!(!dir.join(REPAIR).exists() && !dir.join(STAGE).exists());
            assert_eq!(finish(dir).expect("nothing to do"), None);
            assert_eq!(keep_at(dir), dir.join("damaged-2"));
        }
    }

    #[test]
    fn a_marker_that_says_something_else_is_refused() {
        let temp = tempfile::tempdir().expect("a directory");
        marked(temp.path());
        fs::write(temp.path().join(REPAIR), "../elsewhere").expect("a file");
        let refused = finish(temp.path()).expect_err("it names no directory of ours").to_string();
        assert!(refused.contains("REPAIR is damaged"), "{refused}");
    }
}
