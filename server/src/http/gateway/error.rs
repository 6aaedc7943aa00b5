//! Errors as HTTP. etcd's gateways of two generations write them differently; ours says both at once, so
//! that clients of either find their fields.
//!
//! ```text
//! before an answer   {"error":"text","code":3,"message":"text"}          etcd ≤ 3.5; since 3.6 without `error`
//! in a stream        {"error":{"grpc_code":14,"http_code":503,"message":"text",
//!                              "http_status":"Service Unavailable","code":14}}     since 3.6 `code`, `message` alone
//! ```
use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use serde_json::json;
use tonic::{Code, Status};

/// An answer that is an error alone.
pub(in crate::http) fn alone(status: &Status) -> Response {
    let text = status.message();
    let body = json!({ "error": text, "code": i32::from(status.code()), "message": text });
    let mut response = with_status(status, body.to_string());
    if status.code() == Code::Unauthenticated
        && let Ok(text) = HeaderValue::from_str(text)
    {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, text);
    }
    response
}

/// A stream that ends before its first message.
pub(super) fn first_of_stream(status: &Status) -> Response {
    with_status(status, line(status))
}

/// The last line of a stream that fails.
pub(super) fn line(status: &Status) -> String {
    let (code, http) = (i32::from(status.code()), http_status(status.code()));
    let error = json!({
        "grpc_code": code,
        "http_code": http.as_u16(),
        "message": status.message(),
        "http_status": http.canonical_reason().unwrap_or_default(),
        "code": code,
    });
    format!("{}\n", json!({ "error": error }))
}

fn with_status(status: &Status, body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = http_status(status.code());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// etcd 3.6's mapping; 3.5 says 408 for what was cancelled.
fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::Cancelled => StatusCode::from_u16(499).expect("three digits"),
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_http_status() {
        let table = [200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401];
        for (code, http) in table.into_iter().enumerate() {
            let code = Code::from_i32(code as i32);
            assert_eq!(http_status(code).as_u16(), http, "{code:?}");
        }
    }

    #[test]
    fn who_is_unknown_is_told_in_a_header_too() {
        let response = alone(&Status::unauthenticated("etcdserver: invalid auth token"));
        assert_eq!(response.status(), 401);
        assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "etcdserver: invalid auth token");
        assert!(!alone(&Status::not_found("x")).headers().contains_key(header::WWW_AUTHENTICATE));
    }

    #[test]
    fn a_stream_fails_in_the_words_of_both_generations() {
        let text = line(&Status::unavailable("etcdserver: no leader"));
        assert!(text.ends_with("}}\n"));
        let said: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(
            said,
            json!({"error": {"grpc_code": 14, "http_code": 503, "message": "etcdserver: no leader",
                "http_status": "Service Unavailable", "code": 14}})
        );
    }
}
