//! Looks at the engine's files, and opens what is left of them.
use std::path::{Path, PathBuf};

use super::moves::{self, failed};
use super::rows::{self, Hole, Readable};
use super::{Damage, Part, RepairError};
use crate::codec::rows::parse_rev_row;
use crate::engine::Engine;
use crate::engine::rocks::{Rocks, files};
use crate::error::Fatal;

/// The engine as it was found.
#[derive(Default)]
pub(super) struct EngineFound {
    pub(super) readable: Readable,
    pub(super) damages: Vec<Damage>,
    /// Its list of files had to be made anew.
    pub(super) relisted: bool,
    /// Tables that keep others from being read.
    pub(super) dropped: Vec<Dropped>,
}

/// A table of the history, left out because its first block cannot be read: nothing before it could be
/// looked up either.
#[derive(Clone, Debug)]
pub(super) struct Dropped {
    /// Its file name.
    name: String,
    /// What was in it.
    hole: Hole,
}

impl EngineFound {
    /// Nothing was ever written to it.
    fn empty() -> EngineFound {
        let readable = Readable { facts: Some((None, 1)), ..Readable::default() };
        EngineFound { readable, ..EngineFound::default() }
    }
}

/// Reads the engine through names of its own, so that nothing in the directory changes.
pub(super) fn look_at(dir: &Path) -> Result<EngineFound, RepairError> {
    let (engine, stage) = (dir.join("engine"), dir.join(moves::STAGE));
    if !engine.exists() {
        return Ok(EngineFound::empty());
    }
    std::fs::create_dir(&stage).map_err(failed("create directory", &stage))?;
    let staged = stage.join("engine");
    files::stage(&engine, &staged)?;
    let (mut damages, mut relisted) = (Vec::new(), false);
    let told = |text: &str, names: &Path| {
        engine_damage(&text.replace(&*names.to_string_lossy(), &engine.to_string_lossy()), &engine)
    };
    match Rocks::open_read_only(&staged) {
        // A first start that was cut short: there never was anything in it.
        Err(_) if !staged.join("CURRENT").exists() && is_empty(&staged) => return Ok(EngineFound::empty()),
        Err(Fatal::EngineDamaged(text) | Fatal::Engine(text)) => {
            damages.push(told(&text, &staged));
            relisted = true;
        }
        Err(other) => return Err(other.into()),
        Ok(_) => {}
    }
    let mut dropped: Vec<Dropped> = Vec::new();
    let mut readable = loop {
        let again = stage.join(format!("engine-{}", dropped.len()));
        let (rocks, list) = match open_broken(&engine, &again, &dropped) {
            Err(Fatal::EngineDamaged(text) | Fatal::Engine(text)) => {
                damages.push(told(&text, &again));
                break Readable::default();
            }
            opened => opened?,
        };
        if let List::New { without } = list {
            relisted = true;
            let known = |name: &String| dropped.iter().any(|table| table.name == *name);
            let left_out = without.iter().filter(|name| !known(name)).map(|name| left_out(&engine, name));
            let left_out: Vec<Damage> = left_out.filter(|damage| !damages.contains(damage)).collect();
            damages.extend(left_out);
        }
        let readable = rows::look(&rocks.view());
        let complaints = readable.complaints.iter().map(|text| told(text, &again));
        let complaints: Vec<Damage> = complaints.filter(|damage| !damages.contains(damage)).collect();
        let in_the_way = obstacle(&rocks, &readable, &complaints)?;
        damages.extend(complaints);
        match in_the_way {
            Some(table) if !dropped.iter().any(|other| other.name == table.name) => dropped.push(table),
            _ => break readable,
        }
    };
    readable.holes.extend(dropped.iter().map(|table| table.hole.clone()));
    readable.holes.sort_unstable_by_key(|hole| hole.after);
    Ok(EngineFound { readable, damages, relisted, dropped })
}

/// The damaged table that ends the reading of the history, if one does.
fn obstacle(rocks: &Rocks, readable: &Readable, damages: &[Damage]) -> Result<Option<Dropped>, Fatal> {
    if readable.holes.last().is_none_or(|hole| hole.before.is_some()) {
        return Ok(None);
    }
    let tables = files::history_tables(rocks)?;
    Ok(damages.iter().find_map(|damage| {
        let name = damage.path.file_name()?.to_str()?;
        let table = tables.iter().find(|table| table.name == name)?;
        let main = |row: &[u8]| parse_rev_row(row).map(|(at, _)| at.main);
        let hole =
            Hole { after: main(&table.first)?.saturating_sub(1), before: main(&table.last)?.checked_add(1) };
        Some(Dropped { name: name.to_owned(), hole })
    }))
}

/// Whether there is no table in the directory.
fn is_empty(engine: &Path) -> bool {
    let names = std::fs::read_dir(engine).map(|names| names.flatten().map(|entry| entry.file_name()));
    names.is_ok_and(|mut names| !names.any(|name| name.to_string_lossy().ends_with(".sst")))
}

fn left_out(engine: &Path, table: &str) -> Damage {
    let what = "a block of it cannot be read: with a new list of tables it is left out whole".to_owned();
    Damage { part: Part::Engine, path: engine.join(table), bytes: None, what }
}

/// The engine's list of its tables.
pub(super) enum List {
    /// As it was.
    Old,
    /// Made anew, without some of the tables.
    New {
        /** Their names. */
        without: Vec<String>,
    },
}

/// Opens an engine's files under new names in `staged`, with a new list of tables if it must be.
pub(super) fn open_broken(engine: &Path, staged: &Path, without: &[Dropped]) -> Result<(Rocks, List), Fatal> {
    files::stage(engine, staged)?;
    for table in without {
        let path = staged.join(&table.name);
        std::fs::remove_file(&path).map_err(|source| Fatal::Io { call: "remove", path, source })?;
    }
    Rocks::open_read_only(staged).map(|rocks| (rocks, List::Old)).or_else(|_| {
        let without = files::rebuild_list(staged)?;
        Ok((Rocks::open_read_only(staged)?, List::New { without }))
    })
}

/// Takes file and bytes out of what RocksDB says: "… in /path/000012.sst offset 4096 size 8192".
fn engine_damage(text: &str, engine: &Path) -> Damage {
    let number_after = |word: &str| {
        let rest = text.split(word).nth(1)?.trim_start();
        rest.split(|c: char| !c.is_ascii_digit()).next()?.parse::<u64>().ok()
    };
    let words = text.split(|c: char| c.is_whitespace() || c == ',' || c == ':');
    let mut paths = words.filter(|word| word.starts_with(&*engine.to_string_lossy()));
    let path = paths.next().map_or_else(|| engine.to_owned(), PathBuf::from);
    let bytes = number_after(" offset ").zip(number_after(" size ")).map(|(at, size)| (at, at + size));
    Damage { part: Part::Engine, path, bytes, what: text.to_owned() }
}
