//! Threads of which one runs at a time. Each has a task on the world's runtime that hands it the turn and
//! waits until it gives it back, which it does where the product's threads sleep: at their bells, and at
//! the disk. So the runtime's virtual time is theirs, and the order of all steps is the runtime's.
use std::cell::RefCell;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bramble_server::node::seams::{Bell, Body, Tasks, Thread, Threads};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::eye::Eye;

/// Room for a thread's frames: no stack of the product's is deep.
const STACK_BYTES: usize = 1 << 20;

thread_local! {
    /// How this thread gives its turn back; none in the runtime's own.
    static TURN: RefCell<Option<Turn>> = const { RefCell::new(None) };
}

struct Turn {
    gives_back: Sender<Word>,
    again: Receiver<bool>,
}

/// Why a thread gives its turn back.
enum Word {
    Wait(Arc<SimBell>, Duration),
    Sleep(Duration),
}

/// Gives the turn back; true when the thread was woken rather than time passed. In the runtime's own thread
/// nothing happens: a disk call from there takes no time.
fn give_back(word: Word) -> bool {
    TURN.with_borrow(|turn| {
        let Some(turn) = turn else { return false };
        let again = turn.gives_back.send(word).ok().and_then(|()| turn.again.recv().ok());
        again.unwrap_or_else(|| {
            // The world has ended, and its process is about to.
            loop {
                std::thread::park();
            }
        })
    })
}

/// Virtual time passes for this thread, and others have their turns.
pub fn pass(time: Duration) {
    give_back(Word::Sleep(time));
}

/// Hands out threads, bells and the runtime.
pub struct SimThreads {
    pub handle: Handle,
    pub eye: Arc<Eye>,
}

impl SimThreads {
    fn start(&self, name: &'static str, body: Body) -> io::Result<Arc<Actor>> {
        let (gives_back, words) = channel();
        let (go, again) = channel();
        let handle = self.handle.clone();
        let run = move || {
            if again.recv().is_err() {
                return;
            }
            // So that its clock is the runtime's.
            let _inside = handle.enter();
            TURN.set(Some(Turn { gives_back, again }));
            body();
            TURN.set(None);
        };
        std::thread::Builder::new().name(name.into()).stack_size(STACK_BYTES).spawn(run)?;
        let ended = Arc::new(SimBell::default());
        let actor =
            Arc::new(Actor { name, cue: Mutex::new((go, words)), over: AtomicBool::new(false), ended });
        self.handle.spawn(drive(actor.clone(), self.eye.clone()));
        Ok(actor)
    }
}

impl Threads for SimThreads {
    fn spawn(&self, name: &'static str, body: Body) -> io::Result<Box<dyn Thread>> {
        Ok(Box::new(SimThread(self.start(name, body)?)))
    }

    fn work(&self, body: Body) {
        self.start("work", body).expect("a thread for a test");
    }

    fn bell(&self) -> Arc<dyn Bell> {
        Arc::new(SimBellHandle(Arc::default()))
    }

    fn tasks(&self) -> io::Result<Tasks> {
        Ok(Tasks::at(self.handle.clone()))
    }
}

struct Actor {
    name: &'static str,
    cue: Mutex<(Sender<bool>, Receiver<Word>)>,
    over: AtomicBool,
    ended: Arc<SimBell>,
}

impl Actor {
    /// Lets it run until it gives the turn back; `None` when it has ended.
    fn turn(&self, woken: bool) -> Option<Word> {
        let cue = self.cue.lock().unwrap_or_else(PoisonError::into_inner);
        let word = cue.0.send(woken).ok().and_then(|()| cue.1.recv().ok());
        if word.is_none() && !self.over.swap(true, Ordering::SeqCst) {
            self.ended.rung.notify_one();
        }
        word
    }
}

/// The task of one thread.
async fn drive(actor: Arc<Actor>, eye: Arc<Eye>) {
    let mut woken = true;
    loop {
        if let Some(pause) = eye.preempts() {
            sleep(pause).await;
        }
        eye.begins(actor.name, woken);
        let word = actor.turn(woken);
        eye.turned(actor.name);
        match word {
            None => return,
            Some(Word::Wait(bell, pause)) => woken = timeout(pause, bell.rung.notified()).await.is_ok(),
            Some(Word::Sleep(pause)) => {
                sleep(pause).await;
                woken = false;
            }
        }
    }
}

struct SimThread(Arc<Actor>);

impl Thread for SimThread {
    fn join(self: Box<Self>) {
        let inside = TURN.with_borrow(Option::is_some);
        while !self.0.over.load(Ordering::SeqCst) {
            if inside {
                give_back(Word::Wait(self.0.ended.clone(), Duration::from_secs(3600)));
            } else {
                // Where no time can pass: a start that failed ends what it began.
                while self.0.turn(true).is_some() {}
            }
        }
    }
}

#[derive(Default)]
struct SimBell {
    rung: Notify,
}

struct SimBellHandle(Arc<SimBell>);

impl Bell for SimBellHandle {
    fn ring(&self) {
        self.0.rung.notify_one();
    }

    fn wait(&self, pause: Duration) -> bool {
        give_back(Word::Wait(self.0.clone(), pause))
    }
}
