//! Locks kept for clients: etcd's Lock service, for programs without a client library that builds them.
//!
//! A lock is a [`super::contest`]; its holder is the oldest key. As everywhere, a lock held through a
//! lease does not exclude anything by itself: guard writes by a compare on the key that `lock` answers.
use bramble_store::types::{DeleteRequest, KeyRange, LeaseId, Op, PutRequest, RangeRequest};
use bytes::Bytes;

use super::answers::{Answer, Caller, Consistency};
use super::client::Client;
use super::contest::{Contest, ContestError, Place, Waiting, first_record};
use super::error::Error;

impl Client {
    /// Waits until the lock `name` is the caller's, and answers with the key that says so. The lock ends
    /// with `lease`; without one (`LeaseId::NONE`) the node grants one of 60 s, and nobody keeps it alive.
    /// Asking again with the same lease answers at once. Dropping the future gives the place up.
    ///
    /// # Errors
    /// `ContestError::SessionExpired` when the lease ended meanwhile; those of the requests it is made of.
    pub async fn lock(
        &self,
        caller: &Caller,
        name: &Bytes,
        lease: LeaseId,
    ) -> Result<Answer<Bytes>, ContestError> {
        let lease = self.lease_or_own(caller, lease).await?;
        let contest = Contest::of(self, caller, name);
        let key = contest.key(lease);
        let put = PutRequest { key: key.clone(), lease, ..PutRequest::default() };
        let mine = RangeRequest::new(KeyRange::single(key.clone()));
        let success = vec![Op::Put(put), Op::Range(contest.oldest())];
        let failure = vec![Op::Range(mine.clone()), Op::Range(contest.oldest())];
        let tried = self.if_created(caller, &Place::free(key.clone()), success, failure).await?;
        let created = match tried.body.succeeded {
            true => tried.header.revision,
            // It was there: this lease took part already.
            false => first_record(&tried.body, 0).map_or(0, |mine| mine.create_revision),
        };
        if first_record(&tried.body, 1).is_none_or(|oldest| oldest.create_revision == created) {
            return Ok(Answer { header: tried.header, body: key });
        }
        let waiting = Waiting::at(&contest, Place { key: key.clone(), created });
        contest.turn_of(created).await?;
        let mine = self.range(caller, mine, Consistency::Linearizable).await?;
        waiting.over();
        match mine.body.kvs.is_empty() {
            true => Err(ContestError::SessionExpired),
            false => Ok(Answer { header: mine.header, body: key }),
        }
    }

    /// Gives up the lock whose key this is; a key that is not there is no error.
    ///
    /// # Errors
    /// As [`Client::delete`].
    pub async fn unlock(&self, caller: &Caller, key: &Bytes) -> Result<Answer<()>, Error> {
        let delete = DeleteRequest { range: KeyRange::single(key.clone()), prev_kv: false };
        let deleted = self.delete(caller, delete).await?;
        Ok(Answer { header: deleted.header, body: () })
    }
}
