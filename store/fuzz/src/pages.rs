//! Pages of a small database, made of an input: headers, positions and checksums are right unless the input
//! says otherwise, so that what is behind them is reached.
//!
//! ```text
//!   root │ pages │ for each: kind (0 raw, 1 branch, else leaf), overflow, elements
//!                            raw: bytes      element: flags or child, key, value
//! ```
use crate::Parts;

/// The smallest that is read.
const PAGE_BYTES: usize = 512;

/// The file.
pub fn of(parts: &mut Parts<'_>) -> Vec<u8> {
    let (root, count) = (parts.byte(), parts.byte() % 32);
    let mut file = vec![0; 2 * PAGE_BYTES];
    for number in 2..2 + usize::from(count) {
        let begins = file.len();
        let kind = parts.byte();
        let overflow = parts.byte();
        match kind {
            0 => file.extend(parts.bytes()),
            _ => page(parts, number, kind, overflow, &mut file),
        }
        file.truncate(begins + 8 * PAGE_BYTES);
        let pages = if overflow < 8 { usize::from(overflow) + 1 } else { 1 };
        file.resize(begins + pages * PAGE_BYTES, 0);
    }
    let end = (file.len() / PAGE_BYTES) as u64;
    for number in 0..2 {
        meta(&mut file[number * PAGE_BYTES..], number as u64, root.into(), end);
    }
    file
}

fn page(parts: &mut Parts<'_>, number: usize, kind: u8, overflow: u8, file: &mut Vec<u8>) {
    let count = usize::from(parts.byte() % 32);
    file.extend((number as u64).to_le_bytes());
    file.extend(if kind == 1 { 1_u16 } else { 2 }.to_le_bytes());
    file.extend((count as u16).to_le_bytes());
    file.extend(u32::from(overflow).to_le_bytes());
    let (mut heads, mut data) = (Vec::new(), Vec::new());
    for at in 0..count {
        let link = parts.byte();
        let (key, value) = (parts.bytes(), if kind == 1 { &[][..] } else { parts.bytes() });
        let position = (16 * (count - at) + data.len()) as u32;
        if kind == 1 {
            heads.extend([position, key.len() as u32, u32::from(link), 0].map(u32::to_le_bytes).concat());
        } else {
            let head = [u32::from(link), position, key.len() as u32, value.len() as u32];
            heads.extend(head.map(u32::to_le_bytes).concat());
        }
        data.extend_from_slice(key);
        data.extend_from_slice(value);
    }
    file.extend(heads);
    file.extend(data);
}

fn meta(page: &mut [u8], number: u64, root: u64, end: u64) {
    let mut at = 0;
    let mut put = |bytes: &[u8]| {
        page[at..at + bytes.len()].copy_from_slice(bytes);
        at += bytes.len();
    };
    put(&number.to_le_bytes());
    put(&4_u64.to_le_bytes());
    put(&0xED0C_DAED_u32.to_le_bytes());
    put(&2_u32.to_le_bytes());
    put(&(PAGE_BYTES as u32).to_le_bytes());
    put(&0_u32.to_le_bytes());
    put(&root.to_le_bytes());
    put(&0_u64.to_le_bytes());
    put(&u64::MAX.to_le_bytes());
    put(&end.to_le_bytes());
    put(&number.to_le_bytes());
    let fnv = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    let checksum = page[16..72].iter().fold(0xcbf2_9ce4_8422_2325, fnv);
    page[72..80].copy_from_slice(&checksum.to_le_bytes());
}
