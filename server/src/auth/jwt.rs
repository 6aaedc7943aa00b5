//! Signed tokens (RFC 7519): `{"username": …, "revision": …, "exp": …}`.
//!
//! Nobody remembers them. `revision` is the auth revision when it was signed; once users or roles
//! have changed, requests that need a key are told "revision of auth store is old", by which clients
//! know to log in again. Only the configured method is accepted, `none` never.
use std::collections::HashSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use super::jwt_keys::{self, KeyError};
use super::jwt_ring;
use crate::config::{JwtSettings, SignMethod};

/// Signs and checks.
pub struct Jwt {
    method: Algorithm,
    checks: Validation,
    /// `None`: tokens come from elsewhere and are only checked.
    signs: Option<EncodingKey>,
    verifies: DecodingKey,
    ttl: Duration,
}

/// What a token says.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// Whose it is.
    pub user: String,
    /// The auth revision it was signed at.
    pub revision: u64,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    username: String,
    /// Go writes and reads every number as a double.
    revision: f64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    exp: Option<serde_json::Value>,
}

impl Jwt {
    /// Reads the keys, and tries them: what it signs it must be able to check.
    ///
    /// # Errors
    /// A file that cannot be read or holds no such key; keys that are no pair.
    pub fn open(settings: &JwtSettings) -> Result<Jwt, KeyError> {
        jwt_ring::install();
        let (signs, verifies) = jwt_keys::read(settings)?;
        let method = algorithm(settings.method);
        let jwt = Jwt { method, checks: checks(method), signs, verifies, ttl: settings.ttl };
        if jwt.signs.is_some() {
            let trial = jwt.sign("trial", 1).ok_or_else(|| jwt_keys::unusable(settings))?;
            jwt.claim(&trial).ok_or_else(|| jwt_keys::no_pair(settings))?;
        }
        Ok(jwt)
    }

    /// A token for a user; `None` when there is no key to sign with.
    pub fn sign(&self, user: &str, revision: u64) -> Option<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let exp = Some(now.saturating_add(self.ttl).as_secs().into());
        let claims = Claims { username: user.to_owned(), revision: revision as f64, exp };
        jsonwebtoken::encode(&Header::new(self.method), &claims, self.signs.as_ref()?).ok()
    }

    /// What a token says, if it is signed with our key and has not expired.
    pub fn claim(&self, token: &str) -> Option<Claim> {
        let claims = jsonwebtoken::decode::<Claims>(token, &self.verifies, &self.checks).ok()?.claims;
        Some(Claim { user: claims.username, revision: claims.revision as u64 })
    }
}

/// etcd's checks: the signature and, where the token has them, `exp` and `nbf`, to the second.
fn checks(method: Algorithm) -> Validation {
    let mut checks = Validation::new(method);
    checks.required_spec_claims = HashSet::new();
    checks.leeway = 0;
    checks.validate_nbf = true;
    checks.validate_aud = false;
    checks
}

fn algorithm(method: SignMethod) -> Algorithm {
    match method {
        SignMethod::HS256 => Algorithm::HS256,
        SignMethod::HS384 => Algorithm::HS384,
        SignMethod::HS512 => Algorithm::HS512,
        SignMethod::RS256 => Algorithm::RS256,
        SignMethod::RS384 => Algorithm::RS384,
        SignMethod::RS512 => Algorithm::RS512,
        SignMethod::PS256 => Algorithm::PS256,
        SignMethod::PS384 => Algorithm::PS384,
        SignMethod::PS512 => Algorithm::PS512,
        SignMethod::ES256 => Algorithm::ES256,
        SignMethod::ES384 => Algorithm::ES384,
        SignMethod::EdDSA => Algorithm::EdDSA,
    }
}

#[cfg(test)]
mod tests;
