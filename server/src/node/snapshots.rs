//! The state as a stream: etcd's snapshot file, of one moment, with a bounded part of it in memory.
//!
//! ```text
//!   pinned view ─ a step at the desk of scans ─► 256 KiB ─ 32 KiB, 32 KiB, … ─► reader
//! ```
//! Nothing is made before it is asked for, and nobody waits at a desk for a reader. What the view sees stays on
//! the disk for as long as the stream is open; when the member stops, the view is let go, whatever the reader
//! does.
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bramble_store::auth::Need;
use bramble_store::engine::any::AnyView;
use bramble_store::snapshot::etcd::{Export, ExportError, Step};
use bytes::Bytes;

use super::access::Seen;
use super::answers::Caller;
use super::budget::{Kind, Loan, Place};
use super::client::Client;
use super::core::{Core, View};
use super::error::{Error, NotNow};

/// etcd's number.
const BLOB_BYTES: usize = 32 << 10;
/// What a step makes, about, and what it is before the last large record goes out.
const STEP_BYTES: usize = 512 << 10;
/// Behind the database.
const HASH_BYTES: u64 = 32;

/// A part of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// The next bytes of the file.
    pub bytes: Bytes,
    /// How many follow, without the hash at the end.
    pub remaining: u64,
}

/// The parts of a snapshot, then its hash.
pub struct SnapshotStream {
    core: Arc<Core>,
    place: Arc<Place>,
    held: Arc<Held>,
    /// Made, and not asked for yet.
    ready: Bytes,
    /// What that takes.
    taken: Option<(Loan, Loan)>,
    remaining: u64,
    ended: bool,
}

/// A view that may be taken away.
struct Held(Mutex<Option<Export<AnyView>>>);

impl Held {
    fn take(&self) -> Option<Export<AnyView>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn put(&self, export: Export<AnyView>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(export);
    }
}

/// Those that are open.
#[derive(Default)]
pub(super) struct Snapshots(Mutex<Vec<Weak<Held>>>);

impl Snapshots {
    fn open(&self, view: View) -> Arc<Held> {
        let held = Arc::new(Held(Mutex::new(Some(Export::of(view)))));
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|other| other.strong_count() > 0);
        open.push(Arc::downgrade(&held));
        held
    }

    /// Lets go of all views. One that a step looks at goes with the step.
    pub(super) fn close(&self) {
        let open = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for held in open.iter().filter_map(Weak::upgrade) {
            held.take();
        }
    }
}

impl Client {
    /// Begins a snapshot of the newest state: it is gone through once before this answers, to know its size.
    ///
    /// # Errors
    /// [`NotNow`].
    pub async fn snapshot(&self, caller: &Caller) -> Result<SnapshotStream, Error> {
        let place = self.core.place(caller, Kind::OtherStreams)?;
        let Seen { view, .. } = self.core.permitted(caller, &[Need::Root]).await?;
        let held = self.core.snapshots.open(view);
        let core = self.core.clone();
        let mut stream = SnapshotStream {
            core,
            place,
            held,
            ready: Bytes::new(),
            taken: None,
            remaining: 0,
            ended: false,
        };
        loop {
            let (step, bytes) = stream.step().await?;
            if let Some(bytes) = bytes {
                stream.remaining = bytes - HASH_BYTES;
                return Ok(stream);
            }
            if step == Step::End {
                return Err(NotNow::Stopped.into());
            }
        }
    }
}

impl SnapshotStream {
    /// The next part; `None` after the last one, and after an error.
    ///
    /// # Errors
    /// [`NotNow`].
    pub async fn next(&mut self) -> Option<Result<Blob, Error>> {
        while self.ready.is_empty() && !self.ended {
            self.taken = None;
            let taken = self.place.borrow_answer(STEP_BYTES).await;
            match self.step().await {
                Ok((Step::Bytes(bytes), _)) => {
                    // A record that is larger than a step is there already.
                    let beyond = self.place.borrow_anyway(bytes.len().saturating_sub(STEP_BYTES));
                    self.taken = Some((taken, beyond));
                    self.ready = bytes.into();
                }
                Ok((Step::Measured, _)) => {}
                Ok((Step::End, _)) => self.ended = true,
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
        }
        if self.ended {
            return None;
        }
        let bytes = self.ready.split_to(BLOB_BYTES.min(self.ready.len()));
        self.remaining = self.remaining.saturating_sub(bytes.len() as u64);
        Some(Ok(Blob { bytes, remaining: self.remaining }))
    }

    /// Does a step where the whole history is read, one reader at a time; and what the file takes, if known.
    async fn step(&self) -> Result<(Step, Option<u64>), Error> {
        let desk = self.core.scans.one().await?;
        let mut export = self.held.take().ok_or(NotNow::Stopped)?;
        self.core.alive()?;
        let (held, end) = (self.held.clone(), self.core.closed.clone());
        let done = desk.work(move || {
            let step = export.step();
            let bytes = export.bytes();
            if !end.is_cancelled() {
                held.put(export);
            }
            step.map(|step| (step, bytes))
        });
        done.await?.map_err(|error| match error {
            ExportError::Fatal(fatal) => self.core.failed(&fatal).into(),
            ExportError::Unfit(_) => {
                NotNow::Unsupported("a snapshot with a user or role of so long a name").into()
            }
        })
    }
}
