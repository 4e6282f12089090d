//! Ranges that were given up, and what became of them.

use std::ops::Range;
use std::time::Duration;

use bus::event::Time;

use super::ahead::Ahead;
use super::machine::after;
use super::pace::pause;
use super::ranges::Ranges;

/// Most open gaps that are remembered. Further ones are journalled and counted, but what arrives of them stays out.
const REMEMBERED: usize = 1_024;
/// Most ranges that the remembered gaps may fall into by arriving in parts.
const PARTS: usize = 4_096;
/// Most recovered ranges that are listed; of further ones only the messages are counted.
const LISTED: usize = 1_024;

/// Why messages are lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum GapCause {
    /// No line and no answer to a request brought them.
    #[default]
    Network,
    /// They were here, but the output refused so long that they could not be held.
    Local,
}

/// A range that was given up, and which of its messages have not arrived since.
#[derive(Debug, Clone, Default)]
pub struct OpenGap {
    /// Number of its first message.
    pub from: u64,
    /// Number of messages.
    pub count: u64,
    /// Why they are lost.
    pub cause: GapCause,
    missing: Ranges<()>,
}

impl OpenGap {
    /// A gap of which nothing has arrived. Numbers beyond 64 bits are cut.
    pub fn new(from: u64, count: u64, cause: GapCause) -> Self {
        let mut missing = Ranges::new();
        missing.append(from..from.saturating_add(count), ());
        Self { from, count, cause, missing }
    }

    /// A gap of which only these ranges have not arrived; `None` if they are not ascending parts of it.
    pub(crate) fn with_missing(
        from: u64,
        count: u64,
        cause: GapCause,
        missing: &[(u64, u64)],
    ) -> Option<Self> {
        let mut gap = Self { from, count, cause, missing: Ranges::new() };
        let mut at = from;
        for &(start, end) in missing {
            if start < at || end <= start || end > gap.end() {
                return None;
            }
            gap.missing.append(start..end, ());
            at = end;
        }
        Some(gap)
    }

    /// What has not arrived.
    pub fn missing(&self) -> impl Iterator<Item = Range<u64>> {
        self.missing.iter().map(|(range, ())| range)
    }

    /// A message of the gap has arrived; others change nothing.
    pub fn arrived(&mut self, sequence: u64) {
        if self.missing.contains(sequence) {
            self.missing.remove(&(sequence..sequence + 1));
        }
    }

    /// Whether a message belongs to it.
    pub fn holds(&self, sequence: u64) -> bool {
        (self.from..self.end()).contains(&sequence)
    }

    /// Takes from it what lies at or beyond `from`.
    pub(crate) fn cut(&mut self, from: u64) {
        self.missing.truncate(from);
        self.count = self.count.min(from.saturating_sub(self.from));
    }

    /// Whether all of it has arrived.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty()
    }

    pub(crate) fn end(&self) -> u64 {
        self.from.saturating_add(self.count)
    }
}

#[derive(Debug)]
struct Asked {
    gap: OpenGap,
    due: Time,
    tries: u8,
}

/// The open gaps of a session, in ascending order.
#[derive(Debug, Default)]
pub(super) struct Lost {
    gaps: Vec<Asked>,
    /// Whether a gap may be complete.
    changed: bool,
    parts: usize,
    forgotten: u64,
}

impl Lost {
    pub(super) fn new(open: Vec<OpenGap>) -> Self {
        assert!(open.is_sorted_by(|a, b| a.end() <= b.from), "gaps are in ascending order");
        let parts = open.iter().map(|gap| gap.missing.len()).sum();
        let gaps = open.into_iter().map(|gap| Asked { gap, due: Time(0), tries: 0 }).collect();
        Self { gaps, changed: true, parts, forgotten: 0 }
    }

    /// Remembers a gap behind all others; one too many in place of the last that lacks anything, since what a refuted jump
    /// opened is always the newest. Nobody needs to be asked for it again before `due`.
    pub(super) fn push(&mut self, gap: OpenGap, due: Time) {
        debug_assert!(self.gaps.last().is_none_or(|last| last.gap.end() <= gap.from));
        if self.gaps.len() >= REMEMBERED {
            self.forgotten += 1;
            let last = self.gaps.iter().rposition(|asked| !asked.gap.is_complete());
            self.parts -= self.gaps.remove(last.unwrap_or(REMEMBERED - 1)).gap.missing.len();
        }
        self.parts += gap.missing.len();
        self.gaps.push(Asked { gap, due, tries: 0 });
    }

    /// The open gaps.
    pub(super) fn gaps(&self) -> Vec<OpenGap> {
        self.gaps.iter().map(|asked| asked.gap.clone()).collect()
    }

    /// Gaps that were not remembered.
    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    pub(super) fn contains(&self, sequence: u64) -> bool {
        self.gaps.get(self.index_of(sequence)).is_some_and(|asked| asked.gap.missing.contains(sequence))
    }

    /// The first part of `within` that is lost and may be released late.
    pub(super) fn first_within(&self, within: &Range<u64>) -> Option<Range<u64>> {
        let gaps = self.gaps.get(self.index_of(within.start)..)?;
        let splits =
            |part: &Range<u64>, gap: &OpenGap| part.start > 0 && gap.missing.contains(part.start - 1);
        gaps.iter().take_while(|asked| asked.gap.from < within.end).find_map(|asked| {
            let part = asked.gap.missing.first_within(within)?;
            (self.parts < PARTS || !splits(&part, &asked.gap)).then_some(part)
        })
    }

    /// A lost message has been released. Gaps that come in by requests are asked for on without delay.
    pub(super) fn arrived(&mut self, sequence: u64, now: Time) {
        let index = self.index_of(sequence);
        let Some(asked) = self.gaps.get_mut(index) else { return };
        self.parts -= asked.gap.missing.len();
        asked.gap.arrived(sequence);
        self.parts += asked.gap.missing.len();
        (asked.due, asked.tries) = (now, 0);
        self.changed |= asked.gap.is_complete();
    }

    /// A gap that is complete; it stays until it is removed.
    pub(super) fn complete(&mut self) -> Option<usize> {
        if !self.changed {
            return None;
        }
        let index = self.gaps.iter().position(|asked| asked.gap.is_complete());
        self.changed = index.is_some();
        index
    }

    /// Of the last gap, which is not complete: the first number from `reach` on that has not arrived, where there is one.
    pub(super) fn last_from(&self, reach: u64) -> Option<(&OpenGap, u64)> {
        let gap = &self.gaps.last()?.gap;
        gap.missing.first_within(&(reach..u64::MAX)).map(|part| (gap, part.start))
    }

    /// Withdraws from the last gap what lies at or beyond `from`; see [`Ahead::withdraw`].
    pub(super) fn withdraw(&mut self, from: u64, next: u64, ahead: &mut Ahead) {
        let Some(Asked { gap, .. }) = self.gaps.last_mut() else { return };
        self.parts -= gap.missing.len();
        ahead.withdraw(gap, from, next);
        self.parts += gap.missing.len();
        self.changed |= gap.is_complete();
        if gap.count == 0 {
            self.gaps.pop();
        }
    }

    pub(super) fn get(&self, index: usize) -> &OpenGap {
        &self.gaps[index].gap
    }

    pub(super) fn remove(&mut self, index: usize) -> OpenGap {
        self.gaps.remove(index).gap
    }

    /// A range below `limit` to ask for. The next request for it is due after `first`, and later and later without an
    /// answer.
    pub(super) fn due(&mut self, limit: u64, now: Time, first: Duration) -> Option<Range<u64>> {
        let mut begun = self.gaps.iter_mut().take_while(|asked| asked.gap.from < limit);
        let (asked, range) = begun.find_map(|asked| {
            let range = asked.gap.missing.first_within(&(0..limit)).filter(|_| asked.due <= now)?;
            Some((asked, range))
        })?;
        asked.tries = asked.tries.saturating_add(1);
        asked.due = after(now, pause(first, asked.tries));
        Some(range)
    }

    /// Messages that have not arrived.
    pub(super) fn missing(&self) -> u64 {
        self.gaps.iter().flat_map(|asked| asked.gap.missing()).map(|range| range.end - range.start).sum()
    }

    /// Index of the first gap that ends behind `sequence`.
    fn index_of(&self, sequence: u64) -> usize {
        self.gaps.partition_point(|asked| asked.gap.end() <= sequence)
    }
}

/// What is said of gaps at the end.
#[derive(Debug, Default)]
pub(super) struct Report {
    recovered: Vec<Range<u64>>,
}

impl Report {
    /// A range was recovered; it joins the last one where they touch.
    pub(super) fn recovered(&mut self, range: &Range<u64>) {
        let room = self.recovered.len() < LISTED;
        match self.recovered.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ if room => self.recovered.push(range.clone()),
            _ => {}
        }
    }

    /// Recovered (`true`) and lost ranges in ascending order.
    pub(super) fn gaps(&self, lost: &Lost) -> Vec<(Range<u64>, bool)> {
        let lost =
            lost.gaps.iter().flat_map(|asked| asked.gap.missing.iter().map(|(range, ())| (range, false)));
        let mut all: Vec<_> = self.recovered.iter().map(|range| (range.clone(), true)).chain(lost).collect();
        all.sort_by_key(|(range, _)| range.start);
        all
    }
}
