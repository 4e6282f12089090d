//! The state machine. See the [module above](super).

mod refute;
mod voices;

use std::ops::Range;
use std::time::Duration;

use bus::event::Time;

use super::held::{Held, Piece};
use super::lost::{Lost, Report};
use super::pace::{OUTSTANDING, Pace, pause};
use super::ranges::Ranges;
use super::suspects::{Suspect, Suspects};
use super::{Ahead, Counts, GapCause, Limits, OpenGap, Release, Released, Source, Standing, Start};
use crate::mold::{Blocks, Body, Packet, Request};
use crate::resume::Past;
use refute::Behind;
use voices::Voices;

/// Most missing ranges at once. Messages that would make more are not held.
const MISSING_RANGES: usize = 4_096;
/// Most messages that one request asks for: more than any datagram holds.
const REQUEST: u64 = 4_096;
/// "Not before it is asked for."
const NEVER: Time = Time(u64::MAX);

/// A missing range's state.
#[derive(Debug, Clone, Copy)]
struct Wait {
    /// When to ask for it.
    due: Time,
    /// When to give it up.
    deadline: Time,
    /// How often it was asked for without an answer.
    tries: u8,
    /// It was here and found no room, because the output refuses.
    local: bool,
}

/// Two or more redundant lines of one session, arbitrated. See the [module](super).
#[derive(Debug)]
pub struct Arbiter {
    limits: Limits,
    now: Time,
    /// Number of the message to release next.
    next: u64,
    /// Numbers up to here are released, held or missing.
    end: u64,
    journalled: u64,
    /// Released or journalled behind `next` and `journalled`.
    ahead: Ahead,
    /// When the journal's last gap was told.
    told: Time,
    behind: Behind,
    held: Held,
    /// Held until a jump was refuted: one line may have brought them that is ahead of those that are heard.
    doubted: Held,
    missing: Ranges<Wait>,
    lost: Lost,
    suspects: Suspects,
    pace: Pace,
    /// Where the venue says the session ends.
    closing: Option<u64>,
    /// The end that was released.
    ended: Option<u64>,
    counts: Counts,
    report: Report,
}

impl Arbiter {
    /// An arbiter of a session that is taken up at `start`.
    ///
    /// # Panics
    /// If `start` is not as its fields demand.
    pub fn new(limits: Limits, start: Start) -> Self {
        assert!(start.next >= 1 && start.journalled >= 1, "messages count from 1");
        Self {
            limits,
            now: Time(0),
            next: start.next,
            end: start.next,
            journalled: start.journalled,
            ahead: start.ahead,
            told: start.told,
            behind: Behind::default(),
            held: Held::default(),
            doubted: Held::default(),
            missing: Ranges::new(),
            lost: Lost::new(start.open),
            suspects: Suspects::new(limits.window),
            pace: Pace::new(limits.retry),
            closing: None,
            ended: start.ended,
            counts: Counts::default(),
            report: Report::default(),
        }
    }

    /// Number of the message to be released next.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Number of the message behind the last one that is known to exist.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// How many messages are missing, given up or not, and are asked for.
    pub fn missing(&self) -> u64 {
        self.missing.iter().map(|(range, _)| range.end - range.start).sum::<u64>() + self.lost.missing()
    }

    /// Whether the venue ended the session and all is released or given up. Not as long as that is doubted, since what is
    /// missing before the end may never have been sent.
    pub fn is_ended(&self) -> bool {
        self.closing.is_some_and(|end| self.next >= end) && !self.is_doubted()
    }

    /// What happened so far.
    pub fn counts(&self) -> Counts {
        let unconfirmed = self.counts.unconfirmed + self.suspects.unconfirmed();
        Counts { unconfirmed, ..self.counts }
    }

    /// The ranges that an answer to a request recovered, and those that are still lost: `(range, recovered)`.
    pub fn gaps(&self) -> Vec<(Range<u64>, bool)> {
        self.report.gaps(&self.lost)
    }

    /// Open gaps beyond those that [`Arbiter::gaps`] lists.
    pub fn unlisted_gaps(&self) -> u64 {
        self.lost.forgotten()
    }

    /// How far the journal has the session now.
    pub(crate) fn past(&self, date: u32) -> Past {
        let next = self.next.max(self.journalled);
        let (open, ahead, told) = (self.lost.gaps(), self.ahead.clone(), self.told.max(self.now));
        Past { date, next, open, ahead, told, ended: self.ended }
    }

    /// Takes a packet of the session and releases what is next.
    ///
    /// # Errors
    /// Those of `out`. What it refused is held and offered again with the next packet or [`Arbiter::poll`].
    #[inline]
    pub fn packet<R: Release>(
        &mut self,
        source: Source,
        packet: &Packet<'_>,
        receive_time: Time,
        out: &mut R,
    ) -> Result<(), R::Error> {
        self.now = self.now.max(receive_time);
        if source == Source::Rerequest {
            self.pace.answered(self.now);
        }
        match packet.body {
            Body::Messages(blocks) => {
                let (first, end) = (packet.sequence, packet.end());
                let is_next = first == self.next && first == self.end && first >= self.journalled;
                if is_next && self.ahead.is_clear(end) {
                    self.end = end;
                    self.release(blocks, receive_time, out)?;
                } else {
                    self.out_of_order(source, first, blocks, receive_time, out)?;
                }
            }
            Body::Heartbeat => {
                if self.heard_of(source, packet.sequence, out)? {
                    self.says(source, packet.sequence, None);
                }
            }
            Body::End => self.closes(source, packet.sequence, out)?,
        }
        self.settle(out)
    }

    /// Lets time pass: offers again what was refused, and gives up what was waited for long enough.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn poll<R: Release>(&mut self, now: Time, out: &mut R) -> Result<(), R::Error> {
        self.now = self.now.max(now);
        self.settle(out)
    }

    /// Ends the input: gives up all that is missing.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn finish<R: Release>(&mut self, out: &mut R) -> Result<(), R::Error> {
        self.advance(out)?;
        while !self.missing.is_empty() {
            self.give_up_first(out)?;
        }
        self.suspects.clear();
        self.behind.voices = Voices::default();
        self.settle(out)
    }

    /// The next request that is due, if any. Each counts as made.
    pub fn request(&mut self, now: Time) -> Option<Request> {
        self.now = self.now.max(now);
        if !self.pace.may_ask(self.now) {
            return None;
        }
        let range = self
            .due_missing()
            .or_else(|| self.suspects.due())
            .or_else(|| self.lost.due(self.next, self.now, self.limits.patience))?;
        self.pace.asked(self.now);
        self.counts.requests += 1;
        let count = u16::try_from((range.end - range.start).min(REQUEST)).expect("a request is small");
        Some(Request { sequence: range.start, count })
    }

    fn due_missing(&mut self) -> Option<Range<u64>> {
        let (now, limits) = (self.now, self.limits);
        let reach = self.next.saturating_add(limits.window);
        let (range, wait) = self
            .missing
            .values_mut()
            .take_while(|(range, _)| range.start < reach)
            .take(OUTSTANDING)
            .find(|(_, wait)| wait.due <= now)?;
        wait.tries = wait.tries.saturating_add(1);
        wait.due = after(now, pause(limits.retry, wait.tries));
        if wait.deadline == NEVER {
            wait.deadline = after(now, limits.patience);
        }
        Some(range)
    }

    /// A packet that is not simply the next one.
    fn out_of_order<R: Release>(
        &mut self,
        source: Source,
        first: u64,
        blocks: Blocks<'_>,
        receive_time: Time,
        out: &mut R,
    ) -> Result<(), R::Error> {
        if self.is_far(first) {
            let range = first..first + blocks.count() as u64;
            if !self.suspects.vouch(source, &range) {
                self.suspects.add(source, range, Some(Piece::new(blocks, receive_time)));
                return Ok(());
            }
            self.confirm(first, out)?;
        }
        self.says(source, first + blocks.count() as u64, None);
        self.accept(source, Rest { first, blocks, receive_time }, out)
    }

    /// Takes what is new of messages that are near.
    fn accept<R: Release>(
        &mut self,
        source: Source,
        mut rest: Rest<'_>,
        out: &mut R,
    ) -> Result<(), R::Error> {
        let (first, end, count) = (rest.first, rest.end(), rest.blocks.count() as u64);
        let mut taken = self.late(source, &mut rest, end.min(self.next), out)?;
        taken += self.fill(source, &mut rest, end.min(self.end), out)?;
        self.skip_to(first);
        let mut appended = Ok(());
        while let Some(fresh) = self.fresh(end) {
            taken += fresh.end - fresh.start;
            let blocks = rest.cut(&fresh);
            while self.pass_ahead() {}
            // What is behind a range that was refused is held, too.
            appended = appended.and(self.append(fresh, blocks, rest.receive_time, out));
        }
        self.counts.copies += count - taken;
        appended
    }

    /// Releases what was lost of the messages before `end`; returns how many.
    fn late<R: Release>(
        &mut self,
        source: Source,
        rest: &mut Rest<'_>,
        end: u64,
        out: &mut R,
    ) -> Result<u64, R::Error> {
        let mut taken = 0;
        while let Some(part) = self.lost.first_within(&(rest.first..end)) {
            for (sequence, bytes) in (part.start..).zip(rest.cut(&part)) {
                let standing = Standing::Late;
                out.message(Released { sequence, receive_time: rest.receive_time, standing, bytes })?;
                self.lost.arrived(sequence, self.now);
                self.counts.messages += 1;
                self.counts.recovered += u64::from(source == Source::Rerequest);
                taken += 1;
            }
        }
        Ok(taken)
    }

    /// Takes what was missing of the messages before `end`; returns how many.
    fn fill<R: Release>(
        &mut self,
        source: Source,
        rest: &mut Rest<'_>,
        end: u64,
        out: &mut R,
    ) -> Result<u64, R::Error> {
        let mut taken = 0;
        while let Some(part) = self.missing.first_within(&(rest.first..end)) {
            let blocks = rest.cut(&part);
            let count = part.end - part.start;
            taken += count;
            if part.start > self.next && !self.has_room(part.end, blocks) {
                self.counts.postponed += count;
                continue;
            }
            self.missing.remove(&part);
            if source == Source::Rerequest {
                self.recovered(&part);
            }
            if part.start == self.next {
                self.release(blocks, rest.receive_time, out)?;
                self.advance(out)?;
            } else {
                self.held.insert(part.start, Piece::new(blocks, rest.receive_time));
            }
        }
        Ok(taken)
    }

    /// An answer brought `range`; what it left of the missing range is asked for without delay.
    fn recovered(&mut self, range: &Range<u64>) {
        let (due, deadline) = (self.now, after(self.now, self.limits.patience));
        if let Some(rest) = self.missing.value_mut(range.end) {
            (rest.due, rest.deadline, rest.tries) = (due, deadline, 0);
        }
        self.counts.recovered += range.end - range.start;
        if range.start >= self.journalled {
            self.report.recovered(range);
        }
    }

    /// Takes messages that begin at the end.
    fn append<R: Release>(
        &mut self,
        range: Range<u64>,
        blocks: Blocks<'_>,
        receive_time: Time,
        out: &mut R,
    ) -> Result<(), R::Error> {
        while range.start > self.next && !self.has_room(range.end, blocks) {
            if self.limits.rerequest || self.missing.is_empty() {
                let local = self.missing.is_empty();
                self.counts.postponed += range.end - range.start;
                self.miss(range.clone(), Wait { local, ..self.wait_for(range.end) });
                return Ok(());
            }
            if let Err(refused) = self.give_up_first(out) {
                self.miss(range.clone(), Wait { local: true, ..self.wait_for(range.end) });
                return Err(refused);
            }
        }
        self.end = range.end;
        if range.start == self.next {
            return self.release(blocks, receive_time, out);
        }
        self.held.insert(range.start, Piece::new(blocks, receive_time));
        Ok(())
    }

    fn has_room(&self, end: u64, blocks: Blocks<'_>) -> bool {
        end - self.next <= self.limits.window
            && self.held.bytes() + Held::cost(blocks) <= self.limits.held_bytes
            && self.missing.len() < MISSING_RANGES
    }

    /// All up to `first` exists: what was not seen of it is missing.
    fn skip_to(&mut self, first: u64) {
        while let Some(Range { end: first, .. }) = self.fresh(first) {
            // What is journalled is waited for, but no loss, and asked for only where the journal itself lacks it.
            let split = self.journalled.clamp(self.end, first);
            let lacks = self.lost.first_within(&(self.end..split)).is_some();
            let due = if lacks { after(self.now, self.limits.reorder_wait) } else { NEVER };
            let deadline = after(self.now, self.limits.patience);
            self.miss(self.end..split, Wait { due, deadline, tries: 0, local: false });
            self.miss(split..first, self.wait_for(first));
        }
    }

    fn wait_for(&self, end: u64) -> Wait {
        if self.limits.rerequest && end - self.next > self.limits.window {
            return Wait { due: self.now, deadline: NEVER, tries: 0, local: false };
        }
        Wait {
            due: after(self.now, self.limits.reorder_wait),
            deadline: after(self.now, self.limits.patience),
            tries: 0,
            local: false,
        }
    }

    /// Notes a range at the end as missing. Ranges of one kind are joined, and all once they are many.
    fn miss(&mut self, range: Range<u64>, wait: Wait) {
        let many = self.missing.len() >= MISSING_RANGES;
        let alike = |its: Wait| its.deadline == NEVER || (its.local && wait.local) || many;
        let joins = self.missing.last().is_some_and(|(last, its)| last.end == range.start && alike(its));
        self.end = range.end;
        if joins {
            self.missing.extend_last(range.end);
        } else {
            self.missing.append(range, wait);
        }
    }

    /// Releases messages that begin at `next`. What is refused is held.
    #[inline]
    fn release<R: Release>(
        &mut self,
        blocks: Blocks<'_>,
        receive_time: Time,
        out: &mut R,
    ) -> Result<(), R::Error> {
        let mut left = blocks;
        loop {
            let refused = left;
            let Some(bytes) = left.next() else { return Ok(()) };
            let sequence = self.next;
            let standing = if sequence >= self.journalled { Standing::New } else { self.standing(sequence) };
            if let Err(error) = out.message(Released { sequence, receive_time, standing, bytes }) {
                self.held.insert(sequence, Piece::new(refused, receive_time));
                return Err(error);
            }
            self.next += 1;
            self.counts.messages += 1;
            if standing != Standing::New {
                self.met_again(sequence, standing);
            }
        }
    }

    #[cold]
    fn standing(&self, sequence: u64) -> Standing {
        if self.lost.contains(sequence) { Standing::Late } else { Standing::Journalled }
    }

    #[cold]
    fn met_again(&mut self, sequence: u64, standing: Standing) {
        match standing {
            Standing::Late => self.lost.arrived(sequence, self.now),
            _ => self.counts.journalled += 1,
        }
    }

    /// Releases what is held and has become next.
    fn advance<R: Release>(&mut self, out: &mut R) -> Result<(), R::Error> {
        loop {
            if let Some(piece) = self.held.take(self.next) {
                self.release(piece.blocks(), piece.receive_time(), out)?;
            } else if !self.pass_ahead() {
                return Ok(());
            }
        }
    }

    /// Gives up the first missing range, which is next.
    fn give_up_first<R: Release>(&mut self, out: &mut R) -> Result<(), R::Error> {
        self.advance(out)?;
        let Some((range, wait)) = self.missing.first() else { return Ok(()) };
        assert_eq!(range.start, self.next, "what comes before it is released");
        let from = range.start.max(self.journalled);
        if from < range.end {
            let cause = if wait.local { GapCause::Local } else { GapCause::Network };
            let gap = OpenGap::new(from, range.end - from, cause);
            out.gap_opened(&gap)?;
            self.lost.push(gap, after(self.now, self.limits.patience));
        }
        self.missing.pop_first();
        self.next = range.end;
        self.advance(out)
    }

    /// Offers again what was refused, gives up what was waited for long enough, closes gaps that are complete, and the
    /// session at its end.
    #[inline]
    fn settle<R: Release>(&mut self, out: &mut R) -> Result<(), R::Error> {
        self.take_doubted(out)?;
        self.advance(out)?;
        while self.missing.first().is_some_and(|(_, wait)| wait.deadline <= self.now) {
            self.give_up_first(out)?;
        }
        self.close_complete(out)?;
        if self.behind.refutes() {
            self.refute(out)?;
        }
        let Some(closing) = self.closing else { return Ok(()) };
        if self.end > closing {
            self.counts.contradictions += 1;
            self.closing = None;
        } else if self.next == closing && self.ended != Some(closing) {
            out.ended(closing)?;
            self.ended = Some(closing);
        }
        Ok(())
    }

    fn close_complete<R: Release>(&mut self, out: &mut R) -> Result<(), R::Error> {
        while let Some(index) = self.lost.complete() {
            out.gap_closed(self.lost.get(index))?;
            let gap = self.lost.remove(index);
            self.report.recovered(&(gap.from..gap.end()));
        }
        Ok(())
    }

    /// The venue has sent all before `sequence`; `false` if that is too far ahead to be believed yet.
    fn heard_of<R: Release>(&mut self, source: Source, sequence: u64, out: &mut R) -> Result<bool, R::Error> {
        if self.is_far(sequence) {
            if !self.suspects.vouch(source, &(sequence..sequence)) {
                self.suspects.add(source, sequence..sequence, None);
                return Ok(false);
            }
            self.confirm(sequence, out)?;
        }
        self.skip_to(sequence);
        Ok(true)
    }

    fn closes<R: Release>(&mut self, source: Source, end: u64, out: &mut R) -> Result<(), R::Error> {
        if end < self.end || self.lost.last_from(end).is_some() {
            self.counts.contradictions += 1;
            self.says(source, end, Some(end));
            return Ok(());
        }
        let is_far = self.is_far(end);
        if self.heard_of(source, end, out)? {
            self.says(source, end, None);
            self.closing = Some(end);
            if is_far {
                self.doubt();
            }
        }
        Ok(())
    }

    fn is_far(&self, sequence: u64) -> bool {
        sequence.saturating_sub(self.end) > self.limits.window
    }

    /// The jump to `sequence` is real: takes the packets that foretold it.
    fn confirm<R: Release>(&mut self, sequence: u64, out: &mut R) -> Result<(), R::Error> {
        for Suspect { source, range, piece, .. } in self.suspects.take_near(sequence) {
            match &piece {
                Some(piece) => {
                    let (blocks, receive_time) = (piece.blocks(), piece.receive_time());
                    self.accept(source, Rest { first: range.start, blocks, receive_time }, out)?;
                }
                None => self.skip_to(range.start),
            }
        }
        Ok(())
    }
}

/// What is left of a packet.
#[derive(Debug, Clone, Copy)]
struct Rest<'a> {
    first: u64,
    blocks: Blocks<'a>,
    receive_time: Time,
}

impl<'a> Rest<'a> {
    fn end(&self) -> u64 {
        self.first + self.blocks.count() as u64
    }

    /// Cuts `range` out, and drops what is before it.
    fn cut(&mut self, range: &Range<u64>) -> Blocks<'a> {
        assert!(self.first <= range.start && range.end <= self.end(), "the range is in the packet");
        let length = |count: u64| usize::try_from(count).expect("a packet is small");
        let _ = self.blocks.take_first(length(range.start - self.first));
        self.first = range.end;
        self.blocks.take_first(length(range.end - range.start))
    }
}

pub(super) fn after(time: Time, wait: Duration) -> Time {
    Time(time.0.saturating_add(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX)))
}
