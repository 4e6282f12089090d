//! Agents: duty cycles that run where the core plan puts them.
//!
//! An agent does a bounded amount of work at each call and says how much it did; a runner calls it again and again on
//! one thread, waits by the plan's strategy when there was nothing to do, and ends it when it is to stop. Where there
//! are few cores, several agents run on one thread as a [`Composite`]. Who has something to say to a running agent
//! sends it through a bounded `rtrb` ring, which the agent drains in its duty cycle.

use crate::plan::{self, Placement};
use crate::program::{Stop, note};
use crate::wait::Idle;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

/// What an agent fails with; its `Display` is what people read.
pub type AgentError = Box<dyn std::error::Error + Send + Sync>;

/// A duty cycle.
pub trait Agent: Send {
    /// Its name, for errors.
    fn name(&self) -> &str;
    /// Does what there is to do, to a limit of the agent's own, without waiting; gives the number of things done, 0
    /// where there was nothing. An error ends the agent and asks all that share its [`Stop`] to stop.
    fn do_work(&mut self) -> Result<usize, AgentError>;
    /// Called once, on the agent's thread, after the last `do_work`, also after one that failed.
    fn on_close(&mut self) -> Result<(), AgentError> {
        Ok(())
    }
}

/// Several agents that take turns on one thread. The first error ends all of them.
pub struct Composite {
    name: String,
    agents: Vec<Box<dyn Agent>>,
}

impl Composite {
    /// Takes the agents into one, in the order of their turns.
    pub fn new(agents: Vec<Box<dyn Agent>>) -> Self {
        let name = agents.iter().map(|agent| agent.name()).collect::<Vec<_>>().join("+");
        Self { name, agents }
    }
}

impl fmt::Debug for Composite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Composite").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Agent for Composite {
    fn name(&self) -> &str {
        &self.name
    }

    fn do_work(&mut self) -> Result<usize, AgentError> {
        self.agents.iter_mut().try_fold(0, |done, agent| Ok(done + agent.do_work()?))
    }

    /// Closes all; the first error counts.
    fn on_close(&mut self) -> Result<(), AgentError> {
        self.agents.iter_mut().map(|agent| agent.on_close()).fold(Ok(()), Result::and)
    }
}

/// How an agent's duty cycle goes, readable from any thread while it runs.
#[derive(Debug, Default)]
pub struct DutyCycle {
    cycles: AtomicU64,
    work: AtomicU64,
    longest_ns: AtomicU64,
}

impl DutyCycle {
    // ORDERING: all Relaxed: one thread writes, and each number stands for itself.

    /// Calls of `do_work` so far.
    pub fn cycles(&self) -> u64 {
        self.cycles.load(Ordering::Relaxed)
    }
    /// Things done so far.
    pub fn work(&self) -> u64 {
        self.work.load(Ordering::Relaxed)
    }
    /// The longest call of `do_work`, in nanoseconds. A spinner's includes what the machine took from it.
    pub fn longest_ns(&self) -> u64 {
        self.longest_ns.load(Ordering::Relaxed)
    }

    fn add(&self, work: usize, ns: u64) {
        self.cycles.store(self.cycles() + 1, Ordering::Relaxed);
        if work > 0 {
            self.work.store(self.work() + work as u64, Ordering::Relaxed);
        }
        if ns > self.longest_ns() {
            self.longest_ns.store(ns, Ordering::Relaxed);
        }
    }
}

/// A failure of an agent.
#[derive(Debug)]
pub struct AgentFailure {
    /// The agent.
    pub agent: String,
    /// What it failed with.
    pub source: AgentError,
}

impl fmt::Display for AgentFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.source)
    }
}

impl std::error::Error for AgentFailure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.source)
    }
}

/// A running agent. Dropped, it is asked to stop and awaited.
#[derive(Debug)]
pub struct Running {
    thread: Option<JoinHandle<Result<(), AgentFailure>>>,
    duty_cycle: Arc<DutyCycle>,
    stop: Stop,
}

impl Running {
    /// How its duty cycle goes.
    pub fn duty_cycle(&self) -> &Arc<DutyCycle> {
        &self.duty_cycle
    }

    /// Whether it has ended.
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for its end, which its `Stop` or an error brings.
    ///
    /// # Errors
    /// What the agent failed with. A panic of the agent goes on in the caller.
    pub fn join(mut self) -> Result<(), AgentFailure> {
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Ok(()),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.stop.request();
            // Who wants to know how it ended calls `join`.
            let _ = thread.join();
        }
    }
}

/// Runs an agent on a thread of its own, pinned and waiting as `placement` says, until `stop` is requested or it
/// fails. The thread takes over the caller's pinning where the placement leaves the core open, so threads are to be
/// started from one that is not pinned.
///
/// # Errors
/// The system cannot start another thread.
pub fn start(placement: &Placement, stop: &Stop, agent: impl Agent + 'static) -> io::Result<Running> {
    let duty_cycle = Arc::new(DutyCycle::default());
    let runner = Runner {
        placement: placement.clone(),
        stop: stop.clone(),
        duty_cycle: Arc::clone(&duty_cycle),
        counter: quanta::Clock::new(),
    };
    let thread =
        std::thread::Builder::new().name(placement.role.to_owned()).spawn(move || runner.run(agent))?;
    Ok(Running { thread: Some(thread), duty_cycle, stop: stop.clone() })
}

struct Runner {
    placement: Placement,
    stop: Stop,
    duty_cycle: Arc<DutyCycle>,
    counter: quanta::Clock,
}

/// Asks the others to stop when a thread ends, whether it returns or panics.
struct StopAtEnd(Stop);

impl Drop for StopAtEnd {
    fn drop(&mut self) {
        self.0.request();
    }
}

impl Runner {
    fn run(self, mut agent: impl Agent) -> Result<(), AgentFailure> {
        let _others = StopAtEnd(self.stop.clone());
        if let Some(core) = self.placement.core.filter(|core| !plan::pin(*core)) {
            note(&format!(
                "cannot pin {}: core {core} is not available; it runs on any",
                self.placement.role
            ));
        }
        let worked = self.duty(&mut agent);
        let closed = agent.on_close();
        worked.and(closed).map_err(|source| AgentFailure { agent: agent.name().to_owned(), source })
    }

    fn duty(&self, agent: &mut impl Agent) -> Result<(), AgentError> {
        let mut idle = Idle::new(self.placement.wait);
        let mut begin = self.counter.raw();
        while !self.stop.requested() {
            let work = agent.do_work()?;
            let end = self.counter.raw();
            self.duty_cycle.add(work, self.counter.delta_as_nanos(begin, end));
            // A spinner's cycles follow each other; whoever left its core begins anew.
            begin = if idle.idle(work) { self.counter.raw() } else { end };
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait::WaitStrategy;
    use std::sync::Mutex;

    const ANY: Placement = Placement { role: "test", core: None, wait: WaitStrategy::Park };

    /// Counts down, then does as it is told; writes down what happened to it.
    struct Countdown {
        name: &'static str,
        left: usize,
        then: fn() -> Result<usize, AgentError>,
        log: Arc<Mutex<Vec<String>>>,
    }

    impl Agent for Countdown {
        fn name(&self) -> &str {
            self.name
        }
        fn do_work(&mut self) -> Result<usize, AgentError> {
            if self.left == 0 {
                return (self.then)();
            }
            self.left -= 1;
            Ok(1)
        }
        fn on_close(&mut self) -> Result<(), AgentError> {
            self.log.lock().unwrap().push(format!("{} closed with {} left", self.name, self.left));
            Ok(())
        }
    }

    fn countdown(
        name: &'static str,
        then: fn() -> Result<usize, AgentError>,
    ) -> (Countdown, Arc<Mutex<Vec<String>>>) {
        let log = Arc::default();
        (Countdown { name, left: 3, then, log: Arc::clone(&log) }, log)
    }

    #[test]
    fn it_works_until_it_is_stopped_and_is_closed() {
        let (agent, log) = countdown("a", || Ok(0));
        let stop = Stop::new();
        let running = start(&ANY, &stop, agent).unwrap();
        let duty_cycle = Arc::clone(running.duty_cycle());
        while duty_cycle.work() < 3 || duty_cycle.cycles() < 10 {
            std::thread::yield_now();
        }
        stop.request();
        running.join().unwrap();
        assert_eq!(*log.lock().unwrap(), ["a closed with 0 left"]);
        assert!(duty_cycle.work() == 3 && duty_cycle.longest_ns() > 0);
    }

    #[test]
    fn an_error_stops_the_others_and_is_reported_by_name() {
        let stop = Stop::new();
        let (other, log) = countdown("other", || Ok(0));
        let other = start(&ANY, &stop, other).unwrap();
        let (failing, failing_log) = countdown("failing", || Err("line is down: A; check the cable".into()));
        let error = start(&ANY, &stop, failing).unwrap().join().unwrap_err();
        assert_eq!(
            (error.agent.as_str(), error.to_string().as_str()),
            ("failing", "line is down: A; check the cable")
        );
        other.join().unwrap();
        assert_eq!((log.lock().unwrap().len(), failing_log.lock().unwrap().len()), (1, 1));
    }

    #[test]
    fn agents_on_one_thread_take_turns_and_are_all_closed() {
        let ((first, first_log), (second, second_log)) =
            (countdown("first", || Ok(0)), countdown("second", || Ok(0)));
        let composite = Composite::new(vec![Box::new(first), Box::new(second)]);
        assert_eq!(composite.name(), "first+second");
        let stop = Stop::new();
        let running = start(&ANY, &stop, composite).unwrap();
        while running.duty_cycle().work() < 6 {
            std::thread::yield_now();
        }
        drop(running);
        assert!(stop.requested());
        assert_eq!((first_log.lock().unwrap().len(), second_log.lock().unwrap().len()), (1, 1));
    }

    #[test]
    fn a_panic_stops_the_others_and_goes_on_in_the_caller() {
        let stop = Stop::new();
        let (agent, _) = countdown("panicking", || panic!("a bug"));
        let running = start(&ANY, &stop, agent).unwrap();
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| running.join())).is_err());
        assert!(stop.requested());
    }
}
