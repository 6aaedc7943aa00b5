//! HTTP/2's frames by their heads alone: where each ends, and what kind it is.
//!
//! ```text
//! frame: length 3 | kind 1 | flags 1 | stream 4 | payload
//! ```

const HEAD: usize = 9;

/// Kinds of frames.
pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
/// Of a ping and of settings: it answers one.
pub(super) const ACK: u8 = 1;

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

/// Where we are in a sequence of frames that passes in pieces.
#[derive(Debug, Default)]
pub(super) struct Frames {
    head: [u8; HEAD],
    head_len: usize,
    payload_left: usize,
}

impl Frames {
    /// Goes over the next piece, and calls `seen` with every head that is complete in it.
    pub(super) fn pass(&mut self, mut piece: &[u8], mut seen: impl FnMut(Head)) {
        while !piece.is_empty() {
            let skipped = self.payload_left.min(piece.len());
            self.payload_left -= skipped;
            piece = &piece[skipped..];

            let wanted = (HEAD - self.head_len).min(piece.len());
            self.head[self.head_len..self.head_len + wanted].copy_from_slice(&piece[..wanted]);
            self.head_len += wanted;
            piece = &piece[wanted..];

            if self.head_len == HEAD {
                let [a, b, c, kind, flags, d, e, f, g] = self.head;
                self.payload_left = u32::from_be_bytes([0, a, b, c]) as usize;
                self.head_len = 0;
                seen(Head { kind, flags, stream: u32::from_be_bytes([d, e, f, g]) & 0x7fff_ffff });
            }
        }
    }

    /// Whether the last frame that began has ended.
    pub(super) fn between(&self) -> bool {
        self.head_len == 0 && self.payload_left == 0
    }

    /// How much of `piece` belongs to the frame that has begun.
    pub(super) fn to_its_end(&self, piece: &[u8]) -> usize {
        if self.head_len == 0 {
            return self.payload_left.min(piece.len());
        }
        let mut head = self.head;
        let wanted = HEAD - self.head_len;
        let Some(rest) = piece.get(..wanted) else { return piece.len() };
        head[self.head_len..].copy_from_slice(rest);
        let payload = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        (wanted + payload).min(piece.len())
    }
}

/// A GOAWAY that says why.
pub(super) fn goaway(last_stream: u32, code: u32, why: &[u8]) -> Vec<u8> {
    let mut frame = ((8 + why.len()) as u32).to_be_bytes()[1..].to_vec();
    frame.extend([GOAWAY, 0, 0, 0, 0, 0]);
    frame.extend(last_stream.to_be_bytes());
    frame.extend(code.to_be_bytes());
    frame.extend(why);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, stream: u8, payload: usize) -> Vec<u8> {
        let mut frame = (payload as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, 1, 0x80, 0, 0, stream]);
        frame.resize(HEAD + payload, 0xee);
        frame
    }

    #[test]
    fn every_head_is_seen_however_the_bytes_are_cut() {
        let bytes =
            [frame(DATA, 1, 0), frame(HEADERS, 3, 300), frame(PING, 0, 8), frame(DATA, 1, 1)].concat();
        let heads = [(DATA, 1), (HEADERS, 3), (PING, 0), (DATA, 1)];
        let heads = heads.map(|(kind, stream)| Head { kind, flags: 1, stream });
        for piece in 1..=bytes.len() {
            let (mut frames, mut seen) = (Frames::default(), Vec::new());
            bytes.chunks(piece).for_each(|piece| frames.pass(piece, |head| seen.push(head)));
            assert_eq!(seen, heads, "pieces of {piece}");
            assert!(frames.between(), "pieces of {piece}");
        }
    }

    #[test]
    fn where_a_frame_ends() {
        let bytes = [frame(HEADERS, 3, 300), frame(PING, 0, 8)].concat();
        let first = HEAD + 300;
        for cut in 1..first {
            let mut frames = Frames::default();
            frames.pass(&bytes[..cut], |_| {});
            assert!(!frames.between(), "cut at {cut}");
            assert_eq!(frames.to_its_end(&bytes[cut..]), first - cut, "cut at {cut}");
            let little = &bytes[cut..cut + 1];
            assert_eq!(frames.to_its_end(little), 1, "cut at {cut}");
        }
        assert_eq!(Frames::default().to_its_end(&bytes), 0);
    }
}
