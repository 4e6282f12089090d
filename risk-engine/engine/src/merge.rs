//! The order in which the engine took the messages of its inputs: recorded as runs, and taken again from them.
//!
//! Live, the order is chance; it decides what an alert or a valuation saw. So it is journalled: as runs of
//! consecutive messages of one input, in the same batch as the effects that follow, before them. Where nothing was
//! recorded, beyond the last batch of a crashed engine or in journals that no engine has read, a replay takes one
//! canonical order: by publish time, then input, then sequence.

use std::collections::VecDeque;
use std::fmt;

use bus::event::risk::MergeRun;
use bus::event::{Cause, Time};

/// Inputs of the topic `risk`.
pub const INPUTS: usize = 2;
/// The input `market-data`, as [`Cause::input`] counts.
pub const MARKET_DATA: u16 = 0;
/// The input `trades`.
pub const TRADES: u16 = 1;

/// Runs that a recorder gathers before it asks to be emptied.
const GATHERED_RUNS: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    input: u16,
    epoch: u32,
    first: u64,
    count: u64,
}

impl Run {
    /// The sequence after its last message.
    fn end(self) -> u64 {
        self.first + self.count
    }

    fn event(self) -> MergeRun {
        let cause = Cause { sequence: self.end() - 1, epoch: self.epoch, input: self.input, index: 0 };
        MergeRun { cause, first: self.first, count: self.count }
    }
}

/// Gathers the order in which messages were applied.
#[derive(Debug, Clone, Default)]
pub struct MergeRecorder {
    runs: Vec<Run>,
    messages: u64,
}

impl MergeRecorder {
    /// Nothing gathered.
    pub fn new() -> Self {
        Self { runs: Vec::with_capacity(GATHERED_RUNS), messages: 0 }
    }

    /// Notes that the message of `sequence` was applied.
    #[inline]
    pub fn record(&mut self, input: u16, epoch: u32, sequence: u64) {
        self.messages += 1;
        match self.runs.last_mut() {
            Some(run) if (run.input, run.epoch, run.end()) == (input, epoch, sequence) => run.count += 1,
            _ => self.runs.push(Run { input, epoch, first: sequence, count: 1 }),
        }
    }

    /// Messages noted since the last [`Self::drain`]: how much order would be lost now.
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// Whether the runs should be journalled now, although no effect asks for it: so many are never gathered by
    /// accident.
    pub fn is_full(&self) -> bool {
        self.runs.len() >= GATHERED_RUNS
    }

    /// The runs as events, in order, to be journalled before the effects of the last message.
    pub fn drain(&mut self) -> impl ExactSizeIterator<Item = MergeRun> + '_ {
        self.messages = 0;
        self.runs.drain(..).map(Run::event)
    }
}

/// The next message of an input, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Its sequence.
    pub sequence: u64,
    /// When it was published.
    pub publish_time: Time,
}

/// Which message is next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// Its input.
    pub input: u16,
    /// Its sequence in the input.
    pub sequence: u64,
    /// False where nothing was recorded and the canonical order decided.
    pub recorded: bool,
}

/// Why a recorded order cannot be taken again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MergeError {
    /// A run of an input that the engine does not have.
    UnknownInput {
        /// The input.
        input: u16,
    },
    /// A run that is empty, or whose cause is not its last message.
    Malformed {
        /// The input.
        input: u16,
        /// First sequence of the run.
        first: u64,
    },
    /// A run begins before the end of the last one of its input, or behind a message that the input holds.
    Discontinuous {
        /// The input.
        input: u16,
        /// Where the last run ended, or that message.
        expected: u64,
        /// Where this one begins.
        found: u64,
    },
    /// The input does not hold a message that was merged.
    Missing {
        /// The input.
        input: u16,
        /// The message.
        sequence: u64,
    },
}

impl fmt::Display for MergeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownInput { input } => {
                write!(f, "merge order: a run of input {input}, which the engine does not have")?;
            }
            Self::Malformed { input, first } => {
                write!(f, "merge order: the run of {} from {first} contradicts itself", topic(*input))?;
            }
            Self::Discontinuous { input, expected, found } => {
                write!(f, "merge order: a run of {} begins at {found}, not at {expected}", topic(*input))?;
            }
            Self::Missing { input, sequence } => {
                write!(
                    f,
                    "merge order: message {sequence} of {} was merged but is not there",
                    topic(*input)
                )?;
            }
        }
        write!(f, "; verify the journals with `replay verify`")
    }
}

impl std::error::Error for MergeError {}

/// The topic of an input.
fn topic(input: u16) -> &'static str {
    match input {
        MARKET_DATA => "market-data",
        TRADES => "trades",
        _ => "an unknown input",
    }
}

/// Says in which order messages were merged.
#[derive(Debug, Clone)]
pub struct MergeReplay {
    runs: VecDeque<Run>,
    /// Sequence after the last recorded message of each input.
    recorded: [u64; INPUTS],
    /// Whether a run of the input was met that reaches beyond the start.
    begun: [bool; INPUTS],
}

impl MergeReplay {
    /// Begins where the state stands: the sequence of the next message of each input. What was merged before is
    /// passed over.
    pub fn new(next: [u64; INPUTS]) -> Self {
        Self { runs: VecDeque::new(), recorded: next, begun: [false; INPUTS] }
    }

    /// Adds the next recorded run. One that begins later than the last one of its input ended says that what is between
    /// was lost when it was recorded; that it is lost is seen when it is taken.
    ///
    /// # Errors
    /// The run contradicts itself or those before it; nothing was added.
    pub fn push(&mut self, event: &MergeRun) -> Result<(), MergeError> {
        let (input, first) = (event.cause.input, event.first);
        let place = usize::from(input);
        let Some(&expected) = self.recorded.get(place) else {
            return Err(MergeError::UnknownInput { input });
        };
        let end =
            first.checked_add(event.count).filter(|&end| end > first && end - 1 == event.cause.sequence);
        let Some(end) = end else { return Err(MergeError::Malformed { input, first }) };
        if !self.begun[place] && end <= expected {
            return Ok(());
        }
        if first < expected && self.begun[place] {
            return Err(MergeError::Discontinuous { input, expected, found: first });
        }
        self.begun[place] = true;
        self.recorded[place] = end;
        let first = first.max(expected);
        self.runs.push_back(Run { input, epoch: event.cause.epoch, first, count: end - first });
        Ok(())
    }

    /// Whether a recorded message is still to be taken.
    pub fn has_recorded(&self) -> bool {
        !self.runs.is_empty()
    }

    /// Which message is next, given the head of each input; `None` if all inputs are at their end. The caller takes
    /// that message.
    ///
    /// # Errors
    /// The recorded order asks for a message that is not the head of its input: [`MergeError::Discontinuous`] where that is
    /// an earlier one, else [`MergeError::Missing`].
    pub fn next(&mut self, heads: [Option<Head>; INPUTS]) -> Result<Option<Turn>, MergeError> {
        let Some(run) = self.runs.front_mut() else { return Ok(canonical(heads)) };
        let Run { input, first: sequence, .. } = *run;
        match heads[usize::from(input)] {
            Some(head) if head.sequence == sequence => {}
            Some(head) if head.sequence < sequence => {
                let (expected, found) = (head.sequence, sequence);
                return Err(MergeError::Discontinuous { input, expected, found });
            }
            _ => return Err(MergeError::Missing { input, sequence }),
        }
        run.first += 1;
        run.count -= 1;
        if run.count == 0 {
            self.runs.pop_front();
        }
        Ok(Some(Turn { input, sequence, recorded: true }))
    }
}

/// The order where none was recorded.
fn canonical(heads: [Option<Head>; INPUTS]) -> Option<Turn> {
    let heads = (0u16..).zip(heads).filter_map(|(input, head)| Some((input, head?)));
    let (input, head) = heads.min_by_key(|&(input, head)| (head.publish_time, input, head.sequence))?;
    Some(Turn { input, sequence: head.sequence, recorded: false })
}
