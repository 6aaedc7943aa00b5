//! What a call is told of the HTTP request that it is made for.
//!
//! ```text
//! Authorization: <token>       authorization: <token>
//! Grpc-Metadata-Hasleader: true            hasleader: true
//! Grpc-Timeout: 5S             grpc-timeout: what is left of it when the call begins
//! any request                  grpcgateway-accept: */*
//! ```
//! The last says that a gateway calls: the name in a client's certificate, which a gateway in another
//! process would not see, is not the caller's name.
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use http::request::Parts;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, header};
use tokio::time::Instant;
use tonic::Status;

use crate::rpc::TIMEOUT_MAX;
use crate::tls::PeerName;

/// Headers that begin so are metadata, without it.
const PREFIX: &str = "grpc-metadata-";
/// What gRPC itself says in headers is not the client's to say.
const RESERVED: [&str; 6] = ["content-type", "te", "user-agent", "host", "connection", "content-length"];

/// What goes with a call beside its messages.
pub(super) struct Context {
    /// As headers.
    pub metadata: HeaderMap,
    /// Where the request comes from; never whom its certificate names.
    pub extensions: Extensions,
    /// When it has to be answered.
    pub deadline: Option<Instant>,
}

impl Context {
    /// Of an HTTP request.
    ///
    /// # Errors
    /// A timeout or binary metadata that cannot be read.
    pub fn of(mut parts: Parts) -> Result<Context, Status> {
        parts.extensions.remove::<PeerName>();
        let (metadata, timeout) = (metadata(&parts.headers)?, timeout(&parts.headers)?);
        let deadline = timeout.map(|timeout| Instant::now() + timeout.min(TIMEOUT_MAX));
        Ok(Context { metadata, extensions: parts.extensions, deadline })
    }

    /// The headers of the call, which is told how much time it has left: when that is over it ends itself,
    /// and is counted as one that ran out of time.
    pub fn into_call(mut self) -> (HeaderMap, Extensions) {
        if let Some(deadline) = self.deadline {
            let left = grpc_timeout(deadline.saturating_duration_since(Instant::now()));
            self.metadata.insert(HeaderName::from_static("grpc-timeout"), left);
        }
        (self.metadata, self.extensions)
    }
}

fn metadata(headers: &HeaderMap) -> Result<HeaderMap, Status> {
    let mut metadata = HeaderMap::new();
    let accept = headers.get(header::ACCEPT).cloned().unwrap_or(HeaderValue::from_static("*/*"));
    metadata.insert(HeaderName::from_static("grpcgateway-accept"), accept);
    for (name, value) in headers {
        if name == header::AUTHORIZATION {
            metadata.append(header::AUTHORIZATION, value.clone());
        }
        let Some(plain) = name.as_str().strip_prefix(PREFIX) else { continue };
        if RESERVED.contains(&plain) || plain.starts_with("grpc-") {
            continue;
        }
        if plain.ends_with("-bin") {
            check_binary(name, value)?;
        }
        if let Ok(plain) = HeaderName::try_from(plain) {
            metadata.append(plain, value.clone());
        }
    }
    Ok(metadata)
}

fn check_binary(name: &HeaderName, value: &HeaderValue) -> Result<(), Status> {
    let bytes = value.as_bytes();
    let decoded =
        if bytes.len().is_multiple_of(4) { STANDARD.decode(bytes) } else { STANDARD_NO_PAD.decode(bytes) };
    match decoded {
        Ok(_) => Ok(()),
        Err(error) => {
            let text = format!("invalid binary header {}: illegal base64 data: {error}", canonical(name));
            Err(Status::invalid_argument(text))
        }
    }
}

/// How Go writes the name of a header: `Grpc-Metadata-Foo-Bin`.
fn canonical(name: &HeaderName) -> String {
    let words = name.as_str().split('-').map(|word| {
        let (first, rest) = word.split_at(word.len().min(1));
        first.to_ascii_uppercase() + rest
    });
    words.collect::<Vec<_>>().join("-")
}

fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, Status> {
    let Some(value) = headers.get("grpc-timeout") else { return Ok(None) };
    let text = String::from_utf8_lossy(value.as_bytes());
    match parse_timeout(&text) {
        Some(timeout) => Ok(Some(timeout)),
        None if text.is_empty() => Ok(None),
        None => Err(Status::invalid_argument(format!("invalid grpc-timeout: {text}"))),
    }
}

/// A time as gRPC writes it: eight digits at most. What is finer than they can say is left out.
fn grpc_timeout(timeout: Duration) -> HeaderValue {
    let seconds = u128::from(timeout.as_secs());
    let units = [
        (timeout.as_nanos(), 'n'),
        (timeout.as_micros(), 'u'),
        (timeout.as_millis(), 'm'),
        (seconds, 'S'),
        (seconds / 60, 'M'),
        (seconds / 3600, 'H'),
    ];
    let finest = units.into_iter().find(|(count, _)| *count < 100_000_000);
    let (count, unit) = finest.unwrap_or((99_999_999, 'H'));
    HeaderValue::try_from(format!("{count}{unit}")).expect("digits and a letter")
}

fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count.saturating_mul(3600))),
        "M" => Some(Duration::from_secs(count.saturating_mul(60))),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        pairs.collect()
    }

    #[test]
    fn tokens_and_metadata_are_passed_on_and_nothing_else() {
        let metadata = metadata(&headers(&[
            ("authorization", "abc.7"),
            ("grpc-metadata-hasleader", "true"),
            ("grpc-metadata-token", "def.8"),
            ("grpc-metadata-x-bin", "AAE="),
            ("grpc-metadata-y-bin", "AAE"),
            ("grpc-metadata-content-type", "text/html"),
            ("grpc-metadata-grpc-timeout", "1n"),
            ("grpc-metadata-", "nameless"),
            ("cookie", "secret"),
            ("token", "not so"),
        ]))
        .expect("metadata");
        let mut names: Vec<_> = metadata.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["authorization", "grpcgateway-accept", "hasleader", "token", "x-bin", "y-bin"]);
        assert_eq!(metadata["authorization"], "abc.7");
        assert_eq!(metadata["grpcgateway-accept"], "*/*");
    }

    #[test]
    fn a_gateway_calls_whatever_the_client_accepts() {
        for (given, said) in [(vec![], "*/*"), (vec![("accept", "application/json")], "application/json")] {
            assert_eq!(metadata(&headers(&given)).expect("metadata")["grpcgateway-accept"], said);
        }
    }

    #[test]
    fn binary_metadata_must_be_base64() {
        let refusal = metadata(&headers(&[("grpc-metadata-foo-bin", "a*")])).expect_err("refused");
        assert_eq!(refusal.code(), tonic::Code::InvalidArgument);
        assert!(refusal.message().starts_with("invalid binary header Grpc-Metadata-Foo-Bin: illegal base64"));
    }

    #[test]
    fn timeouts() {
        let asked = |text: &'static str| timeout(&headers(&[("grpc-timeout", text)]));
        for (text, wanted) in [
            ("2H", Duration::from_secs(7200)),
            ("3M", Duration::from_secs(180)),
            ("4S", Duration::from_secs(4)),
            ("5m", Duration::from_millis(5)),
            ("6u", Duration::from_micros(6)),
            ("7n", Duration::from_nanos(7)),
        ] {
            assert_eq!(asked(text).expect(text), Some(wanted));
        }
        assert_eq!(timeout(&HeaderMap::new()).expect("none"), None);
        for text in ["1", "S", "1x", "-1S", "1.5S", "99999999999999999999S"] {
            let refusal = asked(text).expect_err(text);
            assert_eq!(refusal.message(), format!("invalid grpc-timeout: {text}"));
        }
    }

    #[test]
    fn whom_a_certificate_names_is_not_passed_on() {
        let mut request = http::Request::new(());
        request.extensions_mut().insert(PeerName("root".into()));
        request.extensions_mut().insert(crate::rpc::Remote("10.0.0.7:4711".into()));
        let context = Context::of(request.into_parts().0).expect("a context");
        assert!(context.extensions.get::<PeerName>().is_none());
        assert!(context.extensions.get::<crate::rpc::Remote>().is_some());
    }

    #[test]
    fn a_time_beyond_any_clock_is_a_long_one() {
        for text in ["9999999999999999999S", "18446744073709551615H", "99999999H"] {
            let mut request = http::Request::new(());
            request.headers_mut().insert("grpc-timeout", HeaderValue::from_static(text));
            let context = Context::of(request.into_parts().0).expect(text);
            assert!(context.deadline > Some(Instant::now() + TIMEOUT_MAX / 2), "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_call_is_told_what_is_left() {
        let left = async |text: &'static str, gone: Duration| {
            let mut request = http::Request::new(());
            request.headers_mut().insert("grpc-timeout", HeaderValue::from_static(text));
            let context = Context::of(request.into_parts().0).expect(text);
            tokio::time::advance(gone).await;
            context.into_call().0["grpc-timeout"].to_str().expect("text").to_owned()
        };
        assert_eq!(left("2S", Duration::ZERO).await, "2000000u");
        assert_eq!(left("2S", Duration::from_millis(1500)).await, "500000u");
        assert_eq!(left("2S", Duration::from_secs(3)).await, "0n");
        assert_eq!(left("5n", Duration::ZERO).await, "5n");
        assert_eq!(left("1000S", Duration::ZERO).await, "1000000m");
        assert_eq!(left("99999999H", Duration::ZERO).await, "52560000M", "a hundred years");
    }
}
