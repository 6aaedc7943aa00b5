//! The tail rule: what lies behind the end of the chain, torn or damaged.
//!
//! The frame that would come next was torn by a cut, or never written, or has rotted. It is proven synced,
//! so damaged, when anything of a later batch lies behind it: a batch is only written once the one
//! before is synced, and each frame names the first of its batch. A block that belongs to another place is
//! no remains of a write either. Without such proof it is cut off.
//!
//! What is cut off is erased before the log goes on there. Else a later cut could add the sectors that
//! are missing (padding is alike in all frames), and entries would come back from nowhere.
use super::super::frame::{self, BLOCK};
use super::super::segment::{Header, Segment};
use super::damaged;
use super::window::Window;
use crate::error::Fatal;

/// What lies behind the end of the chain.
pub(super) struct Tail {
    /// Where the remains of a torn batch end; 0: there are none.
    pub torn_until: u64,
    /// Highest start number in them.
    pub start: u32,
}

/// Judges what lies from byte `from` of the newest segment, where frame `expected` would come.
pub(super) fn judge(segment: &Segment, header: &Header, from: u64, expected: u64) -> Result<Tail, Fatal> {
    let end = segment.file_bytes.min(header.capacity);
    let mut window = Window::new(segment, end);
    refuse_cut_off(segment, header, &mut window, from, expected)?;
    let mut tail = Tail { torn_until: 0, start: 0 };
    let mut offset = from;
    while let Some(block) = window.get(offset, BLOCK)? {
        let (head, stamp) = (frame::head(block, offset), frame::stamp(block));
        // An older one may lie anywhere: it was not needed any more when it was damaged.
        let ours = stamp.epoch == header.epoch && stamp.sequence >= expected;
        let whole = frame::block_is_whole(block, offset);
        // One that is whole here belongs here, whatever its payload looks like.
        if head.is_none()
            && ours
            && !whole
            && let Some(home) = frame::home(block, header.capacity)
        {
            let what = format!("the block at {offset} belongs at {home}: no write leaves it there");
            return Err(damaged(segment, from, offset + BLOCK as u64, what));
        }
        if let Some(head) = head.filter(|head| head.stamp.epoch == header.epoch) {
            tail.start = tail.start.max(head.stamp.start);
            if head.batch_first > expected {
                let later = head.stamp.sequence;
                let what =
                    format!("frame {expected} is not readable, but frame {later} proves that it was synced");
                return Err(damaged(segment, from, offset, what));
            }
        }
        if ours && whole {
            tail.start = tail.start.max(stamp.start);
        }
        let broken = offset == from && !whole && block.iter().any(|b| *b != 0);
        offset += BLOCK as u64;
        if ours || broken {
            tail.torn_until = offset;
        }
    }
    if end > offset {
        // A write that made the file longer was torn inside its last block.
        tail.torn_until = offset + BLOCK as u64;
    }
    Ok(tail)
}

/// Zeros lie behind every frame of a file that is not full yet, before it is written. Where they are missing the
/// file was longer, and nobody knows what was in the rest.
fn refuse_cut_off(
    segment: &Segment,
    header: &Header,
    window: &mut Window<'_>,
    from: u64,
    expected: u64,
) -> Result<(), Fatal> {
    let head = window.get(from, BLOCK)?.and_then(|block| frame::head(block, from));
    let begun = head.filter(|head| (head.stamp.epoch, head.stamp.sequence) == (header.epoch, expected));
    let written = begun.map_or(0, |head| frame::extent(head.length as usize, header.align) as u64);
    let zeros_end = from + written + BLOCK as u64;
    if zeros_end <= segment.file_bytes || segment.file_bytes >= header.capacity {
        return Ok(());
    }
    let what = "the file ends where frames do: it was longer, and was cut off".to_owned();
    Err(damaged(segment, segment.file_bytes, zeros_end, what))
}
