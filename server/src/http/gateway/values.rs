//! A body as the JSON objects it is made of, as they arrive.
//!
//! The client of a stream may send several requests, one after the other, while it reads answers. Each
//! byte is looked at once, however the body is cut, so a body that trickles in costs no more.
//!
//! ```text
//! {"create_request":{…}} ⏎ {"cancel_request":{…}} ⏎ …
//! ```
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::{Buf, Bytes, BytesMut};
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tonic::Status;

use super::codec::Malformed;
use crate::node::error::NotNow;

/// So much of a body may be kept without asking for room.
const FREE_BYTES: usize = 16 << 10;

/// How long an object may take to arrive, once it has begun: what it has taken of the room is not kept by
/// one who sends a byte now and then.
const OBJECT_TIME: Duration = Duration::from_secs(60);

/// Room for bodies that are being read, all together.
#[derive(Clone)]
pub(super) struct Room {
    kib: Arc<Semaphore>,
}

impl Room {
    /// For so many KiB.
    pub fn new(kib_max: usize) -> Room {
        Room { kib: Arc::new(Semaphore::new(kib_max.min(Semaphore::MAX_PERMITS))) }
    }

    fn take(&self, kib: usize) -> Option<OwnedSemaphorePermit> {
        self.kib.clone().try_acquire_many_owned(u32::try_from(kib).ok()?).ok()
    }
}

/// Why there is no further object.
#[derive(Debug)]
pub(super) enum End {
    /// The client has hung up in the middle.
    Gone,
    /// Nothing has come for longer than the reader waits.
    Silent,
    /// There is no room for it: many others are being read.
    Crowded,
    /// What comes is not an object.
    Malformed(Malformed),
    /// It is longer than the reader keeps, by how much is not known.
    TooLong {
        /// So much it has at least, bytes.
        at_least: usize,
    },
}

impl End {
    /// For the client; `bytes_max` is the bound on a message.
    pub fn status(self, bytes_max: usize) -> Status {
        match self {
            End::Malformed(malformed) => Status::invalid_argument(malformed.to_string()),
            End::TooLong { at_least } => Status::resource_exhausted(format!(
                "grpc: received message larger than max ({at_least} vs. {bytes_max})"
            )),
            // Nobody reads it. Not Canceled: tonic takes that for the end of the requests, and goes on.
            End::Gone => Status::unavailable("the client has gone"),
            End::Silent => Status::deadline_exceeded("context deadline exceeded"),
            End::Crowded => crate::rpc::status::of(NotNow::TooManyRequests),
        }
    }
}

/// A body being read.
pub(super) struct Values {
    body: Body,
    bytes_max: usize,
    /// The longest wait for an object to begin.
    patience: Option<Duration>,
    /// When the present object has to be whole; `None` before its first byte.
    whole_until: Option<Instant>,
    room: Room,
    /// What of the room is taken by the buffer.
    taken: Option<OwnedSemaphorePermit>,
    buffer: BytesMut,
    /// How much of the buffer the scan has seen.
    seen: usize,
    scan: Scan,
}

impl Values {
    /// Objects of at most `bytes_max` bytes.
    pub fn new(body: Body, bytes_max: usize, patience: Option<Duration>, room: Room) -> Values {
        let (buffer, scan) = (BytesMut::new(), Scan::default());
        Values { body, bytes_max, patience, whole_until: None, room, taken: None, buffer, seen: 0, scan }
    }

    /// The next object; `None` after the last. The one before has been dealt with: its room is free again.
    pub async fn next(&mut self) -> Result<Option<Bytes>, End> {
        if self.seen == 0 {
            self.taken = None;
        }
        loop {
            if let Some(value) = self.complete()? {
                return Ok(Some(value));
            }
            if self.buffer.len() > self.bytes_max {
                return Err(End::TooLong { at_least: self.bytes_max + 1 });
            }
            match self.piece().await? {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.keep(&data)?;
                    }
                }
                Some(Err(_)) => return Err(End::Gone),
                None if self.buffer.is_empty() => return Ok(None),
                None => return Err(End::Malformed(Malformed::cut_off())),
            }
        }
    }

    async fn piece(&mut self) -> Result<Option<Result<Frame<Bytes>, axum::Error>>, End> {
        if !self.buffer.is_empty() {
            self.whole_until.get_or_insert_with(|| Instant::now() + OBJECT_TIME);
        }
        let until = self.whole_until.or_else(|| Some(Instant::now() + self.patience?));
        match until {
            None => Ok(self.body.frame().await),
            Some(until) => tokio::time::timeout_at(until, self.body.frame()).await.map_err(|_| End::Silent),
        }
    }

    fn keep(&mut self, data: &[u8]) -> Result<(), End> {
        self.buffer.extend_from_slice(data);
        let taken = self.taken.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let wanted = self.buffer.len().saturating_sub(FREE_BYTES).div_ceil(1024);
        if wanted > taken {
            let more = self.room.take(wanted - taken).ok_or(End::Crowded)?;
            match &mut self.taken {
                Some(taken) => taken.merge(more),
                None => self.taken = Some(more),
            }
        }
        Ok(())
    }

    fn complete(&mut self) -> Result<Option<Bytes>, End> {
        if self.scan.depth == 0 {
            let blanks = self.buffer.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            self.buffer.advance(blanks);
            match self.buffer.first() {
                None | Some(b'{') => {}
                Some(byte) => {
                    let what = format!("invalid character {:?} looking for an object", char::from(*byte));
                    return Err(End::Malformed(Malformed::new(what)));
                }
            }
        }
        let end = self.scan.find_end(&self.buffer[self.seen..]);
        let Some(end) = end else {
            self.seen = self.buffer.len();
            return Ok(None);
        };
        let value = self.buffer.split_to(self.seen + end).freeze();
        self.seen = 0;
        self.whole_until = None;
        Ok(Some(value))
    }
}

/// Where we are in an object. What is inside is for the parser to judge.
#[derive(Debug, Default)]
struct Scan {
    depth: usize,
    in_text: bool,
    escaped: bool,
}

impl Scan {
    /// The place behind the object's last byte, if that is in this piece.
    fn find_end(&mut self, piece: &[u8]) -> Option<usize> {
        for (at, byte) in piece.iter().enumerate() {
            match (self.in_text, byte) {
                (true, _) if self.escaped => self.escaped = false,
                (true, b'\\') => self.escaped = true,
                (true, b'"') => self.in_text = false,
                (false, b'"') => self.in_text = true,
                (false, b'{' | b'[') => self.depth += 1,
                (false, b'}' | b']') => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return Some(at + 1);
                    }
                }
                _ => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str, piece: usize) -> Body {
        let pieces: Vec<Result<Bytes, std::io::Error>> =
            text.as_bytes().chunks(piece).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        Body::from_stream(tokio_stream::iter(pieces))
    }

    async fn all(text: &str, piece: usize) -> (Vec<String>, Option<End>) {
        let mut values = Values::new(cut(text, piece), 64, None, Room::new(0));
        let mut found = Vec::new();
        loop {
            match values.next().await {
                Ok(Some(value)) => found.push(String::from_utf8_lossy(&value).into_owned()),
                Ok(None) => return (found, None),
                Err(end) => return (found, Some(end)),
            }
        }
    }

    #[tokio::test]
    async fn objects_are_found_however_the_body_is_cut() {
        let objects = [r#"{}"#, r#"{"a":"}\"{\\"}"#, r#"{"b":[{"c":{}},[]]}"#, r#"{"\\":"]"}"#];
        for between in ["", "\n", " \r\n\t"] {
            let text = format!("{between}{}{between}", objects.join(between));
            for piece in 1..=text.len() {
                let (found, end) = all(&text, piece).await;
                assert_eq!(found, objects, "pieces of {piece}");
                assert!(end.is_none());
            }
        }
    }

    #[tokio::test]
    async fn what_is_no_object_ends_them() {
        for (text, objects, said) in [
            ("xx", 0, "invalid character 'x' looking for an object"),
            ("{}{\"a\":1} 7", 2, "invalid character '7' looking for an object"),
            ("{}[]", 1, "invalid character '[' looking for an object"),
            ("{}}", 1, "invalid character '}' looking for an object"),
            ("{\"a\":\"", 0, "unexpected EOF"),
        ] {
            for piece in [1, 100] {
                let (found, end) = all(text, piece).await;
                let status = end.expect("an end").status(64);
                assert_eq!((found.len(), status.code()), (objects, tonic::Code::InvalidArgument), "{text}");
                assert_eq!(status.message(), said);
            }
        }
    }

    #[tokio::test]
    async fn a_long_object_is_not_kept() {
        let text = format!("{{}}{{\"a\":\"{}\"}}", "x".repeat(10_000));
        let (found, end) = all(&text, 10).await;
        assert_eq!(found, ["{}"]);
        let status = end.expect("an end").status(64);
        assert_eq!(status.message(), "grpc: received message larger than max (65 vs. 64)");
    }

    #[tokio::test]
    async fn bodies_share_the_room_there_is() {
        let room = Room::new(64);
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(40_000));
        let unfinished = Body::from_stream(futures_util::StreamExt::chain(
            tokio_stream::iter([Ok::<_, std::io::Error>(Bytes::from(long[..40_000].to_owned()))]),
            tokio_stream::pending(),
        ));
        let mut slow = Values::new(unfinished, 1 << 20, None, room.clone());
        let waiting = tokio::time::timeout(Duration::from_millis(50), slow.next()).await;
        assert!(waiting.is_err(), "it waits for the rest");
        let mut second = Values::new(Body::from(long.clone()), 1 << 20, None, room.clone());
        assert!(second.next().await.expect("there is room for two").is_some());
        let longer = format!("{{\"a\":\"{}\"}}", "x".repeat(60_000));
        let mut third = Values::new(Body::from(longer.clone()), 1 << 20, None, room.clone());
        let refusal = third.next().await.expect_err("crowded").status(64);
        assert_eq!(
            (refusal.code(), refusal.message()),
            (tonic::Code::ResourceExhausted, "etcdserver: too many requests")
        );
        drop((slow, second));
        let mut fourth = Values::new(Body::from(longer), 1 << 20, None, room);
        assert!(fourth.next().await.expect("there is room again").is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_body_is_given_up() {
        let silent = Body::from_stream(tokio_stream::pending::<Result<Bytes, std::io::Error>>());
        let mut values = Values::new(silent, 64, Some(Duration::from_secs(30)), Room::new(0));
        assert!(matches!(values.next().await, Err(End::Silent)));
    }

    #[tokio::test]
    async fn room_is_taken_for_bytes_and_not_for_pieces() {
        let room = Room::new(64);
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(FREE_BYTES + 2000));
        let mut values = Values::new(cut(&long, 1), 1 << 20, None, room.clone());
        assert!(values.next().await.expect("two KiB of room").is_some());
        assert_eq!(room.kib.available_permits(), 62, "until it has been dealt with");
        assert!(values.next().await.expect("the end").is_none());
        assert_eq!(room.kib.available_permits(), 64, "it is given back");
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_has_to_be_whole_in_time_however_its_bytes_come() {
        let drop_by_drop = || {
            let bytes = tokio_stream::iter(std::iter::repeat_n(b"{", 1000));
            let slowly = futures_util::StreamExt::then(bytes, |byte| async move {
                tokio::time::sleep(Duration::from_secs(20)).await;
                Ok::<_, std::io::Error>(Bytes::from_static(byte))
            });
            Body::from_stream(slowly)
        };
        for patience in [None, Some(Duration::from_secs(30))] {
            let begun = Instant::now();
            let mut values = Values::new(drop_by_drop(), 1 << 20, patience, Room::new(64));
            assert!(matches!(values.next().await, Err(End::Silent)));
            // The first byte comes after 20 s.
            assert_eq!(begun.elapsed(), Duration::from_secs(20) + OBJECT_TIME);
        }
        // Between objects there is no hurry.
        let rare = futures_util::StreamExt::then(tokio_stream::iter(0..3), |_| async {
            tokio::time::sleep(10 * OBJECT_TIME).await;
            Ok::<_, std::io::Error>(Bytes::from_static(b"{} \n"))
        });
        let mut values = Values::new(Body::from_stream(rare), 64, None, Room::new(64));
        for _ in 0..3 {
            assert!(values.next().await.expect("no end").is_some());
        }
    }
}
