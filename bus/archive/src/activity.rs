//! When each connection last did something: where all are taken, one that is silent must not lock out one that would read.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A client that does nothing this long may have to give way to a new one. Those that wait for messages ask more often,
/// and the wait itself is not silence. Clients that find no place try for some five seconds.
const SILENCE: Duration = Duration::from_secs(2);

/// What a connection does, as its thread tells it and the accepting thread sees it.
#[derive(Debug)]
pub(crate) struct Activity(Mutex<State>);

#[derive(Debug)]
struct State {
    /// Whether it has ever completed a request.
    has_asked: bool,
    /// Whether the next step is ours: a request is complete and its answer is not.
    is_served: bool,
    /// When it connected, completed a request, or last took a part of an answer.
    since: Instant,
    gave_way: bool,
}

/// How little a connection is missed: the least of several gives way. One that never asked comes before all that did.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Silence {
    has_asked: bool,
    since: Instant,
}

impl Activity {
    pub(crate) fn new() -> Self {
        Self::since(Instant::now())
    }

    fn since(since: Instant) -> Self {
        Self(Mutex::new(State { has_asked: false, is_served: false, since, gave_way: false }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a request is complete. False: it came too late, the connection has given way.
    #[must_use]
    pub(crate) fn ask(&self) -> bool {
        let mut state = self.state();
        (state.has_asked, state.is_served, state.since) = (true, true, Instant::now());
        !state.gave_way
    }

    /// Notes that the next step is the client's: its answer is ready, or it took a part of it.
    pub(crate) fn hand_over(&self) {
        let mut state = self.state();
        (state.is_served, state.since) = (false, Instant::now());
    }

    /// Since when it is silent, where that is long enough to give way.
    pub(crate) fn silence(&self) -> Option<Silence> {
        self.state().silence()
    }

    /// Has it give way, unless it has just asked.
    pub(crate) fn give_way(&self) -> bool {
        let mut state = self.state();
        state.gave_way = state.silence().is_some();
        state.gave_way
    }
}

impl State {
    fn silence(&self) -> Option<Silence> {
        let Self { has_asked, is_served, since, .. } = *self;
        (!is_served && since.elapsed() >= SILENCE).then_some(Silence { has_asked, since })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection that was last active so long ago.
    fn silent_for(time: Duration) -> Activity {
        Activity::since(Instant::now().checked_sub(time).unwrap())
    }

    #[test]
    fn who_is_silent_longest_gives_way_and_who_never_asked_before_all() {
        let (longer, shorter, never_asked) =
            (silent_for(SILENCE * 3), silent_for(SILENCE * 2), silent_for(SILENCE));
        longer.state().has_asked = true;
        shorter.state().has_asked = true;
        let all = [&longer, &shorter, &never_asked].map(|activity| activity.silence().unwrap());
        assert!(all[2] < all[0] && all[0] < all[1], "{all:?}");
    }

    #[test]
    fn who_is_served_or_was_just_active_does_not_give_way() {
        let served = silent_for(SILENCE);
        assert!(served.ask());
        served.state().since = Instant::now().checked_sub(SILENCE).unwrap();
        assert_eq!((served.silence(), served.give_way()), (None, false));
        served.hand_over();
        assert_eq!((served.silence(), served.give_way()), (None, false), "the answer is just ready");
        assert!(served.ask(), "it goes on");
    }

    #[test]
    fn what_is_asked_after_giving_way_is_too_late() {
        let activity = silent_for(SILENCE);
        assert!(activity.give_way() && !activity.ask());
    }
}
