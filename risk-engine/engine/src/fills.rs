//! The last executions, kept so that the venue can take them back.
//!
//! ```text
//! ExecID ──▶ index ──▶ slot ─┐  ring of slots in blocks, oldest overwritten by newest
//! position ──▶ its slots ────┴▶ fill ──namesake──▶ older fill of the same position and ExecID
//! ```
//! Nothing large grows at once: blocks are added one by one, the index by small parts, and of a position only the list of
//! slots. A block that a snapshot still holds is copied when it changes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bus::event::Text;

use crate::checkpoints::{Checkpoints, Passed};
use crate::index::{Index, Key, NONE, SPREAD};
use crate::position::{Execution, Holding};

/// Executions that are retained, over all positions and trade dates. A bust or correction of an older one comes too late:
/// it is counted as [`Oddity::ForgottenFill`](crate::Oddity::ForgottenFill), [flags](crate::PositionView::unamended) the
/// position and raises an alert.
///
/// A number and not a span of trade dates, since one date may hold any number of executions: state and snapshot are
/// bounded whatever the day brings. Each takes 80 bytes of memory, about 25 of what finds it, and 80 of a snapshot: all of
/// them 115 MB and 84 MB, once they are there. At 1,000 fills a second they reach back 17 minutes, at 100 almost three
/// hours, at 10 more than a day. It is snapshots that bound it: one is written each million messages, beside the journals
/// and on their disk. A bust is found at once and computes its position again from the fill's place on.
pub const RETAINED_FILLS: usize = 1 << 20;

/// The name of this limit in [`LimitAlert`](bus::event::risk::LimitAlert).
pub const RETAINED_FILLS_LIMIT: &str = "retained fills";

/// Fills of a block: what is copied where one of them changes under a snapshot, 80 KiB.
const BLOCK: usize = 1 << 10;

/// An execution that can be taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fill {
    /// Whose it is.
    pub(crate) position: u32,
    /// Trade date as the number YYYYMMDD.
    pub(crate) trade_date: u32,
    /// Declared void: it counts no more.
    pub(crate) is_void: bool,
    pub(crate) execution: Execution,
    /// ExecID of the fill.
    pub(crate) id: Text<32>,
    /// Slot of the next older fill of the same position and ExecID; stale once that is forgotten.
    namesake: u32,
}

/// What the documentation of [`RETAINED_FILLS`] says.
const _: () = assert!(size_of::<Fill>() == 80);

impl Fill {
    pub(crate) fn new(position: u32, trade_date: u32, execution: Execution, id: Text<32>) -> Self {
        Self { position, trade_date, is_void: false, execution, id, namesake: NONE }
    }

    fn reference(&self) -> Reference {
        Reference(self.position, self.id)
    }
}

/// A position and an ExecID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Reference(u32, Text<32>);

impl Key for Reference {
    fn tag(self) -> u32 {
        let (words, _) = self.1.0.as_chunks::<8>();
        let words = words.iter().map(|word| u64::from_le_bytes(*word));
        let mixed =
            words.fold(u64::from(self.0), |mixed, word| mixed.wrapping_mul(SPREAD).rotate_left(32) ^ word);
        (mixed.wrapping_mul(SPREAD) >> 32) as u32
    }
}

/// What goes by a reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// The valid fill in this slot.
    Valid(u32),
    /// Only void ones.
    Void,
    Nothing,
}

/// The last [`RETAINED_FILLS`] executions. A place counts fills from the first one on; its slot is the place modulo the
/// bound, plus one.
#[derive(Clone)]
pub(crate) struct Fills {
    ring: Ring,
    index: Index<Reference>,
    /// Slots of the fills of each position, oldest first, by its number. Apart from the fills, so that all of these can be
    /// fetched at once where a position is computed again.
    of_position: Vec<VecDeque<u32>>,
    /// Corrected fills by the ExecID of their latest correction: position, ExecID, place.
    corrected: BTreeSet<(u32, Text<32>, u64)>,
    checkpoints: Checkpoints,
}

/// A position computed again.
pub(crate) struct Again {
    pub(crate) now: Holding,
    /// Where that began, and what it passed.
    from: u64,
    passed: Passed,
}

/// The fills without what finds them: all that a snapshot needs, and cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Ring {
    blocks: Vec<Arc<Vec<Fill>>>,
    /// Place of the next fill.
    next: u64,
    count: u64,
    /// ExecID of the latest correction, by place.
    latest: BTreeMap<u64, Text<32>>,
}

fn slot(place: u64) -> u32 {
    (place % RETAINED_FILLS as u64) as u32 + 1
}

impl Ring {
    fn at(&self, slot: u32) -> &Fill {
        let at = slot as usize - 1;
        &self.blocks[at / BLOCK][at % BLOCK]
    }

    fn at_mut(&mut self, slot: u32) -> &mut Fill {
        let at = slot as usize - 1;
        &mut Arc::make_mut(&mut self.blocks[at / BLOCK])[at % BLOCK]
    }

    /// The place of the retained fill in a slot.
    fn place(&self, slot: u32) -> u64 {
        let (first, bound) = (self.next - self.count, RETAINED_FILLS as u64);
        first + (u64::from(slot) - 1 + bound - first % bound) % bound
    }

    fn store(&mut self, fill: Fill) -> u32 {
        let slot = slot(self.next);
        let at = slot as usize - 1;
        if self.blocks.len() <= at / BLOCK {
            self.blocks.push(Arc::new(Vec::with_capacity(BLOCK)));
        }
        let block = Arc::make_mut(&mut self.blocks[at / BLOCK]);
        match block.get_mut(at % BLOCK) {
            Some(old) => *old = fill,
            None => block.push(fill),
        }
        self.next += 1;
        self.count += 1;
        slot
    }

    pub(crate) fn len(&self) -> usize {
        self.count as usize
    }

    /// Oldest first, each with the ExecID that it goes by last.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Fill, Text<32>)> {
        let fill = |place| {
            let fill = self.at(slot(place));
            (fill, self.latest.get(&place).copied().unwrap_or(fill.id))
        };
        (self.next - self.count..self.next).map(fill)
    }
}

impl Fills {
    pub(crate) fn new() -> Self {
        Self {
            ring: Ring::default(),
            index: Index::new(),
            of_position: Vec::new(),
            corrected: BTreeSet::new(),
            checkpoints: Checkpoints::default(),
        }
    }

    pub(crate) fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Makes room for one more fill where there is none: the oldest is forgotten.
    pub(crate) fn make_room(&mut self) -> Option<Fill> {
        if self.ring.len() < RETAINED_FILLS {
            return None;
        }
        let place = self.ring.next - self.ring.count;
        let (slot, Self { ring, index, of_position, corrected, checkpoints }) = (slot(place), self);
        let oldest = *ring.at(slot);
        let key_of = |slot| ring.at(slot).reference();
        // A namesake that is newer goes by the ExecID from now on.
        if index.find(oldest.reference(), key_of) == slot {
            index.remove(oldest.reference(), key_of);
        }
        if let Some(latest) = ring.latest.remove(&place) {
            corrected.remove(&(oldest.position, latest, place));
        }
        of_position[oldest.position as usize].pop_front();
        checkpoints.forget(oldest.position, place);
        ring.count -= 1;
        Some(oldest)
    }

    /// Retains a fill, for which there is [room](Self::make_room), as the newest of its position.
    pub(crate) fn push(&mut self, mut fill: Fill) {
        let Self { ring, index, of_position, .. } = self;
        let position = fill.position as usize;
        let reference = fill.reference();
        fill.namesake = index.remove(reference, |slot| ring.at(slot).reference());
        let slot = ring.store(fill);
        index.insert(reference, slot, |slot| ring.at(slot).reference());
        if of_position.len() <= position {
            of_position.resize_with(position + 1, VecDeque::new);
        }
        of_position[position].push_back(slot);
    }

    /// What of a position goes by `reference`, its own ExecID or that of its latest correction: of the same trade date,
    /// else of any, since a venue that names no trade date may take back after midnight; the newest valid one.
    pub(crate) fn find(&self, position: u32, trade_date: u32, reference: Text<32>) -> Found {
        let corrected = self.corrected.range((position, reference, 0)..=(position, reference, u64::MAX));
        let places =
            self.namesakes(Reference(position, reference)).chain(corrected.map(|&(_, _, place)| place));
        // By date: whether there is one, and the newest that is valid.
        let (mut same, mut any) = ((false, None), (false, None));
        for place in places {
            let fill = self.ring.at(slot(place));
            let valid = (!fill.is_void).then_some(place);
            any = (true, any.1.max(valid));
            if fill.trade_date == trade_date {
                same = (true, same.1.max(valid));
            }
        }
        match if same.0 { same } else { any } {
            (_, Some(place)) => Found::Valid(slot(place)),
            (true, None) => Found::Void,
            (false, None) => Found::Nothing,
        }
    }

    /// Places of the fills of one ExecID, newest first.
    fn namesakes(&self, reference: Reference) -> impl Iterator<Item = u64> {
        let mut slot = self.index.find(reference, |slot| self.ring.at(slot).reference());
        let mut newer = u64::MAX;
        std::iter::from_fn(move || {
            let place = (slot != NONE).then(|| self.ring.place(slot))?;
            let fill = self.ring.at(slot);
            // A forgotten one has left its slot to a newer fill.
            if place >= newer || fill.reference() != reference {
                return None;
            }
            (newer, slot) = (place, fill.namesake);
            Some(place)
        })
    }

    /// The fill in a slot that [`Self::find`] gave.
    pub(crate) fn at(&self, slot: u32) -> &Fill {
        self.ring.at(slot)
    }

    /// What a position holds if `instead` stood in `slot`, where its fills before the retained ones add up to `base`; `None`
    /// if a sum would leave its range. To be [accepted](Self::accept) once that has become so.
    pub(crate) fn again(&self, position: u32, slot: u32, instead: &Fill, base: Holding) -> Option<Again> {
        let slots = self.of_position.get(position as usize)?;
        let place = |slot: &u32| self.ring.place(*slot);
        let (from, mut now) = self.checkpoints.before(position, place(&slot)).unwrap_or((0, base));
        let mut passed = Passed::default();
        for at in slots.range(slots.partition_point(|slot| place(slot) < from)..) {
            passed.pass(|| place(at), now);
            let fill = if *at == slot { instead } else { self.ring.at(*at) };
            if !fill.is_void {
                now = now.after(fill.execution)?;
            }
        }
        Some(Again { now, from, passed })
    }

    /// What a position was computed again with has become so.
    pub(crate) fn accept(&mut self, position: u32, again: Again) {
        self.checkpoints.replace(position, again.from, again.passed);
    }

    /// Declares a fill void.
    pub(crate) fn void(&mut self, slot: u32) {
        self.ring.at_mut(slot).is_void = true;
    }

    /// Gives a fill other terms, and an ExecID that it goes by besides its own.
    pub(crate) fn correct(&mut self, slot: u32, execution: Execution, id: Text<32>) {
        let place = self.ring.place(slot);
        let fill = self.ring.at_mut(slot);
        fill.execution = execution;
        let (position, own) = (fill.position, fill.id);
        if let Some(last) = self.ring.latest.remove(&place) {
            self.corrected.remove(&(position, last, place));
        }
        if id != own {
            self.ring.latest.insert(place, id);
            self.corrected.insert((position, id, place));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bus::event::{Money, Price};

    const ACCOUNTS: u32 = 3;

    fn id(n: u64) -> Text<32> {
        Text::new(&format!("E{n}")).expect("the text fits its field")
    }

    fn execution(n: u64) -> Execution {
        Execution { quantity: n as i64, price: Price(1), fee: Money(0) }
    }

    /// A number that depends on n alone.
    fn drawn(n: u64) -> u64 {
        n.wrapping_mul(SPREAD) >> 20
    }

    /// The newest valid fill by walking all of them.
    fn found(
        rows: &[(u64, Fill, Text<32>)],
        position: u32,
        date: u32,
        reference: Text<32>,
    ) -> Option<Option<u64>> {
        let goes_by = |(_, fill, latest): &&(u64, Fill, Text<32>)| {
            fill.position == position && (fill.id == reference || *latest == reference)
        };
        let all: Vec<_> = rows.iter().filter(goes_by).collect();
        let same: Vec<_> = all.iter().copied().filter(|row| row.1.trade_date == date).collect();
        let those = if same.is_empty() { &all } else { &same };
        let valid = those.iter().rev().find(|row| !row.1.is_void).map(|row| row.0);
        (!those.is_empty()).then_some(valid)
    }

    /// With ExecIDs that come again on other dates and in other positions, far beyond the bound, with fills that are void
    /// or corrected, and with a snapshot that holds the blocks: what is found is what a walk finds.
    #[test]
    fn what_is_found_is_what_a_walk_finds() {
        let mut fills = Fills::new();
        let mut held = fills.ring().clone();
        let last = RETAINED_FILLS as u64 + 50_000;
        for n in 0..last {
            let position = 1 + (drawn(n) % u64::from(ACCOUNTS)) as u32;
            fills.make_room();
            let fill = Fill::new(position, (n / 300_000) as u32, execution(n), id(drawn(n) / 7 % 20_000));
            fills.push(fill);
            if n % 11 == 0 && n > 0 {
                let place = n - drawn(n + 1) % n.min(RETAINED_FILLS as u64 - 1);
                let own = fills.at(slot(place)).id;
                match drawn(n) % 4 {
                    0 => fills.void(slot(place)),
                    1 => fills.correct(slot(place), execution(n), own),
                    _ => fills.correct(slot(place), execution(n), id(drawn(n + 2) % 20_000)),
                }
            }
            if n == last - 30_000 {
                held = fills.ring().clone();
            }
        }
        let rows: Vec<_> = (last - RETAINED_FILLS as u64..).zip(fills.ring().iter()).collect();
        let rows: Vec<_> = rows.into_iter().map(|(place, (fill, latest))| (place, *fill, latest)).collect();
        assert_eq!(rows.len(), RETAINED_FILLS);
        for n in 0..60 {
            let (position, date) = (1 + n as u32 % ACCOUNTS, drawn(n) as u32 % 5);
            let reference = id(drawn(n * 3) % 20_100);
            let expected = match found(&rows, position, date, reference) {
                Some(Some(place)) => Found::Valid(slot(place)),
                Some(None) => Found::Void,
                None => Found::Nothing,
            };
            assert_eq!(fills.find(position, date, reference), expected, "{position} {date} {reference}");
        }
        for position in 1..=ACCOUNTS {
            let walked = rows.iter().filter(|row| row.1.position == position && !row.1.is_void);
            let held = walked.map(|row| row.1.execution).try_fold(Holding::default(), Holding::after);
            let again = fills.again(position, slot(rows[0].0), &rows[0].1, Holding::default());
            assert_eq!(again.map(|again| again.now), held, "{position}");
        }
        let snapshot: Vec<_> = held.iter().map(|(fill, _)| fill.execution.quantity).collect();
        assert_eq!(snapshot.len(), RETAINED_FILLS);
        assert!(
            held.blocks.iter().zip(&fills.ring.blocks).any(|(a, b)| !Arc::ptr_eq(a, b)),
            "none was copied"
        );
        assert!(
            snapshot.iter().all(|&quantity| quantity < last as i64 - 29_999),
            "a snapshot stays as it was"
        );
    }
}
