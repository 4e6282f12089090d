//! Every message of the session so far: the recent ones kept, the older ones made again, a block at a time.

use super::market::{BLOCK, Encoded, Market};

/// Messages kept for the lines and for most re-requests.
const RECENT: usize = 1 << 16;

/// The session so far.
pub(super) struct History {
    market: Market,
    recent: Vec<Encoded>,
    /// Number of the oldest message in `recent`.
    oldest: u64,
    past: Past,
}

/// The beginning of the block that was asked for last.
struct Past {
    market: Market,
    /// Number of the first message in `made`.
    first: u64,
    made: Vec<Encoded>,
}

impl Past {
    /// Message `number`, or `None` where more than `effort` would have to be made for it.
    fn get(&mut self, number: u64, effort: &mut u64) -> Option<Encoded> {
        let first = (number - 1) / BLOCK * BLOCK + 1;
        let made = if first == self.first { self.made.len() as u64 } else { 0 };
        let missing = (number + 1).saturating_sub(first + made);
        *effort = effort.checked_sub(missing)?;
        if first != self.first {
            self.market.seek(first);
            self.first = first;
            self.made.clear();
        }
        self.made.extend((0..missing).map(|_| self.market.make()));
        self.made.get((number - first) as usize).copied()
    }
}

impl History {
    /// A session of which `made` messages exist already.
    pub(super) fn new(seed: u64, session: u32, made: u64) -> Self {
        let past = Past { market: Market::new(seed, session), first: 1, made: Vec::new() };
        let mut market = past.market.clone();
        market.seek(made + 1);
        Self { market, recent: Vec::with_capacity(RECENT), oldest: made + 1, past }
    }

    /// Number of the newest message, 0 before the first.
    pub(super) fn made(&self) -> u64 {
        self.market.next() - 1
    }

    /// Makes the next message.
    pub(super) fn make(&mut self) -> Encoded {
        let message = self.market.make();
        if self.recent.len() < RECENT {
            self.recent.push(message);
        } else {
            let slot = slot(self.oldest, self.made());
            self.recent[slot] = message;
        }
        message
    }

    /// Message `number`, or `None` if it does not exist yet or lies so far back that more than `effort` messages would
    /// have to be made again; what was made again is taken off `effort`.
    pub(super) fn get(&mut self, number: u64, effort: &mut u64) -> Option<Encoded> {
        if number == 0 || number > self.made() {
            return None;
        }
        if number >= self.oldest && number + RECENT as u64 > self.made() {
            return Some(self.recent[slot(self.oldest, number)]);
        }
        self.past.get(number, effort)
    }

    /// The effort that reaches any message.
    pub(super) const ANY: u64 = 2 * BLOCK;
}

/// Where a message is kept: `recent` began with `oldest` and is overwritten in turn.
fn slot(oldest: u64, number: u64) -> usize {
    ((number - oldest) % RECENT as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_and_remade_messages_are_the_ones_that_were_made() {
        let made: Vec<_> = {
            let mut market = Market::new(3, 1);
            (0..2 * BLOCK + 500).map(|_| market.make()).collect()
        };
        for resumed in [0, 1, 70_000, BLOCK - 1, BLOCK, BLOCK + 5] {
            let mut history = History::new(3, 1, resumed);
            for (number, message) in made.iter().enumerate().skip(resumed as usize).take(RECENT + 300) {
                assert_eq!(&history.make(), message, "message {}", number + 1);
            }
            for number in
                [1, 2, resumed, resumed + 1, resumed + 301, history.made() - RECENT as u64, history.made()]
            {
                let want = number.checked_sub(1).map(|index| made[index as usize]);
                assert_eq!(history.get(number, &mut History::ANY.clone()), want, "message {number}");
            }
            assert_eq!(history.get(history.made() + 1, &mut History::ANY.clone()), None);
        }
    }

    #[test]
    fn effort_is_bounded_and_what_was_reached_is_cheap_in_any_order() {
        let mut history = History::new(3, 1, 2 * BLOCK);
        assert_eq!(history.get(BLOCK - 10, &mut 1_000), None);
        let mut effort = History::ANY;
        assert!(history.get(BLOCK - 10, &mut effort).is_some());
        assert_eq!(effort, History::ANY - (BLOCK - 10));
        let mut none = 0;
        assert!((1..=BLOCK - 10).rev().step_by(100).all(|number| history.get(number, &mut none).is_some()));
        assert!((BLOCK - 9..BLOCK + 100).all(|number| history.get(number, &mut 1).is_some()));
    }
}
