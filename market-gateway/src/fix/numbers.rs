//! The numbers of our own messages, reserved in durable blocks so that none is used twice, whatever crashes.

use std::fmt;

use bus::event::Time;

/// What is known durably of our numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reserved {
    /// First number that was never reserved: a new life begins here, and the numbers it jumps over are answered with a
    /// gap fill.
    pub next: u64,
    /// When both sides last began again at 1 (ResetSeqNumFlag); 0 for never. Executions received before then carry
    /// numbers of an earlier count.
    pub restarted: Time,
}

impl Default for Reserved {
    fn default() -> Self {
        Self { next: 1, restarted: Time(0) }
    }
}

/// The reservation could not be made durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReserveError(pub String);

impl fmt::Display for ReserveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "outbound numbers not reserved: {}", self.0)
    }
}

impl std::error::Error for ReserveError {}

/// Where reservations are kept.
pub trait Numbers {
    /// The latest reservation.
    fn reserved(&self) -> Reserved;

    /// Keeps `reserved` from now on, even where its next number is lower than before. Returns once it is durable.
    ///
    /// # Errors
    /// It is not durable; the session ends rather than use the numbers.
    fn reserve(&mut self, reserved: Reserved) -> Result<(), ReserveError>;
}

/// Numbers that are forgotten with the process, for peers that are not there to stay.
impl Numbers for Reserved {
    fn reserved(&self) -> Reserved {
        *self
    }

    fn reserve(&mut self, reserved: Reserved) -> Result<(), ReserveError> {
        *self = reserved;
        Ok(())
    }
}

/// Hands out one number after the other from reserved blocks.
#[derive(Debug)]
pub(crate) struct Outbound<N> {
    store: N,
    next: u64,
    reserved: Reserved,
}

impl<N: Numbers> Outbound<N> {
    /// Numbers a block: at one heartbeat in 30 seconds it lasts a trading day.
    pub(crate) const BLOCK: u64 = 1_024;

    pub(crate) fn new(store: N) -> Self {
        let reserved = store.reserved();
        Self { store, next: reserved.next, reserved }
    }

    /// The next number, which is now used.
    pub(crate) fn take(&mut self) -> Result<u64, ReserveError> {
        if self.next >= self.reserved.next {
            self.reserve(Reserved { next: self.next.saturating_add(Self::BLOCK), ..self.reserved })?;
        }
        let number = self.next;
        self.next += 1;
        Ok(number)
    }

    /// The number that [`take`](Self::take) gives next.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Begins again at 1.
    pub(crate) fn restart(&mut self, now: Time) -> Result<(), ReserveError> {
        self.reserve(Reserved { next: 1 + Self::BLOCK, restarted: now })?;
        self.next = 1;
        Ok(())
    }

    fn reserve(&mut self, reserved: Reserved) -> Result<(), ReserveError> {
        self.store.reserve(reserved)?;
        self.reserved = reserved;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_life_never_repeats_a_number() {
        let mut store = Reserved::default();
        let mut last = 0;
        for life in 0..3 {
            let mut numbers = Outbound::new(store);
            for _ in 0..=life * Outbound::<Reserved>::BLOCK {
                let number = numbers.take().unwrap();
                assert!(number > last);
                last = number;
            }
            store = numbers.store;
        }
    }

    #[test]
    fn a_restart_is_remembered() {
        let mut numbers = Outbound::new(Reserved { next: 5_000, restarted: Time(0) });
        numbers.restart(Time(9)).unwrap();
        assert_eq!(numbers.take(), Ok(1));
        assert_eq!(numbers.store, Reserved { next: 1_025, restarted: Time(9) });
    }
}
