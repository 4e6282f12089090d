//! Where a reader is, and where it goes next: from segment to segment, from memory to disk, from epoch to epoch.

use std::{thread, time::Instant};

use super::{Copied, Current, GLANCE_EVERY, Reader, SECOND_TRY, Start, ends::First};
use crate::{
    control::Control,
    disk_copy::{self, LoadError},
    error::ReadError,
    layout::{FIRST_FRAME, MarkSlot, SegmentHeader},
    listing::{Listing, shared},
    mark,
    readers::Presence,
    recovery::decide,
    scan::{Evidence, scan},
    segment::Segment,
    storage::Access,
    waiters::Waiters,
};

impl Reader {
    /// Looks whether the journal has another owner now, and whether it goes on elsewhere. Polling does so now and then.
    pub fn look(&mut self) {
        self.looked = Instant::now();
        if self.control.as_ref().is_none_or(|control| !control.is_linked()) {
            let directory = &self.places.memory_dir;
            self.presence = None;
            self.control = Control::attach(&directory.join(Control::NAME), &self.mark.journal);
            self.waiters = Waiters::attach(&directory.join(Waiters::NAME));
            self.refresh_mark();
            self.show();
        }
        if self.found.is_none() {
            self.go_on();
        }
    }

    /// Lets others see this reader, as long as it follows a journal in shared memory.
    fn show(&mut self) {
        if self.presence.is_none() && self.control.is_some() && self.current.is_some() {
            self.presence = Presence::announce(&self.places.memory_dir, self.gate, self.next_sequence());
        }
    }

    pub(super) fn refresh_mark(&mut self) {
        // What cannot be read now was read before.
        self.mark = self.newer_mark().unwrap_or(self.mark);
    }

    pub(super) fn newer_mark(&self) -> Option<MarkSlot> {
        let mark = mark::reload(self.places.storage.as_ref(), &self.mark.journal).ok().flatten();
        mark.filter(|mark| mark.journal == self.mark.journal)
    }

    /// Leaves a segment of which nothing more will come: a disk copy without a seal, or the memory of a dead epoch that was
    /// lost. What its file holds by now is read first. False if the reader stays where it is.
    pub(super) fn go_on(&mut self) -> bool {
        let Some(current) = &self.current else { return false };
        let is_left = match &current.copy {
            Some(copy) => current.offset >= copy.end && copy.holes.is_empty(),
            None => {
                let is_old = self.control.as_ref().is_some_and(|control| control.epoch() != current.epoch);
                is_old && current.segment.frame(current.offset).is_none()
            }
        };
        if !is_left {
            return false;
        }
        let (number, epoch, offset) = (current.segment.number(), current.epoch, current.offset);
        let (from, is_copy) = (current.segment.position(offset), current.copy.is_some());
        let here = Listing::new(&self.places, &self.mark).header(number);
        let here = here.filter(|header| header.epoch != epoch);
        let found = here.map_or_else(|| self.behind(number, false), |here| Ok((Some(here), None)));
        let (later, refused) = match found {
            Ok(found) => found,
            Err(error) => {
                self.pending.push_back(error);
                return true;
            }
        };
        let Some(later) = later else {
            let is_behind_all = !is_copy || from >= self.mark.durable;
            if !is_behind_all {
                self.skip_to_mark(from, refused);
            }
            return !is_behind_all;
        };
        let Some(old) = self.current.take() else { return false };
        self.refresh_mark();
        if number < self.mark.floor {
            // Retention took what comes next.
            if let Err(error) = self.begin_with_first(Some(self.next_sequence())) {
                self.pending.push_back(error.into());
            }
            return true;
        }
        let fresh = if here.is_none() { self.load(number).ok().flatten() } else { None };
        match fresh.filter(|fresh| fresh.epoch == epoch) {
            Some(fresh) if fresh.reaches_beyond(offset) => {
                self.current = Some(fresh.from(offset, old.anchor_time));
            }
            fresh => {
                let has_no_end = fresh.and_then(|fresh| fresh.copy).is_some_and(|copy| !copy.is_sealed);
                self.skip_to(&later, from, has_no_end, refused);
            }
        }
        true
    }

    /// The first segment behind `number` that can be read, and what the system says where it refuses one before that.
    fn behind(
        &self,
        number: u64,
        is_refused: bool,
    ) -> Result<(Option<SegmentHeader>, Option<String>), ReadError> {
        Ok(self.find(&self.mark, is_refused, |listing| listing.after(number))?)
    }

    /// A segment among those that are there now, and what the system says where it refuses one that was passed over. All
    /// is tried a second time after a refusal, which may have passed by then.
    fn find(
        &self,
        mark: &MarkSlot,
        is_refused: bool,
        find: impl Fn(&Listing<'_>) -> Option<SegmentHeader>,
    ) -> Result<(Option<SegmentHeader>, Option<String>), LoadError> {
        let listing = Listing::new(&self.places, mark);
        let found = find(&listing);
        if !is_refused && listing.refused().is_none() {
            return Ok((found, None));
        }
        thread::sleep(SECOND_TRY);
        let listing = Listing::new(&self.places, mark);
        let found = find(&listing);
        match listing.into_refused() {
            None => Ok((found, None)),
            Some(LoadError::Refused(why)) => Ok((found, Some(why))),
            Some(error @ LoadError::Failed(_)) => Err(error),
        }
    }

    /// The oldest segment that can be read, by this mark or a newer one, with that and with what the system says where it
    /// refuses one before.
    pub(super) fn first(&self, mut mark: MarkSlot) -> Result<First, LoadError> {
        loop {
            let (header, refused) = self.find(&mark, false, |listing| listing.first())?;
            let is_oldest = header.is_some_and(|header| header.number == mark.floor);
            // A segment is removed only after the mark says so.
            let newer = if is_oldest { None } else { self.newer_mark() };
            match newer.filter(|newer| newer.floor != mark.floor) {
                Some(newer) => mark = newer,
                None => return Ok(First { header, refused, mark: newer.unwrap_or(mark) }),
            }
        }
    }

    /// Goes to a segment behind a gap in the positions from `from` on, and reports what messages are lost in it. Where there
    /// `is_damage` the gap is reported even if it held none.
    fn skip_to(&mut self, later: &SegmentHeader, from: u64, is_damage: bool, refused: Option<String>) {
        self.next = later.number;
        let (first, next) = (self.next_sequence(), later.sequence);
        let to = later.number * u64::from(later.segment_size);
        if next > first || (is_damage && next == first && to > from) {
            self.pending.push_back(ReadError::Damage { from, to, sequences: (first, next), refused });
        }
        self.sequence = self.sequence.max(next);
    }

    /// Goes behind what the mark proves and nothing holds any more.
    fn skip_to_mark(&mut self, from: u64, refused: Option<String>) {
        self.current = None;
        self.next = self.mark.durable.div_ceil(u64::from(self.mark.segment_size));
        let (first, next) = (self.next_sequence(), self.mark.sequence);
        if next > first {
            let (to, sequences) = (self.mark.durable, (first, next));
            self.pending.push_back(ReadError::Damage { from, to, sequences, refused });
        }
        self.sequence = self.sequence.max(next);
    }

    /// The headers of all segments, in memory and on disk, from the floor on.
    pub(crate) fn headers(&self) -> Vec<SegmentHeader> {
        Listing::new(&self.places, &self.mark).headers().collect()
    }

    /// Goes to where a start says.
    ///
    /// # Errors
    /// What is there cannot be told.
    pub(super) fn locate(&mut self, start: Start) -> Result<(), LoadError> {
        let (header, _) = match start {
            Start::Oldest => return self.begin_with_first(None),
            Start::Newest => self.find(&self.mark, false, |listing| listing.newest())?,
            Start::Sequence(sequence) => self.find(&self.mark, false, |listing| listing.holding(sequence))?,
        };
        match (header, start) {
            (None, Start::Sequence(sequence)) => self.begin_with_first(Some(sequence))?,
            (None, _) => (self.next, self.sequence) = (self.mark.floor, self.mark.sequence),
            (Some(header), _) => (self.next, self.sequence) = (header.number, header.sequence),
        }
        // What was durable and is gone is damage, and no less a part of the journal.
        let end = self.end().0.max(self.mark.sequence);
        let wanted = if let Start::Sequence(sequence) = start { sequence } else { end };
        if wanted > end {
            self.pending.push_back(ReadError::Regressed { to: end });
        }
        self.from = wanted.min(end).max(self.sequence);
        Ok(())
    }

    /// Begins with the oldest segment that can be read, or where it should be. Of the messages from `wanted` on, those
    /// that retention removed are told of, and then those that were lost behind them.
    fn begin_with_first(&mut self, wanted: Option<u64>) -> Result<(), LoadError> {
        let first = self.first(self.mark)?;
        let begins = first.begins();
        let First { header, refused, mark } = first;
        self.mark = mark;
        if wanted.is_some_and(|wanted| wanted < begins) {
            self.pending.push_back(ReadError::Retired { first: begins });
        }
        self.from = wanted.unwrap_or(begins).max(begins);
        let Some(header) = header else {
            // What should be there is found to be missing when it is entered.
            (self.next, self.sequence) = (mark.floor, begins);
            return Ok(());
        };
        if header.number > mark.floor && (wanted.is_none() || self.from < header.sequence) {
            let (from, to) =
                (mark.floor * u64::from(mark.segment_size), header.number * u64::from(mark.segment_size));
            let sequences = (self.from, header.sequence);
            self.pending.push_back(ReadError::Damage { from, to, sequences, refused });
        }
        (self.next, self.sequence) = (header.number, header.sequence);
        self.from = self.from.max(header.sequence);
        Ok(())
    }

    /// Enters the next segment; false if it is not there yet.
    #[cold]
    pub(super) fn enter(&mut self) -> Result<bool, ReadError> {
        self.glance();
        match self.load(self.next) {
            Ok(Some(current)) => self.begin(current),
            Ok(None) => self.not_there(false),
            Err(LoadError::Refused(_)) => self.not_there(true),
            Err(error) => Err(error.into()),
        }
    }

    /// Begins to read a segment, which must go on where the one before ended.
    fn begin(&mut self, current: Current) -> Result<bool, ReadError> {
        let expected = std::mem::replace(&mut self.sequence, current.first);
        let (first, base) = (current.first, current.segment.position(0));
        self.current = Some(current);
        self.idle = 0;
        self.show();
        if first < expected {
            self.from = self.from.min(first);
            return Err(ReadError::Regressed { to: first });
        }
        if first > expected.max(self.from) {
            let sequences = (expected.max(self.from), first);
            return Err(ReadError::Damage { from: base, to: base, sequences, refused: None });
        }
        Ok(true)
    }

    /// The next segment is not in memory, and not on disk or refused: it was retired, is damaged, or is not there yet.
    fn not_there(&mut self, is_refused: bool) -> Result<bool, ReadError> {
        // Beside the end of a journal without a writer this would else be done at each poll.
        if self.idle % GLANCE_EVERY != 1 {
            return Ok(false);
        }
        let (later, behind) = self.behind(self.next, is_refused)?;
        self.refresh_mark();
        // It may have come meanwhile, and others behind it.
        let refused = match self.load(self.next) {
            Ok(Some(current)) => return self.begin(current),
            Ok(None) => behind,
            Err(LoadError::Refused(why)) => Some(why),
            Err(error) => return Err(error.into()),
        };
        if self.next < self.mark.floor {
            // Retention took it.
            self.begin_with_first(Some(self.next_sequence()))?;
            return Ok(true);
        }
        let size = u64::from(self.mark.segment_size);
        let from = self.next * size;
        if let Some(later) = later {
            self.skip_to(&later, from, false, refused);
        } else if from < self.mark.durable {
            self.skip_to_mark(from, refused);
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// A segment, from memory or else from disk; `None` if it is not there (yet).
    pub(super) fn load(&mut self, number: u64) -> Result<Option<Current>, LoadError> {
        if let Some(segment) = shared(&self.places, &self.mark, number) {
            return Ok(segment.header(&self.mark.journal).map(|header| Current::new(segment, &header, None)));
        }
        let storage = self.places.storage.as_ref();
        let Some((segment, header)) = disk_copy::load(storage, &self.mark, number, Access::Read)? else {
            return Ok(None);
        };
        let mut copy = kept(&segment, &header, &self.mark);
        if !copy.is_sealed || !copy.holes.is_empty() {
            // Before anything is called damaged or torn: the file may have been given to a newer segment while it was
            // read, for which the floor was moved before; a writer may have come; evidence may be newer.
            self.refresh_mark();
            if number < self.mark.floor || shared(&self.places, &self.mark, number).is_some() {
                return Ok(None);
            }
            copy = kept(&segment, &header, &self.mark);
        }
        Ok(Some(Current::new(segment, &header, Some(copy))))
    }
}

/// What recovery would keep of a segment that was read from disk.
fn kept(segment: &Segment, header: &SegmentHeader, mark: &MarkSlot) -> Copied {
    let evidence = Evidence::of(mark);
    let kept = decide(segment, header, &scan(segment, header, evidence), evidence);
    Copied { end: kept.end, sequence: kept.sequence, is_sealed: kept.is_sealed, holes: kept.holes.into() }
}

impl Current {
    fn new(segment: Segment, header: &SegmentHeader, copy: Option<Copied>) -> Self {
        Self {
            segment,
            epoch: header.epoch,
            offset: FIRST_FRAME,
            anchor_time: header.time,
            first: header.sequence,
            copy,
        }
    }

    /// Whether there is anything at or behind an offset.
    fn reaches_beyond(&self, offset: usize) -> bool {
        match &self.copy {
            Some(copy) => copy.end > offset,
            None => self.segment.frame(offset).is_some(),
        }
    }

    /// The same segment, read on from an offset.
    fn from(mut self, offset: usize, anchor_time: u64) -> Self {
        if let Some(copy) = &mut self.copy {
            copy.holes.retain(|hole| hole.to > offset);
        }
        Self { offset, anchor_time, ..self }
    }
}
