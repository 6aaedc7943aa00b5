//! Websockets: the lines of a stream as text messages.
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Response;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::{Member, PATIENCE, loopback, post};

type Socket = WebSocketStream<TcpStream>;

async fn connect(member: &Member, path: &str, headers: &[(&'static str, &str)]) -> (Socket, Response) {
    let mut request = format!("ws://{}{path}", member.addr()).into_client_request().expect("a request");
    for (name, value) in headers {
        request.headers_mut().append(*name, value.parse().expect("a header"));
    }
    let shaken = tokio_tungstenite::client_async(request, member.connect().await).await;
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
            None | Some(Err(Error::ConnectionClosed | Error::Protocol(_))) => return,
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
