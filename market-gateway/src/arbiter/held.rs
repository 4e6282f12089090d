//! Messages that came too early, kept until those before them are there.

use std::collections::BTreeMap;

use bus::event::Time;

use crate::mold::Blocks;

/// Messages that follow each other and came in one packet.
#[derive(Debug)]
pub(crate) struct Piece {
    count: usize,
    receive_time: Time,
    bytes: Box<[u8]>,
}

impl Piece {
    pub(crate) fn new(blocks: Blocks<'_>, receive_time: Time) -> Self {
        Self { count: blocks.count(), receive_time, bytes: blocks.bytes().into() }
    }

    pub(crate) fn receive_time(&self) -> Time {
        self.receive_time
    }

    pub(crate) fn blocks(&self) -> Blocks<'_> {
        Blocks::checked(self.count, &self.bytes)
    }
}

/// Pieces by the number of their first message; no two overlap.
#[derive(Debug, Default)]
pub(crate) struct Held {
    pieces: BTreeMap<u64, Piece>,
    bytes: usize,
}

/// What a piece costs beside its messages: its place in the map and its allocation, roughly.
const OVERHEAD: usize = 96;

impl Held {
    /// Memory in use, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn insert(&mut self, first: u64, piece: Piece) {
        assert!(piece.count > 0, "a piece holds messages");
        self.bytes += Self::cost(piece.blocks());
        let before = self.pieces.insert(first, piece);
        assert!(before.is_none(), "no two pieces overlap");
    }

    /// Takes the piece whose first message is `first`.
    pub(crate) fn take(&mut self, first: u64) -> Option<Piece> {
        let entry = self.pieces.first_entry().filter(|entry| *entry.key() == first)?;
        let piece = entry.remove();
        self.bytes -= Self::cost(piece.blocks());
        Some(piece)
    }

    /// Takes the first piece, with the number of its first message, if it ends at `end` or before.
    pub(crate) fn take_before(&mut self, end: u64) -> Option<(u64, Piece)> {
        let (&first, piece) = self.pieces.first_key_value()?;
        let is_before = first + piece.count as u64 <= end;
        Some(first).filter(|_| is_before).and_then(|first| Some((first, self.take(first)?)))
    }

    pub(crate) fn len(&self) -> usize {
        self.pieces.len()
    }

    /// Takes all pieces that begin at `at` or behind it.
    pub(crate) fn split_off(&mut self, at: u64) -> Self {
        let pieces = self.pieces.split_off(&at);
        let bytes = pieces.values().map(|piece| Self::cost(piece.blocks())).sum();
        self.bytes -= bytes;
        Self { pieces, bytes }
    }

    /// Memory that these messages would need, in bytes.
    pub(crate) fn cost(blocks: Blocks<'_>) -> usize {
        blocks.bytes().len() + OVERHEAD
    }
}
