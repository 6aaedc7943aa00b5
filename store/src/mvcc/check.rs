//! What is wrong with a request whatever the state is: found before it is proposed, in etcd's order.
//!
//! Of a transaction, first its size and each operation in it, then whether one branch could write one
//! key twice. All work is n log n in the operations, nested ones too: their number is bounded only by
//! the size of a request.
use std::collections::BTreeSet;

use bytes::Bytes;

use crate::error::Invalid;
use crate::intervals::Intervals;
use crate::types::{
    DeleteRequest, KeyRange, Op, PutRequest, RangeEnd, RangeRequest, RevisionFilter, SortOrder, SortTarget,
    TxnRequest,
};

/// Bounds on one transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxnLimits {
    /// Most compares, or operations of one branch; a nested transaction has what its parent left over.
    pub ops_max: usize,
    /// Most levels of transactions, the outermost one included. Evaluation takes stack for each level;
    /// at most [`DEPTH_MAX`] counts.
    pub depth_max: usize,
}

/// Most levels of transactions, whatever the limits say: what any thread's stack surely holds.
pub const DEPTH_MAX: usize = 64;

impl Default for TxnLimits {
    fn default() -> Self {
        TxnLimits { ops_max: 128, depth_max: DEPTH_MAX }
    }
}

/// Checks a range.
///
/// # Errors
/// `EmptyKey`.
pub fn range(request: &RangeRequest) -> Result<(), Invalid> {
    key(&request.range.start)
}

/// Checks a range that is to be read in pages.
///
/// # Errors
/// `EmptyKey`, `SortedPages`, `FilteredPages`.
pub fn paged(request: &RangeRequest) -> Result<(), Invalid> {
    range(request)?;
    if request.target != SortTarget::Key || request.order == SortOrder::Descend {
        return Err(Invalid::SortedPages);
    }
    match request.filter == RevisionFilter::default() {
        true => Ok(()),
        false => Err(Invalid::FilteredPages),
    }
}

/// Checks a put.
///
/// # Errors
/// `EmptyKey`, `ValueProvided`, `LeaseProvided`.
pub fn put(request: &PutRequest) -> Result<(), Invalid> {
    key(&request.key)?;
    if request.ignore_value && !request.value.is_empty() {
        return Err(Invalid::ValueProvided);
    }
    if request.ignore_lease && request.lease.0 != 0 {
        return Err(Invalid::LeaseProvided);
    }
    Ok(())
}

/// Checks a delete.
///
/// # Errors
/// `EmptyKey`.
pub fn delete(request: &DeleteRequest) -> Result<(), Invalid> {
    key(&request.range.start)
}

/// Checks a transaction and everything in it.
///
/// # Errors
/// `TooDeep`, `TooManyOps`, those of the operations, `DuplicateKey`; the first that etcd would say.
pub fn txn(request: &TxnRequest, limits: &TxnLimits) -> Result<(), Invalid> {
    let limits = TxnLimits { depth_max: limits.depth_max.min(DEPTH_MAX), ..*limits };
    ops_of(request, limits.ops_max, limits.depth_max, &limits)?;
    writes_of(&request.success)?;
    writes_of(&request.failure)?;
    Ok(())
}

fn key(key: &Bytes) -> Result<(), Invalid> {
    if key.is_empty() { Err(Invalid::EmptyKey) } else { Ok(()) }
}

/// Sizes, compares and operations. `budget` is what the levels above left over.
fn ops_of(request: &TxnRequest, budget: usize, depth_left: usize, limits: &TxnLimits) -> Result<(), Invalid> {
    let TxnRequest { compare, success, failure } = request;
    let Some(depth_left) = depth_left.checked_sub(1) else {
        return Err(Invalid::TooDeep { max: limits.depth_max });
    };
    let count = compare.len().max(success.len()).max(failure.len());
    let Some(budget) = budget.checked_sub(count) else {
        return Err(Invalid::TooManyOps { count, max: budget });
    };
    compare.iter().try_for_each(|compare| key(&compare.range.start))?;
    success.iter().chain(failure).try_for_each(|op| match op {
        Op::Range(request) => range(request),
        Op::Put(request) => put(request),
        Op::Delete(request) => delete(request),
        Op::Txn(request) => ops_of(request, budget, depth_left, limits),
    })
}

/// What a branch may write.
#[derive(Default)]
struct Writes {
    puts: BTreeSet<Bytes>,
    deletes: Intervals,
}

impl Writes {
    fn put(&mut self, key: &Bytes) -> Result<(), Invalid> {
        if self.deletes.contains(key) || !self.puts.insert(key.clone()) {
            return Err(Invalid::DuplicateKey);
        }
        Ok(())
    }

    /// Whether a put is among the deletes so far. Walks the smaller of the two sets.
    fn deletes_reach(&self, puts: &BTreeSet<Bytes>) -> bool {
        if puts.len() <= self.deletes.len() {
            return puts.iter().any(|key| self.deletes.contains(key));
        }
        self.deletes.iter().any(|(start, end)| {
            puts.range(start.clone()..).next().is_some_and(|key| end.is_none_or(|end| key < end))
        })
    }

    /// Adds what a nested transaction may write: its branches exclude each other, everything else does not.
    fn nest(&mut self, then: Writes, otherwise: Writes) -> Result<(), Invalid> {
        let puts = union(then.puts, otherwise.puts);
        let (small, large) =
            if puts.len() < self.puts.len() { (&puts, &self.puts) } else { (&self.puts, &puts) };
        if small.iter().any(|key| large.contains(key)) || self.deletes_reach(&puts) {
            return Err(Invalid::DuplicateKey);
        }
        self.puts = union(std::mem::take(&mut self.puts), puts);
        self.deletes.join(then.deletes);
        self.deletes.join(otherwise.deletes);
        Ok(())
    }
}

/// Moves the smaller set into the larger one.
fn union(mut large: BTreeSet<Bytes>, mut small: BTreeSet<Bytes>) -> BTreeSet<Bytes> {
    if large.len() < small.len() {
        std::mem::swap(&mut large, &mut small);
    }
    large.extend(small);
    large
}

/// What the branch may write, in etcd's order: the deletes of this level, then nested transactions one
/// after the other, then the puts of this level. So a put may come before a sibling's delete of its
/// key, not behind it (etcd's quirk).
fn writes_of(ops: &[Op]) -> Result<Writes, Invalid> {
    let mut writes = Writes::default();
    for op in ops {
        if let Op::Delete(delete) = op
            && !is_open(&delete.range)
        {
            writes.deletes.insert(&delete.range);
        }
    }
    for op in ops {
        if let Op::Txn(txn) = op {
            let then = writes_of(&txn.success)?;
            writes.nest(then, writes_of(&txn.failure)?)?;
        }
    }
    for op in ops {
        if let Op::Put(put) = op {
            writes.put(&put.key)?;
        }
    }
    Ok(writes)
}

/// etcd overlooks a delete without an end here, takes a put beside it, and runs them in order.
fn is_open(range: &KeyRange) -> bool {
    range.end == RangeEnd::Open
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Compare, CompareResult, CompareTarget};

    fn put_of(key: String) -> Op {
        Op::Put(PutRequest { key: key.into(), ..PutRequest::default() })
    }

    fn txn_of(success: Vec<Op>) -> TxnRequest {
        TxnRequest { success, ..TxnRequest::default() }
    }

    fn checked(request: &TxnRequest) -> Result<(), Invalid> {
        txn(request, &TxnLimits::default())
    }

    #[test]
    fn a_nested_transaction_has_what_its_parent_left_over() {
        let puts = |count| (0..count).map(|at| put_of(format!("k{at}"))).collect::<Vec<_>>();
        assert_eq!(checked(&txn_of(puts(128))), Ok(()));
        assert_eq!(checked(&txn_of(puts(129))), Err(Invalid::TooManyOps { count: 129, max: 128 }));
        let mut full = puts(127);
        full.push(Op::Txn(TxnRequest::default()));
        assert_eq!(checked(&txn_of(full.clone())), Ok(()));
        full[127] = Op::Txn(txn_of(vec![put_of("x".into())]));
        assert_eq!(checked(&txn_of(full)), Err(Invalid::TooManyOps { count: 1, max: 0 }));
    }

    #[test]
    fn depth_is_bounded_before_operations_are() {
        let nest = |levels| (1..levels).fold(txn_of(vec![]), |inner, _| txn_of(vec![Op::Txn(inner)]));
        assert_eq!(checked(&nest(64)), Ok(()));
        assert_eq!(checked(&nest(65)), Err(Invalid::TooDeep { max: 64 }));
        let generous = TxnLimits { ops_max: 1_000, depth_max: usize::MAX };
        assert_eq!(txn(&nest(65), &generous), Err(Invalid::TooDeep { max: 64 }));
    }

    #[test]
    fn compares_come_before_operations_and_those_before_duplicates() {
        let empty = Compare {
            range: KeyRange::single(""),
            target: CompareTarget::Version(0),
            result: CompareResult::Equal,
        };
        let bad_put = Op::Put(PutRequest {
            ignore_value: true,
            value: "v".into(),
            key: "k".into(),
            ..PutRequest::default()
        });
        let duplicate = vec![put_of("k".into()), put_of("k".into()), bad_put];
        let mut request = TxnRequest { compare: vec![empty], ..txn_of(duplicate) };
        assert_eq!(checked(&request), Err(Invalid::EmptyKey));
        request.compare.clear();
        assert_eq!(checked(&request), Err(Invalid::ValueProvided));
        request.success.pop();
        assert_eq!(checked(&request), Err(Invalid::DuplicateKey));
        request.failure = std::mem::take(&mut request.success);
        assert_eq!(checked(&request), Err(Invalid::DuplicateKey));
    }

    /// A request as large as the wire takes, made to be as dear to check as can be: wide below a long
    /// chain, with as many deletes as puts. It is the number of steps that counts; a check whose work
    /// grew with the square would not end.
    #[test]
    fn the_largest_nesting_is_checked_in_little_time() {
        let mut leaf = 0;
        let mut level: Vec<Op> = (0..1 << 16)
            .map(|_| {
                leaf += 1;
                let range = KeyRange::single(format!("d{leaf}"));
                let delete = Op::Delete(DeleteRequest { range, prev_kv: false });
                Op::Txn(txn_of(vec![put_of(format!("p{leaf}")), delete]))
            })
            .collect();
        while level.len() > 1 {
            let mut pairs = level.into_iter();
            level =
                std::iter::from_fn(|| Some(Op::Txn(txn_of(vec![pairs.next()?, pairs.next()?])))).collect();
        }
        for _ in 0..40 {
            level = vec![put_of(format!("chain{}", level.len())), Op::Txn(txn_of(level))];
            level.remove(0);
        }
        assert_eq!(checked(&txn_of(level)), Ok(()));
    }
}
