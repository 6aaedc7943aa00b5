//! What `bramblectl import` prints, of a snapshot that is made for it.
use std::path::Path;

use bramble_store::embedded::{Embedded, EmbeddedOptions};
use bramble_store::snapshot::etcd::{Export, Step};
use bramble_store::types::LeaseId;

use crate::readme::{in_the_readme, session};

/// A snapshot of twelve keys, of which one hangs on a lease and one was deleted.
fn snapshot(dir: &Path, file: &Path) {
    let store = Embedded::open(dir, EmbeddedOptions::default()).expect("a new directory");
    store.lease_grant(LeaseId(7), 3_600).expect("the disk works");
    for n in 0..13 {
        store.put(format!("lamp/{n:02}"), format!("value {n}")).expect("the disk works");
    }
    store.delete("lamp/12").expect("the disk works");
    let (mut export, mut bytes) = (Export::of(store.view()), Vec::new());
    loop {
        match export.step().expect("readable") {
            Step::Measured => {}
            Step::Bytes(more) => bytes.extend(more),
            Step::End => break,
        }
    }
    std::fs::write(file, bytes).expect("the disk works");
}

pub fn samples() {
    let temp = tempfile::tempdir().expect("a directory");
    let path = |name: &str| temp.path().join(name).to_string_lossy().into_owned();
    let (file, dir, copy) = (path("backup.db"), path("bramble"), path("copy"));
    snapshot(&temp.path().join("source"), file.as_ref());
    let place = temp.path().to_string_lossy().into_owned();
    let shown = (&place[..], "/var/lib");
    in_the_readme("import", &session(&["import", &file, "--data-dir", &dir], 0, shown));
    in_the_readme("not-empty", &session(&["import", &file, "--data-dir", &dir], 1, shown));
    let json = ["import", &file, "--data-dir", &copy, "--keep-revisions", "-o", "json"];
    in_the_readme("import-json", &session(&json, 0, shown));
    let mut damaged = std::fs::read(&file).expect("a file");
    damaged[9_000] ^= 1;
    std::fs::write(&file, damaged).expect("a file");
    let other = path("other");
    in_the_readme("import-damaged", &session(&["import", &file, "--data-dir", &other], 1, shown));
    assert!(!Path::new(&other).exists(), "nothing was made");
}
