//! Work that takes its time: reading, encoding and writing large answers, and reading large bodies.
//!
//! It is done at desks: threads that let all others go first, as many as there are processors. Who waits for
//! a desk costs nobody a processor, so a small request finds one however many large ones there are. Who has
//! a desk never waits for another.
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::error::NotNow;

/// How much later than other threads one at a desk is served, in the steps of `nice`: it has about a third
/// of the time of a thread that is busy, too, and yields to one that begins.
const NICE: i32 = 5;

type Job = Box<dyn FnOnce() + Send>;

/// See the module. Clones are the same desks; their threads end with the last one.
#[derive(Clone, Debug)]
pub struct Desks {
    free: Arc<Semaphore>,
    number: u32,
    jobs: Sender<Job>,
}

impl Desks {
    /// One for each processor, and one beside a slow job in any case.
    ///
    /// # Errors
    /// A thread cannot be made.
    pub fn of_this_machine() -> io::Result<Desks> {
        let processors = std::thread::available_parallelism().map_or(2, |processors| processors.get().max(2));
        Desks::new(u32::try_from(processors).unwrap_or(u32::MAX))
    }

    /// So many.
    ///
    /// # Errors
    /// A thread cannot be made.
    pub fn new(number: u32) -> io::Result<Desks> {
        let (jobs, queue) = channel();
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..number {
            let queue = queue.clone();
            std::thread::Builder::new().name("desk".into()).spawn(move || sit(&queue))?;
        }
        Ok(Desks { free: Arc::new(Semaphore::new(number as usize)), number, jobs })
    }

    /// Waits for a free one.
    ///
    /// # Errors
    /// [`NotNow::Stopped`]: there will be none any more.
    pub async fn one(&self) -> Result<Desk, NotNow> {
        let turn = self.free.clone().acquire_owned().await.map_err(|_| NotNow::Stopped)?;
        Ok(Desk { turn, jobs: self.jobs.clone() })
    }

    /// Waits until nobody works any more; then nobody will.
    pub async fn close(&self) {
        if let Ok(_all) = self.free.acquire_many(self.number).await {
            self.free.close();
        }
    }
}

fn sit(queue: &Mutex<Receiver<Job>>) {
    // Where it is not allowed, others are served a little later.
    let _ = rustix::process::nice(NICE);
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        // Who waits for what a panic has ended is told by its answer, which is dropped.
        let _ = catch_unwind(AssertUnwindSafe(job));
    }
}

/// A free desk.
#[derive(Debug)]
pub struct Desk {
    turn: OwnedSemaphorePermit,
    jobs: Sender<Job>,
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
        let Desk { turn, jobs } = self;
        let job = move || {
            let _turn = turn;
            let _ = answer.send(work());
        };
        jobs.send(Box::new(job)).map_err(|_| NotNow::Stopped)?;
        answered.await.map_err(|_| NotNow::Stopped)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn no_more_work_than_there_are_desks() {
        let desks = Desks::new(2).expect("threads");
        let first = desks.one().await.expect("a desk");
        let _second = desks.one().await.expect("a desk");
        assert!(timeout(Duration::from_millis(20), desks.one()).await.is_err(), "no third");
        assert_eq!(first.work(|| 7).await.expect("the work is done"), 7);
        assert!(desks.one().await.is_ok(), "it is free again");
    }

    #[tokio::test]
    async fn a_panic_frees_its_desk() {
        let desks = Desks::new(1).expect("threads");
        for _ in 0..3 {
            let ended = desks.one().await.expect("a desk").work(|| panic!("as planned")).await;
            assert!(ended.is_err());
        }
        assert_eq!(desks.one().await.expect("a desk").work(|| 7).await.expect("the work is done"), 7);
    }

    #[tokio::test]
    async fn a_desk_is_busy_though_nobody_waits_for_its_work() {
        let desks = Desks::new(1).expect("threads");
        let (go, wait) = channel::<()>();
        let work = desks.one().await.expect("a desk").work(move || wait.recv());
        assert!(timeout(Duration::from_millis(20), work).await.is_err(), "it is not done");
        assert!(timeout(Duration::from_millis(20), desks.close()).await.is_err(), "nor is it over");
        go.send(()).expect("somebody works");
        desks.close().await;
        assert!(desks.one().await.is_err(), "there is none any more");
    }
}
