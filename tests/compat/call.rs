//! A request with what goes beside it: who asks, and other metadata.
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue, MetadataMap};

use crate::words::Request;

/// Who asks, by the token that is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Identity {
    /// No token.
    #[default]
    Nobody,
    /// A text that no server gave.
    Garbage(&'static str),
    /// The token that was given as this one, counted from 0.
    Token(usize),
}

/// What goes beside a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Asker {
    pub identity: Identity,
    /// Whether the token goes where HTTP has it (`authorization`) or where etcd has it (`token`).
    pub in_authorization: bool,
    pub metadata: Vec<(&'static str, &'static [u8])>,
}

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    pub request: Request,
    pub asker: Asker,
}

impl Asker {
    /// Writes what goes beside the request.
    pub fn add_metadata(&self, map: &mut MetadataMap, token: Option<String>) {
        if let Some(token) = token {
            let key = if self.in_authorization { "authorization" } else { "token" };
            map.insert(key, token.parse().expect("tokens are printable"));
        }
        for (key, value) in &self.metadata {
            let value = AsciiMetadataValue::try_from(*value).expect("bytes that a header may have");
            map.insert(AsciiMetadataKey::from_static(key), value);
        }
    }
}

impl Call {
    /// A call by this one.
    pub fn by(identity: Identity, request: Request) -> Call {
        Call { request, asker: Asker { identity, ..Asker::default() } }
    }
}

impl From<Request> for Call {
    fn from(request: Request) -> Call {
        Call { request, asker: Asker::default() }
    }
}
