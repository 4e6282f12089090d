//! Messages that a venue sent and that never came.

use bus::event::market::MarketEventRef;
use bus::event::{Code, Text};
use engine::State;

use crate::Findings;

/// A range of a venue's messages that is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenGap {
    /// The venue's session.
    pub session: Text<16>,
    /// First venue message number that is missing.
    pub from: u64,
    /// Missing messages.
    pub count: u64,
}

/// Follows the gaps of one market through its sessions.
#[derive(Default)]
pub(crate) struct Gaps {
    state: State,
    /// Still open when their session was succeeded: nothing closes them any more.
    left: Findings<OpenGap>,
}

impl Gaps {
    /// Applies a message; only sessions and gaps matter.
    pub(crate) fn apply(&mut self, event: MarketEventRef<'_>) {
        match event {
            MarketEventRef::Session(session) if session.state == Code(b'S') => {
                let mut left = std::mem::take(&mut self.left);
                self.current().for_each(|gap| left.push(gap));
                self.left = left;
                self.state.apply_market(event);
            }
            MarketEventRef::Session(_) | MarketEventRef::Gap(_) => self.state.apply_market(event),
            _ => {}
        }
    }

    /// All that are open now.
    pub(crate) fn open(&self) -> Findings<OpenGap> {
        let mut open = self.left.clone();
        self.current().for_each(|gap| open.push(gap));
        open
    }

    fn current(&self) -> impl Iterator<Item = OpenGap> + '_ {
        let session = self.state.session().session;
        let told =
            self.state.open_gaps().map(move |(from, end)| OpenGap { session, from, count: end - from });
        // Beyond what the engine tells apart, it only knows that some messages are missing.
        let untold = self.state.is_stale() && self.state.open_gaps().next().is_none();
        told.chain(untold.then_some(OpenGap { session, from: 0, count: 0 }))
    }
}
