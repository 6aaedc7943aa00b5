use std::path::PathBuf;
use std::time::Duration;

use super::*;
use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use jsonwebtoken::encode;
use serde_json::{Value, json};

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/keys").join(name)
}

fn settings(method: SignMethod, public: Option<&str>, private: Option<&str>) -> JwtSettings {
    JwtSettings {
        method,
        public_key_file: public.map(file),
        private_key_file: private.map(file),
        ttl: Duration::from_secs(300),
    }
}

fn open(method: SignMethod, public: Option<&str>, private: Option<&str>) -> Jwt {
    Jwt::open(&settings(method, public, private)).unwrap_or_else(|error| panic!("{method:?}: {error}"))
}

/// Private and public key of a method.
fn keys(method: SignMethod) -> (&'static str, Option<&'static str>) {
    match method {
        SignMethod::HS256 | SignMethod::HS384 | SignMethod::HS512 => ("hmac.secret", None),
        SignMethod::ES256 => ("p256.sec1.key", Some("p256.pub")),
        SignMethod::ES384 => ("p384.pkcs8.key", Some("p384.pub")),
        SignMethod::EdDSA => ("ed25519.key", Some("ed25519.pub")),
        _ => ("rsa.pkcs1.key", Some("rsa.pub")),
    }
}

fn alice() -> Option<Claim> {
    Some(Claim { user: "alice".into(), revision: 7 })
}

/// One token per method, signed by another implementation with the same keys.
fn foreign(method: &str) -> String {
    let tokens = std::fs::read_to_string(file("tokens.txt")).expect("tokens.txt");
    let line = tokens.lines().find_map(|line| line.strip_prefix(method)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no token of {method}")).to_owned()
}

#[test]
fn a_token_may_live_as_long_as_numbers_go() {
    let settings =
        JwtSettings { ttl: Duration::MAX, ..settings(SignMethod::HS256, None, Some("hmac.secret")) };
    let jwt = Jwt::open(&settings).expect("opened");
    assert_eq!(jwt.claim(&jwt.sign("alice", 7).expect("signed")), alice());
}

#[test]
fn every_method_signs_and_checks_and_understands_others() {
    for (name, method) in SignMethod::ALL {
        let (private, public) = keys(method);
        for jwt in [open(method, public, Some(private)), open(method, None, Some(private))] {
            let token = jwt.sign("alice", 7).expect("it has a private key");
            assert_eq!(jwt.claim(&token), alice(), "{name}");
            assert_eq!(jwt.claim(&foreign(name)), alice(), "{name}, signed elsewhere");
        }
        if let Some(public) = public {
            let checking = open(method, Some(public), None);
            assert_eq!(checking.sign("alice", 7), None, "{name}: no private key");
            assert_eq!(checking.claim(&foreign(name)), alice(), "{name}");
        }
    }
}

#[test]
fn keys_in_every_form() {
    for private in ["rsa.pkcs1.key", "rsa.pkcs8.key"] {
        for public in [None, Some("rsa.pub"), Some("rsa.crt")] {
            let jwt = open(SignMethod::RS256, public, Some(private));
            assert_eq!(jwt.claim(&jwt.sign("alice", 7).expect("a token")), alice());
        }
    }
    assert_eq!(open(SignMethod::PS512, Some("rsa.crt"), None).claim(&foreign("PS512")), alice());
}

#[test]
fn keys_that_do_not_fit_are_named() {
    use SignMethod::{ES256, ES384, EdDSA, HS256, RS256};
    let wrong = [
        (settings(RS256, Some("nosuch.pub"), None), "cannot read the public key"),
        (settings(RS256, None, Some("nosuch.key")), "cannot read the private key"),
        (settings(HS256, None, Some("nosuch.key")), "cannot read the private key"),
        (settings(RS256, None, Some("rsa.pub")), "no private key in it"),
        (settings(RS256, Some("rsa.pkcs1.key"), None), "no public key in it"),
        (settings(RS256, None, Some("p256.sec1.key")), "needs an RSA key"),
        (settings(RS256, Some("p256.pub"), None), "needs an RSA key"),
        (settings(ES256, None, Some("p384.pkcs8.key")), "P-256"),
        (settings(ES256, Some("p384.pub"), None), "P-256"),
        (settings(ES384, None, Some("p256.sec1.key")), "P-384"),
        (settings(EdDSA, None, Some("rsa.pkcs8.key")), "Ed25519"),
        (settings(EdDSA, Some("p256.pub"), None), "Ed25519"),
        (settings(RS256, Some("other-rsa.pub"), Some("rsa.pkcs1.key")), "are no pair"),
    ];
    for (settings, part) in wrong {
        let text = Jwt::open(&settings).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(text.starts_with("--auth-token: ") && text.contains(part), "{settings:?}: {text}");
    }
}

/// A token of our key with any header and claims.
fn made(jwt: &Jwt, header: &Header, claims: &Value) -> String {
    encode(header, claims, jwt.signs.as_ref().expect("a private key")).expect("signed")
}

#[test]
fn a_token_with_anything_wrong_is_worth_nothing() {
    let jwt = open(SignMethod::RS256, None, Some("rsa.pkcs1.key"));
    let header = Header::new(Algorithm::RS256);
    let now = jsonwebtoken::get_current_timestamp();
    let good = json!({"username": "alice", "revision": 7, "exp": now + 60});
    assert_eq!(jwt.claim(&made(&jwt, &header, &good)), alice());
    let lasting = json!({"username": "alice", "revision": 7.0});
    assert_eq!(jwt.claim(&made(&jwt, &header, &lasting)), alice(), "without exp it does not expire");
    let foreign_claims =
        json!({"username": "alice", "revision": 7, "aud": "x", "iss": ["y"], "iat": now + 99});
    assert_eq!(jwt.claim(&made(&jwt, &header, &foreign_claims)), alice(), "others are not looked at");

    let bad_claims = [
        json!({"username": "alice", "revision": 7, "exp": now - 2}),
        json!({"username": "alice", "revision": 7, "exp": "tomorrow"}),
        json!({"username": "alice", "revision": 7, "exp": -1}),
        json!({"username": "alice", "revision": 7, "nbf": now + 60}),
        json!({"username": "alice", "revision": "7"}),
        json!({"username": "alice"}),
        json!({"username": 5, "revision": 7}),
        json!({"revision": 7}),
        json!(["alice", 7]),
    ];
    for claims in bad_claims {
        assert_eq!(jwt.claim(&made(&jwt, &header, &claims)), None, "{claims}");
    }
    for method in ["HS256", "RS384", "PS256", "ES256", "EdDSA"] {
        assert_eq!(jwt.claim(&foreign(method)), None, "{method}, when RS256 is configured");
    }
    let other = open(SignMethod::RS256, Some("other-rsa.pub"), None);
    assert_eq!(other.claim(&foreign("RS256")), None, "another key");
}

#[test]
fn a_token_cannot_choose_how_it_is_checked() {
    let jwt = open(SignMethod::RS256, Some("rsa.pub"), None);
    // "none" with no signature, and HMAC with the public key as its secret.
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = part(&json!({"username": "root", "revision": 7}));
    let none = part(&json!({"alg": "none", "typ": "JWT"}));
    assert_eq!(jwt.claim(&format!("{none}.{claims}.")), None);
    let public = std::fs::read(file("rsa.pub")).expect("the public key");
    let secret = EncodingKey::from_secret(&public);
    let claims = json!({"username": "root", "revision": 7});
    let hmac = encode(&Header::new(Algorithm::HS256), &claims, &secret).expect("signed");
    assert_eq!(jwt.claim(&hmac), None);
}

#[test]
fn no_change_of_a_token_goes_unnoticed() {
    let jwt = open(SignMethod::ES256, None, Some("p256.sec1.key"));
    let token = jwt.sign("alice", 7).expect("a token");
    for at in 0..token.len() {
        let mut changed = token.clone().into_bytes();
        // Within base64's alphabet, so that only the signature can tell.
        changed[at] = if changed[at] == b'A' { b'g' } else { b'A' };
        let changed = String::from_utf8(changed).expect("ASCII");
        assert!(jwt.claim(&changed).is_none() || same_bits(&token, &changed), "{at}: {changed}");
        assert_eq!(jwt.claim(&token[..at]), None, "cut at {at}");
    }
    for none in ["", ".", "..", "...", "a.b.c", "abcdefghijklmnop.12"] {
        assert_eq!(jwt.claim(none), None, "{none}");
    }
}

/// The last letter of a base64 part has bits that mean nothing.
fn same_bits(one: &str, other: &str) -> bool {
    let loose = GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone);
    let loose = GeneralPurpose::new(&URL_SAFE, loose);
    let decode = |token: &str| token.split('.').map(|part| loose.decode(part).ok()).collect::<Vec<_>>();
    decode(one) == decode(other)
}
