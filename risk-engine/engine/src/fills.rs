//! The last executions, kept so that the venue can take them back.

use std::collections::VecDeque;

use bus::event::Text;

use crate::position::Execution;

/// Executions that are retained, over all positions. A bust or correction of an older one is refused and counted as
/// [`Oddity::UnknownReference`](crate::Oddity::UnknownReference).
pub const RETAINED_FILLS: usize = 1 << 16;

/// An execution that can be taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fill {
    /// Whose it is.
    pub(crate) position: u32,
    /// Declared void: it counts no more.
    pub(crate) is_void: bool,
    pub(crate) execution: Execution,
    /// ExecID of the fill.
    pub(crate) id: Text<32>,
    /// ExecID of its latest correction; else that of the fill.
    pub(crate) latest: Text<32>,
}

impl Fill {
    pub(crate) fn new(position: u32, execution: Execution, id: Text<32>) -> Self {
        Self { position, is_void: false, execution, id, latest: id }
    }
}

/// The last [`RETAINED_FILLS`] executions, oldest first.
#[derive(Clone, Default)]
pub(crate) struct Fills(VecDeque<Fill>);

impl Fills {
    /// Retains a fill; returns the one that has become too old.
    pub(crate) fn push(&mut self, fill: Fill) -> Option<Fill> {
        let oldest = if self.0.len() < RETAINED_FILLS { None } else { self.0.pop_front() };
        self.0.push_back(fill);
        oldest
    }

    /// Where the newest valid fill of a position is that goes by `reference`, its own ExecID or that of its latest
    /// correction.
    pub(crate) fn find(&self, position: u32, reference: Text<32>) -> Option<usize> {
        let goes_by = |fill: &Fill| fill.id == reference || fill.latest == reference;
        self.0.iter().rposition(|fill| fill.position == position && !fill.is_void && goes_by(fill))
    }

    /// The fill at a place that [`Self::find`] gave.
    pub(crate) fn at(&mut self, place: usize) -> &mut Fill {
        &mut self.0[place]
    }

    /// The valid executions of a position, oldest first, if `instead` stood at `place`.
    pub(crate) fn amended(
        &self,
        position: u32,
        place: usize,
        instead: Fill,
    ) -> impl Iterator<Item = Execution> + '_ {
        let fills = self.0.iter().enumerate().map(move |(i, fill)| if i == place { instead } else { *fill });
        fills.filter(move |fill| fill.position == position && !fill.is_void).map(|fill| fill.execution)
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &Fill> {
        self.0.iter()
    }
}
