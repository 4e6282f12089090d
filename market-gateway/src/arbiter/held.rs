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

    /// Drops all pieces that begin at `at` or behind it; returns how many.
    pub(crate) fn truncate(&mut self, at: u64) -> u64 {
        let beyond = self.pieces.split_off(&at);
        self.bytes -= beyond.values().map(|piece| Self::cost(piece.blocks())).sum::<usize>();
        beyond.len() as u64
    }

    /// Memory that these messages would need, in bytes.
    pub(crate) fn cost(blocks: Blocks<'_>) -> usize {
        blocks.bytes().len() + OVERHEAD
    }
}
