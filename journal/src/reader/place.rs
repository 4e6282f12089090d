//! Where a reader is, and where it goes next: from segment to segment, from memory to disk, from epoch to epoch.

use std::{thread, time::Instant};

use super::{Copied, Current, GLANCE_EVERY, Reader, SECOND_TRY, Start};
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
        match mark::reload(self.places.storage.as_ref(), &self.mark.journal) {
            Ok(Some(mark)) if mark.journal == self.mark.journal => self.mark = mark,
            // What cannot be read now was read before.
            _ => {}
        }
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
                self.pending = Some(error);
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
            self.pending = self.retired().err();
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

    /// The first segment behind `number` that can be read, and what the system says where it refuses one before that. All is
    /// tried a second time after a refusal, which may have passed by then.
    fn behind(
        &self,
        number: u64,
        is_refused: bool,
    ) -> Result<(Option<SegmentHeader>, Option<String>), ReadError> {
        let listing = Listing::new(&self.places, &self.mark);
        let later = listing.after(number);
        if !is_refused && listing.refused().is_none() {
            return Ok((later, None));
        }
        thread::sleep(SECOND_TRY);
        let listing = Listing::new(&self.places, &self.mark);
        let later = listing.after(number);
        match listing.into_refused() {
            None => Ok((later, None)),
            Some(LoadError::Refused(why)) => Ok((later, Some(why))),
            Some(error @ LoadError::Failed(_)) => Err(error.into()),
        }
    }

    /// Goes to a segment behind a gap in the positions from `from` on, and reports what messages are lost in it. Where there
    /// `is_damage` the gap is reported even if it held none.
    fn skip_to(&mut self, later: &SegmentHeader, from: u64, is_damage: bool, refused: Option<String>) {
        self.next = later.number;
        let (first, next) = (self.next_sequence(), later.sequence);
        let to = later.number * u64::from(later.segment_size);
        if next > first || (is_damage && next == first && to > from) {
            self.pending = Some(ReadError::Damage { from, to, sequences: (first, next), refused });
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
            self.pending = Some(ReadError::Damage { from, to, sequences, refused });
        }
        self.sequence = self.sequence.max(next);
    }

    /// The headers of all segments, in memory and on disk, from the floor on.
    pub(crate) fn headers(&self) -> Vec<SegmentHeader> {
        Listing::new(&self.places, &self.mark).headers().collect()
    }

    /// Goes to where a start says.
    pub(super) fn locate(&mut self, start: Start) {
        let find = |listing: &Listing<'_>| match start {
            Start::Oldest => listing.first(),
            Start::Newest => listing.newest(),
            Start::Sequence(sequence) => listing.holding(sequence).or_else(|| listing.first()),
        };
        let mut listing = Listing::new(&self.places, &self.mark);
        let mut header = find(&listing);
        if listing.refused().is_some() {
            thread::sleep(SECOND_TRY);
            listing = Listing::new(&self.places, &self.mark);
            header = find(&listing);
        }
        let refused = listing.into_refused().map(|why| why.to_string());
        let size = u64::from(self.mark.segment_size);
        let floor = self.mark.floor;
        (self.next, self.sequence) = match header {
            Some(header) => (header.number, header.sequence),
            // Something should be there, and is found to be missing when it is entered.
            None if floor * size < self.mark.durable => (floor, 0),
            None => (floor.max(self.mark.durable / size), self.mark.sequence),
        };
        if start == Start::Oldest && header.is_some() && self.next > floor {
            // Of what is damaged before the first segment, the messages are known only where the journal began.
            let sequences = (if floor == 0 { 0 } else { self.sequence }, self.sequence);
            let (from, to) = (floor * size, self.next * size);
            self.pending = Some(ReadError::Damage { from, to, sequences, refused: refused.clone() });
        }
        self.from = match start {
            Start::Oldest => 0,
            Start::Newest => self.end().0,
            Start::Sequence(sequence) if sequence < self.sequence => {
                let first = self.sequence;
                self.pending = Some(match floor {
                    0 => {
                        let (to, sequences) = (self.next * size, (sequence, first));
                        ReadError::Damage { from: 0, to, sequences, refused }
                    }
                    _ => ReadError::Retired { first },
                });
                first
            }
            Start::Sequence(sequence) => {
                let end = self.end().0;
                if sequence > end {
                    self.pending = Some(ReadError::Regressed { to: end });
                }
                sequence.min(end)
            }
        };
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
            return self.retired();
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

    /// Retention took the next segment.
    fn retired(&mut self) -> Result<bool, ReadError> {
        let Some(first) = Listing::new(&self.places, &self.mark).first() else { return Ok(false) };
        let wanted = self.next_sequence();
        self.next = first.number;
        self.sequence = self.sequence.max(first.sequence);
        if wanted >= first.sequence {
            self.sequence = first.sequence;
            self.from = wanted;
            return Ok(true);
        }
        Err(ReadError::Retired { first: first.sequence })
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
