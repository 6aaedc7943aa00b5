//! Random requests by seed: few keys, so that they meet; every option now and then.
use bramble_store::command::Action;
use bramble_store::mvcc::check;
use bramble_store::types::*;
use bytes::Bytes;

/// A small generator that is the same everywhere.
pub struct Random(u64);

/// Keys that are prefixes of each other, with the bytes that escaping must survive.
pub const KEYS: [&[u8]; 11] =
    [b"\0", b"\0\xff", b"a", b"a\0", b"a\0\x01", b"a\0\xff", b"ab", b"b", b"b\xff", b"c/d", b"\xff\xff"];

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Random {
    pub fn new(seed: u64) -> Self {
        // Mixed first: neighbouring seeds would otherwise run through the same numbers, one step apart.
        Random(mix(seed ^ 0x6272_616d_626c_6521))
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// True once in `times`.
    pub fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize].clone()
    }

    pub fn key(&mut self) -> Bytes {
        Bytes::from_static(self.pick(&KEYS))
    }

    pub fn range_of_keys(&mut self) -> KeyRange {
        let end = match self.below(6) {
            0..=2 => Bytes::new(),
            3 => Bytes::from_static(b"\0"),
            _ => self.key(),
        };
        KeyRange::from_wire(self.key(), end)
    }

    fn value(&mut self) -> Bytes {
        match self.below(4) {
            0 => Bytes::new(),
            _ => vec![b'0' + self.below(10) as u8; 1 + self.below(3) as usize].into(),
        }
    }

    fn lease(&mut self) -> LeaseId {
        LeaseId(self.pick(&[0, 0, 0, 1, 2, 3, -4]))
    }

    /// Near the current one, in the past, in the future, negative.
    pub fn revision(&mut self, main: i64) -> i64 {
        match self.below(10) {
            0..=4 => 0,
            5..=7 => 1 + self.below(main as u64) as i64,
            8 => main - self.below(3) as i64,
            _ => self.pick(&[-1, -5, main + 1, 1, i64::MIN, i64::MAX]),
        }
    }

    pub fn range(&mut self, main: i64) -> RangeRequest {
        let mut bound = |times| if self.one_in(times) { self.revision(main) } else { 0 };
        let filter = RevisionFilter {
            min_mod: bound(6),
            max_mod: bound(6),
            min_create: bound(8),
            max_create: bound(8),
        };
        RangeRequest {
            range: self.range_of_keys(),
            limit: self.pick(&[0, 0, 1, 2, 3, 5, -1, i64::MAX, i64::MIN]),
            revision: self.revision(main),
            order: self.pick(&[SortOrder::None, SortOrder::None, SortOrder::Ascend, SortOrder::Descend]),
            target: self.pick(&[
                SortTarget::Key,
                SortTarget::Key,
                SortTarget::Version,
                SortTarget::Create,
                SortTarget::Mod,
                SortTarget::Value,
            ]),
            detail: self.pick(&[Detail::Full, Detail::Full, Detail::KeysOnly, Detail::CountOnly]),
            filter: if self.one_in(2) { RevisionFilter::default() } else { filter },
        }
    }

    fn put(&mut self) -> PutRequest {
        let (ignore_value, ignore_lease) = (self.one_in(6), self.one_in(6));
        PutRequest {
            key: self.key(),
            value: if ignore_value { Bytes::new() } else { self.value() },
            lease: if ignore_lease { LeaseId::NONE } else { self.lease() },
            prev_kv: self.one_in(3),
            ignore_value,
            ignore_lease,
        }
    }

    fn delete(&mut self) -> DeleteRequest {
        DeleteRequest { range: self.range_of_keys(), prev_kv: self.one_in(3) }
    }

    fn compare(&mut self, main: i64) -> Compare {
        let small = self.below(3) as i64;
        let target = match self.below(5) {
            0 => CompareTarget::Version(small),
            1 => CompareTarget::Create(self.revision(main)),
            2 => CompareTarget::Mod(self.revision(main)),
            3 => CompareTarget::Value(self.value()),
            _ => CompareTarget::Lease(self.lease()),
        };
        let result = self.pick(&[
            CompareResult::Equal,
            CompareResult::Greater,
            CompareResult::Less,
            CompareResult::NotEqual,
        ]);
        Compare { range: self.range_of_keys(), target, result }
    }

    fn op(&mut self, main: i64, depth: u32) -> Op {
        match self.below(10) {
            0..=2 => Op::Range(self.range(main)),
            3..=5 => Op::Put(self.put()),
            6..=7 => Op::Delete(self.delete()),
            _ if depth < 3 => Op::Txn(self.any_txn(main, depth + 1)),
            _ => Op::Range(self.range(main)),
        }
    }

    fn any_txn(&mut self, main: i64, depth: u32) -> TxnRequest {
        let mut branch = || (0..self.below(4)).map(|_| self.op(main, depth)).collect();
        let (success, failure) = (branch(), branch());
        TxnRequest { compare: (0..self.below(3)).map(|_| self.compare(main)).collect(), success, failure }
    }

    /// A transaction that passes the static checks.
    pub fn txn(&mut self, main: i64) -> TxnRequest {
        loop {
            let txn = self.any_txn(main, 0);
            if check::txn(&txn, &check::TxnLimits::default()).is_ok() {
                return txn;
            }
        }
    }

    pub fn action(&mut self, main: i64) -> Action {
        let id = LeaseId(self.pick(&[1, 2, 3, -4]));
        match self.below(40) {
            0..=14 => Action::Put(self.put()),
            15..=20 => Action::Delete(self.delete()),
            21..=31 => Action::Txn(self.txn(main)),
            32..=33 => Action::Compact { revision: main - self.below(4) as i64 },
            34 => Action::Compact { revision: self.revision(main) },
            35..=37 => Action::LeaseGrant { id, ttl_s: 1 + self.below(100) as i64 },
            _ => Action::LeaseRevoke { id },
        }
    }
}
