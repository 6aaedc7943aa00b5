//! A connection that must speak soon.
//!
//! hyper waits for ever for the bytes that tell HTTP/2 from HTTP/1.1; after those it has bounds of
//! its own. This wrapper ends the wait: until the length of HTTP/2's greeting has been read, or the
//! server has answered, reading fails once the deadline has passed.
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// Length of `PRI * HTTP/2.0 ...`, by which hyper knows what is spoken.
const GREETING: usize = 24;

/// A stream with a deadline for its first bytes, holding `token` until they have come.
pub(super) struct FirstBytes<S, T> {
    stream: S,
    waiting: Option<Waiting<T>>,
}

struct Waiting<T> {
    deadline: Pin<Box<Sleep>>,
    read: usize,
    _token: T,
}

impl<S, T> FirstBytes<S, T> {
    /// Needs a tokio runtime with time.
    pub(super) fn new(stream: S, within: Duration, token: T) -> FirstBytes<S, T> {
        let deadline = Box::pin(tokio::time::sleep(within));
        FirstBytes { stream, waiting: Some(Waiting { deadline, read: 0, _token: token }) }
    }
}

impl<S: AsyncRead + Unpin, T: Unpin> AsyncRead for FirstBytes<S, T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(cx, buf);
        let Some(waiting) = &mut this.waiting else { return polled };
        match polled {
            Poll::Ready(_) => {
                waiting.read += buf.filled().len() - before;
                if waiting.read >= GREETING {
                    this.waiting = None;
                }
                polled
            }
            Poll::Pending if waiting.deadline.as_mut().poll(cx).is_ready() => {
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncWrite + Unpin, T: Unpin> AsyncWrite for FirstBytes<S, T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.waiting = None;
        Pin::new(&mut this.stream).poll_write(cx, bytes)
    }
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.waiting = None;
        Pin::new(&mut this.stream).poll_write_vectored(cx, slices)
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
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn who_stops_in_the_middle_of_the_greeting_is_shown_out() {
        let (mut client, server) = tokio::io::duplex(64);
        let mut guarded = FirstBytes::new(server, SOON, ());
        let begun = tokio::time::Instant::now();
        client.write_all(b"PRI * HT").await.expect("written");
        let mut buffer = [0; 64];
        assert_eq!(guarded.read(&mut buffer).await.expect("read"), 8);
        let error = guarded.read(&mut buffer).await.expect_err("too late");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed().as_secs(), SOON.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn after_the_greeting_silence_is_fine() {
        let (mut client, server) = tokio::io::duplex(64);
        let mut guarded = FirstBytes::new(server, SOON, ());
        client.write_all(&[b'x'; GREETING]).await.expect("written");
        let mut buffer = [0; GREETING];
        guarded.read_exact(&mut buffer).await.expect("read");
        let silence = tokio::time::timeout(10 * SOON, guarded.read(&mut buffer)).await;
        assert!(silence.is_err(), "still waiting");
    }

    #[tokio::test(start_paused = true)]
    async fn nor_does_the_deadline_matter_once_there_was_an_answer() {
        let (_client, server) = tokio::io::duplex(64);
        let mut guarded = FirstBytes::new(server, SOON, ());
        guarded.write_all(b"HTTP/1.1 400").await.expect("written");
        let silence = tokio::time::timeout(10 * SOON, guarded.read(&mut [0; 4])).await;
        assert!(silence.is_err(), "still waiting");
    }
}
