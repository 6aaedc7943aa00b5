//! What recorded requests do to cards.
use std::fs::File;
use std::io::{BufReader, IsTerminal};
use std::path::Path;
use std::process::ExitCode;

use bramble_bench::cardsim::cost::{Model, PRESETS, Preset, Report, Trace};

/// Replays a record on one card, or on each, and prints a table.
pub fn replay(path: &Path, card: Option<Preset>, times: u64, puts: Option<u64>) -> ExitCode {
    let trace = File::open(path).map_err(Into::into).and_then(|file| Trace::read(BufReader::new(file)));
    let mut trace = match trace {
        Ok(trace) => trace,
        Err(error) => {
            eprintln!("{}: {error}", path.display());
            return ExitCode::FAILURE;
        }
    };
    trace.puts = puts.unwrap_or(trace.puts);
    let per = if trace.puts == 0 { "request" } else { "put" };
    if std::io::stdout().is_terminal() {
        println!(
            "{times} times {} requests, one after the other; per {per}, by the model:",
            trace.requests.len()
        );
    }
    println!("card        host KB  busy ms  flash KB  padding KB  p99 ms  longest ms  amplification");
    for preset in card.map_or(PRESETS.to_vec(), |card| vec![card]) {
        let report = Report::replay(&mut Model::new(preset), &trace, times);
        let all = if report.puts == 0 { report.request_s.len() as u64 } else { report.puts };
        let each = |sum: f64| sum / all.max(1) as f64;
        println!(
            "{:10} {:8.1} {:8.2} {:9.1} {:11.1} {:7.1} {:11.1} {:14.1}",
            preset.name,
            each(report.host_bytes as f64 / 1e3),
            each(report.busy_s() * 1e3),
            each(report.wear.nand_bytes as f64 / 1e3),
            each(report.wear.padding_bytes as f64 / 1e3),
            report.quantile_s(0.99) * 1e3,
            report.quantile_s(1.0) * 1e3,
            report.amplification(),
        );
    }
    ExitCode::SUCCESS
}
