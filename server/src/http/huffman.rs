//! HPACK's Huffman code, for the bytes that a server's name may be sent with.
//!
//! The code is canonical: codes of one length follow each other in the order of their bytes, and a
//! longer code begins where the shorter ones end. So the table is the bytes by length (RFC 7541,
//! appendix B). Codes above 13 bits stand for control characters and the like; a name that has one
//! is not decoded.

/// Bytes by the length of their code, from 5 bits on, in the order of their codes.
const BY_LENGTH: &[(u32, &[u8])] = &[
    (5, b"012aceiost"),
    (6, b" %-./3456789=A_bdfghlmnpru"),
    (7, b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz"),
    (8, b"&*,;XZ"),
    (10, b"!\"()?"),
    (11, b"'+|"),
    (12, b"#>"),
    (13, b"\0$@[]~"),
];

/// The text, or `None` when it holds a byte of a longer code or ends in the middle of one.
pub(super) fn decode(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::with_capacity(bytes.len() * 2);
    let mut bits = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).peekable();
    while bits.peek().is_some() {
        let (mut code, mut length) = (0u32, 0u32);
        let found = loop {
            let Some(bit) = bits.next() else {
                // The last byte is filled up with ones, fewer than eight.
                let filling = length < 8 && code == (1 << length) - 1;
                return filling.then_some(text);
            };
            (code, length) = (code << 1 | u32::from(bit), length + 1);
            match lookup(code, length) {
                Some(byte) => break byte,
                None if length >= 13 => return None,
                None => {}
            }
        };
        text.push(found);
    }
    Some(text)
}

fn lookup(code: u32, length: u32) -> Option<u8> {
    let (mut first, mut before) = (0u32, 5);
    for (bits, members) in BY_LENGTH {
        first <<= bits - before;
        before = *bits;
        if *bits == length {
            return members.get(code.checked_sub(first)? as usize).copied();
        }
        first += members.len() as u32;
    }
    None
}
