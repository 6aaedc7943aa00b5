//! `pi`: what a board with a card makes of Bramble, etcd and SQLite, and whether that can be believed.
//!
//! ```text
//! place, board ─► course: quiet ─► measured, with a watch beside it ─► account ─► report.md, report.json, plots
//! ```
mod board;
mod clock;
mod course;
mod others;
mod place;
mod quiet;
mod report;
mod watch;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use bramble_bench::versus::{Programs, Rival, least};
use clap::{Parser, Subcommand};

use crate::board::{Board, Kind};
use crate::clock::Clock;
use crate::course::{Lengths, Plan};
use crate::others::Writers;
use crate::place::Place;
use crate::quiet::Window;
use crate::report::Account;

/// The run was disturbed: there is a report, but its figures do not count.
const INVALID: u8 = 3;
/// Room that a run may need.
const ROOM_BYTES: u64 = 3 << 30;
const ROOM_QUICK_BYTES: u64 = 256 << 20;

/// What a board with a card makes of Bramble, etcd and SQLite. Exit code 3: there is a report, but it does not count.
#[derive(Parser)]
#[command(name = "pi", version, args_conflicts_with_subcommands = true, arg_required_else_help = true)]
struct Line {
    #[command(subcommand)]
    serve: Option<Serve>,
    /// A folder on the card that is to be measured
    dir: Option<PathBuf>,
    /// Where the report is written: a folder that is not there, better not on that card
    #[arg(long, default_value = "report")]
    report: PathBuf,
    /// How long a workload at a pace takes; closed loops take a third, shapes of a log a tenth
    #[arg(long, default_value_t = 10.0, value_parser = minutes)]
    minutes: f64,
    /// How often everything is measured, by turns
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// A few seconds of everything, to see that it works
    #[arg(long)]
    quick: bool,
    /// The server `bramble`; the one beside this program when nothing is said
    #[arg(long)]
    bramble: Option<PathBuf>,
    /// A flag more for it, beside --profile=pi; may be repeated
    #[arg(long, allow_hyphen_values = true)]
    bramble_flag: Vec<String>,
    /// The server `etcd`; left out when it is not there
    #[arg(long, default_value = "/usr/bin/etcd")]
    etcd: PathBuf,
    /// Who takes part
    #[arg(long, value_enum, value_delimiter = ',', default_value = "bramble,etcd,sqlite")]
    rivals: Vec<Rival>,
    /// Only workloads whose name contains this, as in "50,000 keys, 3 puts/s"
    #[arg(long, default_value = "")]
    only: String,
    /// An emulator that our programs are run by, with its arguments
    #[arg(long, default_value = "")]
    through: String,
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

fn minutes(text: &str) -> Result<f64, String> {
    let minutes: f64 = text.parse().map_err(|_| "a number of minutes")?;
    if (0.1..=10_000.0).contains(&minutes) { Ok(minutes) } else { Err("0.1 to 10,000".into()) }
}

impl Line {
    fn lengths(&self) -> Lengths {
        let of = Duration::from_secs_f64;
        let window = |length, within| Window { length: of(length), within: of(within) };
        if self.quick {
            let (paced, closed, shape, window) = (of(2.0), of(0.5), of(0.3), window(0.3, 1.0));
            return Lengths { paced, closed, shape, window, workloads: 1 };
        }
        let paced = of(self.minutes * 60.0);
        Lengths { paced, closed: paced / 3, shape: paced / 10, window: window(10.0, 600.0), workloads: 2 }
    }

    fn programs(&self) -> Result<Programs, String> {
        let beside = || Some(std::env::current_exe().ok()?.parent()?.join("bramble"));
        let bramble = self.bramble.clone().or_else(beside).unwrap_or_else(|| "bramble".into());
        if self.rivals.contains(&Rival::Bramble) && !bramble.exists() {
            return Err(format!("Bramble is not at {}; --bramble says where it is", bramble.display()));
        }
        let own = self.bramble_flag.iter().cloned();
        let bramble_flags = std::iter::once("--profile=pi".to_owned()).chain(own).collect();
        let through = self.through.split_whitespace().map(str::to_owned).collect();
        Ok(Programs { bramble, etcd: self.etcd.clone(), bramble_flags, through })
    }

    /// Who can take part, and why the others cannot.
    fn rivals(&self, programs: &Programs) -> (Vec<Rival>, Vec<String>) {
        let missing = |rival: Rival| match rival {
            Rival::Etcd if !programs.etcd.exists() => {
                Some(format!("etcd is not at {} (Debian: apt install etcd-server)", programs.etcd.display()))
            }
            Rival::Etcd if !programs.through.is_empty() => {
                Some("etcd: an emulation is not compared with a program that is not emulated".to_owned())
            }
            _ => None,
        };
        let left_out = self.rivals.iter().filter_map(|rival| missing(*rival)).collect();
        (self.rivals.iter().copied().filter(|rival| missing(*rival).is_none()).collect(), left_out)
    }

    fn place(&self, dir: &Path) -> Result<Place, String> {
        if self.report.exists() {
            return Err(format!("{} is there already; --report names another folder", self.report.display()));
        }
        let place = Place::find(dir).map_err(|why| format!("{}: {why}", dir.display()))?;
        let room = if self.quick { ROOM_QUICK_BYTES } else { ROOM_BYTES };
        if place.free_bytes < room {
            let (free, room) = (place.free_bytes >> 20, room >> 20);
            return Err(format!("{} has {free} MiB free; {room} MiB are needed", dir.display()));
        }
        Ok(place)
    }

    async fn measure(&self, dir: &Path) -> Result<Account, String> {
        let (place, board, programs) = (self.place(dir)?, Board::find(), self.programs()?);
        let kind = board.kind(&place, &programs.through);
        eprintln!("figures are of: {kind}");
        let (clock, mut facts) = (Clock::find(), board.facts);
        facts.insert("clock held back, before".to_owned(), clock.told());
        let (rivals, left_out) = self.rivals(&programs);
        let plan = Plan {
            place: &place,
            programs: &programs,
            rivals: &rivals,
            lengths: self.lengths(),
            only: &self.only,
            runs: self.runs,
        };
        let course = tokio::select! {
            course = plan.run() => course,
            _ = tokio::signal::ctrl_c() => return Err("interrupted; there is no report".to_owned()),
        };
        let reasons = cannot_be_known(&kind, &place, clock.tells(), Writers::look(&[]).silent);
        facts.insert("clock held back, after".to_owned(), clock.told());
        facts.extend(revision().map(|revision| ("Bramble".to_owned(), revision)));
        facts.insert("Bramble's flags".to_owned(), programs.bramble_flags.join(" "));
        let quick = self.quick;
        Ok(Account { kind, quick, board: facts, place: place.facts, reasons, left_out, course })
    }
}

/// What a run that counts must know, and this one does not.
fn cannot_be_known(kind: &Kind, place: &Place, clock_tells: bool, silent: usize) -> Vec<String> {
    let nothing_counts = place.device.is_none().then(|| {
        "the folder is not on a disk of this machine, so bytes and flushes were not counted".to_owned()
    });
    // Times of an emulation mean nothing in any case.
    let no_clock = (!clock_tells && !matches!(kind, Kind::Emulation(_))).then(|| {
        "nothing here tells whether the clock was held back (vcgencmd is missing, or may not be run)"
            .to_owned()
    });
    // Of a few, not even root is told.
    let hidden = (silent > 0 && !rustix::process::geteuid().is_root())
        .then(|| format!("{silent} processes of others do not show what they write; root may see it"));
    nothing_counts.into_iter().chain(no_clock).chain(hidden).collect()
}

/// What this was made from, by a file above the folder of this program.
fn revision() -> Option<String> {
    board::word(&std::env::current_exe().ok()?.parent()?.parent()?.join("revision"))
}

async fn run(line: &Line) -> Result<ExitCode, String> {
    match (&line.serve, &line.dir) {
        (Some(Serve::ServeEcho { listen }), _) => {
            least::serve_echo(*listen).await.map_err(|why| why.to_string())?;
        }
        (Some(Serve::ServeSqlite { listen, dir }), _) => least::serve_sqlite(*listen, dir).await?,
        (None, None) => return Err("which folder? One on the card that is to be measured".to_owned()),
        (None, Some(dir)) => {
            let account = line.measure(dir).await?;
            account.write(&line.report)?;
            println!("{}\n{}", account.verdict(), line.report.join("report.md").display());
            account.invalid().iter().for_each(|reason| println!("- {reason}"));
            return Ok(if account.invalid().is_empty() { ExitCode::SUCCESS } else { INVALID.into() });
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[tokio::main]
async fn main() -> ExitCode {
    run(&Line::parse()).await.unwrap_or_else(|why| {
        eprintln!("pi: {why}");
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_known_is_a_reason() {
        let here = std::env::current_dir().expect("a folder");
        let place = Place { device: None, ..Place::find(&here).expect("its place") };
        let board = Kind::Board("Pi".to_owned());
        let hidden = usize::from(!rustix::process::geteuid().is_root());
        assert_eq!(cannot_be_known(&board, &place, false, 3).len(), 2 + hidden);
        let disk = Some(bramble_bench::disk::Device::named("mmcblk0"));
        let place = Place { device: disk, ..place };
        assert!(cannot_be_known(&board, &place, true, 0).is_empty());
        assert_eq!(cannot_be_known(&board, &place, false, 0).len(), 1);
        assert!(cannot_be_known(&Kind::Emulation("x".to_owned()), &place, false, 0).is_empty());
    }
}
