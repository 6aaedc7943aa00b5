//! An answer on its way out, with the place of its request: the place lasts until the last byte was
//! given to the system, not only until the protocol has taken it over. So whoever does not read what
//! it asked for keeps its places, and gets no more of them.
//!
//! The bytes of streams are counted here, as nobody knows them before; a stream waits while answers
//! have taken all there is.
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::{Sleep, sleep};

use crate::node::budget::{Kind, Loan, Place};

/// How often a stream that waits looks whether there is room.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// See the module.
pub(super) struct Held {
    body: Body,
    place: Arc<Place>,
    waits: Option<Pin<Box<Sleep>>>,
}

impl Held {
    pub(super) fn new(body: Body, place: Arc<Place>) -> Held {
        Held { body, place, waits: None }
    }

    fn streams(&self) -> bool {
        self.place.kind() != Kind::Requests
    }

    /// Waits until there is room for a stream to go on.
    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while !self.place.take(Kind::AnswerBytes, 1) {
            let waits = self.waits.get_or_insert_with(|| Box::pin(sleep(LOOK_EVERY)));
            ready!(waits.as_mut().poll(context));
            self.waits = None;
        }
        self.place.give(Kind::AnswerBytes, 1);
        Poll::Ready(())
    }
}

/// Bytes with the place they belong to.
struct HeldBytes {
    bytes: Bytes,
    _place: Arc<Place>,
    _counted: Option<Loan>,
}

impl AsRef<[u8]> for HeldBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        if this.streams() {
            ready!(this.poll_room(context));
        }
        let frame = ready!(Pin::new(&mut this.body).poll_frame(context));
        let held = |bytes: Bytes| {
            let counted = this.streams().then(|| this.place.borrow_anyway(bytes.len()));
            Bytes::from_owner(HeldBytes { bytes, _place: this.place.clone(), _counted: counted })
        };
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(held))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;
    use crate::config::Profile;
    use crate::node::budget::Budget;
    use crate::node::memory::Memory;

    #[tokio::test(start_paused = true)]
    async fn the_place_lasts_as_long_as_the_bytes() {
        let budget = Budget::new(Memory::of(Profile::Pi).clients);
        let share = budget.connection().expect("a share");
        for (kind, counted) in [(Kind::Requests, 0), (Kind::WatchStreams, 5)] {
            let place = share.place(kind).expect("a place");
            let mut held = Held::new(Body::from("hello"), place);
            let frame = held.frame().await.expect("a frame").expect("no error");
            drop(held);
            let bytes = frame.into_data().expect("data").slice(1..);
            assert_eq!((share.places(), budget.usage(Kind::AnswerBytes).used), (1, counted), "{kind:?}");
            assert_eq!(bytes, "ello");
            drop(bytes);
            assert_eq!((share.places(), budget.usage(Kind::AnswerBytes).used), (0, 0), "{kind:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_waits_for_room() {
        let budget = Budget::new(Memory::of(Profile::Pi).clients);
        let (share, hog) = (budget.connection().expect("a share"), budget.in_process());
        let hogged = hog.place(Kind::Requests).expect("a place");
        assert!(hogged.take(Kind::AnswerBytes, hogged.most(Kind::AnswerBytes)));
        let place = share.place(Kind::WatchStreams).expect("a place");
        // What is sure for a connection is used up, too.
        let _more = place.borrow_anyway(1 << 20);
        let mut held = Held::new(Body::from("hello"), place);
        let waited = tokio::time::timeout(Duration::from_secs(9), held.frame()).await;
        assert!(waited.is_err(), "there is none");
        drop(hogged);
        let frame = held.frame().await.expect("a frame").expect("no error");
        assert_eq!(frame.into_data().expect("data"), "hello");
    }
}
