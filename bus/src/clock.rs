//! The clock: the processor's time stamp counter, mapped to nanoseconds since the Unix epoch.
//!
//! Reading takes the counter (about 10 ns) where the system's clock would take a call (about 45 ns). One mapping
//! serves all threads of the process. [`Clock::resync`], called now and then by a thread that is not hot, compares it
//! with the system's clock and bends its rate so that the difference goes away within about a second; time goes
//! faster or slower then, never back. Where the processor has no steady counter, quanta gives the system's monotonic
//! clock in its place and all else stays the same.
//!
//! Programs that replay or simulate do not read this clock: they pass times in.

use crate::event::Time;
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Mutex, OnceLock, TryLockError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Shortest time between two comparisons with the system's clock.
const INTERVAL_NS: u64 = 1_000_000_000;
/// Strongest bend of the rate: 1 ms a second.
const BEND: u64 = 1_000;
/// The system's clock was set forward, or the machine slept, if it is ahead by more than this: the clock follows at
/// once. Where it was set back, the clock goes slower until it is caught up with.
const STEP_NS: u64 = 10_000_000;
/// 1 in the fixed-point form of rates, nanoseconds a tick × 2^32.
const ONE_SHIFT: u32 = 32;

/// Tells the time. A clone costs nothing; each thread has its own.
#[derive(Debug, Clone)]
pub struct Clock {
    shared: &'static Shared,
    /// What was told last: it is never gone behind.
    last: Cell<u64>,
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock {
    /// The process's clock. The first call measures the counter's rate, which takes up to 0.2 s.
    pub fn new() -> Self {
        static SHARED: OnceLock<Shared> = OnceLock::new();
        Self { shared: SHARED.get_or_init(Shared::new), last: Cell::new(0) }
    }

    /// Now. Never earlier than what this clock has told before; clocks of other threads agree to within the bend of
    /// the rate.
    #[inline]
    pub fn now(&self) -> Time {
        let now = self.shared.now().max(self.last.get());
        self.last.set(now);
        Time(now)
    }

    /// Compares with the system's clock if that was not done within the last second. To be called often, by threads
    /// to which some microseconds do not matter; at most one of them does the work.
    pub fn resync(&self) {
        let mut corrector = match self.shared.corrector.try_lock() {
            Ok(corrector) => corrector,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let ticks = self.shared.counter.raw();
        if corrector.is_due(ticks) {
            let reading = Reading::take(&self.shared.counter);
            self.shared.mapping.store(corrector.correct(reading));
        }
    }
}

#[derive(Debug)]
struct Shared {
    counter: quanta::Clock,
    mapping: SharedMapping,
    corrector: Mutex<Corrector>,
}

impl Shared {
    fn new() -> Self {
        let counter = quanta::Clock::new();
        let rate = counter.delta_as_nanos(0, 1 << ONE_SHIFT);
        let corrector = Corrector::new(rate, Reading::take(&counter));
        Self { counter, mapping: SharedMapping::new(corrector.mapping), corrector: Mutex::new(corrector) }
    }

    #[inline]
    fn now(&self) -> u64 {
        self.mapping.time(|| self.counter.raw())
    }
}

/// What the counter and the system's clock said at the same instant.
#[derive(Debug, Clone, Copy)]
struct Reading {
    ticks: u64,
    time: u64,
}

impl Reading {
    /// The tightest of five tries: whoever was interrupted between the two is not believed.
    fn take(counter: &quanta::Clock) -> Self {
        let attempt = || {
            let before = counter.raw();
            let time =
                SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
            let width = counter.raw().saturating_sub(before);
            (width, Self { ticks: before + width / 2, time })
        };
        let attempts = [(); 5].map(|()| attempt());
        attempts.into_iter().min_by_key(|(width, _)| *width).map_or(attempts[0].1, |(_, reading)| reading)
    }
}

/// A straight line from ticks to time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mapping {
    ticks: u64,
    time: u64,
    /// Nanoseconds a tick × 2^32.
    rate: u64,
}

impl Mapping {
    #[inline]
    fn time(&self, ticks: u64) -> u64 {
        let since = ticks.saturating_sub(self.ticks);
        self.time.saturating_add(((u128::from(since) * u128::from(self.rate)) >> ONE_SHIFT) as u64)
    }
}

/// A [`Mapping`] that one thread changes and others read: a sequence lock, as Boehm describes it ("Can seqlocks get
/// along with programming language memory models?", 2012).
#[derive(Debug)]
struct SharedMapping {
    /// Odd while the rest changes.
    version: AtomicU64,
    ticks: AtomicU64,
    time: AtomicU64,
    rate: AtomicU64,
}

impl SharedMapping {
    fn new(mapping: Mapping) -> Self {
        let Mapping { ticks, time, rate } = mapping;
        Self { version: AtomicU64::new(0), ticks: ticks.into(), time: time.into(), rate: rate.into() }
    }

    /// Replaces the mapping; only whoever holds the corrector may.
    fn store(&self, mapping: Mapping) {
        // ORDERING: Relaxed: only this thread writes the version, the lock on the corrector orders it after the last.
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version.wrapping_add(1), Ordering::Relaxed);
        // ORDERING: this fence pairs with the readers' fence: who sees a new value sees the odd version too.
        fence(Ordering::Release);
        self.ticks.store(mapping.ticks, Ordering::Relaxed);
        self.time.store(mapping.time, Ordering::Relaxed);
        self.rate.store(mapping.rate, Ordering::Relaxed);
        // ORDERING: Release pairs with the readers' Acquire: who sees this version sees all three values.
        self.version.store(version.wrapping_add(2), Ordering::Release);
    }

    /// The time of the ticks that `read` gives, by the mapping that is in force at that instant.
    #[inline]
    fn time(&self, read: impl Fn() -> u64) -> u64 {
        loop {
            // ORDERING: Acquire pairs with the Release at the end of `store`.
            let version = self.version.load(Ordering::Acquire);
            let mapping = Mapping {
                ticks: self.ticks.load(Ordering::Relaxed),
                time: self.time.load(Ordering::Relaxed),
                rate: self.rate.load(Ordering::Relaxed),
            };
            let time = mapping.time(read());
            // ORDERING: this fence pairs with the writer's; a changed version tells that the values may be torn.
            fence(Ordering::Acquire);
            if version.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == version {
                return time;
            }
            std::hint::spin_loop();
        }
    }
}

/// Bends the rate towards the system's clock.
#[derive(Debug)]
struct Corrector {
    /// The rate that quanta measured; what is measured later is believed within one bend of it.
    nominal: u64,
    last: Reading,
    mapping: Mapping,
}

impl Corrector {
    fn new(nominal: u64, first: Reading) -> Self {
        let mapping = Mapping { ticks: first.ticks, time: first.time, rate: nominal };
        Self { nominal, last: first, mapping }
    }

    fn is_due(&self, ticks: u64) -> bool {
        Mapping { time: 0, ..self.mapping }.time(ticks) >= INTERVAL_NS
    }

    /// The mapping from the instant of `reading` on: it begins at the time told so far, or at the system's if that is
    /// a step ahead, and its rate is the measured one plus what makes the difference vanish until the next reading,
    /// which is expected as late after this one as this one came after the last.
    fn correct(&mut self, reading: Reading) -> Mapping {
        let told = self.mapping.time(reading.ticks);
        let bend = self.nominal / BEND;
        let (low, high) = (self.nominal - bend, self.nominal + bend);
        let measured = self.measured(reading).map_or(self.nominal, |rate| rate.clamp(low, high));
        let is_step = reading.time > told.saturating_add(STEP_NS);
        let time = if is_step { reading.time } else { told };
        let ahead = i128::from(reading.time) - i128::from(time);
        let interval = told.saturating_sub(self.mapping.time).max(INTERVAL_NS);
        let correction = ahead * i128::from(measured) / i128::from(interval);
        let rate = (i128::from(measured) + correction.clamp(-i128::from(bend), i128::from(bend))) as u64;
        self.last = reading;
        self.mapping = Mapping { ticks: reading.ticks, time, rate };
        self.mapping
    }

    /// The rate since the last reading, by the system's clock; `None` if that did not go forward.
    fn measured(&self, reading: Reading) -> Option<u64> {
        let ticks = reading.ticks.checked_sub(self.last.ticks).filter(|ticks| *ticks > 0)?;
        let time = u128::from(reading.time.checked_sub(self.last.time)?);
        u64::try_from((time << ONE_SHIFT) / u128::from(ticks)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A counter of 2 GHz.
    const NOMINAL: u64 = 1 << 31;
    const SECOND_TICKS: u64 = 2_000_000_000;
    const START: Reading = Reading { ticks: 77, time: 1_700_000_000_000_000_000 };

    #[test]
    fn it_tells_the_systems_time_and_never_goes_back() {
        let clock = Clock::new();
        let system = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
        let (before, mut told, after) = (system(), clock.now(), system());
        assert!(told.0 + STEP_NS >= before && told.0 <= after + STEP_NS, "{before} {told:?} {after}");
        for _ in 0..10_000 {
            clock.resync();
            let now = clock.clone().now();
            assert!(now >= told);
            told = now;
        }
    }

    #[test]
    fn readers_never_see_half_a_mapping() {
        let mapping = |n: u64| Mapping { ticks: n, time: n, rate: 1 << ONE_SHIFT };
        let shared = SharedMapping::new(mapping(0));
        std::thread::scope(|scope| {
            scope.spawn(|| (0..20_000).for_each(|n| shared.store(mapping(n * 0x1_0001))));
            for _ in 0..20_000 {
                assert_eq!(shared.time(|| 1 << 40), 1 << 40);
            }
        });
    }

    #[test]
    fn a_wrong_rate_is_caught_within_seconds() {
        // The counter really runs 30 ppm faster than was measured at the start.
        let mut corrector = Corrector::new(NOMINAL, START);
        let mut errors = Vec::new();
        for second in 1..=10_u64 {
            let ticks = START.ticks + second * (SECOND_TICKS + 60_000);
            let reading = Reading { ticks, time: START.time + second * 1_000_000_000 };
            errors.push(corrector.mapping.time(ticks).abs_diff(reading.time));
            corrector.correct(reading);
        }
        assert!(errors[0] > 29_000 && errors[3..].iter().all(|error| *error < 100), "{errors:?}");
    }

    #[test]
    fn a_clock_set_forward_is_followed_and_one_set_back_is_awaited() {
        let reading = Reading { ticks: START.ticks + SECOND_TICKS, time: START.time + 3_600_000_000_000 };
        assert_eq!(Corrector::new(NOMINAL, START).correct(reading).time, reading.time);
        let reading = Reading { ticks: START.ticks + SECOND_TICKS, time: START.time - 3_600_000_000_000 };
        let mapping = Corrector::new(NOMINAL, START).correct(reading);
        assert_eq!(mapping.time, START.time + 1_000_000_000);
        assert_eq!(mapping.rate, NOMINAL - NOMINAL / BEND);
    }

    proptest! {
        #[test]
        fn whatever_the_system_says_time_goes_on(
            readings in proptest::collection::vec((1..4 * SECOND_TICKS, any::<u64>()), 1..20)
        ) {
            let mut corrector = Corrector::new(NOMINAL, START);
            let mut ticks = START.ticks;
            let mut told = START.time;
            for (step, time) in readings {
                ticks += step;
                // The system's clock is right, or says anything.
                let time = if time % 2 == 0 { START.time + (ticks - START.ticks) / 2 } else { time / 4 };
                let before = corrector.mapping.time(ticks);
                prop_assert!(before >= told);
                corrector.correct(Reading { ticks, time });
                told = corrector.mapping.time(ticks);
                prop_assert!(told >= before);
                prop_assert!(corrector.mapping.rate >= NOMINAL - 2 * NOMINAL / BEND);
                prop_assert!(corrector.mapping.rate <= NOMINAL + 2 * NOMINAL / BEND);
            }
        }
    }
}
