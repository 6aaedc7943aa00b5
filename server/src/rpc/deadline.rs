//! How long a client waits: the `grpc-timeout` header. When the time is over the call is answered, and
//! what was begun may still be done.
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::body::Body;
use tonic::{Code, Status};

/// Longer times than this are as good as none, and a timer takes them.
pub(crate) const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// When a call has to be answered, if the client said.
///
/// # Errors
/// What is wrong with the header, in the words of gRPC's Go implementation.
pub(super) fn of(headers: &HeaderMap) -> Result<Option<Instant>, String> {
    let Some(value) = headers.get("grpc-timeout") else { return Ok(None) };
    let timeout = parse(value.as_bytes())?;
    Ok(Some(Instant::now() + timeout.min(LONGEST)))
}

/// gRPC's form of a time: at most eight digits and a unit.
pub(super) fn parse(value: &[u8]) -> Result<Duration, String> {
    let text = String::from_utf8_lossy(value);
    if value.len() < 2 {
        return Err(format!("transport: timeout string is too short: {text:?}"));
    }
    // Eight digits and a unit.
    if value.len() > 9 {
        return Err(format!("transport: timeout string is too long: {text:?}"));
    }
    let (digits, unit) = value.split_at(value.len() - 1);
    let unit: fn(u64) -> Duration = match unit[0] {
        b'H' => |hours| Duration::from_secs(hours * 3600),
        b'M' => |minutes| Duration::from_secs(minutes * 60),
        b'S' => Duration::from_secs,
        b'm' => Duration::from_millis,
        b'u' => Duration::from_micros,
        b'n' => Duration::from_nanos,
        _ => return Err(format!("transport: timeout unit is not recognized: {text:?}")),
    };
    let digits = String::from_utf8_lossy(digits);
    match digits.parse() {
        // A sign is one to Rust's parser, and none to gRPC.
        Ok(number) if digits.bytes().all(|digit| digit.is_ascii_digit()) => Ok(unit(number)),
        _ => Err(format!("strconv.ParseUint: parsing {digits:?}: invalid syntax")),
    }
}

/// The answer when the time is over.
pub(super) fn exceeded() -> Status {
    Status::new(Code::DeadlineExceeded, "context deadline exceeded")
}

/// The answer of a stream that ends when its time is over.
pub(super) struct Until {
    body: Option<Body>,
    end: Pin<Box<Sleep>>,
}

impl Until {
    pub(super) fn new(body: Body, deadline: Instant) -> Until {
        Until { body: Some(body), end: Box::pin(sleep_until(deadline)) }
    }
}

impl http_body::Body for Until {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        match Pin::new(body).poll_frame(context) {
            Poll::Pending => {
                ready!(this.end.as_mut().poll(context));
                this.body = None;
                let mut trailers = HeaderMap::new();
                // Both values are plain text.
                exceeded().add_header(&mut trailers)?;
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
            polled => polled,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_what_is_none() {
        let good = [
            ("1H", Duration::from_secs(3600)),
            ("2M", Duration::from_secs(120)),
            ("3S", Duration::from_secs(3)),
            ("99999999m", Duration::from_millis(99_999_999)),
            ("5u", Duration::from_micros(5)),
            ("0n", Duration::ZERO),
            ("99999999H", Duration::from_secs(99_999_999 * 3600)),
        ];
        for (text, time) in good {
            assert_eq!(parse(text.as_bytes()), Ok(time), "{text}");
        }
        let bad = [
            ("", "transport: timeout string is too short: \"\""),
            ("1", "transport: timeout string is too short: \"1\""),
            ("999999999m", "transport: timeout string is too long: \"999999999m\""),
            ("1s", "transport: timeout unit is not recognized: \"1s\""),
            ("+1S", "strconv.ParseUint: parsing \"+1\": invalid syntax"),
            ("-1S", "strconv.ParseUint: parsing \"-1\": invalid syntax"),
            ("1.5S", "strconv.ParseUint: parsing \"1.5\": invalid syntax"),
        ];
        for (text, why) in bad {
            assert_eq!(parse(text.as_bytes()), Err(why.to_owned()), "{text}");
        }
        let mut headers = HeaderMap::new();
        assert_eq!(of(&headers), Ok(None));
        headers.insert("grpc-timeout", http::HeaderValue::from_static("99999999H"));
        assert!(of(&headers).expect("a good one").is_some(), "a time beyond any clock");
    }
}
