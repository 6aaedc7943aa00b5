//! The bytes of replicated commands, records and rows: what must be read back by every later version.
//!
//! - `command`: commands in the log, our own tagged bytes;
//! - `record`: etcd's messages that are part of the state;
//! - `rows`: names of rows in the two families.
mod command;
mod record;
pub(crate) mod rows;
pub(crate) mod varint;

pub use command::{STATE_VERSION, decode, encode};
pub(crate) use record::peek_key_value;
pub use record::{decode_key_value, decode_lease, encode_key_value, encode_lease};
