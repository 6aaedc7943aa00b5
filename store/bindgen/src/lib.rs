//! Stands in for bindgen in the build of librocksdb-sys: same six calls, but the bindings it writes
//! are the committed `bindings.rs`, made once by the real bindgen from RocksDB's `c.h`. So a machine
//! needs a C++ compiler and no libclang. One file serves 64-bit Linux (x86-64 and aarch64 agree on
//! every type in `c.h`; the ctypes come from libc).
//!
//! To renew it for another RocksDB: remove the `[patch.crates-io]` lines, install libclang-dev, build,
//! and copy `bindings.rs` from librocksdb-sys' build output here; then set `MADE_FOR`.
use std::{env, fs, io, path::Path};

/// The librocksdb-sys the bindings were made from.
const MADE_FOR: &str = "0.19.0+11.8.1";
const BINDINGS: &str = include_str!("../bindings.rs");

/// The part of bindgen's builder that librocksdb-sys uses. The settings are those `BINDINGS` was made with.
#[derive(Default)]
pub struct Builder;

impl Builder {
    /// Ignored: the header is the one of `MADE_FOR`.
    pub fn header(self, _path: impl Into<String>) -> Self {
        self
    }
    /// Ignored.
    pub fn derive_debug(self, _on: bool) -> Self {
        self
    }
    /// Ignored.
    pub fn blocklist_type(self, _name: &str) -> Self {
        self
    }
    /// Ignored.
    pub fn ctypes_prefix(self, _prefix: &str) -> Self {
        self
    }
    /// Ignored.
    pub fn size_t_is_usize(self, _on: bool) -> Self {
        self
    }

    /// The committed bindings.
    ///
    /// # Errors
    /// When librocksdb-sys is of another version than the one they were made from.
    pub fn generate(self) -> Result<Bindings, String> {
        match env::var("CARGO_PKG_VERSION") {
            Ok(version) if version == MADE_FOR => Ok(Bindings),
            other => Err(format!(
                "store/bindgen/bindings.rs was made for librocksdb-sys {MADE_FOR}, this is {other:?}: renew it"
            )),
        }
    }
}

/// The bindings.
#[derive(Debug)]
pub struct Bindings;

impl Bindings {
    /// Writes them.
    ///
    /// # Errors
    /// As writing a file.
    pub fn write_to_file(&self, path: impl AsRef<Path>) -> io::Result<()> {
        fs::write(path, BINDINGS)
    }
}
