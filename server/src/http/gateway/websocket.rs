//! A websocket on a path of the gateway: each text message is a piece of the request's body, each line of
//! the answer a text message. Browsers cannot set headers there, so the token comes as a subprotocol
//! (`Sec-WebSocket-Protocol: Bearer, <token>`) or in the cookie `token`.
//!
//! Memory: a message has [`MESSAGE_BYTES_MAX`], and the next is read when the call has taken the last one;
//! an answer is counted for the place of its request until the system has taken it, which the socket keeps
//! as long as it lasts.
use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::extract::{FromRequestParts, Request};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{SinkExt, Stream, StreamExt, stream};
use http::{HeaderMap, HeaderValue, Method, header};
use http_body_util::BodyExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::{Gateway, error};
use crate::http::hall::Stay;
use crate::http::held::Held;
use crate::http::serve::GRACE;
use crate::node::budget::{Loan, Place};

/// The longest message of a client, and as much of a frame that has not come whole. Nobody counts these, as
/// nobody counts the first bytes of a body; a longer request is sent in several messages.
const MESSAGE_BYTES_MAX: usize = 64 << 10;
/// What the socket reads at once.
const READ_BUFFER_BYTES: usize = 4 << 10;

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
    let (stay, place) =
        (parts.extensions.remove::<Arc<Stay>>(), parts.extensions.get::<Arc<Place>>().cloned());
    let (Some(stay), Some(place)) = (stay, place) else {
        return error::alone(&Status::internal("a websocket on a connection that nobody counts"));
    };
    let upgrade = match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
        Ok(upgrade) => upgrade,
        Err(refusal) => return refusal.into_response(),
    };
    let upgrade = upgrade
        .max_message_size(MESSAGE_BYTES_MAX)
        .max_frame_size(MESSAGE_BYTES_MAX)
        .read_buffer_size(READ_BUFFER_BYTES);
    let headers = headers(&parts.headers);
    let upgrade = if bearer(&parts.headers).is_some() { upgrade.protocols(["Bearer"]) } else { upgrade };
    upgrade.on_upgrade(move |socket| async move {
        let (pieces, body) = mpsc::channel(1);
        let mut request = Request::new(Body::from_stream(ReceiverStream::new(body)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = parts.uri;
        *request.headers_mut() = headers;
        *request.extensions_mut() = parts.extensions;
        let held = place.clone();
        let answer = async move { Held::new(gateway.answer(request).await.into_body(), held) };
        let lines = pin!(stream::once(answer).flat_map(Held::into_data_stream));
        let mut talk = pin!(converse(socket, pieces, lines, &place));
        tokio::select! {
            () = talk.as_mut() => {}
            // As of every connection: what is open may be finished.
            () = stay.stop().cancelled() => drop(tokio::time::timeout(GRACE, talk).await),
        }
    })
}

/// What the call is told: the token, from wherever it comes.
fn headers(given: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let token = cookie(given, "token").or_else(|| bearer(given));
    if let Some(token) = token.and_then(|token| HeaderValue::try_from(token).ok()) {
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

/// Passes messages on as pieces of the body, with a line break after each, and sends the answer line by
/// line, until either side ends. It is read on when nobody wants the messages any more: so it is known when
/// the client has gone. It is not read while a line waits for the client, nor while a pong does: who does
/// not read is not heard.
async fn converse(
    mut socket: WebSocket,
    pieces: mpsc::Sender<Result<Bytes, Infallible>>,
    mut lines: Pin<&mut impl Stream<Item = Result<Bytes, axum::Error>>>,
    place: &Arc<Place>,
) {
    let mut waiting = None;
    let mut copied: Option<Loan> = None;
    loop {
        tokio::select! {
            room = pieces.reserve(), if waiting.is_some() => match (room, waiting.take()) {
                (Ok(room), Some(piece)) => room.send(Ok(piece)),
                (Err(_), _) | (_, None) => {}
            },
            message = socket.next(), if waiting.is_none() => match message {
                Some(Ok(Message::Text(text))) => waiting = Some(with_line_break(text.as_bytes())),
                Some(Ok(Message::Binary(bytes))) => waiting = Some(with_line_break(&bytes)),
                Some(Ok(Message::Ping(_))) => match socket.flush().await {
                    Ok(()) => {}
                    Err(_) => return,
                },
                Some(Ok(Message::Pong(_))) => {}
                // Unlike a request's body, whose end may be followed by answers, a socket that ends is gone.
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
            },
            line = lines.next() => {
                let Some(Ok(line)) = line else { break };
                // The socket copies a line, and its buffer stays as long as the longest.
                if copied.as_ref().is_none_or(|copied| copied.bytes() < line.len()) {
                    copied = Some(place.borrow_anyway(line.len()));
                }
                if socket.send(text(&line)).await.is_err() {
                    return;
                }
            }
        }
    }
    // There is nobody left to tell.
    let _ = socket.close().await;
}

fn with_line_break(piece: &[u8]) -> Bytes {
    [piece, b"\n"].concat().into()
}

/// A line without its end, in the memory that it is in.
fn text(line: &Bytes) -> Message {
    let line = line.slice(..line.strip_suffix(b"\n").map_or(line.len(), <[u8]>::len));
    match Utf8Bytes::try_from(line.clone()) {
        Ok(text) => Message::Text(text),
        Err(_) => Message::Text(String::from_utf8_lossy(&line).into_owned().into()),
    }
}
