//! The state at one moment, pinned: every answer from one view belongs to one revision. It composes what
//! does not know each other, as `state` does for writes.
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;

use crate::auth::access::{Compiled, Gate, To};
use crate::auth::{AuthStatus, Credentials, Need, rows as auth};
use crate::command::Origin;
use crate::engine::Read;
use crate::error::{Fatal, ReadError, Refusal};
use crate::facts::Facts;
use crate::hash;
use crate::lease::replicated as lease;
use crate::mvcc::fences::FenceMap;
use crate::mvcc::{self, ENDLESS, Moment, Page, PageRequest, Room};
use crate::types::{
    AlarmKind, Changes, KeyRange, KeyValue, Lease, LeaseId, LogId, Op, OpReply, RangeReply, RangeRequest,
    Role, TxnReply, TxnRequest, User,
};

/// What a view is made of.
#[derive(Debug)]
pub(crate) struct Published<V> {
    pub(crate) rows: V,
    pub(crate) facts: Facts,
    pub(crate) fences: FenceMap,
    pub(crate) compiled: Compiled,
}

/// The published state after some entry. Cheap to clone; old rows are kept while it lives.
#[derive(Debug)]
pub struct ReadView<V> {
    published: Arc<Published<V>>,
}

impl<V> Clone for ReadView<V> {
    fn clone(&self) -> Self {
        ReadView { published: Arc::clone(&self.published) }
    }
}

impl<V: Read> ReadView<V> {
    pub(crate) fn new(published: Published<V>) -> Self {
        ReadView { published: Arc::new(published) }
    }

    pub(crate) fn rows(&self) -> &V {
        &self.published.rows
    }

    fn moment(&self) -> Moment<'_, V> {
        let Published { rows, facts, fences, .. } = &*self.published;
        Moment { rows, revision: facts.revision, floor: facts.floor, fences }
    }

    /// The newest main revision in it; 1 in an empty store.
    pub fn revision(&self) -> i64 {
        self.published.facts.revision
    }

    /// The compaction floor: revisions below it are gone, it can itself be read. -1 = never compacted.
    pub fn compacted(&self) -> i64 {
        self.published.facts.floor
    }

    /// Whether all that the compaction floor lets go of is erased.
    pub(crate) fn is_scrubbed(&self) -> bool {
        self.published.facts.scrub.is_done()
    }

    /// The last entry applied to it.
    pub fn applied(&self) -> Option<LogId> {
        self.published.facts.applied
    }

    /// The newest membership, and the entry that brought it.
    pub fn membership(&self) -> Option<&(LogId, Bytes)> {
        self.published.facts.membership.as_ref()
    }

    /// Reads a range of keys.
    ///
    /// # Errors
    /// `Refusal::Compacted`, `Refusal::Future`; `Fatal`.
    pub fn range(&self, request: &RangeRequest) -> Result<RangeReply, ReadError> {
        Ok(self.range_within(request, ENDLESS)?.expect("endless room has room"))
    }

    /// Reads a range of keys as far as there is `room` for the answer; `None` when it does not suffice.
    ///
    /// # Errors
    /// As [`ReadView::range`].
    pub fn range_within(
        &self,
        request: &RangeRequest,
        room: Room<'_>,
    ) -> Result<Option<RangeReply>, ReadError> {
        self.moment().range(request, room)
    }

    /// Reads a part of a range. Pages of one revision, each from behind the last key of the one before,
    /// are together what [`ReadView::range`] reads there, also if they come from different views.
    ///
    /// # Errors
    /// `Refusal::Compacted`, `Refusal::Future`; `Fatal`.
    pub fn page(&self, request: &PageRequest) -> Result<Page, ReadError> {
        self.moment().page(request)
    }

    /// Answers a transaction that cannot write ([`TxnRequest::is_read_only`]).
    ///
    /// # Errors
    /// `Refusal::Compacted`, `Refusal::Future`; `Fatal`, also when a taken branch writes.
    pub fn txn(&self, request: &TxnRequest) -> Result<TxnReply, ReadError> {
        Ok(self.txn_within(request, ENDLESS)?.expect("endless room has room"))
    }

    /// As [`ReadView::txn`], as far as there is `room` for the answer; `None` when it does not suffice.
    ///
    /// # Errors
    /// As [`ReadView::txn`].
    pub fn txn_within(&self, request: &TxnRequest, room: Room<'_>) -> Result<Option<TxnReply>, ReadError> {
        let moment = self.moment();
        let verdicts = mvcc::verdicts(&moment, request)?;
        mvcc::check_reads(&moment, request, &verdicts)?;
        // An error that says nothing stands for "no room".
        let ran = mvcc::run(request, &verdicts, &mut |op| match op {
            Op::Range(range) => match moment.range(range, room) {
                Ok(Some(reply)) => Ok(OpReply::Range(reply)),
                Ok(None) => Err(None),
                Err(error) => Err(Some(error)),
            },
            Op::Put(_) | Op::Delete(_) | Op::Txn(_) => {
                let writes = Fatal::Inconsistent("a transaction that writes was given to a view".into());
                Err(Some(writes.into()))
            }
        });
        match ran {
            Ok(reply) => Ok(Some(TxnReply { revision: moment.revision, ..reply })),
            Err(None) => Ok(None),
            Err(Some(error)) => Err(error),
        }
    }

    /// etcd's hash of the history up to `revision` (0 = now), and the revision really hashed. Reads all
    /// of it.
    ///
    /// # Errors
    /// `Refusal::Compacted`, `Refusal::Future`; `Fatal`.
    pub fn hash_kv(&self, revision: i64) -> Result<(u32, i64), ReadError> {
        Ok(self.hash_kv_within(revision, ENDLESS)?.expect("endless room has room"))
    }

    /// As [`ReadView::hash_kv`], for as long as `room`, asked for nothing now and then, says so; `None` when
    /// it was ended.
    ///
    /// # Errors
    /// As [`ReadView::hash_kv`].
    pub fn hash_kv_within(&self, revision: i64, room: Room<'_>) -> Result<Option<(u32, i64)>, ReadError> {
        self.moment().hash_kv(revision, room)
    }

    /// A hash of the whole state, and its revision: equal on all replicas with this state. Reads all of it.
    ///
    /// # Errors
    /// `Fatal`.
    pub fn hash(&self) -> Result<(u32, i64), ReadError> {
        Ok(self.hash_within(ENDLESS)?.expect("endless room has room"))
    }

    /// As [`ReadView::hash`], for as long as `room`, asked for nothing now and then, says so; `None` when it
    /// was ended.
    ///
    /// # Errors
    /// As [`ReadView::hash`].
    pub fn hash_within(&self, room: Room<'_>) -> Result<Option<(u32, i64)>, ReadError> {
        hash::whole(&self.moment(), room)
    }

    /// History from main revision `from_main` on, in whole main revisions: at least one if there is any,
    /// until `rows_max` changes are reached (the last main revision may exceed it).
    ///
    /// # Errors
    /// `Refusal::Compacted` below the floor; the floor itself is legal. `Fatal`.
    pub fn changes(&self, from_main: i64, rows_max: usize) -> Result<Vec<Changes>, ReadError> {
        self.moment().changes(from_main, rows_max)
    }

    /// The key as it was at `main - 1`: what a watcher is told as `prev_kv`. None when it was absent
    /// or that revision is compacted.
    ///
    /// # Errors
    /// `Fatal`.
    pub fn before(&self, key: &[u8], main: i64) -> Result<Option<KeyValue>, Fatal> {
        self.moment().before(key, main)
    }
}

/// What it tells of leases.
impl<V: Read> ReadView<V> {
    /// One lease.
    ///
    /// # Errors
    /// `Fatal`.
    pub fn lease(&self, id: LeaseId) -> Result<Option<Lease>, Fatal> {
        lease::find(self.rows(), id)
    }

    /// All leases: ids from 0 up, then negative ones.
    ///
    /// # Errors
    /// `Fatal`.
    pub fn leases(&self) -> Result<Vec<Lease>, Fatal> {
        lease::all(self.rows())
    }

    /// All leases as far as there is `room` for them; `None` when it does not suffice.
    ///
    /// # Errors
    /// `Fatal`.
    pub fn leases_within(&self, room: Room<'_>) -> Result<Option<Vec<Lease>>, Fatal> {
        let mut leases = Vec::new();
        let all = lease::each::<_, Fatal>(self.rows(), |lease| {
            Ok(keep_within(&mut leases, lease, size_of::<Lease>(), room))
        })?;
        Ok(all.is_continue().then_some(leases))
    }

    /// The keys that hang on a lease, ascending; none for an unknown lease.
    ///
    /// # Errors
    /// `Fatal`.
    pub fn lease_keys(&self, id: LeaseId) -> Result<Vec<Bytes>, Fatal> {
        lease::keys(self.rows(), id)
    }

    /// As [`ReadView::lease_keys`], as far as there is `room` for them; `None` when it does not suffice.
    ///
    /// # Errors
    /// `Fatal`.
    pub fn lease_keys_within(&self, id: LeaseId, room: Room<'_>) -> Result<Option<Vec<Bytes>>, Fatal> {
        let mut keys = Vec::new();
        let all = lease::each_key::<_, Fatal>(self.rows(), id, |key| {
            let bytes = size_of::<Bytes>() + key.len();
            Ok(keep_within(&mut keys, Bytes::copy_from_slice(key), bytes, room))
        })?;
        Ok(all.is_continue().then_some(keys))
    }
}

/// Keeps what is found; breaks when there is no room for it.
fn keep_within<T>(kept: &mut Vec<T>, found: T, bytes: usize, room: Room<'_>) -> ControlFlow<()> {
    if !room(bytes) {
        return ControlFlow::Break(());
    }
    kept.push(found);
    ControlFlow::Continue(())
}

/// What it tells of users and roles.
impl<V: Read> ReadView<V> {
    /// Whether auth is on, and its revision.
    pub fn auth(&self) -> AuthStatus {
        self.published.facts.auth
    }

    /// One user.
    ///
    /// # Errors
    /// `Fatal`.
    pub fn user(&self, name: &str) -> Result<Option<User>, Fatal> {
        auth::user(self.rows(), name)
    }

    /// All users by name.
    ///
    /// # Errors
    /// `Fatal`.
    pub fn users(&self) -> Result<Vec<User>, Fatal> {
        auth::users(self.rows())
    }

    /// One role. (`root` is none before it is added, though it may be granted.)
    ///
    /// # Errors
    /// `Fatal`.
    pub fn role(&self, name: &str) -> Result<Option<Role>, Fatal> {
        auth::role(self.rows(), name)
    }

    /// All roles by name.
    ///
    /// # Errors
    /// `Fatal`.
    pub fn roles(&self) -> Result<Vec<Role>, Fatal> {
        auth::roles(self.rows())
    }

    /// What a user's password is checked against.
    ///
    /// # Errors
    /// `Refusal::AuthNotEnabled`, `AuthFailed` (no such user), `NoPasswordUser`; `Fatal`.
    pub fn credentials(&self, user: &str) -> Result<Credentials, ReadError> {
        let AuthStatus { enabled, revision } = self.auth();
        if !enabled {
            return Err(Refusal::AuthNotEnabled.into());
        }
        match self.user(user)? {
            None => Err(Refusal::AuthFailed.into()),
            Some(user) if user.no_password => Err(Refusal::NoPasswordUser.into()),
            Some(user) => Ok(Credentials { password: user.password, auth_revision: revision }),
        }
    }

    /// Whether who asks has what is needed: always while auth is off.
    ///
    /// # Errors
    /// `Refusal::UserEmpty` (nobody asks), `AuthRevisionOld` (who asks was checked before a change),
    /// `UserNotFound`, `PermissionDenied`; `Fatal`.
    pub fn permit(&self, origin: &Origin, need: &Need) -> Result<(), ReadError> {
        let Published { rows, facts, compiled, .. } = &*self.published;
        permit(&Gate { rows, status: facts.auth, compiled }, origin, need)
    }
}

/// What it tells of the cluster.
impl<V: Read> ReadView<V> {
    /// The alarms that are raised, by member and kind.
    pub fn alarms(&self) -> &[(u64, AlarmKind)] {
        self.published.facts.alarms.raised()
    }

    /// Whether this member's NOSPACE was raised by its quota, and by nobody else since.
    pub fn over_quota(&self, member: u64) -> bool {
        self.published.facts.alarms.by_quota(member)
    }

    /// The version that the cluster is going down to; none when it is not.
    pub fn downgrade(&self) -> Option<&str> {
        self.published.facts.downgrade.as_deref()
    }
}

/// Whether who asks has what is needed, the keys of leases included.
pub(crate) fn permit<R: Read>(gate: &Gate<'_, R>, origin: &Origin, need: &Need) -> Result<(), ReadError> {
    let (to, id) = match need {
        Need::ReadLease(id) => (To::Read, *id),
        Need::WriteLease(id) => (To::Write, *id),
        Need::User
        | Need::Root
        | Need::RootOrUser(_)
        | Need::RootOrRole(_)
        | Need::Read(_)
        | Need::Write(_) => return gate.permit(origin, need),
    };
    if !gate.status.enabled {
        return Ok(());
    }
    match gate.root(origin) {
        Err(ReadError::Refused(_)) => {}
        done => return done,
    }
    let all = lease::each_key(gate.rows, id, |key| {
        gate.keys(origin, to, &KeyRange::single(Bytes::copy_from_slice(key))).map(ControlFlow::Continue)
    });
    all.map(drop)
}
