//! `bramblectl repair`: what is damaged in a data directory, and its repair.
use std::fmt::Write;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use bramble_store::repair::{Damage, Examination, Findings, Loss, Part, RepairError, Repaired, Source};
use serde_json::{Value, json};

/// The exit code for damage that was shown and left.
pub const DAMAGED: u8 = 3;

/// What there is to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Nothing is damaged.
    Whole {
        /** The directory. */
        data_dir: PathBuf,
        /** Where the damaged files of a repair are that was cut short and is finished now. */
        finished: Option<PathBuf>,
    },
    /// Something is, and nothing was done.
    Damaged {
        /** The directory. */
        data_dir: PathBuf,
        /** The partition with its log, if that is not in it. */
        log_partition: Option<PathBuf>,
        /** What, and what a repair would lose. */
        findings: Findings,
    },
    /// It was repaired.
    Repaired {
        /** The directory. */
        data_dir: PathBuf,
        /** What was damaged, and what is lost. */
        findings: Findings,
        /** What was done. */
        repaired: Repaired,
    },
}

/// Looks at a directory, and at the partition with its log if that is not in it, and repairs it if the loss is
/// accepted.
///
/// # Errors
/// [`RepairError`] says what to do.
pub fn run(data_dir: &Path, log_partition: Option<&Path>, accept_loss: bool) -> Result<Told, RepairError> {
    let examination = Examination::with_log_on(data_dir, log_partition)?;
    let (data_dir, findings) = (data_dir.to_owned(), examination.findings().clone());
    if findings.damages.is_empty() {
        return Ok(Told::Whole { data_dir, finished: examination.finished().map(Path::to_owned) });
    }
    if !accept_loss {
        return Ok(Told::Damaged { data_dir, log_partition: log_partition.map(Path::to_owned), findings });
    }
    let repaired = examination.repair()?;
    Ok(Told::Repaired { data_dir, findings, repaired })
}

impl Told {
    /// For people; ends with what to do next.
    pub fn text(&self) -> String {
        let mut out = String::new();
        match self {
            Told::Whole { data_dir, finished } => {
                if let Some(kept) = finished {
                    line(
                        &mut out,
                        &format!(
                            "a repair that was cut short is finished; the damaged files are in {}",
                            kept.display()
                        ),
                    );
                }
                line(&mut out, &format!("{}: nothing is damaged", data_dir.display()));
            }
            Told::Damaged { data_dir, log_partition, findings } => {
                line(&mut out, &format!("{}: damaged", data_dir.display()));
                describe(&mut out, findings, "would be");
                line(
                    &mut out,
                    "Nothing was changed. A backup that is newer than what would be lost is better than a repair.",
                );
                let on = log_partition.as_ref();
                let on = on.map_or(String::new(), |path| format!(" --log-partition {}", path.display()));
                let dir = data_dir.display();
                line(&mut out, &format!("To repair: bramblectl repair --data-dir {dir}{on} --accept-loss"));
            }
            Told::Repaired { data_dir, findings, repaired } => {
                line(&mut out, &format!("{}: repaired", data_dir.display()));
                describe(&mut out, findings, "is");
                if let (Some(saved), Some(now)) = (repaired.saved_revision, repaired.revision) {
                    line(
                        &mut out,
                        &match saved == now {
                            true => format!("  revision {now}, history kept"),
                            false => format!(
                                "  last intact revision {saved}; the store goes on at {now}, and is compacted there"
                            ),
                        },
                    );
                }
                line(
                    &mut out,
                    &format!(
                        "The damaged files are in {}. Start the server; remove them when all is well.",
                        repaired.kept_at.display()
                    ),
                );
            }
        }
        out
    }

    /// For programs.
    pub fn json(&self) -> Value {
        match self {
            Told::Whole { data_dir, finished } => {
                json!({ "data_dir": data_dir, "state": "whole", "finished": finished })
            }
            Told::Damaged { data_dir, findings, .. } => {
                json!({ "data_dir": data_dir, "state": "damaged", "findings": findings_json(findings) })
            }
            Told::Repaired { data_dir, findings, repaired } => json!({
                "data_dir": data_dir,
                "state": "repaired",
                "findings": findings_json(findings),
                "kept_at": repaired.kept_at,
                "saved_revision": repaired.saved_revision,
                "revision": repaired.revision,
            }),
        }
    }
}

fn line(out: &mut String, text: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{text}");
}

fn describe(out: &mut String, findings: &Findings, tense: &str) {
    for Damage { part, path, bytes, what } in &findings.damages {
        let range = bytes.map_or(String::new(), |(from, to)| format!(" bytes {from}..{to}"));
        line(out, &format!("  {}: {}{range}: {what}", part_name(*part), path.display()));
    }
    if findings.source == Source::Untouched {
        return line(out, &format!("  log and engine are whole: nothing {tense} lost"));
    }
    if let Some((applied, revision)) = findings.engine {
        let applied = applied.map_or("no entry".into(), |id| format!("entry {}", id.index));
        line(out, &format!("  the engine ends at {applied}, revision {revision}"));
    }
    let source = match findings.source {
        Source::Engine | Source::Untouched => "the engine as it is",
        Source::Log => "the log alone, which goes back to the first entry",
        Source::Rows => "what can be read of the engine",
    };
    let replay = match &findings.replay {
        Some(range) => format!(", entries {} of the log", span(range)),
        None => String::new(),
    };
    line(out, &format!("  saved: {source}{replay}"));
    for lost in losses(&findings.loss) {
        line(out, &format!("  {tense} lost: {lost}"));
    }
    if findings.loss.is_none() {
        line(out, &format!("  nothing {tense} lost"));
    }
}

fn span(range: &RangeInclusive<u64>) -> String {
    format!("{} to {} ({})", range.start(), range.end(), range.end() - range.start() + 1)
}

fn losses(loss: &Loss) -> Vec<String> {
    let mut lost = Vec::new();
    if let Some(entries) = &loss.entries {
        lost.push(format!("entries {}: each is at most one revision", span(entries)));
    }
    if loss.maybe_more {
        lost.push("perhaps entries at the end of the log; how many cannot be known".into());
    }
    for hole in &loss.holes {
        lost.push(match hole.before {
            Some(before) => format!("what changed between revision {} and revision {before}", hole.after),
            None => format!("what changed after revision {}", hole.after),
        });
    }
    lost.extend(loss.tables.iter().map(|table| format!("some {table}")));
    if loss.list {
        lost.push("whatever was in files of the engine that are gone: their list was damaged".into());
    }
    lost
}

fn part_name(part: Part) -> &'static str {
    match part {
        Part::Format => "format",
        Part::Identity => "identity",
        Part::Log => "log",
        Part::Engine => "engine",
    }
}

fn findings_json(findings: &Findings) -> Value {
    let range = |range: &Option<RangeInclusive<u64>>| {
        range.as_ref().map(|range| json!({ "first": range.start(), "last": range.end() }))
    };
    let Findings { damages, source, engine, replay, loss } = findings;
    let damages: Vec<Value> = damages
        .iter()
        .map(|Damage { part, path, bytes, what }| {
            let (from, to) = bytes.unzip();
            json!({ "part": part_name(*part), "path": path, "from": from, "to": to, "what": what })
        })
        .collect();
    let source = match source {
        Source::Untouched => "untouched",
        Source::Engine => "engine",
        Source::Log => "log",
        Source::Rows => "rows",
    };
    let holes: Vec<Value> =
        loss.holes.iter().map(|hole| json!({ "after": hole.after, "before": hole.before })).collect();
    json!({
        "damages": damages,
        "source": source,
        "engine_entry": engine.and_then(|(applied, _)| applied).map(|id| id.index),
        "engine_revision": engine.map(|(_, revision)| revision),
        "replay": range(replay),
        "loss": {
            "none": loss.is_none(),
            "entries": range(&loss.entries),
            "maybe_more": loss.maybe_more,
            "revisions": holes,
            "tables": loss.tables,
            "list": loss.list,
        },
    })
}
