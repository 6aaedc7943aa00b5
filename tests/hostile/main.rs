//! What clients can do to a member, and what it does to them: nobody can hurt it or the others.
//!
//! ```text
//!   attackers (a runtime of their own, 127.0.0.2 and up) ──►┐
//!                                                           ├── a server process: its memory by the kernel's
//!   the quiet client (its own thread, 127.0.0.1) ──────────►┘   count, its budgets by /metrics
//! ```
//! Every attack runs in a [`siege::Siege`], which asks the same four things of each: does the process live,
//! did it stay within its memory, were the quiet client's answers in time and right, and was everything
//! given back when the attacker had gone? Beside these, `effects` has the flags that bound a connection, and
//! `words` what both servers say of calls that no library would make.
mod effects;
mod malformed;
mod messages;
mod quiet;
mod raw;
mod readers;
mod siege;
mod slow;
mod vitals;
mod watches;
mod words;
