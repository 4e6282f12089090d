//! Readers: the same messages in memory and on disk, in order, each once.
//!
//! A reader enters segment N only when N−1 is sealed (or it begins there): from shared memory if it is there, else from
//! the disk, else it is below the floor, else it looks again. A segment on disk is read whole into memory of the
//! reader's own and its checksums are verified; it is never mapped. Readers write nothing and need no writer: without
//! one they show what recovery would keep.

mod disk;
mod missing;

use std::{
    fmt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    control::Control,
    error::{OpenError, ReadError},
    layout::{FIRST_FRAME, FLAG_MORE, MarkSlot, SegmentHeader, Word},
    mark,
    memory::SegmentMemory,
    names,
    readers::Presence,
    recovery::decide,
    scan::scan,
    segment::Segment,
    storage::{Access, Storage},
    waiters::{Event, Waiters},
};

use disk::DiskCopy;
pub(crate) use disk::{disk_header, load_from_disk};

/// Polls without a message between two looks at the clock, and the least time between two looks at whether the
/// journal's owner changed: the former costs tens of nanoseconds, the latter system calls.
const GLANCE_EVERY: u32 = 256;
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Where a journal lives.
#[derive(Debug, Clone)]
pub struct Places {
    /// Its directory on disk.
    pub storage: Arc<dyn Storage>,
    /// Its directory in shared memory.
    pub memory_dir: PathBuf,
}

/// Which message comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// The oldest that is retained.
    Oldest,
    /// The next one to be published.
    Newest,
    /// The one with this sequence.
    Sequence(u64),
}

/// When a message may be delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// As soon as it is published: it survives the death of any process.
    Published,
    /// Once it is durable: it survives power loss.
    Durable,
}

/// A message in a journal.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// Its sequence.
    pub sequence: u64,
    /// Its kind.
    pub kind: u16,
    /// When it was published, nanoseconds since the Unix epoch.
    pub publish_time: u64,
    /// Epoch of its writer.
    pub epoch: u32,
    /// Its position.
    pub position: u64,
    /// Whether a batch ends with it.
    pub batch_end: bool,
    /// Its bytes, 16-aligned, in the segment itself.
    pub body: &'a [u8],
}

/// How far a journal is. Each is the next sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermarks {
    /// Oldest retained.
    pub first: u64,
    /// Published.
    pub published: u64,
    /// Durable.
    pub durable: u64,
    /// Newest epoch.
    pub epoch: u32,
}

/// The segment that is being read.
#[derive(Debug)]
struct Current {
    segment: Segment,
    epoch: u32,
    offset: usize,
    anchor_time: u64,
    /// Read from disk.
    copy: Option<DiskCopy>,
}

/// Reads one journal.
pub struct Reader {
    places: Places,
    mark: MarkSlot,
    gate: Gate,
    control: Option<Control>,
    waiters: Option<Waiters>,
    current: Option<Current>,
    /// Segment to enter next.
    next: u64,
    sequence: u64,
    /// Messages below are passed over.
    from: u64,
    idle: u32,
    looked: Instant,
    /// A fault to report before going on.
    pending: Option<ReadError>,
    /// A frame that was found and not delivered yet.
    found: Option<(usize, Word)>,
    /// Where the reader shows how far it is, once it follows a journal in shared memory.
    presence: Option<Presence>,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("sequence", &self.sequence)
            .field("gate", &self.gate)
            .finish_non_exhaustive()
    }
}

impl Reader {
    /// Opens a journal for reading.
    ///
    /// # Errors
    /// [`OpenError::Missing`] where there is none, [`OpenError::Version`] for another format.
    pub fn open(places: Places, start: Start, gate: Gate) -> Result<Self, OpenError> {
        let mark = mark::read(places.storage.as_ref(), &places.memory_dir)?;
        let mut reader = Self {
            control: Control::attach(&places.memory_dir.join(Control::NAME), &mark.journal),
            waiters: Waiters::attach(&places.memory_dir.join(Waiters::NAME)),
            places,
            mark,
            gate,
            current: None,
            next: 0,
            sequence: 0,
            from: 0,
            idle: 0,
            looked: Instant::now(),
            pending: None,
            found: None,
            presence: None,
        };
        reader.locate(start);
        Ok(reader)
    }

    /// Sequence of the next message.
    pub fn next_sequence(&self) -> u64 {
        self.sequence.max(self.from)
    }

    /// The journal's identity.
    pub fn journal(&self) -> [u8; 16] {
        self.mark.journal
    }

    /// Bytes of a segment.
    pub fn segment_size(&self) -> u64 {
        self.mark.segment_size.into()
    }

    /// Whether the journal was closed cleanly by its writer and has none now.
    pub fn is_closed(&mut self) -> bool {
        self.look();
        self.control.is_none() && self.mark.clean == 1
    }

    /// Whether shared memory of a writer, live or dead, is there.
    pub fn is_attached(&self) -> bool {
        self.control.is_some()
    }

    /// The control page, while there is one.
    pub fn control(&self) -> Option<&Control> {
        self.control.as_ref()
    }

    /// Whether [`Reader::poll`] would deliver a message now.
    ///
    /// # Errors
    /// As [`Reader::poll`].
    #[inline]
    pub fn has_next(&mut self) -> Result<bool, ReadError> {
        if self.found.is_none() {
            self.found = self.advance()?;
        }
        Ok(self.found.is_some())
    }

    /// The next message, if there is one at the gate.
    ///
    /// # Errors
    /// [`ReadError`]; each fault is reported once and the next poll goes on behind it.
    #[inline]
    pub fn poll(&mut self) -> Result<Option<Frame<'_>>, ReadError> {
        if !self.has_next()? {
            return Ok(None);
        }
        let (offset, word) = self.found.take().expect("`has_next` found it");
        let current = self.current.as_ref().expect("`advance` found a frame in it");
        let sequence = self.sequence;
        self.sequence += 1;
        if let Some(presence) = &self.presence {
            presence.tell(self.sequence);
        }
        Ok(Some(Frame {
            sequence,
            kind: word.kind,
            publish_time: current.anchor_time + u64::from(current.segment.delta(offset)),
            epoch: current.epoch,
            position: current.segment.position(offset),
            batch_end: word.flags & FLAG_MORE == 0,
            body: current.segment.body(offset, word),
        }))
    }

    /// Finds the next frame of the user's and steps behind it.
    #[inline]
    fn advance(&mut self) -> Result<Option<(usize, Word)>, ReadError> {
        loop {
            if let Some(fault) = self.pending.take() {
                return Err(fault);
            }
            let Some(current) = &mut self.current else {
                if self.enter()? {
                    continue;
                }
                return Ok(None);
            };
            let offset = current.offset;
            if let Some(copy) = &mut current.copy {
                if let Some(hole) = copy.holes.pop_front_if(|hole| hole.from <= offset) {
                    current.offset = hole.to;
                    self.sequence = hole.next;
                    let segment = &current.segment;
                    let (from, to) = (segment.position(hole.from), segment.position(hole.to));
                    return Err(ReadError::Damage { from, to, sequences: (hole.first, hole.next) });
                }
                if offset >= copy.end {
                    return self.at_end();
                }
            }
            let word = match current.segment.frame(offset) {
                Some(Ok(word)) => word,
                None => return self.at_end(),
                Some(Err(())) => return Err(self.lose_current()),
            };
            if self.gate == Gate::Durable && !is_durable(self.control.as_ref(), current, offset) {
                return self.at_end();
            }
            current.offset += word.stride();
            self.idle = 0;
            if word.is_user() {
                if self.sequence < self.from {
                    self.sequence += 1;
                    continue;
                }
                return Ok(Some((offset, word)));
            }
            if let Some(anchor) = current.segment.anchor(offset, word) {
                current.anchor_time = anchor.time;
            } else if current.segment.seal(offset, word).is_some() {
                self.next = current.segment.number().saturating_add(1);
                self.current = None;
            }
        }
    }

    /// Nothing here yet: now and then looks whether the journal goes on elsewhere.
    #[cold]
    fn at_end(&mut self) -> Result<Option<(usize, Word)>, ReadError> {
        self.glance();
        match self.pending.take() {
            Some(fault) => Err(fault),
            None => Ok(None),
        }
    }

    /// Looks whether the journal's owner changed, if that was not done just now.
    fn glance(&mut self) {
        self.idle = self.idle.wrapping_add(1);
        if self.idle.is_multiple_of(GLANCE_EVERY) && self.looked.elapsed() >= LOOK_EVERY {
            self.look();
        }
    }

    /// A frame that no writer of ours can have written: the segment is given up as damaged.
    #[cold]
    fn lose_current(&mut self) -> ReadError {
        let current = self.current.take().expect("the caller reads it");
        self.next = current.segment.number() + 1;
        let from = current.segment.position(current.offset);
        let to = current.segment.position(current.segment.size());
        ReadError::Damage { from, to, sequences: (self.sequence, self.sequence) }
    }

    /// Looks whether the control page is still the journal's, and whether a new epoch took over behind our back.
    fn look(&mut self) {
        self.looked = Instant::now();
        if self.control.as_ref().is_some_and(|control| !control.is_linked()) {
            (self.control, self.presence) = (None, None);
        }
        let attached = self.control.is_some();
        if !attached {
            let path = self.places.memory_dir.join(Control::NAME);
            self.control = Control::attach(&path, &self.mark.journal);
            self.waiters = Waiters::attach(&self.places.memory_dir.join(Waiters::NAME));
            if let Ok(Some(mark)) = mark::load(self.places.storage.as_ref()) {
                self.mark = mark;
            }
            self.show();
        }
        let (Some(control), Some(current)) = (&self.control, &self.current) else { return };
        // A writer came: a disk copy may go on, and an unsealed segment of an older epoch never will.
        let elsewhere = current.copy.is_some() || control.epoch() != current.epoch;
        if elsewhere
            && !matches!(current.segment.frame(current.offset), Some(Ok(_)) if current.copy.is_none())
        {
            self.relocate();
        }
    }

    /// Finds the place of the next sequence anew.
    fn relocate(&mut self) {
        let (sequence, epoch) =
            (self.next_sequence(), self.current.as_ref().map_or(0, |current| current.epoch));
        let headers = self.headers();
        let Some(newest) = headers.last() else { return };
        if newest.epoch > epoch && newest.epoch_sequence < sequence {
            self.pending = Some(ReadError::Regressed { to: newest.epoch_sequence });
            return self.locate(Start::Sequence(newest.epoch_sequence));
        }
        let at = headers.iter().rev().find(|header| header.sequence <= sequence);
        let here = self.current.as_ref().map(|current| current.segment.number());
        if at.is_some_and(|header| Some(header.number) != here || self.control.is_some()) {
            self.locate(Start::Sequence(sequence));
        }
    }

    /// The headers of all segments, in memory and on disk, from the floor on.
    pub(crate) fn headers(&self) -> Vec<SegmentHeader> {
        let mut numbers: Vec<u64> = self
            .places
            .storage
            .names()
            .unwrap_or_default()
            .iter()
            .filter_map(|n| names::segment_number(n))
            .collect();
        if let Ok(entries) = std::fs::read_dir(&self.places.memory_dir) {
            let shared =
                entries.flatten().filter_map(|entry| names::segment_number(entry.file_name().to_str()?));
            numbers.extend(shared);
        }
        numbers.sort_unstable();
        numbers.dedup();
        numbers.retain(|number| *number >= self.mark.floor);
        numbers.into_iter().filter_map(|number| self.header(number)).collect()
    }

    fn header(&self, number: u64) -> Option<SegmentHeader> {
        if let Some(segment) = self.shared(number) {
            return segment.header(&self.mark.journal);
        }
        disk_header(self.places.storage.as_ref(), number).filter(|header| header.journal == self.mark.journal)
    }

    /// Goes to where a start says. What is not there is found out when it is entered.
    fn locate(&mut self, start: Start) {
        let headers = self.headers();
        self.current = None;
        let header = match start {
            Start::Oldest => {
                self.pending = headers.first().and_then(|first| self.missing_before(first));
                headers.first()
            }
            Start::Newest => headers.last(),
            Start::Sequence(sequence) => {
                let below = headers.iter().rev().find(|header| header.sequence <= sequence);
                if let (None, Some(first)) = (below, headers.first()) {
                    let retired = ReadError::Retired { first: first.sequence };
                    self.pending = Some(self.missing_before(first).unwrap_or(retired));
                }
                below.or(headers.first())
            }
        };
        (self.next, self.sequence) =
            header.map_or((self.mark.floor, 0), |header| (header.number, header.sequence));
        self.from = match start {
            Start::Sequence(sequence) => sequence,
            Start::Oldest => 0,
            Start::Newest => self.end_sequence(),
        };
    }

    /// Sequence behind the newest message, from `next` on.
    fn end_sequence(&self) -> u64 {
        let mut number = self.next;
        let mut sequence = self.sequence;
        while let Some(current) = self.load(number).ok().flatten() {
            let (end, is_sealed) = walk_to_end(&current);
            sequence = end;
            if !is_sealed {
                break;
            }
            number += 1;
        }
        sequence
    }

    fn shared(&self, number: u64) -> Option<Segment> {
        let path = self.places.memory_dir.join(names::segment(number));
        let memory = SegmentMemory::open(&path, Access::Read, self.mark.segment_size as usize).ok()?;
        Some(Segment::shared(memory, number))
    }

    /// Enters the next segment; false if it is not there yet.
    #[cold]
    fn enter(&mut self) -> Result<bool, ReadError> {
        self.glance();
        let Some((current, sequence)) = self.load(self.next)? else {
            return self.not_there();
        };
        if current.epoch > 1 && sequence < self.sequence {
            self.pending = Some(ReadError::Regressed { to: sequence });
        }
        if self.pending.is_none() && sequence > self.sequence && self.sequence > 0 {
            let position = current.segment.position(0);
            let sequences = (self.sequence, sequence);
            self.pending = Some(ReadError::Damage { from: position, to: position, sequences });
        }
        self.sequence = sequence;
        self.current = Some(current);
        self.show();
        Ok(true)
    }

    /// Lets others see this reader, as long as it follows a journal in shared memory.
    fn show(&mut self) {
        if self.presence.is_none() && self.control.is_some() && self.current.is_some() {
            self.presence = Presence::announce(&self.places.memory_dir, self.gate, self.next_sequence());
        }
    }

    /// The next segment is neither in memory nor on disk.
    fn not_there(&mut self) -> Result<bool, ReadError> {
        if let Ok(Some(mark)) = mark::load(self.places.storage.as_ref()) {
            self.mark = mark;
        }
        if self.next >= self.mark.floor {
            return self.pass_missing();
        }
        let headers = self.headers();
        let Some(first) = headers.first() else { return Ok(false) };
        (self.next, self.sequence) = (first.number, first.sequence);
        if self.from > first.sequence {
            return Ok(false);
        }
        Err(ReadError::Retired { first: first.sequence })
    }

    /// A segment and its first sequence, from memory or else from disk.
    fn load(&self, number: u64) -> Result<Option<(Current, u64)>, ReadError> {
        if let Some(segment) = self.shared(number) {
            let Some(header) = segment.header(&self.mark.journal) else { return Ok(None) };
            let current = Current {
                segment,
                epoch: header.epoch,
                offset: FIRST_FRAME,
                anchor_time: header.time,
                copy: None,
            };
            return Ok(Some((current, header.sequence)));
        }
        let Some((segment, header)) = load_from_disk(&self.places, &self.mark, number)? else {
            return Ok(None);
        };
        let found = scan(&segment, &header);
        if !found.sealed && self.control.is_some() && self.shared(number).is_some() {
            return Ok(None);
        }
        let kept = decide(&segment, &header, &found, self.mark.durable, self.mark.sequence);
        let current = Current {
            segment,
            epoch: header.epoch,
            offset: FIRST_FRAME,
            anchor_time: header.time,
            copy: Some(DiskCopy {
                end: kept.end,
                sequence: kept.sequence,
                is_sealed: found.sealed && !kept.is_cut,
                holes: kept.holes.into(),
            }),
        };
        Ok(Some((current, header.sequence)))
    }

    /// How far the journal is now. Walks from the reader's own place, so it is cheap at the end of the journal.
    pub fn watermarks(&mut self) -> Watermarks {
        self.look();
        let headers = self.headers();
        let first = headers.first().map_or(self.mark.sequence, |header| header.sequence);
        let mut end = Self { pending: None, current: None, control: None, waiters: None, ..self.fork() };
        (end.next, end.sequence) =
            headers.last().map_or((self.next, self.mark.sequence), |header| (header.number, header.sequence));
        let written = end.end_sequence();
        // Nobody writes: what the mark proves was published, even if it is gone.
        let published = if self.control.is_none() { written.max(self.mark.sequence) } else { written };
        let epoch = headers.last().map_or(self.mark.epoch, |header| header.epoch);
        let durable =
            self.control.as_ref().map_or(published, |control| control.durable_sequence().min(published));
        Watermarks { first, published, durable, epoch }
    }

    fn fork(&self) -> Self {
        Self {
            places: self.places.clone(),
            mark: self.mark,
            gate: self.gate,
            control: None,
            waiters: None,
            current: None,
            next: self.next,
            sequence: self.sequence,
            from: 0,
            idle: 0,
            looked: Instant::now(),
            pending: None,
            found: None,
            presence: None,
        }
    }

    /// Sleeps until something may have happened at the gate, at most `limit`.
    pub fn sleep(&mut self, limit: Duration) {
        self.look();
        let (Some(waiters), Some(control)) = (&self.waiters, &self.control) else {
            return std::thread::sleep(limit.min(Duration::from_millis(1)));
        };
        let Some(current) = &self.current else {
            return std::thread::sleep(limit.min(Duration::from_micros(50)));
        };
        let (event, before) = match self.gate {
            Gate::Published => (Event::Published, 0),
            Gate::Durable => (Event::Durable, control.durable_position()),
        };
        waiters.sleep(event, limit, || match self.gate {
            Gate::Published => current.segment.frame(current.offset).is_some(),
            Gate::Durable => control.durable_position() != before,
        });
    }
}

/// Whether the frame at `offset` may be delivered at the gate `durable`.
#[inline]
fn is_durable(control: Option<&Control>, current: &Current, offset: usize) -> bool {
    let position = current.segment.position(offset);
    current.copy.is_some() || control.is_none_or(|control| position < control.durable_position())
}

/// Sequence behind the last message of a segment, and whether it is sealed.
fn walk_to_end((current, first): &(Current, u64)) -> (u64, bool) {
    if let Some(copy) = &current.copy {
        return (copy.sequence, copy.is_sealed);
    }
    let (mut offset, mut sequence) = (FIRST_FRAME, *first);
    while let Some(Ok(word)) = current.segment.frame(offset) {
        if current.segment.seal(offset, word).is_some() {
            return (sequence, true);
        }
        sequence += u64::from(word.is_user());
        offset += word.stride();
    }
    (sequence, false)
}
