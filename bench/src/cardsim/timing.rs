//! A card takes its time: requests wait for each other, and each as long as the model says.
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::cost::{Model, Report};

/// A model at work, and the account of it.
pub struct Timing {
    model: Model,
    /// What the flash went through before the account was opened.
    before: super::cost::Wear,
    report: Report,
    opened: Instant,
    /// When the request before is answered: a card does one at a time.
    free_at: Instant,
    record: Option<Box<dyn Write + Send>>,
    failed: Option<io::Error>,
}

impl Timing {
    pub fn new(model: Model) -> Timing {
        let (now, report) = (Instant::now(), Report::of(&model));
        let before = model.wear();
        Timing { model, before, report, opened: now, free_at: now, record: None, failed: None }
    }

    /// Begins the account anew, and writes every request from now on to `record`, in the form of a trace.
    pub fn open_account(&mut self, record: Option<Box<dyn Write + Send>>) {
        self.before = self.model.wear();
        self.report = Report::of(&self.model);
        self.opened = Instant::now();
        self.record = record;
    }

    /// A write came: when it is to be answered.
    pub fn write(&mut self, offset: u64, length: u64) -> Instant {
        let seconds = self.model.write(offset, length);
        self.report.wrote(length, seconds);
        self.note("W", offset, length);
        self.answer_after(seconds)
    }

    /// A flush came: when it is to be answered.
    pub fn flush(&mut self) -> Instant {
        let seconds = self.model.flush();
        self.report.flushed(seconds);
        self.note("F", 0, 0);
        self.answer_after(seconds)
    }

    /// The account so far.
    ///
    /// # Errors
    /// The first write to the record that failed.
    pub fn report(&mut self) -> io::Result<Report> {
        if let Some(record) = &mut self.record {
            record.flush()?;
        }
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        Ok(Report { wear: self.model.wear() - self.before, ..self.report.clone() })
    }

    fn answer_after(&mut self, seconds: f64) -> Instant {
        self.free_at = self.free_at.max(Instant::now()) + Duration::from_secs_f64(seconds);
        self.free_at
    }

    fn note(&mut self, letter: &str, offset: u64, length: u64) {
        let Some(record) = &mut self.record else { return };
        let at = self.opened.elapsed().as_secs_f64();
        if let Err(error) = writeln!(record, "{at:.6} {letter} {offset} {length}") {
            self.failed.get_or_insert(error);
        }
    }
}

/// A timing that the disk and its owner both hold; `None`: as fast as it goes. And whether the disk stands still.
#[derive(Clone, Default)]
pub struct SharedTiming(Arc<Mutex<Option<Timing>>>, Arc<Mutex<Option<Instant>>>);

impl SharedTiming {
    pub fn lock(&self) -> MutexGuard<'_, Option<Timing>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until then nothing is answered.
    pub fn stall_until(&self, end: Instant) {
        *self.1.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
    }

    /// Waits until what `ask` was told, and until a stall is over; at once where there is neither.
    pub fn wait(&self, ask: impl FnOnce(&mut Timing) -> Instant) {
        let until = self.lock().as_mut().map(ask);
        let stalled = *self.1.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(until) = until.max(stalled) {
            std::thread::sleep(until.saturating_duration_since(Instant::now()));
        }
    }
}
