//! Readers: the same messages in memory and on disk, in order, each once.
//!
//! A reader enters segment N only when N−1 is sealed (or it begins there): from shared memory if it is there, else from
//! the disk, else it is below the floor, else it looks again. A segment on disk is read whole into memory of the
//! reader's own and its checksums are verified; it is never mapped. Readers write nothing and need no writer: without
//! one they show what recovery would keep. Of a segment that a writer has, which the owner's lock tells, and whose memory
//! they do not see, they show what the mark proves, whichever the gate, and read on as it moves (`follow`); what is
//! invalid behind that is no damage yet.

mod doubt;
mod ends;
mod follow;
mod lost;
mod place;

use std::{
    collections::VecDeque,
    fmt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    control::Control,
    disk_copy::LoadError,
    error::{OpenError, ReadError},
    layout::{FLAG_MORE, MarkSlot, Word},
    mark, names,
    readers::Presence,
    scan::Hole,
    segment::Segment,
    storage::Storage,
    waiters::{Event, Waiters},
};
pub use ends::Watermarks;

/// Polls without a message between two looks at the clock, and the least time between two looks at whether the
/// journal's owner changed: the former costs tens of nanoseconds, the latter system calls.
const GLANCE_EVERY: u32 = 256;
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// Between two looks at the mark of a journal whose memory is there, which may have a writer elsewhere by now: that costs a
/// read of the disk.
const MARK_EVERY: Duration = Duration::from_secs(1);

/// Between two tries to read what the system refuses or what is not found, after which it counts as lost.
const SECOND_TRY: Duration = Duration::from_millis(20);

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

/// The segment that is being read.
#[derive(Debug)]
struct Current {
    segment: Segment,
    epoch: u32,
    offset: usize,
    anchor_time: u64,
    /// Sequence of its first message.
    first: u64,
    /// What of it is read, where it came from disk.
    copy: Option<Copied>,
}

/// What recovery would keep of a segment on disk.
#[derive(Debug)]
struct Copied {
    /// Nothing is expected behind this offset.
    end: usize,
    /// Sequence there.
    sequence: u64,
    /// Whether that is for good.
    is_sealed: bool,
    /// Whether a writer was at it: what lay behind the end was not yet proven to be durable, and may come.
    is_open: bool,
    /// Damaged ranges that were not reported yet.
    holes: VecDeque<Hole>,
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
    /// When the mark was read.
    marked: Instant,
    /// A fault to report before going on.
    pending: VecDeque<ReadError>,
    /// The word of the next frame if that was found to be a message to deliver, else `None`.
    found: Option<Word>,
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
    /// [`OpenError::Missing`] where there is none, [`OpenError::Version`] for another format; [`OpenError::Io`] where the
    /// system gives too little to look, such as descriptors.
    pub fn open(places: Places, start: Start, gate: Gate) -> Result<Self, OpenError> {
        let mark = mark::read(places.storage.as_ref(), &places.memory_dir)?;
        let mut reader = Self {
            control: Control::attach_current(&places.memory_dir.join(Control::NAME), &mark),
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
            marked: Instant::now(),
            pending: VecDeque::new(),
            found: None,
            presence: None,
        };
        let failed = |error: LoadError| OpenError::Io {
            what: "list the segments",
            path: names::MARK.into(),
            error: std::io::Error::other(error.to_string()),
        };
        reader.locate(start).map_err(failed)?;
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
        Ok(self.found.is_some() || self.advance()?)
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
        let word = self.found.take().expect("`has_next` found it");
        let current = self.current.as_mut().expect("`advance` found a frame in it");
        let offset = current.offset;
        current.offset += word.stride();
        let sequence = self.sequence;
        self.sequence += 1;
        if let Some(presence) = &self.presence {
            presence.tell(self.sequence);
        }
        Ok(Some(Frame {
            sequence,
            kind: word.kind,
            publish_time: current.anchor_time.saturating_add(u64::from(current.segment.delta(offset))),
            epoch: current.epoch,
            position: current.segment.position(offset),
            batch_end: word.flags & FLAG_MORE == 0,
            body: current.segment.body(offset, word),
        }))
    }

    /// Goes to the next message to deliver; false where there is none yet.
    #[inline]
    fn advance(&mut self) -> Result<bool, ReadError> {
        loop {
            if !self.pending.is_empty() {
                return self.report();
            }
            let Some(current) = &mut self.current else {
                if self.enter()? {
                    continue;
                }
                return Ok(false);
            };
            let offset = current.offset;
            if let Some(copy) = &mut current.copy {
                if let Some(hole) = copy.holes.pop_front_if(|hole| hole.from <= offset) {
                    self.step_over(hole)?;
                    continue;
                }
                if offset >= copy.end {
                    // What follows is looked for at once, and then now and then.
                    if self.idle == 0 && self.go_on() {
                        continue;
                    }
                    return self.at_end();
                }
            }
            let word = match current.segment.frame(offset) {
                Some(Ok(word)) => word,
                None => {
                    current.segment.fetch_behind(offset);
                    return self.at_end();
                }
                Some(Err(())) => return Err(self.lose_current()),
            };
            if self.gate == Gate::Durable && !is_durable(self.control.as_ref(), &self.mark, current, offset) {
                return self.at_end();
            }
            self.idle = 0;
            if word.is_user() {
                if self.sequence < self.from {
                    current.offset += word.stride();
                    self.sequence += 1;
                    continue;
                }
                self.found = Some(word);
                return Ok(true);
            }
            current.offset += word.stride();
            if let Some(anchor) = current.segment.anchor(offset, word) {
                current.anchor_time = anchor.time;
            } else if current.segment.seal(offset, word).is_some() {
                self.next = current.segment.number() + 1;
                self.current = None;
            }
        }
    }

    /// Tells the fault that is to be told before going on, if there is one.
    #[cold]
    fn report(&mut self) -> Result<bool, ReadError> {
        self.pending.pop_front().map_or(Ok(false), Err)
    }

    /// Goes on behind damage. It is reported unless all of it lies before the message that was asked for first.
    #[cold]
    fn step_over(&mut self, hole: Hole) -> Result<(), ReadError> {
        let current = self.current.as_mut().expect("the caller reads it");
        current.offset = hole.to;
        let (from, to) = (current.segment.position(hole.from), current.segment.position(hole.to));
        self.sequence = hole.next;
        if hole.next < self.from || (hole.next == self.from && hole.first < hole.next) {
            return Ok(());
        }
        let sequences = (hole.first.max(self.from), hole.next);
        Err(ReadError::Damage { from, to, sequences, refused: None })
    }

    /// Nothing here yet: now and then looks whether the journal goes on elsewhere.
    #[cold]
    fn at_end(&mut self) -> Result<bool, ReadError> {
        self.glance();
        self.report()
    }

    /// Looks whether the journal's owner changed, if that was not done just now.
    fn glance(&mut self) {
        self.idle = self.idle.wrapping_add(1);
        if self.idle.is_multiple_of(GLANCE_EVERY) && self.looked.elapsed() >= LOOK_EVERY {
            self.look();
        }
    }

    /// A frame that no writer of ours can have written: the rest of the segment is given up as damaged.
    #[cold]
    fn lose_current(&mut self) -> ReadError {
        let current = self.current.take().expect("the caller reads it");
        self.next = current.segment.number() + 1;
        let from = current.segment.position(current.offset);
        let to = current.segment.position(current.segment.size());
        ReadError::Damage { from, to, sequences: (self.sequence, self.sequence), refused: None }
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
        let event = match self.gate {
            Gate::Published => Event::Published,
            Gate::Durable => Event::Durable,
        };
        waiters.sleep(event, limit, || {
            let is_there = current.segment.frame(current.offset).is_some();
            let is_free = self.gate == Gate::Published
                || is_durable(Some(control), &self.mark, current, current.offset);
            is_there && is_free
        });
    }
}

/// Whether the frame at `offset` may be delivered at the gate `durable`. What recovery keeps of a disk without a writer is.
#[inline]
fn is_durable(control: Option<&Control>, mark: &MarkSlot, current: &Current, offset: usize) -> bool {
    let position = current.segment.position(offset);
    match control {
        Some(control) => position < control.durable_position(),
        None => current.copy.is_some() || position < mark.durable,
    }
}
