//! Writes the first inputs of every target, by our own encoders, into `corpus/`. Run it after a change of a
//! format: `cargo run --release --example seeds`.
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bramble_store::codec::*;
use bramble_store::command::{Command, Entry, Origin, Payload};
use bramble_store::data_dir::{DataDir, Ids};
use bramble_store::disk::sim::SimDisk;
use bramble_store::log::{Log, LogOptions, Vote};
use bramble_store::snapshot::bbolt::Writer;
use bramble_store::types::*;
use bramble_store_fuzz::Input;
use bramble_store_fuzz::segments::SEGMENT_BYTES;
use bytes::Bytes;

fn main() -> std::io::Result<()> {
    let commands = golden_commands()?;
    for (number, bytes) in commands.iter().enumerate() {
        save("command", &format!("golden-{number:02}"), bytes)?;
    }
    records()?;
    rows()?;
    apply(&commands)?;
    log()?;
    bbolt()?;
    data_dir()
}

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn save(target: &str, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    let folder = here("corpus").join(target);
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join(name), bytes)
}

fn unhex(text: &str) -> Vec<u8> {
    let pair = |pair: &[u8]| {
        let text = std::str::from_utf8(pair).expect("hex");
        u8::from_str_radix(text, 16).expect("hex")
    };
    text.as_bytes().chunks(2).map(pair).collect()
}

/// The commands that the tests pin.
fn golden_commands() -> std::io::Result<Vec<Vec<u8>>> {
    let text = std::fs::read_to_string(here("../tests/golden/commands"))?;
    Ok(text.lines().map(unhex).collect())
}

fn records() -> std::io::Result<()> {
    let kv = KeyValue {
        key: "a\0b".into(),
        create_revision: 5,
        mod_revision: 300,
        version: 2,
        value: "value".into(),
        lease: LeaseId(-2),
    };
    save("record", "key_value", &encode_key_value(&kv))?;
    save("record", "lease", &encode_lease(&Lease { id: LeaseId(7), ttl_s: 60, remaining_s: 35 }))?;
    let roles = vec!["reader".to_owned(), "root".to_owned()];
    let user = User { name: "root".to_owned(), password: "$2a$10$hash".into(), roles, no_password: false };
    save("record", "user", &encode_user(&user))?;
    save("record", "user-no-password", &encode_user(&User { no_password: true, ..User::default() }))?;
    let permission = |kind, range| Permission { kind, range };
    let permissions = vec![
        permission(PermissionKind::Read, KeyRange::single("a")),
        permission(PermissionKind::Write, KeyRange::prefix("b")),
        permission(PermissionKind::ReadWrite, KeyRange::from_wire("c".into(), Bytes::from_static(b"\0"))),
    ];
    save("record", "role", &encode_role(&Role { name: "reader".to_owned(), permissions }))?;
    save("record", "alarm", &encode_alarm(7, AlarmKind::Corrupt))
}

/// The rows that the tests pin, all and by table.
fn rows() -> std::io::Result<()> {
    let text = std::fs::read_to_string(here("../tests/golden/rows"))?;
    let mut all = Input::default();
    for (number, line) in text.lines().enumerate() {
        let mut words = line.split(' ');
        let family = u8::from(words.next() == Some("Idx"));
        let (name, value) = (unhex(words.next().unwrap_or("")), unhex(words.next().unwrap_or("")));
        all.byte(family).part(&name).part(&value);
        let mut one = Input::default();
        save("rows", &format!("golden-{number:02}"), &one.byte(family).part(&name).part(&value).bytes)?;
    }
    save("rows", "golden-all", &all.bytes)?;
    // Found by fuzzing: too short for its revision.
    let (mut short, name) = (Input::default(), b"ka\0\x01-\xff\xff\x10\0\0\0\0\0\0\0\x03");
    save("rows", "short-version-row", &short.byte(1).part(name).part(&[2, 2, 7]).bytes)
}

/// The same commands as a sequence, asked by root, and each after the first few.
fn apply(commands: &[Vec<u8>]) -> std::io::Result<()> {
    let asked = |bytes: &Vec<u8>| {
        let command = decode(Bytes::from(bytes.clone())).expect("golden");
        let origin = Origin { user: "root".to_owned(), auth_revision: 99 };
        encode(&Command { origin, fence_term: None, ..command })
    };
    let mut all = Input::default();
    commands.iter().for_each(|bytes| {
        all.part(&asked(bytes));
    });
    save("apply", "golden-all", &all.bytes)?;
    for (number, bytes) in commands.iter().enumerate() {
        let mut input = Input::default();
        commands[..4].iter().for_each(|first| {
            input.part(&asked(first));
        });
        save("apply", &format!("golden-{number:02}"), &input.part(&asked(bytes)).bytes)?;
    }
    Ok(())
}

/// A database with a few records, as it is and as pages to make one of.
fn bbolt() -> std::io::Result<()> {
    let mut rows: Vec<(&str, Vec<u8>, Vec<u8>)> = Vec::new();
    rows.push(("auth", b"authEnabled".to_vec(), vec![0]));
    let role = Role { name: "reader".to_owned(), permissions: Vec::new() };
    rows.push(("authRoles", b"reader".to_vec(), encode_role(&role)));
    let user = User { name: "root".to_owned(), roles: vec!["root".to_owned()], ..User::default() };
    rows.push(("authUsers", b"root".to_vec(), encode_user(&user)));
    for (main, version) in [(2_i64, 1), (3, 2), (4, 0), (5, 1)] {
        let create_revision = if main < 4 { 2 } else { main };
        let (key, lease) = ("k".into(), LeaseId(7));
        let (mark, kv) = match version {
            0 => (&b"t"[..], KeyValue { key, ..KeyValue::default() }),
            _ => (
                &b""[..],
                KeyValue { key, create_revision, mod_revision: main, version, lease, ..KeyValue::default() },
            ),
        };
        let name = [&main.to_be_bytes()[..], b"_", &[0; 8], mark].concat();
        rows.push(("key", name, encode_key_value(&kv)));
    }
    let lease = Lease { id: LeaseId(7), ttl_s: 60, remaining_s: 35 };
    rows.push(("lease", 7_i64.to_be_bytes().to_vec(), encode_lease(&lease)));
    let floor = [&2_i64.to_be_bytes()[..], b"_", &[0; 8]].concat();
    rows.push(("meta", b"finishedCompactRev".to_vec(), floor));
    let mut writer = Writer::default();
    let mut made = Input::default();
    // The root is the last page; each bucket before it is one.
    let names = ["auth", "authRoles", "authUsers", "key", "lease", "meta"];
    made.byte(0).byte(2 + names.len() as u8).byte(names.len() as u8 + 1);
    for name in names {
        let of_it: Vec<_> = rows.iter().filter(|(bucket, ..)| *bucket == name).collect();
        made.byte(2).byte(0).byte(of_it.len() as u8);
        for (_, key, value) in of_it {
            writer.put(key, value).expect("sorted");
            made.byte(0).part(key).part(value);
        }
        writer.end_bucket(name);
    }
    made.byte(2).byte(0).byte(names.len() as u8);
    for (page, name) in (2_u64..).zip(names) {
        made.byte(1).part(name.as_bytes()).part(&[page.to_le_bytes(), [0; 8]].concat());
    }
    save("bbolt", "made", &made.bytes)?;
    let (pages, layout) = writer.finish();
    save("bbolt", "file", &[&[0, 255], &layout.metas()[..], &pages].concat())
}

/// Segments as the log writes them: as they are, and their payloads to make other segments of.
fn log() -> std::io::Result<()> {
    let disk = SimDisk::new(1);
    let options = LogOptions {
        segment_bytes: SEGMENT_BYTES as u64,
        ring_segments: 2,
        first_fill_bytes: SEGMENT_BYTES as u64,
        ..LogOptions::default()
    };
    let (mut log, _) = Log::open(Arc::new(disk.clone()), Path::new("/log"), options).expect("an empty disk");
    let id = |term, index| LogId { term, index };
    let blank = |id| Entry { id, payload: Payload::Blank };
    log.save_vote(Vote { term: 1, node: 300, committed: true });
    log.append(&[blank(id(1, 0)), Entry { id: id(1, 1), payload: Payload::Command("put".into()) }])
        .expect("follows");
    log.flush().expect("the disk works");
    log.truncate_after(Some(id(1, 0))).expect("it is there");
    log.append(&[Entry { id: id(2, 1), payload: Payload::Membership("members".into()) }]).expect("follows");
    log.save_committed(id(2, 1));
    log.flush().expect("the disk works");
    log.note_durable(id(2, 1));
    log.purge(id(2, 1));
    for index in 2..7 {
        log.append(&[blank(id(2, index))]).expect("follows");
        log.flush().expect("the disk works");
    }
    log.note_durable(id(3, 20));
    log.reset_to(id(3, 20)).expect("the engine is there");
    log.seal().expect("the disk works");
    let mut made = Input::default();
    let files = disk.files();
    made.byte(files.len() as u8 - 1);
    for (path, _) in files {
        let bytes = disk.contents(&path)?;
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        save("log", &format!("segment-{name}"), &[&[255], &bytes[..used]].concat())?;
        if name == "00000000" {
            // Found by fuzzing: header and first frame are lost, others are not.
            let mut lost = bytes[..used].to_vec();
            lost[..2 * 4096].fill(0);
            save("log", "lost-header", &[&[255], &lost[..]].concat())?;
        }
        let payloads: Vec<_> = bytes.chunks(4096).skip(1).filter_map(payload).collect();
        made.byte(0).byte(payloads.len() as u8);
        for payload in payloads {
            made.byte(0).part(payload);
        }
    }
    save("log", "made", &made.bytes)
}

/// The payload of the frame of one block.
fn payload(block: &[u8]) -> Option<&[u8]> {
    let length = u32::from_le_bytes(block[32..36].try_into().ok()?);
    (block[20..24] == *b"BrLf").then(|| &block[48..48 + length as usize])
}

fn data_dir() -> std::io::Result<()> {
    let (disk, dir) = (SimDisk::new(1), Path::new("/data"));
    let ids = Ids { cluster: 1, member: 0x8e9e_05c5_2164_694d, instance: 3 };
    DataDir::open(Arc::new(disk.clone()), dir, ids).expect("an empty disk");
    let (format, identity) = (disk.contents(&dir.join("FORMAT"))?, disk.contents(&dir.join("IDENTITY"))?);
    let mut whole = Input::default();
    save("data_dir", "whole", &whole.part(&format).part(&identity).bytes)?;
    let mut half = Input::default();
    save("data_dir", "half", &half.part(&format).part(b"").part(b"").part(&identity).bytes)?;
    save("data_dir", "empty", &[])
}
