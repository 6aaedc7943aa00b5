//! What a disk was asked, line by line, and reading it back.
//!
//! ```text
//! # puts 600
//! 0.000000 WS 40517632 4096       seconds, the kernel's letters, offset and length in bytes
//! 0.000200 FF 0 0                 a flush
//! ```
use std::io::{self, BufRead};

/// One request to a disk.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Request {
    /// Seconds since the first.
    pub at_s: f64,
    /// Bytes from the disk's beginning.
    pub offset: u64,
    /// Bytes; 0: a flush.
    pub length: u64,
}

/// Requests in their order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trace {
    /// How many writes of its clients they were made for; 0: unknown.
    pub puts: u64,
    /// The requests.
    pub requests: Vec<Request>,
}

/// What is wrong with a trace.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// It cannot be read.
    #[error("the trace cannot be read: {0}")]
    Io(#[from] io::Error),
    /// A line makes no sense.
    #[error("line {line} of the trace is not \"seconds letters offset length\": {text}")]
    Line {
        /** Counted from 1. */
        line: usize,
        /** The line. */
        text: String,
    },
}

impl Trace {
    /// Reads a trace.
    ///
    /// # Errors
    /// The reader's, or the first line that is none of a trace.
    pub fn read(from: impl BufRead) -> Result<Trace, TraceError> {
        let mut trace = Trace::default();
        for (number, line) in from.lines().enumerate() {
            let text = line?;
            let wrong = || TraceError::Line { line: number + 1, text: text.clone() };
            match text.split_whitespace().collect::<Vec<_>>()[..] {
                [] => {}
                ["#", "puts", puts] => trace.puts = puts.parse().map_err(|_| wrong())?,
                ["#", ..] => {}
                [at, letters, offset, length] if letters.contains(['W', 'F']) => {
                    let request = request(at, offset, length).ok_or_else(wrong)?;
                    trace.requests.push(request);
                }
                _ => return Err(wrong()),
            }
        }
        Ok(trace)
    }
}

fn request(at: &str, offset: &str, length: &str) -> Option<Request> {
    Some(Request { at_s: at.parse().ok()?, offset: offset.parse().ok()?, length: length.parse().ok()? })
}
