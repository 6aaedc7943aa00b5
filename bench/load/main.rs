//! `load`: work for any v3 endpoint, and how long it took.
//!
//! ```text
//! load put --clients 64 --value-bytes 1024 --seconds 30
//! load put --clients 4 --rate 10
//! load watch --watchers 100 --clients 1
//! ```
use std::process::ExitCode;
use std::time::Duration;

use bramble_bench::load::{self, Data, Plan, Summary, Work};
use bramble_tools::client::Connection;
use clap::{Parser, Subcommand, ValueEnum};
use tonic::transport::Channel;

/// Work for any v3 endpoint, and how long it took. Fill the keys first (--fill) for what reads.
#[derive(Parser)]
#[command(name = "load", version)]
struct Line {
    #[command(subcommand)]
    kind: Kind,
    #[command(flatten)]
    connection: Connection,
    /// Connections to each endpoint, which clients share
    #[arg(long, global = true, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: u32,
    /// How many work at a time
    #[arg(long, global = true, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    clients: u32,
    /// Requests a second of all clients together; without it each asks when it is answered
    #[arg(long, global = true, value_parser = rate)]
    rate: Option<f64>,
    /// How many keys
    #[arg(long, global = true, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    keys: u64,
    /// Puts every key once before
    #[arg(long, global = true)]
    fill: bool,
    /// Bytes of a value
    #[arg(long, global = true, default_value_t = 1024, value_parser = value_bytes)]
    value_bytes: usize,
    /// How much of a value does not compress, in percent
    #[arg(long, global = true, default_value_t = 50, value_parser = clap::value_parser!(u8).range(0..=100))]
    noise_percent: u8,
    /// How long is measured
    #[arg(long, global = true, default_value_t = 10.0, value_parser = seconds)]
    seconds: f64,
    /// How long is worked before
    #[arg(long, global = true, default_value_t = 1.0, value_parser = seconds)]
    warm_up_seconds: f64,
    /// Repeats keys and values
    #[arg(long, global = true, default_value_t = 1)]
    seed: u64,
    /// How to print
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Clone, Copy, Subcommand)]
enum Kind {
    /// Puts
    Put,
    /// Linearizable gets
    Get,
    /// Serializable gets
    SerializableGet,
    /// What an API server does to write: if it is still what was read, put it
    Update,
    /// Pages of keys
    List {
        /// Keys in a page
        #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
    },
    /// Puts, with watchers of all keys
    Watch {
        /// How many watch
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
        watchers: u32,
    },
    /// Leases, granted and revoked
    Lease,
}

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    Text,
    Json,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "a number of requests a second")?;
    if rate > 0.0 && rate <= 1e6 { Ok(rate) } else { Err("more than 0 and at most 1,000,000".into()) }
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "a number of seconds")?;
    if (0.0..=1e6).contains(&seconds) { Ok(seconds) } else { Err("0 to 1,000,000".into()) }
}

fn value_bytes(text: &str) -> Result<usize, String> {
    let bytes: usize = text.parse().map_err(|_| "a number of bytes")?;
    if bytes <= 1 << 30 { Ok(bytes) } else { Err("at most 1 GiB".into()) }
}

impl Line {
    fn plan(&self) -> Plan {
        let work = match self.kind {
            Kind::Put => Work::Put,
            Kind::Get => Work::Get,
            Kind::SerializableGet => Work::SerializableGet,
            Kind::Update => Work::Update,
            Kind::List { limit } => Work::List { limit },
            Kind::Watch { watchers } => Work::Watch { watchers },
            Kind::Lease => Work::Lease,
        };
        let (value_bytes, noise_percent) = (self.value_bytes, self.noise_percent);
        Plan {
            work,
            data: Data { keys: self.keys, value_bytes, noise_percent },
            clients: self.clients,
            rate: self.rate,
            measured: Duration::from_secs_f64(self.seconds),
            warm_up: Duration::from_secs_f64(self.warm_up_seconds),
            seed: self.seed,
        }
    }

    async fn channels(&self) -> Result<Vec<Channel>, String> {
        let mut channels = Vec::new();
        for _ in 0..self.connections {
            for endpoint in &self.connection.endpoints {
                channels.push(self.connection.connect(endpoint).await.map_err(|why| why.to_string())?);
            }
        }
        Ok(channels)
    }

    async fn run(&self) -> Result<Summary, String> {
        let (channels, plan) = (self.channels().await?, self.plan());
        if self.fill {
            load::fill(&channels, &plan.data, plan.seed).await.map_err(|why| format!("filling: {why}"))?;
        }
        load::run(&channels, &plan).await.map_err(|why| why.to_string())
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let line = Line::parse();
    match line.run().await {
        Ok(summary) => {
            match line.output {
                Output::Text => println!("{summary}"),
                Output::Json => println!("{}", summary.json()),
            }
            if summary.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(why) => {
            eprintln!("load: {why}");
            ExitCode::FAILURE
        }
    }
}
