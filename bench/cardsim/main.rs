//! `cardsim`: cards that take their time and lose power, for any program that keeps files.
//!
//! ```text
//! cardsim run --card cheap -- bramble --data-dir {}       a program on a card, and what that did to the card
//! cardsim replay etcd.trace                               what recorded requests do to cards of all kinds
//! cardsim hold --file-system xfs                          a card for experiments with the power
//! cardsim kinds                                           the kinds of cards
//! ```
mod hold;
mod replay;
mod run;

use std::path::PathBuf;
use std::process::ExitCode;

use bramble_bench::cardsim::cost::{PRESETS, Preset};
use bramble_bench::cardsim::{Card, CardOptions};
use clap::{Args, Parser, Subcommand, ValueEnum};

/// Cards that take their time and lose power, for any program that keeps files. Times and wear are a model's.
#[derive(Parser)]
#[command(name = "cardsim", version)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Makes a card, runs a program on it, tells what that did to the card, and takes it down, also after Ctrl-C
    Run {
        #[command(flatten)]
        slot: Slot,
        /// What kind of card (`cardsim kinds`)
        #[arg(long, value_parser = preset)]
        card: Preset,
        /// Writes all requests to this file, for `cardsim replay`
        #[arg(long)]
        record: Option<PathBuf>,
        /// The card that a life is told for, in GB
        #[arg(long, default_value_t = 32.0)]
        card_gb: f64,
        /// How to print the report, on standard error
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
        /// The program and its arguments; {} is the card's folder, as is $CARD
        #[arg(required = true, last = true)]
        program: Vec<String>,
    },
    /// What recorded requests do to a card, without a card and without waiting
    Replay {
        /// The record: "seconds letters offset length" on each line; length 0 is a flush
        trace: PathBuf,
        /// What kind of card; all of them when nothing is said
        #[arg(long, value_parser = preset)]
        card: Option<Preset>,
        /// How often the record is replayed on the same card
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=1000))]
        times: u64,
        /// How many writes of clients the record has; without it its own "# puts N" counts
        #[arg(long)]
        puts: Option<u64>,
    },
    /// A card for experiments: prints its folder, then takes orders on standard input
    #[command(after_help = hold::HELP)]
    Hold {
        #[command(flatten)]
        slot: Slot,
        /// What kind of card it is as slow as; as fast as it goes when nothing is said
        #[arg(long, value_parser = preset)]
        card: Option<Preset>,
    },
    /// The kinds of cards
    Kinds,
}

/// What is made for a card.
#[derive(Args)]
struct Slot {
    /// The card's file system
    #[arg(long, value_enum, default_value_t = FileSystem::Ext4)]
    file_system: FileSystem,
    /// Mount options beside the defaults
    #[arg(long, default_value = "")]
    mount_options: String,
    /// Its size in MiB; xfs wants 300. It costs only what is written
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u64).range(16..=65536))]
    mib: u64,
    /// Where the card's image is kept
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    within: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum FileSystem {
    Ext4,
    Xfs,
}

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    Text,
    Json,
}

fn preset(name: &str) -> Result<Preset, String> {
    let names = PRESETS.map(|preset| preset.name).join(", ");
    Preset::named(name).ok_or_else(|| format!("the kinds are {names}"))
}

impl Slot {
    fn options(self, preset: Option<Preset>) -> CardOptions {
        let usual = match self.file_system {
            FileSystem::Ext4 => CardOptions::ext4(),
            FileSystem::Xfs => CardOptions::xfs(),
        };
        let (bytes, mount_options, within) = (self.mib << 20, self.mount_options, self.within);
        CardOptions { bytes, mount_options, within, preset, ..usual }
    }
}

fn main() -> ExitCode {
    match Line::parse().command {
        Command::Run { slot, card, record, card_gb, output, program } => {
            let options = slot.options(Some(card));
            possible(&options).unwrap_or_else(|| run::run(options, record, card_gb, output, &program))
        }
        Command::Hold { slot, card } => {
            let options = slot.options(card);
            possible(&options).unwrap_or_else(|| hold::hold(options))
        }
        Command::Replay { trace, card, times, puts } => replay::replay(&trace, card, times, puts),
        Command::Kinds => {
            for Preset { name, like, .. } in PRESETS {
                println!("{name:10} {like}");
            }
            ExitCode::SUCCESS
        }
    }
}

/// The end, when this machine cannot have such a card.
fn possible(options: &CardOptions) -> Option<ExitCode> {
    let missing = Card::missing(options.file_system)?;
    eprintln!("a card needs {missing}, which is not here");
    Some(ExitCode::FAILURE)
}
