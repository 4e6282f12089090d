//! A segment's bytes: shared memory that a writer fills, or a private copy that was read from disk.
//!
//! The protocol of a frame: the writer fills header and body, zeroes the following header's word, then stores its own
//! word. A reader loads a word once and touches nothing behind a word of 0; the orders are in `protocol`. Committed bytes
//! never change but for the checksum, which nobody reads in memory.

use std::{
    fmt,
    sync::atomic::{AtomicU32, AtomicU64, Ordering, fence},
};

use zerocopy::{FromBytes, IntoBytes};

use crate::{
    layout::{Anchor, Cause, FRAME_HEADER, KIND_ANCHOR, KIND_SEAL, Seal, SegmentHeader, Word},
    memory::SegmentMemory,
    protocol,
    storage::AlignedBuffer,
};

impl protocol::Word<u64> for AtomicU64 {
    #[inline]
    fn load(&self, order: Ordering) -> u64 {
        self.load(order) // ORDERING: the caller's, in `protocol`
    }
    #[inline]
    fn store(&self, value: u64, order: Ordering) {
        self.store(value, order); // ORDERING: the caller's, in `protocol`
    }
    #[inline]
    fn fence(order: Ordering) {
        fence(order); // ORDERING: the caller's, in `protocol`
    }
}

/// Bytes of a cache line, and how far ahead of the writer lines are fetched.
pub(crate) const LINE: usize = 64;
const FETCH_AHEAD: usize = 8 * LINE;

/// Where the bytes are.
enum Bytes {
    Shared(SegmentMemory),
    Copied(AlignedBuffer),
}

/// A segment that can be read, and written by its one writer.
pub(crate) struct Segment {
    bytes: Bytes,
    number: u64,
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match self.bytes {
            Bytes::Shared(_) => "shared",
            Bytes::Copied(_) => "copied",
        };
        f.debug_struct("Segment").field("number", &self.number).field("in", &place).finish()
    }
}

impl Segment {
    pub(crate) fn shared(memory: SegmentMemory, number: u64) -> Self {
        Self { bytes: Bytes::Shared(memory), number }
    }

    pub(crate) fn copied(buffer: AlignedBuffer, number: u64) -> Self {
        Self { bytes: Bytes::Copied(buffer), number }
    }

    /// The bytes of a private copy, for its owner.
    pub(crate) fn copy_mut(&mut self) -> Option<&mut [u8]> {
        match &mut self.bytes {
            Bytes::Shared(_) => None,
            Bytes::Copied(buffer) => Some(buffer),
        }
    }

    pub(crate) fn memory(&self) -> Option<&SegmentMemory> {
        match &self.bytes {
            Bytes::Shared(memory) => Some(memory),
            Bytes::Copied(_) => None,
        }
    }

    /// The shared memory of a segment that is no longer one.
    pub(crate) fn into_memory(self) -> Option<SegmentMemory> {
        match self.bytes {
            Bytes::Shared(memory) => Some(memory),
            Bytes::Copied(_) => None,
        }
    }

    #[inline]
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    #[inline]
    pub(crate) fn size(&self) -> usize {
        match &self.bytes {
            Bytes::Shared(memory) => memory.len(),
            Bytes::Copied(buffer) => buffer.len(),
        }
    }

    /// Position of an offset in the journal.
    #[inline]
    pub(crate) fn position(&self, offset: usize) -> u64 {
        self.number.saturating_mul(self.size() as u64).saturating_add(offset as u64)
    }

    #[inline]
    pub(crate) fn base(&self) -> *const u8 {
        match &self.bytes {
            Bytes::Shared(memory) => memory.base(),
            Bytes::Copied(buffer) => buffer.as_ptr(),
        }
    }

    #[inline]
    fn word_at(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset + 8 <= self.size(), "a word lies in its segment");
        // SAFETY: in bounds and aligned by the assertion (bases are page- or block-aligned); words are only accessed
        // atomically; a copied buffer is only loaded from.
        unsafe { AtomicU64::from_ptr(self.base().add(offset).cast_mut().cast()) }
    }

    #[inline]
    fn half_at(&self, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4) && offset + 4 <= self.size(), "a half word lies in its segment");
        // SAFETY: as in `word_at`.
        unsafe { AtomicU32::from_ptr(self.base().add(offset).cast_mut().cast()) }
    }

    /// The word of the frame at `offset`; `None` where nothing was committed yet. What does not fit the segment, which
    /// no writer of ours leaves, is told apart as `Some(Err(()))`.
    #[inline]
    pub(crate) fn frame(&self, offset: usize) -> Option<Result<Word, ()>> {
        if offset + FRAME_HEADER > self.size() {
            return Some(Err(()));
        }
        let word = protocol::observe(self.word_at(offset))?;
        let word = Word::unpack(word);
        Some(if word.fits(offset, self.size()) { Ok(word) } else { Err(()) })
    }

    /// Nanoseconds since the last anchor.
    #[inline]
    pub(crate) fn delta(&self, offset: usize) -> u32 {
        // ORDERING: Relaxed: written before the word whose fence the caller has passed.
        self.half_at(offset + 12).load(Ordering::Relaxed)
    }

    pub(crate) fn checksum(&self, offset: usize) -> u32 {
        // ORDERING: Relaxed: only the write-out, which stamps it, and owners of private copies ask.
        self.half_at(offset + 8).load(Ordering::Relaxed)
    }

    /// Stamps the checksum of a committed frame. The write-out's alone.
    pub(crate) fn stamp(&self, offset: usize, checksum: u32) {
        debug_assert!(matches!(self.bytes, Bytes::Shared(_)));
        // ORDERING: Relaxed: the kernel reads it in a later system call of this thread.
        self.half_at(offset + 8).store(checksum, Ordering::Relaxed);
    }

    /// The body of a committed frame.
    #[inline]
    pub(crate) fn body(&self, offset: usize, word: Word) -> &[u8] {
        assert!(word.fits(offset, self.size()), "a frame lies in its segment");
        // SAFETY: in bounds by the assertion. The caller got `word` from `frame`, so the body was written before and
        // committed frames never change; the memory stays mapped as long as `self`.
        unsafe {
            std::slice::from_raw_parts(
                self.base().add(offset + FRAME_HEADER),
                word.length as usize - FRAME_HEADER,
            )
        }
    }

    /// The body of the frame that is being claimed, for its one writer.
    ///
    /// # Safety
    /// The caller is the only writer of this segment, the range lies behind the last committed frame, no other slice of
    /// it is alive, and the segment outlives `'a`.
    #[inline]
    pub(crate) unsafe fn claimed<'a>(&self, offset: usize, length: usize) -> &'a mut [u8] {
        assert!(matches!(self.bytes, Bytes::Shared(_)) && offset + FRAME_HEADER + length <= self.size());
        // SAFETY: in bounds by the assertion, initialised (shared memory is, with zeros or what stood there before), exclusive and
        // outlived by the segment by contract.
        unsafe { std::slice::from_raw_parts_mut(self.base().add(offset + FRAME_HEADER).cast_mut(), length) }
    }

    /// Zeroes the word of the frame behind the one about to be committed.
    #[inline]
    pub(crate) fn clear(&self, offset: usize) {
        protocol::clear(self.word_at(offset));
    }

    /// Fills checksum (not stamped) and time of a frame that is not committed yet.
    #[inline]
    pub(crate) fn fill(&self, offset: usize, delta: u32) {
        // ORDERING: Relaxed: ordered before the Release store in `commit`.
        self.word_at(offset + 8).store(u64::from(delta) << 32, Ordering::Relaxed);
    }

    /// Stores the word of a frame behind the first of its batch: readers cannot get there yet.
    #[inline]
    pub(crate) fn place(&self, offset: usize, word: Word) {
        protocol::place(self.word_at(offset), word.pack());
    }

    /// Fetches the lines into which the frames after the next will go, to be written: their memory is new, or the write-out
    /// has it that read it last, and a store into it would else wait for that.
    #[inline]
    pub(crate) fn fetch_ahead(&self, offset: usize) {
        #[cfg(target_arch = "x86_64")]
        for line in [FETCH_AHEAD, FETCH_AHEAD + LINE] {
            let address = self.base().wrapping_add(offset + line);
            // SAFETY: a prefetch is a hint, also where nothing is mapped, and does nothing on a processor without it. By its
            // name, since the intrinsic makes a fetch for reading of it unless the whole program is built for processors
            // that have it.
            unsafe {
                std::arch::asm!("prefetchw [{}]", in(reg) address, options(nostack, preserves_flags, readonly));
            }
        }
    }

    /// Fetches the line behind the one in which a frame is awaited. Its writer takes both back at about the same time, so
    /// that the reader waits for both at once when the frame is there, not for one after the other.
    #[inline]
    pub(crate) fn fetch_behind(&self, offset: usize) {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            // SAFETY: as in `fetch_ahead`.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(self.base().wrapping_add(offset + LINE).cast()) };
        }
    }

    /// Publishes the frame at `offset` and the batch that it opens.
    #[inline]
    pub(crate) fn commit(&self, offset: usize, word: Word) {
        protocol::commit(self.word_at(offset), word.pack());
    }

    /// The header, if it is one of this segment of this journal.
    pub(crate) fn header(&self, journal: &[u8; 16]) -> Option<SegmentHeader> {
        let mut bytes = [0; size_of::<SegmentHeader>()];
        for (i, chunk) in bytes.chunks_exact_mut(8).enumerate().rev() {
            // ORDERING: Relaxed loads in any order: the checksum of the header tells a header that is half written.
            chunk.copy_from_slice(&self.word_at(i * 8).load(Ordering::Relaxed).to_ne_bytes());
        }
        fence(Ordering::Acquire); // ORDERING: pairs with the Release of the first frame's word, stored after the header
        SegmentHeader::read(&bytes).filter(|header| {
            header.journal == *journal
                && header.number == self.number
                && header.segment_size as usize == self.size()
        })
    }

    /// Writes the header. The writer's, before the first frame.
    pub(crate) fn write_header(&self, header: &SegmentHeader) {
        for (i, chunk) in header.as_bytes().chunks_exact(8).enumerate() {
            let word = u64::from_ne_bytes(chunk.try_into().expect("eight bytes"));
            // ORDERING: Relaxed: ordered before the first frame's Release.
            self.word_at(i * 8).store(word, Ordering::Relaxed);
        }
    }

    #[inline]
    pub(crate) fn anchor(&self, offset: usize, word: Word) -> Option<Anchor> {
        (word.kind == KIND_ANCHOR).then(|| Anchor::read_from_bytes(self.body(offset, word)).ok()).flatten()
    }

    #[inline]
    pub(crate) fn seal(&self, offset: usize, word: Word) -> Option<Seal> {
        (word.kind == KIND_SEAL).then(|| Seal::read_from_bytes(self.body(offset, word)).ok()).flatten()
    }

    #[inline]
    pub(crate) fn cause(&self, offset: usize, word: Word) -> Option<Cause> {
        (word.flags & crate::layout::FLAG_CAUSED != 0)
            .then(|| Cause::read_from_prefix(self.body(offset, word)).ok().map(|(cause, _)| cause))
            .flatten()
    }
}
