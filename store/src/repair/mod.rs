//! Repair of a damaged data directory of one node: says what is damaged and what would be lost, and makes
//! new files from what is whole when that is accepted.
//!
//! ```no_run
//! use bramble_store::repair::Examination;
//! # fn main() -> Result<(), bramble_store::repair::RepairError> {
//! let examination = Examination::of("/var/lib/bramble".as_ref())?;
//! println!("{:?}", examination.findings());
//! let repaired = examination.repair()?;
//! println!("the old files are in {}", repaired.kept_at.display());
//! # Ok(())
//! # }
//! ```
//! Where the new state comes from, the first that is possible:
//!
//! | | the state | then |
//! |---|---|---|
//! | the engine is whole | the engine's | the log's entries behind it |
//! | the log reaches back to the first entry | empty | all of the log's entries |
//! | the engine's facts can be read | the rows that can be read | the log's entries behind it |
//!
//! When anything is lost, or may be, revisions go on [`LEAP`] higher, and all history before is compacted: no
//! revision that was handed out comes back with another meaning, and watchers are told to begin anew. The
//! log is made anew; the vote is kept.
//!
//! Nothing that was there is changed: the new files are made beside it, synced, and moved into its place,
//! and the damaged ones are kept in `damaged-<n>`.
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::data_dir::held::{self, Held};
use crate::data_dir::{self, DataDirError, Ids};
use crate::disk::Disk;
use crate::disk::real::RealDisk;
use crate::engine::Engine;
use crate::engine::rocks::{Rocks, RocksOptions, files};
use crate::error::Fatal;
use crate::log::salvage::Salvage;
use crate::log::{Log, NOTE_BYTES_MAX, Vote};
use crate::log_place::{self, LogPlace, PlaceError};
use crate::store::{self, Writer};
use crate::types::LogId;

mod engine;
mod moves;
mod rows;

use engine::{Dropped, EngineFound, open_broken};
use moves::failed;
pub use rows::Hole;
use rows::Readable;

/// How much higher revisions go on when something is lost: far more than a log can have held.
pub const LEAP: i64 = 1_000_000_000;

/// Which part of the directory is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The file FORMAT.
    Format,
    /// The file IDENTITY.
    Identity,
    /// A segment of the log.
    Log,
    /// A file of the engine.
    Engine,
}

/// Something that is damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// What it belongs to.
    pub part: Part,
    /// Which file; the engine's directory when the engine names none.
    pub path: PathBuf,
    /// Which bytes of it, where that is known.
    pub bytes: Option<(u64, u64)>,
    /// What is wrong.
    pub what: String,
}

/// Where the new state comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Log and engine stay as they are: only small files are damaged.
    Untouched,
    /// The engine is whole.
    Engine,
    /// All entries are still in the log.
    Log,
    /// The engine's rows that can be read.
    Rows,
}

/// What would be lost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// Entries that were in the log, as far as what follows them proves it.
    pub entries: Option<RangeInclusive<u64>>,
    /// Damage where nothing whole follows: entries behind the last one may be lost, too, and nobody can say
    /// how many.
    pub maybe_more: bool,
    /// Stretches of history.
    pub holes: Vec<Hole>,
    /// Tables of which rows are gone (leases, users, …).
    pub tables: Vec<&'static str>,
    /// The engine's list of its files was made anew: a file that is gone is missed by nobody.
    pub list: bool,
}

impl Loss {
    /// Nothing is lost for certain.
    pub fn is_none(&self) -> bool {
        *self == Loss::default()
    }
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Findings {
    /// What is damaged; nothing: the directory is whole.
    pub damages: Vec<Damage>,
    /// Where a repair takes the state from.
    pub source: Source,
    /// The engine's last entry and revision, where they can be read.
    pub engine: Option<(Option<LogId>, i64)>,
    /// The log's entries that a repair applies to the state.
    pub replay: Option<RangeInclusive<u64>>,
    /// What a repair loses.
    pub loss: Loss,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repaired {
    /// Where the damaged files are.
    pub kept_at: PathBuf,
    /// The last revision that was saved; `None`: log and engine were not touched.
    pub saved_revision: Option<i64>,
    /// The revision that the store has now: higher when something was lost.
    pub revision: Option<i64>,
}

/// Why there is no repair.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// The directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// Its files cannot be used.
    #[error(transparent)]
    Fatal(#[from] Fatal),
    /// Too much is damaged.
    #[error("this cannot be repaired: {what}; restore the data directory from a backup")]
    Hopeless {
        /** What is missing. */
        what: String,
    },
    /// The log is not where it should be.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// A call failed.
    #[error("cannot {call} {path}: {source}")]
    Io {
        /** Which call. */
        call: &'static str,
        /** On which file. */
        path: PathBuf,
        /** What the system said. */
        source: std::io::Error,
    },
}

/// A locked directory that was looked at. Dropping it leaves the directory as it was.
pub struct Examination {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    held: Held,
    ids: Ids,
    log: Salvage,
    findings: Findings,
    dropped: Vec<Dropped>,
    finished: Option<PathBuf>,
}

impl Examination {
    /// Locks and looks through the data directory `dir`: every block of the log and every row of the engine
    /// is read. A repair that was cut short is finished first.
    ///
    /// # Errors
    /// [`RepairError`]: also when there is too much damage, and nothing has been changed.
    pub fn of(dir: &Path) -> Result<Examination, RepairError> {
        Examination::with_log_on(dir, None)
    }

    /// The same for a directory whose log lies on a partition. The partition is only read; a repaired log is made
    /// in the directory, and the next start with the partition moves it there.
    ///
    /// # Errors
    /// As there.
    pub fn with_log_on(dir: &Path, partition: Option<&Path>) -> Result<Examination, RepairError> {
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let held = Held::take(&*disk, dir)?;
        let finished = moves::finish(dir)?;
        let held = if finished.is_some() { held.again(&*disk, dir)? } else { held };
        moves::clear_stage(dir)?;
        let mut damages = labels(&held, dir);
        let ids = ids(&held, dir)?;
        let place = LogPlace::look(disk.clone(), dir, ids, partition)?;
        let log = Salvage::read(&place.disk, &place.dir)?;
        damages.extend(log.damage().map(|fatal| log_damage(fatal, dir)));
        let engine = engine::look_at(dir)?;
        damages.extend(disagreement(&log, &engine, dir));
        let mut findings = plan(&log, &engine)?;
        damages.extend(engine.damages);
        let dropped = engine.dropped;
        if damages.iter().all(|damage| matches!(damage.part, Part::Format | Part::Identity)) {
            findings.source = Source::Untouched;
        }
        findings.damages = damages;
        let dir = dir.to_owned();
        let examination = Examination { dir, disk, held, ids, log, findings, dropped, finished };
        moves::clear_stage(&examination.dir)?;
        Ok(examination)
    }

    /// What was found.
    pub fn findings(&self) -> &Findings {
        &self.findings
    }

    /// Where the damaged files of an earlier repair are, which was cut short and is finished now.
    pub fn finished(&self) -> Option<&Path> {
        self.finished.as_deref()
    }

    /// Puts new files in the place of the damaged ones. The caller accepts the loss.
    ///
    /// # Errors
    /// [`RepairError`]: the directory is as it was, or the next repair finishes this one.
    pub fn repair(self) -> Result<Repaired, RepairError> {
        let stage = moves::clear_stage(&self.dir)?;
        std::fs::create_dir(&stage).map_err(failed("create directory", &stage))?;
        if self.held.format.is_err() || self.held.ids.is_err() {
            held::write_labels(&*self.disk, &stage, self.ids)?;
        }
        let mut revisions = None;
        if self.findings.source != Source::Untouched {
            revisions = Some(self.build(&stage)?);
        }
        let kept_at = moves::swap(&self.dir)?;
        let (saved_revision, revision) = revisions.unzip();
        Ok(Repaired { kept_at, saved_revision, revision })
    }

    /// Makes engine and log in `stage`. The last revision saved, and the one to go on from.
    fn build(&self, stage: &Path) -> Result<(i64, i64), RepairError> {
        let (old, new, staged) =
            (self.dir.join("engine"), stage.join("engine"), stage.join("damaged-engine"));
        let open = || Rocks::open(&new, RocksOptions::default());
        let engine = match self.findings.source {
            Source::Engine if old.exists() => {
                files::stage(&old, &new)?;
                open()?
            }
            Source::Rows => {
                let engine = open()?;
                let (rows_left, _) = open_broken(&old, &staged, &self.dropped)?;
                rows::copy(&rows_left.view(), &engine)?;
                drop(rows_left);
                std::fs::remove_dir_all(&staged).map_err(failed("remove", &staged))?;
                engine
            }
            Source::Engine | Source::Log | Source::Untouched => open()?,
        };
        let (mut writer, _) = store::open(engine)?;
        if let Some(replay) = &self.findings.replay {
            self.replay(&mut writer, replay)?;
        }
        let saved = writer.revision();
        if !self.findings.loss.is_none() {
            writer.leap(self.above(saved)?)?;
        }
        let (applied, revision) = (writer.applied(), writer.revision());
        writer.prepare_flush()?;
        writer.flusher().flush()?;
        drop(writer);
        moves::sync(&new)?;
        self.make_log(stage, applied)?;
        log_place::note_directory(&*self.disk, stage)?;
        Ok((saved, revision))
    }

    /// The revision to go on from, far above every one that was handed out.
    fn above(&self, saved: i64) -> Result<i64, RepairError> {
        let newest = saved.max(self.findings.engine.map_or(0, |(_, revision)| revision));
        newest.checked_add(LEAP).ok_or_else(|| RepairError::Hopeless {
            what: format!("after revision {newest} there are not {LEAP} others to go on above what is lost"),
        })
    }

    fn replay(&self, writer: &mut Writer<Rocks>, replay: &RangeInclusive<u64>) -> Result<(), RepairError> {
        let mut next = *replay.start();
        while next <= *replay.end() {
            let mut entries = self.log.entries_from(next)?;
            entries.retain(|entry| entry.id.index <= *replay.end());
            let Some(last) = entries.last() else {
                return Err(Fatal::Inconsistent(format!("entry {next} of the log is gone meanwhile")).into());
            };
            let behind = last.id.index + 1;
            writer.apply(&entries)?;
            next = behind;
        }
        Ok(())
    }

    /// A log without entries that goes on after `applied`, with the newest vote.
    fn make_log(&self, stage: &Path, applied: Option<LogId>) -> Result<(), RepairError> {
        let (mut log, _) = Log::open(self.disk.clone(), &stage.join("log"), self.log.options().clone())?;
        // Of a state that nothing was applied to the first start begins again, with a first vote.
        if let Some(applied) = applied {
            log.note_durable(applied);
            log.reset_to(applied)?;
            log.save_committed(applied);
            if let Some(vote) = self.vote(applied) {
                log.save_vote(vote);
            }
            if let Some(note) = self.log.note().filter(|note| note.len() <= NOTE_BYTES_MAX) {
                log.save_note(note.clone());
            }
        }
        log.seal()?;
        Ok(())
    }

    /// The newest vote: a term that had entries was led. An embedded store has none.
    fn vote(&self, applied: LogId) -> Option<Vote> {
        let term = self.log.highest().map_or(0, |id| id.term).max(applied.term);
        match self.log.vote() {
            Some(vote) if vote.term >= term => Some(vote),
            Some(Vote { node, .. }) => Some(Vote { term, node, committed: true }),
            None if self.ids.member == 0 => None,
            None => Some(Vote { term, node: self.ids.member, committed: true }),
        }
    }
}

impl Drop for Examination {
    fn drop(&mut self) {
        // Only names that this made; the next examination removes them if this cannot.
        if !self.dir.join(data_dir::REPAIR).exists() {
            let _ = moves::clear_stage(&self.dir);
        }
    }
}

/// Damage of the two small files.
fn labels(held: &Held, dir: &Path) -> Vec<Damage> {
    let damage = |part, name: &str, error: &DataDirError| {
        let what = match error {
            DataDirError::Damaged { what, .. } => what.clone(),
            other => other.to_string(),
        };
        Damage { part, path: dir.join(name), bytes: None, what }
    };
    let format = held.format.as_ref().err().map(|error| damage(Part::Format, "FORMAT", error));
    let ids = held.ids.as_ref().err().map(|error| damage(Part::Identity, "IDENTITY", error));
    format.into_iter().chain(ids).collect()
}

/// The bytes of a file that is a small one; none when it is not one, or cannot be read.
fn small_file(path: &Path) -> Vec<u8> {
    let is_small = |found: std::fs::Metadata| found.is_file() && found.len() <= data_dir::SMALL_MAX;
    let read = || std::fs::read(path).unwrap_or_default();
    if std::fs::metadata(path).is_ok_and(is_small) { read() } else { Vec::new() }
}

/// The ids, of a file with one wrong bit too.
fn ids(held: &Held, dir: &Path) -> Result<Ids, RepairError> {
    let path = dir.join("IDENTITY");
    match &held.ids {
        Ok(ids) => Ok(*ids),
        Err(_) => held::ids_but_for_a_bit(&small_file(&path)).ok_or_else(|| {
            let what = format!(
                "{} says who this node is, and nothing else does. The ids of cluster and member follow from \
                 --initial-advertise-peer-urls and --initial-cluster-token: start bramble once with the same \
                 flags and an empty --data-dir, copy the IDENTITY it makes to this place, and repair again. Or",
                path.display()
            );
            RepairError::Hopeless { what }
        }),
    }
}

/// Log and engine, each whole, that do not belong together: files of one are gone.
fn disagreement(log: &Salvage, engine: &EngineFound, dir: &Path) -> Option<Damage> {
    let (applied, _) = engine.readable.facts.filter(|_| engine.damages.is_empty())?;
    let damage =
        |part, name, what: &str| Damage { part, path: dir.join(name), bytes: None, what: what.to_owned() };
    if applied.is_some() && log.is_empty() && log.damage().is_none() {
        return Some(damage(
            Part::Log,
            "log",
            "it is empty, though the engine has entries: its files are gone",
        ));
    }
    let gone = log.purged().map(|id| id.index) > applied.map(|id| id.index);
    gone.then(|| {
        damage(Part::Engine, "engine", "the log begins behind it: its files are gone, or are older ones")
    })
}

fn log_damage(fatal: &Fatal, dir: &Path) -> Damage {
    let part = Part::Log;
    match fatal {
        Fatal::Damaged { path, offset, end, what } => {
            let bytes = (*end > 0).then_some((*offset, *end));
            Damage { part, path: path.clone(), bytes, what: what.clone() }
        }
        Fatal::Io { path, .. } => Damage { part, path: path.clone(), bytes: None, what: fatal.to_string() },
        other => Damage { part, path: dir.join("log"), bytes: None, what: other.to_string() },
    }
}

/// Decides where the new state comes from, and what that loses.
fn plan(log: &Salvage, found: &EngineFound) -> Result<Findings, RepairError> {
    let engine = &found.readable;
    let applied = engine.facts.and_then(|(applied, _)| applied);
    let highest = log.highest().map(|id| id.index).max(applied.map(|id| id.index));
    let all = log.follow(None);
    let reaches = all.as_ref().map(|range| *range.end());
    let whole = found.damages.is_empty() && (applied.is_some() || log.highest().is_none());
    // What the engine's rows and the entries behind them would come to.
    let with_engine = log.follow(applied).map(|range| *range.end()).max(applied.map(|id| id.index));
    let source = match () {
        () if whole => Source::Engine,
        () if reaches.is_some() && reaches >= with_engine => Source::Log,
        () if applied.is_some() => Source::Rows,
        () if all.is_some() => Source::Log,
        () => return Err(hopeless(log, engine)),
    };
    let base = if source == Source::Log { None } else { applied };
    let replay = log.follow(base);
    let last = replay.as_ref().map(|range| *range.end()).max(base.map(|id| id.index));
    let lost_first = last.map_or(0, |last| last + 1);
    let entries =
        highest.filter(|highest| last.is_none_or(|last| last < *highest)).map(|highest| lost_first..=highest);
    let maybe_more = log.damage().is_some() && !log.ends_whole() || log.is_empty() && applied.is_some();
    let mut loss = Loss { maybe_more, entries, ..Loss::default() };
    if source == Source::Rows {
        (loss.holes, loss.tables, loss.list) = (engine.holes.clone(), engine.lost.clone(), found.relisted);
    }
    Ok(Findings { damages: Vec::new(), source, engine: engine.facts, replay, loss })
}

fn hopeless(log: &Salvage, engine: &Readable) -> RepairError {
    let first = log.first().map_or("holds no entry".into(), |first| format!("begins with entry {first}"));
    let what = match engine.facts {
        None => format!("the engine's own account of itself cannot be read, and the log {first}"),
        Some(_) => format!("the engine is empty or gone, and the log {first}"),
    };
    RepairError::Hopeless { what }
}
