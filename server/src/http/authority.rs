//! Names of the server that HTTP/2's rules forbid and etcd's clients send all the same.
//!
//! etcdctl 3.4 asks `endpoint status` with `:authority: http://127.0.0.1:2379`, and plain gRPC clients
//! name a unix socket by its path. Go's server takes any text there; ours resets the stream. The name
//! means nothing to us, so a connection whose first request has such a name is read through this
//! filter, which replaces every byte of the name that could be forbidden by `-`. Others are not touched.
//!
//! Header compression allows that without keeping its table: a new name is always sent as text
//! behind the static index of `:authority`, later requests point at it, and a name of the same
//! length takes the same room in the table on both sides.
//!
//! ```text
//! greeting (24 bytes) | frame: length 3, type 1, flags 1, stream 4, payload | frame …
//!                                  HEADERS = 1            0x41 or 0x01, length, text
//! ```
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::uri::Authority;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::huffman;

const GREETING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEAD: usize = 9;
const HEADERS: u8 = 1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
/// hyper takes no larger frame; what claims to be larger is passed on for it to refuse.
const FRAME_MAX: usize = 16 << 10;

/// A stream whose HTTP/2 requests name the server as the rules want it.
pub(super) struct CleanAuthority<S> {
    stream: S,
    filter: Option<Filter>,
    /// Bytes that are ready to be read, from `given` on.
    output: Vec<u8>,
    given: usize,
}

impl<S> CleanAuthority<S> {
    pub(super) fn new(stream: S) -> CleanAuthority<S> {
        CleanAuthority { stream, filter: Some(Filter::default()), output: Vec::new(), given: 0 }
    }
}

/// What to do with bytes as they come.
#[derive(Default)]
struct Filter {
    input: Vec<u8>,
    greeted: bool,
    /// Bytes of the current frame that are passed on as they are.
    pass: usize,
    /// A forbidden name was seen: this goes on until the connection ends.
    needed: bool,
}

/// Whether a filter is still wanted.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    GoOn,
    Done,
}

impl Filter {
    /// Moves what is decided from `input` to `output`.
    fn turn(&mut self, output: &mut Vec<u8>) -> Verdict {
        if !self.greeted {
            let known = self.input.len().min(GREETING.len());
            if self.input[..known] != GREETING[..known] {
                return self.finish(output);
            }
            if known < GREETING.len() {
                return Verdict::GoOn;
            }
            output.extend(self.input.drain(..known));
            self.greeted = true;
        }
        loop {
            let passed = self.pass.min(self.input.len());
            output.extend(self.input.drain(..passed));
            self.pass -= passed;
            if self.pass > 0 || self.input.len() < FRAME_HEAD {
                return Verdict::GoOn;
            }
            let length = usize::from(self.input[0]) << 16
                | usize::from(self.input[1]) << 8
                | usize::from(self.input[2]);
            if self.input[3] != HEADERS || length > FRAME_MAX {
                self.pass = FRAME_HEAD + length;
                continue;
            }
            if self.input.len() < FRAME_HEAD + length {
                return Verdict::GoOn;
            }
            let frame: Vec<u8> = self.input.drain(..FRAME_HEAD + length).collect();
            match cleaned(&frame) {
                Some(clean) => {
                    self.needed = true;
                    output.extend(clean);
                }
                None => output.extend(frame),
            }
            if !self.needed {
                return self.finish(output);
            }
        }
    }

    fn finish(&mut self, output: &mut Vec<u8>) -> Verdict {
        output.append(&mut self.input);
        Verdict::Done
    }
}

/// The frame with a clean name, if it has a forbidden one. A header block in several frames, which
/// no gRPC client sends for so few headers, is left alone.
fn cleaned(frame: &[u8]) -> Option<Vec<u8>> {
    let (head, payload) = frame.split_at_checked(FRAME_HEAD)?;
    let flags = head[4];
    if flags & END_HEADERS == 0 {
        return None;
    }
    let padded = flags & PADDED != 0;
    let begin = usize::from(padded) + if flags & PRIORITY != 0 { 5 } else { 0 };
    let padding = if padded { usize::from(*payload.first()?) } else { 0 };
    let end = payload.len().checked_sub(padding)?;
    let block = payload.get(begin..end)?;
    let field = find_authority(block)?;
    if Authority::try_from(field.text.as_slice()).is_ok() {
        return None;
    }
    let name: Vec<u8> = field.text.iter().map(|byte| if harmless(*byte) { *byte } else { b'-' }).collect();
    let mut clean = payload[..begin].to_vec();
    clean.extend(&block[..field.begin]);
    put_integer(&mut clean, 7, 0, name.len());
    clean.extend(name);
    clean.extend(&block[field.end..]);
    clean.extend(&payload[end..]);
    let mut whole = (clean.len() as u32).to_be_bytes()[1..].to_vec();
    whole.extend(&head[3..]);
    whole.extend(clean);
    Some(whole)
}

/// Bytes that no rule forbids anywhere in a name. A colon is not one: there may be one only.
fn harmless(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')
}

/// A name written out in a header block: where its length and text are, and the text.
struct Field {
    begin: usize,
    end: usize,
    text: Vec<u8>,
}

/// Walks over a block's fields. `None` also when the block is no good: hyper will say so.
fn find_authority(block: &[u8]) -> Option<Field> {
    let mut at = 0;
    while let Some(&first) = block.get(at) {
        let prefix = match first {
            // An index alone.
            0x80.. => {
                integer(block, &mut at, 7)?;
                continue;
            }
            // A name and a value, to be remembered.
            0x40.. => 6,
            // Another size of the table.
            0x20.. => {
                integer(block, &mut at, 5)?;
                continue;
            }
            // A name and a value, not to be remembered.
            _ => 4,
        };
        let name = integer(block, &mut at, prefix)?;
        if name == 0 {
            string(block, &mut at)?;
        }
        let begin = at;
        let value = string(block, &mut at)?;
        // The first entry of the static table.
        if name == 1 {
            let text = if value.huffman { huffman::decode(value.bytes)? } else { value.bytes.to_vec() };
            return Some(Field { begin, end: at, text });
        }
    }
    None
}

struct Text<'a> {
    huffman: bool,
    bytes: &'a [u8],
}

fn string<'a>(block: &'a [u8], at: &mut usize) -> Option<Text<'a>> {
    let huffman = block.get(*at)? & 0x80 != 0;
    let length = integer(block, at, 7)?;
    let bytes = block.get(*at..at.checked_add(length)?)?;
    *at += length;
    Some(Text { huffman, bytes })
}

/// An integer that begins in the low `prefix` bits of a byte.
fn integer(block: &[u8], at: &mut usize, prefix: u32) -> Option<usize> {
    let full = (1usize << prefix) - 1;
    let mut value = usize::from(*block.get(*at)?) & full;
    *at += 1;
    if value < full {
        return Some(value);
    }
    for shift in [0, 7, 14] {
        let byte = usize::from(*block.get(*at)?);
        *at += 1;
        value += (byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn put_integer(into: &mut Vec<u8>, prefix: u32, high: u8, mut value: usize) {
    let full = (1usize << prefix) - 1;
    if value < full {
        into.push(high | value as u8);
        return;
    }
    into.push(high | full as u8);
    value -= full;
    while value >= 0x80 {
        into.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}

impl<S: AsyncRead + Unpin> AsyncRead for CleanAuthority<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.given < this.output.len() {
                let ready = &this.output[this.given..];
                let length = ready.len().min(buf.remaining());
                buf.put_slice(&ready[..length]);
                this.given += length;
                return Poll::Ready(Ok(()));
            }
            this.output.clear();
            this.given = 0;
            let Some(filter) = &mut this.filter else {
                return Pin::new(&mut this.stream).poll_read(cx, buf);
            };
            let mut chunk = [0; 4096];
            let mut chunk = ReadBuf::new(&mut chunk);
            ready!(Pin::new(&mut this.stream).poll_read(cx, &mut chunk))?;
            let ended = chunk.filled().is_empty();
            filter.input.extend_from_slice(chunk.filled());
            if ended {
                filter.finish(&mut this.output);
                this.filter = None;
            } else if filter.turn(&mut this.output) == Verdict::Done {
                this.filter = None;
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for CleanAuthority<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, slices)
    }
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags, 0, 0, 0, 1]);
        frame.extend(payload);
        frame
    }

    fn block(authority: &[u8]) -> Vec<u8> {
        // :method POST, :authority remembered, a literal of no interest, an index.
        let mut block = vec![0x83, 0x41];
        put_integer(&mut block, 7, 0, authority.len());
        block.extend(authority);
        block.extend(b"\x40\x02te\x08trailers\x86");
        block
    }

    async fn through(bytes: &[u8], step: usize) -> Vec<u8> {
        let chunks =
            bytes.chunks(step).fold(tokio_test_reader::Chunks::default(), |chunks, chunk| chunks.with(chunk));
        let mut out = Vec::new();
        CleanAuthority::new(chunks).read_to_end(&mut out).await.expect("read");
        out
    }

    /// A reader that gives its chunks one at a time.
    mod tokio_test_reader {
        use std::collections::VecDeque;

        use super::*;

        #[derive(Default)]
        pub(super) struct Chunks(VecDeque<Vec<u8>>);

        impl Chunks {
            pub(super) fn with(mut self, chunk: &[u8]) -> Chunks {
                self.0.push_back(chunk.to_vec());
                self
            }
        }

        impl AsyncRead for Chunks {
            fn poll_read(
                mut self: Pin<&mut Self>,
                _: &mut Context<'_>,
                buf: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                if let Some(chunk) = self.0.pop_front() {
                    buf.put_slice(&chunk);
                }
                Poll::Ready(Ok(()))
            }
        }
    }

    #[tokio::test]
    async fn a_forbidden_name_is_cleaned_in_every_request() {
        let (dirty, clean) = (block(b"http://127.0.0.1:2379"), block(b"http---127.0.0.1-2379"));
        let connection = |block: &[u8]| {
            let mut padded = vec![3, 0, 0, 0, 0, 7];
            padded.extend(block);
            padded.extend([0; 3]);
            let mut bytes = GREETING.to_vec();
            bytes.extend(frame(4, 0, &[0; 6]));
            bytes.extend(frame(HEADERS, END_HEADERS, block));
            bytes.extend(frame(0, 1, &[9; 300]));
            bytes.extend(frame(HEADERS, END_HEADERS | PADDED | PRIORITY, &padded));
            bytes
        };
        for step in [1, 7, 4096] {
            assert_eq!(through(&connection(&dirty), step).await, connection(&clean), "steps of {step}");
        }
    }

    #[tokio::test]
    async fn everything_else_goes_through_untouched() {
        let huge = block(&[b'/'; 200]);
        let mut truncated = block(b"http://a");
        truncated.truncate(5);
        let mut several = GREETING.to_vec();
        several.extend(frame(HEADERS, END_HEADERS, &block(b"kine.sock:12379")));
        several.extend(frame(HEADERS, END_HEADERS, &block(b"http://only-looked-at-once")));
        let mut cases = vec![
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            b"PRI".to_vec(),
            b"PRI * HTTP/2.1 no\r\n".to_vec(),
            Vec::new(),
            several,
        ];
        for payload in [truncated, vec![0xff; 40], Vec::new(), vec![0x41, 0xff, 0xff, 0xff, 0xff, 0xff]] {
            let mut bytes = GREETING.to_vec();
            bytes.extend(frame(HEADERS, END_HEADERS, &payload));
            cases.push(bytes);
        }
        // Split over frames.
        let mut bytes = GREETING.to_vec();
        bytes.extend(frame(HEADERS, 0, &huge));
        cases.push(bytes);
        for bytes in cases {
            for step in [1, 4096] {
                assert_eq!(through(&bytes, step).await, bytes, "{bytes:?}");
            }
        }
    }

    #[test]
    fn a_name_in_huffman_code() {
        // "www.example.com", from RFC 7541 C.4.1; then "http://a" by hand.
        let example = [0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
        assert_eq!(huffman::decode(&example).expect("a name"), b"www.example.com");
        let mut block = vec![0x41, 0x80 | 12];
        block.extend(example);
        assert_eq!(find_authority(&block).expect("found").text, b"www.example.com");
    }
}
