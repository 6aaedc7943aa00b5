//! Starting: open what is on disk, replay what the engine has not, serve.
//!
//! *Recovery is apply*: the engine holds what it had flushed, Raft hands the committed rest of
//! the log to the same apply thread as ever. Nothing is initialised again that was once written.
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, RwLock};

use bramble_store::data_dir::{DataDir, Ids};
use bramble_store::disk::Disk;
use bramble_store::engine::any::AnyEngine;
use bramble_store::engine::rocks::{Rocks, RocksOptions};
use bramble_store::log::{Log, LogOptions, Recovered};
use bramble_store::log_place::{LogPlace, Making, PlaceError};
use bramble_store::store::{self, Reader, Writer};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::apply::{Applier, Outlets, Pace, Work};
use super::background::scrub::Scrubber;
use super::background::{Background, Chores};
use super::budget::{Budget, Kind};
use super::builder::{Builder, StartError, Storage};
use super::client::Client;
use super::core::{self, Core, READS_MAX, State};
use super::desks::Desks;
use super::leases::{self, LeaseClock};
use super::media::{self, Found};
use super::memory::{Memory, engine_profile};
use super::outbox::Backlog;
use super::pump::{self, Feed, Pump};
use super::reads;
use super::snapshots::Snapshots;
use super::space::{self, RESERVE_BYTES, Space};
use super::waiters::Waiters;
use super::{Node, Parts, compactor, ids, scrape};
use crate::auth::passwords::Passwords;
use crate::auth::tokens::Tokens;
use crate::config::{Config, MetricsDetail};
use crate::failure::Failure;
use crate::http::access::Access;
use crate::http::listen::{Apps, Listeners};
use crate::media::Media;
use crate::metrics::{ApplyMeter, Device, MeteredDisk, Metrics};
use crate::raft::members::{self, Members, Peer};
use crate::raft::{self, Consensus, Occasion};
use crate::threads::{Sender, away, queue};
use crate::wear::{self, Wear};
use crate::{http, rpc};

/// A response of a watcher that allows fragments may be this much larger than the largest request.
const FRAGMENT_SLACK_BYTES: usize = 512 << 10;

/// What was on disk.
struct Opened {
    dir: DataDir,
    writer: Writer<AnyEngine>,
    reader: Reader<AnyEngine>,
    log: (Log, Recovered),
    media: Found,
    device: Option<Device>,
    memory: Memory,
}

pub(super) async fn start(builder: Builder) -> Result<Node, StartError> {
    // Before the data: a second process that serves the same port is told so, not the directory's lock.
    let listeners = Listeners::bind(&builder.config)?;
    let client_urls = client_urls(&builder.config, &listeners);
    let (metrics, apply_meter) = Metrics::new(builder.config.warn_apply);
    let metrics = Arc::new(metrics);
    if builder.config.metrics == MetricsDetail::Extensive {
        metrics.calls.show_all();
    }
    let counting = metrics.clone();
    let threads = builder.threads.clone();
    let opening = away(&*threads, move || match open(&builder, &counting) {
        Ok(opened) => Ok((opened, builder)),
        Err(error) => Err(error.advised(&builder.config)),
    });
    let panicked = || StartError::Thread(std::io::Error::other("it panicked while it opened the data"));
    let (opened, builder) = opening.await.ok_or_else(panicked)??;
    let meters = Meters { metrics, apply: apply_meter };
    let bodies_bytes = opened.memory.bodies_bytes;
    let (core, mut parts, dir) = assemble(builder, opened, client_urls, meters).await?;
    scrape::begin(&core);
    parts.dir = Some(dir);
    parts.started = true;
    let client = Client::new(core.clone());
    parts.addrs = listeners.addrs();
    parts.served = Some(serve(&core, listeners, client, bodies_bytes).map_err(StartError::Thread)?);
    Ok(Node { core, parts: Some(parts) })
}

fn open(builder: &Builder, metrics: &Metrics) -> Result<Opened, StartError> {
    let config = &builder.config;
    let member = ids::member_id(&config.advertise_peer, &config.initial_cluster_token);
    // Not 0, so that "no instance" can be told from one.
    let instance = builder.entropy.next_u64().max(1);
    let new_ids = Ids { cluster: ids::cluster_id(&[member]), member, instance };
    let disk: Arc<dyn Disk> = Arc::new(MeteredDisk { disk: builder.disk(), meter: metrics.disk.clone() });
    let dir = DataDir::open(disk.clone(), &config.data_dir, new_ids)?;
    let media = media::find(builder, &*disk);
    let memory = Memory::within(config.profile, config.memory_max_bytes);
    let settings = media.choice.kind.settings();
    // Before the engine: a directory that is not the partition's gets none.
    let place = log_place(builder, disk, &dir, media.choice.kind)?;
    let engine = match &builder.storage {
        Storage::Given { engine, .. } => AnyEngine::from(engine.clone()),
        Storage::Directory => {
            let profile = engine_profile(config.profile);
            let rate_bytes_max = settings.background_bytes_per_s;
            let options = RocksOptions { profile, memory: Some(memory.engine), rate_bytes_max };
            AnyEngine::from(Rocks::open(&dir.engine_path(), options)?)
        }
    };
    let (writer, reader) = store::open(engine)?;
    let log = Log::open(place.disk, &place.dir, place.options)?;
    log.1.fits(writer.applied())?;
    let device = device(builder);
    let devices = devices(device.as_ref(), config);
    metrics.add_source(move |scrape| Device::tell(&devices, scrape));
    if log.1.torn_frames > 0 {
        tracing::warn!(frames = log.1.torn_frames, "the log's last write was torn and has been cut off");
    }
    Ok(Opened { dir, writer, reader, log, media, device, memory })
}

/// Where the log lies: in the data directory, or on the partition that is given for it.
fn log_place(
    builder: &Builder,
    disk: Arc<dyn Disk>,
    dir: &DataDir,
    media: Media,
) -> Result<LogPlace, PlaceError> {
    let options = builder.log.clone().unwrap_or_else(|| log_options(media));
    let device = builder.config.log_partition.as_deref();
    let making = |device| (device, Making::with_id(builder.entropy.next_u64()));
    let place = LogPlace::find(disk, dir, device.map(making), options)?;
    if let Some(device) = device {
        let (moved, segment_bytes) = (place.moved, place.options.segment_bytes);
        tracing::info!(device = %device.display(), moved, segment_bytes, "the log lies on a partition of its own");
    }
    Ok(place)
}

/// Those whose work is told: of the data, and of the log if that is another.
fn devices(data: Option<&Device>, config: &Config) -> Vec<Device> {
    let of_log = config.log_partition.as_deref().and_then(Device::under);
    let of_log = of_log.filter(|device| Some(device) != data);
    data.cloned().into_iter().chain(of_log).collect()
}

/// The one that holds the data, if it can be seen.
fn device(builder: &Builder) -> Option<Device> {
    match (&builder.device_folder, &builder.storage) {
        (Some(folder), _) => Some(Device::at(folder)),
        (None, Storage::Directory) => Device::under(&builder.config.data_dir),
        (None, Storage::Given { .. }) => None,
    }
}

fn log_options(media: Media) -> LogOptions {
    let settings = media.settings();
    LogOptions {
        frame_align: settings.frame_align,
        segment_bytes: settings.segment_bytes,
        ring_segments: settings.ring_segments,
        keep_free_bytes: RESERVE_BYTES,
        // Entries that may be asked for again are kept in memory by the raft side.
        recent_bytes: 0,
        ..LogOptions::default()
    }
}

/// What the answers of one group of commands may take: they are made before anybody can be asked for room.
fn answers_at_once(memory: &Memory) -> usize {
    memory.clients[Kind::AnswerBytes as usize].all / 4
}

fn client_urls(config: &Config, listeners: &Listeners) -> Vec<String> {
    if !config.advertise_client.is_empty() {
        return config.advertise_client.clone();
    }
    let scheme = if config.listen_client.iter().any(|url| url.tls) { "https" } else { "http" };
    listeners.addrs().iter().map(|addr| format!("{scheme}://{addr}")).collect()
}

/// What is counted, and the part of it that is the apply thread's own.
struct Meters {
    metrics: Arc<Metrics>,
    apply: ApplyMeter,
}

/// Makes the threads and joins them by their queues.
async fn assemble(
    builder: Builder,
    opened: Opened,
    client_urls: Vec<String>,
    Meters { metrics, apply: apply_meter }: Meters,
) -> Result<(Arc<Core>, Parts, DataDir), StartError> {
    let disk = builder.disk();
    let Builder { config, clock, calendar, entropy, threads, .. } = builder;
    let Opened { dir, mut writer, reader, log, media: found, device, memory } = opened;
    let timing = config.timing(found.choice.kind);
    writer.keep_answers(answers_at_once(&memory));
    let failure = Failure::new(&config.data_dir).with_log_on(config.log_partition.as_deref());
    let sources = wear::Sources {
        disk: metrics.disk.clone(),
        log: metrics.log.clone(),
        engine: metrics.flushes.clone(),
        device,
        clock: clock.clone(),
        calendar,
    };
    let medium = wear::Medium { media: found.choice.kind, endurance_bytes: config.card_endurance_bytes };
    let wear = Arc::new(Wear::begin(sources, medium, log.1.note.as_ref()));
    let ids = dir.ids();
    // Imported: nobody's cluster until now. Lost with the engine's memory, it is made again.
    if writer.applied().is_some() && reader.view().membership().is_none() {
        writer.begin_membership(members::encode(&first_members(&config, ids, &client_urls)))?;
    }
    let view = reader.view();
    let (applied, membership) = (writer.applied(), view.membership().cloned());
    drop(view);
    let flusher = writer.flusher();
    let command_bytes_max = log.0.entry_bytes_max().min(config.request_bytes_max as u64);
    let waiters = Arc::new(Waiters::default());
    let leases = Arc::new(LeaseClock::new(clock.clone(), config.lease_checkpoints));
    let tokens = Arc::new(Tokens::open(&config.auth.tokens, clock.clone())?);
    let pump_shared = Arc::new(pump::Shared::new(threads.bell(), memory.feed_bytes));
    let (chores, chore_queue) = Chores::queue(threads.bell());
    let (position_sender, position) = watch::channel(applied);
    let (scrubbed_sender, scrubbed) = watch::channel(-1);
    let nudge = chores.clone();
    let outlets = Outlets {
        member: ids.member,
        waiters: waiters.clone(),
        feed: Feed(pump_shared.clone()),
        leases: leases.clone(),
        tokens: tokens.clone(),
        born_after: log.1.last.map_or(0, |last| last.index),
        position: position_sender,
        scrubbed: scrubbed_sender,
        nudge_flush: Box::new(move || nudge.nudge()),
        failure: failure.clone(),
        meter: apply_meter,
        wear: wear.clone(),
    };
    // From here on a failure to start must not leave threads behind: `parts` stops them when dropped.
    let mut parts =
        Parts::new(pump_shared.clone(), chores.clone(), waiters.clone(), threads.clone(), failure.clone());
    let (work, work_queue) = queue(threads.bell());
    let applier = Applier::new(writer, outlets, pace(&config), clock.clone());
    let thread = threads.spawn("apply", Box::new(move || applier.run(&work_queue)));
    parts.run_applier(work.clone(), thread.map_err(StartError::Thread)?);
    let pump = Pump {
        shared: pump_shared.clone(),
        reader: reader.clone(),
        clock: clock.clone(),
        entropy: entropy.clone(),
        progress_every: config.watch_progress,
        fragment_bytes: config.request_bytes_max + FRAGMENT_SLACK_BYTES,
        hub_options: builder.watch.unwrap_or(memory.watch),
        failure: failure.clone(),
    };
    parts.pump = Some(pump.spawn(&*threads).map_err(StartError::Thread)?);
    let raft = Consensus::start(raft::Start {
        id: ids.member,
        first: first_members(&config, ids, &client_urls),
        heartbeat: timing.heartbeat,
        election: timing.election,
        log,
        applied,
        membership,
        apply: inbox(work.clone()),
        threads: threads.clone(),
        clock: clock.clone(),
        failure: failure.clone(),
        meter: metrics.log.clone(),
        notes: notes(wear.clone()),
        tail_bytes_max: memory.log_tail_bytes,
    })
    .await?;
    let raft = Arc::new(raft);
    parts.raft = Some(raft.clone());
    let background = Background {
        flusher: flusher.clone(),
        applier: work,
        raft: raft.clone(),
        applied: position.clone(),
        budget_bytes: memory.engine.memtable_bytes as u64,
        chores: chores.clone(),
        threads: threads.clone(),
        failure: failure.clone(),
        meter: metrics.flushes.clone(),
        defrags: metrics.defrag.clone(),
        wear: wear.clone(),
    };
    parts.flusher = Some(flusher.clone());
    let scrub = Scrubber::new(clock.clone(), config.scrub_interval, metrics.scrub.clone());
    let scrubbing = background.spawn(&*threads, chore_queue, scrub, raft.log_reader());
    parts.background = Some(scrubbing.map_err(StartError::Thread)?);
    let (meter, scrub_clock) = (metrics.scrub.clone(), clock.clone());
    metrics.add_source(move |scrape| meter.tell(&*scrub_clock, scrape));
    let (reads, read_queue) = mpsc::channel(READS_MAX);
    parts.tasks.push(raft.spawn(core::serve_barriers(raft.clone(), read_queue)));
    let auto_compaction = config.auto_compaction;
    let passwords = Passwords::new(config.auth.bcrypt_cost);
    let budget = Budget::new(memory.clients);
    let in_flight_kib = found.choice.kind.settings().in_flight_bytes.min(memory.proposals_bytes as u64) >> 10;
    let space = Space::new(config.quota_bytes, disk.clone(), &config.data_dir);
    let counter = AtomicU64::new(entropy.next_u64() >> 8);
    let desks = Desks::of_this_machine(&*threads).map_err(StartError::Thread)?;
    let scans = Desks::new(&*threads, reads::SCANS).map_err(StartError::Thread)?;
    let core = Arc::new(Core {
        ids,
        config,
        media: found.choice,
        timing,
        command_bytes_max,
        client_urls,
        clock,
        entropy,
        threads,
        raft: raft.clone(),
        state: RwLock::new(Some(State { reader, flusher })),
        waiters,
        position,
        scrubbed,
        leases,
        pump: pump_shared,
        chores,
        tokens,
        passwords,
        failure,
        stop: CancellationToken::new(),
        closed: CancellationToken::new(),
        counter,
        streams: AtomicU64::new(0),
        in_flight: Arc::new(Semaphore::new(in_flight_kib as usize)),
        in_flight_kib_max: in_flight_kib as usize,
        desks,
        scans,
        snapshots: Snapshots::default(),
        own_share: budget.in_process(),
        backlog: Backlog::new(memory.unread_bytes),
        budget,
        space,
        reads,
        settled_term: AtomicU64::new(0),
        metrics,
        wear,
    });
    parts.tasks.push(raft.spawn(leases::run(core.clone())));
    parts.tasks.push(raft.spawn(space::keep(core.clone())));
    parts.tasks.push(raft.spawn(abandon_on_failure(core.clone())));
    if found.has_work() {
        parts.tasks.push(raft.spawn(media::keep(core.clone(), found, disk)));
    }
    if let Some(setting) = auto_compaction {
        parts.tasks.push(raft.spawn(compactor::run(core.clone(), setting)));
    }
    Ok((core, parts, dir))
}

fn pace(config: &Config) -> Pace {
    Pace { rows_max: config.compaction_batch, pause: config.compaction_pause, warn_after: config.warn_apply }
}

/// The membership that a new data directory begins with: this member, the only voter.
fn first_members(config: &Config, ids: Ids, client_urls: &[String]) -> Members {
    let peer = Peer {
        instance: ids.instance,
        name: config.name.clone(),
        peer_urls: config.advertise_peer.clone(),
        client_urls: client_urls.to_vec(),
    };
    Members::sole(ids.member, peer)
}

/// A failed node answers nobody any more: those who wait are told at once.
async fn abandon_on_failure(core: Arc<Core>) {
    core.failure.wait().await;
    core.waiters.abandon();
    core.pump.close();
}

/// The account of wear rides in the log.
fn notes(wear: Arc<Wear>) -> raft::Notes {
    Box::new(move |occasion| match occasion {
        Occasion::Frames => wear.note_if_due(),
        Occasion::Seal => Some(wear.note()),
        Occasion::Nothing => wear.note_if_worth_a_write(),
    })
}

fn inbox(work: Sender<Work>) -> raft::Inbox {
    // Raft's tasks share one thread, but the inbox must be usable from any.
    let work = std::sync::Mutex::new(work);
    Box::new(move |group| {
        let work = work.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        work.send(Work::Group(group)).is_ok()
    })
}

fn serve(
    core: &Arc<Core>,
    listeners: Listeners,
    client: Client,
    bodies_bytes: usize,
) -> std::io::Result<tokio::task::JoinHandle<()>> {
    let limits = rpc::RpcLimits {
        request_bytes_max: core.config.request_bytes_max,
        txn_ops_max: core.config.txn_ops_max,
        slow: rpc::Thresholds { request: core.config.warn_request, apply: core.config.warn_apply },
    };
    let rpc = rpc::counted(rpc::routes(client.clone(), limits), core.metrics.calls.clone());
    let scrapes = http::metrics::routes(core.metrics.clone());
    let scrapes = scrapes.merge(http::wear::routes(client.clone()));
    let mut http = http::routes(client.clone()).merge(scrapes.clone());
    let mut access = Access::new(&core.config.cors, &core.config.host_whitelist);
    if core.config.gateway {
        access = access.with_gateway(client.clone());
        let sizes = http::gateway::Sizes { message_bytes_max: limits.message_bytes_max(), bodies_bytes };
        http = http.merge(http::gateway::routes(rpc.clone(), sizes, core.desks.clone()));
    }
    let metrics = http::health::probes(client).merge(scrapes);
    let apps = Apps { rpc, http, metrics, access, budget: core.budget.clone() };
    listeners.serve(apps, core.stop.clone())
}
