//! The quiet before each measurement: nothing of ours is on its way to the disk any more, and nobody else writes.
use std::fs::File;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use bramble_bench::disk::Device;
use rustix::fs::syncfs;

use crate::others::{Writers, allowed_bytes, ours, too_much, written_by};

/// How long it is looked at, and how long one waits for it.
#[derive(Clone, Copy)]
pub struct Window {
    /// How long nothing may be written.
    pub length: Duration,
    /// From the first look on.
    pub within: Duration,
}

/// What was written in one window.
struct Written {
    /// By the device.
    device: u64,
    /// By the process that is going to be measured.
    server: u64,
    others: Vec<(String, u64)>,
}

/// Waits until nothing is written to the file system of `dir`. The reason when that does not come, unless it is the
/// server that writes: what it does behind its back is part of it.
///
/// # Errors
/// The kernel does not tell.
pub fn wait(
    dir: &Path,
    device: Option<&Device>,
    server: Option<u32>,
    window: Window,
) -> io::Result<Option<String>> {
    let begun = Instant::now();
    loop {
        syncfs(File::open(dir)?)?;
        let written = look(device, server, window.length)?;
        let seconds = window.length.as_secs_f64();
        if written.is_quiet(seconds) {
            return Ok(None);
        }
        if begun.elapsed() > window.within {
            return Ok(written.reason(seconds));
        }
    }
}

fn look(device: Option<&Device>, server: Option<u32>, length: Duration) -> io::Result<Written> {
    let ours = ours(server);
    let bytes = || Ok::<_, io::Error>(device.map(Device::asked).transpose()?.map_or(0, |asked| asked.bytes));
    let own = || server.and_then(written_by).unwrap_or(0);
    let (before, of_device, of_server) = (Writers::look(&ours), bytes()?, own());
    std::thread::sleep(length);
    let (device, server) = (bytes()? - of_device, own().saturating_sub(of_server));
    Ok(Written { device, server, others: before.until(&Writers::look(&ours)) })
}

impl Written {
    fn is_quiet(&self, seconds: f64) -> bool {
        self.device <= allowed_bytes(seconds) && too_much(&self.others, seconds).is_none()
    }

    fn reason(&self, seconds: f64) -> Option<String> {
        // The file system writes its journal for what the server writes: as much again at most.
        let unexplained = self.device.saturating_sub(2 * self.server);
        let by_nobody = || {
            (unexplained > allowed_bytes(seconds)).then(|| {
                let kib = unexplained >> 10;
                format!(
                    "before the work {kib} KiB were written in {seconds:.1} s that no process accounts for"
                )
            })
        };
        too_much(&self.others, seconds).map(|what| format!("before the work {what}")).or_else(by_nobody)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_does_not_explain_is_another_writer() {
        let written = |device, server, others: &[(&str, u64)]| {
            let others = others.iter().map(|(name, bytes)| ((*name).to_owned(), *bytes)).collect();
            Written { device, server, others }
        };
        assert!(written(4096, 0, &[]).is_quiet(10.0));
        let busy = written(1 << 20, 1 << 20, &[]);
        assert!(!busy.is_quiet(10.0) && busy.reason(10.0).is_none());
        let nobody = written(1 << 20, 4096, &[]).reason(10.0).expect("a reason");
        assert!(nobody.contains("1016 KiB") && nobody.contains("no process accounts for"), "{nobody}");
        let named = written(1 << 20, 0, &[("dpkg", 1 << 20)]);
        assert!(!named.is_quiet(10.0));
        assert!(named.reason(10.0).expect("a reason").contains("dpkg"));
    }
}
