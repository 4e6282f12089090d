//! The writer: claim, fill in place, commit. Nothing here allocates, locks or calls the system but to wake a sleeper.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering, compiler_fence},
    },
};

use zerocopy::IntoBytes;

use crate::{
    checksum::Salt,
    control::Control,
    error::{PublishError, Room},
    layout::{
        ANCHOR_EVERY, ANCHOR_FRAME, Anchor, FIRST_FRAME, FLAG_MORE, FRAME_HEADER, KIND_ANCHOR, KIND_SEAL,
        KIND_USER_MAX, SEAL_FRAME, SEGMENT_MAGIC, Seal, SegmentHeader, VERSION, Word, largest_body, stride,
    },
    segment::{LINE, Segment},
    waiters::{Event, Waiters},
};

/// Why the write-out cannot prepare a segment, told to the writer in one word: 0 nothing, then the kinds of room.
#[derive(Debug, Default)]
pub(crate) struct Shortage(AtomicU64);

impl Shortage {
    pub(crate) fn set(&self, room: Option<Room>) {
        let word = match room {
            None => 0,
            Some(Room::Memory) => 1,
            Some(Room::Disk) => 2,
            Some(Room::Retention) => 3,
            Some(Room::Group) => 4,
        };
        self.0.store(word, Ordering::Relaxed); // ORDERING: a report that orders nothing
    }
    pub(crate) fn get(&self) -> Option<Room> {
        // ORDERING: Relaxed: a report that orders nothing.
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            1 => Some(Room::Memory),
            2 => Some(Room::Disk),
            3 => Some(Room::Retention),
            _ => Some(Room::Group),
        }
    }
}

/// What recovery found, from which a new epoch begins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Beginning {
    pub(crate) journal: [u8; 16],
    pub(crate) epoch: u32,
    pub(crate) segment_size: usize,
    /// Sequence of the next message.
    pub(crate) sequence: u64,
    /// Where the preceding epoch ended.
    pub(crate) previous_end: u64,
    pub(crate) window: u32,
}

/// The one writer of a journal. `Send`, neither `Sync` nor `Clone`.
pub struct Writer {
    segment: Arc<Segment>,
    /// Where the next frame goes.
    offset: usize,
    /// Where the last anchor stands, and its time.
    anchor: usize,
    anchor_time: u64,
    sequence: u64,
    beginning: Beginning,
    prepared: rtrb::Consumer<Arc<Segment>>,
    control: Arc<Control>,
    waiters: Arc<Waiters>,
    /// Whether sleepers sleep on until `wake`.
    holds_wakes: bool,
    shortage: Arc<Shortage>,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("epoch", &self.beginning.epoch)
            .field("sequence", &self.sequence)
            .finish()
    }
}

impl Writer {
    pub(crate) fn begin(
        beginning: Beginning,
        first: Arc<Segment>,
        prepared: rtrb::Consumer<Arc<Segment>>,
        control: Arc<Control>,
        waiters: Arc<Waiters>,
        shortage: Arc<Shortage>,
        now: u64,
    ) -> Self {
        let mut writer = Self {
            segment: first,
            offset: FIRST_FRAME,
            anchor: FIRST_FRAME,
            anchor_time: now,
            sequence: beginning.sequence,
            beginning,
            prepared,
            control,
            waiters,
            holds_wakes: false,
            shortage,
        };
        writer.open_segment(now);
        writer
    }

    /// Sequence of the next message.
    #[inline]
    pub fn next_sequence(&self) -> u64 {
        self.sequence
    }

    /// Epoch of this writer.
    pub fn epoch(&self) -> u32 {
        self.beginning.epoch
    }

    /// The next sequence to become durable.
    pub fn durable(&self) -> u64 {
        self.control.durable_sequence()
    }

    /// From now on nobody is woken by what is published, until [`Writer::wake`]. To wake a sleeper takes a system call,
    /// behind which the next message of several would have to wait; who polls sees each at once all the same.
    #[inline]
    pub fn hold_wakes(&mut self) {
        self.holds_wakes = true;
    }

    /// Wakes who sleeps until something is published, and from now on with each message again.
    #[inline]
    pub fn wake(&mut self) {
        self.holds_wakes = false;
        self.waiters.wake(Event::Published);
    }

    /// Wakes who sleeps, unless that is held.
    #[inline]
    fn published(&self) {
        if !self.holds_wakes {
            self.waiters.wake(Event::Published);
        }
    }

    /// The error number, if writing to disk failed.
    pub fn poison(&self) -> Option<i32> {
        self.control.poison()
    }

    /// The largest message that this journal takes, in bytes.
    #[inline]
    pub fn largest(&self) -> usize {
        largest_body(self.beginning.segment_size)
    }

    /// Claims room for a message of `length` bytes at time `now` (nanoseconds since the Unix epoch; what lies before an
    /// earlier time counts as that). Nothing is visible until [`Claim::commit`].
    ///
    /// # Errors
    /// [`PublishError`]; the journal is as it was.
    ///
    /// # Panics
    /// If `kind` is not a user's kind: 1 to [`KIND_USER_MAX`].
    #[inline]
    pub fn claim(
        &mut self,
        kind: u16,
        flags: u16,
        length: usize,
        now: u64,
    ) -> Result<Claim<'_>, PublishError> {
        self.check(kind, length)?;
        self.ready_at(stride(FRAME_HEADER + length), now)?;
        // SAFETY: `&mut self` makes this the only claim; the frame lies behind all committed ones.
        let room = unsafe { self.segment.claimed(self.offset, padded(length)) };
        Ok(Claim { writer: self, kind, flags, now, room, length })
    }

    /// Publishes a copy of `body` at the time that `clock` tells. See [`Writer::claim`].
    ///
    /// The clock is read when the frame's lines are on their way to this core: that takes as long as the reading or longer.
    ///
    /// # Errors
    /// [`PublishError`]; the journal is as it was.
    #[inline]
    pub fn append(
        &mut self,
        kind: u16,
        flags: u16,
        body: &[u8],
        clock: impl Fn() -> u64,
    ) -> Result<u64, PublishError> {
        self.check(kind, body.len())?;
        let word = Word { length: (FRAME_HEADER + body.len()) as u32, kind, flags };
        self.ready(word.stride(), &clock)?;
        let now = self.write(word, body, &clock);
        if self.needs_anchor(now) {
            self.ready_at(word.stride(), now)?;
            self.write(word, body, || now);
        }
        Ok(self.commit(self.offset, word, now))
    }

    /// Writes the body of the next frame, of which nobody sees anything yet, and says when.
    ///
    /// What is certainly on another line than the frame's word goes first, and the clock is read while that line is on its
    /// way to this core. The rest follows at one go: a reader that looks at the word meanwhile takes its line away, and who
    /// comes back to it waits for it twice.
    #[inline]
    fn write(&mut self, word: Word, body: &[u8], clock: impl Fn() -> u64) -> u64 {
        self.segment.clear(self.offset + word.stride());
        // SAFETY: `&mut self` excludes other claims; the frame lies behind all committed ones.
        let room = unsafe { self.segment.claimed(self.offset, padded(body.len())) };
        let (room, padding) = room.split_at_mut(body.len());
        padding.fill(0);
        let (near, far) = body.split_at(body.len().min(LINE - FRAME_HEADER));
        let (near_room, far_room) = room.split_at_mut(near.len());
        far_room.copy_from_slice(far);
        // ORDERING: only the compiler is kept from moving the copies; correctness asks for no order here.
        compiler_fence(Ordering::Release);
        let now = clock();
        copy_backwards(near_room, near);
        now
    }

    /// Opens a batch: messages that survive together or not at all.
    #[inline]
    pub fn batch(&mut self, now: u64) -> Batch<'_> {
        Batch {
            start: self.offset,
            at: self.offset,
            first: None,
            last: None,
            count: 0,
            now,
            anchored: false,
            writer: self,
        }
    }

    /// Refuses what no frame holds.
    #[inline]
    fn check(&self, kind: u16, length: usize) -> Result<(), PublishError> {
        assert!((1..=KIND_USER_MAX).contains(&kind), "kind {kind} is not a user's");
        if length > self.largest() {
            return Err(PublishError::TooLarge { length, largest: self.largest() });
        }
        Ok(())
    }

    /// Seals the journal: nothing can be published behind it. The write-out can then end it cleanly.
    pub fn close(self) {
        seal(&self.segment, self.offset, self.sequence, self.beginning.epoch, self.anchor_time);
        self.waiters.wake(Event::Published);
    }

    /// Brings the writer to a place where `room` bytes fit, with an anchor not too far behind: opens the next segment or
    /// writes an anchor where due, at the time that `clock` tells then.
    #[inline]
    fn ready(&mut self, room: usize, clock: impl Fn() -> u64) -> Result<(), PublishError> {
        self.check_poison()?;
        if self.offset + room + ANCHOR_FRAME + SEAL_FRAME > self.segment.size() {
            self.roll(clock(), &[])?;
        } else if self.offset - self.anchor >= ANCHOR_EVERY {
            self.write_anchor(clock());
        }
        Ok(())
    }

    /// As `ready`, with an anchor from which a frame's time field reaches to `now`.
    #[inline]
    fn ready_at(&mut self, room: usize, now: u64) -> Result<(), PublishError> {
        self.ready(room, || now)?;
        if self.needs_anchor(now) {
            self.write_anchor(now);
        }
        Ok(())
    }

    /// Whether the last anchor is too long ago for a frame of this time.
    #[inline]
    fn needs_anchor(&self, now: u64) -> bool {
        now.saturating_sub(self.anchor_time) > u64::from(u32::MAX)
    }

    /// Refuses once writing to disk has failed. The word's cache line changes only then, so asking costs a load.
    #[inline]
    fn check_poison(&self) -> Result<(), PublishError> {
        self.control.poison().map_or(Ok(()), |code| Err(PublishError::Poisoned(code)))
    }

    /// Publishes the frame at `offset`, behind which is cleared.
    #[inline]
    fn commit(&mut self, offset: usize, word: Word, now: u64) -> u64 {
        self.segment.fill(offset, self.delta(now));
        self.segment.commit(offset, word);
        self.offset = offset + word.stride();
        self.segment.fetch_ahead(self.offset);
        let sequence = self.sequence;
        self.sequence += 1;
        self.published();
        sequence
    }

    #[inline]
    fn delta(&self, now: u64) -> u32 {
        u32::try_from(now.saturating_sub(self.anchor_time)).unwrap_or(u32::MAX)
    }

    /// Seals the segment and opens the next one, moving `kept` (bytes of a batch that is not committed) there.
    #[cold]
    fn roll(&mut self, now: u64, kept: &[u8]) -> Result<(), PublishError> {
        self.check_poison()?;
        let Ok(next) = self.prepared.pop() else {
            let Some(room) = self.shortage.get() else { return Err(PublishError::Full) };
            self.control.count_refusal();
            return Err(PublishError::NoRoom(room));
        };
        let sealed = std::mem::replace(&mut self.segment, next);
        let end = std::mem::replace(&mut self.offset, FIRST_FRAME);
        // The times of kept frames count from the old anchor: the new one says the same.
        self.open_segment(if kept.is_empty() { now.max(self.anchor_time) } else { self.anchor_time });
        if let Some(behind_header) = kept.get(FRAME_HEADER..) {
            // The first header's word stays 0, as readers may be looking at it; the rest of it is filled as ever.
            let delta = u32::from_le_bytes(kept[12..16].try_into().expect("four bytes"));
            self.segment.fill(self.offset, delta);
            // SAFETY: behind the anchor that was just committed; `&mut self` excludes other claims.
            unsafe { self.segment.claimed(self.offset, behind_header.len()) }.copy_from_slice(behind_header);
        }
        seal(&sealed, end, self.sequence, self.beginning.epoch, self.anchor_time);
        self.waiters.wake(Event::Published);
        Ok(())
    }

    /// Writes header and first anchor of the segment that was just entered.
    fn open_segment(&mut self, now: u64) {
        let Beginning { journal, epoch, segment_size, sequence, previous_end, window } = self.beginning;
        self.segment.write_header(
            &SegmentHeader {
                magic: SEGMENT_MAGIC,
                version: VERSION,
                checksum: 0,
                journal,
                number: self.segment.number(),
                segment_size: segment_size as u32,
                epoch,
                sequence: self.sequence,
                time: now,
                epoch_sequence: sequence,
                epoch_previous_end: previous_end,
                window,
                reserved: [0; 44],
            }
            .sealed(),
        );
        self.write_anchor(now);
    }

    fn write_anchor(&mut self, now: u64) {
        self.anchor_time = now.max(self.anchor_time);
        self.anchor = self.offset;
        let anchor = Anchor {
            sequence: self.sequence,
            time: self.anchor_time,
            durable: self.control.durable_position(),
            epoch: self.beginning.epoch,
            reserved: 0,
        };
        // SAFETY: `&mut self` excludes other claims; `ready` and the segment's start leave room for an anchor.
        unsafe { self.segment.claimed(self.offset, size_of::<Anchor>()) }.copy_from_slice(anchor.as_bytes());
        self.segment.fill(self.offset, 0);
        self.segment.clear(self.offset + ANCHOR_FRAME);
        self.segment.commit(self.offset, Word { length: ANCHOR_FRAME as u32, kind: KIND_ANCHOR, flags: 0 });
        self.offset += ANCHOR_FRAME;
    }
}

/// Bytes of a body of this length and of the zeros behind it.
#[inline]
fn padded(length: usize) -> usize {
    stride(FRAME_HEADER + length) - FRAME_HEADER
}

/// Copies so that what lies beside the frame's word is written last.
#[inline]
fn copy_backwards(into: &mut [u8], from: &[u8]) {
    const CHUNK: usize = 16;
    for (into, from) in into.rchunks_mut(CHUNK).zip(from.rchunks(CHUNK)) {
        // ORDERING: only the compiler is kept from joining the copies; correctness asks for no order here.
        compiler_fence(Ordering::Release);
        into.copy_from_slice(from);
    }
}

/// Writes and commits the SEAL frame of a segment at `end`.
pub(crate) fn seal(segment: &Segment, end: usize, sequence: u64, epoch: u32, time: u64) {
    let seal = Seal { sequence, time, epoch, reserved: [0; 12], chain: [0; 32], signature: [0; 64] };
    // SAFETY: the caller is the segment's one writer, and room for a seal is always kept behind the last frame.
    unsafe { segment.claimed(end, size_of::<Seal>()) }.copy_from_slice(seal.as_bytes());
    segment.fill(end, 0);
    if end + SEAL_FRAME + 8 <= segment.size() {
        segment.clear(end + SEAL_FRAME);
    }
    segment.commit(end, Word { length: SEAL_FRAME as u32, kind: KIND_SEAL, flags: 0 });
}

/// Room for one message. Dropping it is aborting: nothing was written that anybody can see.
#[derive(Debug)]
pub struct Claim<'a> {
    writer: &'a mut Writer,
    kind: u16,
    flags: u16,
    now: u64,
    /// For the body and the zeros behind it.
    room: &'a mut [u8],
    length: usize,
}

impl Claim<'_> {
    /// The bytes to fill, 16-aligned; their contents are arbitrary at first.
    pub fn body(&mut self) -> &mut [u8] {
        &mut self.room[..self.length]
    }

    /// The bytes as they are.
    pub fn bytes(&self) -> &[u8] {
        &self.room[..self.length]
    }

    /// Publishes the first `length` bytes only.
    ///
    /// # Panics
    /// If more than was claimed is asked for.
    pub fn commit_first(self, length: usize) -> u64 {
        assert!(length <= self.length, "a claim does not grow");
        self.finish(length)
    }

    /// Publishes the message and returns its sequence.
    #[inline]
    pub fn commit(self) -> u64 {
        let length = self.length;
        self.finish(length)
    }

    #[inline]
    fn finish(self, length: usize) -> u64 {
        let Self { writer, kind, flags, now, room, .. } = self;
        room[length..padded(length)].fill(0);
        let word = Word { length: (FRAME_HEADER + length) as u32, kind, flags };
        writer.segment.clear(writer.offset + word.stride());
        writer.commit(writer.offset, word, now)
    }
}

/// Messages that become visible together and survive together. Dropping it publishes nothing.
#[derive(Debug)]
pub struct Batch<'a> {
    writer: &'a mut Writer,
    /// Offset of the first frame.
    start: usize,
    /// Offset of the next frame.
    at: usize,
    /// The word of the first frame, which is stored last.
    first: Option<Word>,
    /// Offset and word of the newest frame, whose flag says until the end that more follows.
    last: Option<(usize, Word)>,
    count: u64,
    now: u64,
    anchored: bool,
}

impl Batch<'_> {
    /// Adds a copy of `body`.
    ///
    /// # Errors
    /// [`PublishError`]; the batch is as it was, and can still be committed or dropped. A batch as a whole is at most
    /// as long as the largest message.
    pub fn append(&mut self, kind: u16, flags: u16, body: &[u8]) -> Result<(), PublishError> {
        assert!((1..=KIND_USER_MAX).contains(&kind), "kind {kind} is not a user's");
        let word = Word { length: (FRAME_HEADER + body.len()) as u32, kind, flags: flags | FLAG_MORE };
        self.room_for(FRAME_HEADER + body.len())?;
        // SAFETY: behind all committed frames and behind the earlier ones of this batch, which hold no slices.
        let room = unsafe { self.writer.segment.claimed(self.at, padded(body.len())) };
        room[..body.len()].copy_from_slice(body);
        room[body.len()..].fill(0);
        self.writer.segment.fill(self.at, self.writer.delta(self.now));
        if let Some((offset, last)) = self.last.filter(|_| self.count > 1) {
            self.writer.segment.place(offset, last);
        }
        self.first.get_or_insert(word);
        self.last = Some((self.at, word));
        self.at += word.stride();
        self.count += 1;
        Ok(())
    }

    /// Makes room for one more frame, moving what the batch has so far to the next segment if need be.
    fn room_for(&mut self, length: usize) -> Result<(), PublishError> {
        let used = self.at - self.start;
        let largest = self.writer.largest();
        if used + length > FRAME_HEADER + largest {
            return Err(PublishError::TooLarge { length: used + length - FRAME_HEADER, largest });
        }
        if !self.anchored {
            self.writer.ready_at(stride(length), self.now)?;
            (self.start, self.at, self.anchored) = (self.writer.offset, self.writer.offset, true);
        } else if self.at + stride(length) + ANCHOR_FRAME + SEAL_FRAME > self.writer.segment.size() {
            self.store_last();
            // SAFETY: the batch's own frames, which nobody else sees; copied before the segment is left.
            let kept = unsafe { self.writer.segment.claimed(self.start - FRAME_HEADER, used) }.to_vec();
            self.writer.roll(self.now, &kept)?;
            let moved = |offset: usize, from: usize, to: usize| offset - from + to;
            let (from, to) = (self.start, self.writer.offset);
            self.last = self.last.map(|(offset, word)| (moved(offset, from, to), word));
            (self.start, self.at) = (to, moved(self.at, from, to));
        }
        Ok(())
    }

    /// Stores the word of the newest frame, unless it is the first, which is stored last of all.
    fn store_last(&self) {
        if let Some((offset, word)) = self.last.filter(|_| self.count > 1) {
            self.writer.segment.place(offset, word);
        }
    }

    /// Messages in the batch so far.
    pub fn len(&self) -> u64 {
        self.count
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Publishes the batch and returns the sequence of its first message; of an empty one, that of the next message.
    pub fn commit(mut self) -> u64 {
        let sequence = self.writer.sequence;
        let (Some(mut first), Some((offset, mut last))) = (self.first, self.last) else { return sequence };
        last.flags &= !FLAG_MORE;
        self.last = Some((offset, last));
        self.store_last();
        if self.count == 1 {
            first = last;
        }
        self.writer.segment.clear(self.at);
        self.writer.segment.commit(self.start, first);
        self.writer.offset = self.at;
        self.writer.sequence += self.count;
        self.writer.published();
        sequence
    }
}

/// The SEAL frame as bytes, its checksum stamped, for a segment that is ended on disk.
pub(crate) fn write_seal(
    frame: &mut [u8; SEAL_FRAME],
    header: &SegmentHeader,
    position: u64,
    sequence: u64,
    time: u64,
) {
    let seal =
        Seal { sequence, time, epoch: header.epoch, reserved: [0; 12], chain: [0; 32], signature: [0; 64] };
    let word = Word { length: SEAL_FRAME as u32, kind: KIND_SEAL, flags: 0 };
    let sum = Salt::new(&header.journal, header.epoch).frame(position, word, 0, seal.as_bytes());
    frame[..8].copy_from_slice(&word.pack().to_le_bytes());
    frame[8..12].copy_from_slice(&sum.to_le_bytes());
    frame[FRAME_HEADER..].copy_from_slice(seal.as_bytes());
}
