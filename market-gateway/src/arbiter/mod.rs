//! From redundant lines that lose, repeat and reorder to one stream in the venue's order.
//!
//! [`Arbiter`] is a pure state machine over the message numbers of *one* session: no input, no output, no clock. It is
//! told of packets and of the time, and releases messages. Packet boundaries mean nothing to it, since lines may cut the
//! same messages differently.
//!
//! ```text
//!            released        next        held and missing       end
//!   1 ────────────────────────┼───▓▓▓▓░░░▓▓▓▓▓▓▓▓░▓▓▓▓▓▓▓▓▓▓▓▓▓▓─┼─ · · · suspects
//!        lost: given up,            ▓ held   ░ missing                    jumps that nothing confirms yet
//!        may still arrive
//! ```
//!
//! - In order is the fast path: neither copied nor allocated. Only what comes too early is copied and held, within
//!   [`Limits`]; what finds no room is asked for again later or, where nobody can be asked, makes the oldest missing
//!   range be given up.
//! - A missing range is asked for after a short wait for the other line, again and again at growing intervals, and given
//!   up after a while: a gap opens with its exact range, which is asked for as long as the session lasts. If it arrives
//!   after all, its messages are released late and the gap closes.
//! - Few requests wait for their answers at once, so that the answers do not overrun the socket.
//! - A packet that jumps further ahead than the window moves nothing until another one vouches for it: of another line,
//!   a later one of the same line, or an answer to a re-request.
//! - Two may vouch for each other and lie, and within the window one packet may. So a jump is refuted where for some
//!   seconds all packets of the lines, and not few, said lower numbers than the highest that is known: what they have not
//!   reached is waited for no longer, and withdrawn from the gaps that the journal has; the lines are followed from where
//!   they are, and what they lose from there on opens gaps of its own. Answers to requests refute nothing. Messages that
//!   were released beyond a jump stay ([`Ahead`]), and count as those of their numbers when the lines come there; those
//!   that were held are kept aside, and taken where the lines come there without them. So a line that is seconds late,
//!   and heard alone, costs no message and makes none come twice.
//! - The end of the session below what is known is a contradiction, until that is refuted. Nobody can end a session below
//!   what its lines still say. One beyond that may be refuted, too: where messages before it are missing it is doubted for
//!   some seconds after a line has said it and lower numbers again, or lower ones only, or at all if it was far.
//! - What the journal already has ([`Start::journalled`]) is recognised and never released as new.
//! - A refusing output loses nothing at once: what it refused is held, within the same limits, and offered again.

mod ahead;
mod held;
mod line;
mod lost;
mod machine;
mod pace;
mod ranges;
mod suspects;

#[cfg(test)]
mod jump_tests;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::time::Duration;

use bus::event::Time;

pub use ahead::Ahead;
pub(crate) use line::Line;
pub use line::LineCounts;
pub use lost::{GapCause, OpenGap};
pub use machine::Arbiter;

/// Where a packet came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// One of the redundant lines, by its index.
    Line(usize),
    /// An answer to a request of ours.
    Rerequest,
}

/// What the arbiter may hold and how long it waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Messages ahead of the next one that are held; a jump beyond that needs to be confirmed.
    pub window: u64,
    /// Bytes that are held.
    pub held_bytes: usize,
    /// How long a missing range is left to the other line before it is asked for.
    pub reorder_wait: Duration,
    /// Pause before it is asked for again; each further one is twice as long, to 64 times this.
    pub retry: Duration,
    /// How long a missing range is waited for, without progress, before it is given up.
    pub patience: Duration,
    /// Whether somebody answers requests.
    pub rerequest: bool,
}

impl Limits {
    /// The limits of sockets: 65,536 messages, 32 MiB; without re-requests a range is given up after 50 ms.
    pub fn new(rerequest: bool) -> Self {
        Self {
            window: 65_536,
            held_bytes: 32 << 20,
            reorder_wait: Duration::from_millis(1),
            retry: Duration::from_millis(20),
            patience: Duration::from_millis(if rerequest { 1_000 } else { 50 }),
            rerequest,
        }
    }

    /// The limits of captures, where waiting delays nobody: two minutes of recorded time.
    pub fn of_captures(rerequest: bool) -> Self {
        Self { retry: Duration::from_secs(1), patience: Duration::from_secs(120), ..Self::new(rerequest) }
    }
}

/// Where a session is taken up.
#[derive(Debug, Clone, Default)]
pub struct Start {
    /// Number of the first message to release, from 1.
    pub next: u64,
    /// All messages below it are journalled, but for what `open` lacks. Not below 1.
    pub journalled: u64,
    /// Gaps that the journal opened and did not close, in ascending order.
    pub open: Vec<OpenGap>,
    /// What is journalled of the messages behind `journalled`.
    pub ahead: Ahead,
    /// When the journal's last gap was told: what was received earlier, as a capture that is given again, refutes none.
    pub told: Time,
    /// Where the session has ended, according to the journal.
    pub ended: Option<u64>,
}

/// A message in its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Released<'a> {
    /// Its number.
    pub sequence: u64,
    /// When it was received.
    pub receive_time: Time,
    /// Its standing towards the journal.
    pub standing: Standing,
    /// The message.
    pub bytes: &'a [u8],
}

/// What a message is to the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The next one.
    New,
    /// Of an open gap: after messages that it should have preceded.
    Late,
    /// Already there.
    Journalled,
}

/// Takes what the arbiter releases.
pub trait Release {
    /// Why it refuses.
    type Error;
    /// A message in its turn. If it is refused, it will be offered again.
    ///
    /// # Errors
    /// It cannot be taken now.
    fn message(&mut self, message: Released<'_>) -> Result<(), Self::Error>;
    /// The range of the gap is given up.
    ///
    /// # Errors
    /// It cannot be taken now.
    fn gap_opened(&mut self, gap: &OpenGap) -> Result<(), Self::Error>;
    /// All messages of the gap were released after all.
    ///
    /// # Errors
    /// It cannot be taken now.
    fn gap_closed(&mut self, gap: &OpenGap) -> Result<(), Self::Error>;
    /// These messages of a gap were never sent: what told of them was refuted. What was released of them, and behind
    /// them, stays. The gap that is left is closed after that if all of it has arrived.
    ///
    /// # Errors
    /// It cannot be taken now.
    fn gap_withdrawn(&mut self, range: &Range<u64>, cause: GapCause) -> Result<(), Self::Error>;
    /// The lines have not sent the message `from` or a later one, whatever was heard before.
    fn refuted(&mut self, from: u64) {
        let _ = from;
    }
    /// The venue ended the session, and all before `sequence` is released or given up.
    ///
    /// # Errors
    /// It cannot be taken now.
    fn ended(&mut self, sequence: u64) -> Result<(), Self::Error>;
}

/// What happened so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Distinct messages released, whatever their standing.
    pub messages: u64,
    /// Of these, messages that the journal had already.
    pub journalled: u64,
    /// Further copies of messages.
    pub copies: u64,
    /// Messages that an answer to a request brought.
    pub recovered: u64,
    /// Requests made.
    pub requests: u64,
    /// Messages that found no room and have to be sent again.
    pub postponed: u64,
    /// Packets far ahead that nothing confirmed.
    pub unconfirmed: u64,
    /// Packets that contradict the end of the session.
    pub contradictions: u64,
    /// Messages that were released, and that the lines had not sent: each is of a jump that was refuted.
    pub refuted: u64,
}
