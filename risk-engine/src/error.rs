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
            Self::Skipped { .. }
            | Self::Retired { .. }
            | Self::Regressed { .. }
            | Self::Merge(_)
            | Self::Diverged { .. } => true,
        }
    }
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bus(source) => source.fmt(f),
            Self::Input { topic, source } => write!(f, "topic '{topic}': {source}"),
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
            Self::Merge(source) => source.fmt(f),
            Self::Diverged { sequence, what } => {
                write!(
                    f,
                    "divergent: message {sequence} of 'risk': {what}; run `replay state`, which says how far state and journal agree"
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
