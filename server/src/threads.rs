//! Where a node's threads come from, and how they sleep and wake each other.
//!
//! Every owner (log, apply, watch, background) is a thread that sleeps at a bell of its own until somebody
//! has put something into its queue. In the product these are threads of the system; a simulation hands
//! in its own, of which one runs at a time, in an order that a seed decides.
use std::io;
use std::sync::mpsc::{self, RecvTimeoutError, SendError, TryRecvError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Handle, Runtime};
use tokio::sync::oneshot;

/// What a thread does.
pub type Body = Box<dyn FnOnce() + Send>;

/// A source of threads.
pub trait Threads: Send + Sync + 'static {
    /// Starts a thread.
    ///
    /// # Errors
    /// There can be no more of them.
    fn spawn(&self, name: &'static str, body: Body) -> io::Result<Box<dyn Thread>>;

    /// Does what may block away from the async threads. Called inside a runtime.
    fn work(&self, body: Body);

    /// A bell for a thread to sleep at.
    fn bell(&self) -> Arc<dyn Bell>;

    /// Where Raft's tasks run.
    ///
    /// # Errors
    /// As for `spawn`.
    fn tasks(&self) -> io::Result<Tasks>;
}

/// A thread that was started.
pub trait Thread: Send + Sync {
    /// Waits until it has ended.
    fn join(self: Box<Self>);
}

/// Wakes the one thread that sleeps at it. It is remembered when rung while nobody sleeps.
pub trait Bell: Send + Sync {
    /// Wakes it.
    fn ring(&self);

    /// Sleeps until it is rung, `pause` at most; whether it was.
    fn wait(&self, pause: Duration) -> bool;
}

/// Does `work` away from the async threads, and waits for what comes of it; `None` when it panicked.
pub(crate) async fn away<T: Send + 'static>(
    threads: &dyn Threads,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (done, worked) = oneshot::channel();
    threads.work(Box::new(move || drop(done.send(work()))));
    worked.await.ok()
}

/// A runtime for tasks that may be stopped anywhere, and used afterwards: tasks are then dropped.
pub struct Tasks {
    handle: Handle,
    own: Mutex<Option<Runtime>>,
}

impl Tasks {
    /// A runtime that is stopped with them.
    pub fn of(runtime: Runtime) -> Tasks {
        Tasks { handle: runtime.handle().clone(), own: Mutex::new(Some(runtime)) }
    }

    /// Somebody else's runtime, which goes on: tasks end by themselves.
    pub fn at(handle: Handle) -> Tasks {
        Tasks { handle, own: Mutex::new(None) }
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    pub(crate) fn stop(&self) {
        let runtime = self.own.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(runtime) = runtime {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The system's threads.
pub(crate) struct SystemThreads;

impl Threads for SystemThreads {
    fn spawn(&self, name: &'static str, body: Body) -> io::Result<Box<dyn Thread>> {
        let thread = std::thread::Builder::new().name(name.into()).spawn(body)?;
        Ok(Box::new(SystemThread(thread)))
    }

    fn work(&self, body: Body) {
        tokio::task::spawn_blocking(body);
    }

    fn bell(&self) -> Arc<dyn Bell> {
        Arc::new(SystemBell::default())
    }

    fn tasks(&self) -> io::Result<Tasks> {
        // One worker: the core, the state machine task and the timers hand work to each other, and none
        // of them ever blocks.
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        Ok(Tasks::of(builder.worker_threads(1).thread_name("raft").enable_time().build()?))
    }
}

struct SystemThread(JoinHandle<()>);

impl Thread for SystemThread {
    fn join(self: Box<Self>) {
        // What made it panic was reported when it did.
        let _ = self.0.join();
    }
}

#[derive(Default)]
struct SystemBell {
    rung: Mutex<bool>,
    wake: Condvar,
}

impl SystemBell {
    fn lock(&self) -> MutexGuard<'_, bool> {
        self.rung.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bell for SystemBell {
    fn ring(&self) {
        // Who rang before has woken it, and it has not looked yet.
        if !std::mem::replace(&mut *self.lock(), true) {
            self.wake.notify_one();
        }
    }

    fn wait(&self, pause: Duration) -> bool {
        let waited = self.wake.wait_timeout_while(self.lock(), pause, |rung| !*rung);
        let (mut rung, _) = waited.unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *rung)
    }
}

/// A queue into a thread that sleeps at `bell`, and at nothing else.
pub(crate) fn queue<T>(bell: Arc<dyn Bell>) -> (Sender<T>, Receiver<T>) {
    let (sender, receiver) = mpsc::channel();
    (Sender { queue: Some(sender), bell: bell.clone() }, Receiver::new(receiver, bell))
}

/// The end that others have.
pub(crate) struct Sender<T> {
    /// `None` only while it is dropped.
    queue: Option<mpsc::Sender<T>>,
    bell: Arc<dyn Bell>,
}

impl<T> Sender<T> {
    /// # Errors
    /// Nobody takes it any more.
    pub(crate) fn send(&self, item: T) -> Result<(), SendError<T>> {
        let Some(queue) = &self.queue else { return Err(SendError(item)) };
        queue.send(item)?;
        self.bell.ring();
        Ok(())
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Sender { queue: self.queue.clone(), bell: self.bell.clone() }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        // Whoever waits for something has to hear that nothing comes any more.
        self.queue = None;
        self.bell.ring();
    }
}

/// The thread's end.
pub(crate) struct Receiver<T> {
    queue: mpsc::Receiver<T>,
    bell: Arc<dyn Bell>,
}

impl<T> Receiver<T> {
    /// Whoever puts something into the queue rings the bell after it.
    pub(crate) fn new(queue: mpsc::Receiver<T>, bell: Arc<dyn Bell>) -> Receiver<T> {
        Receiver { queue, bell }
    }

    /// What is there.
    pub(crate) fn try_recv(&self) -> Result<T, TryRecvError> {
        self.queue.try_recv()
    }

    /// The next item; it is waited for `pause` long, or a little longer.
    pub(crate) fn recv_timeout(&self, pause: Duration) -> Result<T, RecvTimeoutError> {
        loop {
            match self.queue.try_recv() {
                Ok(item) => return Ok(item),
                Err(TryRecvError::Disconnected) => return Err(RecvTimeoutError::Disconnected),
                // It may have been rung for what was taken before.
                Err(TryRecvError::Empty) if self.bell.wait(pause) => {}
                Err(TryRecvError::Empty) => {
                    return self.queue.try_recv().map_err(|_| RecvTimeoutError::Timeout);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn a_bell_remembers_one_ring() {
        let bell = SystemThreads.bell();
        bell.ring();
        bell.ring();
        assert!(bell.wait(LONG));
        assert!(!bell.wait(Duration::ZERO));
    }

    #[test]
    fn a_sleeping_thread_hears_of_an_item_and_of_the_end() {
        let (sender, receiver) = queue(SystemThreads.bell());
        let (told, heard) = mpsc::channel();
        let body = move || {
            while let Ok(item) = receiver.recv_timeout(LONG) {
                let _ = told.send(item);
            }
        };
        let thread = SystemThreads.spawn("test", Box::new(body)).expect("a thread");
        sender.send(1).expect("it is taken");
        assert_eq!(heard.recv_timeout(LONG), Ok(1));
        drop(sender);
        thread.join();
        assert_eq!(heard.try_recv(), Err(TryRecvError::Disconnected));
    }
}
