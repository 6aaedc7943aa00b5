//! From settings to a running node.
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use bramble_store::data_dir::DataDirError;
use bramble_store::disk::Disk;
use bramble_store::disk::real::RealDisk;
use bramble_store::engine::mem::Mem;
use bramble_store::error::Fatal;
use bramble_store::log::LogOptions;
use bramble_store::log_place::PlaceError;
use bramble_store::seams::{Clock, Entropy};
use bramble_store::watch::HubOptions;

use super::Node;
use super::seams::{Calendar, SystemCalendar, SystemClock, SystemEntropy, Threads};
use super::start;
pub use crate::auth::jwt_keys::KeyError;
use crate::config::{Config, ListenAddr, ListenUrl};
use crate::http::listen::ListenError;
use crate::media::Kernel;
use crate::threads::SystemThreads;

/// Why a node cannot start. Each text says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The data cannot be read, or the disk failed.
    #[error(transparent)]
    Fatal(#[from] Fatal),
    /// Files are damaged.
    #[error("{what}; {}", crate::failure::advice(data_dir, log_partition.as_deref()))]
    Damaged {
        /** Which, and how. */
        what: String,
        /** The data directory. */
        data_dir: PathBuf,
        /** The partition with its log, if that is not in it. */
        log_partition: Option<PathBuf>,
    },
    /// The log is not where it should be.
    #[error(transparent)]
    LogPlace(#[from] PlaceError),
    /// Consensus cannot start on what the log and the engine hold.
    #[error(transparent)]
    Raft(#[from] crate::raft::StartError),
    /// The keys of signed tokens cannot serve.
    #[error(transparent)]
    Tokens(#[from] KeyError),
    /// An address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// An address is not `ip:port` or `localhost:port`.
    #[error("{0}: not an address to listen on; write ip:port, such as 127.0.0.1:2379")]
    Address(String),
    /// A thread could not be made.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
}

impl StartError {
    /// The same; of damage with what to do.
    pub(super) fn advised(self, config: &Config) -> StartError {
        let damaged = match &self {
            StartError::Fatal(fatal) => fatal.is_damage(),
            StartError::DataDir(error) => matches!(error, DataDirError::Damaged { .. }),
            _ => false,
        };
        match damaged {
            true => StartError::Damaged {
                what: self.to_string(),
                data_dir: config.data_dir.clone(),
                log_partition: config.log_partition.clone(),
            },
            false => self,
        }
    }
}

/// Where the bytes go.
pub(super) enum Storage {
    /// Into the data directory, with RocksDB as engine.
    Directory,
    /// Into a disk of the caller's, with the engine in memory.
    Given { disk: Arc<dyn Disk>, engine: Mem },
}

/// Gathers what a node needs, then starts it. Without any call it is etcd's defaults.
pub struct Builder {
    pub(super) config: Config,
    pub(super) storage: Storage,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) calendar: Arc<dyn Calendar>,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) threads: Arc<dyn Threads>,
    /// `None` = looked for.
    pub(super) device_folder: Option<PathBuf>,
    /// `None` = as the device wants it.
    pub(super) log: Option<LogOptions>,
    pub(super) watch: Option<HubOptions>,
    pub(super) kernel: Kernel,
    /// Addresses given as text; checked when the node is built.
    client_addrs: Vec<String>,
}

impl Default for Builder {
    fn default() -> Self {
        Builder {
            config: Config::default(),
            storage: Storage::Directory,
            clock: Arc::new(SystemClock::start()),
            calendar: Arc::new(SystemCalendar),
            entropy: Arc::new(SystemEntropy),
            threads: Arc::new(SystemThreads),
            device_folder: None,
            log: None,
            watch: None,
            kernel: Kernel::default(),
            client_addrs: Vec::new(),
        }
    }
}

impl Builder {
    /// All settings at once; later calls change single ones.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Where the data lives.
    pub fn data_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.config.data_dir = dir.into();
        self
    }

    /// Keeps the log on this partition instead of in the data directory.
    pub fn log_partition(mut self, device: impl Into<PathBuf>) -> Self {
        self.config.log_partition = Some(device.into());
        self
    }

    /// The member's name.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.config.name = name.into();
        self
    }

    /// Serves clients at `ip:port` instead of where the settings say; port 0 lets the system choose.
    /// Call it once per address. Clients are told to come to the addresses really bound.
    pub fn client_addr(mut self, addr: impl Into<String>) -> Self {
        self.client_addrs.push(addr.into());
        self
    }

    /// Listens nowhere: only clients in this process.
    pub fn in_process_only(mut self) -> Self {
        self.config.listen_client.clear();
        self.config.listen_client_http.clear();
        self.config.listen_metrics.clear();
        self.config.advertise_client.clear();
        self
    }

    /// Keeps the log on `disk` and the state in `engine` instead of in files, for simulations. Start
    /// again with the same two to continue.
    pub fn storage(mut self, disk: Arc<dyn Disk>, engine: Mem) -> Self {
        self.storage = Storage::Given { disk, engine };
        self
    }

    /// Another source of time.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Another source of days, by which wear is counted.
    pub fn calendar(mut self, calendar: Arc<dyn Calendar>) -> Self {
        self.calendar = calendar;
        self
    }

    /// Where the kernel describes the device that holds the data, instead of looking for it under `/sys`: a
    /// container may see it elsewhere.
    pub fn device_folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.device_folder = Some(folder.into());
        self
    }

    /// Another source of random numbers.
    pub fn entropy(mut self, entropy: Arc<dyn Entropy>) -> Self {
        self.entropy = entropy;
        self
    }

    /// Another source of threads.
    pub fn threads(mut self, threads: Arc<dyn Threads>) -> Self {
        self.threads = threads;
        self
    }

    /// Other sizes of the log than the device's: a small ring comes round early.
    pub fn log(mut self, options: LogOptions) -> Self {
        self.log = Some(options);
        self
    }

    /// Other bounds of the watchers' queues than the profile's: with small ones watchers fall behind early.
    pub fn watch(mut self, options: HubOptions) -> Self {
        self.watch = Some(options);
        self
    }

    /// Looks for what the kernel says of devices and mounts elsewhere than in `/sys` and `/proc`.
    pub fn kernel(mut self, kernel: Kernel) -> Self {
        self.kernel = kernel;
        self
    }

    /// Starts the node. It must be called inside a tokio runtime, which serves its clients.
    ///
    /// # Errors
    /// [`StartError`] says what is wrong and what to do.
    pub async fn build(mut self) -> Result<Node, StartError> {
        if !self.client_addrs.is_empty() {
            let urls = std::mem::take(&mut self.client_addrs);
            self.config.listen_client = urls.iter().map(|addr| listen_url(addr)).collect::<Result<_, _>>()?;
            self.config.advertise_client.clear();
        }
        start::start(self).await
    }

    pub(super) fn disk(&self) -> Arc<dyn Disk> {
        match &self.storage {
            Storage::Directory => Arc::new(RealDisk),
            Storage::Given { disk, .. } => disk.clone(),
        }
    }
}

fn listen_url(addr: &str) -> Result<ListenUrl, StartError> {
    if let Some(port) = addr.strip_prefix("localhost:").and_then(|port| port.parse().ok()) {
        return Ok(ListenUrl { addr: ListenAddr::Localhost(port), tls: false });
    }
    addr.parse::<SocketAddr>().map(ListenUrl::tcp).map_err(|_| StartError::Address(addr.into()))
}
