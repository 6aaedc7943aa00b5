//! The checkers of histories are checked: they pass what is good and find what was spoilt.

mod clean;
mod places;
mod requests;
mod spoilt;
mod spoilt_calls;
mod spoilt_leases;
mod spoilt_watches;
mod watcher;
mod world;
