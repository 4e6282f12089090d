//! Where a reader is, and where it goes next: from segment to segment, from memory to disk, from epoch to epoch.

use std::{thread, time::Instant};

use super::{
    Copied, Current, GLANCE_EVERY, MARK_EVERY, Reader, SECOND_TRY, Start, doubt::Doubt, ends::First,
};
use crate::{
    control::Control,
    disk_copy::{self, LoadError, is_of_asker},
    error::{OpenError, ReadError},
    layout::{FIRST_FRAME, MarkSlot, SegmentHeader},
    listing::{Listing, shared},
    mark, names,
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
        let is_linked = self.control.as_ref().is_some_and(Control::is_linked);
        if !is_linked || self.marked.elapsed() >= MARK_EVERY {
            self.refresh_mark();
        }
        if !is_linked || self.control.as_ref().is_some_and(|control| !control.is_current(&self.mark)) {
            let directory = &self.places.memory_dir;
            self.presence = None;
            self.control = Control::attach_current(&directory.join(Control::NAME), &self.mark);
            self.waiters = Waiters::attach(&directory.join(Waiters::NAME));
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
        let _ = self.try_refresh_mark();
    }

    /// The same before something is called lost: an older mark does not know what was retired.
    pub(super) fn try_refresh_mark(&mut self) -> Result<(), LoadError> {
        self.marked = Instant::now();
        self.mark = self.newer_mark()?.unwrap_or(self.mark);
        Ok(())
    }

    /// The mark as it is now; `None` where there is none of this journal that can be read.
    ///
    /// # Errors
    /// It cannot be told for the moment.
    pub(super) fn newer_mark(&self) -> Result<Option<MarkSlot>, LoadError> {
        match mark::reload(self.places.storage.as_ref(), &self.mark.journal) {
            Ok(mark) => Ok(mark.filter(|mark| mark.journal == self.mark.journal)),
            Err(OpenError::Io { error, .. }) if is_of_asker(&error) => {
                Err(LoadError::about(names::MARK, &error))
            }
            Err(_) => Ok(None),
        }
    }

    /// Leaves a segment of which nothing more will come: a disk copy without a seal, or the memory of a dead epoch that was
    /// lost. What its file holds by now is read first. False if the reader stays where it is.
    pub(super) fn go_on(&mut self) -> bool {
        self.try_go_on().unwrap_or_else(|error| {
            self.pending.push_back(error);
            true
        })
    }

    fn try_go_on(&mut self) -> Result<bool, ReadError> {
        let mut doubt = Doubt::new();
        loop {
            let Some(left) = self.current.as_ref().and_then(|current| self.left(current)) else {
                return Ok(false);
            };
            if left.is_copy && self.go_on_in_memory(&left)? {
                return Ok(true);
            }
            if left.is_open {
                return self.reopen(&left);
            }
            let here = Listing::new(&self.places, &self.mark).header(left.number);
            let here = here.filter(|header| header.epoch != left.epoch);
            let (later, refused) =
                here.map_or_else(|| self.behind(left.number), |here| Ok((Some(here), None)))?;
            if refused.is_some() {
                doubt.end();
            }
            let Some(later) = later else {
                if !left.is_copy || left.position >= self.mark.durable {
                    return Ok(false);
                }
                if self.mark.sequence > self.next_sequence() && self.looks_again(&mut doubt, false) {
                    continue;
                }
                self.skip_to_mark(left.position, refused);
                return Ok(true);
            };
            self.try_refresh_mark()?;
            if left.number < self.mark.floor {
                // Retention took what comes next.
                self.current = None;
                self.begin_with_first(Some(self.next_sequence()))?;
                return Ok(true);
            }
            let (fresh, refused) = match self.load(left.number) {
                Ok(fresh) if here.is_none() => (fresh.filter(|fresh| fresh.epoch == left.epoch), refused),
                Ok(_) => (None, refused),
                Err(LoadError::Refused(why)) => (None, Some(why)),
                Err(error) => return Err(error.into()),
            };
            let has_no_end = match fresh {
                Some(fresh) if fresh.reaches_beyond(left.offset) => {
                    self.current = Some(fresh.from(left.offset, left.anchor_time));
                    return Ok(true);
                }
                Some(fresh) if fresh.copy.as_ref().is_some_and(|copy| copy.is_open) => {
                    self.current = Some(fresh.from(left.offset, left.anchor_time));
                    return Ok(false);
                }
                fresh => fresh.and_then(|fresh| fresh.copy).is_some_and(|copy| !copy.is_sealed),
            };
            let is_loss = self.loses(&later, left.position, has_no_end);
            if is_loss && self.looks_again(&mut doubt, false) {
                continue;
            }
            self.current = None;
            self.skip_to(&later, left.position, has_no_end, refused);
            return Ok(true);
        }
    }

    /// Where the reader is in a segment of which it has read all that it holds, if it may have to leave that.
    fn left(&self, current: &Current) -> Option<Left> {
        let is_left = match &current.copy {
            Some(copy) => current.offset >= copy.end && copy.holes.is_empty(),
            None => {
                let newest = self.control.as_ref().map_or(self.mark.epoch, Control::epoch);
                let is_old = newest != current.epoch;
                is_old && current.segment.frame(current.offset).is_none()
            }
        };
        is_left.then(|| Left {
            number: current.segment.number(),
            epoch: current.epoch,
            offset: current.offset,
            position: current.segment.position(current.offset),
            anchor_time: current.anchor_time,
            is_copy: current.copy.is_some(),
            is_open: current.copy.as_ref().is_some_and(|copy| copy.is_open),
        })
    }

    /// Goes from the disk copy of a segment to its memory, where that could not be opened before or was not there. False
    /// where it is not.
    fn go_on_in_memory(&mut self, left: &Left) -> Result<bool, LoadError> {
        let segment = match shared(&self.places, &self.mark, left.number) {
            Ok(segment) => segment,
            Err(LoadError::Refused(_)) => None,
            Err(error) => return Err(error),
        };
        let Some(segment) = segment else { return Ok(false) };
        let header = segment.header(&self.mark.journal).filter(|header| header.epoch == left.epoch);
        let Some(header) = header else { return Ok(false) };
        self.current = Some(Current::new(segment, &header, None).from(left.offset, left.anchor_time));
        self.show();
        Ok(true)
    }

    /// The first segment behind `number` that can be read, and what the system says where it refuses one before that.
    fn behind(&self, number: u64) -> Result<(Option<SegmentHeader>, Option<String>), ReadError> {
        Ok(self.find(&self.mark, |listing| listing.after(number))?)
    }

    /// Something among the segments that are there now, and what the system says where it refuses one that was passed
    /// over. All is tried a second time after a refusal, which may have passed by then.
    pub(super) fn find<T>(
        &self,
        mark: &MarkSlot,
        find: impl Fn(&Listing<'_>) -> T,
    ) -> Result<(T, Option<String>), LoadError> {
        let listing = Listing::new(&self.places, mark);
        let found = find(&listing);
        if !listing.is_refused() {
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
        let mut doubt = Doubt::new();
        loop {
            let (header, refused) = self.find(&mark, |listing| listing.first())?;
            let is_oldest = header.is_some_and(|header| header.number == mark.floor);
            // A segment is removed only after the mark says so.
            let newer = if is_oldest { None } else { self.newer_mark()? };
            if let Some(newer) = newer.filter(|newer| newer.floor != mark.floor) {
                mark = newer;
                continue;
            }
            let first = First { header, refused, mark: newer.unwrap_or(mark) };
            let is_final = first.is_whole() || first.refused.is_some();
            if is_final || !self.looks_again(&mut doubt, false) {
                return Ok(first);
            }
        }
    }

    /// Goes to a segment behind a gap in the positions from `from` on, and reports what messages are lost in it. Where there
    /// `is_damage` the gap is reported even if it held none.
    fn skip_to(&mut self, later: &SegmentHeader, from: u64, is_damage: bool, refused: Option<String>) {
        self.next = later.number;
        let (first, next) = (self.next_sequence(), later.sequence);
        let to = later.number * u64::from(later.segment_size);
        if self.loses(later, from, is_damage) {
            self.pending.push_back(ReadError::Damage { from, to, sequences: (first, next), refused });
        }
        self.sequence = self.sequence.max(next);
    }

    /// Whether going from a position to a later segment is a loss to be told.
    fn loses(&self, later: &SegmentHeader, from: u64, is_damage: bool) -> bool {
        let (first, next) = (self.next_sequence(), later.sequence);
        let to = later.number * u64::from(later.segment_size);
        next > first || (is_damage && next == first && to > from)
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
    pub(crate) fn headers(&self) -> Result<Vec<SegmentHeader>, LoadError> {
        Ok(self.find(&self.mark, |listing| listing.headers().collect())?.0)
    }

    /// Goes to where a start says.
    ///
    /// # Errors
    /// What is there cannot be told.
    pub(super) fn locate(&mut self, start: Start) -> Result<(), LoadError> {
        let (header, _) = match start {
            Start::Oldest => return self.begin_with_first(None),
            Start::Newest => self.find(&self.mark, |listing| listing.newest())?,
            Start::Sequence(sequence) => self.find(&self.mark, |listing| listing.holding(sequence))?,
        };
        match (header, start) {
            (None, Start::Sequence(sequence)) => self.begin_with_first(Some(sequence))?,
            (None, _) => (self.next, self.sequence) = (self.mark.floor, self.mark.sequence),
            (Some(header), _) => (self.next, self.sequence) = (header.number, header.sequence),
        }
        let asked = if let Start::Sequence(sequence) = start { Some(sequence) } else { None };
        let end = self.sure_end(asked)?;
        let wanted = asked.unwrap_or(end);
        if wanted > end {
            self.pending.push_back(ReadError::Regressed { to: end });
        }
        self.from = wanted.min(end).max(self.sequence);
        Ok(())
    }

    /// The sequence behind the newest message, that of what was durable and is gone among them: that is damage, and no less
    /// a part of the journal. Looked for again where it lies before what is asked for, or where a segment should follow.
    fn sure_end(&mut self, asked: Option<u64>) -> Result<u64, LoadError> {
        let mut doubt = Doubt::new();
        loop {
            let end = self.find_end()?;
            let sequence = end.sequence.max(self.mark.sequence);
            let is_doubtful = end.is_sealed || asked.is_some_and(|asked| asked > sequence);
            if !is_doubtful || !self.looks_again(&mut doubt, false) {
                return Ok(sequence);
            }
        }
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
            Ok(None) | Err(LoadError::Refused(_)) => self.not_there(),
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
    fn not_there(&mut self) -> Result<bool, ReadError> {
        // Beside the end of a journal without a writer this would else be done at each poll.
        if self.idle % GLANCE_EVERY != 1 {
            return Ok(false);
        }
        let mut doubt = Doubt::new();
        loop {
            let (later, behind) = self.behind(self.next)?;
            if behind.is_some() {
                doubt.end();
            }
            self.try_refresh_mark()?;
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
            let from = self.next * u64::from(self.mark.segment_size);
            let is_loss = match &later {
                Some(later) => self.loses(later, from, false),
                None if from < self.mark.durable => self.mark.sequence > self.next_sequence(),
                None => return Ok(false),
            };
            if is_loss && self.looks_again(&mut doubt, refused.is_some()) {
                continue;
            }
            match later {
                Some(later) => self.skip_to(&later, from, false, refused),
                None => self.skip_to_mark(from, refused),
            }
            return Ok(true);
        }
    }

    /// A segment, from memory or else from disk; `None` if it is not there (yet).
    pub(super) fn load(&mut self, number: u64) -> Result<Option<Current>, LoadError> {
        let in_memory = shared(&self.places, &self.mark, number);
        if let Ok(Some(_)) | Err(LoadError::Failed(_)) = in_memory {
            return Ok(in_memory?.and_then(|segment| self.of_memory(segment)));
        }
        let end = (number + 1) * u64::from(self.mark.segment_size);
        // What the mark does not prove whole may be written at the moment.
        let mut is_written = if end > self.mark.durable { Some(self.asks_writer()?) } else { None };
        loop {
            let storage = self.places.storage.as_ref();
            let Some((segment, header)) = disk_copy::load(storage, &self.mark, number, Access::Read)? else {
                // Why its memory cannot be used, where that is what it needs.
                return in_memory.map(|_| None);
            };
            let mut copy = kept(&segment, &header, &self.mark);
            if !copy.is_sealed || !copy.holes.is_empty() {
                // Before anything is called damaged or torn: the file may have been given to a newer segment while it was
                // read, for which the floor was moved before; a writer may have come; evidence may be newer.
                if let Some(newer) = self.newer_mark()?.filter(|newer| number < newer.floor) {
                    self.mark = newer;
                    return Ok(None);
                }
                match shared(&self.places, &self.mark, number) {
                    Ok(Some(segment)) => return Ok(self.of_memory(segment)),
                    Err(error @ LoadError::Failed(_)) => return Err(error),
                    Ok(None) | Err(LoadError::Refused(_)) => {}
                }
                if is_written.is_none() {
                    is_written = Some(self.asks_writer()?);
                    continue;
                }
            }
            if is_written == Some(true) && end > self.mark.durable && header.epoch >= self.mark.epoch {
                copy.leave_open(&segment, &header, &self.mark);
            }
            return Ok(Some(Current::new(segment, &header, Some(copy))));
        }
    }

    /// The beginning of a segment in memory, if it has a header.
    fn of_memory(&self, segment: Segment) -> Option<Current> {
        let header = segment.header(&self.mark.journal)?;
        Some(Current::new(segment, &header, None))
    }
}

/// A place at the end of what a segment holds.
pub(super) struct Left {
    pub(super) number: u64,
    pub(super) epoch: u32,
    pub(super) offset: usize,
    pub(super) position: u64,
    pub(super) anchor_time: u64,
    pub(super) is_copy: bool,
    pub(super) is_open: bool,
}

/// What recovery would keep of a segment that was read from disk.
fn kept(segment: &Segment, header: &SegmentHeader, mark: &MarkSlot) -> Copied {
    let evidence = Evidence::of(mark);
    let kept = decide(segment, header, &scan(segment, header, evidence), evidence);
    let holes = kept.holes.into();
    Copied { end: kept.end, sequence: kept.sequence, is_sealed: kept.is_sealed, is_open: false, holes }
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
    pub(super) fn reaches_beyond(&self, offset: usize) -> bool {
        match &self.copy {
            Some(copy) => copy.end > offset,
            None => self.segment.frame(offset).is_some(),
        }
    }

    /// The same segment, read on from an offset.
    pub(super) fn from(mut self, offset: usize, anchor_time: u64) -> Self {
        if let Some(copy) = &mut self.copy {
            copy.holes.retain(|hole| hole.to > offset);
        }
        Self { offset, anchor_time, ..self }
    }
}
