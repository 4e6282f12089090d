//! Segments on their way to the writer: prepared by a helper at one go, or step by step where there is none, as in tests
//! that decide what happens when.

use std::{
    io,
    sync::{
        Arc, Weak,
        mpsc::{Receiver, TryRecvError, channel},
    },
};

use crate::{
    helper::Hands,
    prepare::{Failure, Preparation, Twin},
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
}

/// Prepares what the write-out asks for. Dropping it waits for the helper: nothing is written to the disk behind the back
/// of the journal's next owner.
#[derive(Debug)]
pub(crate) struct Supply {
    storage: Arc<dyn Storage>,
    hands: Option<Hands>,
    under_way: Option<Place>,
    /// Segments that were given up and whose memory may not be back yet.
    leaving: Vec<Weak<Segment>>,
}

impl Supply {
    pub(crate) fn new(storage: Arc<dyn Storage>) -> Self {
        Self { storage, hands: None, under_way: None, leaving: Vec::new() }
    }

    /// Has a helper do what is asked for from now on.
    pub(crate) fn assist(&mut self, hands: Option<Hands>) {
        self.hands = hands;
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.under_way.is_none()
    }

    /// Segments whose memory is taken and that the write-out does not know: the one that is made, and those that are
    /// given back.
    pub(crate) fn segments(&mut self) -> usize {
        self.leaving.retain(|segment| segment.strong_count() > 0);
        let is_making = matches!(self.under_way, Some(Place::Here(Work::Segment(_)) | Place::Away(_)));
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
        }
    }

    /// Whether a helper is at it, so that asking again at once is no use.
    pub(crate) fn is_away(&self) -> bool {
        matches!(self.under_way, Some(Place::Away(_)))
    }

    /// Gives back the memory of a segment whose name is gone. Its mapping goes when nobody uses it any more.
    pub(crate) fn give_back(&mut self, segment: Arc<Segment>) {
        self.leaving.push(Arc::downgrade(&segment));
        if let Some(hands) = &self.hands {
            hands.give(move || drop(segment));
        }
    }

    /// Waits for what the helper is at, and gives it up.
    pub(crate) fn settle(&mut self) {
        if let Some(Place::Away(receiver)) = self.under_way.take() {
            drop(receiver.recv());
        }
    }
}

impl Drop for Supply {
    fn drop(&mut self) {
        self.settle();
    }
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
