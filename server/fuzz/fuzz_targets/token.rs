//! Tokens and certificates that nobody signed are worth nothing, and harm nobody. The input: 0 and a token,
//! or anything else and a certificate.
#![no_main]
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bramble_server::auth::certificate::common_name;
use bramble_server::auth::tokens::Tokens;
use bramble_server::config::{JwtSettings, SignMethod, TokenKind};
use bramble_server::node::seams::SystemClock;
use bramble_server_fuzz::Parts;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    static TOKENS: OnceLock<[Tokens; 2]> = OnceLock::new();
    let tokens = TOKENS.get_or_init(open);
    let mut parts = Parts::new(input);
    if parts.byte() != 0 {
        let _ = common_name(parts.all());
        return;
    }
    let token = String::from_utf8_lossy(parts.all());
    for kind in tokens {
        assert!(kind.claim(&token).is_none(), "nobody signed {token}");
    }
});

fn open() -> [Tokens; 2] {
    let key = std::env::temp_dir().join(format!("bramble-fuzz-key-{}", std::process::id()));
    // Drawn anew, so that no kept input can hold a signature.
    let secret = RandomState::new().hash_one("secret").to_string();
    std::fs::write(&key, secret).expect("a writable folder");
    let jwt = TokenKind::Jwt(JwtSettings {
        method: SignMethod::HS256,
        public_key_file: None,
        private_key_file: Some(key.clone()),
        ttl: Duration::from_secs(60),
    });
    let simple = TokenKind::Simple { ttl: Duration::from_secs(60) };
    let opened = [jwt, simple].map(|kind| {
        Tokens::open(&kind, Arc::new(SystemClock::start())).unwrap_or_else(|error| panic!("{error}"))
    });
    let _ = std::fs::remove_file(key);
    opened
}
