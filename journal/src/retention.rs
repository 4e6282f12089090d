//! Retention: how much of a journal stays on disk, what goes beyond that, and who holds it.

use std::{collections::VecDeque, io};

use crate::{keepers::Keeper, storage::Storage};

/// A topic may take so many segments, whatever its retention says: one that is written, one ahead, one retired.
const LEAST_SEGMENTS: u64 = 3;

/// How much of a journal stays on disk, and what happens beyond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Bytes on disk. Segments that are still in memory count, and stay whatever this says.
    pub bytes: u64,
    /// What goes.
    pub cuts: Cuts,
}

/// What retention removes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cuts {
    /// Nothing: at its limit the journal takes no more.
    Nothing,
    /// The oldest segments once no keeper needs them. At its limit the journal takes no more until its keepers have gone
    /// on; for ever where it has none.
    Released,
    /// The oldest segments. What a keeper needs may stand beyond the limit, up to as much again; then it goes all the
    /// same, which is counted, and holds nothing back from there on.
    Oldest,
}

/// A retired segment that is still on disk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Retired {
    pub(crate) number: u64,
    /// Sequence after its last message.
    pub(crate) end: u64,
    /// Bytes on disk.
    pub(crate) bytes: u64,
}

/// Removes a file below the floor, which damage may have taken before. A directory in its place is nobody's message and
/// stays.
pub(crate) fn remove_disk(storage: &dyn Storage, name: &str) -> io::Result<()> {
    match storage.remove(name) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::IsADirectory) => Ok(()),
        removed => removed,
    }
}

/// What has to be done before one more segment is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Make,
    /// Remove the oldest segment first, although a keeper needs it where `overrules` says so.
    Cut {
        overrules: bool,
    },
    /// There is no room until somebody makes some.
    Refuse,
}

/// The retired segments, oldest first, and how many may stay.
#[derive(Debug)]
pub(crate) struct Retained {
    pub(crate) segments: VecDeque<Retired>,
    retention: Option<Retention>,
}

impl Retained {
    pub(crate) fn new(
        segments: VecDeque<Retired>,
        retention: Option<Retention>,
        segment_size: usize,
    ) -> Self {
        let least = LEAST_SEGMENTS * segment_size as u64;
        let retention = retention.map(|asked| Retention { bytes: asked.bytes.max(least), ..asked });
        Self { segments, retention }
    }

    pub(crate) fn retention(&self) -> Option<Retention> {
        self.retention
    }

    /// Whether all may stay where the other segments take `live` bytes.
    pub(crate) fn fits(&self, live: u64) -> bool {
        self.retention.is_none_or(|retention| self.bytes(live) <= retention.bytes)
    }

    fn bytes(&self, live: u64) -> u64 {
        live + self.segments.iter().map(|retired| retired.bytes).sum::<u64>()
    }

    /// What to do in a journal that begins at the sequence `first`.
    pub(crate) fn step(&self, live: u64, first: u64, keepers: &[Keeper]) -> Step {
        let Some(Retention { bytes: limit, cuts }) = self.retention else { return Step::Make };
        if self.fits(live) {
            return Step::Make;
        }
        let Some(oldest) = self.segments.front() else {
            return if cuts == Cuts::Oldest { Step::Make } else { Step::Refuse };
        };
        let needs = |keeper: &&Keeper| keeper.needs_below(oldest.end);
        match cuts {
            Cuts::Nothing => Step::Refuse,
            Cuts::Released if keepers.is_empty() || keepers.iter().any(|keeper| needs(&keeper)) => {
                Step::Refuse
            }
            Cuts::Released => Step::Cut { overrules: false },
            Cuts::Oldest => {
                let holds = keepers.iter().filter(needs).any(|keeper| !keeper.has_lost(first));
                if holds && self.bytes(live) <= limit.saturating_mul(2) {
                    Step::Make
                } else {
                    Step::Cut { overrules: holds }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: u64 = 1 << 20;

    /// Retired segments of 100 messages each, the first of them from `first` on.
    fn retained(count: u64, first: u64, cuts: Cuts) -> Retained {
        let retired = |n| Retired { number: n, end: first + (n + 1) * 100, bytes: SEGMENT };
        let retention = Retention { bytes: 4 * SEGMENT, cuts };
        Retained::new((0..count).map(retired).collect(), Some(retention), SEGMENT as usize)
    }

    fn keeper(sequence: impl Into<Option<u64>>) -> Keeper {
        Keeper { name: "engine".into(), sequence: sequence.into() }
    }

    #[test]
    fn each_policy_gives_what_it_promises() {
        use Cuts::{Nothing, Oldest, Released};
        let (cut, overruled) = (Step::Cut { overrules: false }, Step::Cut { overrules: true });
        let none: &[Keeper] = &[];
        for (cuts, count, keepers, want) in [
            // Two segments live, and two retired: that is the limit.
            (Nothing, 2, none, Step::Make),
            (Nothing, 3, none, Step::Refuse),
            (Nothing, 3, &[keeper(500)], Step::Refuse),
            (Released, 3, none, Step::Refuse),
            (Released, 3, &[keeper(199)], Step::Refuse),
            (Released, 3, &[keeper(200)], cut),
            (Released, 3, &[keeper(200), keeper(150)], Step::Refuse),
            (Released, 3, &[keeper(200), keeper(None)], Step::Refuse),
            (Oldest, 2, none, Step::Make),
            (Oldest, 3, none, cut),
            (Oldest, 3, &[keeper(200)], cut),
            (Oldest, 3, &[keeper(199)], Step::Make),
            (Oldest, 6, &[keeper(100)], Step::Make),
            (Oldest, 7, &[keeper(100)], overruled),
            (Oldest, 7, &[keeper(None)], overruled),
            // What it needs is gone: the rest alone is of no use to it.
            (Oldest, 3, &[keeper(99)], cut),
            (Oldest, 3, &[keeper(99), keeper(100)], Step::Make),
        ] {
            let found = retained(count, 100, cuts).step(2 * SEGMENT, 100, keepers);
            assert_eq!(found, want, "{cuts:?} with {count} retired and {keepers:?}");
        }
    }

    #[test]
    fn three_segments_always_fit_and_without_a_limit_all_do() {
        let small = Retention { bytes: 1, cuts: Cuts::Nothing };
        let none = Retained::new(VecDeque::new(), Some(small), SEGMENT as usize);
        assert_eq!(none.step(3 * SEGMENT, 0, &[]), Step::Make);
        assert_eq!(none.step(4 * SEGMENT, 0, &[]), Step::Refuse);
        let endless = Retained::new(VecDeque::new(), None, SEGMENT as usize);
        assert_eq!(endless.step(u64::MAX, 0, &[]), Step::Make);
    }
}
