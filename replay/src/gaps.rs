//! Messages that a venue sent and that never came.

use std::collections::{BTreeMap, HashMap};

use bus::event::market::{Gap, MarketEvent, MarketEventRef, Session};
use bus::event::{Code, Event, Kind, Message as _, Schema, Text};
use engine::State;

use crate::Findings;

/// Field with the venue's number of the message that an event came from.
const NUMBER: &str = "venue_sequence";
/// Ranges that are told apart. Beyond, what came of a gap counts as missing still.
const MOST_RANGES: usize = 1 << 16;
/// Sessions that may be taken up again and close their gaps. Beyond, what one of them has left stays missing.
const MOST_SESSIONS: usize = 16;

/// A range of a venue's messages that is missing: a gap, or what is left of one of which some came.
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

/// What is missing: ranges of a venue's numbers that do not touch, each with its end.
#[derive(Default)]
struct Missing {
    ranges: BTreeMap<u64, u64>,
    /// There was no room for one: nothing is known of what came of it.
    is_cut: bool,
}

impl Missing {
    fn add(&mut self, from: u64, end: u64) {
        self.take(from, end);
        if self.ranges.len() >= MOST_RANGES {
            self.is_cut = true;
        } else if from < end {
            self.ranges.insert(from, end);
        }
    }

    fn take(&mut self, from: u64, end: u64) {
        while let Some((first, last)) = self.last_before(end).filter(|(_, last)| *last > from) {
            let is_split = first < from && end < last;
            if is_split && self.ranges.len() >= MOST_RANGES {
                return;
            }
            self.ranges.remove(&first);
            let left = [(first, from), (end, last)];
            self.ranges.extend(left.into_iter().filter(|(first, last)| first < last));
        }
    }

    fn last_before(&self, end: u64) -> Option<(u64, u64)> {
        self.ranges.range(..end).next_back().map(|(first, last)| (*first, *last))
    }

    /// What is missing of a gap: all of it where that is not known.
    fn within(&self, from: u64, end: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
        let reaches =
            move |(first, last): (u64, u64)| (last > from).then_some((first.max(from), last.min(end)));
        let begins_before = self.last_before(from).and_then(reaches);
        let others = self.ranges.range(from..end).filter_map(move |(first, last)| reaches((*first, *last)));
        let (whole, is_cut) = (self.is_cut.then_some((from, end)), self.is_cut);
        whole.into_iter().chain(begins_before.into_iter().chain(others).filter(move |_| !is_cut))
    }
}

/// The gaps of one session.
#[derive(Default)]
struct Followed {
    state: State,
    /// Of the gaps that are open now.
    missing: Missing,
}

impl Followed {
    /// A session that begins here. What came before it, if it was taken up again, is journalled.
    fn begun(session: &Session) -> Self {
        let mut followed = Self::default();
        followed.state.apply_market(MarketEventRef::Session(&Session { venue_sequence: 1, ..*session }));
        followed
    }

    fn apply(&mut self, event: MarketEventRef<'_>) {
        if let MarketEventRef::Gap(&Gap { venue_sequence: from, count, state, .. }) = event {
            let end = from.saturating_add(count);
            match state {
                Code(b'O') => self.missing.add(from, end),
                Code(b'C' | b'W') => self.missing.take(from, end),
                _ => {}
            }
        }
        self.state.apply_market(event);
    }

    fn session(&self) -> Text<16> {
        self.state.session().session
    }

    fn open(&self) -> impl Iterator<Item = OpenGap> + '_ {
        let session = self.session();
        let missing = self.state.open_gaps().flat_map(|(from, end)| self.missing.within(from, end));
        let told = missing.map(move |(from, end)| OpenGap { session, from, count: end - from });
        // Beyond what the engine tells apart, it only knows that some messages are missing.
        let untold = self.state.is_stale() && self.state.open_gaps().next().is_none();
        told.chain(untold.then_some(OpenGap { session, from: 0, count: 0 }))
    }
}

/// Follows the gaps of one market through its sessions.
#[derive(Default)]
pub(crate) struct Gaps {
    current: Followed,
    /// Where in the events of a kind the venue's number stands.
    numbers: HashMap<u16, usize>,
    /// Sessions that were succeeded while gaps were open, in their order.
    succeeded: Vec<Followed>,
    /// What nothing closes any more.
    left: Findings<OpenGap>,
}

impl Gaps {
    /// Of a topic with this schema; `None` if it does not tell of gaps.
    pub(crate) fn of(schema: &Schema) -> Option<Self> {
        let needed = Schema::of::<GapEvent>(&[]).ok()?;
        schema.serves(&needed).ok()?;
        let kinds = schema.kinds().iter().filter(|kind| !matches!(kind.kind, Session::KIND | Gap::KIND));
        let number = |kind: &Kind| {
            let field =
                kind.fields.iter().find(|field| field.name == NUMBER && field.size == size_of::<u64>())?;
            Some((kind.kind, field.offset))
        };
        Some(Self { numbers: kinds.filter_map(number).collect(), ..Self::default() })
    }

    /// Applies a message of such a topic.
    pub(crate) fn apply(&mut self, kind: u16, body: &[u8]) {
        // Another kind may be the user's own, under a number of another one of the market.
        if matches!(kind, Session::KIND | Gap::KIND)
            && let Some(event) = MarketEvent::decode(kind, body)
        {
            return self.apply_event(event);
        }
        let missing = &mut self.current.missing;
        if missing.ranges.is_empty() {
            return;
        }
        let number = self.numbers.get(&kind).and_then(|offset| body.get(*offset..)?.first_chunk());
        if let Some(number) = number.map(|bytes| u64::from_le_bytes(*bytes)) {
            missing.take(number, number.saturating_add(1));
        }
    }

    fn apply_event(&mut self, event: MarketEventRef<'_>) {
        match event {
            MarketEventRef::Session(session) if session.state == Code(b'S') => self.goes_over_to(session),
            event => self.current.apply(event),
        }
    }

    /// The current session is succeeded. One that is taken up again closes the gaps that it left.
    fn goes_over_to(&mut self, session: &Session) {
        let before = std::mem::take(&mut self.current);
        if before.open().next().is_some() {
            self.succeeded.push(before);
        }
        let index = self.succeeded.iter().position(|its| its.session() == session.session);
        let past = index.map(|index| self.succeeded.remove(index));
        self.current = match past {
            Some(past) if session.venue_sequence > 1 => past,
            past => {
                past.iter().for_each(|past| self.leave(past));
                Followed::begun(session)
            }
        };
        if self.succeeded.len() > MOST_SESSIONS {
            let first = self.succeeded.remove(0);
            self.leave(&first);
        }
    }

    /// A session that is not taken up again.
    fn leave(&mut self, session: &Followed) {
        session.open().for_each(|gap| self.left.push(gap));
    }

    /// All that are open now.
    pub(crate) fn open(&self) -> Findings<OpenGap> {
        let mut open = self.left.clone();
        self.succeeded.iter().chain([&self.current]).flat_map(Followed::open).for_each(|gap| open.push(gap));
        open
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn what_is_missing_as_a_set_of_numbers_would_say() {
        let mut random = 7_u64;
        let mut below = |limit: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % limit
        };
        let (mut missing, mut naive) = (Missing::default(), BTreeSet::new());
        for _ in 0..2_000 {
            let from = below(100);
            let end = from + below(20);
            if below(3) == 0 {
                missing.add(from, end);
                naive.extend(from..end);
            } else {
                missing.take(from, end);
                naive.retain(|number| !(from..end).contains(number));
            }
            let (from, end) = (below(50), 50 + below(70));
            let told: Vec<u64> = missing.within(from, end).flat_map(|(from, end)| from..end).collect();
            assert_eq!(told, naive.range(from..end).copied().collect::<Vec<_>>());
        }
        missing.add(0, u64::MAX);
        missing.take(u64::MAX, u64::MAX);
        assert_eq!(missing.within(5, u64::MAX).collect::<Vec<_>>(), [(5, u64::MAX)]);
    }

    #[test]
    fn ranges_are_bounded_and_what_is_not_told_apart_counts_as_missing() {
        let mut missing = Missing::default();
        let most = MOST_RANGES as u64;
        missing.add(0, 4 * most);
        (0..2 * most).for_each(|n| missing.take(2 * n, 2 * n + 1));
        assert_eq!(missing.ranges.len(), MOST_RANGES);
        assert_eq!(missing.ranges.last_key_value().map(|(_, end)| *end), Some(4 * most));
        missing.add(5 * most, 6 * most);
        let whole = (5 * most, 6 * most);
        assert_eq!(
            missing.within(whole.0, whole.1).collect::<Vec<_>>(),
            [whole],
            "one without room is told whole"
        );
    }
}
