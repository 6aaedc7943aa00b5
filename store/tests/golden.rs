//! Bytes that later versions must still read: commands as they are in the log, and the rows they
//! make. `tests/golden/commands` and `tests/golden/rows` hold them in hex; a difference is a change
//! of format, which needs a new kind, a higher required version, or a migration.
//! `UPDATE_GOLDENFILES=1` writes them.
use std::fmt::Write as _;
use std::path::Path;

use bramble_store::codec;
use bramble_store::command::{
    Action, AlarmChange, AuthChange, Command, DowngradeChange, Entry, Origin, Payload, RequestId,
};
use bramble_store::engine::mem::Mem;
use bramble_store::engine::{Cursor, Engine, Family, Read};
use bramble_store::error::{Fatal, Refusal};
use bramble_store::store::{self, Reply};
use bramble_store::types::*;

fn command(counter: u64, action: Action) -> Command {
    Command {
        request: RequestId { member: 0x8e9e_05c5_2164_694d, counter },
        origin: Origin::default(),
        required_version: 1,
        fence_term: None,
        action,
    }
}

fn put(key: &'static str, value: &'static str, lease: i64) -> PutRequest {
    let (key, value) = (key.into(), value.into());
    PutRequest { key, value, lease: LeaseId(lease), ..PutRequest::default() }
}

fn everything() -> TxnRequest {
    let compare = |start: &'static str, end: &'static str, target, result| Compare {
        range: KeyRange::from_wire(start.into(), end.into()),
        target,
        result,
    };
    let nested = TxnRequest {
        compare: vec![compare("a", "", CompareTarget::Value("1".into()), CompareResult::NotEqual)],
        success: vec![Op::Put(put("n", "1", 0))],
        failure: vec![Op::Delete(DeleteRequest { range: KeyRange::prefix("n"), prev_kv: true })],
    };
    TxnRequest {
        compare: vec![
            compare("a", "", CompareTarget::Version(1), CompareResult::Equal),
            compare("a", "c", CompareTarget::Create(9), CompareResult::Less),
            compare("a", "\0", CompareTarget::Mod(-1), CompareResult::Greater),
            compare("a", "", CompareTarget::Lease(LeaseId(7)), CompareResult::Equal),
        ],
        success: vec![
            Op::Range(RangeRequest {
                limit: 5,
                revision: 3,
                order: SortOrder::Descend,
                target: SortTarget::Value,
                detail: Detail::KeysOnly,
                filter: RevisionFilter { min_mod: 1, max_mod: 2, min_create: 3, max_create: -4 },
                ..RangeRequest::new(KeyRange::prefix("a"))
            }),
            Op::Put(PutRequest { prev_kv: true, ..put("t", "2", 7) }),
            Op::Txn(nested),
        ],
        failure: vec![],
    }
}

/// Commands about users, alarms, what is left of leases, and downgrades.
fn administration() -> Vec<Action> {
    let text = str::to_owned;
    let grant = |kind, key: &'static str, end: &'static str| AuthChange::RoleGrantPermission {
        role: text("reader"),
        permission: Some(Permission { kind, range: KeyRange::from_wire(key.into(), end.into()) }),
    };
    let add = |name: &str, password: &'static str, no_password| AuthChange::UserAdd {
        name: text(name),
        password: password.into(),
        no_password,
    };
    let auth = [
        add("root", "$2a$10$hash", false),
        add("by-certificate", "", true),
        add("gone", "$2a$10$gone", false),
        AuthChange::RoleAdd { name: text("reader") },
        AuthChange::RoleAdd { name: text("gone") },
        grant(PermissionKind::Read, "a", ""),
        grant(PermissionKind::Write, "b", "c"),
        grant(PermissionKind::ReadWrite, "d", "\0"),
        grant(PermissionKind::Read, "e", ""),
        AuthChange::RoleRevokePermission { role: text("reader"), range: KeyRange::single("e") },
        AuthChange::UserGrantRole { user: text("root"), role: text("root") },
        AuthChange::UserGrantRole { user: text("root"), role: text("reader") },
        AuthChange::UserGrantRole { user: text("by-certificate"), role: text("gone") },
        AuthChange::UserGrantRole { user: text("by-certificate"), role: text("reader") },
        AuthChange::UserRevokeRole { user: text("root"), role: text("reader") },
        AuthChange::RoleDelete { name: text("gone") },
        AuthChange::UserChangePassword { name: text("root"), password: "$2a$10$other".into() },
        AuthChange::UserDelete { name: text("gone") },
    ];
    let on = [
        AuthChange::Enable,
        AuthChange::Authenticate { user: text("root"), token: text("abcdefghijklmnop") },
    ];
    let alarms = [
        AlarmChange::Activate { member: 0x8e9e_05c5_2164_694d, kind: AlarmKind::NoSpace },
        AlarmChange::Activate { member: 7, kind: AlarmKind::Corrupt },
        AlarmChange::Deactivate { member: 7, kind: AlarmKind::Corrupt },
        AlarmChange::OverQuota { member: 9 },
        AlarmChange::UnderQuota { member: 9 },
        AlarmChange::OverQuota { member: 8 },
    ];
    let downgrades = [
        DowngradeChange::Enable { target_version: text("3.4.0") },
        DowngradeChange::Cancel,
        DowngradeChange::Enable { target_version: text("3.5.0") },
    ];
    let checkpoint = Action::LeaseCheckpoint { remaining: vec![(LeaseId(7), 35), (LeaseId(-9), 0)] };
    let changes = auth.into_iter().map(Action::Auth).chain(alarms.map(Action::Alarm)).chain([checkpoint]);
    changes.chain(downgrades.map(Action::Downgrade)).chain(on.map(Action::Auth)).collect()
}

fn commands() -> Vec<Command> {
    let mut commands: Vec<_> = [
        Action::LeaseGrant { id: LeaseId(7), ttl_s: 60 },
        Action::LeaseGrant { id: LeaseId(-2), ttl_s: 9_000_000_000 },
        Action::Put(put("a", "1", 7)),
        Action::Put(put("a\0b", "", -2)),
        Action::Put(PutRequest { ignore_value: true, ignore_lease: true, ..put("a", "", 0) }),
        Action::Txn(everything()),
        Action::Delete(DeleteRequest { range: KeyRange::from_wire("a\0".into(), "b".into()), prev_kv: true }),
        Action::Compact { revision: 3 },
        Action::LeaseRevoke { id: LeaseId(-2) },
    ]
    .into_iter()
    .chain(administration())
    .zip(1..)
    .map(|(action, counter)| command(counter, action))
    .collect();
    commands.push(Command {
        origin: Origin { user: "root".into(), auth_revision: 4 },
        fence_term: Some(1),
        ..command(300, Action::LeaseRevoke { id: LeaseId(7) })
    });
    commands
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// Compares with the file, or writes it.
fn golden(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDENFILES").is_some() {
        std::fs::write(&path, found).expect("writes");
    }
    let expected = std::fs::read_to_string(&path).expect("the golden file");
    assert_eq!(found, expected, "{} has changed", path.display());
}

#[test]
fn commands_keep_their_bytes() {
    let mut found = String::new();
    for command in commands() {
        let bytes = codec::encode(&command);
        assert_eq!(codec::decode(bytes.clone()).expect("decodes"), command);
        let _ = writeln!(found, "{}", hex(&bytes));
    }
    golden("commands", &found);
}

#[test]
fn rows_keep_their_bytes() {
    let engine = Mem::new();
    let (mut writer, reader) = store::open(engine.clone()).expect("opens");
    let mut entries = vec![Payload::Membership("members".into()), Payload::Blank];
    entries.extend(commands().iter().map(|command| Payload::Command(codec::encode(command))));
    entries.pop();
    let entries: Vec<_> = entries
        .into_iter()
        .zip(0..)
        .map(|(payload, index)| Entry { id: LogId { term: 2, index }, payload })
        .collect();
    let applied = writer.apply(&entries).expect("applies");
    assert!(applied.answers.iter().all(|answer| answer.outcome.is_ok()), "{:?}", applied.answers);
    assert_eq!(reader.view().membership(), Some(&(entries[0].id, "members".into())));
    writer.prepare_flush().expect("prepares");
    let mut found = String::new();
    for family in [Family::Rev, Family::Idx] {
        let view = engine.view();
        let mut cursor = view.cursor(family);
        cursor.seek(b"").expect("seeks");
        while let Some((row, value)) = cursor.row() {
            let _ = writeln!(found, "{family:?} {} {}", hex(row), hex(value));
            cursor.next().expect("steps");
        }
    }
    golden("rows", &found);
}

/// What a stopped node says about bytes that are not of this version, or no command at all.
#[test]
fn strange_commands_are_fatal_and_never_skipped() {
    let bytes = codec::encode(&commands()[0]);
    let changed = |at: usize, byte: u8| {
        let mut changed = bytes.to_vec();
        changed[at] = byte;
        codec::decode(changed.into())
    };
    assert!(matches!(changed(0, 2), Err(Fatal::Unknown { .. })), "format");
    assert!(matches!(changed(1, 99), Err(Fatal::Unknown { .. })), "kind");
    assert!(matches!(changed(2, 2), Err(Fatal::Unknown { .. })), "required version");
    assert!(matches!(changed(3, 4), Err(Fatal::Inconsistent(_))), "flags");
    for command in commands() {
        let bytes = codec::encode(&command);
        for length in 0..bytes.len() {
            assert!(codec::decode(bytes.slice(..length)).is_err(), "{length} bytes of {command:?}");
        }
        let longer = [&bytes[..], b"\0"].concat();
        assert!(codec::decode(longer.into()).is_err(), "one byte more than {command:?}");
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.to_vec();
                flipped[at] ^= 1 << bit;
                let _ = codec::decode(flipped.into());
            }
        }
    }
}

#[test]
fn entries_follow_each_other_and_overtaken_commands_do_nothing() {
    let (mut writer, reader) = store::open(Mem::new()).expect("opens");
    let entry = |term, index, fence_term| {
        let grant = Action::LeaseGrant { id: LeaseId(index as i64 + 1), ttl_s: 1 };
        let payload = Payload::Command(codec::encode(&Command { fence_term, ..command(index, grant) }));
        Entry { id: LogId { term, index }, payload }
    };
    let group = [entry(3, 0, Some(3)), entry(3, 1, Some(2)), entry(4, 2, None)];
    let outcomes: Vec<_> =
        writer.apply(&group).expect("applies").answers.into_iter().map(|a| a.outcome).collect();
    assert!(matches!(outcomes[0], Ok(Reply::LeaseGranted { .. })));
    assert_eq!(outcomes[1], Err(Refusal::Overtaken));
    assert!(matches!(outcomes[2], Ok(Reply::LeaseGranted { .. })));
    assert_eq!(reader.view().leases().expect("reads").len(), 2);
    assert_eq!(reader.view().applied(), Some(LogId { term: 4, index: 2 }));
    for wrong in [entry(4, 2, None), entry(4, 4, None), entry(3, 3, None)] {
        assert!(matches!(writer.apply(&[wrong]), Err(Fatal::Inconsistent(_))));
    }
}
