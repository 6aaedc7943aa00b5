//! A connection whose client must behave, as far as hyper does not see to it.
//!
//! **Pings.** A client may ping every `--grpc-keepalive-min-time` while it has a stream open, and every
//! two hours otherwise; what was answered with headers or data in between is forgiven. After two
//! warnings that nobody hears the connection ends with GOAWAY, code ENHANCE_YOUR_CALM, `too_many_pings`:
//! grpc-go's rules to the letter, since its clients slow their pings down by just that. hyper tells
//! nobody of pings, so they are found by the heads of frames, and the GOAWAY is put between two frames.
//!
//! **Reading.** Who does not take its answers is not heard: while the system takes no more bytes for it,
//! only so many are read. Otherwise answers without a body, which no window holds back, could be asked
//! for without end.
//!
//! **Turns.** Frames that cost the client nothing (settings, priorities, a window of one byte more) come by
//! the ten thousand in what the system has ready, and hyper would take them all before it lets another task
//! go on. After so many frames a connection waits until all others that are ready have had their turn.
//!
//! **Pace.** Frames that bring nothing, and resets, which make what came before them work for nothing, are
//! taken at a bounded rate. Headers and data make up for some of them. Who goes on and on all the same is
//! shown out: what it has sent, or has left in the system's buffers, would keep the connection for long.
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::frames::{ACK, DATA, Frames, HEADERS, PING, RST_STREAM, goaway};
use crate::node::budget::Share;

const GREETING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Pings that come too soon and are let pass.
const STRIKES_MAX: u32 = 2;
/// The time between pings of a client without streams.
const IDLE_MIN: Duration = Duration::from_secs(2 * 60 * 60);
/// The time between pings where the setting is zero: gRPC's own, as etcd then sets none.
const UNSET_MIN: Duration = Duration::from_secs(5 * 60);
const ENHANCE_YOUR_CALM: u32 = 11;
/// How long the connection stays after the GOAWAY: closing it with bytes unread would take the GOAWAY
/// away from the client.
const LINGER: Duration = Duration::from_secs(1);
/// Bytes that are read of a client that takes none.
const UNHEARD_MAX: usize = 64 << 10;
/// Frames that begin in one turn, and those that come in the same read as the last one of them.
const TURN_FRAMES: u32 = 128;
/// What a frame that brings nothing costs: 20,000 a second are taken.
const IDLE_FRAME: Duration = Duration::from_micros(50);
/// What a reset costs: 500 a second are taken.
const RESET: Duration = Duration::from_millis(2);
/// What headers and data make up for.
const FRUITFUL_FRAME: Duration = Duration::from_micros(100);
/// A client may be held up so long without a pause of its own: a good one may take back thousands of calls.
const HELD_UP_MAX: Duration = Duration::from_secs(10);
/// So much may come at once.
const AT_ONCE: Duration = Duration::from_millis(250);

/// How often a client pings.
#[derive(Debug)]
struct Pings {
    apart_min: Duration,
    last: Option<Instant>,
    strikes: u32,
    /// Headers or data have been sent since the last ping.
    answered: bool,
}

impl Pings {
    fn new(apart_min: Duration) -> Pings {
        let apart_min = if apart_min.is_zero() { UNSET_MIN } else { apart_min };
        Pings { apart_min, last: None, strikes: 0, answered: false }
    }

    /// A ping has come; whether it is one too many.
    fn ping(&mut self, now: Instant, has_streams: bool) -> bool {
        let last = self.last.replace(now);
        if std::mem::take(&mut self.answered) {
            self.strikes = 0;
            return false;
        }
        let apart_min = if has_streams { self.apart_min } else { IDLE_MIN };
        if last.is_some_and(|last| now < last + apart_min) {
            self.strikes += 1;
        }
        self.strikes > STRIKES_MAX
    }
}

/// What is spoken on the connection.
enum Speech {
    /// So much of HTTP/2's greeting has come.
    Greeting(usize),
    Http2 {
        incoming: Frames,
        last_stream: u32,
    },
    /// Something else.
    Other,
}

enum End {
    NotYet,
    /// So much of this is still to be written, between two frames.
    Goaway(Vec<u8>),
    /// It has been said; what still comes is not looked at.
    Linger(Pin<Box<Sleep>>),
}

/// See the module.
pub(super) struct Calm<S> {
    stream: S,
    share: Arc<Share>,
    speech: Speech,
    pings: Pings,
    outgoing: Frames,
    end: End,
    /// The system takes no bytes; so many have been read since.
    unheard: Option<usize>,
    /// Who wanted to read more than that.
    reader: Option<Waker>,
    turn: Turn,
}

/// How much a client may send when.
#[derive(Default)]
struct Turn {
    /// Frames that have begun in this turn.
    frames: u32,
    /// When all that has come would have come at the bounded rate.
    paid_at: Option<Instant>,
    rest: Option<Pin<Box<Sleep>>>,
    /// Since when it has been held up, but for short breaths.
    held_up: Option<Instant>,
}

impl Turn {
    fn frame(&mut self, kind: u8, now: Instant) {
        self.frames += 1;
        let paid_at = self.paid_at.unwrap_or(now).max(now);
        self.paid_at = match kind {
            HEADERS | DATA => paid_at.checked_sub(FRUITFUL_FRAME),
            RST_STREAM => Some(paid_at + RESET),
            _ => Some(paid_at + IDLE_FRAME),
        };
    }

    /// The client has nothing more to say for now.
    fn pause(&mut self) {
        (self.frames, self.held_up) = (0, None);
    }

    fn is_endless(&self, now: Instant) -> bool {
        self.held_up.is_some_and(|since| now > since + HELD_UP_MAX)
    }

    /// Ready when the client may be heard.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(paid_at) = self.paid_at.filter(|paid_at| *paid_at > Instant::now() + AT_ONCE) {
            self.held_up.get_or_insert_with(Instant::now);
            let rest = self.rest.get_or_insert_with(|| Box::pin(sleep_until(paid_at - AT_ONCE)));
            ready!(rest.as_mut().poll(context));
        }
        self.rest = None;
        if self.frames < TURN_FRAMES {
            return Poll::Ready(());
        }
        self.frames = 0;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<S> Calm<S> {
    pub(super) fn new(stream: S, pings_apart_min: Duration, share: Arc<Share>) -> Calm<S> {
        Calm {
            stream,
            share,
            speech: Speech::Greeting(0),
            pings: Pings::new(pings_apart_min),
            outgoing: Frames::default(),
            end: End::NotYet,
            unheard: None,
            reader: None,
            turn: Turn::default(),
        }
    }

    fn heard(&mut self, mut bytes: &[u8]) {
        if let Some(unheard) = &mut self.unheard {
            *unheard += bytes.len();
        }
        if let Speech::Greeting(known) = &mut self.speech {
            let now = (GREETING.len() - *known).min(bytes.len());
            if bytes[..now] != GREETING[*known..*known + now] {
                self.speech = Speech::Other;
                return;
            }
            *known += now;
            bytes = &bytes[now..];
            if *known == GREETING.len() {
                self.speech = Speech::Http2 { incoming: Frames::default(), last_stream: 0 };
            }
        }
        let Speech::Http2 { incoming, last_stream } = &mut self.speech else { return };
        let (pings, share, mut too_many) = (&mut self.pings, &self.share, false);
        let (turn, now) = (&mut self.turn, Instant::now());
        incoming.pass(bytes, |head| {
            turn.frame(head.kind, now);
            match head.kind {
                PING if head.flags & ACK == 0 => too_many |= pings.ping(now, share.places() > 0),
                HEADERS => *last_stream = (*last_stream).max(head.stream),
                _ => {}
            }
        });
        let why: &[u8] = match () {
            () if too_many => b"too_many_pings",
            () if turn.is_endless(now) => b"too_many_frames",
            () => return,
        };
        if matches!(self.end, End::NotYet) {
            self.end = End::Goaway(goaway(*last_stream, ENHANCE_YOUR_CALM, why));
        }
    }

    fn said<'a>(&mut self, pieces: impl Iterator<Item = &'a [u8]>, mut bytes: usize) {
        if !matches!(self.speech, Speech::Http2 { .. }) {
            return;
        }
        for piece in pieces {
            let piece = &piece[..bytes.min(piece.len())];
            bytes -= piece.len();
            let answered = &mut self.pings.answered;
            self.outgoing.pass(piece, |head| *answered |= matches!(head.kind, HEADERS | DATA));
        }
    }

    /// What a write came to decides whether the client is heard.
    fn note_write(&mut self, written: &Poll<io::Result<usize>>) {
        if written.is_pending() {
            self.unheard.get_or_insert(0);
        } else {
            self.unheard = None;
            if let Some(reader) = self.reader.take() {
                reader.wake();
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> Calm<S> {
    /// Says goodbye as far as the system takes it; ready when nothing more is to be said.
    fn poll_goodbye(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let End::Goaway(rest) = &mut self.end {
            while !rest.is_empty() {
                let written = ready!(Pin::new(&mut self.stream).poll_write(context, rest))?;
                rest.drain(..written);
            }
            self.end = End::Linger(Box::pin(sleep(LINGER)));
            ready!(Pin::new(&mut self.stream).poll_flush(context))?;
            // Nothing can be done about a client that is gone already.
            let _ = ready!(Pin::new(&mut self.stream).poll_shutdown(context));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Calm<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if matches!(this.end, End::Goaway(_)) {
            if !this.outgoing.between() {
                // The rest of the frame is written first; that wakes this task.
                this.reader = Some(context.waker().clone());
                return Poll::Pending;
            }
            ready!(this.poll_goodbye(context))?;
        }
        if let End::Linger(until) = &mut this.end {
            let mut nobody_reads = [0; 4096];
            while until.as_mut().poll(context).is_pending() {
                let mut rest = ReadBuf::new(&mut nobody_reads);
                ready!(Pin::new(&mut this.stream).poll_read(context, &mut rest))?;
                if rest.filled().is_empty() {
                    break;
                }
            }
            return Poll::Ready(Ok(()));
        }
        if this.unheard.is_some_and(|unheard| unheard >= UNHEARD_MAX) {
            this.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        ready!(this.turn.poll(context));
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(context, buf);
        if polled.is_pending() {
            this.turn.pause();
        }
        this.heard(&buf.filled()[before..]);
        polled
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Calm<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let bytes = match &this.end {
            End::NotYet => bytes,
            End::Goaway(_) if !this.outgoing.between() => &bytes[..this.outgoing.to_its_end(bytes)],
            End::Goaway(_) => {
                ready!(this.poll_goodbye(context))?;
                return Poll::Ready(Ok(bytes.len()));
            }
            // The client does not read behind a GOAWAY that ends the connection.
            End::Linger(_) => return Poll::Ready(Ok(bytes.len())),
        };
        let written = Pin::new(&mut this.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(written)) = written {
            this.said(std::iter::once(bytes), written);
        }
        this.note_write(&written);
        written
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if !matches!(this.end, End::NotYet) {
            let first = slices.iter().find(|slice| !slice.is_empty());
            return Pin::new(this).poll_write(context, first.map_or(&[], |slice| slice));
        }
        let written = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        if let Poll::Ready(Ok(written)) = written {
            this.said(slices.iter().map(|slice| &**slice), written);
        }
        this.note_write(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests;
