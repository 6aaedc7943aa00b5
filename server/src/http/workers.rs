//! The threads that serve connections: one for each processor, each with a runtime of its own.
//!
//! ```text
//!   accept ─ socket ─► the worker with fewest connections ─ its requests, their tasks and timers stay there
//! ```
//! On a runtime that threads share, each request is handed from thread to thread by queues and wake-ups: 35 µs
//! of processor time a get, where it is 29 µs here (median of 3 by turns, 64 clients, 2 busy processors,
//! 2026-11-22). The price: a worker whose connections are busy gets no help. What takes long is done elsewhere
//! (`node::desks`), so nobody waits for longer than a piece of work of a connection.
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// All of them. When they are dropped, what is left of their tasks is dropped too.
pub(super) struct Workers {
    workers: Vec<Worker>,
    _until: DropGuard,
}

struct Worker {
    runtime: Handle,
    connections: Arc<AtomicUsize>,
}

impl Workers {
    /// Starts them; none for a member that listens nowhere, which has only the threads it was given.
    ///
    /// # Errors
    /// There can be no more threads.
    pub(super) fn start(listening: bool) -> io::Result<Workers> {
        let ended = CancellationToken::new();
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let count = if listening { processors } else { 0 };
        let workers = (0..count).map(|_| Worker::start(ended.clone())).collect::<io::Result<_>>()?;
        Ok(Workers { workers, _until: ended.drop_guard() })
    }

    /// Runs a connection, counted by `tracker`, on the worker that has fewest. It is made there, since a socket
    /// belongs to the runtime in which it became one.
    pub(super) fn spawn<F: Future<Output = ()> + Send + 'static>(
        &self,
        tracker: &TaskTracker,
        connection: F,
    ) {
        let fewest = self.workers.iter().min_by_key(|worker| worker.connections.load(Ordering::Relaxed));
        let Some(worker) = fewest else { return };
        let counted = Counted::among(&worker.connections);
        let connection = async move {
            let _counted = counted;
            connection.await;
        };
        tracker.spawn_on(connection, &worker.runtime);
    }
}

impl Worker {
    fn start(ended: CancellationToken) -> io::Result<Worker> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        thread::Builder::new().name("net".into()).spawn(move || {
            runtime.block_on(ended.cancelled());
            // Not by dropping it: that waits for what its tasks have given to threads that may block.
            runtime.shutdown_background();
        })?;
        Ok(Worker { runtime: handle, connections: Arc::default() })
    }
}

/// One connection more, for as long as it lives.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn among(connections: &Arc<AtomicUsize>) -> Counted {
        connections.fetch_add(1, Ordering::Relaxed);
        Counted(connections.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn connections_are_spread_and_end_with_the_workers() {
        let workers = Workers::start(true).expect("threads");
        let (tracker, stay) = (TaskTracker::new(), CancellationToken::new());
        let (told, threads) = mpsc::channel();
        for _ in 0..2 * workers.workers.len() {
            let (told, stay) = (told.clone(), stay.clone());
            workers.spawn(&tracker, async move {
                told.send(thread::current().id()).expect("somebody listens");
                stay.cancelled().await;
            });
        }
        let mut on: Vec<_> =
            threads.iter().take(2 * workers.workers.len()).map(|id| format!("{id:?}")).collect();
        on.sort();
        assert!(on.chunks(2).all(|pair| pair[0] == pair[1]), "two on each: {on:?}");
        on.dedup();
        assert_eq!(on.len(), workers.workers.len());

        let counts = || workers.workers.iter().map(|worker| worker.connections.load(Ordering::Relaxed));
        assert!(counts().all(|count| count == 2));
        stay.cancel();
        tracker.close();
        tracker.wait().await;
        assert!(counts().all(|count| count == 0));

        let kept = TaskTracker::new();
        workers.spawn(&kept, std::future::pending());
        drop(workers);
        kept.close();
        kept.wait().await;
    }
}
