//! Chance from the seed for those who ask the system for it: hash maps, tokio's and openraft's own
//! generators. All of them end at libc's `getrandom`, which is this one in this binary, so that a process
//! that was given a seed does the same every time. One process runs one seed.
#![allow(unsafe_code, reason = "a symbol of libc's is defined, and a buffer of its caller's is filled")]
use std::sync::atomic::{AtomicU64, Ordering};

use bramble_store::disk::sim::Rng;

static DRAWN: AtomicU64 = AtomicU64::new(0);

/// From here on the system's random numbers follow `seed`.
pub fn sow(seed: u64) {
    DRAWN.store(seed, Ordering::SeqCst);
}

/// How often the system was asked so far, with the seed: part of the hash, so that no question goes unseen.
pub fn drawn() -> u64 {
    DRAWN.load(Ordering::SeqCst)
}

#[unsafe(no_mangle)]
extern "C" fn getrandom(buffer: *mut u8, length: usize, _flags: u32) -> isize {
    let mut numbers = Rng::new(DRAWN.fetch_add(1, Ordering::SeqCst));
    // SAFETY: the caller hands in `length` bytes that it owns, as getrandom(2) asks for.
    let bytes = unsafe { std::slice::from_raw_parts_mut(buffer, length) };
    bytes.fill_with(|| numbers.number() as u8);
    length as isize
}
