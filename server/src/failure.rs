//! The switch a node throws once, when its disk or its bytes are wrong. There is no way back: from
//! then on nothing is acknowledged, and whoever hosts the node ends it.
use std::path::Path;
use std::sync::Arc;

use bramble_store::error::Fatal;
use tokio::sync::watch;

/// What to do about damage in a data directory, whose log may lie on a partition.
pub(crate) fn advice(data_dir: &Path, log_partition: Option<&Path>) -> String {
    let dir = data_dir.display();
    let on = log_partition.map_or(String::new(), |path| format!(" --log-partition {}", path.display()));
    format!(
        "`bramblectl repair --data-dir {dir}{on}` shows what can be saved, and what a backup must bring back"
    )
}

/// Cheap to clone; all clones are one switch.
#[derive(Clone)]
pub(crate) struct Failure {
    state: Arc<watch::Sender<Option<Arc<str>>>>,
    data_dir: Arc<Path>,
    log_partition: Option<Arc<Path>>,
}

impl Failure {
    pub(crate) fn new(data_dir: &Path) -> Failure {
        Failure { state: Arc::new(watch::Sender::new(None)), data_dir: data_dir.into(), log_partition: None }
    }

    /// The same for a log that lies on a partition.
    pub(crate) fn with_log_on(self, partition: Option<&Path>) -> Failure {
        Failure { log_partition: partition.map(Arc::from), ..self }
    }

    /// Throws the switch, and says what to do when files are damaged.
    pub(crate) fn end(&self, fatal: &Fatal) {
        match fatal.is_damage() {
            true => {
                self.trip(&format_args!("{fatal}; {}", advice(&self.data_dir, self.log_partition.as_deref())))
            }
            false => self.trip(fatal),
        }
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
        let failure = Failure::new("/data".as_ref());
        assert!(!failure.tripped());
        failure.trip(&"disk");
        failure.clone().trip(&"later");
        assert!(failure.tripped());
        assert_eq!(&*failure.wait().await, "disk");
    }

    #[tokio::test]
    async fn damage_names_the_command_that_repairs() {
        let failure = Failure::new("/data".as_ref());
        failure.end(&Fatal::EngineDamaged("000007.sst".into()));
        let why = failure.wait().await;
        assert!(why.contains("000007.sst; `bramblectl repair --data-dir /data`"), "{why}");
        let failure = Failure::new("/data".as_ref());
        failure.end(&Fatal::Engine("no space left".into()));
        assert!(!failure.wait().await.contains("repair"));
    }
}
