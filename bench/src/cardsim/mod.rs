//! A card that loses power: a disk made of a file, with a volatile cache, for whole processes.
//!
//! ```text
//! any server ─ files ─ ext4 or xfs ─ /dev/loopN ─ FUSE file `card` ─ Medium: cache ─ flush ─► image
//!                                                                      └ cut: what of it is kept
//! ```
//!
//! With a [`cost::Preset`] it also takes as long as a card of that kind, and tells what its flash went through.
//!
//! [`Medium`] is the disk alone, without a system around it. [`Card`] puts it under a file system of this
//! machine; that needs root, FUSE, loop devices and mkfs, and [`Card::missing`] tells what is not there.
//! The program `cardsim` is a card on the command line.
mod cache;
mod card;
pub mod cost;
mod device;
mod leftovers;
mod medium;
mod timing;

pub use cache::{CUTS, Cut, Grain, SECTOR_BYTES};
pub use card::{Card, CardError, CardOptions, FileSystem};
pub(crate) use card::{doing, run};
pub use medium::{Call, Errno, Fault, Medium, MediumCounts};
