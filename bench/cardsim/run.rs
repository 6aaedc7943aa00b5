//! A program on a card, and what that did to the card.
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus};
use std::time::Instant;

use bramble_bench::cardsim::cost::Report;
use bramble_bench::cardsim::{Card, CardError, CardOptions};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

use crate::Output;

/// Makes the card, runs the program, reports, takes the card down.
pub fn run(
    options: CardOptions,
    record: Option<PathBuf>,
    card_gb: f64,
    output: Output,
    program: &[String],
) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = runtime.map_err(Into::into).and_then(|runtime| {
        let _inside = runtime.enter();
        // From here on a signal ends the program, not the card.
        let signals = Signals::new()?;
        let card = Card::make(options)?;
        card.open_account(record.map(open).transpose()?);
        let begun = Instant::now();
        let ended = runtime.block_on(follow(&card, signals, program))?;
        let seconds = begun.elapsed().as_secs_f64();
        if let Some(report) = card.account()? {
            show(&report, seconds, card_gb, output);
        }
        Ok::<_, CardRunError>(ended)
    });
    match ended {
        Ok(status) => ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)),
        Err(error) => {
            eprintln!("cardsim: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Why no report could be given.
#[derive(Debug, thiserror::Error)]
enum CardRunError {
    #[error("no card: {0}")]
    Card(#[from] CardError),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{program} cannot be run: {source}")]
    Program { program: String, source: io::Error },
}

fn open(path: PathBuf) -> io::Result<Box<dyn Write + Send>> {
    let file = File::create(&path)
        .map_err(|why| io::Error::new(why.kind(), format!("{}: {why}", path.display())))?;
    Ok(Box::new(BufWriter::new(file)))
}

struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> io::Result<Signals> {
        let (interrupt, terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        Ok(Signals { interrupt, terminate })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Runs the program to its end. The first signal asks it to end, the second ends it.
async fn follow(card: &Card, mut signals: Signals, program: &[String]) -> Result<ExitStatus, CardRunError> {
    let folder = card.files();
    let words: Vec<_> = program.iter().map(|word| word.replace("{}", &folder.to_string_lossy())).collect();
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).env("CARD", &folder).kill_on_drop(true);
    let mut child =
        command.spawn().map_err(|source| CardRunError::Program { program: words[0].clone(), source })?;
    let mut asked = false;
    loop {
        tokio::select! {
            ended = child.wait() => return Ok(ended?),
            () = signals.next() => {
                if asked {
                    child.start_kill()?;
                } else {
                    ask_to_end(&child);
                }
                asked = true;
            }
        }
    }
}

fn ask_to_end(child: &Child) {
    let pid = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    if let Some(pid) = pid {
        // It may have ended by itself: Ctrl-C goes to it, too.
        kill_process(pid, Signal::TERM).ok();
    }
}

fn show(report: &Report, seconds: f64, card_gb: f64, output: Output) {
    let life = report.life_years(card_gb * 1e9, seconds);
    match output {
        Output::Text => {
            eprintln!("-- the card, by the model, in {seconds:.1} s");
            eprintln!("{report}");
            eprintln!("life          {life:.1} years at most, of {card_gb} GB that do this all the time");
        }
        Output::Json => eprintln!("{}", json(report, seconds, life)),
    }
}

fn json(report: &Report, seconds: f64, life: f64) -> serde_json::Value {
    serde_json::json!({
        "source": "model",
        "seconds": seconds,
        "writes": report.writes(),
        "flushes": report.flushes,
        "host_bytes": report.host_bytes,
        "nand_bytes": report.wear.nand_bytes,
        "padding_bytes": report.wear.padding_bytes,
        "erases": report.wear.erases,
        "busy_s": report.busy_s(),
        "request_p50_s": report.quantile_s(0.5),
        "request_p99_s": report.quantile_s(0.99),
        "request_max_s": report.quantile_s(1.0),
        "life_years_at_most": life,
    })
}
