//! How far a segment was walked and written.

use std::{collections::VecDeque, fmt, io};

use crate::{
    checksum::Salt,
    layout::{BLOCK, FIRST_FRAME, FLAG_MORE, KIND_SEAL, Word},
    segment::Segment,
};

/// What an input of a derived journal has made durable.
pub trait Input: Send + fmt::Debug {
    /// The next sequence that is not durable yet.
    fn durable_sequence(&mut self) -> u64;

    /// The sequence behind the last message of `epoch` that the input has, or behind its last of all if that is an earlier
    /// one's: what a dead writer left in memory counts, and what is proven to have been durable and is gone; what a power
    /// loss took does not. `None` if there is no such input to ask, or it lost its evidence.
    fn end_of(&mut self, epoch: u32) -> Option<u64>;
}

/// Batches in one walk after which the lines ahead of it are fetched to be stamped. They are the writer's no more, which a
/// short walk, close behind it, cannot know.
const FETCH_AFTER: usize = 64;

/// How far the segment that is being written was walked and written.
#[derive(Debug)]
pub(crate) struct Progress {
    /// Next frame to look at.
    pub(crate) at: usize,
    /// Sequence there.
    pub(crate) sequence: u64,
    /// Ends of complete batches that are not durable, one a block at most: offset and next sequence.
    pub(crate) ends: VecDeque<(usize, u64)>,
    /// Whole blocks on disk, in bytes.
    pub(crate) written: usize,
    /// End of the last durable batch.
    pub(crate) durable: usize,
    pub(crate) sealed: bool,
}

impl Progress {
    /// At the beginning of a segment whose first message has this sequence.
    pub(crate) fn new(sequence: u64) -> Self {
        Self { at: FIRST_FRAME, sequence, ends: VecDeque::new(), written: 0, durable: 0, sealed: false }
    }

    /// End of the last complete batch.
    pub(crate) fn end(&self) -> usize {
        self.ends.back().map_or(self.durable, |(offset, _)| *offset)
    }

    /// Whether all of a sealed segment is durable.
    pub(crate) fn is_over(&self) -> bool {
        self.sealed && self.ends.is_empty()
    }

    /// Walks the frames that were committed, to the batch that reaches `limit`, and stamps them; returns how many batches.
    /// `begun` is where the last write ends that is in flight.
    pub(crate) fn walk(
        &mut self,
        segment: &Segment,
        salt: Salt,
        inputs: &mut [Box<dyn Input>],
        begun: usize,
        limit: usize,
    ) -> io::Result<usize> {
        let (mut at, mut sequence, mut batches) = (self.at, self.sequence, 0);
        while !self.sealed && self.at < limit {
            let Some(frame) = segment.frame(at) else { break };
            let Ok(word) = frame else {
                let what = format!("no frame stands at {}", segment.position(at));
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            };
            if is_held(inputs, segment, at, word) {
                break;
            }
            if batches > FETCH_AFTER {
                segment.fetch_ahead(at);
            }
            stamp(salt, segment, at, word);
            at += word.stride();
            sequence += u64::from(word.is_user());
            if word.flags & FLAG_MORE == 0 {
                batches += 1;
                (self.at, self.sequence) = (at, sequence);
                self.note_end(begun);
                self.sealed = word.kind == KIND_SEAL;
            }
        }
        Ok(batches)
    }

    /// Notes the end of a batch, keeping the last one of each block, and the one at which the last write ends that was
    /// `begun`.
    fn note_end(&mut self, begun: usize) {
        let block = |offset: usize| offset.div_ceil(BLOCK);
        let end = (self.at, self.sequence);
        match self.ends.back_mut() {
            Some(last) if last.0 > begun && block(last.0) == block(self.at) => *last = end,
            _ => self.ends.push_back(end),
        }
    }

    /// All is on disk up to `end`: offset and sequence of the last batch that is durable now and was not.
    pub(crate) fn reach(&mut self, end: usize) -> Option<(usize, u64)> {
        self.written = self.written.max(end / BLOCK * BLOCK);
        let mut reached = None;
        while self.ends.front().is_some_and(|(offset, _)| *offset <= end) {
            reached = self.ends.pop_front();
        }
        self.durable = reached.map_or(self.durable, |(offset, _)| offset);
        reached
    }
}

/// Whether a frame follows from a message that is not durable yet.
fn is_held(inputs: &mut [Box<dyn Input>], segment: &Segment, offset: usize, word: Word) -> bool {
    segment.cause(offset, word).is_some_and(|cause| {
        inputs
            .get_mut(usize::from(cause.input))
            .is_some_and(|input| input.durable_sequence() <= cause.sequence)
    })
}

/// Stamps the checksum of a committed frame.
pub(crate) fn stamp(salt: Salt, segment: &Segment, offset: usize, word: Word) {
    let sum = salt.frame(segment.position(offset), word, segment.delta(offset), segment.body(offset, word));
    segment.stamp(offset, sum);
}
