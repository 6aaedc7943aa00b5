//! What the targets share: cutting an input into parts, and a member that is made anew now and then.
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bramble_server::config::Config;
use bramble_server::node::Node;
use bramble_server::node::budget::KINDS;
use bramble_store::disk::sim::SimDisk;
use bramble_store::engine::mem::Mem;
use tokio::runtime::Runtime;

/// How long anything may take; a loaded machine is slow.
pub const PATIENCE: Duration = Duration::from_secs(15);
/// Inputs that one member lives through. What it was asked to do, such as raising an alarm or asking
/// for passwords, would shut out all later inputs.
const INPUTS: u32 = 200;

/// A member in memory.
pub struct Member {
    /// Where everything runs.
    pub runtime: Runtime,
    node: Option<Node>,
    inputs: u32,
}

impl Member {
    /// The member of this process, for one input.
    pub fn of_process() -> MutexGuard<'static, Member> {
        static MEMBER: OnceLock<Mutex<Member>> = OnceLock::new();
        let new = || {
            // A Rust `main` ignores the signal that a closed connection sends; libFuzzer's does not.
            signal_hook::flag::register(signal_hook::consts::SIGPIPE, Arc::default()).expect("a handler");
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            Mutex::new(Member { runtime: runtime.expect("threads"), node: None, inputs: 0 })
        };
        let mut member = MEMBER.get_or_init(new).lock().unwrap_or_else(PoisonError::into_inner);
        member.prepare();
        member
    }

    fn prepare(&mut self) {
        self.inputs += 1;
        if self.inputs > INPUTS {
            self.stop();
        }
        if self.node.is_none() {
            self.inputs = 1;
            self.node = Some(self.runtime.block_on(start()));
        }
    }

    /// Ends it, which must not take long whatever is going on; the next input gets another.
    pub fn stop(&mut self) {
        let Some(node) = self.node.take() else { return };
        let stopped = async { tokio::time::timeout(PATIENCE, node.shutdown()).await };
        self.runtime.block_on(stopped).expect("it stops in time");
    }

    /// Whether clients have nothing any more, within `patience`.
    pub fn is_free(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while KINDS.iter().any(|kind| self.node().usage(*kind).used > 0) {
            if Instant::now() > deadline {
                return false;
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        true
    }

    /// The node.
    pub fn node(&self) -> &Node {
        self.node.as_ref().expect("prepared")
    }

    /// Nobody has taken anything for good, and the node answers.
    pub fn check(&self) {
        let used = || KINDS.map(|kind| (kind, self.node().usage(kind).used));
        assert!(self.is_free(PATIENCE), "not given back, or given back twice: {:?}", used());
        self.runtime.block_on(self.node().ready(PATIENCE)).expect("it answers");
    }
}

async fn start() -> Node {
    let mut config = Config::default();
    // The lowest there is: hashing a password is slow by intention.
    config.auth.bcrypt_cost = 4;
    let builder = Node::builder().config(config).data_dir(Path::new("/data")).name("fuzzed");
    let builder = builder.client_addr("127.0.0.1:0").storage(Arc::new(SimDisk::new(1)), Mem::new());
    let node = builder.build().await.expect("it starts");
    node.ready(PATIENCE).await.expect("it is ready");
    node
}

/// Cuts an input into parts: a length in two bytes, the lower one first, and so many bytes, as far as
/// there are.
#[derive(Debug)]
pub struct Parts<'a> {
    rest: &'a [u8],
}

impl<'a> Parts<'a> {
    /// All of `input`.
    pub fn new(input: &'a [u8]) -> Self {
        Parts { rest: input }
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// One byte; 0 at the end.
    pub fn byte(&mut self) -> u8 {
        let (first, rest) = self.rest.split_first().unwrap_or((&0, &[]));
        self.rest = rest;
        *first
    }

    /// The next part.
    pub fn bytes(&mut self) -> &'a [u8] {
        let length = u16::from_le_bytes([self.byte(), self.byte()]);
        let (bytes, rest) = self.rest.split_at(usize::from(length).min(self.rest.len()));
        self.rest = rest;
        bytes
    }

    /// The next part as text.
    pub fn text(&mut self) -> String {
        String::from_utf8_lossy(self.bytes()).into_owned()
    }

    /// Everything that is left.
    pub fn all(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }
}

/// The other way round, for seeds.
#[derive(Debug, Default)]
pub struct Input {
    /// The input so far.
    pub bytes: Vec<u8>,
}

impl Input {
    /// Adds one byte.
    pub fn byte(&mut self, byte: u8) -> &mut Self {
        self.bytes.push(byte);
        self
    }

    /// Adds what [`Parts::bytes`] cuts off.
    pub fn part(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend((bytes.len() as u16).to_le_bytes());
        self.bytes.extend(bytes);
        self
    }

    /// Adds what [`Parts::all`] gives.
    pub fn rest(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend(bytes);
        self
    }
}
