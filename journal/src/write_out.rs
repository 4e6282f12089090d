//! The write-out of a journal: from the live segments to disk, in order, a few large writes at a time.
//!
//! It walks the frames behind the writer, stamps their checksums, and writes whole blocks straight from the shared
//! memory; a short tail goes through a bounce buffer, so that a block in flight never changes. Where more waits than the
//! disk takes, a second write follows the first; `durable` moves when all up to it is complete. Frames of a derived
//! journal wait until the messages that caused them are durable in their own journals. While the disk is busy it
//! prepares segments and retires old ones, one slow step at a time.

mod ahead;

use std::{collections::VecDeque, fmt, io, path::PathBuf, sync::Arc};

use crate::{
    checksum::Salt,
    control::{Control, State},
    error::Room,
    helper::Hands,
    in_flight::{BOUNCE, Group, InFlight, group},
    keepers,
    layout::{BLOCK, FIRST_FRAME},
    mark::Mark,
    names,
    prepare::{Twin, is_no_room},
    progress::{Input, Progress},
    readers,
    retention::{Retained, Retired, Step, remove_disk},
    segment::Segment,
    storage::{AlignedBuffer, Completion, Engine, Storage, Write},
    supply::{Done, Supply, remove_memory},
    waiters::{Event, Waiters},
    writer::Shortage,
};

/// Under load a short write begins this long after the one before, so that it has company, in nanoseconds.
const PACE: u64 = 250_000;
/// The mark follows `durable` within this time, in nanoseconds.
const MARK_WITHIN: u64 = 8_000_000;
/// After a shortage the next try waits this long, in nanoseconds.
const RETRY: u64 = 50_000_000;
/// Segments ready ahead of the writer.
pub(crate) const AHEAD: usize = 4;

/// A segment that is not retired.
#[derive(Debug)]
struct Live {
    segment: Arc<Segment>,
    /// `None` while its blocks are written elsewhere.
    twin: Option<Twin>,
}

/// A segment that is durable to its end, whose memory was not given up yet.
#[derive(Debug)]
struct Over {
    live: Live,
    /// Bytes of it that are used.
    used: usize,
    /// Sequence after its last message.
    end: u64,
    /// Whether the mark says so.
    is_marked: bool,
}

/// What a write-out starts from.
pub(crate) struct Parts {
    pub(crate) journal: [u8; 16],
    pub(crate) epoch: u32,
    pub(crate) segment_size: usize,
    pub(crate) memory_budget: usize,
    pub(crate) retained: Retained,
    pub(crate) sequence: u64,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) memory_dir: PathBuf,
    pub(crate) control: Arc<Control>,
    pub(crate) waiters: Arc<Waiters>,
    pub(crate) shortage: Arc<Shortage>,
    pub(crate) mark: Mark,
    pub(crate) inputs: Vec<Box<dyn Input>>,
    pub(crate) first: (Arc<Segment>, Twin),
    pub(crate) prepared: rtrb::Producer<Arc<Segment>>,
}

/// The write-out of one journal. Driven by [`WriteOut::work`], with an engine that several journals share.
pub struct WriteOut {
    parts: Settings,
    salt: Salt,
    /// Bytes of the largest write.
    group: usize,
    /// Segments to write, the first of them now.
    queue: VecDeque<Live>,
    over: VecDeque<Over>,
    progress: Progress,
    /// In the next segment, once the front one is walked to its end.
    coming: Option<Progress>,
    in_flight: InFlight,
    bounce: AlignedBuffer,
    supply: Supply,
    next_number: u64,
    prepared: rtrb::Producer<Arc<Segment>>,
    retained: Retained,
    recycled: Option<String>,
    /// A new segment waits for the next mark, with which the oldest one goes.
    wants_cut: bool,
    last_write: u64,
    /// Whether more had come by the end of the last write: then waiting for company pays, and costs nobody who publishes
    /// one message and waits for it to be durable.
    is_under_load: bool,
    retry_at: u64,
    /// After the disk had no room for something: when it is asked again.
    stalled_until: Option<u64>,
    mark_due: Option<u64>,
    poisoned: bool,
}

/// The parts that stay as they are.
struct Settings {
    segment_size: usize,
    memory_budget: usize,
    storage: Arc<dyn Storage>,
    memory_dir: PathBuf,
    control: Arc<Control>,
    waiters: Arc<Waiters>,
    shortage: Arc<Shortage>,
    mark: Mark,
    inputs: Vec<Box<dyn Input>>,
}

impl fmt::Debug for WriteOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteOut")
            .field("live", &self.queue)
            .field("in_flight", &self.in_flight)
            .finish_non_exhaustive()
    }
}

impl WriteOut {
    pub(crate) fn begin(parts: Parts) -> Self {
        let (segment, twin) = parts.first;
        parts.control.set_retention(parts.retained.retention().map(|retention| retention.bytes));
        Self {
            salt: Salt::new(&parts.journal, parts.epoch),
            group: group(parts.segment_size),
            next_number: segment.number() + 1,
            queue: VecDeque::from([Live { segment, twin: Some(twin) }]),
            over: VecDeque::new(),
            progress: Progress::new(parts.sequence),
            coming: None,
            in_flight: InFlight::default(),
            bounce: AlignedBuffer::zeroed(BOUNCE + BLOCK),
            supply: Supply::new(Arc::clone(&parts.storage), parts.memory_dir.clone()),
            prepared: parts.prepared,
            retained: parts.retained,
            recycled: None,
            wants_cut: false,
            last_write: 0,
            is_under_load: false,
            retry_at: 0,
            stalled_until: None,
            mark_due: None,
            poisoned: false,
            parts: Settings {
                segment_size: parts.segment_size,
                memory_budget: parts.memory_budget,
                storage: parts.storage,
                memory_dir: parts.memory_dir,
                control: parts.control,
                waiters: parts.waiters,
                shortage: parts.shortage,
                mark: parts.mark,
                inputs: parts.inputs,
            },
        }
    }

    /// Does what is due at `now` (nanoseconds of any monotone clock) and returns how much that was. `token` names this
    /// journal to the engine. What goes wrong poisons the journal, which its writer and everybody else then sees.
    pub fn work(&mut self, engine: &mut dyn Engine, token: u64, now: u64) -> usize {
        if self.poisoned {
            return 0;
        }
        if self.stalled_until.is_some_and(|until| now < until) {
            return 0;
        }
        let done = self.try_work(engine, token, now);
        done.unwrap_or_else(|error| {
            self.fail(&error, now);
            1
        })
    }

    fn try_work(&mut self, engine: &mut dyn Engine, token: u64, now: u64) -> io::Result<usize> {
        // What follows a write in flight is walked meanwhile, so that the disk goes on at once when it is free.
        let mut work = self.walk()?;
        if self.leave(now) {
            work += 1 + self.walk()?;
        }
        work += self.write(engine, token, now)?;
        Ok(work + self.keep_house(now)?)
    }

    /// One step of what is slow, while the disk is busy or nothing waits for it.
    fn keep_house(&mut self, now: u64) -> io::Result<usize> {
        if self.over.front().is_some_and(|over| over.is_marked) {
            return self.retire().map(|()| 1);
        }
        // One mark serves all that wait for it. It comes at once only where writer and disk would run out of segments.
        let is_waited_for = self.wants_cut || !self.over.is_empty();
        let is_pressed = is_waited_for && self.ahead() == 0 && self.queue.len() <= 2;
        if is_pressed || self.mark_due.is_some_and(|due| now >= due) {
            return self.mark().map(|()| 1);
        }
        self.prepare(now)
    }

    /// Takes the completion of a write of this journal.
    pub fn complete(&mut self, done: Completion, now: u64) {
        self.in_flight.complete(done.offset, done.result);
        while let Some((group, result)) = self.in_flight.pop() {
            match result {
                _ if self.poisoned => {}
                Ok(()) => self.advance(group, now),
                Err(error) => self.fail(&error, now),
            }
        }
    }

    /// Books a write that is durable, and all before it.
    fn advance(&mut self, group: Group, now: u64) {
        self.end_stall();
        let progress = &mut self.progress;
        let reached = progress.reach(group.end);
        self.parts.control.count_write(group.length as u64);
        let Some(live) = self.queue.front() else { return };
        self.is_under_load = !progress.ends.is_empty() || live.segment.frame(progress.at).is_some();
        let Some((offset, sequence)) = reached else { return };
        let end = if progress.is_over() { self.parts.segment_size } else { offset };
        self.parts.control.set_durable(live.segment.position(end), sequence);
        self.mark_due.get_or_insert(now + MARK_WITHIN);
        self.parts.waiters.wake(Event::Durable);
    }

    /// Walks the frames that were committed, as far as one write reaches, and stamps them. Behind a sealed front segment
    /// it goes on in the next one, so that the disk need not wait for it there.
    fn walk(&mut self) -> io::Result<usize> {
        let (place, begun, progress) = if self.progress.sealed {
            let next = Progress::new(self.progress.sequence);
            (1, 0, self.coming.get_or_insert(next))
        } else {
            (0, self.in_flight.end().unwrap_or(0), &mut self.progress)
        };
        let Some(live) = self.queue.get(place) else { return Ok(0) };
        let limit = progress.written.max(begun) + self.group + BLOCK;
        let batches = progress.walk(&live.segment, self.salt, &mut self.parts.inputs, begun, limit)?;
        if batches > 0 {
            self.parts.control.set_published(live.segment.position(progress.at), progress.sequence);
        }
        Ok(batches)
    }

    /// Starts the next write, if there is something to write and its time has come.
    fn write(&mut self, engine: &mut dyn Engine, token: u64, now: u64) -> io::Result<usize> {
        let Some(live) = self.queue.front() else { return Ok(0) };
        let progress = &self.progress;
        let end = progress.end();
        let offset = self.in_flight.end().unwrap_or(progress.written);
        let pending = end.saturating_sub(offset);
        let Some(twin) = live.twin.as_ref().filter(|twin| twin.is_ready()) else { return Ok(0) };
        if end <= progress.durable || pending == 0 || engine.in_flight() >= engine.depth() {
            return Ok(0);
        }
        // A second write only where the disk is the bottleneck: a small one would only make the next one smaller. Behind
        // the last one of a segment nothing comes.
        let is_short = pending <= BOUNCE && !progress.sealed;
        let is_small = pending < self.group && !progress.sealed;
        let waits = if self.in_flight.is_empty() {
            is_short && self.is_under_load && now.saturating_sub(self.last_write) < PACE
        } else {
            is_small || !self.in_flight.may_begin()
        };
        if waits {
            return Ok(0);
        }
        let group = Group::next(offset, end, self.group, progress.sealed);
        // SAFETY: `offset` lies inside the segment.
        let mut bytes = unsafe { live.segment.base().add(offset) };
        if is_short {
            // SAFETY: committed bytes below `end`, inside the segment; only checksums ever change there, by this thread.
            let committed = unsafe { std::slice::from_raw_parts(bytes, pending) };
            self.bounce[..pending].copy_from_slice(committed);
            self.bounce[pending..group.length].fill(0);
            bytes = self.bounce.as_ptr();
        }
        let write =
            Write { file: Arc::clone(&twin.file), bytes, length: group.length, offset: offset as u64, token };
        // SAFETY: the bounce buffer is not touched and the segment neither unmapped nor, in these blocks, changed until
        // `complete` has taken this write's completion; a drop before that gives both up.
        unsafe { engine.submit(write)? };
        self.in_flight.begin(group);
        self.last_write = now;
        Ok(1)
    }

    /// Leaves the front segment once all of it is durable, if the writer has gone on to the next.
    fn leave(&mut self, now: u64) -> bool {
        if !self.front_is_over() || !self.is_left() {
            return false;
        }
        let (used, end) = (self.progress.durable, self.progress.sequence);
        let left = self.queue.pop_front().map(|live| Over { live, used, end, is_marked: false });
        self.over.extend(left);
        self.progress = self.coming.take().unwrap_or_else(|| Progress::new(end));
        self.mark_due.get_or_insert(now + MARK_WITHIN);
        true
    }

    /// Gives up the memory of a segment that is over.
    fn retire(&mut self) -> io::Result<()> {
        let Some(Over { live: Live { segment, twin }, used, end, .. }) = self.over.front() else {
            return Ok(());
        };
        let (number, end) = (segment.number(), *end);
        let twin = twin.as_ref().expect("what was written to the end had a twin to be written to");
        let bytes = twin.shorten(*used)?;
        if let Some(over) = self.over.pop_front() {
            let may_keep = self.segments() * self.parts.segment_size < self.parts.memory_budget;
            self.supply.give_back(over.live.segment, may_keep);
        }
        self.retained.segments.push_back(Retired { number, end, bytes });
        Ok(())
    }

    /// Whether the writer has gone on to the segment behind the front one.
    fn is_left(&self) -> bool {
        self.queue.get(1).is_some_and(|next| next.segment.frame(FIRST_FRAME).is_some())
    }

    /// Whether the front segment is sealed and durable to its end.
    fn front_is_over(&self) -> bool {
        self.progress.is_over() && self.in_flight.is_empty()
    }

    /// What has to be done before one more segment is made.
    fn room(&self) -> io::Result<Step> {
        // With the one that is to be made, which a recycled twin would become.
        let live = ((self.queue.len() + self.over.len() + 1) * self.parts.segment_size) as u64;
        if self.retained.fits(live) {
            return Ok(Step::Make);
        }
        let keepers = keepers::list(self.parts.storage.as_ref())?;
        let (_, first) = self.parts.control.floor();
        Ok(self.retained.step(live, first, &keepers))
    }

    /// Removes the oldest retired segment, behind the mark that says so.
    fn cut_oldest(&mut self, floor: u64, overrules: bool) -> io::Result<()> {
        let Some(oldest) = self.retained.segments.pop_front() else { return Ok(()) };
        self.parts.control.set_floor(floor, oldest.end);
        if overrules {
            self.parts.control.count_overruled();
        }
        let name = names::segment(oldest.number);
        if oldest.bytes == self.parts.segment_size as u64 {
            return self.reuse_or_remove(name);
        }
        remove_disk(self.parts.storage.as_ref(), &name)
    }

    /// Keeps a twin for the next segment, or removes it where one is kept already.
    fn reuse_or_remove(&mut self, name: String) -> io::Result<()> {
        if self.recycled.is_none() {
            self.recycled = Some(name);
            return Ok(());
        }
        remove_disk(self.parts.storage.as_ref(), &name)
    }

    /// Number of the segment that is being written.
    fn front_number(&self) -> u64 {
        self.queue.front().map_or(self.next_number, |live| live.segment.number())
    }

    /// Number of the oldest segment whose memory was not given up.
    fn oldest_in_memory(&self) -> u64 {
        self.over.front().map_or(self.front_number(), |over| over.live.segment.number())
    }

    /// Has a helper do what is slow.
    pub(crate) fn assist(&mut self, hands: Option<Hands>) {
        self.supply.assist(hands);
    }

    /// Shows the engine's name on the control page.
    pub(crate) fn show_backend(&self, name: &str) {
        self.parts.control.set_backend(name);
    }

    /// Whether the disk or the helper is at something, so that it cannot be given up at once.
    pub(crate) fn is_busy(&mut self) -> bool {
        !self.in_flight.is_empty() || self.supply.is_busy()
    }

    /// Whether the writer has sealed its last segment and all of it is durable.
    pub fn is_drained(&self) -> bool {
        self.poisoned || (self.front_is_over() && !self.is_left() && self.over.is_empty())
    }

    /// Ends a journal whose writer has sealed it and of which everything is durable: marks it clean and leaves no
    /// memory behind. A journal that is not drained, or poisoned, is left as it is for the next owner.
    ///
    /// Answers whether it was ended.
    ///
    /// # Errors
    /// What the disk answers.
    pub fn close(mut self) -> io::Result<bool> {
        if self.poisoned || !self.is_drained() {
            return Ok(false);
        }
        let (work, done) = self.supply.settle();
        self.take_back(work)?;
        if let Some(Done::Segment(segment, twin)) = done {
            // It goes with the other spare ones.
            self.queue.push_back(Live { segment, twin: Some(twin) });
        }
        self.mark()?;
        let (parts, progress) = (&mut self.parts, &self.progress);
        let mut queue = std::mem::take(&mut self.queue).into_iter();
        let last = queue.next().map_or(0, |live| {
            let _ = live.twin.map(|twin| twin.shorten(progress.durable));
            live.segment.number()
        });
        let end = (last + 1) * parts.segment_size as u64;
        for spare in queue {
            remove_memory(&parts.memory_dir, spare.segment.number());
            parts.storage.remove(&names::segment(spare.segment.number()))?;
        }
        if let Some(name) = &self.recycled {
            parts.storage.remove(name)?;
        }
        parts.storage.sync()?;
        parts.mark.write(|slot| (slot.clean, slot.durable, slot.newest) = (1, end, last))?;
        parts.control.set_state(State::Closed, 0);
        parts.waiters.wake(Event::Published);
        parts.waiters.wake(Event::Durable);
        remove_memory(&parts.memory_dir, last);
        for name in [Control::NAME, Waiters::NAME] {
            let _ = std::fs::remove_file(parts.memory_dir.join(name));
        }
        readers::remove_all(&parts.memory_dir);
        let _ = std::fs::remove_dir(&parts.memory_dir);
        Ok(true)
    }

    /// Makes evidence durable of how far the journal is durable and where it begins, for all that waits for it.
    fn mark(&mut self) -> io::Result<()> {
        let control = &self.parts.control;
        let (durable, sequence) = (control.durable_position(), control.durable_sequence());
        let newest = self.front_number();
        // Asked again, since somebody may have come meanwhile who needs it.
        let cut = match self.wants_cut.then(|| self.room()).transpose()? {
            Some(Step::Cut { overrules }) => Some(overrules),
            _ => None,
        };
        let mut retained = self.retained.segments.iter().skip(usize::from(cut.is_some()));
        let floor = retained.next().map_or(self.oldest_in_memory(), |oldest| oldest.number);
        self.parts.mark.write(|slot| {
            slot.durable = slot.durable.max(durable);
            slot.sequence = slot.sequence.max(sequence);
            slot.newest = slot.newest.max(newest);
            slot.floor = slot.floor.max(floor);
            slot.clean = 0;
        })?;
        self.mark_due = None;
        self.parts.control.count_mark();
        self.end_stall();
        self.over.iter_mut().for_each(|over| over.is_marked = true);
        self.wants_cut = false;
        cut.map_or(Ok(()), |overrules| self.cut_oldest(floor, overrules))
    }

    /// What an error of the disk means: no room is waited out, since nothing of a refused write was vouched for and it
    /// is written again whole; everything else poisons.
    fn fail(&mut self, error: &io::Error, now: u64) {
        if !is_no_room(error) {
            return self.poison(error);
        }
        self.parts.shortage.set(Some(Room::Disk));
        self.stalled_until = Some(now + RETRY);
    }

    /// The disk took something again.
    fn end_stall(&mut self) {
        if self.stalled_until.take().is_some() {
            self.parts.shortage.set(None);
        }
    }

    fn poison(&mut self, error: &io::Error) {
        self.poisoned = true;
        self.parts.control.set_state(State::Poisoned, error.raw_os_error().unwrap_or(libc::EIO));
        self.parts.waiters.wake(Event::Published);
        self.parts.waiters.wake(Event::Durable);
    }
}

impl Drop for WriteOut {
    /// What a write in flight reads is given up with it: the engine may still be writing from there.
    fn drop(&mut self) {
        if !self.in_flight.is_empty() {
            std::mem::forget(std::mem::replace(&mut self.bounce, AlignedBuffer::zeroed(0)));
            std::mem::forget(self.queue.front().map(|live| Arc::clone(&live.segment)));
        }
    }
}
