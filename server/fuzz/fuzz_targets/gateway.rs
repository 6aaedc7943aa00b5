//! JSON as the gateway takes it: refused with a text, or a message. The input: a path, then the JSON.
#![no_main]
use bramble_server::http::gateway;
use bramble_server_fuzz::Parts;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut parts = Parts::new(input);
    let path = parts.text();
    let json = parts.all();
    match gateway::parse(&path, json) {
        None => {}
        Some(Err(malformed)) => assert!(!malformed.to_string().is_empty()),
        // Bytes take three quarters of their base64, and everything else has a longer name than tag.
        Some(Ok(message)) => assert!(message.len() <= json.len() * 2, "{} of {}", message.len(), json.len()),
    }
});
