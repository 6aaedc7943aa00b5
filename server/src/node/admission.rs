//! Whether a proposal may be made now: not while what is accepted cannot be kept up with.
//!
//! ```text
//!   ring of the log  0 ─────────────── 75 % ──────── 90 % ──── 100 %
//!                      at once          slowed down    refused
//! ```
use bramble_store::log::Usage;

/// Committed entries that may wait for the apply thread before proposals are refused; etcd's number.
const UNAPPLIED_MAX: u64 = 5000;

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// At once.
    Free,
    /// A little later, so that the log is purged faster than it grows.
    Slowed,
    /// Not now: the log's ring has to be purged first.
    Full,
    /// Not now: too much waits to be applied.
    Behind,
}

/// Decides, by how many committed entries are not applied and how full the log's ring is.
pub(super) fn admission(unapplied: u64, log: &Usage) -> Admission {
    match () {
        () if unapplied > UNAPPLIED_MAX => Admission::Behind,
        () if log.used_bytes * 10 >= log.ring_bytes * 9 => Admission::Full,
        () if log.used_bytes * 4 >= log.ring_bytes * 3 => Admission::Slowed,
        () => Admission::Free,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_is_kept_from_filling_up_and_the_applier_from_falling_behind() {
        let of = |unapplied, used_bytes| {
            admission(unapplied, &Usage { used_bytes, ring_bytes: 1000, ..Usage::default() })
        };
        let cases = [
            (0, 0, Admission::Free),
            (0, 749, Admission::Free),
            (0, 750, Admission::Slowed),
            (0, 899, Admission::Slowed),
            (0, 900, Admission::Full),
            (0, 2000, Admission::Full),
            (5000, 0, Admission::Free),
            (5001, 0, Admission::Behind),
            (5000, 800, Admission::Slowed),
        ];
        for (unapplied, used_bytes, expected) in cases {
            assert_eq!(of(unapplied, used_bytes), expected, "{unapplied} unapplied, {used_bytes} of 1000");
        }
    }
}
