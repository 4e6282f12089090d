//! What an execution leads to.

use bus::event::Cause;
use bus::event::risk::{LimitAlert, PositionUpdate};

/// An event for the topic `risk`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// A position has changed.
    Position(PositionUpdate),
    /// A limit is exceeded, or kept again.
    Limit(LimitAlert),
}

/// The most effects that one message has: the position, and its limit. A configuration may have more, and gives them by
/// [`settle`](crate::State::settle).
pub const MAX_EFFECTS: usize = 2;

/// The effects of one message, in order. Kept by the caller and filled again for each message; never allocates.
#[derive(Debug, Clone)]
pub struct Effects {
    effects: [Option<Effect>; MAX_EFFECTS],
    count: u16,
}

impl Effects {
    /// None.
    pub fn new() -> Self {
        Self { effects: [None; MAX_EFFECTS], count: 0 }
    }

    /// Number of effects.
    pub fn len(&self) -> usize {
        usize::from(self.count)
    }

    /// Whether the message had none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The effects, in the order of `cause.index`.
    pub fn iter(&self) -> impl Iterator<Item = &Effect> {
        self.effects[..self.len()].iter().flatten()
    }

    pub(crate) fn clear(&mut self) {
        self.count = 0;
    }

    /// Adds the effect that `make` gives for `cause`, numbered in the order of calls.
    pub(crate) fn push(&mut self, cause: Cause, make: impl FnOnce(Cause) -> Effect) {
        self.effects[self.len()] = Some(make(Cause { index: self.count, ..cause }));
        self.count += 1;
    }
}

impl Default for Effects {
    fn default() -> Self {
        Self::new()
    }
}
