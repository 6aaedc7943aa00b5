//! The hash of the whole state: equal on replicas with one state, changed by every change.
use bramble_store::codec;
use bramble_store::command::{
    Action, AlarmChange, AuthChange, Command, DowngradeChange, Entry, Origin, Payload, RequestId,
};
use bramble_store::engine::mem::Mem;
use bramble_store::store::{self, Reader, Scrub, Writer};
use bramble_store::types::*;

struct Replica {
    writer: Writer<Mem>,
    reader: Reader<Mem>,
}

impl Replica {
    fn new() -> Replica {
        let (writer, reader) = store::open(Mem::new()).expect("opens");
        Replica { writer, reader }
    }

    fn apply(&mut self, log: &[Entry]) {
        let applied = self.writer.apply(log).expect("applies");
        assert!(applied.answers.iter().all(|answer| answer.outcome.is_ok()), "{applied:?}");
    }

    fn hash(&self) -> u32 {
        let (hash, revision) = self.reader.view().hash().expect("hashes");
        assert_eq!(revision, self.reader.view().revision());
        hash
    }
}

fn entry(index: u64, action: Action) -> Entry {
    let command = Command {
        request: RequestId { member: 7, counter: index },
        origin: Origin::default(),
        required_version: 1,
        fence_term: None,
        action,
    };
    Entry { id: LogId { term: 1, index }, payload: Payload::Command(codec::encode(&command)) }
}

fn put(key: &'static str, value: &'static str, lease: i64) -> Action {
    let lease = LeaseId(lease);
    Action::Put(PutRequest { key: key.into(), value: value.into(), lease, ..PutRequest::default() })
}

/// Each changes the state.
fn changes() -> Vec<Action> {
    let alarm = AlarmChange::Activate { member: 7, kind: AlarmKind::NoSpace };
    let (name, password) = ("u".to_owned(), "hash".into());
    vec![
        put("a", "1", 0),
        put("a", "1", 0),
        put("b", "1", 0),
        Action::LeaseGrant { id: LeaseId(5), ttl_s: 60 },
        put("c", "1", 5),
        Action::Delete(DeleteRequest { range: KeyRange::single("b"), prev_kv: false }),
        Action::LeaseCheckpoint { remaining: vec![(LeaseId(5), 30)] },
        Action::LeaseGrant { id: LeaseId(-5), ttl_s: 60 },
        Action::Auth(AuthChange::UserAdd { name, password, no_password: false }),
        Action::Auth(AuthChange::RoleAdd { name: "r".into() }),
        Action::Downgrade(DowngradeChange::Enable { target_version: "3.5.0".into() }),
        Action::Compact { revision: 4 },
        Action::Alarm(alarm),
        Action::LeaseRevoke { id: LeaseId(5) },
    ]
}

#[test]
fn replicas_with_one_state_have_one_hash_and_every_change_another() {
    let log: Vec<_> = changes().into_iter().enumerate().map(|(n, action)| entry(n as u64, action)).collect();
    let (mut busy, mut lazy) = (Replica::new(), Replica::new());
    let mut seen = vec![busy.hash()];
    for entry in &log {
        busy.apply(std::slice::from_ref(entry));
        let before = busy.hash();
        while busy.writer.scrub(1).expect("scrubs") == Scrub::More {}
        busy.writer.prepare_flush().expect("prepares");
        busy.writer.flusher().flush().expect("flushes");
        assert_eq!(busy.hash(), before, "erasing and counting change nothing");
        assert!(!seen.contains(&before), "{entry:?} changed nothing");
        seen.push(before);
    }
    lazy.apply(&log);
    assert_eq!(lazy.hash(), busy.hash());
    let blank = Entry { id: LogId { term: 2, index: log.len() as u64 }, payload: Payload::Blank };
    lazy.apply(&[blank]);
    assert_eq!(lazy.hash(), busy.hash(), "how far it is applied is no part of the state");
}
