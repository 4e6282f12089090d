//! Segments ahead of the writer: when one is made, and what comes of it.

use std::{io, sync::Arc};

use super::{AHEAD, Live, MARK_WITHIN, RETRY, WriteOut};
use crate::{
    error::Room,
    prepare::{Failure, Preparation},
    retention::Step,
    supply::{Done, Outcome, Work},
};

/// A disk with room for fewer segments than this has none for what is not needed next: others that are opened on it need
/// two each, and a bus has about four topics.
const ROOMY: u64 = 8;

impl WriteOut {
    /// Goes on preparing: twins first, since the front one may hold up the writes.
    pub(super) fn prepare(&mut self, now: u64) -> io::Result<usize> {
        let wanted_cut = self.wants_cut;
        if self.supply.is_idle() && !self.begin_twin() && !self.begin_segment(now)? {
            return Ok(usize::from(self.wants_cut != wanted_cut));
        }
        match self.supply.advance() {
            Some(outcome) => self.take(outcome, now).map(|()| 1),
            None => Ok(usize::from(!self.supply.is_away())),
        }
    }

    /// Has the blocks of a twin written, if one waits for that.
    fn begin_twin(&mut self) -> bool {
        let waits = |live: &&mut Live| live.twin.as_ref().is_some_and(|twin| !twin.is_ready());
        let Some(live) = self.queue.iter_mut().find(waits) else { return false };
        let Some(twin) = live.twin.take() else { return false };
        self.supply.begin(Work::Twin(live.segment.number(), twin));
        true
    }

    /// Has a segment made, if one is wanted and there is room; or says what has to be done before.
    fn begin_segment(&mut self, now: u64) -> io::Result<bool> {
        let room =
            self.ahead() < AHEAD && self.segments() * self.parts.segment_size < self.parts.memory_budget;
        if !room || now < self.retry_at || self.wants_cut {
            return Ok(false);
        }
        match self.room()? {
            Step::Make if self.is_to_be_left() => {
                self.retry_at = now + RETRY;
                return Ok(false);
            }
            Step::Make => {}
            Step::Cut { .. } => {
                self.wants_cut = true;
                self.mark_due.get_or_insert(now + MARK_WITHIN);
                return Ok(false);
            }
            Step::Refuse => {
                self.retry_at = now + RETRY;
                self.parts.shortage.set(Some(Room::Retention));
                return Ok(false);
            }
        }
        let directory = self.parts.memory_dir.clone();
        let new = Preparation::new(self.next_number, self.parts.segment_size, directory);
        let preparation = new.from(self.recycled.take(), self.supply.spare());
        self.supply.begin(Work::Segment(preparation));
        Ok(true)
    }

    /// Whether the disk has so little room that others may need it more than this journal its next segment but one.
    fn is_to_be_left(&self) -> bool {
        let needed = ROOMY * self.parts.segment_size as u64;
        // Where that cannot be told, making it tells.
        let is_scarce = || self.parts.storage.free_space().is_ok_and(|free| free < needed);
        self.ahead() > 0 && self.recycled.is_none() && is_scarce()
    }

    /// Segments in memory, but for a spare one.
    pub(super) fn segments(&mut self) -> usize {
        self.queue.len() + self.over.len() + self.supply.segments()
    }

    /// Takes what was prepared, or why it was not.
    fn take(&mut self, (work, result): Outcome, now: u64) -> io::Result<()> {
        self.take_back(work)?;
        match result {
            Ok(Done::Twin) => self.end_stall(),
            Ok(Done::Segment(segment, twin)) => {
                self.next_number += 1;
                self.queue.push_back(Live { segment: Arc::clone(&segment), twin: Some(twin) });
                self.parts.shortage.set(None);
                self.prepared.push(segment).expect("there is a slot for each segment ahead");
            }
            Err(Failure::NoRoom(room)) => {
                self.retry_at = now + RETRY;
                self.parts.shortage.set(Some(room));
            }
            Err(Failure::Io(error)) => return Err(error),
        }
        Ok(())
    }

    /// Takes what was under way: a twin, whatever came of it, or the old one that was not used.
    pub(super) fn take_back(&mut self, work: Option<Work>) -> io::Result<()> {
        match work {
            Some(Work::Twin(number, twin)) => {
                let mut queue = self.queue.iter_mut();
                if let Some(live) = queue.find(|live| live.segment.number() == number) {
                    live.twin = Some(twin);
                }
                Ok(())
            }
            Some(Work::Segment(preparation)) => {
                preparation.into_recycled().map_or(Ok(()), |unused| self.reuse_or_remove(unused))
            }
            None => Ok(()),
        }
    }

    /// Segments that are ready for the writer.
    pub(super) fn ahead(&self) -> usize {
        AHEAD - self.prepared.slots().min(AHEAD)
    }
}
