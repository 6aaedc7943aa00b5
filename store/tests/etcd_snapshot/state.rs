//! Random states, and how two of them are compared.
use bramble_store::codec;
use bramble_store::command::{Action, AuthChange, Command, Entry, Origin, Payload, RequestId};
use bramble_store::engine::Read;
use bramble_store::engine::mem::Mem;
use bramble_store::snapshot::etcd::{Export, Step};
use bramble_store::store::{self, ReadView, Reader, Writer};
use bramble_store::types::*;
use bytes::Bytes;

use crate::common::Random;

/// The whole file; its length is what was measured.
pub fn file_of<V: Read>(view: ReadView<V>) -> Vec<u8> {
    let (mut export, mut file) = (Export::of(view), Vec::new());
    loop {
        match export.step().expect("memory") {
            Step::Measured => {}
            Step::Bytes(bytes) => file.extend(bytes),
            Step::End => break,
        }
    }
    assert_eq!(export.bytes(), Some(file.len() as u64));
    file
}

/// Applies one command; refusals are fine.
pub fn apply(writer: &mut Writer<Mem>, action: Action) -> store::Outcome {
    let index = writer.applied().map_or(0, |id| id.index + 1);
    let command = Command {
        request: RequestId { member: 7, counter: index },
        origin: Origin::default(),
        required_version: 1,
        fence_term: None,
        action,
    };
    let id = LogId { term: 1, index };
    let entry = Entry { id, payload: Payload::Command(codec::encode(&command)) };
    writer.apply(&[entry]).expect("memory").answers.remove(0).outcome
}

/// A state after so many random commands.
pub fn random_state(random: &mut Random, commands: usize) -> (Writer<Mem>, Reader<Mem>) {
    let (mut writer, reader) = store::open(Mem::new()).expect("memory");
    for _ in 0..commands {
        let revision = reader.view().revision();
        let _ = apply(&mut writer, random_action(random, revision));
        if random.one_in(10) {
            writer.scrub(1 + random.below(30)).expect("memory");
        }
    }
    if random.one_in(2) {
        enable_auth(&mut writer);
    }
    (writer, reader)
}

fn enable_auth(writer: &mut Writer<Mem>) {
    let root = || "root".to_owned();
    let add = AuthChange::UserAdd { name: root(), password: "$2a$04$hash".into(), no_password: false };
    for change in [add, AuthChange::UserGrantRole { user: root(), role: root() }, AuthChange::Enable] {
        apply(writer, Action::Auth(change)).expect("nobody is root yet");
    }
}

fn key(random: &mut Random) -> Bytes {
    match random.below(10) {
        0 => Bytes::from_static(b"\0"),
        1 => Bytes::from_static(b"a\0\xff"),
        _ => format!("key/{:02}", random.below(30)).into(),
    }
}

fn put(random: &mut Random) -> PutRequest {
    let length = match random.below(20) {
        0 => 0,
        1 => random.below(12_000),
        _ => random.below(200),
    };
    let lease = LeaseId([0, 0, 0, 1, 2, -3][random.below(6)]);
    PutRequest { key: key(random), value: vec![b'v'; length].into(), lease, ..PutRequest::default() }
}

fn delete(random: &mut Random) -> DeleteRequest {
    let range = match random.one_in(8) {
        true => KeyRange::prefix(format!("key/{}", random.below(3))),
        false => KeyRange::single(key(random)),
    };
    DeleteRequest { range, prev_kv: false }
}

fn random_action(random: &mut Random, revision: i64) -> Action {
    let lease = LeaseId([1, 2, -3][random.below(3)]);
    let (user, role) = (format!("user-{}", random.below(4)), format!("role-{}", random.below(4)));
    match random.below(40) {
        0..=19 => Action::Put(put(random)),
        20..=25 => Action::Delete(delete(random)),
        26..=30 => {
            let mut puts: Vec<PutRequest> = (0..random.below(5)).map(|_| put(random)).collect();
            puts.sort_by(|one, other| one.key.cmp(&other.key));
            puts.dedup_by(|one, other| one.key == other.key);
            let success = puts.into_iter().map(Op::Put).chain([Op::Delete(delete(random))]).collect();
            Action::Txn(TxnRequest { success, ..TxnRequest::default() })
        }
        31..=33 => Action::LeaseGrant { id: lease, ttl_s: 10 + random.below(1_000) as i64 },
        34 => Action::LeaseRevoke { id: lease },
        35 => Action::LeaseCheckpoint { remaining: vec![(lease, 1 + random.below(9) as i64)] },
        36 => Action::Compact { revision: 1 + random.below(revision as usize) as i64 },
        37 => {
            let no_password = random.one_in(3);
            let password = if no_password { Bytes::new() } else { "$2a$04$hash".into() };
            Action::Auth(AuthChange::UserAdd { name: user, password, no_password })
        }
        38 => match random.one_in(2) {
            true => Action::Auth(AuthChange::RoleAdd { name: role }),
            false => Action::Auth(AuthChange::UserGrantRole { user, role }),
        },
        _ => {
            let range =
                [KeyRange::single("a"), KeyRange::prefix("b"), KeyRange::all()][random.below(3)].clone();
            let permission = Some(Permission { kind: PermissionKind::ReadWrite, range });
            Action::Auth(AuthChange::RoleGrantPermission { role, permission })
        }
    }
}

/// Everything that anybody can ask for is the same.
pub fn assert_same<V: Read>(one: &ReadView<V>, other: &ReadView<V>) {
    assert_eq!((one.revision(), one.compacted()), (other.revision(), other.compacted()));
    assert_eq!(
        one.hash().expect("readable"),
        other.hash().expect("readable"),
        "leases, users, roles, history"
    );
    let floor = one.compacted().max(1);
    for main in floor..=one.revision() {
        assert_eq!(one.hash_kv(main).expect("readable"), other.hash_kv(main).expect("readable"));
        let all = RangeRequest { revision: main, ..RangeRequest::new(KeyRange::all()) };
        assert_eq!(one.range(&all).expect("readable"), other.range(&all).expect("readable"));
    }
    let changes = |view: &ReadView<V>| view.changes(floor, usize::MAX).expect("readable");
    assert_eq!(changes(one), changes(other));
    for lease in one.leases().expect("readable") {
        let keys = |view: &ReadView<V>| view.lease_keys(lease.id).expect("readable");
        assert_eq!(keys(one), keys(other));
    }
    assert_eq!(one.auth(), other.auth());
}

/// The newest state of the keys is the same, whatever revision it is at.
pub fn assert_same_keys<V: Read>(one: &ReadView<V>, other: &ReadView<V>) {
    let all = RangeRequest::new(KeyRange::all());
    let (one, other) = (one.range(&all).expect("readable"), other.range(&all).expect("readable"));
    assert_eq!((one.kvs, one.count), (other.kvs, other.count));
}

/// Every write finds the state that it needs.
pub fn write_and_delete_everything(writer: &mut Writer<Mem>, reader: &Reader<Mem>) {
    if reader.view().auth().enabled {
        return;
    }
    let all = RangeRequest::new(KeyRange::all());
    for kv in reader.view().range(&all).expect("readable").kvs {
        let put = PutRequest { key: kv.key.clone(), value: "new".into(), ..PutRequest::default() };
        apply(writer, Action::Put(put)).expect("a put");
        let found = reader.view().range(&RangeRequest::new(KeyRange::single(kv.key))).expect("readable");
        assert_eq!(
            (found.kvs[0].version, found.kvs[0].create_revision),
            (kv.version + 1, kv.create_revision)
        );
    }
    for lease in reader.view().leases().expect("readable") {
        apply(writer, Action::LeaseRevoke { id: lease.id }).expect("it is there");
    }
    let everything = DeleteRequest { range: KeyRange::all(), prev_kv: false };
    apply(writer, Action::Delete(everything)).expect("a delete");
    assert_eq!(reader.view().range(&all).expect("readable").count, 0);
    let revision = reader.view().revision();
    let _ = apply(writer, Action::Compact { revision });
    while writer.scrub(100).expect("memory") != store::Scrub::Idle {}
    reader.view().hash().expect("readable");
}
