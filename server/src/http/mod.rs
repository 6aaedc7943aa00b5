//! Plain HTTP beside gRPC: health, version, the JSON gateway, and the listeners that serve both.
pub mod access;
mod authority;
mod calm;
mod debug;
mod first_bytes;
mod frames;
pub mod gateway;
mod hall;
pub mod health;
mod held;
mod huffman;
pub mod listen;
pub mod metrics;
mod serve;
pub mod wear;
mod workers;

use axum::Router;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};

use crate::node::client::Client;

pub use health::probes;
pub use listen::{Apps, ListenError, Listeners};

/// What is not gRPC on the client listeners, the gateway apart.
pub fn routes(client: Client) -> Router {
    health::routes(client.clone()).merge(debug::routes(client))
}

/// An answer in plain text with the headers that Go's server sets.
fn text(status: StatusCode, body: impl Into<String>) -> Response {
    let mut response = (status, body.into()).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
