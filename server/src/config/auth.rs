//! `--auth-token`, `--auth-token-ttl`, `--bcrypt-cost`: what a login is worth, and for how long.
//!
//! ```text
//! simple
//! jwt,sign-method=RS256,pub-key=app.pub,priv-key=app.key,ttl=10m
//! ```
use std::path::PathBuf;
use std::time::Duration;

use super::error::ConfigError;
use super::sources::{Given, Notice, Sources};
use super::values;

/// How long a simple token lives without being used; etcd's number.
const SIMPLE_TTL: Duration = Duration::from_secs(300);
/// How long a signed token lives.
const JWT_TTL: Duration = Duration::from_secs(300);
/// Longer ones no clock of Go's could tell, and the end of a token is told to everybody who reads it.
const TTL_MAX: Duration = Duration::from_nanos(i64::MAX as u64);
/// bcrypt's own bounds.
const BCRYPT_COSTS: std::ops::RangeInclusive<u64> = 4..=31;

/// Settings of logins and passwords.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthSettings {
    /// What a login is answered with.
    pub tokens: TokenKind,
    /// Cost of hashing a new password, 4 to 31; each step doubles the time.
    pub bcrypt_cost: u32,
}

/// What a login is answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// Random letters that every member remembers until they were not used for so long.
    Simple {
        /** How long. */
        ttl: Duration,
    },
    /// A claim signed with a key, remembered by nobody.
    Jwt(JwtSettings),
    /// Nothing: nobody logs in, users come with certificates.
    None,
}

/// Settings of signed tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtSettings {
    /// How they are signed.
    pub method: SignMethod,
    /// Public key, PEM; not for HMAC.
    pub public_key_file: Option<PathBuf>,
    /// Private key, PEM; for HMAC the secret, as it is in the file. Without one tokens are checked
    /// and none are made.
    pub private_key_file: Option<PathBuf>,
    /// How long a new token lives.
    pub ttl: Duration,
}

/// How a token is signed, by its names in RFC 7518.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum SignMethod {
    HS256,
    HS384,
    HS512,
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

impl SignMethod {
    /// All of them, by name.
    pub const ALL: [(&'static str, SignMethod); 12] = {
        use SignMethod::{
            ES256, ES384, EdDSA, HS256, HS384, HS512, PS256, PS384, PS512, RS256, RS384, RS512,
        };
        [
            ("HS256", HS256),
            ("HS384", HS384),
            ("HS512", HS512),
            ("RS256", RS256),
            ("RS384", RS384),
            ("RS512", RS512),
            ("PS256", PS256),
            ("PS384", PS384),
            ("PS512", PS512),
            ("ES256", ES256),
            ("ES384", ES384),
            ("EdDSA", EdDSA),
        ]
    };

    /// Whether one secret signs and checks.
    pub fn is_hmac(self) -> bool {
        matches!(self, SignMethod::HS256 | SignMethod::HS384 | SignMethod::HS512)
    }
}

impl Default for AuthSettings {
    fn default() -> AuthSettings {
        AuthSettings { tokens: TokenKind::Simple { ttl: SIMPLE_TTL }, bcrypt_cost: 10 }
    }
}

/// Reads the three flags.
///
/// # Errors
/// An unknown kind of token, an unknown method, options twice or without value, a missing key.
pub fn read(sources: &Sources, notices: &mut Vec<Notice>) -> Result<AuthSettings, ConfigError> {
    let mut settings = AuthSettings::default();
    if let Some(given) = sources.get("bcrypt-cost") {
        let cost = values::count(&given.text).filter(|cost| BCRYPT_COSTS.contains(cost));
        let wanted = || values::bad(given, "a whole number from 4 to 31; 10 is etcd's");
        settings.bcrypt_cost = cost.ok_or_else(wanted)? as u32;
    }
    // As in etcd 0 means the default, not "at once".
    let ttl_s = sources.get("auth-token-ttl").and_then(|given| values::count(&given.text));
    let ttl = ttl_s.filter(|ttl_s| *ttl_s > 0).map_or(SIMPLE_TTL, Duration::from_secs);
    settings.tokens = match sources.get("auth-token") {
        None => TokenKind::Simple { ttl },
        Some(given) => token_kind(given, ttl, notices)?,
    };
    Ok(settings)
}

fn token_kind(given: &Given, ttl: Duration, notices: &mut Vec<Notice>) -> Result<TokenKind, ConfigError> {
    let mut words = given.text.split(',');
    match words.next().unwrap_or_default() {
        "" => Ok(TokenKind::None),
        // etcd looks at no option of this kind.
        "simple" => Ok(TokenKind::Simple { ttl }),
        "jwt" => jwt(given, words, notices).map(TokenKind::Jwt),
        _ => Err(values::bad(
            given,
            "`simple`, or `jwt` with its options (jwt,sign-method=RS256,priv-key=FILE)",
        )),
    }
}

fn jwt<'a>(
    given: &Given,
    options: impl Iterator<Item = &'a str>,
    notices: &mut Vec<Notice>,
) -> Result<JwtSettings, ConfigError> {
    let (mut method, mut public_key_file, mut private_key_file, mut ttl) = (None, None, None, None);
    let mut seen = Vec::new();
    for option in options {
        let Some((name, value)) = option.split_once('=') else {
            return Err(values::bad(given, format!("a list of name=value after `jwt`: {option:?}")));
        };
        if seen.contains(&name) {
            return Err(values::bad(given, format!("clear: {name} stands there twice")));
        }
        seen.push(name);
        match name {
            "sign-method" => method = Some(sign_method(given, value)?),
            "pub-key" => public_key_file = path(value),
            "priv-key" => private_key_file = path(value),
            "ttl" if value.is_empty() => {}
            "ttl" => ttl = Some(token_ttl(given, value)?),
            _ => notices.push(Notice::Warn(format!("{}: unknown option {name}, ignored", given.origin))),
        }
    }
    let Some(method) = method else {
        return Err(values::bad(given, format!("whole: it needs sign-method={}", methods())));
    };
    let keys = JwtSettings { method, public_key_file, private_key_file, ttl: ttl.unwrap_or(JWT_TTL) };
    match (&keys.public_key_file, &keys.private_key_file) {
        (_, None) if method.is_hmac() => {
            Err(values::bad(given, "whole: HMAC needs priv-key=FILE, the secret that signs and checks"))
        }
        (None, None) => Err(values::bad(given, "whole: it needs priv-key=FILE, pub-key=FILE or both")),
        _ => Ok(keys),
    }
}

fn path(value: &str) -> Option<PathBuf> {
    (!value.is_empty()).then(|| PathBuf::from(value))
}

fn sign_method(given: &Given, value: &str) -> Result<SignMethod, ConfigError> {
    let known = SignMethod::ALL.iter().find(|(name, _)| *name == value);
    let wanted = || values::bad(given, format!("good: sign-method is one of {}", methods()));
    known.map(|(_, method)| *method).ok_or_else(wanted)
}

fn token_ttl(given: &Given, value: &str) -> Result<Duration, ConfigError> {
    let ttl = values::duration(value).filter(|ttl| (Duration::from_secs(1)..=TTL_MAX).contains(ttl));
    let wanted =
        || values::bad(given, "good: ttl is a time of a second or more, such as 10m, at most 292 years");
    ttl.ok_or_else(wanted)
}

fn methods() -> String {
    SignMethod::ALL.map(|(name, _)| name).join(", ")
}
