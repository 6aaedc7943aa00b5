//! The `bramble` program: the library's member, plus flags, a log, signals and systemd.
//!
//! Ends with 0 after `--help`, 1 when something is wrong, 2 for a command line that cannot be
//! parsed, and by the signal itself (143, 130) when asked to stop; as process 1 that is 0.
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use bramble_server::config::{self, Config, Invocation, LogOutput, Notice};
use bramble_server::node::Node;
use bramble_server::version;
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

mod banner;
mod cgroup;
mod logging;

/// A stop that takes longer is ended: what was acknowledged is on the disk anyway.
const STOP_WITHIN: Duration = Duration::from_millis(4500);

fn main() -> ExitCode {
    let argv: Vec<String> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    let env = std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()));
    match config::read(&argv, env) {
        Ok(Invocation::Print(text)) => {
            // A closed pipe (`bramble --help | head`) is no error.
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Ok(Invocation::Run(mut config, mut notices)) => {
            notices.extend(cgroup::apply(&mut config));
            run(&config, &notices)
        }
        Err(error) => {
            eprintln!("bramble: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(config: &Config, notices: &[Notice]) -> ExitCode {
    if let Err(why) = logging::begin(&config.log) {
        eprintln!("bramble: {why}");
        return ExitCode::FAILURE;
    }
    info!(version = version::BRAMBLE, etcd = version::ETCD_SERVER, name = config.name, "starting bramble");
    for notice in notices {
        match notice {
            Notice::Info(text) => info!("{text}"),
            Notice::Warn(text) => warn!("{text}"),
        }
    }
    // For signals, accepting and timers; connections have threads of their own.
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = match builder.worker_threads(1).thread_name("main").enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => fail(config, &format!("cannot start threads: {error}")),
    };
    let ended = runtime.block_on(live(config));
    // Nothing that is left needs to be waited for.
    runtime.shutdown_background();
    match ended {
        Ok(stop) => stop.end(),
        Err(why) => fail(config, &why),
    }
}

/// Says why, on standard error in any case, and ends.
fn fail(config: &Config, why: &str) -> ! {
    error!("{why}");
    if !config.log.outputs.contains(&LogOutput::Stderr) {
        eprintln!("bramble: {why}");
    }
    leave(1);
}

/// Ends at once: threads of a failed member may hang in a disk call, and the engine's sleep for a second after
/// each error. Returning would wait for the first; `std::process::exit` runs what C++ has for the end, which
/// waits for the others. Nothing is left to be done: lines of the log are written as they come.
fn leave(status: i32) -> ! {
    signal_hook::low_level::exit(status)
}

/// Starts a member and keeps it until a signal or its failure.
async fn live(config: &Config) -> Result<Stop, String> {
    let mut stops = Stops::new().map_err(|error| format!("cannot handle signals: {error}"))?;
    let starting = Node::builder().config(config.clone()).build();
    let node = tokio::select! {
        started = starting => started.map_err(|error| error.to_string())?,
        stop = stops.next() => return Ok(stop),
    };
    let stop = tokio::select! {
        // Not by returning: that would close the engine, which waits for its threads.
        why = node.failed() => fail(config, &why),
        stop = stops.next() => stop,
        never = serve(config, &node) => match never {},
    };
    notify(NotifyState::Stopping);
    info!(signal = stop.name(), "stopping");
    tokio::select! {
        stopped = tokio::time::timeout(STOP_WITHIN, node.shutdown()) => match stopped {
            Ok(()) => info!("stopped"),
            Err(_) => warn!("not stopped in time; what was acknowledged is on the disk"),
        },
        _ = stops.next() => warn!("stopped at once by a second signal"),
    }
    Ok(stop)
}

/// Tells everybody when the member is ready; then there is nothing more to do.
async fn serve(config: &Config, node: &Node) -> std::convert::Infallible {
    while let Err(why) = node.ready(Duration::from_secs(10)).await {
        warn!(%why, "not ready yet");
    }
    let addrs = node.client_addrs();
    let listening: Vec<String> = config.listen_client.iter().map(ToString::to_string).collect();
    info!(addresses = ?addrs, urls = listening.join(","), data_dir = %config.data_dir.display(), "ready to serve client requests");
    notify(NotifyState::Ready);
    if std::io::stdout().is_terminal() {
        let _ = std::io::stdout().write_all(banner::text(config, &addrs, node.media()).as_bytes());
    }
    std::future::pending().await
}

/// Tells systemd, where there is one.
fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        warn!(%error, "cannot notify systemd");
    }
}

/// The signals that ask the member to stop.
struct Stops {
    terminate: Signal,
    interrupt: Signal,
}

/// The signal that did.
#[derive(Clone, Copy)]
struct Stop(SignalKind);

impl Stops {
    fn new() -> std::io::Result<Stops> {
        Ok(Stops { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> Stop {
        tokio::select! {
            _ = self.terminate.recv() => Stop(SignalKind::terminate()),
            _ = self.interrupt.recv() => Stop(SignalKind::interrupt()),
        }
    }
}

impl Stop {
    fn name(self) -> &'static str {
        if self.0 == SignalKind::interrupt() { "SIGINT" } else { "SIGTERM" }
    }

    /// Ends as if the signal had not been caught, so that whoever sent it sees its effect. The kernel
    /// protects process 1 from signals without a handler; there the end is a plain success.
    fn end(self) -> ! {
        if std::process::id() == 1 {
            leave(0);
        }
        let raised = signal_hook::low_level::emulate_default_handler(self.0.as_raw_value());
        // Reached only if the signal could not be raised; then its status is given by hand.
        let _ = raised;
        leave(128 + self.0.as_raw_value());
    }
}
