//! What the targets share: cutting an input into parts, and making a log's segments or a database's pages of it.
pub mod pages;
pub mod segments;

/// Cuts an input into parts. An input that is too short goes on as zeros.
#[derive(Debug)]
pub struct Parts<'a> {
    rest: &'a [u8],
}

impl<'a> Parts<'a> {
    /// All of `input`.
    pub fn new(input: &'a [u8]) -> Self {
        Parts { rest: input }
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// One byte.
    pub fn byte(&mut self) -> u8 {
        match self.rest.split_first() {
            Some((first, rest)) => {
                self.rest = rest;
                *first
            }
            None => 0,
        }
    }

    /// Two bytes, the lower one first.
    pub fn short(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// A length in two bytes, and so many bytes, as far as there are.
    pub fn bytes(&mut self) -> &'a [u8] {
        let length = usize::from(self.short()).min(self.rest.len());
        let (bytes, rest) = self.rest.split_at(length);
        self.rest = rest;
        bytes
    }

    /// The same as text; what is none is replaced.
    pub fn text(&mut self) -> String {
        String::from_utf8_lossy(self.bytes()).into_owned()
    }

    /// Everything that is left.
    pub fn all(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }
}

/// The other way round, for seeds.
#[derive(Debug, Default)]
pub struct Input {
    /// The input so far.
    pub bytes: Vec<u8>,
}

impl Input {
    /// Adds one byte.
    pub fn byte(&mut self, byte: u8) -> &mut Self {
        self.bytes.push(byte);
        self
    }

    /// Adds what [`Parts::bytes`] cuts off.
    pub fn part(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend((bytes.len() as u16).to_le_bytes());
        self.bytes.extend(bytes);
        self
    }

    /// Adds what [`Parts::all`] gives.
    pub fn rest(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend(bytes);
        self
    }
}
