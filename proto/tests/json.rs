//! The JSON mapping: what is written, and all the ways of saying the same that are read.
use bramble_proto::etcdserverpb as pb;
use bramble_proto::etcdserverpb::compare::{CompareTarget, TargetUnion};
use bramble_proto::etcdserverpb::request_op::Request;
use bramble_proto::mvccpb;

fn range(json: &str) -> Result<pb::RangeRequest, serde_json::Error> {
    serde_json::from_str(json)
}

#[test]
fn many_ways_to_say_the_same() {
    let wanted = pb::RangeRequest {
        key: "foo".into(),
        limit: 1000,
        sort_order: 2,
        sort_target: 1,
        serializable: true,
        ..Default::default()
    };
    let ways = [
        r#"{"key":"Zm9v","limit":"1000","sort_order":"DESCEND","sort_target":"VERSION","serializable":true}"#,
        r#"{"key":"Zm9v","limit":1000,"sortOrder":2,"sortTarget":1.0,"serializable":true}"#,
        r#" { "serializable" : true , "sort_target" : 1, "limit":1e3,"key":"Zm\n9v\r\n","sort_order":2e0} "#,
        r#"{"key":"Zm9v","limit":"1e3","sort_order":"DESCEND","sort_target":"VERSION","serializable":true,
            "range_end":null,"revision":null,"keys_only":null,"min_mod_revision":"0","unknown":{"a":[1,{}]}}"#,
    ];
    for way in ways {
        assert_eq!(range(way).expect(way), wanted, "{way}");
    }
    assert_eq!(range(r#"{"key":null,"sort_order":null}"#).expect("nulls"), pb::RangeRequest::default());
    assert_eq!(range("{}").expect("nothing"), pb::RangeRequest::default());
}

#[test]
fn base64_in_gos_spirit() {
    for (text, bytes) in [
        ("+/8=", &b"\xfb\xff"[..]),
        ("-_8=", b"\xfb\xff"),
        ("-_8", b"\xfb\xff"),
        ("Zh==", b"f"),
        ("Zg", b"f"),
        ("", b""),
    ] {
        let read = range(&format!(r#"{{"key":"{text}"}}"#)).expect(text);
        assert_eq!(read.key, bytes, "{text}");
    }
    for text in ["Z", "Z!==", "Zm9v=", "=", "Zg===", "+_8="] {
        assert!(range(&format!(r#"{{"key":"{text}"}}"#)).is_err(), "{text}");
    }
}

#[test]
fn what_is_no_number_enum_or_claim_is_refused() {
    for json in [
        r#"{"limit":1.5}"#,
        r#"{"limit":"+1"}"#,
        r#"{"limit":" 1"}"#,
        r#"{"limit":""}"#,
        r#"{"limit":"inf"}"#,
        r#"{"limit":"0x1"}"#,
        r#"{"limit":true}"#,
        r#"{"limit":[]}"#,
        r#"{"limit":9223372036854775808}"#,
        r#"{"limit":1e40}"#,
        r#"{"sort_order":"NOPE"}"#,
        r#"{"sort_order":"1"}"#,
        r#"{"sort_order":4294967296}"#,
        r#"{"sort_order":0.5}"#,
        r#"{"serializable":"true"}"#,
        r#"{"serializable":1}"#,
        r#"{"key":7}"#,
        r#"{"key":["Zm9v"]}"#,
        r#"{"key":"Zm9v","key":"Zm9v"}"#,
        r#"["key"]"#,
        r#"{"key":"Zm9v"#,
        "{'key':1}",
    ] {
        assert!(range(json).is_err(), "{json}");
    }
    let extreme = range(r#"{"limit":"-9223372036854775808","revision":9223372036854775807,"sort_order":99}"#);
    let extreme = extreme.expect("the widest numbers fit");
    assert_eq!((extreme.limit, extreme.revision, extreme.sort_order), (i64::MIN, i64::MAX, 99));
}

#[test]
fn unions_lists_and_nesting() {
    let txn: pb::TxnRequest = serde_json::from_str(
        r#"{"compare":[{"key":"YQ==","target":"CREATE","create_revision":"0","result":"EQUAL"},
                       {"key":"Yg","target":4,"lease":7,"result":3}],
            "success":[{"request_txn":{"failure":[{"requestPut":{"key":"YQ==","value":"MQ=="}}]}}],
            "failure":null}"#,
    )
    .expect("a transaction");
    assert_eq!(txn.compare[0].target_union, Some(TargetUnion::CreateRevision(0)));
    assert_eq!(txn.compare[1].target(), CompareTarget::Lease);
    assert_eq!(txn.compare[1].target_union, Some(TargetUnion::Lease(7)));
    let Some(Request::RequestTxn(inner)) = &txn.success[0].request else { panic!("{txn:?}") };
    let Some(Request::RequestPut(put)) = &inner.failure[0].request else { panic!("{txn:?}") };
    assert_eq!((put.key.as_ref(), put.value.as_ref()), (&b"a"[..], &b"1"[..]));
    let twice = r#"{"request_put":{},"request_range":{}}"#;
    assert!(serde_json::from_str::<pb::RequestOp>(twice).is_err(), "one of them only");
    let filters: pb::WatchCreateRequest =
        serde_json::from_str(r#"{"filters":["NODELETE",0]}"#).expect("filters");
    assert_eq!(filters.filters, [1, 0]);
    let none: pb::WatchCreateRequest = serde_json::from_str(r#"{"filters":null}"#).expect("no filters");
    assert!(none.filters.is_empty());
    let deep = format!("{}{}", r#"{"success":[{"request_txn":"#.repeat(60), "}]}".repeat(60));
    assert!(serde_json::from_str::<pb::TxnRequest>(&deep).is_err(), "too deep");
}

#[test]
fn what_is_written() {
    let response = pb::RangeResponse {
        header: Some(pb::ResponseHeader {
            cluster_id: u64::MAX,
            revision: 7,
            raft_term: 2,
            ..Default::default()
        }),
        kvs: vec![mvccpb::KeyValue { key: "\u{fb}?".into(), lease: -1, ..Default::default() }],
        more: true,
        count: 0,
    };
    assert_eq!(
        serde_json::to_string(&response).expect("JSON"),
        r#"{"header":{"cluster_id":"18446744073709551615","revision":"7","raft_term":"2"},"kvs":[{"key":"w7s/","lease":"-1"}],"more":true}"#
    );
    let grant = pb::LeaseGrantResponse { id: 7, ttl: 60, ..Default::default() };
    assert_eq!(serde_json::to_string(&grant).expect("JSON"), r#"{"ID":"7","TTL":"60"}"#);
    let live = pb::LeaseTimeToLiveResponse {
        granted_ttl: 9,
        keys: vec!["a".into(), "b".into()],
        ..Default::default()
    };
    assert_eq!(serde_json::to_string(&live).expect("JSON"), r#"{"grantedTTL":"9","keys":["YQ==","Yg=="]}"#);
    let delete = mvccpb::Event { r#type: 1, ..Default::default() };
    assert_eq!(serde_json::to_string(&delete).expect("JSON"), r#"{"type":"DELETE"}"#);
    let member =
        pb::Member { id: 5, peer_ur_ls: vec!["http://a:1".into()], is_learner: true, ..Default::default() };
    assert_eq!(
        serde_json::to_string(&member).expect("JSON"),
        r#"{"ID":"5","peerURLs":["http://a:1"],"isLearner":true}"#
    );
    let hash = pb::HashKvResponse { hash: 4_000_000_000, ..Default::default() };
    assert_eq!(serde_json::to_string(&hash).expect("JSON"), r#"{"hash":4000000000}"#);
}
