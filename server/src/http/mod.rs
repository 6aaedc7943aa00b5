//! Plain HTTP beside gRPC: health, version, and the listeners that serve both.
mod authority;
mod calm;
mod first_bytes;
mod frames;
mod hall;
pub mod health;
mod held;
mod huffman;
pub mod listen;
pub mod metrics;
mod serve;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};

pub use health::{probes, routes};
pub use listen::{Apps, ListenError, Listeners};

/// An answer in plain text with the headers that Go's server sets.
fn text(status: StatusCode, body: impl Into<String>) -> Response {
    let mut response = (status, body.into()).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
