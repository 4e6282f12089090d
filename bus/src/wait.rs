//! What a thread does while there is nothing to do.

use std::time::Duration;

/// How an idle thread waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum WaitStrategy {
    /// Never gives up its core: nanoseconds to react, for a thread with a core of its own. Beside a thread on the
    /// same core, or beside the disk's completions there, it costs the other milliseconds.
    Spin,
    /// Spins 64 times, then offers its core to others at each turn: for threads that share cores.
    Yield,
    /// Spins and yields, then naps longer and longer, to a millisecond: for whatever is not hot.
    Park,
}

impl std::fmt::Display for WaitStrategy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Spin => "spin",
            Self::Yield => "yield",
            Self::Park => "park",
        })
    }
}

/// Turns of spinning before anything else.
const SPINS: u32 = 64;
/// Turns of yielding before a nap.
const YIELDS: u32 = 64;
/// The first nap; each further one is twice as long.
const SHORTEST_NAP: Duration = Duration::from_micros(50);
/// The longest nap.
const LONGEST_NAP: Duration = Duration::from_millis(1);

/// The state of a thread's waiting.
#[derive(Debug)]
pub struct Idle {
    strategy: WaitStrategy,
    turns: u32,
    nap: Duration,
}

impl Idle {
    /// Not idle yet.
    pub fn new(strategy: WaitStrategy) -> Self {
        Self { strategy, turns: 0, nap: SHORTEST_NAP }
    }

    /// To be called after each round with the number of things done in it: waits a little if that is 0.
    /// Says whether the thread may have left its core.
    pub fn idle(&mut self, work_count: usize) -> bool {
        if work_count > 0 {
            self.turns = 0;
            self.nap = SHORTEST_NAP;
            return false;
        }
        if self.strategy == WaitStrategy::Spin || self.turns < SPINS {
            self.turns = self.turns.saturating_add(1);
            std::hint::spin_loop();
            return false;
        }
        if self.strategy == WaitStrategy::Yield || self.turns < SPINS + YIELDS {
            self.turns = self.turns.saturating_add(1);
            std::thread::yield_now();
            return true;
        }
        std::thread::sleep(self.nap);
        self.nap = (self.nap * 2).min(LONGEST_NAP);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves_core(strategy: WaitStrategy, rounds: u32) -> u32 {
        let mut idle = Idle::new(strategy);
        (0..rounds).map(|_| u32::from(idle.idle(0))).sum()
    }

    #[test]
    fn a_spinner_never_leaves_its_core() {
        assert_eq!(leaves_core(WaitStrategy::Spin, 1_000), 0);
    }

    #[test]
    fn others_leave_it_after_some_turns() {
        assert_eq!(leaves_core(WaitStrategy::Yield, SPINS + 10), 10);
        assert_eq!(leaves_core(WaitStrategy::Park, SPINS + YIELDS + 3), YIELDS + 3);
    }

    #[test]
    fn naps_grow_to_a_limit_and_work_begins_anew() {
        let mut idle = Idle::new(WaitStrategy::Park);
        (0..SPINS + YIELDS + 8).for_each(|_| {
            idle.idle(0);
        });
        assert_eq!(idle.nap, LONGEST_NAP);
        assert!(!idle.idle(1) && !idle.idle(0));
        assert_eq!((idle.turns, idle.nap), (1, SHORTEST_NAP));
    }
}
