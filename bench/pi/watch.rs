//! What the machine does while something is measured: a look every second, from a thread of its own.
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bramble_bench::disk::{Asked, Device};
use bramble_bench::versus::{Figures, taken};
use serde_json::{Value, json};

use crate::clock::{Clock, Look};
use crate::others::{Writers, ours, too_much};

/// Between two looks, at least.
const EVERY: Duration = Duration::from_secs(1);
/// Looks that are kept of what is measured once: time stretches them.
const LOOKS_MAX: u32 = 600;
/// Going through all processes, and asking the firmware, takes milliseconds: one look in so many does.
const THOROUGH: u32 = 10;

/// What was seen at a moment.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    at_s: f64,
    asked: Asked,
    cpu_s: f64,
    resident_bytes: u64,
    celsius: Option<f64>,
    mhz: Option<f64>,
}

impl Sample {
    /// As JSON; counts are from the first on.
    pub fn json(&self, first: &Sample) -> Value {
        let asked = self.asked - first.asked;
        json!({
            "s": self.at_s, "device_bytes": asked.bytes, "writes": asked.writes, "flushes": asked.flushes,
            "cpu_s": self.cpu_s - first.cpu_s, "rss_bytes": self.resident_bytes, "celsius": self.celsius,
            "mhz": self.mhz,
        })
    }
}

/// What was seen in all.
#[derive(Default)]
pub struct Watched {
    /// In their order.
    pub samples: Vec<Sample>,
    /// Why what was measured is not valid.
    pub reasons: Vec<String>,
}

impl Watched {
    /// The extremes.
    pub fn figures(&self) -> Figures {
        let extreme = |of: fn(&Sample) -> Option<f64>, pick: fn(f64, f64) -> f64| {
            self.samples.iter().filter_map(of).reduce(pick)
        };
        let memory =
            |sample: &Sample| (sample.resident_bytes > 0).then_some(sample.resident_bytes as f64 / 1e6);
        let told = [
            ("RSS max MB", extreme(memory, f64::max)),
            ("temperature max °C", extreme(|sample| sample.celsius, f64::max)),
            ("clock min MHz", extreme(|sample| sample.mhz, f64::min)),
        ];
        told.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

/// A watch that goes on until it is ended.
pub struct Watch {
    stop: Sender<()>,
    thread: JoinHandle<Watched>,
}

impl Watch {
    /// Begins. `server` is the process that is measured; it and this one may write.
    pub fn begin(device: Option<Device>, server: Option<u32>, length: Duration) -> Watch {
        let (stop, stopped) = channel();
        let every = EVERY.max(length / LOOKS_MAX);
        let thread = std::thread::spawn(move || {
            let mut seen = Seen::begin(device, server);
            seen.go_on(&stopped, every);
            seen.end()
        });
        Watch { stop, thread }
    }

    /// Ends, with a last look.
    pub fn end(self) -> Watched {
        drop(self.stop);
        let broken = |_| Watched {
            reasons: vec!["the watch over the machine broke off".to_owned()],
            ..Watched::default()
        };
        self.thread.join().unwrap_or_else(broken)
    }
}

struct Seen {
    device: Option<Device>,
    server: Option<u32>,
    begun: Instant,
    clock: Clock,
    look: Look,
    writers: Writers,
    written: Vec<(String, u64)>,
    watched: Watched,
}

impl Seen {
    fn begin(device: Option<Device>, server: Option<u32>) -> Seen {
        let clock = Clock::find();
        let (look, writers) = (clock.look(), Writers::look(&ours(server)));
        let (begun, written, watched) = (Instant::now(), Vec::new(), Watched::default());
        let mut seen = Seen { device, server, begun, clock, look, writers, written, watched };
        seen.sample();
        seen
    }

    fn go_on(&mut self, stopped: &Receiver<()>, every: Duration) {
        for nth in 1_u32.. {
            let due = (every * nth).saturating_sub(self.begun.elapsed());
            if stopped.recv_timeout(due) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            self.sample();
            if nth.is_multiple_of(THOROUGH) {
                self.thorough();
            }
        }
    }

    fn sample(&mut self) {
        let asked = self.device.as_ref().and_then(|device| device.asked().ok()).unwrap_or_default();
        let taken = self.server.and_then(|server| taken(server).ok()).unwrap_or_default();
        let pace = self.clock.pace();
        self.watched.samples.push(Sample {
            at_s: self.begun.elapsed().as_secs_f64(),
            asked,
            cpu_s: taken.cpu_s,
            resident_bytes: taken.resident_bytes,
            celsius: pace.celsius,
            mhz: pace.mhz,
        });
    }

    /// What held the clock back, and who wrote, since the last time.
    fn thorough(&mut self) {
        let look = self.clock.look();
        for what in self.look.held_back(&look) {
            if !self.watched.reasons.iter().any(|reason| reason == what) {
                self.watched.reasons.push(what.to_owned());
            }
        }
        let writers = Writers::look(&ours(self.server));
        self.written = sum(std::mem::take(&mut self.written), self.writers.until(&writers));
        (self.look, self.writers) = (look, writers);
    }

    fn end(mut self) -> Watched {
        self.sample();
        self.thorough();
        self.watched.reasons.extend(too_much(&self.written, self.begun.elapsed().as_secs_f64()));
        self.watched
    }
}

/// Both together, most first.
fn sum(mut all: Vec<(String, u64)>, more: Vec<(String, u64)>) -> Vec<(String, u64)> {
    for (name, bytes) in more {
        match all.iter_mut().find(|(known, _)| *known == name) {
            Some((_, so_far)) => *so_far += bytes,
            None => all.push((name, bytes)),
        }
    }
    all.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::others::tests::Other;

    #[test]
    fn another_writer_is_noticed_while_something_is_measured() {
        let watch = Watch::begin(None, None, Duration::from_secs(1));
        let other = Other::begin();
        let watched = watch.end();
        drop(other);
        assert!(watched.samples.len() >= 2);
        assert!(
            watched.reasons.iter().any(|reason| reason.contains("others wrote")),
            "{:?}",
            watched.reasons
        );
    }

    #[test]
    fn what_was_written_adds_up() {
        let named = |list: &[(&str, u64)]| {
            list.iter().map(|(name, bytes)| ((*name).to_owned(), *bytes)).collect::<Vec<_>>()
        };
        let all = sum(named(&[("a", 5)]), named(&[("b", 7), ("a", 1)]));
        assert_eq!(all, named(&[("b", 7), ("a", 6)]));
    }
}
