//! A websocket on a path of the gateway: each text message is a piece of the request's body, each line of
//! the answer a text message. Browsers cannot set headers there, so the token comes as a subprotocol
//! (`Sec-WebSocket-Protocol: Bearer, <token>`) or in the cookie `token`, as in etcd.
use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{FromRequestParts, Request};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, HeaderValue, Method, header};
use http_body_util::BodyExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::Gateway;

/// Whether a request asks for a websocket.
pub(super) fn asked(headers: &HeaderMap) -> bool {
    let names = |name, word: &str| {
        let words = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        words.flat_map(|value| value.split(',')).any(|value| value.trim().eq_ignore_ascii_case(word))
    };
    names(header::CONNECTION, "upgrade") && names(header::UPGRADE, "websocket")
}

/// Agrees, and answers on the socket.
pub(super) async fn upgrade(gateway: Arc<Gateway>, request: Request) -> Response {
    let (mut parts, _) = request.into_parts();
    let upgrade = match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
        Ok(upgrade) => upgrade.max_message_size(gateway.body_bytes_max),
        Err(refusal) => return refusal.into_response(),
    };
    let headers = headers(&parts.headers);
    let upgrade = if bearer(&parts.headers).is_some() { upgrade.protocols(["Bearer"]) } else { upgrade };
    upgrade.on_upgrade(move |socket| async move {
        let (sink, messages) = socket.split();
        let (pieces, body) = mpsc::channel(1);
        let mut request = Request::new(Body::from_stream(ReceiverStream::new(body)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = parts.uri;
        *request.headers_mut() = headers;
        *request.extensions_mut() = parts.extensions;
        // Unlike a request's body, whose end may be followed by answers, a socket that ends is gone.
        tokio::select! {
            () = pass_on(messages, pieces) => {}
            () = async { send_lines(gateway.answer(request).await.into_body(), sink).await } => {}
        }
    })
}

/// What the call is told: the token, from wherever it comes.
fn headers(given: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let token = cookie(given, "token").or_else(|| bearer(given));
    if let Some(token) = token.and_then(|token| HeaderValue::try_from(format!("Bearer {token}")).ok()) {
        headers.insert(header::AUTHORIZATION, token);
    }
    headers
}

/// The token of `Bearer, <token>`.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let protocols = headers.get(header::SEC_WEBSOCKET_PROTOCOL)?.to_str().ok()?;
    Some(protocols.strip_prefix("Bearer,")?.trim())
}

fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// Passes messages on as pieces of the body, with a line break after each, until the socket ends. It is
/// read on when nobody wants its messages any more: so it is known when the client has gone.
async fn pass_on(mut messages: SplitStream<WebSocket>, body: mpsc::Sender<Result<Bytes, Infallible>>) {
    while let Some(Ok(message)) = messages.next().await {
        let mut piece = match message {
            Message::Text(text) => BytesMut::from(text.as_str()),
            Message::Binary(bytes) => BytesMut::from(&bytes[..]),
            Message::Close(_) => return,
            Message::Ping(_) | Message::Pong(_) => continue,
        };
        piece.extend_from_slice(b"\n");
        let _ = body.send(Ok(piece.freeze())).await;
    }
}

/// Sends the answer line by line; a socket that takes no more ends it.
async fn send_lines(mut body: Body, mut sink: SplitSink<WebSocket, Message>) {
    let mut rest = BytesMut::new();
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(data) = frame.into_data() else { continue };
        rest.extend_from_slice(&data);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line = rest.split_to(end + 1);
            if sink.send(text(&line[..end])).await.is_err() {
                return;
            }
        }
    }
    if !rest.is_empty() && sink.send(text(&rest)).await.is_err() {
        return;
    }
    // There is nobody left to tell.
    let _ = sink.close().await;
}

fn text(line: &[u8]) -> Message {
    Message::Text(String::from_utf8_lossy(line).into_owned().into())
}
