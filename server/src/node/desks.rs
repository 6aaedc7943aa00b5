//! Work that takes its time: reading, encoding and writing large answers, and reading large bodies.
//!
//! It is done at desks: threads that let all others go first, as many as there are processors. Who waits for
//! a desk costs nobody a processor, so a small request finds one however many large ones there are. Who has
//! a desk never waits for another.
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::error::NotNow;
use crate::threads::{Body, Receiver, Sender, Threads, queue};

/// How much later than other threads one at a desk is served, in the steps of `nice`: it has about a third
/// of the time of a thread that is busy, too, and yields to one that begins.
const NICE: i32 = 5;
/// Large answers are there twice while they are made, once uncounted.
const NUMBER_MAX: usize = 8;
const NUMBER_MIN: usize = 2;
/// How long a thread without work sleeps at a time.
const REST: Duration = Duration::from_secs(3600);

/// See the module. Clones are the same desks; their threads end with the last one.
#[derive(Clone)]
pub struct Desks(Arc<Room>);

struct Room {
    free: Arc<Semaphore>,
    /// Of each desk, the queue of its thread.
    threads: Vec<Sender<Body>>,
    /// Numbers of the free ones.
    idle: Mutex<Vec<usize>>,
}

impl Room {
    fn idle(&self) -> MutexGuard<'_, Vec<usize>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Desks {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} of {} desks are free", self.0.free.available_permits(), self.0.threads.len())
    }
}

impl Desks {
    /// One for each processor: at least one beside a slow job, and no more than memory is counted for.
    ///
    /// # Errors
    /// A thread cannot be made.
    pub(crate) fn of_this_machine(threads: &dyn Threads) -> io::Result<Desks> {
        let processors = std::thread::available_parallelism().map_or(NUMBER_MIN, std::num::NonZero::get);
        Desks::new(threads, processors.clamp(NUMBER_MIN, NUMBER_MAX))
    }

    /// So many.
    ///
    /// # Errors
    /// A thread cannot be made.
    pub(crate) fn new(threads: &dyn Threads, number: usize) -> io::Result<Desks> {
        let seat = |_| {
            let (jobs, queue) = queue(threads.bell());
            threads.spawn("desk", Box::new(move || sit(&queue))).map(|_| jobs)
        };
        let threads = (0..number).map(seat).collect::<io::Result<_>>()?;
        let (free, idle) = (Arc::new(Semaphore::new(number)), Mutex::new((0..number).collect()));
        Ok(Desks(Arc::new(Room { free, threads, idle })))
    }

    /// Waits for a free one.
    ///
    /// # Errors
    /// [`NotNow::Stopped`]: there will be none any more.
    pub async fn one(&self) -> Result<Desk, NotNow> {
        let room = self.0.clone();
        let turn = room.free.clone().acquire_owned().await.map_err(|_| NotNow::Stopped)?;
        let number = room.idle().pop().expect("as many are idle as there are turns left");
        Ok(Desk { number, room, _turn: turn })
    }

    /// Waits until nobody works any more; then nobody will.
    pub async fn close(&self) {
        let Room { free, threads, .. } = &*self.0;
        if let Ok(_all) = free.acquire_many(u32::try_from(threads.len()).unwrap_or(u32::MAX)).await {
            free.close();
        }
    }
}

fn sit(queue: &Receiver<Body>) {
    // Where it is not allowed, others are served a little later.
    let _ = rustix::process::nice(NICE);
    loop {
        match queue.recv_timeout(REST) {
            // Who waits for what a panic has ended is told by its answer, which is dropped.
            Ok(job) => drop(catch_unwind(AssertUnwindSafe(job))),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// A desk that is one's own until it is dropped, or the work there is done.
pub struct Desk {
    number: usize,
    room: Arc<Room>,
    /// Given back after the number.
    _turn: OwnedSemaphorePermit,
}

impl Desk {
    /// Works there; the desk is free again when that is done, whoever still waits for it.
    ///
    /// # Errors
    /// [`NotNow::Stopped`]: the work panicked.
    pub async fn work<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NotNow> {
        let (answer, answered) = oneshot::channel();
        let (room, number) = (self.room.clone(), self.number);
        let job = move || {
            let _desk = self;
            let _ = answer.send(work());
        };
        room.threads[number].send(Box::new(job)).map_err(|_| NotNow::Stopped)?;
        drop(room);
        answered.await.map_err(|_| NotNow::Stopped)
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.room.idle().push(self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use tokio::time::timeout;

    use super::*;
    use crate::threads::SystemThreads;

    #[tokio::test]
    async fn no_more_work_than_there_are_desks() {
        let desks = Desks::new(&SystemThreads, 2).expect("threads");
        let first = desks.one().await.expect("a desk");
        let _second = desks.one().await.expect("a desk");
        assert!(timeout(Duration::from_millis(20), desks.one()).await.is_err(), "no third");
        assert_eq!(first.work(|| 7).await.expect("the work is done"), 7);
        assert!(desks.one().await.is_ok(), "it is free again");
    }

    #[tokio::test]
    async fn a_panic_frees_its_desk() {
        let desks = Desks::new(&SystemThreads, 1).expect("threads");
        for _ in 0..3 {
            let ended = desks.one().await.expect("a desk").work(|| panic!("as planned")).await;
            assert!(ended.is_err());
        }
        assert_eq!(desks.one().await.expect("a desk").work(|| 7).await.expect("the work is done"), 7);
    }

    #[tokio::test]
    async fn a_desk_is_busy_though_nobody_waits_for_its_work() {
        let desks = Desks::new(&SystemThreads, 1).expect("threads");
        let (go, wait) = channel::<()>();
        let work = desks.one().await.expect("a desk").work(move || wait.recv());
        assert!(timeout(Duration::from_millis(20), work).await.is_err(), "it is not done");
        assert!(timeout(Duration::from_millis(20), desks.close()).await.is_err(), "nor is it over");
        go.send(()).expect("somebody works");
        desks.close().await;
        assert!(desks.one().await.is_err(), "there is none any more");
    }
}
