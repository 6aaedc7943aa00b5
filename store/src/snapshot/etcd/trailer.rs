//! The SHA-256 behind a snapshot.
use sha2::{Digest, Sha256};

use crate::snapshot::bbolt::{BboltError, Source};

pub(super) const TRAILER_BYTES: usize = 32;
/// Every page size is a multiple of it.
const SECTOR_BYTES: u64 = 512;
const READ_BYTES: usize = 1 << 18;

/// Why a snapshot is not believed.
#[derive(Debug, thiserror::Error)]
pub enum TrailerError {
    /// The system cannot read it.
    #[error(transparent)]
    Read(#[from] BboltError),
    /// Its bytes are not those that were saved.
    #[error("its SHA-256 is not the one behind it: it was damaged, or changed, since it was saved")]
    Differs,
}

/// Whether a file of so many bytes is a snapshot, with a SHA-256 behind the database.
pub fn has_trailer(bytes: u64) -> bool {
    bytes % SECTOR_BYTES == TRAILER_BYTES as u64
}

/// Reads a snapshot and compares the SHA-256 behind it.
///
/// # Errors
/// [`TrailerError`].
pub fn check_trailer<S: Source>(source: &S) -> Result<(), TrailerError> {
    let failed = |offset, bytes| move |source| BboltError::Io { offset, bytes, source };
    let bytes = source.len().map_err(failed(0, 0))?;
    let end = bytes.saturating_sub(TRAILER_BYTES as u64);
    let (mut hash, mut at, mut buffer) = (Sha256::new(), 0, vec![0; READ_BYTES]);
    while at < end {
        let length = (end - at).min(READ_BYTES as u64) as usize;
        let part = &mut buffer[..length];
        source.read_at(at, part).map_err(failed(at, length))?;
        hash.update(&part);
        at += length as u64;
    }
    let mut trailer = [0; TRAILER_BYTES];
    source.read_at(end, &mut trailer).map_err(failed(end, TRAILER_BYTES))?;
    match hash.finalize()[..] == trailer {
        true => Ok(()),
        false => Err(TrailerError::Differs),
    }
}
