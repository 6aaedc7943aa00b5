//! The process as the system sees it, under the names that Prometheus' own clients use.
//!
//! Everything is read from `/proc` when somebody asks. Where there is no `/proc` (or not this file of
//! it) the family is left out.
use std::fs;

use rustix::process::{Resource, getrlimit};

use super::families::{Kind, Scrape};

/// Writes what there is to say.
pub(super) fn tell(scrape: &mut Scrape) {
    tell_files(scrape);
    if let Some(stat) = fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(Stat::parse) {
        tell_stat(scrape, &stat);
    }
    if let Ok(io) = fs::read_to_string("/proc/self/io") {
        tell_io(scrape, &io);
    }
}

fn tell_files(scrape: &mut Scrape) {
    let used = fs::read_dir("/proc/self/fd").map(|files| files.count());
    let limit = getrlimit(Resource::Nofile).current;
    if let Ok(used) = used {
        // One is the listing's own.
        let used = used.saturating_sub(1) as f64;
        scrape.gauge("os_fd_used", "File descriptors in use.", used);
        scrape.gauge("process_open_fds", "File descriptors in use.", used);
    }
    if let Some(limit) = limit {
        scrape.gauge("os_fd_limit", "File descriptors the process may use.", limit as f64);
        scrape.gauge("process_max_fds", "File descriptors the process may use.", limit as f64);
    }
}

fn tell_stat(scrape: &mut Scrape, stat: &Stat) {
    let ticks_per_second = rustix::param::clock_ticks_per_second() as f64;
    let cpu_s = stat.cpu_ticks as f64 / ticks_per_second;
    scrape.family(
        Kind::Counter,
        "process_cpu_seconds_total",
        "Processor time used, in user and system mode.",
        &[],
        [([""; 0], cpu_s)],
    );
    let resident = stat.resident_pages * rustix::param::page_size() as u64;
    scrape.gauge("process_resident_memory_bytes", "Memory in use.", resident as f64);
    scrape.gauge("process_virtual_memory_bytes", "Address space in use.", stat.virtual_bytes as f64);
    // Without a limit etcd names the largest number there is.
    let address_space = getrlimit(Resource::As).current.unwrap_or(u64::MAX) as f64;
    scrape.gauge("process_virtual_memory_max_bytes", "Address space the process may use.", address_space);
    if let Some(booted_s) = fs::read_to_string("/proc/stat").ok().as_deref().and_then(boot_time_s) {
        let started_s = booted_s as f64 + stat.start_ticks as f64 / ticks_per_second;
        scrape.gauge("process_start_time_seconds", "When the process was started, in Unix time.", started_s);
    }
}

/// The kernel's count of what the process as a whole has had written to and read from devices.
fn tell_io(scrape: &mut Scrape, io: &str) {
    let value = |key: &str| {
        let line = io.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
        line.and_then(|number| number.parse().ok())
    };
    if let Some(written) = value("write_bytes") {
        scrape.counter(
            "bramble_process_written_bytes_total",
            "Bytes this process has caused to be written to devices, by the kernel's count.",
            written,
        );
    }
    if let Some(read) = value("read_bytes") {
        scrape.counter(
            "bramble_process_read_bytes_total",
            "Bytes this process has caused to be read from devices, by the kernel's count.",
            read,
        );
    }
}

/// The fields of `/proc/self/stat` that are told.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    cpu_ticks: u64,
    /// Since the system was started.
    start_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Stat> {
        // The second field is the program's name in parentheses, which may hold both spaces and them.
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // By proc(5)'s numbers, which begin at 1; field 3 is the first one here.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Stat {
            cpu_ticks: field(14)? + field(15)?,
            start_ticks: field(22)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

fn boot_time_s(proc_stat: &str) -> Option<u64> {
    proc_stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_from_the_end_of_the_name() {
        let text = "7 (a) b (c) S 1 7 7 0 -1 4194304 100 0 3 0 11 22 0 0 20 0 5 0 987654 1048576 256 18446744073709551615 1 1";
        let stat =
            Stat { cpu_ticks: 33, start_ticks: 987_654, virtual_bytes: 1_048_576, resident_pages: 256 };
        assert_eq!(Stat::parse(text), Some(stat));
        assert_eq!(Stat::parse("7 (a) S 1"), None);
    }

    #[test]
    fn this_process_has_memory_and_files_and_began_before_now() {
        let mut scrape = Scrape::default();
        tell(&mut scrape);
        let families = scrape.into_families();
        let value = |name: &str| {
            let family = families.iter().find(|family| family.name() == name);
            let family = family.unwrap_or_else(|| panic!("{name} is told"));
            let metric = &family.get_metric()[0];
            metric.get_gauge().get_value() + metric.get_counter().get_value()
        };
        let now_s = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("a clock").as_secs_f64();
        let began = value("process_start_time_seconds");
        assert!(began <= now_s + 1.0 && began > now_s - 24.0 * 3600.0, "{began} of {now_s}");
        assert!(value("process_resident_memory_bytes") > 1e6);
        assert!(value("process_virtual_memory_bytes") > value("process_resident_memory_bytes"));
        assert!(value("process_open_fds") >= 3.0 && value("process_open_fds") <= value("process_max_fds"));
        assert!(value("os_fd_limit") >= 64.0);
    }
}
