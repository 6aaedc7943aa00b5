//! The bytes of replicated commands, records and rows: what must be read back by every later version.
//!
//! - `command`: commands in the log, our own tagged bytes; `admin`: those about users, alarms, leases'
//!   remaining time and downgrades;
//! - `record`: etcd's messages that are part of the state;
//! - `rows`: names of rows in the two families.
mod admin;
mod auth;
mod command;
mod record;
pub(crate) mod rows;
pub(crate) mod varint;

pub use auth::{decode_alarm, decode_role, decode_user, encode_alarm, encode_role, encode_user};
pub use command::{STATE_VERSION, decode, encode};
pub(crate) use record::peek_key_value;
pub use record::{decode_key_value, decode_lease, encode_key_value, encode_lease};
