//! What `bramblectl repair` prints, from a directory that is damaged for it. The README shows the same text.
use std::path::Path;
use std::process::Output;

use bramble_store::embedded::{Embedded, EmbeddedOptions};

use crate::readme::{self, in_the_readme};

/// Where the samples pretend to be.
const SHOWN_AS: &str = "/var/lib/bramble";

/// A directory with twelve puts, of which ten are in the engine.
fn made(dir: &Path) {
    let store = Embedded::open(dir, EmbeddedOptions::default()).expect("a new directory");
    for n in 0..12 {
        store.put(format!("lamp/{n:02}"), format!("value {n} ")).expect("the disk works");
        if n == 5 {
            store.flush().expect("the disk works");
        }
    }
    store.close().expect("the disk works");
}

fn flip(path: &Path, text: &str) {
    let mut bytes = std::fs::read(path).expect("a file");
    let at = bytes.windows(text.len()).position(|window| window == text.as_bytes()).expect("it is there");
    bytes[at] ^= 1;
    std::fs::write(path, bytes).expect("a file");
}

fn run(dir: &Path, arguments: &[&str]) -> Output {
    let dir = dir.to_string_lossy();
    readme::run(&[&["repair", "--data-dir", &dir], arguments].concat())
}

/// As a terminal shows it, at the place that the README names.
fn session(dir: &Path, arguments: &[&str], code: i32) -> String {
    let dir = dir.to_string_lossy();
    let arguments = [&["repair", "--data-dir", &dir], arguments].concat();
    readme::session(&arguments, code, (&dir, SHOWN_AS))
}

pub fn samples() {
    let temp = tempfile::tempdir().expect("a directory");
    let dir = temp.path().join("data");
    made(&dir);
    in_the_readme("whole", &session(&dir, &[], 0));
    flip(&dir.join("log/00000000.seg"), "value 9 ");
    in_the_readme("damaged", &session(&dir, &[], 3));
    in_the_readme("json", &session(&dir, &["-o", "json"], 3));
    in_the_readme("repaired", &session(&dir, &["--accept-loss"], 0));
    assert_eq!(run(&dir, &[]).status.code(), Some(0));
    let store = Embedded::open(&dir, EmbeddedOptions::default()).expect("it opens");
    assert_eq!(store.get("lamp/08").expect("readable").expect("it was whole").value, "value 8 ");
    assert!(store.get("lamp/09").expect("readable").is_none(), "it is lost");
    // While somebody uses it, nothing is looked at.
    let refused = run(&dir, &["--accept-loss"]);
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1));
    assert!(why.contains("in use by another process") && why.contains("stop that one"), "{why}");
    let nowhere = run(&temp.path().join("absent"), &[]);
    assert_eq!(nowhere.status.code(), Some(1));
}
