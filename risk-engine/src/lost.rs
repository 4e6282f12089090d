//! Messages that a topic had and lost.

use bus::ReadError;
use bus::program::counted;

use crate::RISK;
use crate::error::EngineError;

/// Lost messages, of one range or of several that lie one behind the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lost {
    /// The first of them, and the sequence behind the last.
    sequences: (u64, u64),
    count: u64,
    /// What the system said of the first that it refuses.
    refused: Option<String>,
}

impl Lost {
    /// What a reader says to be lost, behind which it goes on; else its error.
    pub(crate) fn of(error: ReadError) -> Result<Self, ReadError> {
        match error {
            ReadError::Damage { sequences: (first, next), refused, .. } => {
                Ok(Self { sequences: (first, next.max(first)), count: next.saturating_sub(first), refused })
            }
            error => Err(error),
        }
    }

    /// The sequence behind the last of them.
    pub(crate) fn next(&self) -> u64 {
        self.sequences.1
    }

    /// Whether an operator may have agreed to do without them: what the system refuses may be whole behind that.
    pub(crate) fn is_for_good(&self) -> bool {
        self.refused.is_none()
    }

    pub(crate) fn holds(&self, sequence: u64) -> bool {
        (self.sequences.0..self.sequences.1).contains(&sequence)
    }

    /// Adds what is lost behind them.
    pub(crate) fn join(&mut self, other: Self) {
        self.sequences.1 = self.sequences.1.max(other.sequences.1);
        self.count = self.count.saturating_add(other.count);
        self.refused = self.refused.take().or(other.refused);
    }

    pub(crate) fn error(&self, topic: &'static str) -> EngineError {
        EngineError::Lost { topic, sequences: self.sequences, refused: self.refused.clone() }
    }

    /// What it means that they were gone over, and what to do.
    pub(crate) fn told(&self, topic: &str) -> String {
        let (count, (first, next)) = (counted(self.count, "message"), self.sequences);
        let what = format!("{count} of '{topic}' from {first} to before {next}");
        match topic {
            RISK => format!(
                "lost and concluded anew: {what}; limits and fees that were set in them are not in force: give them with \
                 --config"
            ),
            _ => format!(
                "lost and not applied: {what}; books and positions are without them: reconcile with the venue, and see \
                 `replay verify`"
            ),
        }
    }
}
