//! What a request needs, flattened: an interval to read or write, the keys of a lease, a role.
use crate::command::{Action, AuthChange};
use crate::types::{DeleteRequest, KeyRange, LeaseId, Op, PutRequest, TxnRequest};

/// One thing that a request needs. [`crate::store::ReadView::permit`] checks it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// Anybody, but somebody.
    User,
    /// The role `root`.
    Root,
    /// The role `root`, or to be this user.
    RootOrUser(String),
    /// The role `root`, or to have this role.
    RootOrRole(String),
    /// To read all of a range.
    Read(KeyRange),
    /// To write all of a range.
    Write(KeyRange),
    /// To read all keys on a lease; nothing if there are none.
    ReadLease(LeaseId),
    /// To write all keys on a lease; nothing if there are none.
    WriteLease(LeaseId),
}

/// What a change needs, in the order it is checked in.
pub fn needs_of(action: &Action) -> Vec<Need> {
    let mut needs = Vec::new();
    match action {
        Action::Put(put) => of_put(put, &mut needs),
        Action::Delete(delete) => of_delete(delete, &mut needs),
        Action::Txn(txn) => of_txn(txn, &mut needs),
        Action::LeaseGrant { .. } => needs.push(Need::User),
        Action::LeaseRevoke { id } => needs.push(Need::WriteLease(*id)),
        // Whoever authenticates is nobody yet.
        Action::Auth(AuthChange::Authenticate { .. }) => {}
        Action::Auth(_)
        | Action::Compact { .. }
        | Action::Alarm(_)
        | Action::LeaseCheckpoint { .. }
        | Action::Downgrade(_) => needs.push(Need::Root),
    }
    needs
}

/// What a transaction needs, whichever branches it takes, nested ones too.
pub fn needs_of_txn(txn: &TxnRequest) -> Vec<Need> {
    let mut needs = Vec::new();
    of_txn(txn, &mut needs);
    needs
}

/// A lease that has keys the user cannot write could not be revoked by the user: nothing may be hung on it.
fn of_put(put: &PutRequest, needs: &mut Vec<Need>) {
    let key = KeyRange::single(put.key.clone());
    needs.push(Need::Write(key.clone()));
    if put.lease != LeaseId::NONE {
        needs.push(Need::WriteLease(put.lease));
    }
    if put.prev_kv {
        needs.push(Need::Read(key));
    }
}

fn of_delete(delete: &DeleteRequest, needs: &mut Vec<Need>) {
    needs.push(Need::Write(delete.range.clone()));
    if delete.prev_kv {
        needs.push(Need::Read(delete.range.clone()));
    }
}

fn of_txn(txn: &TxnRequest, needs: &mut Vec<Need>) {
    needs.extend(txn.compare.iter().map(|compare| Need::Read(compare.range.clone())));
    for op in txn.success.iter().chain(&txn.failure) {
        match op {
            Op::Range(range) => needs.push(Need::Read(range.range.clone())),
            Op::Put(put) => of_put(put, needs),
            Op::Delete(delete) => of_delete(delete, needs),
            Op::Txn(nested) => of_txn(nested, needs),
        }
    }
}
