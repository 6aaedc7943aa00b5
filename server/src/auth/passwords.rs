//! Passwords: bcrypt, slow on purpose, so off the async threads and only a few at once.
//!
//! At most half of the processors hash at a time, so that a flood of logins leaves the others to
//! everybody else; at most [`WAITING_MAX`] wait for their turn, more are told that there are too many.
use std::sync::Arc;

use bcrypt::Version;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Logins and new passwords that may wait for a processor.
const WAITING_MAX: usize = 64;
/// bcrypt looks at no more bytes of a password.
const PASSWORD_BYTES_MAX: usize = 72;

/// Hashes and compares.
pub struct Passwords {
    cost: u32,
    /// One permit per waiting or working request.
    admitted: Arc<Semaphore>,
    /// One permit per working one.
    working: Arc<Semaphore>,
}

/// Why there is no hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoHash {
    /// More than 72 bytes.
    TooLong,
    /// Too many wait already.
    TooMany,
}

impl Passwords {
    /// New passwords will cost `cost`, 4 to 31.
    pub fn new(cost: u32) -> Passwords {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Passwords::with_workers(cost, (processors / 2).max(1))
    }

    fn with_workers(cost: u32, workers: usize) -> Passwords {
        let admitted = Arc::new(Semaphore::new(workers + WAITING_MAX));
        Passwords { cost, admitted, working: Arc::new(Semaphore::new(workers)) }
    }

    /// The hash of a new password, in etcd's form (`$2a$10$…`, 60 bytes).
    pub async fn hash(&self, password: String) -> Result<String, NoHash> {
        // Go's bcrypt refuses here and cuts when it compares; so do we.
        if password.len() > PASSWORD_BYTES_MAX {
            return Err(NoHash::TooLong);
        }
        let cost = self.cost;
        let hashed = self.run(move || bcrypt::hash_with_result(password, cost)).await?;
        // Only a cost that the settings do not let through fails here, or a system without randomness.
        hashed.map(|parts| parts.format_for_version(Version::TwoA)).map_err(|_| NoHash::TooMany)
    }

    /// Whether the password belongs to the hash. A hash that is none belongs to no password.
    pub async fn matches(&self, password: String, hash: Vec<u8>) -> Result<bool, NoHash> {
        let Ok(hash) = String::from_utf8(hash) else { return Ok(false) };
        Ok(self.run(move || bcrypt::verify(password, &hash)).await?.unwrap_or(false))
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, NoHash> {
        let admitted: OwnedSemaphorePermit =
            self.admitted.clone().try_acquire_owned().map_err(|_| NoHash::TooMany)?;
        let turn = self.working.clone().acquire_owned().await.map_err(|_| NoHash::TooMany)?;
        let worked = tokio::task::spawn_blocking(move || {
            let worked = work();
            // Given back when the work is done, not when the caller loses patience.
            drop((turn, admitted));
            worked
        });
        worked.await.map_err(|_| NoHash::TooMany)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::sync::mpsc;

    #[tokio::test]
    async fn a_hash_is_etcds_and_belongs_to_one_password() {
        let passwords = Passwords::new(4);
        let hash = passwords.hash("hunter2".into()).await.expect("a hash");
        assert!(hash.starts_with("$2a$04$") && hash.len() == 60, "{hash}");
        assert_ne!(passwords.hash("hunter2".into()).await.expect("a hash"), hash, "salted");
        let matches = |password: &str, hash: &str| passwords.matches(password.into(), hash.into());
        assert_eq!(matches("hunter2", &hash).await, Ok(true));
        assert_eq!(matches("hunter3", &hash).await, Ok(false));
        assert_eq!(matches("", &hash).await, Ok(false));
        let empty = passwords.hash(String::new()).await.expect("a hash");
        assert_eq!(matches("", &empty).await, Ok(true), "an empty password is one");
        for none in ["", "$2a$04$short", "plain text"] {
            assert_eq!(matches("hunter2", none).await, Ok(false), "{none:?}");
        }
    }

    #[tokio::test]
    async fn hashes_made_by_go_are_understood() {
        // bcrypt.GenerateFromPassword([]byte("allmine"), 10), a vector of Go's own tests.
        let hash = "$2a$10$XajjQvNhvvRt5GSeFk1xFeyqRrsxkhBkUiQeg0dt.wU1qD4aFDcga";
        let passwords = Passwords::new(4);
        assert_eq!(passwords.matches("allmine".into(), hash.into()).await, Ok(true));
        assert_eq!(passwords.matches("allyours".into(), hash.into()).await, Ok(false));
    }

    #[tokio::test]
    async fn more_than_72_bytes_are_refused_in_a_new_password_and_cut_in_a_login() {
        let passwords = Passwords::new(4);
        assert_eq!(passwords.hash("x".repeat(73)).await, Err(NoHash::TooLong));
        let hash = passwords.hash("x".repeat(72)).await.expect("just short enough");
        assert_eq!(passwords.matches("x".repeat(72), hash.clone().into()).await, Ok(true));
        assert_eq!(passwords.matches("x".repeat(80), hash.clone().into()).await, Ok(true));
        assert_eq!(passwords.matches("x".repeat(71), hash.into()).await, Ok(false));
    }

    #[tokio::test]
    async fn few_work_some_wait_and_the_rest_is_told() {
        let passwords = Arc::new(Passwords::with_workers(4, 2));
        let (begun, count) = mpsc::channel();
        let (release, gate) = mpsc::channel::<()>();
        let gate = Arc::new(Mutex::new(gate));
        let mut tasks = Vec::new();
        for _ in 0..2 + WAITING_MAX {
            let (passwords, begun, gate) = (passwords.clone(), begun.clone(), gate.clone());
            tasks.push(tokio::spawn(async move {
                let work = move || {
                    begun.send(()).expect("counted");
                    gate.lock().expect("not poisoned").recv().expect("released");
                };
                passwords.run(work).await
            }));
        }
        while passwords.admitted.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(passwords.run(|| ()).await, Err(NoHash::TooMany));
        tokio::task::spawn_blocking(move || {
            let patience = std::time::Duration::from_secs(20);
            for done in 0..2 + WAITING_MAX {
                count.recv_timeout(patience).expect("one works");
                if done == 1 {
                    assert!(count.try_recv().is_err(), "no third beside two");
                }
                if done > 0 {
                    release.send(()).expect("released");
                }
            }
            release.send(()).expect("released");
        })
        .await
        .expect("no panic");
        for task in tasks {
            assert_eq!(task.await.expect("no panic"), Ok(()));
        }
        assert_eq!(passwords.run(|| 1).await, Ok(1), "there is room again");
    }
}
