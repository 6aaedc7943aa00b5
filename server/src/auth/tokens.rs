//! The kind of token that is configured.
use std::sync::Arc;

use bramble_store::auth::AuthEffect;
use bramble_store::seams::{Clock, Entropy};

use super::jwt::Jwt;
use super::jwt_keys::KeyError;
use super::simple::{self, SimpleTokens};
use crate::config::TokenKind;

/// What a login is answered with, and what an answer is worth.
pub enum Tokens {
    /// Remembered by every member.
    Simple(SimpleTokens),
    /// Signed.
    Jwt(Box<Jwt>),
    /// None: nobody logs in.
    None,
}

/// Whose a token is.
pub enum Claimed {
    /// This user's, as of now.
    Now(String),
    /// This user's, as of this auth revision.
    At(String, u64),
}

impl Tokens {
    /// Reads the keys, if it needs any.
    ///
    /// # Errors
    /// What is wrong with the keys.
    pub fn open(kind: &TokenKind, clock: Arc<dyn Clock>) -> Result<Tokens, KeyError> {
        Ok(match kind {
            TokenKind::Simple { ttl } => Tokens::Simple(SimpleTokens::new(clock, *ttl)),
            TokenKind::Jwt(settings) => Tokens::Jwt(Box::new(Jwt::open(settings)?)),
            TokenKind::None => Tokens::None,
        })
    }

    /// Whose a token is; `None` when it is worth nothing.
    pub fn claim(&self, token: &str) -> Option<Claimed> {
        match self {
            Tokens::Simple(tokens) => tokens.user(token).map(|user| Claimed::Now(user.to_string())),
            Tokens::Jwt(jwt) => jwt.claim(token).map(|claim| Claimed::At(claim.user, claim.revision)),
            Tokens::None => None,
        }
    }

    /// What the replicated command of a login carries: the beginning of a token, or nothing.
    pub fn begin(&self, entropy: &dyn Entropy) -> String {
        match self {
            Tokens::Simple(_) => simple::letters(entropy),
            Tokens::Jwt(_) | Tokens::None => String::new(),
        }
    }

    /// Takes what an applied command did. Assignments up to entry `before` are of an earlier life of
    /// this member, whose tokens ended with it.
    pub fn take_effect(&self, effect: &AuthEffect, before: u64) {
        let Tokens::Simple(tokens) = self else { return };
        match effect {
            AuthEffect::TokenAssigned { user, token } => {
                if simple::index(token).is_some_and(|index| index > before) {
                    tokens.assign(token, user);
                }
            }
            AuthEffect::UserTokensDropped { user } => tokens.drop_user(user),
            AuthEffect::AllTokensDropped => tokens.drop_all(),
        }
    }
}
