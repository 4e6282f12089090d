//! A message that is asked for and is not there.

use std::fmt;

use crate::Damage;

/// A message that a topic does not give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotThere {
    /// The topic.
    pub topic: String,
    /// The sequence that was asked for.
    pub sequence: u64,
    /// Sequences that are there: the first, and the one behind the last.
    pub range: (u64, u64),
    /// Why it is not there.
    pub why: WhyNot,
}

/// Why a message is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhyNot {
    /// The topic has not come so far.
    NotYet,
    /// Retention has removed it.
    Removed,
    /// It is lost or damaged, or nothing proves that it is not.
    Lost(Damage),
}

impl fmt::Display for NotThere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, sequence, range: (first, end), why } = self;
        match why {
            WhyNot::Lost(damage) => {
                write!(
                    f,
                    "no message {sequence} of '{topic}': {damage}; restore what is lost from a copy or name another message"
                )
            }
            WhyNot::Removed => write!(
                f,
                "no message {sequence} any more: retention removed it; '{topic}' holds sequences {first} to before {end}; \
                 name one of these"
            ),
            WhyNot::NotYet if first == end => {
                write!(
                    f,
                    "no message {sequence} yet: '{topic}' holds none; publish some or name another topic"
                )
            }
            WhyNot::NotYet => write!(
                f,
                "no message {sequence} yet: '{topic}' holds sequences {first} to before {end}; name one of these"
            ),
        }
    }
}

impl std::error::Error for NotThere {}
