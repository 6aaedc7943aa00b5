//! The table of a partition: whose it is, which files it holds, and in which units their bytes lie.
//!
//! ```text
//!   0 magic "BrambleP"     24 id of the making u64          56 bytes of a unit u32
//!   8 format u16 = 1       32 cluster, member, instance u64 60 files u32
//!  12 CRC u32 of all 4096     of the owner
//!     bytes, these as 0    64 each file: name, 16 bytes with zeros behind; length u64; units u16,
//!  16 sequence u64            and of each of them its number u16
//! ```
//! Unit 0 holds the table itself, twice: see [`super`].
use std::collections::BTreeMap;
use std::io;

use super::super::{ALIGN, AlignedBuf};

/// The format this version makes, and the newest it reads.
pub const FORMAT: u16 = 1;

/// What the table takes.
pub(super) const TABLE_BYTES: usize = ALIGN;

const MAGIC: [u8; 8] = *b"BrambleP";
const CRC_AT: usize = 12;
const FILES_AT: usize = 64;
const NAME_BYTES: usize = 16;
/// A file without units.
const FILE_BYTES: usize = NAME_BYTES + 8 + 2;
const UNIT_BYTES_MAX: u32 = 1 << 30;

/// What a partition is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// Of this making: who knows it knows the partition again.
    pub id: u64,
    /// Whose it is.
    pub owner: Owner,
    /// Files lie in units of so many bytes, at multiples of it: a power of two from 64 KiB to 1 GiB.
    pub unit_bytes: u32,
}

/// The ids of a data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Owner {
    pub cluster: u64,
    pub member: u64,
    pub instance: u64,
}

/// A file: its bytes lie in the units, in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Extent {
    length: u64,
    units: Vec<u16>,
}

/// What 4 KiB on a device turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// A whole table.
    Table(Table),
    /// A whole one of a newer format.
    Newer(u16),
    /// Begins as one, and is none.
    Damaged,
    /// Anything else.
    Other,
}

/// The table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Table {
    pub label: Label,
    /// Of two copies the higher is the newer.
    pub sequence: u64,
    files: BTreeMap<String, Extent>,
}

impl Table {
    /// Of a partition without files.
    pub fn new(label: Label) -> Table {
        Table { label, sequence: 0, files: BTreeMap::new() }
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    pub fn has(&self, name: &str) -> bool {
        self.files.contains_key(name)
    }

    /// Adds a file of no bytes.
    ///
    /// # Errors
    /// `AlreadyExists`; `InvalidFilename`; `StorageFull` when the table is.
    pub fn add(&mut self, name: &str) -> io::Result<()> {
        if self.has(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if !is_name(name) {
            return Err(io::ErrorKind::InvalidFilename.into());
        }
        if self.bytes() + FILE_BYTES > TABLE_BYTES {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.files.insert(name.to_owned(), Extent::default());
        Ok(())
    }

    /// Removes a file; returns its units.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn remove(&mut self, name: &str) -> io::Result<Vec<u16>> {
        self.files.remove(name).map(|file| file.units).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// A file's length.
    ///
    /// # Errors
    /// `NotFound`: it was removed.
    pub fn length(&self, name: &str) -> io::Result<u64> {
        self.file(name).map(|file| file.length)
    }

    /// Says that a file is `length` bytes long now, if it was shorter. True: it was.
    pub fn lengthen(&mut self, name: &str, length: u64) -> io::Result<bool> {
        let file = self.files.get_mut(name).ok_or(io::ErrorKind::NotFound)?;
        let longer = file.length < length;
        file.length = file.length.max(length);
        Ok(longer)
    }

    /// Gives a file units for `bytes` bytes, of those below `units` that nobody has and that are not `kept`.
    ///
    /// # Errors
    /// `StorageFull`: there are none, or the table is full. `NotFound`. Nothing was changed then.
    pub fn make_room(&mut self, name: &str, bytes: u64, units: u16, kept: &[u16]) -> io::Result<()> {
        let needed = bytes.div_ceil(self.unit_bytes()) as usize;
        let file = self.file(name)?;
        let more = needed.saturating_sub(file.units.len());
        if more == 0 {
            return Ok(());
        }
        if self.bytes() + 2 * more > TABLE_BYTES {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let mut free = self.free(units);
        free.retain(|unit| !kept.contains(unit));
        // In a row with what the file has, where that can be: devices like it so.
        let behind = file.units.last().map_or(0, |last| last + 1);
        let from = free.iter().position(|unit| *unit >= behind).unwrap_or(0);
        free.rotate_left(from);
        if free.len() < more {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let file = self.files.get_mut(name).ok_or(io::ErrorKind::NotFound)?;
        file.units.extend(&free[..more]);
        Ok(())
    }

    /// The units below `units` that no file has.
    pub fn free(&self, units: u16) -> Vec<u16> {
        let used: Vec<u16> = self.files.values().flat_map(|file| file.units.iter().copied()).collect();
        (1..units).filter(|unit| !used.contains(unit)).collect()
    }

    /// The highest unit in use.
    pub fn highest_unit(&self) -> u16 {
        self.files.values().flat_map(|file| file.units.iter().copied()).max().unwrap_or(0)
    }

    /// Where bytes `offset..offset + length` of a file lie on the device: pieces of (device offset, length).
    ///
    /// # Errors
    /// `UnexpectedEof` when it has no room for them. `NotFound`.
    pub fn locate(&self, name: &str, offset: u64, length: usize) -> io::Result<Vec<(u64, usize)>> {
        let (file, unit_bytes) = (self.file(name)?, self.unit_bytes());
        let end = offset + length as u64;
        let mut pieces: Vec<(u64, usize)> = Vec::new();
        let mut at = offset;
        while at < end {
            let unit = *file.units.get((at / unit_bytes) as usize).ok_or(io::ErrorKind::UnexpectedEof)?;
            let within = at % unit_bytes;
            let bytes = (unit_bytes - within).min(end - at);
            let lies_at = u64::from(unit) * unit_bytes + within;
            match pieces.last_mut().filter(|(from, length)| from + *length as u64 == lies_at) {
                Some((_, length)) => *length += bytes as usize,
                None => pieces.push((lies_at, bytes as usize)),
            }
            at += bytes;
        }
        Ok(pieces)
    }

    fn file(&self, name: &str) -> io::Result<&Extent> {
        self.files.get(name).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub fn unit_bytes(&self) -> u64 {
        u64::from(self.label.unit_bytes)
    }

    fn bytes(&self) -> usize {
        FILES_AT + self.files.values().map(|file| FILE_BYTES + 2 * file.units.len()).sum::<usize>()
    }

    pub fn encode(&self) -> AlignedBuf {
        let mut buf = AlignedBuf::zeroed(TABLE_BYTES);
        let Label { id, owner: Owner { cluster, member, instance }, unit_bytes } = self.label;
        buf[..8].copy_from_slice(&MAGIC);
        buf[8..10].copy_from_slice(&FORMAT.to_le_bytes());
        for (at, number) in [self.sequence, id, cluster, member, instance].into_iter().enumerate() {
            buf[16 + 8 * at..24 + 8 * at].copy_from_slice(&number.to_le_bytes());
        }
        buf[56..60].copy_from_slice(&unit_bytes.to_le_bytes());
        buf[60..64].copy_from_slice(&(self.files.len() as u32).to_le_bytes());
        let mut files = Vec::with_capacity(TABLE_BYTES);
        for (name, file) in &self.files {
            files.extend_from_slice(name.as_bytes());
            files.resize(files.len() + NAME_BYTES - name.len(), 0);
            files.extend_from_slice(&file.length.to_le_bytes());
            files.extend_from_slice(&(file.units.len() as u16).to_le_bytes());
            files.extend(file.units.iter().flat_map(|unit| unit.to_le_bytes()));
        }
        buf[FILES_AT..FILES_AT + files.len()].copy_from_slice(&files);
        let crc = crc32fast::hash(&buf);
        buf[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
        buf
    }

    pub fn decode(bytes: &[u8]) -> Read {
        if bytes[..8] != MAGIC {
            return Read::Other;
        }
        let mut bytes = bytes.to_vec();
        let said = u32::from_le_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]);
        bytes[CRC_AT..CRC_AT + 4].fill(0);
        if crc32fast::hash(&bytes) != said {
            return Read::Damaged;
        }
        match u16::from_le_bytes([bytes[8], bytes[9]]) {
            FORMAT => Table::parse(&bytes).map_or(Read::Damaged, Read::Table),
            newer => Read::Newer(newer),
        }
    }

    /// A table whose checksum is right. `None`: it contradicts itself all the same.
    fn parse(bytes: &[u8]) -> Option<Table> {
        let mut rest = &bytes[16..];
        let mut number = || take(&mut rest).map(u64::from_le_bytes);
        let (sequence, id) = (number()?, number()?);
        let owner = Owner { cluster: number()?, member: number()?, instance: number()? };
        let unit_bytes = u32::from_le_bytes(take(&mut rest)?);
        let count = u32::from_le_bytes(take(&mut rest)?);
        let mut table = Table::new(Label { id, owner, unit_bytes });
        table.sequence = sequence;
        for _ in 0..count {
            let name: [u8; NAME_BYTES] = take(&mut rest)?;
            let name = std::str::from_utf8(&name).ok()?.trim_end_matches('\0').to_owned();
            let length = u64::from_le_bytes(take(&mut rest)?);
            let units =
                (0..u16::from_le_bytes(take(&mut rest)?)).map(|_| take(&mut rest).map(u16::from_le_bytes));
            let file = Extent { length, units: units.collect::<Option<_>>()? };
            let is_new = table.files.insert(name.clone(), file).is_none();
            (is_new && is_name(&name)).then_some(())?;
        }
        table.is_sound().then_some(table)
    }

    fn is_sound(&self) -> bool {
        let mut units: Vec<u16> = self.files.values().flat_map(|file| file.units.iter().copied()).collect();
        units.sort_unstable();
        self.label.unit_bytes.is_power_of_two()
            && (super::UNIT_BYTES_MIN..=UNIT_BYTES_MAX).contains(&self.label.unit_bytes)
            && units.first() != Some(&0)
            && units.windows(2).all(|two| two[0] != two[1])
            && self.files.values().all(|file| file.length <= file.units.len() as u64 * self.unit_bytes())
    }
}

/// The next `N` of the bytes.
fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*first)
}

fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(unit_bytes: u32) -> Label {
        Label { id: 7, owner: Owner { cluster: 1, member: 2, instance: 3 }, unit_bytes }
    }

    fn some() -> Table {
        let mut table = Table::new(label(65536));
        table.sequence = 9;
        for (name, bytes) in [("00000000.seg", 200_000), ("00000001.seg", 1), ("empty", 0)] {
            table.add(name).expect("it is new");
            table.make_room(name, bytes, 8, &[]).expect("there is room");
            table.lengthen(name, bytes).expect("it is there");
        }
        table
    }

    #[test]
    fn a_table_comes_back_and_no_flipped_bit_does() {
        let table = some();
        let mut bytes = table.encode();
        assert_eq!(Table::decode(&bytes), Read::Table(table));
        for bit in 0..TABLE_BYTES * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            let read = Table::decode(&bytes);
            let expected = if bit < 64 { Read::Other } else { Read::Damaged };
            assert_eq!(read, expected, "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        bytes[8] = 2;
        bytes[CRC_AT..CRC_AT + 4].fill(0);
        let crc = crc32fast::hash(&bytes);
        bytes[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(Table::decode(&bytes), Read::Newer(2));
    }

    #[test]
    fn a_table_that_contradicts_itself_is_none() {
        let mut shared = some();
        let units = shared.file("00000000.seg").expect("it is there").units.clone();
        shared.files.insert("thief".to_owned(), Extent { length: 1, units });
        let mut head = some();
        head.files.insert("head".to_owned(), Extent { length: 1, units: vec![0] });
        let mut long = some();
        long.lengthen("empty", 1).expect("it is there");
        let odd = Table::new(label(65537));
        for table in [shared, head, long, odd] {
            assert_eq!(Table::decode(&table.encode()), Read::Damaged);
        }
    }

    #[test]
    fn files_get_units_in_a_row_where_they_can_and_lie_where_they_were_told() {
        let mut table = some();
        // The head, four units, one unit; the last two are free.
        assert_eq!(table.free(8), [6, 7]);
        assert_eq!(
            table.locate("00000000.seg", 65536 - 10, 20).expect("it has room"),
            [(2 * 65536 - 10, 20)]
        );
        table.make_room("00000001.seg", 70_000, 8, &[]).expect("there is room");
        table.make_room("00000000.seg", 300_000, 8, &[]).expect("there is room");
        let torn = table.locate("00000000.seg", 4 * 65536 - 4096, 8192).expect("it has room");
        assert_eq!(torn, [(5 * 65536 - 4096, 4096), (7 * 65536, 4096)]);
        let full = table.clone();
        for bytes in [400_000, u64::MAX / 2] {
            let error = table.make_room("empty", bytes, 8, &[]).expect_err("it is full");
            assert_eq!((error.kind(), &table), (io::ErrorKind::StorageFull, &full));
        }
        let freed = table.remove("00000001.seg").expect("it is there");
        assert_eq!(freed, [5, 6]);
        assert!(table.make_room("empty", 1, 8, &freed).is_err(), "they are still kept");
        table.make_room("empty", 1, 8, &[]).expect("there is room");
        assert_eq!(table.locate("empty", 65536, 1).expect_err("beyond").kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_table_that_is_full_refuses_more_and_stays_readable() {
        let mut table = Table::new(label(65536));
        let names = (0..).map(|n| format!("{n:08}.seg"));
        let fitting = names.take_while(|name| {
            table.add(name).is_ok() && table.make_room(name, 65536, u16::MAX, &[]).is_ok()
        });
        let count = fitting.count();
        assert!((100..200).contains(&count), "{count}");
        assert_eq!(Table::decode(&table.encode()), Read::Table(table.clone()));
        assert!(table.make_room("00000000.seg", 100 << 20, u16::MAX, &[]).is_err());
    }
}
