//! What ends an engine.

use std::fmt;

use bus::{BusError, PublishError, ReadError};
use engine::MergeError;

/// Why an engine could not go on.
#[derive(Debug)]
pub enum EngineError {
    /// A topic cannot be opened.
    Bus(BusError),
    /// An input is damaged or cannot be read.
    Input {
        /// The input.
        topic: &'static str,
        /// What its reader said.
        source: ReadError,
    },
    /// Messages are lost that the state follows from, or what it concluded.
    Lost {
        /// The topic.
        topic: &'static str,
        /// First lost sequence, and the one behind the last; equal where no evidence says that a message was lost.
        sequences: (u64, u64),
        /// What the system said, where it refuses them.
        refused: Option<String>,
    },
    /// An input is not there, though the journal follows from its messages.
    Gone {
        /// The input.
        topic: &'static str,
        /// The first message that the state needs of it.
        next: u64,
    },
    /// An input gave another message than the next one.
    Skipped {
        /// The input.
        topic: &'static str,
        /// The next message.
        expected: u64,
        /// The message that came.
        found: u64,
    },
    /// Retention removed messages that the state lacks.
    Retired {
        /// The input.
        topic: &'static str,
        /// The message that the state needs next.
        next: u64,
        /// Oldest message that is left.
        first: u64,
    },
    /// An input lost what was applied already. The engine starts again from a snapshot by itself.
    Regressed {
        /// The input.
        topic: &'static str,
        /// Its next message.
        to: u64,
    },
    /// The topic `risk` cannot be read.
    Journal(ReadError),
    /// The journalled order contradicts itself or its inputs.
    Merge(MergeError),
    /// The journalled effects are not those of the journalled messages.
    Diverged {
        /// Sequence in `risk`.
        sequence: u64,
        /// The difference.
        what: &'static str,
    },
    /// The topic `risk` takes nothing more.
    Publish(PublishError),
    /// A snapshot of messages that are lost cannot be removed.
    Stale(std::io::Error),
    /// The system gives no thread.
    Thread(std::io::Error),
}

impl EngineError {
    /// Whether data is lost, damaged or divergent; else the engine only could not run.
    pub fn is_fault(&self) -> bool {
        match self {
            Self::Bus(_) | Self::Publish(_) | Self::Stale(_) | Self::Thread(_) => false,
            Self::Input { source, .. } | Self::Journal(source) => !matches!(source, ReadError::Failed(_)),
            Self::Lost { .. }
            | Self::Gone { .. }
            | Self::Skipped { .. }
            | Self::Retired { .. }
            | Self::Regressed { .. }
            | Self::Merge(_)
            | Self::Diverged { .. } => true,
        }
    }

    /// Whether the end of the topic `risk` does not fit its inputs, or what is before it, so that an operator may have it
    /// derived anew. What the system refuses may fit.
    pub(crate) fn is_misfit(&self) -> bool {
        matches!(self, Self::Lost { refused: None, .. } | Self::Merge(_) | Self::Diverged { .. })
    }
}

/// The way on where what is lost, or does not fit, is not to be had any more.
const ANEW: &str = "`risk-engine run --derive-anew` goes on without";

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bus(source) => source.fmt(f),
            Self::Input { topic, source } => write!(f, "topic '{topic}': {source}"),
            Self::Lost { topic, sequences: (first, next), refused } => {
                if first == next {
                    write!(f, "damage: topic '{topic}': before message {next}")?;
                } else {
                    write!(
                        f,
                        "messages are lost: topic '{topic}': {first} to before {next}, which are needed here"
                    )?;
                }
                if let Some(why) = refused {
                    return write!(
                        f,
                        ": {why}; mend that and start again; what cannot be mended is to be restored from a copy; where there \
                         is none, move it away: {ANEW} then"
                    );
                }
                write!(
                    f,
                    "; restore them from a copy; where there is none {ANEW}, and `replay verify` goes on telling all \
                     that is lost"
                )
            }
            Self::Gone { topic, next } => write!(
                f,
                "the journal is lost: topic '{topic}' is not there, and 'risk' follows from its messages from {next} on; restore \
                 it from a copy, else start its publisher, which begins it anew, and then this engine, which sets aside what \
                 followed from the lost ones"
            ),
            Self::Skipped { topic, expected, found } => {
                write!(
                    f,
                    "messages are missing: topic '{topic}' goes on at {found}, not at {expected}; run `replay verify`"
                )
            }
            Self::Retired { topic, next, first } => write!(
                f,
                "messages were removed: topic '{topic}' begins at {first} and the state needs {next}; put back a \
                 snapshot that reaches it, or begin with an empty bus directory"
            ),
            Self::Regressed { topic, to } => {
                write!(f, "regressed: topic '{topic}' went back to {to}; start the engine again")
            }
            Self::Journal(source) => write!(f, "topic 'risk': {source}"),
            Self::Merge(source) => write!(f, "{source}; {ANEW} what does not fit"),
            Self::Diverged { sequence, what } => {
                write!(
                    f,
                    "divergent: message {sequence} of 'risk': {what}; run `replay state`, which says how far state and \
                     journal agree; {ANEW} what does not fit"
                )
            }
            Self::Publish(source) => write!(f, "topic 'risk': {source}"),
            Self::Stale(source) => {
                write!(
                    f,
                    "cannot remove a stale snapshot: risk/snapshots: {source}; remove it and start again"
                )
            }
            Self::Thread(source) => write!(f, "cannot start a thread: {source}; allow more of them"),
        }
    }
}

impl std::error::Error for EngineError {}

impl From<BusError> for EngineError {
    fn from(source: BusError) -> Self {
        Self::Bus(source)
    }
}

impl From<MergeError> for EngineError {
    fn from(source: MergeError) -> Self {
        Self::Merge(source)
    }
}

impl From<PublishError> for EngineError {
    fn from(source: PublishError) -> Self {
        Self::Publish(source)
    }
}
