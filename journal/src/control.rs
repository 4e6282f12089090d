//! The control page: what the write-out tells everybody about a journal, in one shared page of memory.
//!
//! ```text
//! 0    magic, version, journal identity, segment size         written once
//! 64   epoch, state                                            by the owner of the journal
//! 128  published: position, sequence (a hint that lags)        by the write-out
//! 192  durable: position, sequence                             by the write-out
//! 256  floor: first retained segment and sequence              by the write-out
//! 320  parked: waiters for published, waiters for durable      in `waiters`, not here
//! 384  backend of the write-out, 16 bytes of text              by the write-out
//! 448  counters: writes, bytes, marks, refusals, keepers overruled
//! 512  retention: bytes, 0 for none                            by the write-out
//! ```
//! Readers map it read-only. It is a hint for waiting and a report for people, never evidence of durability.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, AtomicU64, Ordering, fence},
};

use crate::{
    layout::{BLOCK, MarkSlot, VERSION},
    memory::{MemoryError, SegmentMemory},
    storage::Access,
};

const MAGIC: u64 = u64::from_le_bytes(*b"BUSBARCT");

/// What the owner of a journal says about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It has, or had, a writer.
    Open,
    /// Its writer ended well: all is durable.
    Closed,
    /// Writing to disk failed.
    Poisoned,
}

/// Fields of 8 bytes, by offset.
#[derive(Debug, Clone, Copy)]
enum Slot {
    Magic = 0,
    Version = 8,
    SegmentSize = 12,
    Journal = 16,
    Epoch = 64,
    State = 68,
    PublishedPosition = 128,
    PublishedSequence = 136,
    DurablePosition = 192,
    DurableSequence = 200,
    FloorSegment = 256,
    FloorSequence = 264,
    Backend = 384,
    Writes = 448,
    WrittenBytes = 456,
    Marks = 464,
    Refusals = 472,
    Overruled = 480,
    Retention = 512,
}

/// A mapping of the control page.
#[derive(Debug)]
pub struct Control {
    memory: SegmentMemory,
    path: PathBuf,
}

impl Control {
    /// Name of its file.
    pub(crate) const NAME: &'static str = "control";

    /// Makes the page, or takes over the one that a dead owner left.
    pub(crate) fn own(path: &Path, journal: &[u8; 16], segment_size: usize) -> Result<Self, MemoryError> {
        let control = Self::over(own_page(path)?, path);
        control.u64(Slot::Journal).store(first_half(journal), Ordering::Relaxed); // ORDERING: before Magic's Release
        control.second_half().store(second_half(journal), Ordering::Relaxed); // ORDERING: before Magic's Release
        control.u32(Slot::SegmentSize).store(segment_size as u32, Ordering::Relaxed); // ORDERING: before Magic's Release
        control.u32(Slot::Version).store(VERSION, Ordering::Relaxed); // ORDERING: before Magic's Release
        // ORDERING: Release pairs with the fence in `attach`: who sees the magic sees the identity.
        control.u64(Slot::Magic).store(MAGIC, Ordering::Release);
        Ok(control)
    }

    /// Maps the page read-only; `None` if there is none, or another journal's.
    pub fn attach(path: &Path, journal: &[u8; 16]) -> Option<Self> {
        Self::whole(path).filter(|control| control.is_of(journal))
    }

    /// The same, and `None` if it is of an older life than the mark knows.
    pub(crate) fn attach_current(path: &Path, mark: &MarkSlot) -> Option<Self> {
        Self::attach(path, &mark.journal).filter(|control| control.is_current(mark))
    }

    /// Whether the mark knows no newer life than this one: else a later writer had its memory at another place, and what
    /// is here is what the one before left. A writer that begins says so on disk first, when all of the life before is
    /// there, and here a moment later.
    pub(crate) fn is_current(&self, mark: &MarkSlot) -> bool {
        self.epoch() >= mark.epoch
    }

    /// Whether there is a page, and it is of an older life, or another journal's: of a bus that was at this place before and
    /// whose memory nobody has removed yet, or of a topic that was made anew.
    pub(crate) fn is_of_another(path: &Path, mark: &MarkSlot) -> bool {
        Self::whole(path).is_some_and(|control| !(control.is_of(&mark.journal) && control.is_current(mark)))
    }

    /// A page that somebody has made to its end, for whatever journal.
    fn whole(path: &Path) -> Option<Self> {
        let control = Self::over(SegmentMemory::open(path, Access::Read, BLOCK).ok()?, path);
        (control.load(Slot::Magic) == MAGIC && control.load32(Slot::Version) == VERSION).then_some(control)
    }

    fn is_of(&self, journal: &[u8; 16]) -> bool {
        self.load(Slot::Journal) == first_half(journal)
            // ORDERING: read behind the fence of `load(Magic)`, which pairs with the Release in `own`.
            && self.second_half().load(Ordering::Relaxed) == second_half(journal)
    }

    fn over(memory: SegmentMemory, path: &Path) -> Self {
        Self { memory, path: path.into() }
    }

    /// Whether its file still has its name. An idle reader asks and attaches anew if not.
    pub fn is_linked(&self) -> bool {
        matches!(self.memory.is_at(&self.path), Ok(true))
    }

    #[inline]
    fn u64(&self, slot: Slot) -> &AtomicU64 {
        // SAFETY: every slot is an aligned offset inside the page, which stays mapped as long as `self`; the page is
        // only ever accessed atomically. Read-only mappings are only loaded from.
        unsafe { AtomicU64::from_ptr(self.memory.base().add(slot as usize).cast_mut().cast()) }
    }

    #[inline]
    fn u32(&self, slot: Slot) -> &AtomicU32 {
        // SAFETY: as in `u64`.
        unsafe { AtomicU32::from_ptr(self.memory.base().add(slot as usize).cast_mut().cast()) }
    }

    fn second_half(&self) -> &AtomicU64 {
        // SAFETY: as in `u64`; the identity is two aligned halves.
        unsafe { AtomicU64::from_ptr(self.memory.base().add(Slot::Journal as usize + 8).cast_mut().cast()) }
    }

    #[inline]
    fn load(&self, slot: Slot) -> u64 {
        // ORDERING: Relaxed load and Acquire fence (all that read-only memory guarantees) pair with `store`'s Release.
        let value = self.u64(slot).load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        value
    }

    #[inline]
    fn load32(&self, slot: Slot) -> u32 {
        // ORDERING: as in `load`.
        let value = self.u32(slot).load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        value
    }

    fn store(&self, slot: Slot, value: u64) {
        // ORDERING: Release pairs with the fence in `load`.
        self.u64(slot).store(value, Ordering::Release);
    }

    /// Newest epoch.
    pub fn epoch(&self) -> u32 {
        self.load32(Slot::Epoch)
    }

    pub(crate) fn set_epoch(&self, epoch: u32) {
        // ORDERING: Release pairs with the fence in `load32`.
        self.u32(Slot::Epoch).store(epoch, Ordering::Release);
    }

    /// What the owner says.
    pub fn state(&self) -> State {
        match self.load32(Slot::State) {
            0 => State::Open,
            1 => State::Closed,
            _ => State::Poisoned,
        }
    }

    /// The error number of a poisoned journal, else `None`.
    #[inline]
    pub fn poison(&self) -> Option<i32> {
        let state = self.load32(Slot::State);
        (state > 1).then(|| (state >> 1).cast_signed())
    }

    pub(crate) fn set_state(&self, state: State, error: i32) {
        let number = match state {
            State::Open => 0,
            State::Closed => 1,
            State::Poisoned => error.cast_unsigned().max(1) << 1,
        };
        // ORDERING: Release pairs with the fence in `load32`.
        self.u32(Slot::State).store(number, Ordering::Release);
    }

    /// Position and sequence up to which the write-out has seen published messages: a hint that lags.
    pub fn published(&self) -> (u64, u64) {
        (self.load(Slot::PublishedPosition), self.load(Slot::PublishedSequence))
    }

    pub(crate) fn set_published(&self, position: u64, sequence: u64) {
        self.store(Slot::PublishedSequence, sequence);
        self.store(Slot::PublishedPosition, position);
    }

    /// Position below which everything is durable.
    #[inline]
    pub fn durable_position(&self) -> u64 {
        self.load(Slot::DurablePosition)
    }

    /// The next sequence to become durable.
    #[inline]
    pub fn durable_sequence(&self) -> u64 {
        self.load(Slot::DurableSequence)
    }

    pub(crate) fn set_durable(&self, position: u64, sequence: u64) {
        self.store(Slot::DurableSequence, sequence);
        self.store(Slot::DurablePosition, position);
    }

    /// First retained segment and its first sequence.
    pub fn floor(&self) -> (u64, u64) {
        (self.load(Slot::FloorSegment), self.load(Slot::FloorSequence))
    }

    pub(crate) fn set_floor(&self, segment: u64, sequence: u64) {
        self.store(Slot::FloorSequence, sequence);
        self.store(Slot::FloorSegment, segment);
    }

    /// Bytes of a segment.
    pub fn segment_size(&self) -> usize {
        self.load32(Slot::SegmentSize) as usize
    }

    /// Which engine writes to disk, such as `io_uring`.
    pub fn backend(&self) -> String {
        let halves = [self.load(Slot::Backend), {
            // SAFETY: as in `u64`; the text is two aligned halves.
            // ORDERING: a report for people; its halves are written once, before the first write.
            unsafe {
                AtomicU64::from_ptr(self.memory.base().add(Slot::Backend as usize + 8).cast_mut().cast())
            }
            .load(Ordering::Relaxed)
        }];
        let bytes: Vec<u8> =
            halves.iter().flat_map(|half| half.to_le_bytes()).take_while(|b| *b != 0).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub(crate) fn set_backend(&self, name: &str) {
        let mut bytes = [0; 16];
        let length = name.len().min(15);
        bytes[..length].copy_from_slice(&name.as_bytes()[..length]);
        self.store(Slot::Backend, u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")));
        // SAFETY: as in `backend`.
        // ORDERING: as in `backend`.
        unsafe { AtomicU64::from_ptr(self.memory.base().add(Slot::Backend as usize + 8).cast_mut().cast()) }
            .store(u64::from_le_bytes(bytes[8..].try_into().expect("eight bytes")), Ordering::Relaxed);
    }

    /// Writes, bytes written, marks written, refused publications, and segments that retention removed although a keeper
    /// needed them.
    pub fn counters(&self) -> [u64; 5] {
        [Slot::Writes, Slot::WrittenBytes, Slot::Marks, Slot::Refusals, Slot::Overruled]
            .map(|slot| self.load(slot))
    }

    /// Bytes that the journal may take on disk; `None` if it keeps all.
    pub fn retention(&self) -> Option<u64> {
        Some(self.load(Slot::Retention)).filter(|bytes| *bytes > 0)
    }

    pub(crate) fn set_retention(&self, bytes: Option<u64>) {
        self.store(Slot::Retention, bytes.unwrap_or(0));
    }

    pub(crate) fn count_write(&self, bytes: u64) {
        self.add(Slot::Writes, 1);
        self.add(Slot::WrittenBytes, bytes);
    }

    pub(crate) fn count_mark(&self) {
        self.add(Slot::Marks, 1);
    }

    pub(crate) fn count_refusal(&self) {
        self.add(Slot::Refusals, 1);
    }

    pub(crate) fn count_overruled(&self) {
        self.add(Slot::Overruled, 1);
    }

    fn add(&self, slot: Slot, count: u64) {
        // ORDERING: Relaxed: each counter has one writing thread and orders nothing.
        let value = self.u64(slot).load(Ordering::Relaxed);
        self.u64(slot).store(value.wrapping_add(count), Ordering::Relaxed);
    }
}

/// Makes a shared page, or takes over the one that a dead owner left.
pub(crate) fn own_page(path: &Path) -> Result<SegmentMemory, MemoryError> {
    if let Ok(memory) = SegmentMemory::open(path, Access::Write, BLOCK) {
        return Ok(memory);
    }
    // What is there cannot be used; should removing it fail, `create` says so.
    let _ = std::fs::remove_file(path);
    SegmentMemory::create(path, BLOCK)
}

fn first_half(journal: &[u8; 16]) -> u64 {
    u64::from_le_bytes(journal[..8].try_into().expect("eight bytes"))
}

fn second_half(journal: &[u8; 16]) -> u64 {
    u64::from_le_bytes(journal[8..].try_into().expect("eight bytes"))
}
