//! Jumps that the lines refute by going on below them, and what is ahead since.

use std::ops::Range;
use std::time::Duration;

use bus::event::Time;

use super::super::lost::Lost;
use super::super::{Ahead, Release, Source};
use super::voices::Voices;
use super::{Arbiter, Rest, after};

/// How long the lines say only lower numbers than the highest that is known, until that is refuted: venues send a
/// heartbeat each second.
const SILENCE: Duration = Duration::from_secs(3);
/// How many packets have to say so.
const PACKETS: u32 = 4;
/// Most ranges that are kept ahead. What would make more is not withdrawn.
const AHEAD: usize = 8_192;

/// What the lines have said since one of them said the highest number that is known.
#[derive(Debug, Default)]
pub(super) struct Behind {
    /// That number.
    known: u64,
    since: Time,
    until: Time,
    packets: u32,
    /// The highest number that they said.
    reach: u64,
    /// Where they said that the session ends, if they did.
    closes: Option<u64>,
    /// Which of them say what of that number.
    pub(super) voices: Voices,
}

impl Behind {
    /// Whether they have said it long and often enough.
    #[inline]
    pub(super) fn refutes(&self) -> bool {
        self.packets >= PACKETS && self.until >= after(self.since, SILENCE)
    }
}

impl Arbiter {
    /// Number of the message behind the last one that is known, in this life or by the journal.
    fn known(&self) -> u64 {
        self.end.max(self.journalled)
    }

    /// A packet says that the venue has sent all before `number`, and if so, that the session `closes` there.
    pub(super) fn says(&mut self, source: Source, number: u64, closes: Option<u64>) {
        let Source::Line(line) = source else { return };
        let known = self.known().max(number);
        if self.behind.known != known {
            self.behind = Behind { known, ..Behind::default() };
        }
        if number == known {
            self.behind.packets = 0;
            self.behind.voices.say_it(line);
            return;
        }
        if self.behind.packets == 0 {
            let (since, voices) = (self.now.max(self.told), self.behind.voices);
            self.behind = Behind { known, since, voices, ..Behind::default() };
        }
        let behind = &mut self.behind;
        behind.voices.say_less(line, self.now);
        behind.packets = behind.packets.saturating_add(1);
        behind.until = self.now;
        behind.reach = behind.reach.max(number);
        behind.closes = closes.or(behind.closes);
    }

    /// The end of the session is further ahead than anything that a line brought: it has to stand for a while.
    pub(super) fn doubt(&mut self) {
        self.behind.voices.doubt(self.now);
    }

    /// Whether what is known of the last messages may be refuted yet: something of it is missing, and the lines disagree.
    #[cold]
    pub(super) fn is_doubted(&self) -> bool {
        let Behind { reach, voices, .. } = &self.behind;
        self.now < voices.doubted_until(SILENCE) && self.lost.last_from(*reach).is_some()
    }

    /// Nothing that the lines have not reached was sent: gives up waiting for it, and withdraws it from the gaps, the
    /// last one first. Where that is refused it goes on the next time, from a state that is whole.
    #[cold]
    pub(super) fn refute<R: Release>(&mut self, out: &mut R) -> Result<(), R::Error> {
        let reach = self.behind.reach;
        if let Some(void) = self.missing.first_within(&(reach..u64::MAX)) {
            self.missing.truncate(void.start);
            self.doubted = self.held.split_off(void.start);
            self.counts.unconfirmed += self.doubted.len() as u64;
            self.goes_back(void.start, out, |_, _| {});
        }
        while let Some((gap, from)) = self.lost.last_from(reach) {
            if self.ahead.len() + gap.missing().count() >= AHEAD {
                self.behind = Behind::default();
                return Ok(());
            }
            let (range, cause) = (from..gap.end(), gap.cause);
            out.gap_withdrawn(&range, cause)?;
            let next = self.next.max(self.journalled);
            self.journalled = self.journalled.min(from);
            self.goes_back(from, out, |lost, ahead| lost.withdraw(from, next, ahead));
            self.close_complete(out)?;
        }
        // What the lines had not sent may have been released in its turn, without any gap.
        let next = self.next;
        if reach < next && self.journalled <= next {
            self.journalled = self.journalled.min(reach);
            self.goes_back(reach, out, |_, ahead| ahead.add(reach..next));
        }
        let closes = std::mem::take(&mut self.behind).closes;
        self.closing = closes.filter(|&end| end == reach && end >= self.end).or(self.closing);
        Ok(())
    }

    /// Takes what is doubted of the messages that the lines have come to by now: it fills what they lost.
    #[inline]
    pub(super) fn take_doubted<R: Release>(&mut self, out: &mut R) -> Result<(), R::Error> {
        while let Some((first, piece)) = self.doubted.take_before(self.end) {
            let (blocks, receive_time) = (piece.blocks(), piece.receive_time());
            self.accept(Source::Line(0), Rest { first, blocks, receive_time }, out)?;
        }
        Ok(())
    }

    /// Nothing from `from` on was sent; `keep` notes what of it is journalled.
    fn goes_back<R: Release>(&mut self, from: u64, out: &mut R, keep: impl FnOnce(&mut Lost, &mut Ahead)) {
        let before = self.ahead.count();
        keep(&mut self.lost, &mut self.ahead);
        self.counts.refuted += self.ahead.count() - before;
        (self.next, self.end) = (self.next.min(from), self.end.min(from));
        self.behind.known = self.known();
        self.closing = self.closing.filter(|&end| end <= self.end);
        out.refuted(from);
    }

    /// The first messages at the end and before `limit` that are not ahead; the end passes those that are.
    pub(super) fn fresh(&mut self, limit: u64) -> Option<Range<u64>> {
        while self.end < limit {
            let ahead = self.ahead.first_from(self.end).unwrap_or(limit..limit);
            if self.end < ahead.start {
                return Some(self.end..ahead.start.min(limit));
            }
            self.end = ahead.end.min(limit);
        }
        None
    }

    /// Goes behind what is ahead at `next`; whether anything was.
    #[inline]
    pub(super) fn pass_ahead(&mut self) -> bool {
        if self.ahead.is_clear(self.end) {
            return false;
        }
        let is_next = |ahead: &Range<u64>| ahead.start == self.next;
        let Some(ahead) = self.ahead.first_from(self.next).filter(is_next) else { return false };
        self.next = ahead.end.min(self.end);
        self.ahead.pass(self.next);
        true
    }
}
