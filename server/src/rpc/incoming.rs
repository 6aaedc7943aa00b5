//! The messages of a request, on their way to the decoder. Each follows five bytes: a flag and the
//! length, big-endian.
//!
//! - None is longer than the bound; before one that is, the body ends with the refusal, so that no byte
//!   of it is ever kept. tonic has a bound too, with another code and text, and it cannot be told.
//! - A packed one (`grpc-encoding: gzip`, which etcd's server knows, too) is unpacked here, up to the
//!   same bound: so tonic sees only plain ones, and what is wrong is said in gRPC's words. That is done a
//!   little at a time, between the turns of others: 2 MiB take milliseconds, and 2 KiB can hold them.
//! - Its bytes are taken from the connection's share before they come; and a message that has begun, or
//!   a request that consists of one, has to arrive within [`PATIENCE`].
//! - A request that consists of one message is done with it: what follows is not looked at, as in gRPC's
//!   Go implementation, and its end is awaited for [`END_PATIENCE`] only. Clients say it with the message.
use std::collections::VecDeque;
use std::io::Read;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::buf::Reader;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use flate2::bufread::MultiGzDecoder;
use http_body::{Frame, SizeHint};
use tokio::time::{Sleep, sleep};
use tonic::Status;
use tonic::body::Body;

use super::status;
use crate::node::budget::{Kind, Place};
use crate::node::error::{NotNow, Unknown};
use crate::trace;

/// Bytes before each message.
const PREFIX_BYTES: usize = 5;
/// Bytes that are unpacked in one turn.
const TURN_BYTES: usize = 16 << 10;
/// How long a message may take to arrive, once it has begun.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the end of a request is awaited that has said all it can say.
const END_PATIENCE: Duration = Duration::from_secs(1);

/// What is known of the messages before they come.
pub(super) struct Terms {
    /// The longest message.
    pub(super) bytes_max: usize,
    /// Whether messages may be packed.
    pub(super) gzip: bool,
    /// Whether there may be any number of messages, at any time; else there is one.
    pub(super) streams: bool,
    /// Where they are counted.
    pub(super) place: Option<Arc<Place>>,
}

/// A request's body, watched over.
pub(super) struct Incoming {
    body: Body,
    messages: Messages,
    /// Pieces that have come.
    ready: VecDeque<Piece>,
    /// The first of them, being unpacked.
    unpacking: Option<Unpacking>,
    /// Said after them.
    refusal: Option<Status>,
    patience: Option<Pin<Box<Sleep>>>,
}

impl Incoming {
    pub(super) fn new(body: Body, terms: Terms) -> Incoming {
        let (messages, ready) = (Messages::new(terms), VecDeque::new());
        Incoming { body, messages, ready, unpacking: None, refusal: None, patience: None }
    }

    /// Ends the body before what has come behind the last piece.
    fn refuse(&mut self, refusal: Status) {
        self.unpacking = None;
        self.ready.clear();
        self.refusal = Some(refusal);
    }

    /// Nothing comes that is wanted; has that been so for too long?
    fn out_of_patience(&mut self, context: &mut Context<'_>) -> bool {
        let Some(time) = self.messages.patience() else {
            self.patience = None;
            return false;
        };
        let patience = self.patience.get_or_insert_with(|| Box::pin(sleep(time)));
        patience.as_mut().poll(context).is_ready()
    }

    /// Goes over the next piece. The time of the next message begins when this one has come.
    fn take(&mut self, piece: &Bytes) {
        let whole = self.messages.whole;
        self.refusal = self.messages.take(piece, &mut self.ready).err();
        if self.messages.whole != whole {
            self.patience = None;
            if !self.messages.terms.streams {
                trace::begin_again();
            }
        }
    }
}

impl http_body::Body for Incoming {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        loop {
            if let Some(unpacking) = &mut this.unpacking {
                let before = unpacking.plain.len();
                let turn = unpacking.turn(this.messages.terms.bytes_max);
                let grown = unpacking.plain.len() - before;
                match turn.and_then(|is_whole| this.messages.count(grown).map(|()| is_whole)) {
                    Ok(false) => {
                        context.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    Ok(true) => {
                        let plain = framed(&unpacking.plain);
                        this.unpacking = None;
                        return Poll::Ready(Some(Ok(Frame::data(plain))));
                    }
                    Err(refusal) => this.refuse(refusal),
                }
            }
            match this.ready.pop_front() {
                Some(Piece::Plain(piece)) => return Poll::Ready(Some(Ok(Frame::data(piece)))),
                Some(Piece::Packed(packed)) => {
                    this.unpacking = Some(Unpacking::new(packed));
                    continue;
                }
                None => {}
            }
            if let Some(refusal) = this.refusal.take() {
                return Poll::Ready(Some(Err(refusal)));
            }
            let all_said = this.messages.all_said();
            let polled = Pin::new(&mut this.body).poll_frame(context)?;
            let in_vain = match &polled {
                Poll::Pending => true,
                Poll::Ready(frame) => all_said && frame.as_ref().is_some_and(Frame::is_data),
            };
            if in_vain && this.out_of_patience(context) {
                if all_said {
                    return Poll::Ready(None);
                }
                this.refusal = Some(status::of(Unknown::TimedOut));
                continue;
            }
            let Some(frame) = ready!(polled) else {
                return Poll::Ready(None);
            };
            match frame.into_data() {
                Ok(_) if all_said => {}
                Ok(piece) => this.take(&piece),
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let all_given = self.ready.is_empty() && self.unpacking.is_none() && self.refusal.is_none();
        all_given && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// A piece of a body, as it came.
#[derive(Debug)]
enum Piece {
    /// Fit for the decoder.
    Plain(Bytes),
    /// A whole message that is packed, without its prefix.
    Packed(Bytes),
}

/// Where we are in a sequence of messages that arrives in pieces.
struct Messages {
    terms: Terms,
    prefix: [u8; PREFIX_BYTES],
    /// How much of the prefix has arrived.
    prefix_len: usize,
    /// What is still to come of the present message.
    body_left: usize,
    /// The present message, when it is packed.
    packed: Option<BytesMut>,
    /// Messages that have come whole.
    whole: u64,
    /// Bytes taken for the last message.
    taken: usize,
}

impl Messages {
    fn new(terms: Terms) -> Messages {
        let (prefix, packed) = ([0; PREFIX_BYTES], None);
        Messages { terms, prefix, prefix_len: 0, body_left: 0, packed, whole: 0, taken: 0 }
    }

    /// Whether the only message has come.
    fn all_said(&self) -> bool {
        !self.terms.streams && self.whole > 0
    }

    /// How long to wait: for the rest of a message, for the only one, or for the end behind it.
    fn patience(&self) -> Option<Duration> {
        let between = self.prefix_len == 0 && self.body_left == 0;
        match self.all_said() {
            true => Some(END_PATIENCE),
            false => (!between || !self.terms.streams).then_some(PATIENCE),
        }
    }

    /// Goes over the next piece of the body, and gives on what is fit for the decoder; of a request that
    /// consists of one message, no more than that.
    fn take(&mut self, piece: &Bytes, out: &mut VecDeque<Piece>) -> Result<(), Status> {
        // Of the piece, `from..at` was looked at and not given on yet.
        let (mut from, mut at) = (0, 0);
        while at < piece.len() && !self.all_said() {
            if self.body_left > 0 {
                let end = at + self.body_left.min(piece.len() - at);
                self.body_left -= end - at;
                if let Some(packed) = &mut self.packed {
                    packed.extend_from_slice(&piece[at..end]);
                    from = end;
                }
                at = end;
            } else {
                let begun_here = at.saturating_sub(self.prefix_len).max(from);
                if let Err(refusal) = self.take_prefix(piece[at]) {
                    give_on(piece, from..begun_here, out);
                    return Err(refusal);
                }
                at += 1;
                if self.packed.is_some() {
                    give_on(piece, from..begun_here, out);
                    from = at;
                }
            }
            if self.body_left == 0 && self.prefix_len == 0 {
                self.whole += 1;
                if let Some(packed) = self.packed.take() {
                    out.push_back(Piece::Packed(packed.freeze()));
                }
            }
        }
        give_on(piece, from..at, out);
        Ok(())
    }

    /// The next byte of a prefix; after the last one the length is known.
    fn take_prefix(&mut self, byte: u8) -> Result<(), Status> {
        if self.prefix_len == 0 {
            match byte {
                0 => {}
                1 if self.terms.gzip => self.packed = Some(BytesMut::new()),
                1 => {
                    let text = "grpc: compressed flag set with identity or empty encoding";
                    return Err(Status::internal(text));
                }
                other => {
                    let text = format!("grpc: received unexpected payload format {other}");
                    return Err(Status::internal(text));
                }
            }
        }
        self.prefix[self.prefix_len] = byte;
        self.prefix_len += 1;
        if self.prefix_len < PREFIX_BYTES {
            return Ok(());
        }
        let [_, a, b, c, d] = self.prefix;
        let (bytes, bytes_max) = (u32::from_be_bytes([a, b, c, d]) as usize, self.terms.bytes_max);
        if bytes > bytes_max {
            let text = format!("grpc: received message larger than max ({bytes} vs. {bytes_max})");
            return Err(Status::resource_exhausted(text));
        }
        (self.prefix_len, self.body_left) = (0, bytes);
        if self.terms.streams
            && let Some(place) = &self.terms.place
        {
            // What came before has been dealt with.
            place.give(Kind::RequestBytes, std::mem::take(&mut self.taken));
        }
        self.count(bytes)
    }

    fn count(&mut self, bytes: usize) -> Result<(), Status> {
        let Some(place) = &self.terms.place else { return Ok(()) };
        if !place.take(Kind::RequestBytes, bytes) {
            place.count_refusal(Kind::RequestBytes);
            return Err(status::of(NotNow::TooManyRequests));
        }
        self.taken += bytes;
        Ok(())
    }
}

/// A packed message on its way to a plain one.
struct Unpacking {
    packed: MultiGzDecoder<Reader<Bytes>>,
    is_empty: bool,
    plain: Vec<u8>,
}

impl Unpacking {
    fn new(packed: Bytes) -> Unpacking {
        let is_empty = packed.is_empty();
        Unpacking { packed: MultiGzDecoder::new(packed.reader()), is_empty, plain: Vec::new() }
    }

    /// Unpacks some more; whether that was all.
    fn turn(&mut self, bytes_max: usize) -> Result<bool, Status> {
        let wanted = TURN_BYTES.min(bytes_max + 1 - self.plain.len());
        let mut turn = (&mut self.packed).take(wanted as u64);
        let got = turn.read_to_end(&mut self.plain).map_err(|error| self.refusal(&error))?;
        if self.plain.len() > bytes_max {
            let text = format!("grpc: received message after decompression larger than max {bytes_max}");
            return Err(Status::resource_exhausted(text));
        }
        Ok(got < wanted)
    }

    fn refusal(&self, error: &std::io::Error) -> Status {
        Status::internal(match error.kind() {
            _ if self.is_empty => "grpc: failed to decompress the message: EOF".to_owned(),
            _ if self.packed.header().is_none() => {
                "grpc: failed to decompress the message: gzip: invalid header".to_owned()
            }
            std::io::ErrorKind::UnexpectedEof => {
                "grpc: failed to read decompressed data: unexpected EOF".to_owned()
            }
            _ => format!("grpc: failed to read decompressed data: {error}"),
        })
    }
}

/// A plain message behind its prefix.
fn framed(plain: &[u8]) -> Bytes {
    let mut message = BytesMut::with_capacity(PREFIX_BYTES + plain.len());
    message.put_u8(0);
    message.put_u32(plain.len() as u32);
    message.extend_from_slice(plain);
    message.freeze()
}

fn give_on(piece: &Bytes, range: std::ops::Range<usize>, out: &mut VecDeque<Piece>) {
    if !range.is_empty() {
        out.push_back(Piece::Plain(piece.slice(range)));
    }
}

#[cfg(test)]
mod tests;
