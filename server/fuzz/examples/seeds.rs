//! Writes the first inputs of every target into `corpus/`. Run it after a change of the API:
//! `cargo run --release --example seeds`.
use std::io;
use std::path::Path;

use bramble_proto::etcdserverpb::request_op::Request as Op;
use bramble_proto::etcdserverpb::{self as pb, watch_request::RequestUnion};
use bramble_proto::{METHODS, authpb, v3electionpb as election, v3lockpb as lock};
use bramble_server_fuzz::Input;
use prost::Message;

fn main() -> io::Result<()> {
    let calls = calls();
    for (path, message) in &calls {
        let name = path.rsplit('/').next().expect("a path").to_lowercase();
        let method = METHODS.iter().position(|method| method.path == *path).expect("an RPC");
        let mut input = Input::default();
        save("rpc", &name, &input.byte(method as u8).byte(0).part(message).bytes)?;
        save("connection", &format!("h2-{name}"), &http2(path, message))?;
    }
    together(&calls)?;
    http1()?;
    gateway()?;
    config()?;
    token()
}

fn save(target: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join(name), bytes)
}

/// One message for every RPC that takes more than nothing.
fn calls() -> Vec<(&'static str, Vec<u8>)> {
    let put = pb::PutRequest { key: "k".into(), value: "v".into(), prev_kv: true, ..Default::default() };
    let range = pb::RangeRequest { key: "a".into(), range_end: "z".into(), limit: 3, ..Default::default() };
    let delete = pb::DeleteRangeRequest { key: "k".into(), range_end: "l".into(), prev_kv: true };
    let op = |request| pb::RequestOp { request: Some(request) };
    let compare = pb::Compare { result: 1, target: 3, key: "k".into(), ..Default::default() };
    let txn = pb::TxnRequest {
        compare: vec![compare],
        success: vec![op(Op::RequestPut(put.clone())), op(Op::RequestRange(range.clone()))],
        failure: vec![op(Op::RequestDeleteRange(delete.clone()))],
    };
    let nested = pb::TxnRequest { success: vec![op(Op::RequestTxn(txn.clone()))], ..Default::default() };
    let create =
        pb::WatchCreateRequest { key: "k".into(), start_revision: 1, prev_kv: true, ..Default::default() };
    let watch = pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    let user = pb::AuthUserAddRequest { name: "u".into(), password: "p".into(), ..Default::default() };
    let permission = authpb::Permission { perm_type: 2, key: "a".into(), range_end: "z".into() };
    let grant = pb::AuthRoleGrantPermissionRequest { name: "r".into(), perm: Some(permission) };
    let campaign = election::CampaignRequest { name: "e".into(), lease: 7, value: "v".into() };
    vec![
        ("/etcdserverpb.KV/Put", put.encode_to_vec()),
        ("/etcdserverpb.KV/Range", range.encode_to_vec()),
        ("/etcdserverpb.KV/RangeStream", range.encode_to_vec()),
        ("/etcdserverpb.KV/DeleteRange", delete.encode_to_vec()),
        ("/etcdserverpb.KV/Txn", nested.encode_to_vec()),
        ("/etcdserverpb.KV/Compact", pb::CompactionRequest { revision: 2, physical: true }.encode_to_vec()),
        ("/etcdserverpb.Watch/Watch", watch.encode_to_vec()),
        ("/etcdserverpb.Lease/LeaseGrant", pb::LeaseGrantRequest { ttl: 9, id: 7 }.encode_to_vec()),
        ("/etcdserverpb.Lease/LeaseRevoke", pb::LeaseRevokeRequest { id: 7 }.encode_to_vec()),
        ("/etcdserverpb.Lease/LeaseKeepAlive", pb::LeaseKeepAliveRequest { id: 7 }.encode_to_vec()),
        (
            "/etcdserverpb.Lease/LeaseTimeToLive",
            pb::LeaseTimeToLiveRequest { id: 7, keys: true }.encode_to_vec(),
        ),
        ("/etcdserverpb.Auth/UserAdd", user.encode_to_vec()),
        ("/etcdserverpb.Auth/RoleGrantPermission", grant.encode_to_vec()),
        ("/etcdserverpb.Maintenance/HashKV", pb::HashKvRequest { revision: 1 }.encode_to_vec()),
        (
            "/etcdserverpb.Maintenance/Alarm",
            pb::AlarmRequest { action: 1, member_id: 7, alarm: 1 }.encode_to_vec(),
        ),
        (
            "/etcdserverpb.Maintenance/Downgrade",
            pb::DowngradeRequest { action: 0, version: "3.5".into() }.encode_to_vec(),
        ),
        ("/v3lockpb.Lock/Lock", lock::LockRequest { name: "l".into(), lease: 7 }.encode_to_vec()),
        ("/v3electionpb.Election/Campaign", campaign.encode_to_vec()),
    ]
}

/// All of them one after the other.
fn together(calls: &[(&'static str, Vec<u8>)]) -> io::Result<()> {
    let mut all = Input::default();
    for (path, message) in calls {
        let method = METHODS.iter().position(|method| method.path == *path).expect("an RPC");
        all.byte(method as u8).byte(0).part(message);
    }
    save("rpc", "all", &all.bytes)
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A connection that asks this once.
fn http2(path: &str, message: &[u8]) -> Vec<u8> {
    let mut block = Vec::new();
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "127.0.0.1"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    // Literals that are not indexed, in plain letters (RFC 7541, 6.2.2).
    for (name, value) in fields {
        block.extend([0, name.len() as u8]);
        block.extend(name.as_bytes());
        block.push(value.len() as u8);
        block.extend(value.as_bytes());
    }
    let body = [&[0], &(message.len() as u32).to_be_bytes()[..], message].concat();
    let parts = [
        vec![255],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(4, 0, 0, &[]),
        frame(1, 4, 1, &block),
        frame(0, 1, 1, &body),
    ];
    parts.concat()
}

fn http1() -> io::Result<()> {
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: h\r\nOrigin: http://o\r\n\r\n");
    let post = |path: &str, json: &str| {
        let length = json.len();
        format!("POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n{json}")
    };
    let upgrade = "GET /v3/watch HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let chunked = "POST /v3/watch HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\
                   1f\r\n{\"create_request\":{\"key\":\"aw==\"}}\r\n0\r\n\r\n";
    for (name, text) in [
        ("health", get("/health")),
        ("metrics", get("/metrics")),
        ("version", get("/version")),
        ("vars", get("/debug/vars")),
        ("range", post("/v3/kv/range", r#"{"key":"aw=="}"#)),
        ("put", post("/v3/kv/put", r#"{"key":"aw==","value":"dg=="}"#)),
        ("websocket", upgrade.to_owned()),
        ("chunked", chunked.to_owned()),
    ] {
        save("connection", &format!("h1-{name}"), &[&[255], text.as_bytes()].concat())?;
    }
    Ok(())
}

fn gateway() -> io::Result<()> {
    for (number, (path, json)) in [
        ("/v3/kv/range", r#"{"key":"aw==","range_end":"eg==","limit":"3","sort_order":"DESCEND"}"#),
        ("/v3/kv/put", r#"{"key":"aw==","value":"dg==","lease":"7","prevKv":true}"#),
        ("/v3/kv/txn", r#"{"compare":[{"key":"aw==","target":"VERSION","version":"1"}],"success":[{"requestPut":{"key":"aw=="}}]}"#),
        ("/v3/watch", r#"{"create_request":{"key":"aw==","filters":["NOPUT"]}}"#),
        ("/v3/auth/role/grant", r#"{"name":"r","perm":{"permType":2,"key":"aw=="}}"#),
        ("/v3/lease/grant", r#"{"TTL":60,"ID":null}"#),
        ("/v3/lock/lock", r#"{"name":"bA==","lease":7e0}"#),
    ]
    .into_iter()
    .enumerate()
    {
        let mut input = Input::default();
        save("gateway", &format!("{number:02}"), &input.part(path.as_bytes()).rest(json.as_bytes()).bytes)?;
    }
    Ok(())
}

fn config() -> io::Result<()> {
    let words =
        ["--name=n", "-listen-client-urls", "http://127.0.0.1:2379", "--auth-token=jwt,sign-method=HS256"];
    let variables = [("ETCD_QUOTA_BACKEND_BYTES", "1000000"), ("ETCD_LOG_LEVEL", "warn")];
    let file = "name: n\nclient-transport-security:\n  cert-file: c\nauto-compaction-retention: '1h'\n";
    let mut input = Input::default();
    input.byte(words.len() as u8);
    words.iter().for_each(|word| {
        input.part(word.as_bytes());
    });
    input.byte(variables.len() as u8);
    variables.iter().for_each(|(name, text)| {
        input.part(name.as_bytes()).part(text.as_bytes());
    });
    save("config", "all", &input.rest(file.as_bytes()).bytes)?;
    let mut only = Input::default();
    save("config", "file", &only.byte(0).byte(0).rest(file.as_bytes()).bytes)
}

fn token() -> io::Result<()> {
    let jwt = b"\0eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ1c2VybmFtZSI6InJvb3QiLCJyZXZpc2lvbiI6MX0.c2ln";
    save("token", "jwt", jwt)?;
    save("token", "none", b"\0eyJhbGciOiJub25lIn0.eyJ1c2VybmFtZSI6InJvb3QiLCJyZXZpc2lvbiI6MX0.")?;
    save("token", "simple", b"\0abcdefghijklmnop.7")?;
    // Subject: CN=root, in a certificate that ends there.
    save("token", "certificate", b"\x01\x30\x12\x30\x10\x31\x0e\x30\x0c\x06\x03\x55\x04\x03\x0c\x05roots")
}
