//! Which reports `trades` tells as withheld, so that each is journalled once.

use std::collections::{HashSet, VecDeque};

use bus::event::{Time, as_bytes, trade::Withheld};

/// Reports whose trace is remembered; the oldest leave first. Where one that has left comes again, its trace does so too,
/// which changes nothing else.
const REMEMBERED: usize = 1 << 18;

/// Reports that are withheld already.
///
/// A report that cannot be kept is known by all that it says and its number: one that is sent in its place is another. A
/// possible repetition is known by what it says alone, since it has another number each time that numbers begin again.
#[derive(Debug, Default)]
pub(super) struct Traces {
    known: HashSet<blake3::Hash>,
    order: VecDeque<blake3::Hash>,
}

impl Traces {
    pub(super) fn holds(&self, report: &Withheld) -> bool {
        self.known.contains(&fingerprint(report))
    }

    pub(super) fn remember(&mut self, report: &Withheld) {
        self.insert(fingerprint(report));
    }

    /// Remembers what came after all that is here.
    pub(super) fn append(&mut self, later: Self) {
        later.order.into_iter().for_each(|trace| self.insert(trace));
    }

    fn insert(&mut self, trace: blake3::Hash) {
        if !self.known.insert(trace) {
            return;
        }
        if self.order.len() == REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        self.order.push_back(trace);
    }
}

fn fingerprint(report: &Withheld) -> blake3::Hash {
    let is_repetition = report.cause == Withheld::REPETITION;
    let venue_sequence = if is_repetition { 0 } else { report.venue_sequence };
    blake3::hash(as_bytes(&Withheld { receive_time: Time(0), venue_sequence, ..*report }))
}
