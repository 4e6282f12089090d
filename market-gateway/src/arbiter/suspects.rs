//! Packets that jumped beyond the window, kept until another one vouches for them.

use std::ops::Range;

use super::Source;
use super::held::Piece;

/// A packet far ahead.
#[derive(Debug)]
pub(super) struct Suspect {
    pub(super) source: Source,
    pub(super) range: Range<u64>,
    /// Its messages; `None` for a heartbeat.
    pub(super) piece: Option<Piece>,
    asked: bool,
}

/// The last far packet of each source.
#[derive(Debug)]
pub(super) struct Suspects {
    window: u64,
    list: Vec<Suspect>,
    unconfirmed: u64,
}

impl Suspects {
    pub(super) fn new(window: u64) -> Self {
        Self { window, list: Vec::new(), unconfirmed: 0 }
    }

    /// Far packets that were dropped, since nothing vouched for them.
    pub(super) fn unconfirmed(&self) -> u64 {
        self.unconfirmed
    }

    /// Whether a packet confirms a suspect: of another source near it, or of the same source soon behind it.
    pub(super) fn vouch(&self, source: Source, range: &Range<u64>) -> bool {
        self.list.iter().any(|suspect| {
            if suspect.source == source {
                range.start.checked_sub(suspect.range.end).is_some_and(|ahead| ahead <= self.window)
            } else {
                range.start.abs_diff(suspect.range.start) <= self.window
            }
        })
    }

    /// Keeps a packet in place of the one that its source had here.
    pub(super) fn add(&mut self, source: Source, range: Range<u64>, piece: Option<Piece>) {
        let before = self.list.len();
        self.list.retain(|suspect| suspect.source != source);
        self.unconfirmed += (before - self.list.len()) as u64;
        self.list.push(Suspect { source, range, piece, asked: false });
    }

    /// Messages that a request may confirm; each suspect is asked for once.
    pub(super) fn due(&mut self) -> Option<Range<u64>> {
        let suspect = self.list.iter_mut().find(|suspect| !suspect.asked && suspect.piece.is_some())?;
        suspect.asked = true;
        Some(suspect.range.clone())
    }

    /// The packets that foretold `sequence`, in order.
    pub(super) fn take_near(&mut self, sequence: u64) -> Vec<Suspect> {
        let window = self.window;
        let near = |suspect: &mut Suspect| suspect.range.start.abs_diff(sequence) / 2 <= window;
        let mut taken: Vec<_> = self.list.extract_if(.., near).collect();
        taken.sort_by_key(|suspect| suspect.range.start);
        taken
    }

    /// The input is over: nothing will vouch any more.
    pub(super) fn clear(&mut self) {
        self.unconfirmed += self.list.len() as u64;
        self.list.clear();
    }
}
