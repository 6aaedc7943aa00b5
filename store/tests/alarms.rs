//! An alarm that a quota raised goes when there is space again; one that somebody asked for stays.
use bramble_store::codec;
use bramble_store::command::{Action, AlarmChange, Command, Entry, Origin, Payload, RequestId};
use bramble_store::engine::mem::Mem;
use bramble_store::error::Refusal;
use bramble_store::store::{self, Outcome, Reader, Reply, Writer};
use bramble_store::types::{AlarmKind, LogId, PutRequest};

const MEMBER: u64 = 7;
const NOSPACE: (u64, AlarmKind) = (MEMBER, AlarmKind::NoSpace);
const ASKED: Action = Action::Alarm(AlarmChange::Activate { member: MEMBER, kind: AlarmKind::NoSpace });
const CLEARED: Action = Action::Alarm(AlarmChange::Deactivate { member: MEMBER, kind: AlarmKind::NoSpace });
const OVER: Action = Action::Alarm(AlarmChange::OverQuota { member: MEMBER });
const UNDER: Action = Action::Alarm(AlarmChange::UnderQuota { member: MEMBER });

struct World {
    engine: Mem,
    writer: Writer<Mem>,
    reader: Reader<Mem>,
    index: u64,
}

impl World {
    fn new() -> World {
        let engine = Mem::new();
        let (writer, reader) = store::open(engine.clone()).expect("opens");
        World { engine, writer, reader, index: 0 }
    }

    fn apply(&mut self, action: Action) -> Outcome {
        let command = Command {
            request: RequestId { member: MEMBER, counter: self.index },
            origin: Origin::default(),
            required_version: 1,
            fence_term: None,
            action,
        };
        let bytes = codec::encode(&command);
        assert_eq!(codec::decode(bytes.clone()).expect("decodes"), command);
        let entry = Entry { id: LogId { term: 1, index: self.index }, payload: Payload::Command(bytes) };
        self.index += 1;
        self.writer.apply(&[entry]).expect("applies").answers.remove(0).outcome
    }

    /// The alarms that the answer lists.
    fn listed(&mut self, action: Action) -> Vec<(u64, AlarmKind)> {
        match self.apply(action) {
            Ok(Reply::Alarms { alarms, .. }) => alarms,
            other => panic!("{other:?}"),
        }
    }

    fn raised(&self) -> (bool, bool) {
        let view = self.reader.view();
        (view.alarms() == [NOSPACE], view.over_quota(MEMBER))
    }

    fn reopen(&mut self) {
        self.writer.flusher().flush().expect("flushes");
        (self.writer, self.reader) = store::open(self.engine.clone()).expect("opens");
    }
}

#[test]
fn what_a_quota_raised_it_clears() {
    let mut world = World::new();
    assert_eq!(world.listed(UNDER), []);
    assert_eq!(world.listed(OVER), [NOSPACE]);
    assert_eq!(world.raised(), (true, true));
    let put = Action::Put(PutRequest { key: "k".into(), ..PutRequest::default() });
    assert_eq!(world.apply(put.clone()), Err(Refusal::NoSpace));
    world.reopen();
    assert_eq!(world.raised(), (true, true), "it is part of the state");
    assert_eq!(world.listed(OVER), [NOSPACE]);
    assert_eq!(world.listed(UNDER), [NOSPACE]);
    assert_eq!(world.raised(), (false, false));
    assert!(world.apply(put).is_ok());
}

#[test]
fn what_somebody_asked_for_stays() {
    for order in [[ASKED, OVER], [OVER, ASKED]] {
        let mut world = World::new();
        for action in order.clone() {
            assert_eq!(world.listed(action), [NOSPACE]);
        }
        assert_eq!(world.raised(), (true, false), "{order:?}");
        assert_eq!(world.listed(UNDER), []);
        world.reopen();
        assert_eq!(world.raised(), (true, false), "{order:?}");
        assert_eq!(world.listed(CLEARED), [NOSPACE]);
        assert_eq!(world.raised(), (false, false));
    }
}

#[test]
fn who_clears_a_quotas_alarm_has_cleared_it() {
    let mut world = World::new();
    world.listed(OVER);
    assert_eq!(world.listed(CLEARED), [NOSPACE]);
    assert_eq!(world.raised(), (false, false));
    assert_eq!(world.listed(ASKED), [NOSPACE]);
    assert_eq!(world.raised(), (true, false), "the next one is not the quota's");
    let other = Action::Alarm(AlarmChange::OverQuota { member: 8 });
    assert_eq!(world.listed(other), [(8, AlarmKind::NoSpace)]);
    assert!(world.reader.view().over_quota(8) && !world.reader.view().over_quota(MEMBER));
}
