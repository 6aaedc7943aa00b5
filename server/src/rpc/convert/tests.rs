//! What clients send, byte for byte, and what they get, byte for byte.
use prost::Message;
use tonic::Code;

use super::*;

/// Hexadecimal text with spaces anywhere, as bytes.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().filter_map(|digit| digit.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// Decodes a transaction, checks that encoding gives the same bytes again, and converts it.
fn txn_from_hex(text: &str) -> TxnRequest {
    let bytes = hex(text);
    let message = pb::TxnRequest::decode(bytes.as_slice()).expect("a transaction");
    assert_eq!(message.encode_to_vec(), bytes, "the same bytes again");
    txn(message, 128).expect("a good transaction")
}

fn get(key: &'static str) -> Op {
    Op::Range(RangeRequest::new(KeyRange::single(key)))
}

fn put_op(key: &'static str, value: &'static str) -> Op {
    Op::Put(PutRequest { key: key.into(), value: value.into(), ..PutRequest::default() })
}

fn equal(key: &'static str, target: CompareTarget) -> Compare {
    Compare { range: KeyRange::single(key), target, result: CompareResult::Equal }
}

// The four transactions that a Kubernetes API server sends, as it sends them.

#[test]
fn kubernetes_create() {
    let sent = "0a11 1002 1a0b2f72656769737472792f61 3000   12 12 12 10 0a0b2f72656769737472792f61 120156";
    let meant = TxnRequest {
        compare: vec![equal("/registry/a", CompareTarget::Mod(0))],
        success: vec![put_op("/registry/a", "V")],
        failure: vec![],
    };
    assert_eq!(txn_from_hex(sent), meant);
}

#[test]
fn kubernetes_update() {
    let sent = "0a12 1002 1a0b2f72656769737472792f61 30ac02 1212 1210 0a0b2f72656769737472792f61 120156
                1a0f 0a0d 0a0b2f72656769737472792f61";
    let meant = TxnRequest {
        compare: vec![equal("/registry/a", CompareTarget::Mod(300))],
        success: vec![put_op("/registry/a", "V")],
        failure: vec![get("/registry/a")],
    };
    assert_eq!(txn_from_hex(sent), meant);
}

#[test]
fn kubernetes_delete() {
    let sent = "0a12 1002 1a0b2f72656769737472792f61 30ac02 120f 1a0d 0a0b2f72656769737472792f61
                1a0f 0a0d 0a0b2f72656769737472792f61";
    let delete = DeleteRequest { range: KeyRange::single("/registry/a"), prev_kv: false };
    let meant = TxnRequest {
        compare: vec![equal("/registry/a", CompareTarget::Mod(300))],
        success: vec![Op::Delete(delete)],
        failure: vec![get("/registry/a")],
    };
    assert_eq!(txn_from_hex(sent), meant);
}

#[test]
fn kubernetes_compact() {
    let sent = "0a13 1a0f636f6d706163745f7265765f6b6579 2000
                1216 1214 0a0f636f6d706163745f7265765f6b6579 120130
                1a13 0a11 0a0f636f6d706163745f7265765f6b6579";
    let meant = TxnRequest {
        compare: vec![equal("compact_rev_key", CompareTarget::Version(0))],
        success: vec![put_op("compact_rev_key", "0")],
        failure: vec![get("compact_rev_key")],
    };
    assert_eq!(txn_from_hex(sent), meant);
}

// Refusals.

fn refused<T: std::fmt::Debug>(result: Result<T, Status>) -> (Code, String) {
    let status = result.expect_err("a refusal");
    (status.code(), status.message().to_owned())
}

fn invalid(text: &str) -> (Code, String) {
    (Code::InvalidArgument, text.to_owned())
}

fn pb_op(request: PbOp) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

fn pb_get(key: &'static str) -> pb::RangeRequest {
    pb::RangeRequest { key: key.into(), ..Default::default() }
}

fn pb_put(key: &'static str) -> pb::RequestOp {
    pb_op(PbOp::RequestPut(pb::PutRequest { key: key.into(), ..Default::default() }))
}

fn success(ops: Vec<pb::RequestOp>) -> pb::TxnRequest {
    pb::TxnRequest { success: ops, ..Default::default() }
}

#[test]
fn unknown_sort_orders_and_targets_are_refused_after_an_empty_key() {
    for number in [-1, 3, i32::MAX] {
        let request = pb::RangeRequest { sort_order: number, ..pb_get("k") };
        assert_eq!(refused(range(request)), invalid("etcdserver: invalid sort option"), "{number}");
    }
    for number in [-1, 5, i32::MIN] {
        let request = pb::RangeRequest { sort_target: number, ..pb_get("k") };
        assert_eq!(refused(range(request)), invalid("etcdserver: invalid sort option"), "{number}");
    }
    let request = pb::RangeRequest { sort_order: 9, ..pb_get("") };
    assert_eq!(refused(range(request)), invalid("etcdserver: key is not provided"));
}

#[test]
fn unknown_guards_guard_by_refusing() {
    let with = |compare: pb::Compare| pb::TxnRequest { compare: vec![compare], ..Default::default() };
    let compare = pb::Compare { key: "k".into(), result: 4, ..Default::default() };
    assert_eq!(refused(txn(with(compare), 128)), invalid("etcdserver: invalid compare result"));
    let compare = pb::Compare { key: "k".into(), target: 5, ..Default::default() };
    assert_eq!(refused(txn(with(compare), 128)), invalid("etcdserver: invalid compare target"));
}

#[test]
fn an_operation_with_nothing_set_is_refused_in_its_turn() {
    let nothing = || pb::RequestOp { request: None };
    let not_set = invalid("etcdserver: key not found");
    let no_key = invalid("etcdserver: key is not provided");
    assert_eq!(refused(txn(success(vec![nothing()]), 128)), not_set);
    assert_eq!(refused(txn(success(vec![pb_put(""), nothing()]), 128)), no_key);
    assert_eq!(refused(txn(success(vec![nothing(), pb_put("")]), 128)), not_set);
    let in_failure =
        pb::TxnRequest { success: vec![pb_put("k")], failure: vec![nothing()], ..Default::default() };
    assert_eq!(refused(txn(in_failure, 128)), not_set);
    // The compares come before the operations, the count before everything.
    let keyless = pb::TxnRequest { compare: vec![pb::Compare::default()], ..success(vec![nothing()]) };
    assert_eq!(refused(txn(keyless.clone(), 128)), no_key);
    assert_eq!(refused(txn(keyless, 0)), invalid("etcdserver: too many operations in txn request"));
}

#[test]
fn a_transaction_inside_has_what_its_parent_leaves_over() {
    let inner = |ops: usize| pb_op(PbOp::RequestTxn(success(vec![pb_put("k"); ops])));
    let too_many = invalid("etcdserver: too many operations in txn request");
    assert!(txn(success(vec![pb_put("k"); 128]), 128).is_ok());
    assert_eq!(refused(txn(success(vec![pb_put("k"); 129]), 128)), too_many);
    assert!(txn(success(vec![inner(126), inner(126)]), 128).is_ok());
    assert_eq!(refused(txn(success(vec![inner(126), inner(127)]), 128)), too_many);
    assert_eq!(refused(txn(success([vec![pb_put("k"); 127], vec![inner(1)]].concat()), 128)).1, too_many.1);
}

#[test]
fn transactions_nested_too_deeply_are_an_error_of_the_decoder() {
    let nested = |levels: usize| {
        (1..levels).fold(success(vec![]), |inner, _| success(vec![pb_op(PbOp::RequestTxn(inner))]))
    };
    let decoded = |levels| pb::TxnRequest::decode(nested(levels).encode_to_vec().as_slice());
    assert!(txn(decoded(50).expect("not too deep"), 128).is_ok());
    for levels in [52, 1_000] {
        let error = decoded(levels).expect_err("too deep").to_string();
        assert!(error.contains("recursion limit"), "{levels}: {error}");
    }
}

// Meanings.

#[test]
fn a_compare_without_its_field_compares_with_zero() {
    let given = [
        None,
        Some(TargetUnion::Version(7)),
        Some(TargetUnion::CreateRevision(7)),
        Some(TargetUnion::ModRevision(7)),
        Some(TargetUnion::Value("7".into())),
        Some(TargetUnion::Lease(7)),
    ];
    let wanted = |target, field: usize, seven: bool| match (target, seven) {
        (PbTarget::Version, _) => CompareTarget::Version(if field == 1 { 7 } else { 0 }),
        (PbTarget::Create, _) => CompareTarget::Create(if field == 2 { 7 } else { 0 }),
        (PbTarget::Mod, _) => CompareTarget::Mod(if field == 3 { 7 } else { 0 }),
        (PbTarget::Value, true) => CompareTarget::Value("7".into()),
        (PbTarget::Value, false) => CompareTarget::Value(Bytes::new()),
        (PbTarget::Lease, _) => CompareTarget::Lease(LeaseId(if field == 5 { 7 } else { 0 })),
    };
    for target in [PbTarget::Version, PbTarget::Create, PbTarget::Mod, PbTarget::Value, PbTarget::Lease] {
        for (field, given) in given.iter().enumerate() {
            let compare = compare_target(target, given.clone());
            assert_eq!(compare, wanted(target, field, field == 4), "{target:?} given {given:?}");
        }
    }
}

#[test]
fn a_reading_transaction_is_serializable_when_every_range_is() {
    let local = || pb_op(PbOp::RequestRange(pb::RangeRequest { serializable: true, ..pb_get("k") }));
    let fresh = || pb_op(PbOp::RequestRange(pb_get("k")));
    let txn = |success, failure| pb::TxnRequest { success, failure, ..Default::default() };
    assert_eq!(txn_consistency(&txn(vec![], vec![])), Consistency::Serializable);
    assert_eq!(txn_consistency(&txn(vec![local()], vec![local()])), Consistency::Serializable);
    assert_eq!(txn_consistency(&txn(vec![local()], vec![fresh()])), Consistency::Linearizable);
    assert_eq!(txn_consistency(&txn(vec![local(), fresh()], vec![])), Consistency::Linearizable);
    assert_eq!(txn_consistency(&txn(vec![local(), pb_put("k")], vec![])), Consistency::Linearizable);
}

#[test]
fn a_range_keeps_every_option() {
    let request = pb::RangeRequest {
        key: "a".into(),
        range_end: "b".into(),
        limit: -3,
        revision: 9,
        sort_order: PbOrder::Descend.into(),
        sort_target: PbSortTarget::Value.into(),
        serializable: true,
        keys_only: true,
        count_only: false,
        min_mod_revision: 1,
        max_mod_revision: 2,
        min_create_revision: 3,
        max_create_revision: 4,
    };
    let meant = RangeRequest {
        range: KeyRange { start: "a".into(), end: bramble_store::types::RangeEnd::Before("b".into()) },
        limit: -3,
        revision: 9,
        order: SortOrder::Descend,
        target: SortTarget::Value,
        detail: Detail::KeysOnly,
        filter: RevisionFilter { min_mod: 1, max_mod: 2, min_create: 3, max_create: 4 },
    };
    assert_eq!(range(request.clone()).expect("a good range"), meant);
    let counted = range(pb::RangeRequest { count_only: true, ..request }).expect("a good range");
    assert_eq!(counted.detail, Detail::CountOnly, "wins over keys_only");
}

#[test]
fn a_watch_of_an_empty_key_begins_at_the_lowest() {
    let one = watch_create(pb::WatchCreateRequest::default());
    assert_eq!(one.range, KeyRange::single(&b"\0"[..]));
    let filters = vec![FilterType::Nodelete.into(), 77];
    let all = pb::WatchCreateRequest { range_end: (&b"\0"[..]).into(), filters, ..Default::default() };
    let all = watch_create(all);
    assert!(all.range.contains(b"\0") && all.range.contains(b"\xff"));
    assert_eq!((all.no_put, all.no_delete), (false, true));
}

// Answers.

const HEADER: Header = Header { cluster_id: 1, member_id: 2, revision: 301, raft_term: 3 };

fn stored() -> KeyValue {
    KeyValue {
        key: "a".into(),
        create_revision: 300,
        mod_revision: 301,
        version: 2,
        value: "V".into(),
        lease: LeaseId(-1),
    }
}

/// `stored()` on the wire, 28 bytes: a negative number takes ten.
const STORED: &str = "0a0161 10ac02 18ad02 2002 2a0156 30ffffffffffffffffff01";

#[test]
fn a_range_answer_in_bytes() {
    let reply = RangeReply { revision: 301, kvs: vec![stored()], more: true, count: 5 };
    let expected = format!("0a09 0801 1002 18ad02 2003  1219 {STORED}  1801 2005");
    assert_eq!(range_response(header(HEADER), reply).encode_to_vec(), hex(&expected));
    // Nothing found: no record, no count, and still a header.
    let reply = RangeReply { revision: 301, ..RangeReply::default() };
    assert_eq!(range_response(header(HEADER), reply).encode_to_vec(), hex("0a09 0801 1002 18ad02 2003"));
}

#[test]
fn a_transactions_answer_in_bytes() {
    let inside = TxnReply { revision: 301, succeeded: false, replies: vec![] };
    let reply = TxnReply {
        revision: 301,
        succeeded: true,
        replies: vec![
            OpReply::Range(RangeReply { revision: 300, ..RangeReply::default() }),
            OpReply::Put(PutReply { revision: 301, prev_kv: Some(stored()) }),
            OpReply::Delete(DeleteReply { revision: 301, deleted: 1, prev_kvs: vec![] }),
            OpReply::Txn(inside),
        ],
    };
    let expected = format!(
        "0a09 0801 1002 18ad02 2003  1001
         1a07 0a05 0a03 18ac02
         1a22 1220 0a03 18ad02 1219 {STORED}
         1a09 1a07 0a03 18ad02 1001
         1a04 2202 0a00"
    );
    assert_eq!(txn_response(header(HEADER), reply).encode_to_vec(), hex(&expected));
}

#[test]
fn a_watchs_answers_in_bytes() {
    let tombstone = KeyValue { key: "a".into(), mod_revision: 302, ..KeyValue::default() };
    let events = vec![
        Event { kind: EventKind::Put, kv: stored(), prev_kv: None },
        Event { kind: EventKind::Delete, kv: tombstone, prev_kv: Some(stored()) },
    ];
    let response = WatchResponse { header: HEADER, watch_id: 4, events, ..WatchResponse::default() };
    let expected = format!(
        "0a09 0801 1002 18ad02 2003  1004
         5a1b 1219 {STORED}
         5a25 0801 1206 0a0161 18ae02 1a19 {STORED}"
    );
    assert_eq!(watch_response(response).encode_to_vec(), hex(&expected));

    let refused = WatchResponse {
        header: HEADER,
        watch_id: -1,
        created: true,
        canceled: true,
        cancel_reason: "no".to_owned(),
        ..WatchResponse::default()
    };
    let expected = "0a09 0801 1002 18ad02 2003  10ffffffffffffffffff01 1801 2001 32026e6f";
    assert_eq!(watch_response(refused).encode_to_vec(), hex(expected));

    let header = Header { revision: 0, ..HEADER };
    let compacted =
        WatchResponse { header, watch_id: 4, canceled: true, compact_revision: 300, ..Default::default() };
    assert_eq!(watch_response(compacted).encode_to_vec(), hex("0a06 0801 1002 2003  1004 2001 28ac02"));
}

#[test]
fn a_member_in_bytes() {
    let member = member(Member {
        id: 1,
        name: "n".to_owned(),
        peer_urls: vec!["p".to_owned()],
        client_urls: vec!["c".to_owned(), "d".to_owned()],
        learner: true,
    });
    assert_eq!(member.encode_to_vec(), hex("0801 12016e 1a0170 220163 220164 2801"));
}
