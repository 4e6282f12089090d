//! The layout of a journal, in memory and on disk. This file is the format: version 1.
//!
//! A segment, `S` bytes (a power of two, 1 to 16 MiB). Memory and disk copies are equal byte for byte up to the end
//! of the SEAL frame; what lies behind it has no meaning.
//!
//! ```text
//!        0                128                                                              S
//!        ┌────────────────┬────────────┬─────────┬─────────┬ ─ ─ ─ ┬────────────┬───────────┐
//!        │ SegmentHeader  │ ANCHOR     │ frame   │ frame   │       │ SEAL       │ undefined │
//!        └────────────────┴────────────┴─────────┴─────────┴ ─ ─ ─ ┴────────────┴───────────┘
//! ```
//!
//! A frame begins at a multiple of 16. Its header is 16 bytes:
//!
//! ```text
//!        0           4        6        8              12             16
//!        ┌───────────┬────────┬────────┬──────────────┬──────────────┬───────────────┬─────────┐
//!        │ length    │ kind   │ flags  │ checksum     │ time delta   │ body          │ 0 to 15 │
//!        │ u32       │ u16    │ u16    │ u32          │ u32          │ length − 16   │ zeros   │
//!        └───────────┴────────┴────────┴──────────────┴──────────────┴───────────────┴─────────┘
//!        └────── word, u64 ───────────┘
//! ```
//!
//! * `length` counts header and body, not the zeros. A word of 0 means: nothing here yet.
//! * `checksum` is CRC32C over a salt (journal identity, epoch, position), the word, the time delta and the body. The
//!   write-out stamps it before the frame's first write; in memory it may be 0. Memory trusts the word, disk trusts
//!   the checksum.
//! * `time delta` is nanoseconds since the time of the last ANCHOR.
//! * Sequences are not stored in frames: they count from the last ANCHOR, user kinds only.
//!
//! The position of a frame is `segment number × S + offset`.
//!
//! The mark file holds two slots of one block, written in turn; the valid one with the higher `turn` counts.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::checksum;

/// Format version in every header. A reader refuses any other.
pub const VERSION: u32 = 1;
/// First bytes of a segment, read as a little-endian number: `BUSBARSG`.
pub const SEGMENT_MAGIC: u64 = u64::from_le_bytes(*b"BUSBARSG");
/// First bytes of a mark slot: `BUSBARMK`.
pub const MARK_MAGIC: u64 = u64::from_le_bytes(*b"BUSBARMK");
/// Disks are written in whole blocks of this size.
pub const BLOCK: usize = 4096;
/// Frames begin at multiples of this.
pub const FRAME_ALIGN: usize = 16;
/// Bytes of a frame header.
pub const FRAME_HEADER: usize = 16;
/// An ANCHOR stands at least this often.
pub const ANCHOR_EVERY: usize = 64 * 1024;
/// Smallest segment.
pub const SEGMENT_MIN: usize = 1 << 20;
/// Largest segment.
pub const SEGMENT_MAX: usize = 16 << 20;
/// Largest kind that users may give to their messages; the smallest is 1.
pub const KIND_USER_MAX: u16 = 0xFEFF;
/// Filling that readers skip.
pub const KIND_PAD: u16 = 0xFF00;
/// A frame of evidence: body [`Anchor`].
pub const KIND_ANCHOR: u16 = 0xFF01;
/// The last frame of a segment: body [`Seal`].
pub const KIND_SEAL: u16 = 0xFF02;
/// Flag: the batch goes on with the next frame. Frames of a batch survive together or not at all.
pub const FLAG_MORE: u16 = 1;
/// Flag: the body begins with a [`Cause`].
pub const FLAG_CAUSED: u16 = 2;
/// Size of the SEAL frame, for which room is always kept.
pub const SEAL_FRAME: usize = FRAME_HEADER + size_of::<Seal>();
/// Size of an ANCHOR frame.
pub const ANCHOR_FRAME: usize = FRAME_HEADER + size_of::<Anchor>();
/// No position and no sequence of a journal is larger: at ten million messages a second that lasts for ten thousand
/// years. So sums of a few of them never overflow.
pub const POSITION_MAX: u64 = 1 << 62;
/// Offset of the first frame of a segment.
pub const FIRST_FRAME: usize = size_of::<SegmentHeader>();

/// The first 128 bytes of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SegmentHeader {
    /// [`SEGMENT_MAGIC`].
    pub magic: u64,
    /// [`VERSION`].
    pub version: u32,
    /// CRC32C of this header with this field 0.
    pub checksum: u32,
    /// Identity of the journal.
    pub journal: [u8; 16],
    /// Number of the segment in the journal, from 0.
    pub number: u64,
    /// Bytes of a segment.
    pub segment_size: u32,
    /// Epoch that owns the segment, from 1.
    pub epoch: u32,
    /// Sequence of the first message of the segment.
    pub sequence: u64,
    /// Nanoseconds since the Unix epoch at its opening.
    pub time: u64,
    /// First sequence of the epoch.
    pub epoch_sequence: u64,
    /// Position at which the preceding epoch ended; 0 for the first epoch.
    pub epoch_previous_end: u64,
    /// Valid frames may lie this many bytes behind the first invalid one after a power loss, no further.
    pub window: u32,
    /// Zero.
    pub reserved: [u8; 44],
}

/// Body of an ANCHOR frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Anchor {
    /// Sequence of the next message.
    pub sequence: u64,
    /// Nanoseconds since the Unix epoch; the time deltas of the following frames count from here.
    pub time: u64,
    /// Position below which everything was durable when this was written: evidence.
    pub durable: u64,
    /// Epoch.
    pub epoch: u32,
    /// Zero.
    pub reserved: u32,
}

/// Body of a SEAL frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Seal {
    /// Sequence after the last message of the segment.
    pub sequence: u64,
    /// Nanoseconds since the Unix epoch.
    pub time: u64,
    /// Epoch of the segment.
    pub epoch: u32,
    /// Zero.
    pub reserved: [u8; 12],
    /// Room for a chain hash; zero in version 1.
    pub chain: [u8; 32],
    /// Room for a signature; zero in version 1.
    pub signature: [u8; 64],
}

/// The first bytes of the body of a frame with [`FLAG_CAUSED`]: the message that this one follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Cause {
    /// Sequence of the causing message in its journal.
    pub sequence: u64,
    /// Epoch of the causing message; 0 if it is not told.
    pub epoch: u32,
    /// Index of the input journal; `u16::MAX` if no message caused this one.
    pub input: u16,
    /// Number of this effect among those of its cause.
    pub index: u16,
}

/// A slot of the mark file, at the start of its block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MarkSlot {
    /// [`MARK_MAGIC`].
    pub magic: u64,
    /// [`VERSION`].
    pub version: u32,
    /// CRC32C of this slot with this field 0.
    pub checksum: u32,
    /// Identity of the journal.
    pub journal: [u8; 16],
    /// Counts the writes of the mark; the higher of two valid slots is the newer.
    pub turn: u64,
    /// Newest epoch.
    pub epoch: u32,
    /// 1 if the journal was closed cleanly: everything published is durable.
    pub clean: u32,
    /// First retained segment.
    pub floor: u64,
    /// Newest segment that was opened.
    pub newest: u64,
    /// Position below which everything is durable.
    pub durable: u64,
    /// Sequence of the next message at `durable`.
    pub sequence: u64,
    /// Bytes of a segment.
    pub segment_size: u32,
    /// Epochs before this one lost their mark: nothing proves where they ended. 0 if none did.
    pub unmarked_before: u32,
    /// Zero.
    pub reserved: [u8; 40],
}

const _: () = {
    assert!(size_of::<SegmentHeader>() == 128);
    assert!(size_of::<Anchor>() == 32);
    assert!(size_of::<Seal>() == 128);
    assert!(size_of::<Cause>() == 16);
    assert!(size_of::<MarkSlot>() == 128);
    assert!(FIRST_FRAME.is_multiple_of(FRAME_ALIGN));
    assert!(SEAL_FRAME.is_multiple_of(FRAME_ALIGN) && ANCHOR_FRAME.is_multiple_of(FRAME_ALIGN));
};

/// The first word of a frame, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Word {
    /// Bytes of header and body.
    pub length: u32,
    /// Kind.
    pub kind: u16,
    /// Flags.
    pub flags: u16,
}

impl Word {
    /// As stored.
    #[inline]
    pub fn pack(self) -> u64 {
        u64::from(self.length) | u64::from(self.kind) << 32 | u64::from(self.flags) << 48
    }
    /// From storage; any number is a word, [`Word::fits`] says whether it makes sense.
    #[inline]
    pub fn unpack(word: u64) -> Self {
        // The casts take the three fields apart; each keeps exactly the bits of its field.
        Self { length: word as u32, kind: (word >> 32) as u16, flags: (word >> 48) as u16 }
    }
    /// Whether a frame of this word can stand at `offset` of a segment of `size` bytes.
    #[inline]
    pub fn fits(self, offset: usize, size: usize) -> bool {
        self.length as usize >= FRAME_HEADER
            && self.kind != 0
            && offset.checked_add(self.length as usize).is_some_and(|end| end <= size)
    }
    /// Bytes from this frame to the next.
    #[inline]
    pub fn stride(self) -> usize {
        stride(self.length as usize)
    }
    /// Whether it is a message of the user's.
    #[inline]
    pub fn is_user(self) -> bool {
        self.kind <= KIND_USER_MAX
    }
}

/// Bytes that a frame of `length` occupies.
#[inline]
pub fn stride(length: usize) -> usize {
    length.next_multiple_of(FRAME_ALIGN)
}

/// The largest body that fits a segment of `segment_size` bytes: a quarter of it, less the header.
#[inline]
pub fn largest_body(segment_size: usize) -> usize {
    segment_size / 4 - FRAME_HEADER
}

impl SegmentHeader {
    /// The header with its checksum.
    pub fn sealed(mut self) -> Self {
        self.checksum = 0;
        self.checksum = checksum::plain(self.as_bytes());
        self
    }
    /// Reads and checks a header: magic, checksum, and that a journal can reach its numbers. `None` is "not a header",
    /// whatever the version.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (header, _) = Self::read_from_prefix(bytes).ok()?;
        let is_header = header.magic == SEGMENT_MAGIC && header == header.sealed();
        (is_header && (header.version != VERSION || header.is_plausible())).then_some(header)
    }

    fn is_plausible(&self) -> bool {
        is_position(self.number, self.segment_size)
            && is_epoch(self.epoch)
            && self.sequence <= POSITION_MAX
            && self.epoch_sequence <= self.sequence
    }
}

impl MarkSlot {
    /// The slot with its checksum.
    pub fn sealed(mut self) -> Self {
        self.checksum = 0;
        self.checksum = checksum::plain(self.as_bytes());
        self
    }
    /// Reads and checks a slot, as [`SegmentHeader::read`] does a header.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (slot, _) = Self::read_from_prefix(bytes).ok()?;
        let is_slot = slot.magic == MARK_MAGIC && slot == slot.sealed();
        (is_slot && (slot.version != VERSION || slot.is_plausible())).then_some(slot)
    }

    fn is_plausible(&self) -> bool {
        is_position(self.floor, self.segment_size)
            && is_position(self.newest, self.segment_size)
            && self.durable <= POSITION_MAX
            && self.sequence <= POSITION_MAX
            && self.turn <= POSITION_MAX
            && (self.epoch == 0 || is_epoch(self.epoch))
    }
}

/// Whether a segment of this number has positions.
fn is_position(number: u64, segment_size: u32) -> bool {
    number.checked_mul(u64::from(segment_size)).is_some_and(|position| position <= POSITION_MAX)
}

/// Whether an epoch can be, and can have a successor.
pub(crate) fn is_epoch(epoch: u32) -> bool {
    (1..u32::MAX).contains(&epoch)
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    #[test]
    fn offsets_are_the_format() {
        assert_eq!(offset_of!(SegmentHeader, journal), 16);
        assert_eq!(offset_of!(SegmentHeader, number), 32);
        assert_eq!(offset_of!(SegmentHeader, segment_size), 40);
        assert_eq!(offset_of!(SegmentHeader, epoch), 44);
        assert_eq!(offset_of!(SegmentHeader, sequence), 48);
        assert_eq!(offset_of!(SegmentHeader, epoch_previous_end), 72);
        assert_eq!(offset_of!(SegmentHeader, window), 80);
        assert_eq!(offset_of!(Anchor, epoch), 24);
        assert_eq!(offset_of!(Seal, chain), 32);
        assert_eq!(offset_of!(Seal, signature), 64);
        assert_eq!(offset_of!(MarkSlot, turn), 32);
        assert_eq!(offset_of!(MarkSlot, durable), 64);
        assert_eq!(offset_of!(MarkSlot, segment_size), 80);
        assert_eq!(offset_of!(MarkSlot, unmarked_before), 84);
    }

    #[test]
    fn a_word_survives_packing() {
        let word = Word { length: 0x0102_0304, kind: 0x0506, flags: 0x0708 };
        assert_eq!(word.pack(), 0x0708_0506_0102_0304);
        assert_eq!(Word::unpack(word.pack()), word);
    }

    #[test]
    fn a_flipped_bit_anywhere_in_a_header_is_seen() {
        let header = SegmentHeader {
            magic: SEGMENT_MAGIC,
            version: VERSION,
            checksum: 0,
            journal: [7; 16],
            number: 3,
            segment_size: 1 << 20,
            epoch: 2,
            sequence: 9,
            time: 1,
            epoch_sequence: 5,
            epoch_previous_end: 77,
            window: 1 << 18,
            reserved: [0; 44],
        }
        .sealed();
        for bit in 0..size_of::<SegmentHeader>() * 8 {
            let mut bytes = header.as_bytes().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::read(&bytes), None, "bit {bit}");
        }
    }
}
