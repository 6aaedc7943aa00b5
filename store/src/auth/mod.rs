//! Users, roles, and who may do what: the part of auth that all replicas agree on.
//!
//! ```text
//!   request ─ needs ─► read [a, c), write b, keys on lease 7 …
//!                          │ each
//!   user ─► roles ─► union of their ranges ─ covers it? ─► done, or refused
//! ```
//! The same check runs three times: before a write is proposed, when it is applied, and for reads on the
//! view they are answered from. Tokens and passwords are the server's: here a password is bytes that
//! nobody looks into.
//!
//! Invariants:
//! - the auth revision grows with every change of a user or role, so what was compiled from their rows
//!   is true as long as it stands;
//! - a user's roles ascend and are unique.
pub(crate) mod access;
pub(crate) mod changes;
mod needs;
pub(crate) mod rows;

pub use needs::{Need, needs_of, needs_of_txn};

/// Whether auth is on, and what counts its changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthStatus {
    /// Whether permissions are checked.
    pub enabled: bool,
    /// Starts at 1; +1 for every change of users and roles, and when auth is disabled.
    pub revision: u64,
}

impl AuthStatus {
    /// Of a state without users.
    pub(crate) const NEW: AuthStatus = AuthStatus { enabled: false, revision: 1 };
}

/// What checks a password and makes a signed token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The bcrypt hash as it was proposed.
    pub password: bytes::Bytes,
    /// The auth revision it was read at. An `Authenticate` of it carries it as its origin's.
    pub auth_revision: u64,
}

/// Tokens came or went. They are kept in the memory of each member, and nowhere else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthEffect {
    /// A user got a token.
    TokenAssigned {
        /// Who.
        user: String,
        /// The token.
        token: String,
    },
    /// All tokens of a user are void.
    UserTokensDropped {
        /// Whose.
        user: String,
    },
    /// All tokens are void: auth is off.
    AllTokensDropped,
}
