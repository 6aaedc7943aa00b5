//! etcd's messages that are part of the state, as they may come from a backup of etcd: bytes are refused or
//! read, and what was read is written and read alike.
#![no_main]
use bramble_store::codec::*;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let bytes = Bytes::copy_from_slice(input);
    if let Some(kv) = decode_key_value(&bytes) {
        assert_eq!(decode_key_value(&encode_key_value(&kv).into()), Some(kv));
    }
    if let Some(lease) = decode_lease(input) {
        assert_eq!(decode_lease(&encode_lease(&lease)), Some(lease));
    }
    if let Some(user) = decode_user(input) {
        assert_eq!(decode_user(&encode_user(&user)), Some(user));
    }
    if let Some(role) = decode_role(input) {
        assert_eq!(decode_role(&encode_role(&role)), Some(role));
    }
    if let Some((member, kind)) = decode_alarm(input) {
        assert_eq!(decode_alarm(&encode_alarm(member, kind)), Some((member, kind)));
    }
});
