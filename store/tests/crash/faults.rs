//! Calls that fail while the power stays on: the log ends, refuses everything, and loses nothing.
use bramble_store::disk::sim::Fault;
use bramble_store::types::LogId;

use super::{Reached, Run, Wrong};

impl Run {
    /// A log that met a failed call must not pretend to work.
    pub(super) fn refuses_everything(&mut self) -> Result<(), Wrong> {
        let mut log = self.log.take().expect("a run holds an open log between operations");
        let next = log.last().map_or(0, |id| id.index + 1);
        let entry =
            super::Entry { id: LogId { term: u64::MAX, index: next }, payload: super::Payload::Blank };
        let answers = [
            log.flush().is_ok(),
            log.append(&[entry]).is_ok(),
            log.truncate_after(log.last()).is_ok(),
            log.read(0..1, 1).is_ok(),
            log.fill_ahead(4096).is_ok(),
            log.seal().is_ok(),
        ];
        if answers == [false; 6] { Ok(()) } else { Err(format!("a failed log goes on: {answers:?}")) }
    }

    pub(super) fn after_fault(&mut self) -> Result<(), Wrong> {
        self.reached.faults += 1;
        self.faulty = false;
        // A read that failed poisons nothing: nothing was written.
        if self.log().flush().is_ok() {
            self.settle();
            return Ok(());
        }
        self.refuses_everything()?;
        self.reached.reopens += 1;
        self.disk.cut();
        self.open()
    }
}

/// A run of `steps` in which call number `call` fails. Says how many calls there were.
fn run(seed: u64, steps: u64, call: u64, fault: Fault) -> Result<(u64, Reached), Wrong> {
    let mut run = Run::new(seed);
    run.faulty = true;
    run.disk.fail_at_call(call, fault);
    run.open()?;
    for _ in 0..steps {
        run.step()?;
    }
    Ok((run.disk.calls(), run.reached))
}

#[test]
fn every_call_may_fail_in_every_way() {
    let (mut failed, mut runs) = (0, 0);
    for seed in 1..=4 {
        for fault in [Fault::Io, Fault::Full, Fault::ReadOnly] {
            for call in 1.. {
                let (calls, reached) = run(seed, 60, call, fault)
                    .unwrap_or_else(|wrong| panic!("seed {seed} call {call}: {wrong}"));
                failed += reached.faults;
                runs += 1;
                if call > calls {
                    break;
                }
            }
        }
    }
    println!("{failed} failures noticed in {runs} runs");
    assert!(failed > 200, "only {failed} failures were noticed in {runs} runs");
}
