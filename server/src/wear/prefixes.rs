//! Which keys the bytes of clients go to: the prefixes that most was written under, in bounded memory.
//!
//! A sketch (*space-saving*, Metwally et al. 2005): when a new prefix finds no room it takes the place of the
//! smallest, with its count. So a count is never too small, and too large by that of the smallest at most; a
//! prefix with more than 1/64 of all bytes is always there.
use std::collections::BTreeMap;

/// Prefixes that are counted.
const PREFIXES_MAX: usize = 64;
/// Longest prefix in bytes.
pub(super) const PREFIX_BYTES_MAX: usize = 64;

/// Bytes by prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Prefixes(BTreeMap<Box<[u8]>, u64>);

impl Prefixes {
    /// Those of a note.
    pub(super) fn restore(rows: Vec<(Box<[u8]>, u64)>) -> Prefixes {
        Prefixes(rows.into_iter().take(PREFIXES_MAX).collect())
    }

    /// Counts `bytes` for a key.
    pub(super) fn add(&mut self, key: &[u8], bytes: u64) {
        let prefix = prefix_of(key);
        if let Some(count) = self.0.get_mut(prefix) {
            *count = count.saturating_add(bytes);
            return;
        }
        let mut inherited = 0;
        if self.0.len() >= PREFIXES_MAX {
            let smallest = self.0.iter().min_by_key(|(_, count)| **count).map(|(name, _)| name.clone());
            inherited = smallest.and_then(|name| self.0.remove(&name)).unwrap_or_default();
        }
        self.0.insert(prefix.into(), inherited.saturating_add(bytes));
    }

    /// The `max` largest, largest first.
    pub(super) fn top(&self, max: usize) -> Vec<(&[u8], u64)> {
        let mut rows: Vec<_> = self.0.iter().map(|(name, count)| (&**name, *count)).collect();
        rows.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        rows.truncate(max);
        rows
    }
}

/// A key up to its third slash, as in `/registry/pods/`; with fewer of them up to the last. What is behind is a
/// thing's own name, and nobody's business; keys without a slash are all one.
fn prefix_of(key: &[u8]) -> &[u8] {
    let key = &key[..key.len().min(PREFIX_BYTES_MAX)];
    let slashes = key.iter().enumerate().filter(|(_, byte)| **byte == b'/').take(3);
    slashes.last().map_or(&[], |(at, _)| &key[..=at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_of_keys() {
        for (key, prefix) in [
            ("/registry/pods/default/web-1", "/registry/pods/"),
            ("/registry/pods/", "/registry/pods/"),
            ("/registry/health", "/registry/"),
            ("registry/a/b/c/d", "registry/a/b/"),
            ("compact_rev_key", ""),
            ("", ""),
            ("///", "///"),
        ] {
            assert_eq!(prefix_of(key.as_bytes()), prefix.as_bytes(), "{key}");
        }
        let long = format!("/{}/x/", "a".repeat(500));
        assert_eq!(prefix_of(long.as_bytes()), b"/");
    }

    #[test]
    fn the_heavy_are_found_among_very_many_and_memory_is_bounded() {
        let mut prefixes = Prefixes::default();
        for n in 0..20_000_u64 {
            prefixes.add(format!("/registry/rare{n}/x").as_bytes(), 10);
            if n % 4 == 0 {
                prefixes.add(b"/registry/pods/default/web", 100);
            }
            if n % 10 == 0 {
                prefixes.add(b"/registry/leases/kube-node-lease/n1", 100);
            }
        }
        assert_eq!(prefixes.0.len(), PREFIXES_MAX);
        let (all, top) = (20_000 * 10 + 5_000 * 100 + 2_000 * 100, prefixes.top(2));
        for ((name, count), (wanted, exact)) in
            top.iter().zip([("/registry/pods/", 500_000), ("/registry/leases/", 200_000)])
        {
            assert_eq!(String::from_utf8_lossy(name), wanted);
            assert!((exact..=exact + all / PREFIXES_MAX as u64).contains(count), "{wanted}: {count}");
        }
    }
}
