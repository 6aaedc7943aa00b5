//! Who votes, and how to reach them: the membership as plain data and as bytes.
//!
//! The bytes are the payload of membership entries and the store's membership row, so they are part
//! of the state: format byte 1, then varint counts, ids as 8 bytes big-endian, texts with a varint
//! length. Voter sets come first (two of them while a change is joint), then one record per member.
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

/// What the members know about one of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// Drawn at random when its data directory was made. A wiped card comes back with another one and
    /// cannot vote as its old self.
    pub instance: u64,
    /// Its name; empty until it has started.
    pub name: String,
    /// Where the other members reach it.
    pub peer_urls: Vec<String>,
    /// Where clients reach it.
    pub client_urls: Vec<String>,
}

/// A membership.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// The sets a decision needs a majority of: one, or two during a change.
    pub voters: Vec<BTreeSet<u64>>,
    /// Every member, learners too, by id.
    pub peers: BTreeMap<u64, Peer>,
}

impl Members {
    /// One voter alone.
    pub fn sole(id: u64, peer: Peer) -> Members {
        Members { voters: vec![BTreeSet::from([id])], peers: BTreeMap::from([(id, peer)]) }
    }

    /// Whether the member has a vote.
    pub fn is_voter(&self, id: u64) -> bool {
        self.voters.iter().any(|set| set.contains(&id))
    }
}

const FORMAT: u8 = 1;

/// The bytes of a membership.
pub fn encode(members: &Members) -> Bytes {
    let mut out = vec![FORMAT];
    put_len(&mut out, members.voters.len());
    for set in &members.voters {
        put_len(&mut out, set.len());
        for id in set {
            out.extend_from_slice(&id.to_be_bytes());
        }
    }
    put_len(&mut out, members.peers.len());
    for (id, peer) in &members.peers {
        out.extend_from_slice(&id.to_be_bytes());
        out.extend_from_slice(&peer.instance.to_be_bytes());
        put_text(&mut out, &peer.name);
        put_texts(&mut out, &peer.peer_urls);
        put_texts(&mut out, &peer.client_urls);
    }
    out.into()
}

/// The membership in bytes made by [`encode`].
///
/// # Errors
/// Says what is wrong with the bytes.
pub fn decode(bytes: &[u8]) -> Result<Members, &'static str> {
    let mut rest = Input(bytes);
    if rest.take(1)? != [FORMAT] {
        return Err("unknown format of a membership");
    }
    let mut members = Members::default();
    for _ in 0..rest.len()? {
        let count = rest.len()?;
        members.voters.push((0..count).map(|_| rest.number()).collect::<Result<_, _>>()?);
    }
    for _ in 0..rest.len()? {
        let id = rest.number()?;
        let peer = Peer {
            instance: rest.number()?,
            name: rest.text()?,
            peer_urls: rest.texts()?,
            client_urls: rest.texts()?,
        };
        members.peers.insert(id, peer);
    }
    match rest.0.is_empty() {
        true => Ok(members),
        false => Err("bytes behind a membership"),
    }
}

fn put_len(out: &mut Vec<u8>, len: usize) {
    let mut rest = len as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_len(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

fn put_texts(out: &mut Vec<u8>, texts: &[String]) {
    put_len(out, texts.len());
    for text in texts {
        put_text(out, text);
    }
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], &'static str> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or("a membership is cut short")?;
        self.0 = rest;
        Ok(taken)
    }

    /// A count or length; each thing counted takes a byte or more, which bounds it.
    fn len(&mut self) -> Result<usize, &'static str> {
        let mut value = 0u64;
        for shift in (0..35).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                let len = usize::try_from(value).map_err(|_| "a count is too large")?;
                return if len <= self.0.len() { Ok(len) } else { Err("a membership is cut short") };
            }
        }
        Err("a count is too large")
    }

    fn number(&mut self) -> Result<u64, &'static str> {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(self.take(8)?);
        Ok(u64::from_be_bytes(bytes))
    }

    fn text(&mut self) -> Result<String, &'static str> {
        let len = self.len()?;
        String::from_utf8(self.take(len)?.to_vec()).map_err(|_| "a text is not UTF-8")
    }

    fn texts(&mut self) -> Result<Vec<String>, &'static str> {
        (0..self.len()?).map(|_| self.text()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Members {
        let peer = |n: u64| Peer {
            instance: u64::MAX - n,
            name: format!("n{n}"),
            peer_urls: vec![format!("http://10.0.0.{n}:2380")],
            client_urls: vec![format!("http://10.0.0.{n}:2379"), "unix:///run/b.sock".into()],
        };
        Members {
            voters: vec![BTreeSet::from([1, 2]), BTreeSet::from([2, 3])],
            peers: (1..=4).map(|n| (n, peer(n))).collect(),
        }
    }

    #[test]
    fn a_membership_survives_its_bytes() {
        assert_eq!(decode(&encode(&sample())), Ok(sample()));
        assert_eq!(decode(&encode(&Members::default())), Ok(Members::default()));
    }

    #[test]
    fn the_bytes_are_pinned() {
        let peer = Peer { instance: 7, name: "a".into(), peer_urls: vec!["p".into()], client_urls: vec![] };
        let bytes = encode(&Members::sole(5, peer));
        let expected =
            b"\x01\x01\x01\0\0\0\0\0\0\0\x05\x01\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0\x07\x01a\x01\x01p\0";
        assert_eq!(bytes.as_ref(), expected);
    }

    #[test]
    fn cut_or_changed_bytes_are_refused_or_harmless() {
        let bytes = encode(&sample()).to_vec();
        for end in 0..bytes.len() {
            assert!(decode(&bytes[..end]).is_err(), "cut at {end}");
        }
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0xff;
            let _ = decode(&changed);
        }
    }
}
