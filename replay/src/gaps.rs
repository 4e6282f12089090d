//! Messages that a venue sent and that never came.

use bus::event::market::{Gap, MarketEvent, MarketEventRef, Session};
use bus::event::{Code, Event, Message as _, Schema, Text};
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

/// What tells of gaps: a topic that has both kinds is a market, whatever else it has.
#[derive(Event)]
enum GapEvent {
    /// See [`Session`].
    Session(Session),
    /// See [`Gap`].
    Gap(Gap),
}

/// Follows the gaps of one market through its sessions.
#[derive(Default)]
pub(crate) struct Gaps {
    state: State,
    /// Still open when their session was succeeded: nothing closes them any more.
    left: Findings<OpenGap>,
}

impl Gaps {
    /// Of a topic with this schema; `None` if it does not tell of gaps.
    pub(crate) fn of(schema: &Schema) -> Option<Self> {
        let needed = Schema::of::<GapEvent>(&[]).ok()?;
        schema.serves(&needed).is_ok().then(Self::default)
    }

    /// Applies a message of such a topic.
    pub(crate) fn apply_body(&mut self, kind: u16, body: &[u8]) {
        // Another kind may be the user's own, under a number of another one of the market.
        if matches!(kind, Session::KIND | Gap::KIND)
            && let Some(event) = MarketEvent::decode(kind, body)
        {
            self.apply(event);
        }
    }

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
