//! A message that is asked for and is not there.

use std::fmt;

/// A message beyond the ends of its topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotThere {
    /// The topic.
    pub topic: String,
    /// The sequence that was asked for.
    pub sequence: u64,
    /// Sequences that are there: the first, and the one behind the last.
    pub range: (u64, u64),
}

impl fmt::Display for NotThere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, sequence, range: (first, end) } = self;
        if first == end {
            return write!(
                f,
                "no message {sequence}: '{topic}' holds none; publish some or name another topic"
            );
        }
        write!(
            f,
            "no message {sequence}: '{topic}' holds sequences {first} to before {end}; name one of these"
        )
    }
}

impl std::error::Error for NotThere {}
