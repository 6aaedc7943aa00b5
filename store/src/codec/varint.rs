//! The two ends of every byte string here: numbers as varints (seven bits a byte, lowest first, as
//! protobuf has them), bytes with their length in front.
use bytes::Bytes;

/// Appends a number, 1 to 10 bytes.
pub(crate) fn put_u64(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a signed number so that small negative ones stay short: 0, -1, 1, -2… become 0, 1, 2, 3…
pub(crate) fn put_i64(out: &mut Vec<u8>, value: i64) {
    put_u64(out, ((value << 1) ^ (value >> 63)) as u64);
}

/// Appends a length and the bytes.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_u64(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Cuts values off the front; `None` when what is left is too short or no such value.
#[derive(Debug)]
pub(crate) struct Cut {
    rest: Bytes,
}

impl Cut {
    pub(crate) fn new(bytes: Bytes) -> Self {
        Cut { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn left(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        let first = *self.rest.first()?;
        self.rest = self.rest.slice(1..);
        Some(first)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        let (value, length) = read_u64(&self.rest)?;
        self.rest = self.rest.slice(length..);
        Some(value)
    }

    pub(crate) fn i64(&mut self) -> Option<i64> {
        let value = self.u64()?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    pub(crate) fn bytes(&mut self) -> Option<Bytes> {
        let length = usize::try_from(self.u64()?).ok()?;
        if length > self.rest.len() {
            return None;
        }
        Some(self.rest.split_to(length))
    }
}

/// The number at the front of `bytes`, and how many bytes it takes.
pub(crate) fn read_u64(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0_u64;
    for (at, byte) in bytes.iter().take(10).enumerate() {
        let low = u64::from(byte & 0x7f);
        if at == 9 && low > 1 {
            return None;
        }
        value |= low << (7 * at);
        if byte & 0x80 == 0 {
            return Some((value, at + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            let mut out = Vec::new();
            put_u64(&mut out, value);
            put_i64(&mut out, value as i64);
            let mut cut = Cut::new(out.into());
            assert_eq!((cut.u64(), cut.i64(), cut.left()), (Some(value), Some(value as i64), 0));
        }
    }

    #[test]
    fn what_is_cut_short_or_too_long_is_none() {
        assert_eq!(read_u64(&[0x80]), None);
        assert_eq!(read_u64(&[0xff; 11]), None);
        assert_eq!(read_u64(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]), None);
        assert_eq!(Cut::new(Bytes::from_static(&[5, 1, 2])).bytes(), None);
        assert_eq!(Cut::new(Bytes::new()).byte(), None);
    }
}
