//! Elections kept for clients: etcd's Election service. A [`super::contest`] whose oldest key leads, and
//! whose value everybody can observe.
use std::collections::VecDeque;

use bramble_store::types::{EventKind, KeyRange, KeyValue, LeaseId, Op, PutRequest, RangeRequest};
use bytes::Bytes;

use super::answers::{Answer, Caller, Consistency, WatchResponse};
use super::client::Client;
use super::contest::{Contest, ContestError, Place, Waiting, first_record};
use super::error::{Error, NotNow};
use super::streams::WatchStream;

/// Proof of a leadership.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaderKey {
    /// The election.
    pub name: Bytes,
    /// Exists as long as the leadership.
    pub key: Bytes,
    /// The revision that created the key.
    pub created: i64,
    /// The lease it hangs on.
    pub lease: LeaseId,
}

impl LeaderKey {
    fn place(&self) -> Place {
        Place { key: self.key.clone(), created: self.created }
    }
}

impl Client {
    /// Waits until the caller leads the election `name`, and has put `value`. The leadership ends with
    /// `lease`; without one (`LeaseId::NONE`) the node grants one of 60 s, and nobody keeps it alive.
    /// Dropping the future gives the place up.
    ///
    /// # Errors
    /// `ContestError::NotLeader` when the lease ended meanwhile (etcd does not notice that); those of the
    /// requests it is made of.
    pub async fn campaign(
        &self,
        caller: &Caller,
        name: &Bytes,
        lease: LeaseId,
        value: Bytes,
    ) -> Result<Answer<LeaderKey>, ContestError> {
        let lease = self.lease_or_own(caller, lease).await?;
        let contest = Contest::of(self, caller, name);
        let key = contest.key(lease);
        let put = PutRequest { key: key.clone(), value: value.clone(), lease, ..PutRequest::default() };
        let mine = RangeRequest::new(KeyRange::single(key.clone()));
        let (success, failure) = (vec![Op::Put(put)], vec![Op::Range(mine.clone())]);
        let tried = self.if_created(caller, &Place::free(key.clone()), success, failure).await?;
        let earlier = first_record(&tried.body, 0);
        let created = earlier.map_or(tried.header.revision, |earlier| earlier.create_revision);
        let leader = LeaderKey { name: name.clone(), key, created, lease };
        let waiting = Waiting::at(&contest, leader.place());
        if earlier.is_some_and(|earlier| earlier.value != value) {
            self.proclaim(caller, &leader, value).await?;
        }
        contest.turn_of(created).await?;
        let mine = self.range(caller, mine, Consistency::Linearizable).await?;
        waiting.over();
        match mine.body.kvs.first().is_some_and(|mine| mine.create_revision == created) {
            true => Ok(Answer { header: tried.header, body: leader }),
            false => Err(ContestError::NotLeader),
        }
    }

    /// Puts another value of the leader.
    ///
    /// # Errors
    /// `ContestError::NotLeader`; those of a transaction.
    pub async fn proclaim(
        &self,
        caller: &Caller,
        leader: &LeaderKey,
        value: Bytes,
    ) -> Result<Answer<()>, ContestError> {
        let lease = self.lease_or_own(caller, leader.lease).await?;
        let put = PutRequest { key: leader.key.clone(), value, lease, ..PutRequest::default() };
        let done = self.if_created(caller, &leader.place(), vec![Op::Put(put)], Vec::new()).await?;
        match done.body.succeeded {
            true => Ok(Answer { header: done.header, body: () }),
            false => Err(ContestError::NotLeader),
        }
    }

    /// Gives the leadership up; one that has ended already is no error.
    ///
    /// # Errors
    /// Those of a transaction.
    pub async fn resign(&self, caller: &Caller, leader: &LeaderKey) -> Result<Answer<()>, ContestError> {
        let done = self.give_up(caller, &leader.place()).await?;
        Ok(Answer { header: done.header, body: () })
    }

    /// The key and value of the leader.
    ///
    /// # Errors
    /// `ContestError::NoLeader`; those of a range.
    pub async fn leader(&self, caller: &Caller, name: &Bytes) -> Result<Answer<KeyValue>, ContestError> {
        let oldest = Contest::of(self, caller, name).oldest();
        let found = self.range(caller, oldest, Consistency::Linearizable).await?;
        let leader = found.body.kvs.into_iter().next().ok_or(ContestError::NoLeader)?;
        Ok(Answer { header: found.header, body: leader })
    }

    /// Observes an election: the leader and each of its values, then the next leader, for ever. Values
    /// may be left out where leaders change, the newest one never.
    pub fn observe(&self, caller: &Caller, name: &Bytes) -> Observed {
        Observed {
            client: self.clone(),
            caller: caller.clone(),
            name: name.clone(),
            follows: None,
            looked: None,
            unread: VecDeque::new(),
            last: None,
        }
    }
}

/// The leaders of an election, one after the other.
pub struct Observed {
    client: Client,
    caller: Caller,
    name: Bytes,
    /// Where what comes next is learnt; `None`: from the keys as they are.
    follows: Option<Follows>,
    /// Whose memory the leader takes that a look has found, until what comes next is asked for.
    looked: Option<Caller>,
    /// From one response of a watch.
    unread: VecDeque<Answer<KeyValue>>,
    /// Key and mod revision of what was given last.
    last: Option<(Bytes, i64)>,
}

enum Follows {
    /// Nobody leads: the first key that comes.
    Anybody(WatchStream),
    /// The leader's key, until it is deleted.
    Leader(WatchStream),
}

impl Observed {
    /// The next value of a leader, and when it was put. `None` when the watch was refused: nothing will
    /// come any more.
    pub async fn next(&mut self) -> Option<Result<Answer<KeyValue>, Error>> {
        self.looked = None;
        loop {
            if let Some(answer) = self.unread.pop_front() {
                let this = (answer.body.key.clone(), answer.body.mod_revision);
                if self.last.as_ref() != Some(&this) {
                    self.last = Some(this);
                    return Some(Ok(answer));
                }
            }
            let moved = match &mut self.follows {
                None => self.look().await,
                Some(Follows::Anybody(stream) | Follows::Leader(stream)) => match stream.next().await {
                    Some(Ok(response)) if response.canceled && response.compact_revision == 0 => return None,
                    Some(Ok(response)) => self.take(response).await,
                    Some(Err(error)) => Err(error),
                    None => Err(NotNow::Stopped.into()),
                },
            };
            if let Err(error) = moved {
                return Some(Err(error));
            }
        }
    }

    /// Finds the leader by the keys that are there.
    async fn look(&mut self) -> Result<(), Error> {
        let contest = Contest::of(&self.client, &self.caller, &self.name);
        let caller = self.caller.for_a_step();
        let found = self.client.range(&caller, contest.oldest(), Consistency::Linearizable).await?;
        self.looked = Some(caller);
        let Answer { header, body } = found;
        match body.kvs.into_iter().next() {
            None => {
                let stream = contest.watch(contest.keys(), header.revision + 1).await?;
                self.follows = Some(Follows::Anybody(stream));
            }
            Some(leader) => self.follow(Answer { header, body: leader }).await?,
        }
        Ok(())
    }

    /// Gives out a leader, and follows its key from there on.
    async fn follow(&mut self, leader: Answer<KeyValue>) -> Result<(), Error> {
        let contest = Contest::of(&self.client, &self.caller, &self.name);
        let key = KeyRange::single(leader.body.key.clone());
        self.follows = Some(Follows::Leader(contest.watch(key, leader.header.revision + 1).await?));
        self.unread.push_back(leader);
        Ok(())
    }

    async fn take(&mut self, response: WatchResponse) -> Result<(), Error> {
        let WatchResponse { header, canceled, events, .. } = response;
        if canceled {
            // Compaction came before the watch.
            self.follows = None;
            return Ok(());
        }
        if matches!(self.follows, Some(Follows::Anybody(_))) {
            let first = events.into_iter().find(|event| event.kind == EventKind::Put);
            if let Some(first) = first {
                let mut leader = Answer { header, body: first.kv };
                // The response may hold later ones too.
                leader.header.revision = leader.body.mod_revision;
                self.follow(leader).await?;
            }
            return Ok(());
        }
        for event in events {
            match event.kind {
                EventKind::Put => self.unread.push_back(Answer { header, body: event.kv }),
                EventKind::Delete => {
                    self.follows = None;
                    break;
                }
            }
        }
        Ok(())
    }
}
