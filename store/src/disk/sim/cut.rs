//! What survives a power cut.
use super::SECTOR;
use super::world::{Inode, NameChange, Node, World, apply_name_change, put};

/// What a cut left of the operations that no sync had covered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Survivors {
    /// Nothing.
    None,
    /// Everything.
    All,
    /// The oldest ones, in order across all files; of the last write only its first sectors.
    Prefix,
    /// Any set of sectors, with holes; of each directory the oldest changes.
    Sectors,
    /// The lengths of files, but not their bytes; of each directory the oldest changes.
    Lengths,
}

impl World {
    /// Draws what survives, makes it the whole truth, and kills the old handles.
    pub(super) fn power_on(&mut self) -> Survivors {
        let survivors = match self.rng.below(100) {
            0..25 => Survivors::None,
            25..40 => Survivors::All,
            40..60 => Survivors::Prefix,
            60..92 => Survivors::Sectors,
            _ => Survivors::Lengths,
        };
        match survivors {
            Survivors::None => {}
            Survivors::All => self.keep_until(u64::MAX, 0),
            Survivors::Prefix => self.keep_prefix(),
            Survivors::Sectors => self.keep_sectors(),
            Survivors::Lengths => self.keep_lengths(),
        }
        self.forget_the_rest();
        self.counts.cuts += 1;
        self.start += 1;
        self.powered = true;
        self.cut_at = None;
        self.locked.clear();
        survivors
    }

    /// Keeps every operation older than `order`, and the first `sectors` of the write that has it.
    fn keep_until(&mut self, order: u64, sectors: usize) {
        for inode in &mut self.inodes {
            for write in std::mem::take(&mut inode.unsynced) {
                if write.order < order {
                    put(&mut inode.durable, write.offset, &write.data);
                } else if write.order == order {
                    let kept = write.data.len().min(sectors * SECTOR);
                    put(&mut inode.durable, write.offset, &write.data[..kept]);
                }
            }
        }
        for change in self.unsynced_names.values().flatten().filter(|change| change.order < order) {
            apply_name_change(&mut self.durable, &change.kind);
        }
    }

    fn keep_prefix(&mut self) {
        let writes = self.inodes.iter().flat_map(|inode| &inode.unsynced);
        let names = self.unsynced_names.values().flatten();
        let mut orders: Vec<(u64, usize)> = writes.map(|w| (w.order, w.data.len())).collect();
        orders.extend(names.map(|change| (change.order, 0)));
        orders.sort_unstable();
        if orders.is_empty() {
            return;
        }
        let (order, bytes) = orders[self.rng.below(orders.len() as u64) as usize];
        let sectors = self.rng.below((bytes / SECTOR) as u64 + 1) as usize;
        self.keep_until(order, sectors);
    }

    fn keep_sectors(&mut self) {
        let percent = [10, 50, 90][self.rng.below(3) as usize];
        for Inode { durable, unsynced, .. } in &mut self.inodes {
            for write in std::mem::take(unsynced) {
                for (i, sector) in write.data.chunks(SECTOR).enumerate() {
                    if self.rng.chance(percent) {
                        put(durable, write.offset + i * SECTOR, sector);
                    }
                }
            }
        }
        self.keep_some_names();
    }

    fn keep_lengths(&mut self) {
        for Inode { live, durable, unsynced } in &mut self.inodes {
            let longer = live.len().max(durable.len());
            durable.resize(longer, 0);
            unsynced.clear();
        }
        self.keep_some_names();
    }

    fn keep_some_names(&mut self) {
        for changes in std::mem::take(&mut self.unsynced_names).into_values() {
            let kept = self.rng.below(changes.len() as u64 + 1) as usize;
            for NameChange { kind, .. } in &changes[..kept] {
                apply_name_change(&mut self.durable, kind);
            }
        }
    }

    fn forget_the_rest(&mut self) {
        self.unsynced_names.clear();
        for inode in &mut self.inodes {
            inode.unsynced.clear();
            inode.live.clone_from(&inode.durable);
        }
        // A file or directory whose own directory did not survive is gone with it.
        let names = self.durable.clone();
        let reachable =
            |path: &std::path::Path| path.ancestors().skip(1).all(|dir| names.get(dir) == Some(&Node::Dir));
        self.durable.retain(|path, _| reachable(path));
        self.live.clone_from(&self.durable);
    }
}
