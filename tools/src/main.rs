//! `bramblectl`: look after Bramble members.
use std::fmt::Display;
use std::path::PathBuf;
use std::process::ExitCode;

use bramble_store::repair::RepairError;
use bramble_tools::client::Connection;
use bramble_tools::repair::{self, Told};
use bramble_tools::{import, status};
use clap::{Parser, Subcommand, ValueEnum};

/// Look after Bramble members. Speaks etcd's v3 API, so etcd members answer too.
#[derive(Parser)]
#[command(name = "bramblectl", version)]
struct Line {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    connection: Connection,
    /// How to print
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Subcommand)]
enum Command {
    /// What each endpoint says of itself; exit code 1 when one does not answer or reports an error
    Status,
    /// Makes a data directory from a snapshot of etcd (`etcdctl snapshot save`), or of Bramble
    Import {
        /// The snapshot
        file: PathBuf,
        /// Where the data goes: a directory that is missing or empty
        #[arg(long, env = "ETCD_DATA_DIR")]
        data_dir: PathBuf,
        /// How much higher revisions go on; everything before is compacted, so that whoever watched the old
        /// cluster is told to begin anew
        #[arg(long, default_value_t = import::RAISE, value_parser = clap::value_parser!(i64).range(1..))]
        bump_revision: i64,
        /// Keeps revisions and history as they are: for a copy beside the old cluster, never in its place
        #[arg(long, conflicts_with = "bump_revision")]
        keep_revisions: bool,
        /// Takes a file without a SHA-256 behind it, such as a copy of etcd's own (member/snap/db)
        #[arg(long)]
        skip_hash_check: bool,
    },
    /// Shows what is damaged in a data directory and what a repair would lose; repairs with --accept-loss.
    /// Exit code 0: nothing is damaged, or it is repaired; 1: it cannot be; 3: damaged, nothing was done
    Repair {
        /// The data directory of a server that does not run
        #[arg(long, env = "ETCD_DATA_DIR")]
        data_dir: PathBuf,
        /// The partition with its log, if the server is started with this flag
        #[arg(long, env = "ETCD_LOG_PARTITION")]
        log_partition: Option<PathBuf>,
        /// Repair, and lose what cannot be read any more; the damaged files are kept
        #[arg(long)]
        accept_loss: bool,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    Text,
    Json,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let line = Line::parse();
    match line.command {
        Command::Status => show_status(&line.connection, line.output).await,
        Command::Import { file, data_dir, bump_revision, keep_revisions, skip_hash_check } => {
            let raise = if keep_revisions { 0 } else { bump_revision };
            match import::run(&file, &data_dir, raise, skip_hash_check) {
                Ok(told) => {
                    match line.output {
                        Output::Text => print!("{}", told.text()),
                        Output::Json => println!("{}", told.json()),
                    }
                    ExitCode::SUCCESS
                }
                Err(error) => failed(&error),
            }
        }
        Command::Repair { data_dir, log_partition, accept_loss } => {
            repair(repair::run(&data_dir, log_partition.as_deref(), accept_loss), line.output)
        }
    }
}

fn failed(error: &dyn Display) -> ExitCode {
    eprintln!("Error: {error}");
    ExitCode::FAILURE
}

fn repair(done: Result<Told, RepairError>, output: Output) -> ExitCode {
    match done {
        Ok(told) => {
            match output {
                Output::Text => print!("{}", told.text()),
                Output::Json => println!("{}", told.json()),
            }
            match told {
                Told::Damaged { .. } => ExitCode::from(repair::DAMAGED),
                Told::Whole { .. } | Told::Repaired { .. } => ExitCode::SUCCESS,
            }
        }
        Err(error) => failed(&error),
    }
}

async fn show_status(connection: &Connection, output: Output) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for endpoint in &connection.endpoints {
        match status::ask(connection, endpoint).await {
            Ok(status) => {
                if !status.errors.is_empty() {
                    code = ExitCode::FAILURE;
                }
                match output {
                    Output::Text => println!("{}", status.text()),
                    Output::Json => println!("{}", status.json()),
                }
            }
            Err(error) => {
                eprintln!("Error: {error}");
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}
