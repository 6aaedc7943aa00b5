//! What cannot be imported is refused with a reason and a next step, and leaves nothing behind that looks whole.
use std::path::{Path, PathBuf};

use bramble_store::embedded::{Embedded, EmbeddedOptions};
use bramble_store::snapshot::etcd::{Export, Step};
use bramble_tests::process::Setup;

use crate::tools::{done, import};

/// A snapshot with a few keys.
fn snapshot(dir: &Path) -> PathBuf {
    let store = Embedded::open(dir.join("source"), EmbeddedOptions::default()).expect("a new directory");
    for n in 0..200 {
        store.put(format!("lamp/{n:03}"), format!("value {n}")).expect("the disk works");
    }
    let (mut export, mut bytes) = (Export::of(store.view()), Vec::new());
    loop {
        match export.step().expect("readable") {
            Step::Measured => {}
            Step::Bytes(more) => bytes.extend(more),
            Step::End => break,
        }
    }
    let file = dir.join("snapshot.db");
    std::fs::write(&file, bytes).expect("written");
    file
}

/// Runs it to its bad end; what it says.
fn told(file: &Path, dir: &Path, arguments: &[&str]) -> String {
    let output = import(file, dir, arguments).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let told = String::from_utf8(output.stderr).expect("text");
    assert!(told.starts_with("Error: ") && told.lines().count() == 1, "one clear error: {told}");
    told
}

fn names(dir: &Path) -> Vec<String> {
    let names = std::fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("a name").file_name());
    let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn bad_files_and_full_directories_are_refused() {
    let temp = tempfile::tempdir().expect("a temporary directory");
    let (file, dir) = (snapshot(temp.path()), temp.path().join("data"));
    let whole = std::fs::read(&file).expect("written");
    let bad = temp.path().join("bad.db");
    let write = |bytes: &[u8]| std::fs::write(&bad, bytes).expect("written");

    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    write(&flipped);
    assert!(told(&bad, &dir, &[]).contains("its SHA-256 is not the one behind it"));
    write(&whole[..whole.len() - 32]);
    assert!(told(&bad, &dir, &[]).contains("import that with --skip-hash-check"));
    write(&whole[..whole.len() / 2]);
    assert!(told(&bad, &dir, &["--skip-hash-check"]).contains("it was cut off"));
    write(&vec![7; 32 << 10]);
    assert!(told(&bad, &dir, &["--skip-hash-check"]).contains("it is not a database of etcd"));
    assert!(told(&temp.path().join("absent"), &dir, &[]).contains("cannot open"));
    assert_eq!(names(&dir), ["LOCK"], "nothing is left of what was refused");

    std::fs::write(dir.join("notes.txt"), "mine").expect("written");
    assert!(told(&file, &dir, &[]).contains("is not bramble's: it holds notes.txt"));
    std::fs::remove_file(dir.join("notes.txt")).expect("removed");
    // A copy of the database alone is fine when that is said.
    write(&whole[..whole.len() - 32]);
    done(&mut import(&bad, &dir, &["--skip-hash-check"]));
    assert!(told(&file, &dir, &[]).contains("is not empty: it holds"));
    let embedded = Embedded::open(&dir, EmbeddedOptions::default()).expect("the first who opens it has it");
    assert_eq!(embedded.get("lamp/007").expect("readable").expect("imported").value, "value 7");
}

#[test]
fn an_import_that_was_cut_short_begins_anew() {
    let temp = tempfile::tempdir().expect("a temporary directory");
    let (file, dir) = (snapshot(temp.path()), temp.path().join("data"));
    done(&mut import(&file, &dir, &[]));
    // As it is before the last step.
    std::fs::write(dir.join("IMPORT"), "").expect("written");
    let mut server = Setup::bramble().data_dir(&dir).spawn();
    let ended = server.wait_exit(std::time::Duration::from_secs(20)).expect("it ends");
    assert!(!ended.success());
    assert!(
        server.log().contains("was cut short: run the same `bramblectl import` again"),
        "{}",
        server.log()
    );
    done(&mut import(&file, &dir, &["--keep-revisions"]));
    let embedded = Embedded::open(&dir, EmbeddedOptions::default()).expect("it is whole");
    assert_eq!(embedded.revision(), 201);
}
