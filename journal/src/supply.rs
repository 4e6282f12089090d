//! Segments on their way to the writer: prepared by a helper at one go, or step by step where there is none, as in tests
//! that decide what happens when.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Weak,
        mpsc::{Receiver, TryRecvError, channel},
    },
};

use crate::{
    helper::Hands,
    memory::SegmentMemory,
    names,
    prepare::{Failure, Preparation, Spare, Twin},
    segment::Segment,
    storage::Storage,
};

/// What can be under way, one at a time.
#[derive(Debug)]
pub(crate) enum Work {
    /// A new segment, with a twin whose blocks are not written yet.
    Segment(Preparation),
    /// The blocks of the twin of the segment with this number.
    Twin(u64, Twin),
}

/// What was done.
#[derive(Debug)]
pub(crate) enum Done {
    Segment(Arc<Segment>, Twin),
    Twin,
}

/// What came of it: what was under way, unless a helper died over it, and what was done or why it was not.
pub(crate) type Outcome = (Option<Work>, Result<Done, Failure>);

/// Where it is done.
#[derive(Debug)]
enum Place {
    Here(Work),
    Away(Receiver<Outcome>),
    Back(Outcome),
}

/// Prepares what the write-out asks for. Dropping it waits for the helper: nothing is written to the disk behind the back
/// of the journal's next owner.
#[derive(Debug)]
pub(crate) struct Supply {
    storage: Arc<dyn Storage>,
    memory_dir: PathBuf,
    hands: Option<Hands>,
    under_way: Option<Place>,
    /// Memory of a retired segment that nobody reads, under a name of its own.
    spare: Option<Spare>,
    /// Segments that were given up and whose memory may not be back yet.
    leaving: Vec<Weak<Segment>>,
}

impl Supply {
    pub(crate) fn new(storage: Arc<dyn Storage>, memory_dir: PathBuf) -> Self {
        Self { storage, memory_dir, hands: None, under_way: None, spare: None, leaving: Vec::new() }
    }

    /// Has a helper do what is asked for from now on.
    pub(crate) fn assist(&mut self, hands: Option<Hands>) {
        self.hands = hands;
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.under_way.is_none()
    }

    /// Segments whose memory is taken and that the write-out does not know: the one that is made, and those that are
    /// given back; not the spare one, which the next will be.
    pub(crate) fn segments(&mut self) -> usize {
        self.leaving.retain(|segment| segment.strong_count() > 0);
        let is_making =
            matches!(self.under_way, Some(Place::Here(Work::Segment(_)) | Place::Away(_) | Place::Back(_)));
        self.leaving.len() + usize::from(is_making)
    }

    /// Begins something.
    pub(crate) fn begin(&mut self, mut work: Work) {
        debug_assert!(self.is_idle());
        let Some(hands) = &self.hands else {
            self.under_way = Some(Place::Here(work));
            return;
        };
        let (sender, receiver) = channel();
        let storage = Arc::clone(&self.storage);
        hands.give(move || {
            let result = loop {
                if let Some(result) = step(&mut work, storage.as_ref()).transpose() {
                    break result;
                }
            };
            // Nobody waits any more for what a journal that was given up had asked for.
            let _ = sender.send((Some(work), result));
        });
        self.under_way = Some(Place::Away(receiver));
    }

    /// Goes on with what is under way, or asks the helper for it. `None`: not yet.
    pub(crate) fn advance(&mut self) -> Option<Outcome> {
        match self.under_way.take()? {
            Place::Here(mut work) => match step(&mut work, self.storage.as_ref()).transpose() {
                Some(result) => Some((Some(work), result)),
                None => {
                    self.under_way = Some(Place::Here(work));
                    None
                }
            },
            Place::Away(receiver) => match receiver.try_recv() {
                Ok(outcome) => Some(outcome),
                Err(TryRecvError::Empty) => {
                    self.under_way = Some(Place::Away(receiver));
                    None
                }
                Err(TryRecvError::Disconnected) => {
                    Some((None, Err(Failure::Io(io::Error::other("the helper ended")))))
                }
            },
            Place::Back(outcome) => Some(outcome),
        }
    }

    /// Whether a helper is at something, so that giving up the journal would have to wait for it.
    pub(crate) fn is_busy(&mut self) -> bool {
        if self.is_away() {
            let back = self.advance();
            self.under_way = back.map(Place::Back).or_else(|| self.under_way.take());
        }
        self.is_away()
    }

    /// Whether a helper is at it, so that asking again at once is no use.
    pub(crate) fn is_away(&self) -> bool {
        matches!(self.under_way, Some(Place::Away(_)))
    }

    /// Takes the memory of a retired segment: keeps it for the next one if that is wanted and nobody reads it, else gives it
    /// back, which its readers' mappings and the writer's, if it is just leaving, may delay.
    pub(crate) fn give_back(&mut self, mut segment: Arc<Segment>, may_keep: bool) {
        let number = segment.number();
        let is_ours = may_keep && self.spare.is_none() && Arc::get_mut(&mut segment).is_some();
        if is_ours && segment.memory().is_some_and(|memory| self.keep(memory, number)) {
            let memory = Arc::into_inner(segment).and_then(Segment::into_memory);
            let path = self.memory_dir.join(names::spare(number));
            self.spare = memory.map(|memory| Spare { memory, path });
            return;
        }
        remove_memory(&self.memory_dir, number);
        self.leaving.push(Arc::downgrade(&segment));
        if let Some(hands) = &self.hands {
            hands.give(move || drop(segment));
        }
    }

    /// Makes the memory of a segment the spare one, if nobody reads it.
    fn keep(&self, memory: &SegmentMemory, number: u64) -> bool {
        let (segment, spare) = (names::segment(number), names::spare(number));
        memory.take() && fs::rename(self.memory_dir.join(segment), self.memory_dir.join(spare)).is_ok()
    }

    /// The spare memory, for a segment that is made of it.
    pub(crate) fn spare(&mut self) -> Option<Spare> {
        self.spare.take()
    }

    /// Waits for what the helper is at, if it is, and gives all spare memory up. Answers what was under way and what was
    /// done.
    pub(crate) fn settle(&mut self) -> (Option<Work>, Option<Done>) {
        if let Some(spare) = self.spare.take() {
            spare.forget();
        }
        match self.under_way.take() {
            Some(Place::Here(work)) => (Some(work), None),
            Some(Place::Away(receiver)) => {
                receiver.recv().map_or((None, None), |(work, result)| (work, result.ok()))
            }
            Some(Place::Back((work, result))) => (work, result.ok()),
            None => (None, None),
        }
    }
}

impl Drop for Supply {
    fn drop(&mut self) {
        drop(self.settle());
    }
}

/// Removes the name of a segment in memory.
pub(crate) fn remove_memory(directory: &Path, number: u64) {
    let _ = fs::remove_file(directory.join(names::segment(number)));
}

/// One step, short enough that a write-out without a helper can do it between two writes. `None`: more follow.
fn step(work: &mut Work, storage: &dyn Storage) -> Result<Option<Done>, Failure> {
    match work {
        Work::Segment(preparation) => {
            let made = preparation.step(storage)?;
            Ok(made.map(|(segment, twin)| Done::Segment(segment, twin)))
        }
        Work::Twin(_, twin) => {
            twin.step(storage).map_err(Failure::Io)?;
            Ok(twin.is_ready().then_some(Done::Twin))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::simulated::SimulatedDisk;

    const SIZE: usize = 1 << 20;

    /// A segment in memory of which every byte is its number.
    fn segment(directory: &Path, number: u64) -> Arc<Segment> {
        let path = directory.join(names::segment(number));
        let memory = SegmentMemory::create(&path, SIZE).unwrap();
        fs::write(path, vec![number as u8; SIZE]).unwrap();
        Arc::new(Segment::shared(memory, number))
    }

    #[test]
    fn what_retires_while_spare_memory_is_made_into_a_segment_is_not_mistaken_for_it() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path().to_owned();
        let storage = SimulatedDisk::new();
        storage.make_directory().unwrap();
        let mut supply = Supply::new(Arc::new(storage.clone()), directory.clone());
        supply.give_back(segment(&directory, 1), true);
        let new = Preparation::new(5, SIZE, directory.clone()).from(None, supply.spare());
        // The helper has not begun when the next segment retires.
        supply.give_back(segment(&directory, 2), true);
        let mut work = Work::Segment(new);
        let made = loop {
            if let Some(Done::Segment(made, _)) = step(&mut work, &storage).unwrap() {
                break made;
            }
        };
        let path = directory.join(names::segment(5));
        assert!(made.memory().unwrap().is_at(&path).unwrap(), "readers find what its writer writes");
        let bytes = fs::read(&path).unwrap();
        assert!(bytes[..crate::layout::FIRST_FRAME + 8].iter().all(|byte| *byte == 0));
        assert_eq!(bytes[SIZE - 1], 1, "it was the first one's memory");
        let other = SegmentMemory::open(&path, crate::storage::Access::Read, SIZE).unwrap();
        assert!(other.hold(&path).unwrap(), "and nobody keeps readers out");
        let spare = supply.spare().unwrap();
        assert!(spare.memory.is_at(&spare.path).unwrap(), "the second one still waits");
        spare.forget();
    }
}
