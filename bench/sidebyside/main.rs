//! `sidebyside`: the same work on Bramble, etcd, SQLite and an echo, in turn, each on a fresh ext4 on a loop device
//! or a modelled card.
//!
//! ```text
//! sidebyside --within /var/tmp --runs 3 --paced-seconds 600 --json figures.json > figures.md
//! ```
mod ground;
mod scenes;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bramble_bench::cardsim::cost::{PRESETS, Preset};
use bramble_bench::cardsim::{Card, CardOptions};
use bramble_bench::disk::Disk;
use bramble_bench::shape::{Log, Shape};
use bramble_bench::versus::{Figures, Programs, Report, Rival, Running, Scene, WARM_UP, least};
use clap::{Parser, Subcommand};

use crate::ground::Ground;
use crate::scenes::{Lengths, SCENES};

/// After a start, until memory is looked at; and how long nothing is written when files are made.
const IDLE: Duration = Duration::from_secs(3);

/// Writers are done with what they put off, file systems too.
const QUIET_AFTER: Duration = Duration::from_secs(90);

/// The same work on Bramble and its rivals, in turn, each on a fresh ext4 on a loop device; needs root.
#[derive(Parser)]
#[command(name = "sidebyside", version, args_conflicts_with_subcommands = true)]
struct Line {
    #[command(subcommand)]
    serve: Option<Serve>,
    /// The server `bramble`; the one beside this program when nothing is said
    #[arg(long)]
    bramble: Option<PathBuf>,
    /// A flag more for it; may be repeated
    #[arg(long, allow_hyphen_values = true)]
    bramble_flag: Vec<String>,
    /// etcd
    #[arg(long, default_value = "/usr/bin/etcd")]
    etcd: PathBuf,
    /// Who takes part
    #[arg(long, value_enum, value_delimiter = ',', default_value = "bramble,etcd,sqlite,echo")]
    rivals: Vec<Rival>,
    /// Only scenes whose name contains this
    #[arg(long, default_value = "")]
    only: String,
    /// Where the images of the disks lie: on the disk that is to be measured
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    within: PathBuf,
    /// The disks' mount options beside the defaults
    #[arg(long, default_value = "")]
    mount_options: String,
    /// On a card of this kind (`cardsim kinds`), which takes its time and keeps an account; not on a loop device
    #[arg(long, value_parser = preset)]
    card: Option<Preset>,
    /// Size of a disk in MiB
    #[arg(long, default_value_t = 2048)]
    mib: u64,
    /// How often each is measured, by turns
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// Seconds of a paced scene
    #[arg(long, default_value_t = 60)]
    paced_seconds: u64,
    /// Seconds of the others
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Seconds that servers are left alone after their scenes, to see what they write; 0 skips it
    #[arg(long, default_value_t = 0)]
    idle_seconds: u64,
    /// Writes every figure of every run there, too
    #[arg(long)]
    json: Option<PathBuf>,
    /// Writes plots into this folder, as SVG
    #[arg(long)]
    plots: Option<PathBuf>,
}

fn preset(name: &str) -> Result<Preset, String> {
    let names = PRESETS.map(|preset| preset.name).join(", ");
    Preset::named(name).ok_or_else(|| format!("the kinds are {names}"))
}

#[derive(Subcommand)]
enum Serve {
    /// An echo, for ever
    #[command(hide = true)]
    ServeEcho { listen: SocketAddr },
    /// SQLite in a folder, for ever
    #[command(hide = true)]
    ServeSqlite { listen: SocketAddr, dir: PathBuf },
}

impl Line {
    fn lengths(&self) -> Lengths {
        let (paced, closed) = (Duration::from_secs(self.paced_seconds), Duration::from_secs(self.seconds));
        Lengths { paced, closed }
    }

    fn scenes(&self) -> impl Iterator<Item = &'static Scene> {
        SCENES.iter().filter(|scene| scene.name.contains(&self.only))
    }

    fn programs(&self) -> Result<Programs, String> {
        let beside = || Some(std::env::current_exe().ok()?.parent()?.join("bramble"));
        let bramble = self.bramble.clone().or_else(beside).unwrap_or_else(|| "bramble".into());
        let (etcd, mut bramble_flags) = (self.etcd.clone(), self.bramble_flag.clone());
        for (rival, program) in [(Rival::Bramble, &bramble), (Rival::Etcd, &etcd)] {
            if self.rivals.contains(&rival) && !program.exists() {
                return Err(format!("{} is not at {}", rival.name(), program.display()));
            }
        }
        if self.card.is_none() && !bramble_flags.iter().any(|flag| flag.starts_with("--media")) {
            // Or the probe of a first start would land in the account.
            bramble_flags.push("--media=ssd".into());
        }
        Ok(Programs { bramble, etcd, bramble_flags, through: Vec::new() })
    }

    fn ground(&self) -> Result<Ground, String> {
        let bytes = self.mib << 20;
        let ground = match self.card {
            None => Disk::make(bytes, &self.within, &self.mount_options).map(Ground::Loop),
            Some(_) => {
                let (within, mount_options) = (self.within.clone(), self.mount_options.clone());
                let options =
                    CardOptions { bytes, within, mount_options, preset: self.card, ..CardOptions::ext4() };
                Card::make(options).map(|card| Ground::Card(Box::new(card)))
            }
        };
        ground.map_err(|why| why.to_string())
    }

    async fn compare(&self) -> Result<Report, String> {
        let (programs, mut report) = (self.programs()?, Report::default());
        for run in 1..=self.runs {
            self.overwrites(&mut report).await?;
            for rival in &self.rivals {
                eprintln!("run {run} of {}: {}", self.runs, rival.name());
                self.run(*rival, &programs, &mut report).await?;
            }
        }
        Ok(report)
    }

    /// The paced scenes' writes, bare.
    async fn overwrites(&self, report: &mut Report) -> Result<(), String> {
        for scene in self.scenes() {
            let Some(rate) = scene.rate else { continue };
            let ground = self.ground()?;
            let mut bare = Log::make(Shape::Overwrite4k, &ground.files()).map_err(|why| why.to_string())?;
            let (before, measured) = (ground.asked()?, self.lengths().paced);
            ground.open_account();
            let times = tokio::task::spawn_blocking(move || bare.run(Some(rate), measured));
            let times = times.await.map_err(|why| why.to_string())?.map_err(|why| why.to_string())?;
            let mut figures: Figures = (ground.asked()? - before).figures(times.count as f64).into();
            figures.extend(ground.account(rate, measured)?);
            report.add(scene.name, Rival::Bare, figures);
        }
        Ok(())
    }

    async fn run(&self, rival: Rival, programs: &Programs, report: &mut Report) -> Result<(), String> {
        let ground = self.ground()?;
        let data = ground.files().join("data");
        std::fs::create_dir(&data).map_err(|why| why.to_string())?;
        let server = Running::start(rival, programs, &data).await.map_err(|why| why.to_string())?;
        quiet(&ground).await?;
        report.add("idle", rival, standing(&server)?);
        for scene in self.scenes().filter(|scene| scene.is_for(rival)) {
            let channels = scene.connect(&server).await?;
            let (device, length) = (ground.device(), self.lengths().of(scene));
            ground.open_account();
            let mut measured = scene.measure(&server, &channels, device.as_ref(), length).await?;
            let per_s = measured.figures.get("per s").copied().unwrap_or_default();
            measured.figures.extend(ground.account(per_s, length + WARM_UP)?);
            report.add_measured(scene.name, rival, measured);
        }
        if self.idle_seconds > 0 && rival != Rival::Echo {
            report.add("left alone", rival, self.left_alone(&server, &ground).await?);
        }
        let server = server.restart(programs).await.map_err(|why| why.to_string())?;
        tokio::time::sleep(IDLE).await;
        report.add("after a restart", rival, standing(&server)?);
        Ok(())
    }
}

impl Line {
    /// What a server does that nobody asks anything.
    async fn left_alone(&self, server: &Running, ground: &Ground) -> Result<Figures, String> {
        tokio::time::sleep(QUIET_AFTER).await;
        let taken = || server.taken().map_err(|why| why.to_string());
        let (before, cpu_s) = (ground.asked()?, taken()?.cpu_s);
        tokio::time::sleep(Duration::from_secs(self.idle_seconds)).await;
        let (asked, per_s) = (ground.asked()? - before, 1.0 / self.idle_seconds as f64);
        Ok(Figures::from([
            ("device B in all", asked.bytes as f64),
            ("writes in all", asked.writes as f64),
            ("flushes in all", asked.flushes as f64),
            ("CPU ms/s", (taken()?.cpu_s - cpu_s) * 1e3 * per_s),
        ]))
    }
}

/// Waits until a server that was just started has made its files: nothing is written for [`IDLE`].
async fn quiet(ground: &Ground) -> Result<(), String> {
    let (begun, mut before) = (Instant::now(), ground.asked()?);
    loop {
        tokio::time::sleep(IDLE).await;
        let now = ground.asked()?;
        if now == before || begun.elapsed() > QUIET_AFTER {
            return Ok(());
        }
        before = now;
    }
}

/// What a server is without work.
fn standing(server: &Running) -> Result<Figures, String> {
    let taken = server.taken().map_err(|why| why.to_string())?;
    let started_ms = server.started_in.as_secs_f64() * 1e3;
    Ok(Figures::from([("RSS MB", taken.resident_bytes as f64 / 1e6), ("start ms", started_ms)]))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|why| format!("cannot write {}: {why}", path.display()))
}

fn write_plots(dir: &Path, report: &Report, on: &str) -> Result<(), String> {
    std::fs::create_dir_all(dir).map_err(|why| format!("cannot make {}: {why}", dir.display()))?;
    for plot in report.plots(on).map_err(|why| why.to_string())? {
        write(&dir.join(&plot.file), &plot.svg)?;
    }
    Ok(())
}

async fn run(line: &Line) -> Result<(), String> {
    match &line.serve {
        Some(Serve::ServeEcho { listen }) => least::serve_echo(*listen).await.map_err(|why| why.to_string()),
        Some(Serve::ServeSqlite { listen, dir }) => least::serve_sqlite(*listen, dir).await,
        None => {
            let report = line.compare().await?;
            println!("{}", report.markdown(""));
            if let Some(path) = &line.json {
                write(path, &format!("{:#}\n", report.json()))?;
            }
            line.plots.as_ref().map_or(Ok(()), |dir| {
                let on = line.card.map_or("on a loop device".to_owned(), |card| {
                    format!("on {}, a modelled card", card.name)
                });
                write_plots(dir, &report, &on)
            })
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Line::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("sidebyside: {why}");
            ExitCode::FAILURE
        }
    }
}
