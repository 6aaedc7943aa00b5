//! Runs every script in the folders here: commands, `---`, what they answer. They are read at run time, so a
//! new file is never missed; `UPDATE_GOLDENFILES=1` writes the answers.
//!
//! ```text
//!   USER: COMMAND                          asked by USER, checked at the current auth revision
//!   "USER@N": COMMAND                      … checked at auth revision N
//!
//!   put KEY VALUE [lease=N] [prev_kv] [ignore_value] [ignore_lease]
//!   delete KEY [END] [prev_kv]             END: first key behind the range; * = no end
//!   range KEY [END] [rev=N] [limit=N] [order=none|ascend|descend] [target=key|version|create|mod|value]
//!         [keys_only] [count_only] [min_mod=N] [max_mod=N] [min_create=N] [max_create=N]
//!   txn ["if FIELD KEY [END] = < > != GIVEN"]… then "OP"… else "OP"…     OP: put, delete, range;
//!                                          begin … end: a transaction inside
//!   compact N   grant ID TTL   revoke ID   lease ID   hash [N]   status
//!   history FROM [ROWS]                    changes in whole revisions, until ROWS are reached
//!   before KEY MAIN                        the key just before a revision: prev_kv
//!   scrub [ROWS]                           erase below the floor, in steps of ROWS
//!   restart [lost]                         open again; lost: without what was not flushed, then replay
//! ```
//! Commands about users, alarms, what is left of leases and downgrades are in `admin`.
mod admin;
mod answers;
mod words;

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;

use answers::{history, range_reply, record, reply, text};
use bramble_store::auth::{Need, needs_of_txn};
use bramble_store::codec;
use bramble_store::command::{Action, Command, Entry, Origin, Payload, RequestId};
use bramble_store::engine::mem::Mem;
use bramble_store::engine::{Cursor, Engine, Family, Read};
use bramble_store::mvcc::check::{self, TxnLimits};
use bramble_store::store::{self, Reader, Reply, Scrub, Writer};
use bramble_store::types::*;
use goldenscript::Argument;
use words::{Args, txn};

type Failure = Box<dyn Error>;

#[test]
fn scripts() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let files = |folder: &Path| -> Vec<_> {
        let files = std::fs::read_dir(folder).expect("the folder");
        files.map(|file| file.expect("a file").path()).collect()
    };
    let mut paths: Vec<_> =
        files(&here).iter().filter(|path| path.is_dir()).flat_map(|path| files(path)).collect();
    paths.sort();
    assert!(paths.len() >= 17, "scripts are missing: {paths:?}");
    for path in paths {
        eprintln!("{}", path.display());
        goldenscript::run(&mut Script::new(), &path).expect("the script runs");
    }
}

struct Script {
    engine: Mem,
    writer: Writer<Mem>,
    reader: Reader<Mem>,
    log: Vec<Entry>,
    /// Who asks, and at which auth revision that was checked, if not the current one.
    who: (String, Option<u64>),
}

impl Script {
    fn new() -> Self {
        let engine = Mem::new();
        let (writer, reader) = store::open(engine.clone()).expect("opens");
        let who = (String::new(), None);
        Script { engine, writer, reader, log: Vec::new(), who }
    }

    /// Who asks now.
    fn origin(&self) -> Origin {
        let (user, auth_revision) = self.who.clone();
        match user.is_empty() {
            true => Origin { user, auth_revision: auth_revision.unwrap_or(0) },
            false => {
                let now = self.reader.view().auth().revision;
                Origin { user, auth_revision: auth_revision.unwrap_or(now) }
            }
        }
    }

    /// Applies an action; its answer, then what it changed.
    fn apply(&mut self, action: Action) -> Result<String, Failure> {
        self.apply_fenced(action, None)
    }

    fn apply_fenced(&mut self, action: Action, fence_term: Option<u64>) -> Result<String, Failure> {
        let id = LogId { term: 1, index: self.log.len() as u64 };
        let command = Command {
            request: RequestId::default(),
            origin: self.origin(),
            required_version: 1,
            fence_term,
            action,
        };
        let entry = Entry { id, payload: Payload::Command(codec::encode(&command)) };
        let applied = self.writer.apply(std::slice::from_ref(&entry))?;
        self.log.push(entry);
        let mut out = String::new();
        for answer in applied.answers {
            reply(&mut out, &answer.outcome?);
        }
        history(&mut out, &applied.changes);
        admin::effects(&mut out, &applied.auth);
        Ok(out)
    }

    /// What a server asks before it reads.
    fn permit(&self, needs: &[Need]) -> Result<(), Failure> {
        let (view, origin) = (self.reader.view(), self.origin());
        Ok(needs.iter().try_for_each(|need| view.permit(&origin, need))?)
    }

    fn restart(&mut self, lost: bool) -> Result<String, Failure> {
        if lost {
            self.engine.crash();
        }
        (self.writer, self.reader) = store::open(self.engine.clone())?;
        let from = self.writer.applied().map_or(0, |applied| applied.index as usize + 1);
        for entry in &self.log[from..] {
            self.writer.apply(std::slice::from_ref(entry))?;
        }
        Ok(format!("replayed {}\n", self.log.len() - from))
    }

    fn scrub(&mut self, rows_max: usize) -> Result<String, Failure> {
        let count = |engine: &Mem| {
            let (view, versions) = (engine.view(), [b"k", b"o"]);
            let versions: usize = versions.iter().map(|table| rows(&view, Family::Idx, *table)).sum();
            rows(&view, Family::Rev, b"") + versions
        };
        let before = count(&self.engine);
        let mut steps = 0;
        while self.writer.scrub(rows_max)? != Scrub::Idle {
            steps += 1;
        }
        let after = count(&self.engine);
        Ok(format!("erased {} versions, {} left, in {steps} steps\n", (before - after) / 2, after / 2))
    }
}

impl goldenscript::Runner for Script {
    type Command = goldenscript::Command;

    fn run(&mut self, command: &Self::Command, context: &goldenscript::Context) -> Result<String, Failure> {
        let who = context.prefix.as_deref().unwrap_or("");
        let (user, revision) = who.split_once('@').map_or((who, None), |(user, at)| (user, Some(at)));
        self.who = (user.to_owned(), revision.map(str::parse).transpose()?);
        let words: Vec<String> = command
            .args
            .iter()
            .map(|arg| match arg {
                Argument::Positional(word) => word.clone(),
                Argument::KeyValue(key, value) => format!("{key}={value}"),
                other => other.to_string(),
            })
            .collect();
        let args = Args::new(words.iter().map(String::as_str).collect());
        let mut out = String::new();
        match command.name.as_str() {
            "put" => {
                let put = args.put()?;
                check::put(&put)?;
                return self.apply(Action::Put(put));
            }
            "delete" => {
                let delete = args.delete()?;
                check::delete(&delete)?;
                return self.apply(Action::Delete(delete));
            }
            "range" => {
                let request = args.range()?;
                check::range(&request)?;
                self.permit(&[Need::Read(request.range.clone())])?;
                range_reply(&mut out, &self.reader.view().range(&request)?);
            }
            "txn" => {
                let request = txn(&mut words.iter().map(String::as_str))?;
                check::txn(&request, &TxnLimits::default())?;
                if request.is_read_only() {
                    self.permit(&needs_of_txn(&request))?;
                    reply(&mut out, &Reply::Txn(self.reader.view().txn(&request)?));
                } else {
                    return self.apply(Action::Txn(request));
                }
            }
            "compact" => return self.apply(Action::Compact { revision: args.number(0)? }),
            "grant" => {
                return self
                    .apply(Action::LeaseGrant { id: LeaseId(args.number(0)?), ttl_s: args.number(1)? });
            }
            "revoke" => return self.apply(Action::LeaseRevoke { id: LeaseId(args.number(0)?) }),
            "lease" => {
                let (view, id) = (self.reader.view(), LeaseId(args.number(0)?));
                match view.lease(id)? {
                    None => writeln!(out, "none")?,
                    Some(Lease { id, ttl_s, remaining_s: 0 }) => writeln!(out, "{} ttl={ttl_s}", id.0)?,
                    Some(Lease { id, ttl_s, remaining_s }) => {
                        writeln!(out, "{} ttl={ttl_s} left={remaining_s}", id.0)?;
                    }
                }
                for key in view.lease_keys(id)? {
                    writeln!(out, "  {}", text(&key))?;
                }
            }
            "hash" => {
                let (hash, at) = self.reader.view().hash_kv(args.number(0).unwrap_or(0))?;
                writeln!(out, "{hash} at {at}")?;
            }
            "status" => {
                let view = self.reader.view();
                writeln!(out, "revision={} compacted={}", view.revision(), view.compacted())?;
            }
            "history" => {
                let rows_max = args.number(1).unwrap_or(i64::MAX) as usize;
                history(&mut out, &self.reader.view().changes(args.number(0)?, rows_max)?);
            }
            "before" => match self.reader.view().before(&args.key(0)?, args.number(1)?)? {
                None => writeln!(out, "none")?,
                Some(kv) => writeln!(out, "{}", record(&kv))?,
            },
            "scrub" => return self.scrub(args.number(0).unwrap_or(i64::MAX) as usize),
            "flush" => {
                self.writer.prepare_flush()?;
                self.writer.flusher().flush()?;
            }
            "restart" => return self.restart(args.has("lost")),
            name => return admin::run(self, name, &args),
        }
        Ok(out)
    }
}

fn rows(view: &impl Read, family: Family, prefix: &[u8]) -> usize {
    let mut cursor = view.cursor(family);
    cursor.seek(prefix).expect("seeks");
    let mut rows = 0;
    while cursor.row().is_some_and(|(row, _)| row.starts_with(prefix)) {
        rows += 1;
        cursor.next().expect("steps");
    }
    rows
}
