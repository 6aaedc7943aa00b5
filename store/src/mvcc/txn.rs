//! Transactions: which branches are taken, whether they can run, running them.
//!
//! All compares, nested ones too, look at the state before the transaction. Their results are a list
//! of verdicts in the order in which the taken branches meet them; everything after that follows the
//! list and cannot decide differently.
use super::history::{Version, record};
use super::live_keys::LiveKeys;
use super::moment::Moment;
use crate::codec::rows::VersionRow;
use crate::engine::Read;
use crate::error::{Fatal, Refusal};
use crate::types::*;

/// The verdicts of a transaction: its own, then those of the transactions in the branch it takes.
pub(crate) fn verdicts<R: Read>(moment: &Moment<'_, R>, txn: &TxnRequest) -> Result<Vec<bool>, Fatal> {
    let mut verdicts = Vec::new();
    add_verdicts(moment, txn, &mut verdicts)?;
    Ok(verdicts)
}

fn add_verdicts<R: Read>(
    moment: &Moment<'_, R>,
    txn: &TxnRequest,
    verdicts: &mut Vec<bool>,
) -> Result<(), Fatal> {
    let mut all_hold = true;
    for compare in &txn.compare {
        all_hold = all_hold && holds(moment, compare)?;
    }
    verdicts.push(all_hold);
    for op in branch(txn, all_hold) {
        if let Op::Txn(nested) = op {
            add_verdicts(moment, nested, verdicts)?;
        }
    }
    Ok(())
}

fn branch(txn: &TxnRequest, verdict: bool) -> &[Op] {
    if verdict { &txn.success } else { &txn.failure }
}

/// Whether every key of the range matches; no key at all is compared as zeros, and never has a value.
fn holds<R: Read>(moment: &Moment<'_, R>, compare: &Compare) -> Result<bool, Fatal> {
    let mut live = LiveKeys::now(moment.rows, &compare.range)?;
    let mut any = false;
    while let Some(version) = live.next_version()? {
        any = true;
        if !matches(moment, compare, &version)? {
            return Ok(false);
        }
    }
    let absent = Version { at: Revision::default(), row: VersionRow::TOMBSTONE };
    Ok(any || (!matches!(compare.target, CompareTarget::Value(_)) && matches(moment, compare, &absent)?))
}

fn matches<R: Read>(moment: &Moment<'_, R>, compare: &Compare, version: &Version) -> Result<bool, Fatal> {
    let order = match &compare.target {
        CompareTarget::Version(given) => version.row.version.cmp(given),
        CompareTarget::Create(given) => version.row.create.cmp(given),
        CompareTarget::Mod(given) => version.at.main.cmp(given),
        CompareTarget::Lease(given) => version.row.lease.cmp(given),
        CompareTarget::Value(given) => record(moment.rows, version)?.value.cmp(given),
    };
    Ok(match compare.result {
        CompareResult::Equal => order.is_eq(),
        CompareResult::NotEqual => order.is_ne(),
        CompareResult::Greater => order.is_gt(),
        CompareResult::Less => order.is_lt(),
    })
}

/// Calls `each` with the operations of the taken branches in the order they will run in.
pub(crate) fn walk_taken<'t, E>(
    txn: &'t TxnRequest,
    verdicts: &[bool],
    each: &mut dyn FnMut(&'t Op) -> Result<(), E>,
) -> Result<(), E> {
    walk(txn, &mut verdicts.iter(), each)
}

fn walk<'t, E>(
    txn: &'t TxnRequest,
    verdicts: &mut std::slice::Iter<'_, bool>,
    each: &mut dyn FnMut(&'t Op) -> Result<(), E>,
) -> Result<(), E> {
    for op in branch(txn, next(verdicts)) {
        match op {
            Op::Txn(nested) => walk(nested, verdicts, each)?,
            Op::Range(_) | Op::Put(_) | Op::Delete(_) => each(op)?,
        }
    }
    Ok(())
}

fn next(verdicts: &mut std::slice::Iter<'_, bool>) -> bool {
    *verdicts.next().expect("verdicts were made by walking the same branches in the same order")
}

/// Whether the revision that a range of a taken branch asks for can be read. An explicit negative one
/// is compared with the floor, which begins at -1 (etcd's quirk).
pub(crate) fn check_reads<R: Read>(
    moment: &Moment<'_, R>,
    txn: &TxnRequest,
    verdicts: &[bool],
) -> Result<(), Refusal> {
    walk_taken(txn, verdicts, &mut |op| match op {
        Op::Range(range) if range.revision > moment.revision => {
            Err(Refusal::Future { wanted: range.revision, current: moment.revision })
        }
        Op::Range(range) if range.revision != 0 && range.revision < moment.floor => {
            Err(Refusal::Compacted { wanted: range.revision, compacted: moment.floor })
        }
        Op::Range(_) | Op::Put(_) | Op::Delete(_) | Op::Txn(_) => Ok(()),
    })
}

/// Runs the taken branches with `perform` for each operation that is no transaction itself. The reply
/// to a nested transaction has no revision, as in etcd; the caller sets that of the outermost one.
pub(crate) fn run<E>(
    txn: &TxnRequest,
    verdicts: &[bool],
    perform: &mut dyn FnMut(&Op) -> Result<OpReply, E>,
) -> Result<TxnReply, E> {
    run_taken(txn, &mut verdicts.iter(), perform)
}

fn run_taken<E>(
    txn: &TxnRequest,
    verdicts: &mut std::slice::Iter<'_, bool>,
    perform: &mut dyn FnMut(&Op) -> Result<OpReply, E>,
) -> Result<TxnReply, E> {
    let succeeded = next(verdicts);
    let mut replies = Vec::new();
    for op in branch(txn, succeeded) {
        replies.push(match op {
            Op::Txn(nested) => OpReply::Txn(run_taken(nested, verdicts, perform)?),
            Op::Range(_) | Op::Put(_) | Op::Delete(_) => perform(op)?,
        });
    }
    Ok(TxnReply { revision: 0, succeeded, replies })
}
