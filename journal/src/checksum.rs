//! Checksums: CRC32C (Castagnoli, RFC 3720 appendix B.4), in hardware where the processor has it.

use zerocopy::IntoBytes;

use crate::layout::{FRAME_HEADER, Word};

/// CRC32C of bytes without a salt: headers and marks, which carry their identity themselves.
pub(crate) fn plain(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}

/// What makes a frame valid only in its own journal, epoch and place: stale, foreign and misdirected blocks never
/// look valid, so reading can go on behind a damaged length.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Salt(u32);

impl Salt {
    /// The salt of an epoch of a journal.
    pub(crate) fn new(journal: &[u8; 16], epoch: u32) -> Self {
        Self(crc32c::crc32c_append(crc32c::crc32c(journal), epoch.as_bytes()))
    }

    /// The checksum of a frame at `position`. Zero is kept for "not stamped": a sum of 0 is stored as 1.
    pub(crate) fn frame(self, position: u64, word: Word, delta: u32, body: &[u8]) -> u32 {
        debug_assert_eq!(word.length as usize, FRAME_HEADER + body.len());
        let mut head = [0; 20];
        head[..8].copy_from_slice(position.as_bytes());
        head[8..16].copy_from_slice(word.pack().as_bytes());
        head[16..].copy_from_slice(delta.as_bytes());
        crc32c::crc32c_append(crc32c::crc32c_append(self.0, &head), body).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc32c_is_the_castagnoli_sum_of_rfc_3720() {
        assert_eq!(plain(&[0; 32]), 0x8a91_36aa);
        assert_eq!(plain(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn the_same_frame_elsewhere_has_another_sum() {
        let word = Word { length: 20, kind: 1, flags: 0 };
        let here = Salt::new(&[1; 16], 1).frame(64, word, 5, b"body");
        assert_ne!(here, Salt::new(&[1; 16], 1).frame(80, word, 5, b"body"));
        assert_ne!(here, Salt::new(&[1; 16], 2).frame(64, word, 5, b"body"));
        assert_ne!(here, Salt::new(&[2; 16], 1).frame(64, word, 5, b"body"));
    }
}
