//! Who asks: tokens, passwords and certificates. What they may do is the store's to say.
//!
//! ```text
//! Authenticate ─► passwords (bcrypt, off the async threads)
//!                   └─► replicated command ─► simple: every member remembers letters.index
//!                                          └► jwt: this member signs {username, revision, exp}
//! a call's token ─► simple: remembered, younger than its time to live
//!                └► jwt: signed with our key, not expired
//! no token       ─► the common name of a verified client certificate
//! ```
//!
//! Nothing here is replicated: what a token stands for is decided anew at each call, with the auth
//! revision of that moment (simple, certificate) or of its signing (jwt).
pub mod certificate;
mod jwt;
pub(crate) mod jwt_keys;
mod jwt_ring;
pub(crate) mod passwords;
pub(crate) mod simple;
pub mod tokens;
