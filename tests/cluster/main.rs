//! Real processes: what they are sent, what they find on the disk, how they start and stop.

mod bad_input;
mod budget;
mod clock;
mod data_dir;
mod load;
mod log_partition;
mod repair;
mod slow_log;
mod small_memory;
mod start_stop;
mod status;
mod watch_streams;
