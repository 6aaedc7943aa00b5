//! A card that maps whole blocks: few may be open, small writes go to a log of pages.
use super::{Ftl, Preset, Wear};

/// Where it stands.
#[derive(Clone, Debug, Default)]
pub(super) struct Hybrid {
    /// Blocks that are being written to and how far, the one longest untouched first.
    open: Vec<(u64, u64)>,
    /// Pages in the log as (block, page), the one longest untouched first.
    log: Vec<(u64, u64)>,
    /// Pages of the log in use; a page that was written twice uses two.
    used: u64,
}

impl Hybrid {
    /// What a write takes beside the request and the moving of its bytes.
    pub fn write(&mut self, preset: &Preset, wear: &mut Wear, mut offset: u64, mut left: u64) -> f64 {
        let Ftl::Hybrid { open_max, log_pages, small_s } = preset.ftl else {
            unreachable!("made for this kind only")
        };
        let mut seconds = 0.0;
        while left > 0 {
            let (block, within) = (offset / preset.block_bytes, offset % preset.block_bytes);
            let bytes = left.min(preset.block_bytes - within);
            if bytes < preset.page_bytes || within % preset.page_bytes != 0 {
                seconds += small_s + self.log_pages(preset, wear, (block, offset, bytes), log_pages);
            } else {
                seconds += self.in_place(preset, wear, (block, within, bytes), open_max);
            }
            offset += bytes;
            left -= bytes;
        }
        seconds
    }

    /// A small write: the pages that it touches go to the log.
    fn log_pages(
        &mut self,
        preset: &Preset,
        wear: &mut Wear,
        (block, offset, bytes): (u64, u64, u64),
        log_pages: u64,
    ) -> f64 {
        for page in offset / preset.page_bytes..=(offset + bytes - 1) / preset.page_bytes {
            self.log.retain(|logged| *logged != (block, page));
            self.log.push((block, page));
            wear.nand_bytes += preset.page_bytes;
            self.used += 1;
        }
        if self.used < log_pages {
            return 0.0;
        }
        // The block of the oldest page is merged with all of its pages.
        let (oldest, _) = self.log[0];
        let all = self.log.len();
        self.log.retain(|(block, _)| *block != oldest);
        let kept = self.log.len() as f64 / all as f64;
        self.used = (self.used as f64 * kept) as u64;
        merge(preset, wear, 0)
    }

    /// A write of whole pages.
    fn in_place(
        &mut self,
        preset: &Preset,
        wear: &mut Wear,
        (block, within, bytes): (u64, u64, u64),
        open_max: usize,
    ) -> f64 {
        let found = self.open.iter().position(|(open, _)| *open == block).map(|at| self.open.remove(at).1);
        let end = within + bytes;
        let mut seconds = 0.0;
        match found {
            Some(written) if written == within => {
                wear.nand_bytes += bytes;
                if end == preset.block_bytes {
                    wear.erases += 1;
                    return 0.0;
                }
            }
            Some(written) if written < within => {
                // What lies between is copied from the old block.
                wear.nand_bytes += end - written;
                seconds += (within - written) as f64 / preset.copied_per_s;
            }
            before => {
                match before {
                    Some(written) => seconds += merge(preset, wear, written),
                    None if self.open.len() >= open_max => {
                        let (_, written) = self.open.remove(0);
                        seconds += merge(preset, wear, written);
                    }
                    None => {}
                }
                wear.nand_bytes += end;
                seconds += within as f64 / preset.copied_per_s;
            }
        }
        self.open.push((block, end));
        seconds
    }
}

/// The rest of a block, from `written` on, is copied to a fresh one.
fn merge(preset: &Preset, wear: &mut Wear, written: u64) -> f64 {
    let rest = preset.block_bytes - written;
    wear.nand_bytes += rest;
    wear.erases += 1;
    rest as f64 / preset.copied_per_s + preset.erase_s
}
