//! What the targets share: a member that is made anew now and then; inputs are cut as the store's are.
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bramble_server::config::Config;
use bramble_server::node::Node;
use bramble_server::node::budget::KINDS;
use bramble_store::disk::sim::SimDisk;
use bramble_store::engine::mem::Mem;
use tokio::runtime::Runtime;

pub use bramble_store_fuzz::{Input, Parts};

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
