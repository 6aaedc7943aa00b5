//! Where a request's time went: the steps of the request that the current task serves.
//!
//! Nothing is written for a request that was quick, so a step costs a look at the clock and no memory.
//! Outside a request (the node's own proposals, embedders) steps go nowhere.
use std::cell::RefCell;
use std::fmt;
use std::time::{Duration, Instant};

tokio::task_local! {
    static CURRENT: RefCell<Trace>;
}

/// Steps that one request can have; later ones are part of the last.
const STEPS_MAX: usize = 8;

/// The steps of one request, each with the time since the request began.
#[derive(Clone, Debug)]
pub struct Trace {
    began: Instant,
    steps: [(&'static str, Duration); STEPS_MAX],
    count: usize,
}

impl Trace {
    fn begin() -> Trace {
        Trace { began: Instant::now(), steps: [("", Duration::ZERO); STEPS_MAX], count: 0 }
    }

    /// How long the request has taken so far.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    fn step(&mut self, name: &'static str) {
        let at = self.began.elapsed();
        let place = self.count.min(STEPS_MAX - 1);
        self.steps[place] = (name, at);
        self.count = place + 1;
    }

    /// Each step with the time that it took.
    pub fn steps(&self) -> impl Iterator<Item = (&'static str, Duration)> + '_ {
        let mut before = Duration::ZERO;
        self.steps[..self.count].iter().map(move |(name, at)| {
            let took = at.saturating_sub(before);
            before = *at;
            (*name, took)
        })
    }
}

/// As etcd writes steps: `["trace[7] 'range keys'  (duration: 1.5ms)", …]`.
impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (place, (name, took)) in self.steps().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            write!(f, "{comma}\"'{name}' (duration: {took:?})\"")?;
        }
        f.write_str("]")
    }
}

/// Notes that the current request has just finished this step.
pub fn step(name: &'static str) {
    let _ = CURRENT.try_with(|trace| trace.borrow_mut().step(name));
}

/// The time of the current request begins now: what came before was spent by its sender.
pub fn begin_again() {
    let _ = CURRENT.try_with(|trace| *trace.borrow_mut() = Trace::begin());
}

/// Runs a request; its steps come back with its result.
pub async fn follow<T>(request: impl Future<Output = T>) -> (T, Trace) {
    let traced = async move {
        let answer = request.await;
        let trace = CURRENT.with(|trace| trace.borrow().clone());
        (answer, trace)
    };
    CURRENT.scope(RefCell::new(Trace::begin()), traced).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_has_its_own_steps_in_order() {
        step("before any request: goes nowhere");
        let request = async {
            step("one");
            tokio::task::yield_now().await;
            step("two");
            7
        };
        let (answer, trace) = follow(request).await;
        step("after it");
        assert_eq!(answer, 7);
        let names: Vec<_> = trace.steps().map(|(name, _)| name).collect();
        assert_eq!(names, ["one", "two"]);
        let sum: Duration = trace.steps().map(|(_, took)| took).sum();
        assert!(sum <= trace.elapsed());
        assert!(trace.to_string().starts_with("[\"'one' (duration: "), "{trace}");
    }

    #[tokio::test]
    async fn what_the_sender_spent_is_not_counted() {
        let request = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            begin_again();
            step("one");
        };
        let (_, trace) = follow(request).await;
        assert!(trace.elapsed() < Duration::from_millis(50), "{:?}", trace.elapsed());
        assert_eq!(trace.steps().count(), 1);
        begin_again();
    }

    #[tokio::test]
    async fn steps_are_bounded() {
        let (_, trace) = follow(async { (0..100).for_each(|_| step("again")) }).await;
        assert_eq!(trace.steps().count(), STEPS_MAX);
    }
}
