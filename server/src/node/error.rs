//! Why a request got no answer, by who is wrong. `rpc/status.rs` has etcd's code and text for each.
pub use bramble_store::error::{Fatal, Invalid, Refusal};

/// An error of a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The request is wrong in itself; nothing was proposed.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// Every replica refuses it alike; nothing was changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// This node cannot serve it now; certainly not applied.
    #[error(transparent)]
    NotNow(#[from] NotNow),
    /// No answer came; it may have been applied. Never retried inside.
    #[error(transparent)]
    Unknown(#[from] Unknown),
}

/// Why this node cannot serve now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotNow {
    /// No leader is known.
    #[error("no leader")]
    NoLeader,
    /// The member is stopping or has stopped.
    #[error("server stopped")]
    Stopped,
    /// A queue is full: applied lags behind committed, or the log ring is nearly full.
    #[error("too many requests")]
    TooManyRequests,
    /// The request's command is larger than `--max-request-bytes`.
    #[error("request is too large")]
    TooLarge,
    /// The leader changed while a read waited for its barrier.
    #[error("leader changed")]
    LeaderChanged,
    /// The answer of a read is larger than a connection may ever be sent at once.
    #[error("the answer has more than {bytes} bytes; at most {max} can be sent at once")]
    AnswerTooLarge {
        /** What there was when reading stopped. */
        bytes: usize,
        /** The most. */
        max: usize,
    },
    /// A read waited longer than the request timeout; nothing was written.
    #[error("request timed out")]
    ReadTimedOut,
    /// This member knows of no such token, or it has ended: log in again.
    #[error("invalid auth token")]
    InvalidToken,
    /// Tokens are checked here and not made: there is no private key.
    #[error("tokens are not signed here")]
    VerifyOnly,
    /// Only the leader can do it, and this member is not the leader.
    #[error("not leader")]
    NotLeading,
    /// Who should lead is no voter of the cluster.
    #[error("bad leader transferee")]
    BadTransferee,
    /// The operation is not served by this version.
    #[error("not supported yet: {0}")]
    Unsupported(&'static str),
}

/// Why no answer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unknown {
    /// The request timeout passed.
    #[error("request timed out")]
    TimedOut,
    /// It was applied, and its answer is larger than there is memory for.
    #[error("applied, and there is no room for the answer")]
    AnswerLeftOut,
    /// The entry was discarded or its answer lost with a leader.
    #[error("leader changed")]
    LeaderLost,
    /// The member stopped while the request was under way.
    #[error("server stopped")]
    Stopped,
}
