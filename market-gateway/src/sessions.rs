//! Which session's packets count.
//!
//! A stranger may send on our addresses, and a packet may be damaged, so one packet alone never begins a session: it
//! begins with the second packet of its id, when no other session is alive. A session is alive from its beginning until
//! the venue ends it or nothing is heard of it for some seconds (venues send a heartbeat each second). At once begins
//! the session that the journal was in, and one that the user named.

use std::time::Duration;

use bus::event::Time;

use crate::arbiter::Source;
use crate::mold::SessionId;

/// Silence after which a session that was not ended gives way to another.
const SILENCE: Duration = Duration::from_secs(5);
/// Ids that are remembered while they wait for their second packet.
const CANDIDATES: usize = 4;

/// A packet that waits for another one of its session.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) session: SessionId,
    pub(crate) source: Source,
    pub(crate) receive_time: Time,
    pub(crate) datagram: Box<[u8]>,
}

/// What to do with a packet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It is of the current session.
    Current,
    /// It is of no concern.
    Foreign,
    /// It may begin a session: keep it.
    Waits,
    /// It begins a session: adopt that.
    Begins,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    only: Option<SessionId>,
    current: Option<SessionId>,
    heard: Time,
    waiting: Vec<Kept>,
}

impl Sessions {
    /// Admits any session, or `only` one.
    pub(crate) fn new(only: Option<SessionId>) -> Self {
        Self { only, ..Self::default() }
    }

    /// The current session.
    pub(crate) fn current(&self) -> Option<SessionId> {
        self.current
    }

    /// What to do with a packet of `session`. `ended` says whether the current one is over, `last` is the journal's.
    #[inline]
    pub(crate) fn admit(
        &mut self,
        session: SessionId,
        now: Time,
        ended: bool,
        last: Option<SessionId>,
    ) -> Admission {
        if self.current == Some(session) {
            self.heard = self.heard.max(now);
            return Admission::Current;
        }
        if self.only.is_some_and(|only| only != session) {
            return Admission::Foreign;
        }
        let silence = u128::from(now.0.saturating_sub(self.heard.0));
        if self.current.is_some() && !ended && silence < SILENCE.as_nanos() {
            return Admission::Foreign;
        }
        let expected = self.only.is_some() || (self.current.is_none() && last == Some(session));
        if expected || self.waiting.iter().any(|kept| kept.session == session) {
            return Admission::Begins;
        }
        Admission::Waits
    }

    /// Keeps a packet in case that its session begins; returns how many were dropped for it.
    pub(crate) fn keep(&mut self, kept: Kept) -> u64 {
        let dropped = self.waiting.len() + 1 > CANDIDATES;
        if dropped {
            self.waiting.remove(0);
        }
        self.waiting.push(kept);
        u64::from(dropped)
    }

    /// The session begins. Returns the packets that were kept: its own, and how many of others.
    pub(crate) fn adopt(&mut self, session: SessionId, now: Time) -> (Option<Kept>, u64) {
        self.current = Some(session);
        self.heard = now;
        let mut others = std::mem::take(&mut self.waiting);
        let own = others.iter().position(|kept| kept.session == session).map(|index| others.remove(index));
        (own, others.len() as u64)
    }

    /// The session of the only packet that there was, when the input ends.
    pub(crate) fn last_resort(&self) -> Option<SessionId> {
        self.waiting.last().filter(|_| self.current.is_none()).map(|kept| kept.session)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mold::session_id;

    fn id(number: u8) -> SessionId {
        session_id([number; 10])
    }

    fn hear(sessions: &mut Sessions, number: u8, seconds: u64, ended: bool) -> Admission {
        let now = Time(seconds * 1_000_000_000);
        let admission = sessions.admit(id(number), now, ended, Some(id(9)));
        match admission {
            Admission::Waits => drop(sessions.keep(Kept {
                session: id(number),
                source: Source::Line(0),
                receive_time: now,
                datagram: Box::default(),
            })),
            Admission::Begins => drop(sessions.adopt(id(number), now)),
            Admission::Current | Admission::Foreign => {}
        }
        admission
    }

    #[test]
    fn a_session_begins_with_its_second_packet() {
        let mut sessions = Sessions::new(None);
        assert_eq!(hear(&mut sessions, 1, 0, false), Admission::Waits);
        assert_eq!(hear(&mut sessions, 2, 0, false), Admission::Waits);
        assert_eq!(hear(&mut sessions, 2, 0, false), Admission::Begins);
        assert_eq!(hear(&mut sessions, 2, 0, false), Admission::Current);
        assert_eq!(hear(&mut sessions, 1, 0, false), Admission::Foreign);
    }

    #[test]
    fn a_live_session_gives_way_to_nobody() {
        let mut sessions = Sessions::new(None);
        for second in 0..20 {
            hear(&mut sessions, 1, second, false);
            if second > 0 {
                assert_eq!(hear(&mut sessions, 2, second, false), Admission::Foreign);
            }
        }
        assert_eq!(sessions.current(), Some(id(1)));
    }

    #[test]
    fn a_dead_or_ended_session_gives_way_to_the_next() {
        for (seconds, ended) in [(10, false), (1, true)] {
            let mut sessions = Sessions::new(None);
            hear(&mut sessions, 1, 0, false);
            hear(&mut sessions, 1, 0, false);
            assert_eq!(hear(&mut sessions, 2, seconds, ended), Admission::Waits);
            assert_eq!(hear(&mut sessions, 2, seconds, ended), Admission::Begins);
        }
    }

    #[test]
    fn the_journals_session_and_a_named_one_begin_at_once() {
        assert_eq!(hear(&mut Sessions::new(None), 9, 0, false), Admission::Begins);
        assert_eq!(hear(&mut Sessions::new(Some(id(3))), 3, 0, false), Admission::Begins);
        assert_eq!(hear(&mut Sessions::new(Some(id(3))), 9, 0, false), Admission::Foreign);
    }

    #[test]
    fn strangers_are_remembered_in_bounded_number() {
        let mut sessions = Sessions::new(None);
        for number in 10..=200 {
            assert_eq!(hear(&mut sessions, number, 0, false), Admission::Waits);
        }
        assert_eq!(sessions.waiting.len(), CANDIDATES);
        assert_eq!(sessions.last_resort(), Some(id(200)));
    }
}
