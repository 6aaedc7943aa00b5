//! Upkeep that people ask for: alarms, the hash of everything, giving space back, whose turn it is to
//! lead, and the downgrade of a cluster.
use bramble_store::auth::Need;
use bramble_store::command::{Action, AlarmChange, DowngradeChange};
use bramble_store::error::{Fatal, Invalid};
use bramble_store::store::{Reply, Room};
use bramble_store::types::AlarmKind;

use super::access::Seen;
use super::answers::{Answer, Caller, Consistency};
use super::client::Client;
use super::core::View;
use super::error::{Error, NotNow, Refusal, Unknown};
use crate::raft::members;
use crate::version;

/// An alarm that is raised: whose, and which.
pub type Alarm = (u64, AlarmKind);

impl Client {
    /// The alarms that are raised; a linearizable read, no log entry.
    ///
    /// # Errors
    /// [`NotNow`].
    pub async fn alarms(&self, caller: &Caller) -> Result<Answer<Vec<Alarm>>, Error> {
        let Seen { view, .. } = self.fresh(caller, Consistency::Linearizable, || vec![Need::User]).await?;
        Ok(self.answer(view.revision(), view.alarms().to_vec()))
    }

    /// Raises an alarm, or clears one; the answer is the alarm, or nothing if there was none to clear. To
    /// change none is no change, and needs the same right.
    ///
    /// # Errors
    /// [`NotNow`]; [`Unknown`].
    pub async fn change_alarm(
        &self,
        caller: &Caller,
        change: Option<AlarmChange>,
    ) -> Result<Answer<Vec<Alarm>>, Error> {
        let Some(change) = change else {
            let Seen { view, .. } = self.fresh(caller, Consistency::Linearizable, root).await?;
            return Ok(self.answer(view.revision(), Vec::new()));
        };
        match self.core.propose(caller, Action::Alarm(change)).await? {
            Reply::Alarms { revision, alarms } => Ok(self.answer(revision, alarms)),
            other => Err(self.mismatch(&other)),
        }
    }

    /// A hash of the whole state: equal on all members that have applied the same. Reads all of it.
    ///
    /// # Errors
    /// [`NotNow`].
    pub async fn hash(&self, caller: &Caller) -> Result<Answer<u32>, Error> {
        let Seen { view, .. } = self.core.permitted(caller, &root()).await?;
        let metrics = self.core.metrics.clone();
        let hash = move |view: &View, room: Room<'_>| metrics.reads.hash(|| view.hash_within(room));
        let (hash, revision) = self.core.scan(view, hash).await?;
        Ok(self.answer(revision, hash))
    }

    /// Gives back the space that erased rows take on this member's disk, while it serves. Answers when it
    /// is done; who asks while others wait shares it with them.
    ///
    /// # Errors
    /// [`NotNow`]; [`Unknown::Stopped`].
    pub async fn defragment(&self, caller: &Caller) -> Result<(), Error> {
        drop(self.core.permitted(caller, &root()).await?);
        let done = self.core.chores.defragment().ok_or(NotNow::TooManyRequests)?;
        tokio::select! {
            done = done => Ok(done.map_err(|_| Unknown::Stopped)?),
            () = self.stopped() => Err(Unknown::Stopped.into()),
        }
    }

    /// Hands the leadership to another voter. To the leader itself it is no change.
    ///
    /// # Errors
    /// `NotNow::NotLeading` on another member; `NotNow::BadTransferee` for who is no voter; [`NotNow`].
    pub async fn move_leader(&self, caller: &Caller, target: u64) -> Result<(), Error> {
        let Seen { view, .. } = self.core.permitted(caller, &root()).await?;
        if !self.core.leads() {
            return Err(NotNow::NotLeading.into());
        }
        let members = match view.membership() {
            None => return Err(NotNow::BadTransferee.into()),
            Some((_, row)) => members::decode(row)
                .map_err(|what| self.core.failed(&Fatal::Unknown { what: what.into() }))?,
        };
        match members.is_voter(target) {
            true if target == self.core.ids.member => Ok(()),
            true => Err(NotNow::Unsupported("Maintenance.MoveLeader to another member").into()),
            false => Err(NotNow::BadTransferee.into()),
        }
    }

    /// Whether a downgrade to this version could begin.
    ///
    /// # Errors
    /// `Invalid::DowngradeFormat`, `Invalid::DowngradeTarget`; `Refusal::DowngradeInProgress`; [`NotNow`].
    pub async fn check_downgrade(&self, caller: &Caller, target: &str) -> Result<Answer<()>, Error> {
        let (view, _) = self.downgradable(caller, target).await?;
        Ok(self.answer(view.revision(), ()))
    }

    /// Begins a downgrade. It is written down and shown; this version goes on as it is.
    ///
    /// # Errors
    /// As [`Client::check_downgrade`]; [`Unknown`].
    pub async fn begin_downgrade(&self, caller: &Caller, target: &str) -> Result<Answer<()>, Error> {
        let (_, target_version) = self.downgradable(caller, target).await?;
        self.change_downgrade(caller, DowngradeChange::Enable { target_version }).await
    }

    /// Ends a downgrade.
    ///
    /// # Errors
    /// `Refusal::NoDowngrade`; [`NotNow`]; [`Unknown`].
    pub async fn end_downgrade(&self, caller: &Caller) -> Result<Answer<()>, Error> {
        let Seen { view, .. } = self.fresh(caller, Consistency::Linearizable, root).await?;
        if view.downgrade().is_none() {
            return Err(Refusal::NoDowngrade.into());
        }
        self.change_downgrade(caller, DowngradeChange::Cancel).await
    }

    async fn downgradable(&self, caller: &Caller, target: &str) -> Result<(View, String), Error> {
        let wanted = minor_version(target).ok_or(Invalid::DowngradeFormat)?;
        let Seen { view, .. } = self.fresh(caller, Consistency::Linearizable, root).await?;
        let (major, minor) = minor_version(version::ETCD_CLUSTER).ok_or(Invalid::DowngradeTarget)?;
        if wanted != (major, minor - 1) {
            return Err(Invalid::DowngradeTarget.into());
        }
        match view.downgrade() {
            Some(_) => Err(Refusal::DowngradeInProgress.into()),
            None => Ok((view, format!("{}.{}.0", wanted.0, wanted.1))),
        }
    }

    async fn change_downgrade(&self, caller: &Caller, change: DowngradeChange) -> Result<Answer<()>, Error> {
        match self.core.propose(caller, Action::Downgrade(change)).await? {
            Reply::Downgrade { revision } => Ok(self.answer(revision, ())),
            other => Err(self.mismatch(&other)),
        }
    }
}

/// What upkeep needs.
fn root() -> Vec<Need> {
    vec![Need::Root]
}

/// Major and minor of a version such as `3.5` or `3.5.30`, with or without what may follow (`-rc.1`).
fn minor_version(text: &str) -> Option<(i64, i64)> {
    let whole = |text: &str| {
        let (text, _) = text.split_once('+').unwrap_or((text, ""));
        let (text, _) = text.split_once('-').unwrap_or((text, ""));
        match text.splitn(3, '.').map(|number| number.parse().ok()).collect::<Option<Vec<i64>>>()?[..] {
            [major, minor, _] => Some((major, minor)),
            _ => None,
        }
    };
    whole(text).or_else(|| whole(&format!("{text}.0")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_as_etcd_reads_them() {
        for text in ["3.5", "3.5.0", "3.5.30", "3.5.0-rc.1", "3.5.1+build"] {
            assert_eq!(minor_version(text), Some((3, 5)), "{text}");
        }
        for text in ["", "3", "v3.5", "3.5.x", "3.x", "3.5.0.1", "three", "3..0"] {
            assert_eq!(minor_version(text), None, "{text}");
        }
    }
}
