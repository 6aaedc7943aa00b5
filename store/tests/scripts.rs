//! Runs every script in `tests/scripts/mvcc`: commands, `---`, what they answer. The folder is read at
//! run time, so a new file is never missed; `UPDATE_GOLDENFILES=1` writes the answers.
//!
//! ```text
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
use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;

use bramble_store::codec;
use bramble_store::command::{Action, Command, Entry, Origin, Payload, RequestId};
use bramble_store::engine::mem::Mem;
use bramble_store::engine::{Cursor, Engine, Family, Read};
use bramble_store::mvcc::check::{self, TxnLimits};
use bramble_store::store::{self, Changes, Reader, Reply, Scrub, Writer};
use bramble_store::types::*;
use bytes::Bytes;
use goldenscript::Argument;

type Failure = Box<dyn Error>;

#[test]
fn scripts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts/mvcc");
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).expect("the folder").map(|file| file.expect("a file").path()).collect();
    paths.sort();
    assert!(paths.len() >= 10, "scripts are missing: {paths:?}");
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
}

impl Script {
    fn new() -> Self {
        let engine = Mem::new();
        let (writer, reader) = store::open(engine.clone()).expect("opens");
        Script { engine, writer, reader, log: Vec::new() }
    }

    /// Applies an action; its answer, then what it changed.
    fn apply(&mut self, action: Action) -> Result<String, Failure> {
        let id = LogId { term: 1, index: self.log.len() as u64 };
        let command = Command {
            request: RequestId::default(),
            origin: Origin::default(),
            required_version: 1,
            fence_term: None,
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
        Ok(out)
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
        let count =
            |engine: &Mem| rows(&engine.view(), Family::Rev, b"") + rows(&engine.view(), Family::Idx, b"k");
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

    fn run(&mut self, command: &Self::Command, _: &goldenscript::Context) -> Result<String, Failure> {
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
                range_reply(&mut out, &self.reader.view().range(&request)?);
            }
            "txn" => {
                let request = txn(&mut words.iter().map(String::as_str))?;
                check::txn(&request, &TxnLimits::default())?;
                if request.is_read_only() {
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
                    Some(lease) => writeln!(out, "{} ttl={}", lease.id.0, lease.ttl_s)?,
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
            name => return Err(format!("unknown command {name}").into()),
        }
        Ok(out)
    }
}

/// Words without `=`, and options.
struct Args<'a> {
    words: Vec<&'a str>,
    options: Vec<(&'a str, &'a str)>,
}

const FLAGS: [&str; 6] = ["prev_kv", "ignore_value", "ignore_lease", "keys_only", "count_only", "lost"];

impl<'a> Args<'a> {
    fn new(words: Vec<&'a str>) -> Self {
        let (mut plain, mut options) = (Vec::new(), Vec::new());
        for word in words {
            match word.split_once('=') {
                Some(option) if !option.0.is_empty() => options.push(option),
                None if FLAGS.contains(&word) => options.push((word, "")),
                Some(_) | None => plain.push(word),
            }
        }
        Args { words: plain, options }
    }

    fn has(&self, flag: &str) -> bool {
        self.options.iter().any(|(name, _)| *name == flag)
    }

    fn option(&self, name: &str) -> Option<&'a str> {
        self.options.iter().find(|option| option.0 == name).map(|option| option.1)
    }

    fn option_number(&self, name: &str) -> Result<i64, Failure> {
        Ok(self.option(name).map(str::parse).transpose()?.unwrap_or(0))
    }

    fn word(&self, at: usize) -> Result<&'a str, Failure> {
        self.words.get(at).copied().ok_or_else(|| format!("word {at} is missing").into())
    }

    fn number(&self, at: usize) -> Result<i64, Failure> {
        Ok(self.word(at)?.parse()?)
    }

    fn key(&self, at: usize) -> Result<Bytes, Failure> {
        Ok(Bytes::copy_from_slice(self.word(at)?.as_bytes()))
    }

    fn key_range(&self) -> Result<KeyRange, Failure> {
        let end = match self.words.get(1) {
            Some(&"*") => Bytes::from_static(b"\0"),
            Some(end) => Bytes::copy_from_slice(end.as_bytes()),
            None => Bytes::new(),
        };
        Ok(KeyRange::from_wire(self.key(0)?, end))
    }

    fn put(&self) -> Result<PutRequest, Failure> {
        Ok(PutRequest {
            key: self.key(0)?,
            value: self.key(1).unwrap_or_default(),
            lease: LeaseId(self.option_number("lease")?),
            prev_kv: self.has("prev_kv"),
            ignore_value: self.has("ignore_value"),
            ignore_lease: self.has("ignore_lease"),
        })
    }

    fn delete(&self) -> Result<DeleteRequest, Failure> {
        Ok(DeleteRequest { range: self.key_range()?, prev_kv: self.has("prev_kv") })
    }

    fn range(&self) -> Result<RangeRequest, Failure> {
        Ok(RangeRequest {
            range: self.key_range()?,
            limit: self.option_number("limit")?,
            revision: self.option_number("rev")?,
            order: match self.option("order") {
                Some("ascend") => SortOrder::Ascend,
                Some("descend") => SortOrder::Descend,
                _ => SortOrder::None,
            },
            target: match self.option("target") {
                Some("version") => SortTarget::Version,
                Some("create") => SortTarget::Create,
                Some("mod") => SortTarget::Mod,
                Some("value") => SortTarget::Value,
                _ => SortTarget::Key,
            },
            detail: match (self.has("count_only"), self.has("keys_only")) {
                (true, _) => Detail::CountOnly,
                (false, true) => Detail::KeysOnly,
                (false, false) => Detail::Full,
            },
            filter: RevisionFilter {
                min_mod: self.option_number("min_mod")?,
                max_mod: self.option_number("max_mod")?,
                min_create: self.option_number("min_create")?,
                max_create: self.option_number("max_create")?,
            },
        })
    }
}

/// A transaction up to its `end`, or to the end of the words.
fn txn(words: &mut dyn Iterator<Item = &str>) -> Result<TxnRequest, Failure> {
    let mut request = TxnRequest::default();
    let mut otherwise = false;
    while let Some(word) = words.next() {
        let (name, rest) = word.split_once(' ').unwrap_or((word, ""));
        let args = Args::new(rest.split_whitespace().collect());
        let op = match name {
            "end" => break,
            "then" => continue,
            "else" => {
                otherwise = true;
                continue;
            }
            "if" => {
                request.compare.push(compare(rest)?);
                continue;
            }
            "begin" => Op::Txn(txn(words)?),
            "put" => Op::Put(args.put()?),
            "delete" => Op::Delete(args.delete()?),
            "range" => Op::Range(args.range()?),
            _ => return Err(format!("unknown operation {word}").into()),
        };
        if otherwise { request.failure.push(op) } else { request.success.push(op) }
    }
    Ok(request)
}

/// `FIELD KEY [END] RELATION GIVEN`.
fn compare(words: &str) -> Result<Compare, Failure> {
    let words: Vec<&str> = words.split_whitespace().collect();
    let (Some(field), [.., relation, given]) = (words.first(), &words[..]) else {
        return Err("a compare is FIELD KEY [END] RELATION GIVEN".into());
    };
    let target = match *field {
        "version" => CompareTarget::Version(given.parse()?),
        "create" => CompareTarget::Create(given.parse()?),
        "mod" => CompareTarget::Mod(given.parse()?),
        "lease" => CompareTarget::Lease(LeaseId(given.parse()?)),
        "value" => CompareTarget::Value(Bytes::copy_from_slice(given.as_bytes())),
        _ => return Err(format!("unknown field {field}").into()),
    };
    let result = match *relation {
        "=" => CompareResult::Equal,
        ">" => CompareResult::Greater,
        "<" => CompareResult::Less,
        "!=" => CompareResult::NotEqual,
        _ => return Err(format!("unknown relation {relation}").into()),
    };
    let range = Args::new(words[1..words.len() - 2].to_vec()).key_range()?;
    Ok(Compare { range, target, result })
}

fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

fn record(kv: &KeyValue) -> String {
    let mut out = format!(
        "{}={} create={} mod={} version={}",
        text(&kv.key),
        text(&kv.value),
        kv.create_revision,
        kv.mod_revision,
        kv.version
    );
    if kv.lease != LeaseId::NONE {
        let _ = write!(out, " lease={}", kv.lease.0);
    }
    out
}

fn history(out: &mut String, changes: &[Changes]) {
    for (main, change) in changes.iter().flat_map(|of| of.changes.iter().map(|change| (of.main, change))) {
        let line = match change.kind {
            EventKind::Put => format!("put {}", record(&change.kv)),
            EventKind::Delete => format!("delete {}", text(&change.kv.key)),
        };
        let _ = writeln!(out, "{main}.{} {line}", change.sub);
    }
}

fn range_reply(out: &mut String, reply: &RangeReply) {
    let more = if reply.more { " more" } else { "" };
    let _ = writeln!(out, "revision={} count={}{more}", reply.revision, reply.count);
    for kv in &reply.kvs {
        let _ = writeln!(out, "  {}", record(kv));
    }
}

fn reply(out: &mut String, reply: &Reply) {
    let _ = match reply {
        Reply::None => Ok(()),
        Reply::Put(put) => return op_reply(out, &OpReply::Put(put.clone())),
        Reply::Delete(delete) => return op_reply(out, &OpReply::Delete(delete.clone())),
        Reply::Txn(txn) => return op_reply(out, &OpReply::Txn(txn.clone())),
        Reply::Compacted { revision } => writeln!(out, "revision={revision}"),
        Reply::LeaseGranted { revision, id, ttl_s } => {
            writeln!(out, "revision={revision} lease={} ttl={ttl_s}", id.0)
        }
        Reply::LeaseRevoked { revision }
        | Reply::LeaseCheckpointed { revision }
        | Reply::AuthChanged { revision }
        | Reply::Downgrade { revision } => writeln!(out, "revision={revision}"),
        Reply::Authenticated { revision, token, auth_revision } => {
            writeln!(out, "revision={revision} token={token} auth_revision={auth_revision}")
        }
        Reply::Alarms { revision, alarms } => writeln!(out, "revision={revision} {alarms:?}"),
        Reply::LeftOut { revision } => writeln!(out, "revision={revision} and an answer left out"),
    };
}

fn op_reply(out: &mut String, reply: &OpReply) {
    match reply {
        OpReply::Range(range) => range_reply(out, range),
        OpReply::Put(put) => {
            let _ = writeln!(out, "revision={}", put.revision);
            put.prev_kv.iter().for_each(|kv| out.push_str(&format!("  was {}\n", record(kv))));
        }
        OpReply::Delete(delete) => {
            let _ = writeln!(out, "revision={} deleted={}", delete.revision, delete.deleted);
            delete.prev_kvs.iter().for_each(|kv| out.push_str(&format!("  was {}\n", record(kv))));
        }
        OpReply::Txn(txn) => {
            let verdict = if txn.succeeded { "then" } else { "else" };
            let _ = writeln!(out, "revision={} {verdict}", txn.revision);
            for reply in &txn.replies {
                let mut inner = String::new();
                op_reply(&mut inner, reply);
                inner.lines().for_each(|line| out.push_str(&format!("  {line}\n")));
            }
        }
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
