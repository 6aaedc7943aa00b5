//! Segments of a log with right checksums and whatever else the input says.
//!
//! Chance finds no checksum, so nothing behind one would ever be reached by changing bytes of a file. Here
//! the input says what a header and its frames hold, the checksums follow, and then some bytes are broken,
//! before or after the checksums are made.
use crate::Parts;

const BLOCK: usize = 4096;
const BLOCKS: usize = 8;
/// Length of every segment made here.
pub const SEGMENT_BYTES: usize = BLOCK * BLOCKS;

/// Segments, in the order of their numbers.
pub fn of(parts: &mut Parts<'_>) -> Vec<Vec<u8>> {
    let count = 1 + parts.byte() % 3;
    let mut chain = Chain { sequence: 1, crc: 0 };
    (0..count).map(|number| segment(parts, number, &mut chain)).collect()
}

/// Where the chain of frames is.
struct Chain {
    sequence: u64,
    crc: u32,
}

/// Flags of a segment in the input.
const ODD_HEADER: u8 = 1;
const BREAK_BEFORE: u8 = 2;
const BREAK_AFTER: u8 = 4;

fn segment(parts: &mut Parts<'_>, number: u8, chain: &mut Chain) -> Vec<u8> {
    let flags = parts.byte();
    let mut bytes = vec![0; SEGMENT_BYTES];
    let mut header = Header::usual(number, chain);
    if flags & ODD_HEADER != 0 {
        header.bend(parts);
    }
    header.write(&mut bytes);
    let frames = parts.byte() % 6;
    let mut at = 1;
    for _ in 0..frames {
        at = frame(parts, &header, chain, &mut bytes, at);
    }
    if flags & BREAK_BEFORE != 0 {
        break_some(parts, &mut bytes);
        seal_header(&mut bytes);
        (1..BLOCKS).for_each(|block| seal_block(&mut bytes, block));
    }
    if flags & BREAK_AFTER != 0 {
        break_some(parts, &mut bytes);
    }
    bytes
}

struct Header {
    align: u32,
    number: u32,
    epoch: u32,
    capacity: u64,
    file_bytes: u64,
    first_sequence: u64,
    previous_crc: u32,
    start: u32,
    oldest_epoch: u32,
    flags: u32,
    words: [u64; 8],
}

impl Header {
    fn usual(number: u8, chain: &Chain) -> Header {
        Header {
            align: BLOCK as u32,
            number: number.into(),
            epoch: 1 + u32::from(number),
            capacity: SEGMENT_BYTES as u64,
            file_bytes: SEGMENT_BYTES as u64,
            first_sequence: chain.sequence,
            previous_crc: chain.crc,
            start: 1,
            oldest_epoch: 1,
            flags: 0,
            words: [0; 8],
        }
    }

    /// Changes one field after the other, as the input says.
    fn bend(&mut self, parts: &mut Parts<'_>) {
        let large = |byte: u8| if byte < 128 { u64::from(byte) } else { u64::MAX - u64::from(255 - byte) };
        for _ in 0..parts.byte() % 8 {
            let (field, value) = (parts.byte() % 20, parts.byte());
            match field {
                0 => self.align = 1 << (value % 32),
                1 => self.number = value.into(),
                2 => self.epoch = large(value) as u32,
                3 => self.capacity = u64::from(value) * 512,
                4 => self.file_bytes = large(value).wrapping_mul(512) % (1 << 40),
                5 => self.first_sequence = large(value),
                6 => self.previous_crc = value.into(),
                7 => self.start = large(value) as u32,
                8 => self.oldest_epoch = large(value) as u32,
                9..=11 => self.flags = value.into(),
                word => self.words[usize::from(word - 12)] = large(value),
            }
        }
    }

    fn write(&self, bytes: &mut [u8]) {
        bytes[..8].copy_from_slice(b"BrambleL");
        bytes[8] = 1;
        put(bytes, 12, &self.align.to_le_bytes());
        put(bytes, 16, &self.number.to_le_bytes());
        put(bytes, 20, &self.epoch.to_le_bytes());
        put(bytes, 24, &self.capacity.to_le_bytes());
        put(bytes, 32, &self.file_bytes.to_le_bytes());
        put(bytes, 40, &self.first_sequence.to_le_bytes());
        put(bytes, 48, &self.previous_crc.to_le_bytes());
        put(bytes, 52, &self.start.to_le_bytes());
        put(bytes, 56, &self.oldest_epoch.to_le_bytes());
        put(bytes, 60, &self.flags.to_le_bytes());
        for (at, word) in self.words.iter().enumerate() {
            put(bytes, 72 + 8 * at, &word.to_le_bytes());
        }
        seal_header(bytes);
    }
}

/// One frame at block `at`, if it has room; the block behind it. Its payload is the input's.
fn frame(parts: &mut Parts<'_>, header: &Header, chain: &mut Chain, bytes: &mut [u8], at: usize) -> usize {
    let odd = parts.byte();
    let payload = parts.bytes();
    let blocks = (payload.len() + 28).div_ceil(BLOCK - 20);
    if at + blocks > BLOCKS {
        return at;
    }
    let sequence = chain.sequence.wrapping_add(u64::from(odd & 3));
    let mut rest = payload;
    for number in 0..blocks {
        let block = &mut bytes[(at + number) * BLOCK..][..BLOCK];
        put(block, 0, &header.epoch.to_le_bytes());
        put(block, 4, &header.start.to_le_bytes());
        put(block, 8, &sequence.to_le_bytes());
        let from = if number == 0 { 48 } else { 20 };
        if number == 0 {
            block[20..24].copy_from_slice(b"BrLf");
            block[24] = 1;
            put(block, 28, &chain.crc.to_le_bytes());
            put(block, 32, &(payload.len() as u32 + u32::from(odd >> 7) * 9000).to_le_bytes());
            put(block, 36, &sequence.saturating_sub(u64::from(odd >> 4 & 3)).to_le_bytes());
        }
        let (here, behind) = rest.split_at(rest.len().min(BLOCK - from));
        put(block, from, here);
        rest = behind;
    }
    let mut crc = crc32fast::Hasher::new();
    for number in at..at + blocks {
        seal_block(bytes, number);
        crc.update(&bytes[number * BLOCK + 16..number * BLOCK + 20]);
    }
    (chain.crc, chain.sequence) = (crc.finalize(), sequence.wrapping_add(1));
    // Sometimes a gap.
    at + blocks + usize::from(odd >> 2 & 1)
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

fn seal_header(bytes: &mut [u8]) {
    let crc = crc32fast::hash(&bytes[..508]);
    put(bytes, 508, &crc.to_le_bytes());
}

/// Makes the checksums of a block right, that of a frame's header first. An empty block stays empty.
fn seal_block(bytes: &mut [u8], number: usize) {
    let block = &mut bytes[number * BLOCK..][..BLOCK];
    if block[..4] == [0; 4] {
        return;
    }
    let crc_of = |parts: [&[u8]; 2]| {
        let mut crc = crc32fast::Hasher::new();
        crc.update(&(number as u32).to_le_bytes());
        parts.iter().for_each(|part| crc.update(part));
        crc.finalize().to_le_bytes()
    };
    if block[20..24] == *b"BrLf" {
        let crc = crc_of([&block[..16], &block[20..44]]);
        put(block, 44, &crc);
    }
    let crc = crc_of([&block[..16], &block[20..]]);
    put(block, 16, &crc);
}

fn break_some(parts: &mut Parts<'_>, bytes: &mut [u8]) {
    for _ in 0..parts.byte() % 5 {
        let at = usize::from(parts.short()) % bytes.len();
        bytes[at] ^= parts.byte();
    }
}
