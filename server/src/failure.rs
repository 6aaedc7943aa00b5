//! The switch a node throws once, when its disk or its bytes are wrong. There is no way back: from
//! then on nothing is acknowledged, and whoever hosts the node ends it.
use std::sync::Arc;

use tokio::sync::watch;

/// Cheap to clone; all clones are one switch.
#[derive(Clone)]
pub(crate) struct Failure {
    state: Arc<watch::Sender<Option<Arc<str>>>>,
}

impl Failure {
    pub(crate) fn new() -> Failure {
        Failure { state: Arc::new(watch::Sender::new(None)) }
    }

    /// Throws the switch; only the first reason is kept.
    pub(crate) fn trip(&self, reason: &dyn std::fmt::Display) {
        self.state.send_if_modified(|state| {
            let first = state.is_none();
            if first {
                tracing::error!("the node has failed and stops: {reason}");
                *state = Some(reason.to_string().into());
            }
            first
        });
    }

    /// Whether it was thrown.
    pub(crate) fn tripped(&self) -> bool {
        self.state.borrow().is_some()
    }

    /// Waits until it is thrown, and says why.
    pub(crate) async fn wait(&self) -> Arc<str> {
        let mut seen = self.state.subscribe();
        loop {
            if let Some(reason) = seen.borrow_and_update().clone() {
                return reason;
            }
            // The sender lives in `self`, so the channel cannot close while this waits.
            if seen.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_reason_is_kept() {
        let failure = Failure::new();
        assert!(!failure.tripped());
        failure.trip(&"disk");
        failure.clone().trip(&"later");
        assert!(failure.tripped());
        assert_eq!(&*failure.wait().await, "disk");
    }
}
