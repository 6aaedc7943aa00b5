//! JSON to the bytes that gRPC sends, and back.
//!
//! How deep a request may nest is bounded by the reader (128 levels, a transaction in a transaction
//! takes three); what is deeper is told so in etcd's words. Only transactions nest.
use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use tonic::Status;

/// Bytes before each message: a flag, 0 = not compressed, and the length, big-endian.
pub(super) const PREFIX_BYTES: usize = 5;
/// Bytes of a small answer's JSON, about.
const SMALL_BYTES: usize = 256;

/// Why a request cannot be read; the text is for its sender.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(String);

impl Malformed {
    /// Of a text.
    pub(super) fn new(text: impl Into<String>) -> Malformed {
        Malformed(text.into())
    }

    /// The message ends in the middle; Go's words.
    pub(super) fn cut_off() -> Malformed {
        Malformed::new("unexpected EOF")
    }

    fn of(error: &serde_json::Error) -> Malformed {
        // serde_json has no code for this one.
        if error.to_string().starts_with("recursion limit exceeded") {
            return Malformed::new("etcdserver: too many operations in txn request");
        }
        let at = format!(" at line {} column {}", error.line(), error.column());
        let text = error.to_string();
        let what = text.strip_suffix(&at).unwrap_or(&text);
        let (line, column) = (error.line(), error.column());
        match error.classify() {
            Category::Eof => Malformed::cut_off(),
            Category::Syntax => Malformed::new(format!("proto: syntax error (line {line}:{column}): {what}")),
            Category::Data | Category::Io => Malformed::new(format!("proto: (line {line}:{column}): {what}")),
        }
    }
}

/// A request as gRPC sends it, prefix included; nothing at all is one without fields.
///
/// # Errors
/// What is wrong, and where.
pub(super) fn request<T: Message + Default + DeserializeOwned>(json: &[u8]) -> Result<Bytes, Malformed> {
    if json.iter().all(u8::is_ascii_whitespace) {
        return Ok(framed(&T::default()));
    }
    let mut reader = serde_json::Deserializer::from_slice(json);
    let request: T = serde::Deserialize::deserialize(&mut reader).map_err(|error| Malformed::of(&error))?;
    Ok(framed(&request))
}

fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut wire = BytesMut::with_capacity(PREFIX_BYTES + length);
    wire.put_u8(0);
    // The body's bound is far below 4 GiB, and what is read from it is smaller than it.
    wire.put_u32(length as u32);
    message.encode(&mut wire).expect("it grows as needed");
    wire.freeze()
}

/// An answer's bytes as JSON, in as much memory as it takes: `wire` is not copied, and room that was made
/// for more is given back, as the answer may have to wait for its client.
///
/// # Errors
/// They are not such an answer's: a fault of ours.
pub(super) fn answer<T: Message + Default + Serialize>(wire: Bytes) -> Result<Bytes, Status> {
    // Base64 adds a third.
    let mut json = Vec::with_capacity(wire.len() / 3 * 4 + SMALL_BYTES);
    let answer = T::decode(wire).map_err(|error| Status::internal(error.to_string()))?;
    serde_json::to_writer(&mut json, &answer).map_err(|error| Status::internal(error.to_string()))?;
    json.shrink_to_fit();
    Ok(json.into())
}

#[cfg(test)]
mod tests {
    use bramble_proto::etcdserverpb as pb;

    use super::*;

    fn words(json: &str) -> String {
        request::<pb::TxnRequest>(json.as_bytes()).expect_err(json).to_string()
    }

    #[test]
    fn a_request_is_framed() {
        let wire = request::<pb::CompactionRequest>(br#" {"revision":"300"} and more"#).expect("a request");
        assert_eq!(wire, &[0, 0, 0, 0, 3, 8, 0xac, 2][..]);
        for nothing in ["", " \n\t", "{}"] {
            let wire = request::<pb::CompactionRequest>(nothing.as_bytes()).expect("an empty request");
            assert_eq!(wire, &[0; 5][..], "{nothing:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (json, text) in [
            ("{\"compare\":", "unexpected EOF"),
            ("{\"compare\":[]", "unexpected EOF"),
            ("{,}", "proto: syntax error (line 1:2): key must be a string"),
            ("[]", "proto: (line 1:2): invalid type: sequence, expected struct etcdserverpb.TxnRequest"),
            ("{\n \"success\":7}", "proto: (line 2:12): invalid type: integer `7`, expected a sequence"),
        ] {
            assert_eq!(words(json), text);
        }
        let deep = format!("{}{}", r#"{"success":[{"request_txn":"#.repeat(60), "}]}".repeat(60));
        assert_eq!(words(&deep), "etcdserver: too many operations in txn request");
        let depth = |count| {
            format!("{}{}", r#"{"success":[{"request_txn":"#.repeat(count) + "{}", "}]}".repeat(count))
        };
        assert!(request::<pb::TxnRequest>(depth(42).as_bytes()).is_ok(), "the README says so");
        assert!(request::<pb::TxnRequest>(depth(43).as_bytes()).is_err(), "and not one more");
        let endless = r#"{"success":[{"request_txn":"#.repeat(100_000);
        assert_eq!(words(&endless), "etcdserver: too many operations in txn request");
    }
}
