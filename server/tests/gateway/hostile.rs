//! Whatever anybody may send: an answer, never the end.
use bramble_server::http::gateway;
use serde_json::Value;

use crate::{Member, ask, loopback, post};

/// A small generator (SplitMix64).
pub struct Chance(u64);

impl Chance {
    pub fn begin(name: &str) -> Chance {
        let given = std::env::var("BRAMBLE_GATEWAY_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| {
            let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            since.map_or(1, |time| time.as_nanos() as u64)
        });
        println!("{name}: BRAMBLE_GATEWAY_SEED={seed}");
        Chance(seed)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }

    pub fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }
}

const PATHS: [&str; 8] = [
    "/v3/kv/range",
    "/v3/kv/put",
    "/v3/kv/txn",
    "/v3/watch",
    "/v3/lease/grant",
    "/v3/maintenance/alarm",
    "/v3/auth/role/grant",
    "/v3/election/proclaim",
];
const SCRAPS: [&str; 24] = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    "null",
    "true",
    "-",
    "1e999",
    "0.1",
    "18446744073709551616",
    "\"key\"",
    "\"success\"",
    "\"request_txn\"",
    "\"compare\"",
    "\"Zm9v\"",
    "\u{0}",
    "\\u0000",
    "\\ud800",
    "\u{fe0f}",
    " ",
];

#[test]
fn random_scraps_are_read_or_refused() {
    let mut chance = Chance::begin("scraps");
    let (mut read, mut refused) = (0, 0);
    for _ in 0..200_000 {
        let count = chance.below(12);
        let text: String = (0..count).map(|_| chance.pick(&SCRAPS)).collect();
        match gateway::parse(chance.pick(&PATHS), text.as_bytes()).expect("a path of the gateway") {
            Ok(_) => read += 1,
            Err(_) => refused += 1,
        }
    }
    assert!(read > 100 && refused > 100, "{read} read, {refused} refused");
    assert!(gateway::parse("/v3/nosuch", b"{}").is_none());
}

#[test]
fn deep_nesting_ends_before_the_stack_does() {
    for open in [r#"{"success":[{"request_txn":"#, r#"{"compare":[{"x":"#, "[", r#"{"a":"#] {
        let bottomless = open.repeat(300_000);
        for path in ["/v3/kv/txn", "/v3/watch"] {
            let thread = std::thread::Builder::new().stack_size(512 << 10);
            let bottomless = bottomless.clone();
            let parsing = thread.spawn(move || gateway::parse(path, bottomless.as_bytes()).expect("a path"));
            assert!(parsing.expect("a thread").join().expect("no overflow").is_err(), "{open}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_answered_and_the_member_lives() {
    let member = Member::start(loopback()).await;
    let mut chance = Chance::begin("garbage");
    for _ in 0..100 {
        let count = chance.below(20);
        let body: String = (0..count).map(|_| chance.pick(&SCRAPS)).collect();
        // A stream that is asked nothing waits, as it may.
        let path = chance.pick(&["/v3/kv/range", "/v3/kv/txn", "/v3/lease/grant", "/v3/lease/keepalive"]);
        let answer = post(member.connect().await, path, &body).await;
        assert!(matches!(answer.status, 200 | 400), "{path} {body:?}: {} {}", answer.status, answer.body);
        if answer.status == 400 {
            let said = answer.json();
            assert_eq!(
                (said["error"].clone(), said["code"].clone()),
                (said["message"].clone(), Value::from(3))
            );
        }
    }
    let deep = format!("{}{}", r#"{"success":[{"request_txn":"#.repeat(500), "}]}".repeat(500));
    let answer = post(member.connect().await, "/v3/kv/txn", &deep).await;
    assert_eq!(answer.json()["message"], "etcdserver: too many operations in txn request");
    let bytes =
        ask(member.connect().await, "POST /v3/kv/range HTTP/1.1", "host: h", b"{\"key\":\"\xff\"}").await;
    assert_eq!(bytes.status, 400);
    let endless = vec![b'{'; 12 << 20];
    let answer = ask(member.connect().await, "POST /v3/kv/range HTTP/1.1", "host: h", &endless).await;
    assert_eq!((answer.status, answer.json()["code"].clone()), (429, Value::from(8)));
    assert_eq!(post(member.connect().await, "/v3/kv/put", r#"{"key":"YQ=="}"#).await.status, 200);
    member.node.shutdown().await;
}
