//! Commands as they are in the log: bytes are refused or read, and what was read is written and read alike.
#![no_main]
use bramble_store::{alarm, auth, codec};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Ok(command) = codec::decode(Bytes::copy_from_slice(input)) else {
        return;
    };
    let bytes = codec::encode(&command);
    assert_eq!(codec::decode(bytes).expect("our own bytes"), command);
    // What is asked of every command before it is proposed.
    let _ = (auth::needs_of(&command.action), alarm::cost_bytes(&command.action));
});
