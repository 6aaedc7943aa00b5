//! Calls that no library would make, to both servers: the same status, code and words.
use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use bramble_proto::etcdserverpb as pb;
use bramble_tests::process::Setup;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, Method, Request};
use prost::Message;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::raw::message;

const RANGE: &str = "/etcdserverpb.KV/Range";
/// How long an answer may take on a busy machine.
const WITHIN: Duration = Duration::from_secs(15);

/// A call, and how far the two may differ.
struct Case {
    name: &'static str,
    path: &'static str,
    headers: Vec<(&'static str, &'static str)>,
    body: Vec<u8>,
    same: Same,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Same {
    /// Code and text.
    Words,
    /// The code; the text is the library's own.
    Code,
    /// Neither serves it.
    Refused,
}

/// How a call ended: HTTP status, gRPC code and text; or the reason of a reset.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    Answered(u16, String, String),
    Reset(String),
}

async fn make(address: SocketAddr, case: &Case) -> Ended {
    let stream = TcpStream::connect(address).await.expect("the port is open");
    let (send, connection) = h2::client::handshake(stream).await.expect("a greeting");
    let connection = tokio::spawn(connection);
    let ended = timeout(WITHIN, one(send, case)).await.expect("an end in time");
    connection.abort();
    ended.unwrap_or_else(|error| Ended::Reset(format!("{:?}", error.reason())))
}

async fn one(send: h2::client::SendRequest<Bytes>, case: &Case) -> Result<Ended, h2::Error> {
    let mut send = send.ready().await?;
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(format!("http://localhost{}", case.path))
        .header("te", "trailers");
    if !case.headers.iter().any(|(name, _)| *name == "content-type") {
        request = request.header("content-type", "application/grpc");
    }
    for (name, value) in &case.headers {
        request = request.header(*name, *value);
    }
    let (response, mut body) = send.send_request(request.body(()).expect("a request"), false)?;
    body.send_data(Bytes::from(case.body.clone()), true)?;
    let response = response.await?;
    let status = response.status().as_u16();
    let headers = response.headers().clone();
    let mut answer = response.into_body();
    while let Some(data) = answer.data().await {
        answer.flow_control().release_capacity(data?.len())?;
    }
    let trailers = answer.trailers().await?.unwrap_or(headers);
    Ok(Ended::Answered(status, text(&trailers, "grpc-status"), text(&trailers, "grpc-message")))
}

/// A header's text. Which characters are written as `%20` is each library's own choice.
fn text(headers: &HeaderMap, name: &str) -> String {
    let (mut text, mut rest) = (Vec::new(), headers.get(name).map_or(&b""[..], |value| value.as_bytes()));
    while let Some((first, behind)) = rest.split_first() {
        let digits = behind.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let escaped = digits.filter(|_| *first == b'%').and_then(|two| u8::from_str_radix(two, 16).ok());
        text.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &behind[2..] } else { behind };
    }
    String::from_utf8_lossy(&text).into_owned()
}

fn packed(content: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::best());
    packer.write_all(content).expect("into memory");
    packer.finish().expect("into memory")
}

fn get() -> Vec<u8> {
    pb::RangeRequest { key: "k".into(), ..Default::default() }.encode_to_vec()
}

fn cases() -> Vec<Case> {
    let gzip = vec![("grpc-encoding", "gzip")];
    let case = |name, headers: &[(&'static str, &'static str)], body: Vec<u8>, same| Case {
        name,
        path: RANGE,
        headers: headers.to_vec(),
        body,
        same,
    };
    let good = || message(0, &get());
    let mut torn = packed(&get());
    torn.truncate(torn.len() - 6);
    let bomb = packed(&vec![0; 64 << 20]);
    assert!(bomb.len() < 100_000, "a bomb is small: {}", bomb.len());
    let mut cases = vec![
        case("a good call", &[], good(), Same::Words),
        case("packed", &gzip, message(1, &packed(&get())), Same::Words),
        case("not packed though it might be", &gzip, good(), Same::Words),
        case("identity", &[("grpc-encoding", "identity")], good(), Same::Words),
        case("a bomb", &gzip, message(1, &bomb), Same::Words),
        case("packed badly", &gzip, message(1, b"this is not gzip at all"), Same::Words),
        case("packed and torn", &gzip, message(1, &torn), Same::Words),
        case("packed, and nothing", &gzip, message(1, b""), Same::Words),
        case("packed without saying how", &[], message(1, &packed(&get())), Same::Words),
        case("packed in another way", &[("grpc-encoding", "snappy")], good(), Same::Words),
        case("an unknown flag", &[], message(7, &get()), Same::Words),
        case("too long", &[], message(0, &vec![0; 3 << 20]), Same::Words),
        case("garbage", &[], message(0, b"\xff\xff\xff\xff"), Same::Code),
        case("a wire type that is none", &[], message(0, b"\x0f"), Same::Code),
        case("a length beyond the end", &[], message(0, b"\x0a\x7fk"), Same::Code),
        case("half a message", &[], good()[..6].to_vec(), Same::Refused),
        case("half a prefix", &[], good()[..3].to_vec(), Same::Refused),
        case("no message", &[], Vec::new(), Same::Refused),
        case("an empty message", &[], message(0, b""), Same::Words),
        case("no time at all", &[("grpc-timeout", "0n")], good(), Same::Words),
        case("much time", &[("grpc-timeout", "99999999H")], good(), Same::Words),
        case("json", &[("content-type", "application/grpc+json")], good(), Same::Code),
        case("proto", &[("content-type", "application/grpc+proto")], good(), Same::Words),
    ];
    for timeout in ["", "1", "1s", "1x", "999999999S", "+1S", "-1S", "S1", "1.5S"] {
        cases.push(case("a bad time", &[("grpc-timeout", timeout)], good(), Same::Words));
        cases.last_mut().expect("just pushed").headers = vec![("grpc-timeout", timeout)];
    }
    for path in ["/etcdserverpb.KV/None", "/none.None/None", "/", "/etcdserverpb.KV"] {
        let good = case("an unknown path", &[], good(), Same::Code);
        cases.push(Case { path, ..good });
    }
    cases
}

#[tokio::test]
async fn both_say_the_same_of_what_is_wrong_with_a_call() {
    let Some(etcd) = Setup::etcd() else { return };
    let (etcd, bramble) = (etcd.start(), Setup::bramble().start());
    let mut differ = Vec::new();
    for case in cases() {
        let expected = make(etcd.address(), &case).await;
        let said = make(bramble.address(), &case).await;
        println!("{} {:?}\n   {expected:?}\n   {said:?}", case.name, case.headers);
        let same = match (&expected, &said, case.same) {
            (Ended::Answered(_, a, _), Ended::Answered(_, b, _), Same::Code) => a == b,
            (Ended::Answered(_, a, _), Ended::Answered(_, b, _), Same::Refused) => a != "0" && b != "0",
            (expected, said, _) => expected == said,
        };
        if !same {
            differ.push(format!("{} {:?}: etcd {expected:?}, Bramble {said:?}", case.name, case.headers));
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}
