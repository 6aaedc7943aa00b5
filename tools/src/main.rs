//! `bramblectl`: look after Bramble members.
use std::process::ExitCode;

use bramble_tools::client::Connection;
use bramble_tools::status;
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
