//! The words of a command: keys, numbers, options, transactions.
use bramble_store::types::*;
use bytes::Bytes;

use super::Failure;

/// Words without `=`, and options.
pub struct Args<'a> {
    pub words: Vec<&'a str>,
    options: Vec<(&'a str, &'a str)>,
}

const FLAGS: [&str; 7] =
    ["prev_kv", "ignore_value", "ignore_lease", "keys_only", "count_only", "lost", "no_password"];

impl<'a> Args<'a> {
    pub fn new(words: Vec<&'a str>) -> Self {
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

    pub fn has(&self, flag: &str) -> bool {
        self.options.iter().any(|(name, _)| *name == flag)
    }

    pub fn option(&self, name: &str) -> Option<&'a str> {
        self.options.iter().find(|option| option.0 == name).map(|option| option.1)
    }

    pub fn option_number(&self, name: &str) -> Result<i64, Failure> {
        Ok(self.option(name).map(str::parse).transpose()?.unwrap_or(0))
    }

    pub fn word(&self, at: usize) -> Result<&'a str, Failure> {
        self.words.get(at).copied().ok_or_else(|| format!("word {at} is missing").into())
    }

    pub fn number(&self, at: usize) -> Result<i64, Failure> {
        Ok(self.word(at)?.parse()?)
    }

    pub fn key(&self, at: usize) -> Result<Bytes, Failure> {
        Ok(Bytes::copy_from_slice(self.word(at)?.as_bytes()))
    }

    pub fn key_range(&self) -> Result<KeyRange, Failure> {
        self.key_range_at(0)
    }

    /// The range that begins with word `at`.
    pub fn key_range_at(&self, at: usize) -> Result<KeyRange, Failure> {
        let end = match self.words.get(at + 1) {
            Some(&"*") => Bytes::from_static(b"\0"),
            Some(end) => Bytes::copy_from_slice(end.as_bytes()),
            None => Bytes::new(),
        };
        Ok(KeyRange::from_wire(self.key(at)?, end))
    }

    pub fn put(&self) -> Result<PutRequest, Failure> {
        Ok(PutRequest {
            key: self.key(0)?,
            value: self.key(1).unwrap_or_default(),
            lease: LeaseId(self.option_number("lease")?),
            prev_kv: self.has("prev_kv"),
            ignore_value: self.has("ignore_value"),
            ignore_lease: self.has("ignore_lease"),
        })
    }

    pub fn delete(&self) -> Result<DeleteRequest, Failure> {
        Ok(DeleteRequest { range: self.key_range()?, prev_kv: self.has("prev_kv") })
    }

    pub fn range(&self) -> Result<RangeRequest, Failure> {
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
pub fn txn(words: &mut dyn Iterator<Item = &str>) -> Result<TxnRequest, Failure> {
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
