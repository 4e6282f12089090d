//! Packets in, events out: a venue's feed from its datagrams to a topic.

use std::convert::Infallible;
use std::ops::Range;

use bus::event::market::{Gap, Session};
use bus::event::{Code, Message, PartOf, Text, Time};
use bus::program::Date;

use crate::arbiter::{
    Arbiter, Counts, GapCause, Limits, Line, LineCounts, OpenGap, Release, Released, Source, Standing,
};
use crate::mold::{Blocks, Body, MoldError, Packet, Request, SessionId};
use crate::resume::{History, Past};
use crate::sessions::{Admission, Kept, Sessions};
use crate::{Normalise, Output, Raw, snapshot};

/// Most redundant lines of a feed.
pub const LINES: usize = 16;
/// Most gaps that a summary lists; further ones are counted.
const GAPS: usize = 4_096;

/// How a feed is set up.
#[derive(Debug, Clone)]
pub struct FeedConfig {
    /// What the arbiter may hold and how long it waits.
    pub limits: Limits,
    /// Date of new sessions; without it, the day (UTC) on which their first packet was received.
    pub date: Option<Date>,
    /// The only session to take; without it, any.
    pub session: Option<SessionId>,
}

impl FeedConfig {
    /// The limits of sockets, any session, the day of its first packet.
    pub fn new(rerequest: bool) -> Self {
        Self { limits: Limits::new(rerequest), date: None, session: None }
    }
}

/// What a feed has done so far.
#[derive(Debug, Clone, Default)]
pub struct FeedSummary {
    /// Packets given to it.
    pub packets: u64,
    /// Distinct messages of the venue.
    pub messages: u64,
    /// Of these, messages journalled by this feed.
    pub published: u64,
    /// Further copies of messages, and messages that were journalled before.
    pub duplicates: u64,
    /// Messages that answers to requests brought.
    pub recovered: u64,
    /// Requests made.
    pub requests: u64,
    /// Messages that found no room and had to be sent again.
    pub postponed: u64,
    /// Packets that are not MoldUDP64.
    pub malformed: u64,
    /// Packets of another session.
    pub foreign: u64,
    /// Packets too far ahead that nothing confirmed.
    pub unconfirmed: u64,
    /// Packets that contradict the end of their session.
    pub contradictions: u64,
    /// Messages that were journalled, and that the lines had not sent: each is of a jump that was refuted.
    pub refuted: u64,
    /// Ranges that were lost or had to be asked for: `(range, recovered)`.
    pub gaps: Vec<(Range<u64>, bool)>,
    /// Lost ranges beyond those listed.
    pub unlisted_gaps: u64,
    /// Events of the topic from which was not learned what is missing; see [`History::unread`].
    pub unread: Option<Range<u64>>,
    /// What happened on each line.
    pub lines: Vec<LineCounts>,
}

impl FeedSummary {
    /// Whether messages are lost for good, as far as this feed knows, or it cannot know.
    pub fn is_incomplete(&self) -> bool {
        self.unread.is_some() || self.unlisted_gaps > 0 || self.gaps.iter().any(|(_, recovered)| !recovered)
    }

    fn add(&mut self, counts: Counts, gaps: Vec<(Range<u64>, bool)>, unlisted: u64) {
        self.messages += counts.messages;
        self.duplicates += counts.copies + counts.journalled;
        self.recovered += counts.recovered;
        self.requests += counts.requests;
        self.postponed += counts.postponed;
        self.unconfirmed += counts.unconfirmed;
        self.contradictions += counts.contradictions;
        self.refuted += counts.refuted;
        self.unlisted_gaps += unlisted;
        self.list(gaps);
    }

    fn list(&mut self, gaps: Vec<(Range<u64>, bool)>) {
        let room = GAPS.saturating_sub(self.gaps.len());
        self.unlisted_gaps += gaps.iter().skip(room).filter(|(_, recovered)| !recovered).count() as u64;
        self.gaps.extend(gaps.into_iter().take(room));
    }
}

/// How far a session is, in numbers of its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reached {
    /// The next message to be journalled: all before it are, or were given up.
    pub next: u64,
    /// Behind the last message that is known to exist.
    pub end: u64,
}

/// A session while it is the current one.
#[derive(Debug)]
struct Current {
    session: Session,
    /// Whether the journal is in this session already.
    announced: bool,
}

/// A venue's feed. See the [module](self).
#[derive(Debug)]
pub struct Feed<N, O> {
    normaliser: N,
    output: O,
    config: FeedConfig,
    history: History,
    sessions: Sessions,
    current: Option<(Current, Arbiter)>,
    lines: Vec<Line>,
    last_malformation: Option<MoldError>,
    /// What is lost of sessions that are over. One that comes back tells of its gaps itself.
    lost: Vec<(SessionId, Vec<Range<u64>>)>,
    /// Sums over the sessions that are over; what is counted here alone.
    totals: FeedSummary,
}

impl<N, O> Feed<N, O>
where
    N: Normalise,
    O: Output<N::Event>,
    Session: PartOf<N::Event>,
    Gap: PartOf<N::Event>,
{
    /// A feed that goes on where `history` ends; `normaliser` has learned from the same journal.
    pub fn new(normaliser: N, output: O, history: History, config: FeedConfig) -> Self {
        Self {
            normaliser,
            output,
            sessions: Sessions::new(config.session),
            config,
            current: None,
            lines: Vec::new(),
            last_malformation: None,
            lost: Vec::new(),
            totals: FeedSummary { unread: history.unread(), ..FeedSummary::default() },
            history,
        }
    }

    /// Takes a datagram as it came.
    ///
    /// # Errors
    /// Those of the output. What it refused is held, within limits, and offered again with the next packet or poll.
    ///
    /// # Panics
    /// If the line is not below [`LINES`].
    #[inline]
    pub fn packet(&mut self, source: Source, receive_time: Time, datagram: &[u8]) -> Result<(), O::Error> {
        self.totals.packets += 1;
        let packet = match Packet::parse(datagram) {
            Ok(packet) => packet,
            Err(error) => {
                self.malformed(source, error);
                return Ok(());
            }
        };
        let ended = self.is_ended();
        match self.sessions.admit(packet.session, receive_time, ended, self.history.current()) {
            Admission::Current => self.deliver(source, &packet, receive_time),
            Admission::Begins => {
                self.begin(packet.session, packet.sequence, receive_time)?;
                self.deliver(source, &packet, receive_time)
            }
            Admission::Waits => {
                let session = packet.session;
                let kept = Kept { session, source, receive_time, datagram: datagram.into() };
                self.totals.foreign += self.sessions.keep(kept);
                Ok(())
            }
            Admission::Foreign => {
                self.totals.foreign += 1;
                if let Some(line) = self.line(source) {
                    line.counts.foreign += 1;
                }
                Ok(())
            }
        }
    }

    /// Takes messages that are known to be of `session`, such as those of a day file. When they were received is not
    /// known.
    ///
    /// # Errors
    /// As [`Feed::packet`].
    pub fn messages(
        &mut self,
        session: SessionId,
        sequence: u64,
        messages: Blocks<'_>,
    ) -> Result<(), O::Error> {
        self.stated(&Packet { session, sequence, body: Body::Messages(messages) })
    }

    /// The session is over, and `sequence` is one beyond its last message.
    ///
    /// # Errors
    /// As [`Feed::packet`].
    pub fn end(&mut self, session: SessionId, sequence: u64) -> Result<(), O::Error> {
        self.stated(&Packet { session, sequence, body: Body::End })
    }

    fn stated(&mut self, packet: &Packet<'_>) -> Result<(), O::Error> {
        if self.sessions.current() != Some(packet.session) {
            self.begin(packet.session, packet.sequence, Time(0))?;
        }
        self.deliver(Source::Line(0), packet, Time(0))
    }

    /// Takes messages that a request asked for. An answer for another session than the current one changes nothing.
    ///
    /// # Errors
    /// As [`Feed::packet`].
    pub fn answer(
        &mut self,
        session: SessionId,
        sequence: u64,
        messages: Blocks<'_>,
        receive_time: Time,
    ) -> Result<(), O::Error> {
        if self.sessions.current() != Some(session) {
            return Ok(());
        }
        let packet = Packet { session, sequence, body: Body::Messages(messages) };
        self.deliver(Source::Rerequest, &packet, receive_time)
    }

    /// Lets time pass: gives up what was waited for long enough, and offers again what the output refused.
    ///
    /// # Errors
    /// As [`Feed::packet`].
    pub fn poll(&mut self, now: Time) -> Result<(), O::Error> {
        let Self { normaliser, output, current, totals, lines, .. } = self;
        let Some((current, arbiter)) = current else { return Ok(()) };
        arbiter.poll(now, &mut Sink { normaliser, output, current, totals, lines, now })
    }

    /// The next request that is due and the session it is about. Each counts as made.
    pub fn request(&mut self, now: Time) -> Option<(SessionId, Request)> {
        let (current, arbiter) = self.current.as_mut()?;
        arbiter.request(now).map(|request| (current.session.session, request))
    }

    /// Ends the input: gives up all that is missing.
    ///
    /// # Errors
    /// As [`Feed::packet`].
    pub fn finish(&mut self, now: Time) -> Result<(), O::Error> {
        if let Some(session) = self.sessions.last_resort() {
            self.begin(session, 1, now)?;
        }
        self.finish_session(now)
    }

    /// Whether the venue ended the session and all of it is released or given up.
    #[inline]
    pub fn is_ended(&self) -> bool {
        self.current.as_ref().is_some_and(|(_, arbiter)| arbiter.is_ended())
    }

    /// How far the current session is.
    pub fn reached(&self) -> Option<Reached> {
        let (_, arbiter) = self.current.as_ref()?;
        Some(Reached { next: arbiter.next(), end: arbiter.end() })
    }

    /// Messages of the current session that are missing, given up or not, and are asked for.
    pub fn missing(&self) -> u64 {
        self.current.as_ref().map_or(0, |(_, arbiter)| arbiter.missing())
    }

    /// The current session.
    pub fn session(&self) -> Option<&Session> {
        self.current.as_ref().map(|(current, _)| &current.session)
    }

    /// What the journal had before, but for the current session.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// What turns messages into events.
    pub fn normaliser(&self) -> &N {
        &self.normaliser
    }

    /// Where the events go.
    pub fn output(&mut self) -> &mut O {
        &mut self.output
    }

    /// What was wrong with the last malformed packet.
    pub fn last_malformation(&self) -> Option<MoldError> {
        self.last_malformation
    }

    /// What happened so far.
    pub fn summary(&self) -> FeedSummary {
        let mut summary = self.totals.clone();
        let lost = self.lost.iter().flat_map(|(_, ranges)| ranges);
        summary.list(lost.map(|range| (range.clone(), false)).collect());
        if let Some((_, arbiter)) = &self.current {
            summary.add(arbiter.counts(), arbiter.gaps(), arbiter.unlisted_gaps());
        }
        summary.lines = self.lines.iter().map(|line| line.counts).collect();
        summary
    }

    /// What a gateway has to know that goes on at `sequence` of the topic, for a [snapshot].
    pub(crate) fn snapshot(&self, sequence: u64) -> Vec<u8> {
        let mut history = self.history.clone();
        if let Some((current, arbiter)) = self.current.as_ref().filter(|(current, _)| current.announced) {
            history.enter(current.session.session);
            history.leave(current.session.session, arbiter.past(current.session.date));
        }
        snapshot::write(sequence, &history, self.normaliser.save())
    }

    /// Gives back what the feed was made of.
    pub fn into_parts(self) -> (N, O) {
        (self.normaliser, self.output)
    }

    fn malformed(&mut self, source: Source, error: MoldError) {
        self.totals.malformed += 1;
        self.last_malformation = Some(error);
        if let Some(line) = self.line(source) {
            line.counts.malformed += 1;
        }
    }

    /// The line of a source, unless it is that of re-requests.
    #[inline]
    fn line(&mut self, source: Source) -> Option<&mut Line> {
        let Source::Line(index) = source else { return None };
        if index >= self.lines.len() {
            assert!(index < LINES, "a feed has at most {LINES} lines");
            self.lines.resize_with(index + 1, Line::default);
        }
        self.lines.get_mut(index)
    }

    /// Gives a packet of the current session to its line and to the arbiter.
    #[inline]
    fn deliver(&mut self, source: Source, packet: &Packet<'_>, receive_time: Time) -> Result<(), O::Error> {
        if let Some(line) = self.line(source) {
            line.packet(packet.sequence, packet.end());
        }
        let Self { normaliser, output, current, totals, lines, .. } = self;
        let Some((current, arbiter)) = current else { return Ok(()) };
        let mut sink = Sink { normaliser, output, current, totals, lines, now: receive_time };
        arbiter.packet(source, packet, receive_time, &mut sink)
    }

    /// Ends the current session for us and begins another one, whose first packet begins with the message `first`.
    fn begin(&mut self, id: SessionId, first: u64, now: Time) -> Result<(), O::Error> {
        self.finish_session(now)?;
        self.leave();
        self.lost.retain(|(session, _)| *session != id);
        let past = self
            .history
            .past(&id)
            .cloned()
            .unwrap_or_else(|| Past::new(self.config.date.unwrap_or_else(|| Date::of(now)).number()));
        let midnight = Date::from_number(past.date).map_or(Time(0), Date::midnight);
        let session = Session {
            exchange_time: midnight,
            receive_time: if now == Time(0) { midnight } else { now },
            venue_sequence: past.next,
            session: id,
            date: past.date,
            state: Code(b'S'),
            ..Session::default()
        };
        let announced = self.history.current() == Some(id);
        if !announced {
            self.normaliser.begin(&session);
        }
        let arbiter = Arbiter::new(self.config.limits, past.start(first, self.config.limits.window));
        self.current = Some((Current { session, announced }, arbiter));
        self.lines.iter_mut().for_each(Line::begin);
        let (kept, others) = self.sessions.adopt(id, now);
        self.totals.foreign += others;
        if let Some(kept) = kept
            && let Ok(packet) = Packet::parse(&kept.datagram)
        {
            self.deliver(kept.source, &packet, kept.receive_time)?;
        }
        Ok(())
    }

    fn finish_session(&mut self, now: Time) -> Result<(), O::Error> {
        let Self { normaliser, output, current, totals, lines, .. } = self;
        let Some((current, arbiter)) = current else { return Ok(()) };
        arbiter.finish(&mut Sink { normaliser, output, current, totals, lines, now })
    }

    fn leave(&mut self) {
        let Some((current, arbiter)) = self.current.take() else { return };
        let id = current.session.session;
        let (recovered, lost): (Vec<_>, Vec<_>) =
            arbiter.gaps().into_iter().partition(|(_, recovered)| *recovered);
        self.totals.add(arbiter.counts(), recovered, arbiter.unlisted_gaps());
        if !lost.is_empty() {
            self.lost.push((id, lost.into_iter().map(|(range, _)| range).collect()));
        }
        if current.announced {
            self.history.enter(id);
        }
        if current.announced || self.history.past(&id).is_some() {
            self.history.leave(id, arbiter.past(current.session.date));
        }
    }
}

/// Takes what the arbiter releases of the current session.
struct Sink<'a, N, O> {
    normaliser: &'a mut N,
    output: &'a mut O,
    current: &'a mut Current,
    totals: &'a mut FeedSummary,
    lines: &'a mut [Line],
    now: Time,
}

impl<N, O> Sink<'_, N, O>
where
    N: Normalise,
    O: Output<N::Event>,
    Session: PartOf<N::Event>,
    Gap: PartOf<N::Event>,
{
    /// Publishes the beginning of the session before its first event.
    #[inline]
    fn announce(&mut self) -> Result<(), O::Error> {
        if !self.current.announced {
            self.output.publish(&self.current.session)?;
            self.current.announced = true;
        }
        Ok(())
    }

    fn gap(&mut self, range: &Range<u64>, cause: GapCause, state: u8) -> Result<(), O::Error> {
        self.announce()?;
        let cause = match cause {
            GapCause::Network => "network",
            GapCause::Local => "local",
        };
        self.output.publish(&Gap {
            receive_time: self.now,
            venue_sequence: range.start,
            count: range.end - range.start,
            cause: Text::new(cause).expect("a short word"),
            state: Code(state),
            ..Gap::default()
        })
    }
}

impl<N, O> Release for Sink<'_, N, O>
where
    N: Normalise,
    O: Output<N::Event>,
    Session: PartOf<N::Event>,
    Gap: PartOf<N::Event>,
{
    type Error = O::Error;

    #[inline]
    fn message(&mut self, released: Released<'_>) -> Result<(), O::Error> {
        let Released { sequence, receive_time, standing, bytes } = released;
        let raw = Raw { sequence, receive_time, bytes };
        if standing == Standing::Journalled {
            let Ok(()) = self.normaliser.message(raw, &mut Nowhere);
            return Ok(());
        }
        self.announce()?;
        self.normaliser.message(raw, self.output)?;
        self.totals.published += 1;
        Ok(())
    }

    fn gap_opened(&mut self, gap: &OpenGap) -> Result<(), O::Error> {
        self.gap(&(gap.from..gap.end()), gap.cause, b'O')
    }

    fn gap_closed(&mut self, gap: &OpenGap) -> Result<(), O::Error> {
        self.gap(&(gap.from..gap.end()), gap.cause, b'C')
    }

    fn gap_withdrawn(&mut self, range: &Range<u64>, cause: GapCause) -> Result<(), O::Error> {
        self.gap(range, cause, b'W')
    }

    fn refuted(&mut self, from: u64) {
        self.lines.iter_mut().for_each(|line| line.refuted(from));
    }

    fn ended(&mut self, sequence: u64) -> Result<(), O::Error> {
        self.announce()?;
        self.output.publish(&Session {
            venue_sequence: sequence,
            receive_time: if self.now == Time(0) { self.current.session.exchange_time } else { self.now },
            state: Code(b'E'),
            ..self.current.session
        })
    }
}

/// The output of messages that are journalled already.
struct Nowhere;

impl<M: Message> Output<M> for Nowhere {
    type Error = Infallible;
    fn publish<E: PartOf<M>>(&mut self, _: &E) -> Result<(), Infallible> {
        Ok(())
    }
}

#[cfg(test)]
#[path = "feed_tests.rs"]
mod tests;
