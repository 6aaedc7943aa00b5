//! How large answers may become. A reader asks before its answer grows; whoever lent it the room may
//! say no, and then there is no answer. What is done to the state never depends on it.
use std::cell::Cell;

use crate::error::Fatal;
use crate::types::KeyValue;

/// Asked, in bytes, before an answer takes more memory, and for nothing now and then by who reads much for
/// a small answer; `false` ends the reading.
pub type Room<'a> = &'a dyn Fn(usize) -> bool;

/// Room without an end.
pub(crate) const ENDLESS: Room<'static> = &|_| true;

/// Why something was not read to its end.
#[derive(Debug)]
pub(crate) enum Cut {
    /// There is no room for it.
    NoRoom,
    /// It cannot be read.
    Fatal(Fatal),
}

impl From<Fatal> for Cut {
    fn from(fatal: Fatal) -> Cut {
        Cut::Fatal(fatal)
    }
}

impl Cut {
    /// No answer where there was no room for one.
    pub(crate) fn answer<T>(read: Result<T, Cut>) -> Result<Option<T>, Fatal> {
        match read {
            Ok(answer) => Ok(Some(answer)),
            Err(Cut::NoRoom) => Ok(None),
            Err(Cut::Fatal(fatal)) => Err(fatal),
        }
    }
}

/// Counts rows that are read, and asks now and then whether to go on.
pub(crate) struct Going<'a> {
    room: Room<'a>,
    rows: usize,
}

impl<'a> Going<'a> {
    pub(crate) fn on(room: Room<'a>) -> Going<'a> {
        Going { room, rows: 0 }
    }

    /// One row more.
    pub(crate) fn row(&mut self) -> Result<(), Cut> {
        self.rows += 1;
        match self.rows.is_multiple_of(ROWS_BETWEEN) && !(self.room)(0) {
            true => Err(Cut::NoRoom),
            false => Ok(()),
        }
    }
}

/// Rows read between two questions: about a millisecond.
const ROWS_BETWEEN: usize = 1_000;

/// What a key found takes beside its own bytes.
const FOUND_BYTES: usize = 160;

/// What a key found, without its value, takes.
pub(crate) fn found_bytes(key: &[u8]) -> usize {
    FOUND_BYTES + key.len()
}

/// What a record takes.
pub(crate) fn record_bytes(kv: &KeyValue) -> usize {
    size_of::<KeyValue>() + kv.key.len() + kv.value.len()
}

/// The room that the answers of a group of commands share. A command whose answer does not fit does
/// what it does and has its answer left out.
#[derive(Debug)]
pub(crate) struct Allowance {
    left: Cell<usize>,
    /// What was left before the command in hand.
    begun_with: Cell<usize>,
    cut: Cell<bool>,
}

impl Allowance {
    pub(crate) fn of(bytes: usize) -> Allowance {
        Allowance { left: Cell::new(bytes), begun_with: Cell::new(bytes), cut: Cell::new(false) }
    }

    /// The next command's answer begins.
    pub(crate) fn begin(&self) {
        self.begun_with.set(self.left.get());
        self.cut.set(false);
    }

    /// Whether there is room for so much more. Once there was none, this command's answer is lost and
    /// nothing more is to be kept for it.
    pub(crate) fn take(&self, bytes: usize) -> bool {
        match self.left.get().checked_sub(bytes) {
            Some(left) if !self.cut.get() => self.left.set(left),
            _ => {
                self.cut.set(true);
                self.left.set(self.begun_with.get());
            }
        }
        !self.cut.get()
    }

    /// Whether the answer of the command in hand is lost.
    pub(crate) fn cut(&self) -> bool {
        self.cut.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_does_not_fit_gives_everything_back() {
        let room = Allowance::of(10);
        room.begin();
        assert!(room.take(6) && !room.take(5) && !room.take(1));
        assert!(room.cut());
        room.begin();
        assert!(room.take(10) && !room.cut());
        room.begin();
        assert!(!room.take(1));
    }
}
