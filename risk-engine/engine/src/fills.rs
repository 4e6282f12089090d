//! The last executions, kept so that the venue can take them back.

use std::collections::VecDeque;

use bus::event::Text;

use crate::position::Execution;

/// Executions that are retained, over all positions and trade dates. A bust or correction of an older one comes too late:
/// it is counted as [`Oddity::ForgottenFill`](crate::Oddity::ForgottenFill), [flags](crate::PositionView::unamended) the
/// position and raises an alert.
///
/// A number and not a span of trade dates, since one date may hold any number of executions: state, snapshot, and what
/// one bust costs are bounded whatever the day brings. Each takes 112 bytes of memory and as many of a snapshot, all of
/// them 7 MiB. At 1,000 fills a second they reach back 65 seconds, at 10 a second almost two hours.
pub const RETAINED_FILLS: usize = 1 << 16;

/// The name of this limit in [`LimitAlert`](bus::event::risk::LimitAlert).
pub const RETAINED_FILLS_LIMIT: &str = "retained fills";

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

/// What the documentation of [`RETAINED_FILLS`] says.
const _: () = assert!(size_of::<Fill>() == 112);

impl Fill {
    pub(crate) fn new(position: u32, execution: Execution, id: Text<32>) -> Self {
        Self { position, is_void: false, execution, id, latest: id }
    }

    fn goes_by(&self, position: u32, reference: Text<32>) -> bool {
        self.position == position && (self.id == reference || self.latest == reference)
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
        self.0.iter().rposition(|fill| !fill.is_void && fill.goes_by(position, reference))
    }

    /// Whether a void fill of a position goes by `reference`.
    pub(crate) fn is_void(&self, position: u32, reference: Text<32>) -> bool {
        self.0.iter().any(|fill| fill.is_void && fill.goes_by(position, reference))
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
