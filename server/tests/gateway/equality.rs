//! The same random requests, to one member as JSON and to another by gRPC: the same answers, and the same
//! data at the end. Each request is spelt in one of the many ways in which JSON may be written.
use bramble_proto::etcdserverpb as pb;
use bramble_proto::etcdserverpb::compare::TargetUnion;
use bramble_proto::etcdserverpb::request_op::Request as Op;
use bramble_server::http::gateway;
use bramble_server::rpc::{self, RpcLimits};
use prost::Message;
use serde::Serialize;
use serde_json::{Map, Value};
use tonic::client::Grpc;
use tonic::service::Routes;
use tonic::{Request, Status};
use tonic_prost::ProstCodec;
use tower::ServiceExt;

use crate::hostile::Chance;
use crate::{Member, loopback};

const REQUESTS: usize = 3_000;

/// One member by gRPC, another by JSON.
struct Pair {
    grpc: Grpc<Routes>,
    json: axum::Router,
    chance: Chance,
    /// Codes of the answers that were compared.
    seen: std::collections::BTreeMap<i32, usize>,
}

#[tokio::test(flavor = "multi_thread")]
async fn json_says_what_grpc_says() {
    let (left, right) = (Member::start(loopback()).await, Member::start(loopback()).await);
    let limits = RpcLimits::default();
    let over = rpc::routes(right.node.client(), limits).prepare().into_axum_router();
    let sizes = gateway::Sizes { message_bytes_max: limits.message_bytes_max(), bodies_bytes: 16 << 20 };
    let mut pair = Pair {
        grpc: Grpc::new(rpc::routes(left.node.client(), limits)),
        json: gateway::routes(over, sizes, right.node.client().desks()),
        chance: Chance::begin("equality"),
        seen: std::collections::BTreeMap::new(),
    };
    for number in 0..REQUESTS {
        pair.request(number).await;
    }
    let hash = pb::HashKvRequest::default();
    pair.both::<_, pb::HashKvResponse>("/v3/maintenance/hashkv", "/etcdserverpb.Maintenance/HashKV", hash)
        .await;
    println!("answers by code: {:?}", pair.seen);
    assert!(pair.seen[&0] > REQUESTS / 3 && pair.seen.len() >= 4, "too little was tried: {:?}", pair.seen);
    left.node.shutdown().await;
    right.node.shutdown().await;
}

impl Pair {
    async fn request(&mut self, number: usize) {
        match self.chance.below(12) {
            0..=2 => {
                let put = self.chance.put();
                self.both::<_, pb::PutResponse>("/v3/kv/put", "/etcdserverpb.KV/Put", put).await;
            }
            3..=5 => {
                let range = self.chance.range(number);
                self.both::<_, pb::RangeResponse>("/v3/kv/range", "/etcdserverpb.KV/Range", range).await;
            }
            6 => {
                let delete = self.chance.delete();
                let rpc = "/etcdserverpb.KV/DeleteRange";
                self.both::<_, pb::DeleteRangeResponse>("/v3/kv/deleterange", rpc, delete).await;
            }
            7..=8 => {
                let txn = self.chance.txn(2);
                self.both::<_, pb::TxnResponse>("/v3/kv/txn", "/etcdserverpb.KV/Txn", txn).await;
            }
            9 => {
                let grant = pb::LeaseGrantRequest { ttl: 1_000, id: 1 + self.chance.below(20) as i64 };
                let rpc = "/etcdserverpb.Lease/LeaseGrant";
                self.both::<_, pb::LeaseGrantResponse>("/v3/lease/grant", rpc, grant).await;
            }
            10 => {
                let revoke = pb::LeaseRevokeRequest { id: self.chance.below(20) as i64 };
                let rpc = "/etcdserverpb.Lease/LeaseRevoke";
                self.both::<_, pb::LeaseRevokeResponse>("/v3/kv/lease/revoke", rpc, revoke).await;
            }
            _ => {
                let revision = self.chance.below(number / 8 + 2) as i64;
                let compaction = pb::CompactionRequest { revision, physical: self.chance.below(2) == 0 };
                let rpc = "/etcdserverpb.KV/Compact";
                self.both::<_, pb::CompactionResponse>("/v3/kv/compaction", rpc, compaction).await;
            }
        }
    }

    async fn both<A, B>(&mut self, path: &str, rpc: &'static str, request: A)
    where
        A: Message + Serialize + Clone + Default + 'static,
        B: Message + Serialize + Default + 'static,
    {
        let plain = serde_json::to_value(&request).expect("JSON");
        let spelt = self.chance.spell(&plain).to_string();
        let (expected, found) = (self.by_grpc::<A, B>(rpc, request).await, self.by_json(path, &spelt).await);
        let (expected, code) = match expected {
            Ok(answer) => (serde_json::to_value(&answer).expect("JSON"), 0),
            Err(status) => (refusal(&status), i32::from(status.code())),
        };
        assert_eq!(without_terms(expected), without_terms(found), "{path} {spelt}");
        *self.seen.entry(code).or_default() += 1;
    }

    async fn by_grpc<A, B>(&mut self, rpc: &'static str, request: A) -> Result<B, Status>
    where
        A: Message + 'static,
        B: Message + Default + 'static,
    {
        let path = http::uri::PathAndQuery::from_static(rpc);
        let answer = self.grpc.unary(Request::new(request), path, ProstCodec::<A, B>::default()).await?;
        Ok(answer.into_inner())
    }

    async fn by_json(&self, path: &str, body: &str) -> Value {
        let request = http::Request::post(path).body(axum::body::Body::from(body.to_owned())).expect("one");
        let answer = self.json.clone().oneshot(request).await.expect("an answer");
        let body = http_body_util::BodyExt::collect(answer.into_body()).await.expect("a body").to_bytes();
        serde_json::from_slice(&body).expect("JSON")
    }
}

fn refusal(status: &Status) -> Value {
    let text = status.message();
    serde_json::json!({ "error": text, "code": i32::from(status.code()), "message": text })
}

/// Terms depend on how a member started.
fn without_terms(mut value: Value) -> Value {
    if let Some(header) = value.get_mut("header").and_then(Value::as_object_mut) {
        header.remove("raft_term");
    }
    value
}

impl Chance {
    fn often(&mut self) -> bool {
        self.below(3) > 0
    }

    fn key(&mut self) -> bytes::Bytes {
        match self.below(30) {
            0 => bytes::Bytes::new(),
            1 => bytes::Bytes::from_static(b"\xfb\xff\x00~?"),
            _ => format!("k{}", self.below(12)).into(),
        }
    }

    fn end(&mut self) -> bytes::Bytes {
        match self.below(4) {
            0 => bytes::Bytes::from_static(b"\0"),
            1 => format!("k{}", self.below(12)).into(),
            _ => bytes::Bytes::new(),
        }
    }

    fn put(&mut self) -> pb::PutRequest {
        let value = vec![b'v'; self.below(40)].into();
        let mut put = pb::PutRequest { key: self.key(), value, prev_kv: self.often(), ..Default::default() };
        match self.below(12) {
            0 => put.lease = self.below(20) as i64,
            1 => (put.ignore_value, put.value) = (true, bytes::Bytes::new()),
            2 => put.ignore_lease = true,
            _ => {}
        }
        put
    }

    fn range(&mut self, number: usize) -> pb::RangeRequest {
        let some =
            |chance: &mut Chance, bound: usize| if chance.often() { 0 } else { chance.below(bound) as i64 };
        pb::RangeRequest {
            key: self.key(),
            range_end: self.end(),
            limit: some(self, 5),
            revision: some(self, number / 3 + 3),
            sort_order: some(self, 3) as i32,
            sort_target: some(self, 5) as i32,
            serializable: self.often(),
            keys_only: !self.often(),
            count_only: !self.often(),
            min_mod_revision: some(self, number / 3 + 1),
            max_create_revision: some(self, number / 3 + 1),
            ..Default::default()
        }
    }

    fn delete(&mut self) -> pb::DeleteRangeRequest {
        let range_end = if self.often() { bytes::Bytes::new() } else { self.end() };
        pb::DeleteRangeRequest { key: self.key(), range_end, prev_kv: self.often() }
    }

    fn txn(&mut self, depth: usize) -> pb::TxnRequest {
        let compare = (0..self.below(3)).map(|_| self.compare()).collect();
        let success = (0..self.below(3)).map(|_| self.op(depth)).collect();
        let failure = (0..self.below(3)).map(|_| self.op(depth)).collect();
        pb::TxnRequest { compare, success, failure }
    }

    fn compare(&mut self) -> pb::Compare {
        let number = self.below(4) as i64;
        let target = self.below(5) as i32;
        let target_union = match target {
            0 => TargetUnion::Version(number),
            1 => TargetUnion::CreateRevision(number),
            2 => TargetUnion::ModRevision(number),
            3 => TargetUnion::Value("v".into()),
            _ => TargetUnion::Lease(number),
        };
        let range_end = if self.often() { bytes::Bytes::new() } else { self.end() };
        let target_union = self.often().then_some(target_union);
        pb::Compare { result: self.below(4) as i32, target, key: self.key(), range_end, target_union }
    }

    fn op(&mut self, depth: usize) -> pb::RequestOp {
        let request = match self.below(8) {
            0..=3 => Op::RequestPut(self.put()),
            4..=5 => Op::RequestRange(self.range(0)),
            6 => Op::RequestDeleteRange(self.delete()),
            _ if depth == 0 => return pb::RequestOp::default(),
            _ => Op::RequestTxn(self.txn(depth - 1)),
        };
        pb::RequestOp { request: Some(request) }
    }

    /// The same in another spelling.
    fn spell(&mut self, value: &Value) -> Value {
        match value {
            Value::Object(fields) => {
                let mut spelt = Map::new();
                for (name, value) in fields {
                    let name = if self.often() { name.clone() } else { camel(name) };
                    spelt.insert(name, self.spell(value));
                }
                if !self.often() {
                    spelt.insert(format!("x{}", self.below(9)), serde_json::json!([{ "a": null }, 1.5, "}"]));
                }
                Value::Object(spelt)
            }
            Value::Array(items) => items.iter().map(|item| self.spell(item)).collect(),
            Value::String(text) => self.spell_text(text),
            other => other.clone(),
        }
    }

    /// A 64-bit number, bytes, or an enum's name: which one, only its field knows. Bytes of these tests
    /// are never all digits or all capitals in base64.
    fn spell_text(&mut self, text: &str) -> Value {
        if let Ok(number) = text.parse::<i64>() {
            return match self.below(3) {
                0 => Value::from(number),
                1 => Value::from(number as f64),
                _ => Value::from(text),
            };
        }
        if text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_') {
            return Value::from(text);
        }
        match self.below(4) {
            0 => Value::from(text.trim_end_matches('=')),
            1 => Value::from(text.replace('+', "-").replace('/', "_")),
            2 => Value::from(format!("{}\n", text.replacen('A', "A\r\n", 1))),
            _ => Value::from(text),
        }
    }
}

fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |camel, word| {
        let (initial, rest) = word.split_at(word.len().min(1));
        camel + &initial.to_uppercase() + rest
    })
}
