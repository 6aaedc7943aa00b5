//! Websockets: the lines of a stream as text messages.
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Response;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::{Member, PATIENCE, ask, loopback, post};

type Socket = WebSocketStream<TcpStream>;

async fn connect(member: &Member, path: &str, headers: &[(&'static str, &str)]) -> (Socket, Response) {
    connect_by(member, member.connect().await, path, headers).await
}

async fn connect_by(
    member: &Member,
    stream: TcpStream,
    path: &str,
    headers: &[(&'static str, &str)],
) -> (Socket, Response) {
    let mut request = format!("ws://{}{path}", member.addr()).into_client_request().expect("a request");
    for (name, value) in headers {
        request.headers_mut().append(*name, value.parse().expect("a header"));
    }
    let shaken = tokio_tungstenite::client_async(request, stream).await;
    shaken.expect("a websocket")
}

async fn send(socket: &mut Socket, json: &str) {
    socket.send(Message::Text(json.into())).await.expect("sent");
}

async fn line(socket: &mut Socket) -> Value {
    let message = tokio::time::timeout(PATIENCE, socket.next()).await.expect("in time");
    match message.expect("not the end").expect("a message") {
        Message::Text(text) => serde_json::from_str(&text).expect("JSON"),
        other => panic!("{other:?}"),
    }
}

async fn ended(socket: &mut Socket) {
    loop {
        match tokio::time::timeout(PATIENCE, socket.next()).await.expect("in time") {
            None | Some(Err(Error::ConnectionClosed | Error::Protocol(_) | Error::Io(_))) => return,
            Some(Ok(Message::Close(_))) => {}
            Some(other) => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch() {
    let member = Member::start(loopback()).await;
    let (mut socket, _) = connect(&member, "/v3/watch", &[]).await;
    send(&mut socket, r#"{"create_request":{"key":"Zm9v"}}"#).await;
    assert_eq!(line(&mut socket).await["result"]["created"], true);
    post(member.connect().await, "/v3/kv/put", r#"{"key":"Zm9v","value":"MQ=="}"#).await;
    assert_eq!(line(&mut socket).await["result"]["events"][0]["kv"]["value"], "MQ==");
    socket.send(Message::Ping("?".into())).await.expect("sent");
    send(&mut socket, r#"{"cancel_request":{"watch_id":"0"}}"#).await;
    let pong = tokio::time::timeout(PATIENCE, socket.next()).await.expect("in time");
    assert!(matches!(pong, Some(Ok(Message::Pong(_)))), "{pong:?}");
    assert_eq!(line(&mut socket).await["result"]["canceled"], true);
    socket.close(None).await.expect("closed");
    ended(&mut socket).await;
    member.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_path_and_its_errors() {
    let member = Member::start(loopback()).await;
    let (mut socket, _) = connect(&member, "/v3beta/kv/put", &[]).await;
    send(&mut socket, r#"{"key":"Zm9v","value":"MQ=="}"#).await;
    assert_eq!(line(&mut socket).await["header"]["revision"], "2");
    ended(&mut socket).await;
    for (path, json, code) in [("/v3/kv/put", "{}", 3), ("/v3/watch", "nonsense", 3), ("/v3/nosuch", "{}", 5)]
    {
        let (mut socket, _) = connect(&member, path, &[]).await;
        // A path that leads nowhere is refused before anything is read.
        let _ = socket.send(Message::Text(json.into())).await;
        assert_eq!(line(&mut socket).await["code"], code, "{path}");
    }
    member.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_member_ends_them_when_it_stops() {
    let member = Member::start(loopback()).await;
    let (mut socket, _) = connect(&member, "/v3/watch", &[]).await;
    send(&mut socket, r#"{"create_request":{"key":"Zm9v"}}"#).await;
    line(&mut socket).await;
    let stopping = tokio::spawn(member.node.shutdown());
    assert_eq!(line(&mut socket).await["error"]["http_code"], 503);
    ended(&mut socket).await;
    stopping.await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_as_subprotocol_is_agreed_to() {
    let member = Member::start(loopback()).await;
    let (_, response) = connect(&member, "/v3/watch", &[("sec-websocket-protocol", "Bearer, abc.7")]).await;
    assert_eq!(response.headers()["sec-websocket-protocol"], "Bearer");
    let (_, response) = connect(&member, "/v3/watch", &[]).await;
    assert!(!response.headers().contains_key("sec-websocket-protocol"));
    member.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_member_ends_those_that_say_nothing_too() {
    let member = Member::start(loopback()).await;
    let (mut socket, _) = connect(&member, "/v3/watch", &[]).await;
    let stopping = tokio::spawn(member.node.shutdown());
    ended(&mut socket).await;
    stopping.await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_frame_is_refused_before_it_comes() {
    let member = Member::start(loopback()).await;
    let (mut socket, _) = connect(&member, "/v3/watch", &[]).await;
    // Binary, masked, of 15 MiB; of which two bytes come.
    let mut begun = vec![0x82, 0xff];
    begun.extend((15_u64 << 20).to_be_bytes());
    begun.extend([0; 6]);
    socket.get_mut().write_all(&begun).await.expect("sent");
    ended(&mut socket).await;
    // A message in parts is no longer than one in one piece.
    let (mut socket, _) = connect(&member, "/v3/watch", &[]).await;
    let part = |first| [&[u8::from(first), 0xfe, 0x20, 0, 0, 0, 0, 0][..], &[b'{'; 0x2000]].concat();
    for n in 0..12 {
        // It may be gone by then.
        let _ = socket.get_mut().write_all(&part(n == 0)).await;
    }
    ended(&mut socket).await;
    member.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_an_ordinary_object_is_taken_in_one_piece() {
    let member = Member::start(loopback()).await;
    let (mut socket, _) = connect(&member, "/v3/kv/put", &[]).await;
    let value = "A".repeat(60_000);
    send(&mut socket, &format!(r#"{{"key":"Zm9v","value":"{value}"}}"#)).await;
    assert_eq!(line(&mut socket).await["header"]["revision"], "2");
    member.node.shutdown().await;
}

async fn metric(member: &Member, name: &str) -> u64 {
    let answer = ask(member.connect().await, "GET /metrics HTTP/1.1", "host: localhost", b"").await;
    let line = answer.body.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0");
    line.trim().parse::<f64>().expect("a number") as u64
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_nobody_reads_stays_counted() {
    const ANSWER_BYTES: &str = "bramble_budget_used{kind=\"answer_bytes\"}";
    let member = Member::start(loopback()).await;
    for key in ["YQ==", "Yg==", "Yw==", "ZA=="] {
        let put = format!(r#"{{"key":"{key}","value":"{}"}}"#, "A".repeat(1_200_000));
        assert_eq!(post(member.connect().await, "/v3/kv/put", &put).await.status, 200);
    }
    let small = TcpSocket::new_v4().expect("a socket");
    small.set_recv_buffer_size(8 << 10).expect("a small buffer");
    let stream = small.connect(member.addr()).await.expect("connected");
    let (mut socket, _) = connect_by(&member, stream, "/v3/kv/range", &[]).await;
    send(&mut socket, r#"{"key":"AA==","range_end":"AA=="}"#).await;
    let begun = tokio::time::Instant::now();
    let long = std::time::Duration::from_millis(500);
    let mut since = None;
    while since.is_none_or(|since: tokio::time::Instant| since.elapsed() < long) {
        assert!(begun.elapsed() < PATIENCE, "it is not counted for long");
        match metric(&member, ANSWER_BYTES).await {
            // Four values in JSON, and as much in the socket's buffer.
            bytes if bytes >= 2 * 4 * 1_200_000 => since = since.or(Some(tokio::time::Instant::now())),
            _ => since = None,
        }
    }
    assert_eq!(line(&mut socket).await["count"], "4");
    ended(&mut socket).await;
    while metric(&member, ANSWER_BYTES).await > 0 {
        assert!(begun.elapsed() < 2 * PATIENCE, "it is not given back");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    member.node.shutdown().await;
}

/// The token that comes by a page's only ways is the one that comes in a header.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_lets_in() {
    let member = Member::start(loopback()).await;
    let user = r#"{"name":"root","password":"secret"}"#;
    for (path, json) in [
        ("user/add", user),
        ("role/add", r#"{"name":"root"}"#),
        ("user/grant", r#"{"user":"root","role":"root"}"#),
        ("enable", "{}"),
    ] {
        let answer = post(member.connect().await, &format!("/v3/auth/{path}"), json).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    }
    let login = post(member.connect().await, "/v3/auth/authenticate", user).await.json();
    let token = login["token"].as_str().expect("a token");
    let protocol = format!("Bearer, {token}");
    let cookie = format!("a=b; token={token}");
    for header in [("sec-websocket-protocol", protocol.as_str()), ("cookie", &cookie)] {
        let (mut socket, _) = connect(&member, "/v3/kv/range", &[header]).await;
        send(&mut socket, r#"{"key":"YQ=="}"#).await;
        let said = line(&mut socket).await;
        assert!(said["header"].is_object(), "{header:?}: {said}");
    }
    let vars = ask(member.connect().await, "GET /debug/vars HTTP/1.1", "host: localhost", b"").await.json();
    assert_eq!(vars["raft.status"]["raftState"], "StateLeader", "the member knows itself");
    member.node.shutdown().await;
}
