//! Who asks, and may they: the same for the wire and for callers in this process.
//!
//! ```text
//! Caller ─ token, name ─► asker: user + auth revision ─► needs, checked on the view that is read
//!                                                    └─► needs, checked before a write is proposed,
//!                                                        and again by everybody when it is applied
//! ```
//! A caller is looked up anew for each request, also on a stream: a token may have ended, the auth
//! revision moved on. While auth is off nobody is looked up and no token is looked at.
use bramble_store::auth::{Need, needs_of};
use bramble_store::command::{Action, Origin};
use bramble_store::error::Refusal;
use tokio::time::timeout_at;

use super::answers::{Caller, Identity};
use super::core::{Core, View};
use super::error::{Error, NotNow};
use crate::auth::simple;
use crate::auth::tokens::{Claimed, Tokens};

/// Whom a check is about. `None`: nobody is checked; auth is off, or the member itself asks.
pub(super) type Asker = Option<Origin>;

/// A view, and who looks at it.
pub(super) struct Seen {
    pub(super) view: View,
    pub(super) asker: Asker,
}

impl Core {
    /// The newest state, and who the caller is in it.
    pub(super) async fn seen(&self, caller: &Caller) -> Result<Seen, Error> {
        self.token_applied(caller).await?;
        let view = self.view()?;
        let asker = self.asker(caller, &view)?;
        Ok(Seen { view, asker })
    }

    /// Who the caller is.
    fn asker(&self, caller: &Caller, view: &View) -> Result<Asker, NotNow> {
        let auth = view.auth();
        if !auth.enabled {
            return Ok(None);
        }
        let (user, auth_revision) = match &caller.identity {
            Identity::Member(_) => return Ok(None),
            Identity::Nobody => (String::new(), 0),
            Identity::User(name) => (name.clone(), auth.revision),
            Identity::Token(token) => match self.tokens.claim(token).ok_or(NotNow::InvalidToken)? {
                Claimed::Now(user) => (user, auth.revision),
                Claimed::At(user, revision) => (user, revision),
            },
        };
        Ok(Some(Origin { user, auth_revision }))
    }

    /// A simple token names the entry that assigned it: on a member that lags it is not known yet.
    /// Waits for that entry, as long as a request may take. What cannot be such a token, or names an
    /// entry that the leader has not committed, needs no waiting: it is refused afterwards.
    async fn token_applied(&self, caller: &Caller) -> Result<(), Error> {
        let (Identity::Token(token), Tokens::Simple(_)) = (&caller.identity, &*self.tokens) else {
            return Ok(());
        };
        let Some(index) = simple::index(token).filter(|_| self.view().is_ok_and(|view| view.auth().enabled))
        else {
            return Ok(());
        };
        let reached = |at: &Option<bramble_store::types::LogId>| at.is_some_and(|at| at.index >= index);
        let committed = self.raft.standing().committed.map_or(0, |at| at.index);
        if reached(&self.position.borrow()) || (self.leads() && index > committed) {
            return Ok(());
        }
        let mut position = self.position.clone();
        let _ = timeout_at(self.deadline(), position.wait_for(reached)).await;
        self.alive()?;
        Ok(())
    }

    /// Whether the asker has everything that is needed, on this view.
    pub(super) fn permit<'a>(
        &self,
        seen: &Seen,
        needs: impl IntoIterator<Item = &'a Need>,
    ) -> Result<(), Error> {
        let Some(origin) = &seen.asker else { return Ok(()) };
        let mut needs = needs.into_iter();
        needs.try_for_each(|need| seen.view.permit(origin, need)).map_err(|error| self.read_error(error))
    }

    /// Looks the caller up and checks what it needs.
    pub(super) async fn permitted(&self, caller: &Caller, needs: &[Need]) -> Result<Seen, Error> {
        self.admit(caller)?;
        let seen = self.seen(caller).await?;
        self.permit(&seen, needs)?;
        Ok(seen)
    }

    /// Whether what the caller was told while it was checked still holds now that the reading is done:
    /// a read that took long is not answered to who has lost the right meanwhile, nor to who never had it
    /// when auth was turned on meanwhile.
    pub(super) fn still(&self, caller: &Caller, asker: &Asker) -> Result<(), Error> {
        let auth = self.view()?.auth();
        let holds = match asker {
            Some(origin) => origin.auth_revision == 0 || origin.auth_revision == auth.revision,
            None => !auth.enabled || matches!(caller.identity, Identity::Member(_)),
        };
        match holds {
            true => Ok(()),
            false => Err(Refusal::AuthRevisionOld.into()),
        }
    }

    /// Who proposes a change, once it is known that it would not be refused now: a refusal costs no
    /// write. It is checked again when it is applied.
    pub(super) async fn proposer(&self, caller: &Caller, action: &Action) -> Result<Origin, Error> {
        self.admit(caller)?;
        let seen = self.seen(caller).await?;
        if seen.asker.is_some() {
            self.permit(&seen, &needs_of(action))?;
        }
        Ok(seen.asker.unwrap_or_default())
    }
}
