//! What one redundant line delivered and what it lost, by message number.

use super::ranges::Ranges;

/// Ranges of missing messages that are remembered a line. What was lost before counts as lost for good.
const REMEMBERED: usize = 256;

/// What happened on one line so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct LineCounts {
    /// Packets of the session, heartbeats included.
    pub packets: u64,
    /// Messages in them, each as often as it came.
    pub messages: u64,
    /// Messages that the line skipped and has not delivered since.
    pub lost: u64,
    /// Messages that came after later ones.
    pub reordered: u64,
    /// Messages that the line had delivered before.
    pub duplicates: u64,
    /// Packets that are not MoldUDP64.
    pub malformed: u64,
    /// Packets of another session.
    pub foreign: u64,
}

/// Follows one line.
#[derive(Debug, Default)]
pub(crate) struct Line {
    pub(crate) counts: LineCounts,
    expected: Option<u64>,
    missing: Ranges<()>,
}

impl Line {
    /// Another session begins.
    pub(crate) fn begin(&mut self) {
        self.expected = None;
        self.missing = Ranges::new();
    }

    /// A packet with the messages from `first` up to `end`, none if they are equal.
    pub(crate) fn packet(&mut self, first: u64, end: u64) {
        self.counts.packets += 1;
        self.counts.messages += end - first;
        let expected = self.expected.unwrap_or(first);
        if first > expected {
            self.counts.lost += first - expected;
            if self.missing.len() == REMEMBERED {
                self.missing.pop_first();
            }
            self.missing.append(expected..first, ());
        } else if first < expected {
            self.late(first, end.min(expected));
        }
        self.expected = Some(expected.max(end));
    }

    /// A jump was refuted: no line has sent the message `from` or a later one.
    pub(crate) fn refuted(&mut self, from: u64) {
        self.counts.lost -= self.missing.truncate(from);
        self.expected = self.expected.map(|expected| expected.min(from));
    }

    fn late(&mut self, first: u64, end: u64) {
        self.counts.duplicates += end - first;
        while let Some(part) = self.missing.first_within(&(first..end)) {
            let count = part.end - part.start;
            self.counts.duplicates -= count;
            self.counts.reordered += count;
            self.counts.lost -= count;
            self.missing.remove(&part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(packets: &[(u64, u64)]) -> LineCounts {
        let mut line = Line::default();
        packets.iter().for_each(|&(first, end)| line.packet(first, end));
        line.counts
    }

    #[test]
    fn a_line_begins_where_it_is_first_heard() {
        let want = LineCounts { packets: 2, messages: 5, ..LineCounts::default() };
        assert_eq!(after(&[(100, 103), (103, 105)]), want);
    }

    #[test]
    fn what_was_swapped_is_not_lost() {
        let want = LineCounts { packets: 3, messages: 9, reordered: 3, ..LineCounts::default() };
        assert_eq!(after(&[(1, 4), (7, 10), (4, 7)]), want);
    }

    #[test]
    fn what_comes_twice_is_a_duplicate() {
        let want = LineCounts { packets: 3, messages: 9, lost: 2, duplicates: 3, ..LineCounts::default() };
        assert_eq!(after(&[(1, 4), (6, 9), (6, 9)]), want);
    }

    #[test]
    fn a_heartbeat_tells_of_a_lost_tail() {
        let want = LineCounts { packets: 2, messages: 3, lost: 7, ..LineCounts::default() };
        assert_eq!(after(&[(1, 4), (11, 11)]), want);
    }

    #[test]
    fn a_refuted_jump_lost_nothing() {
        let mut line = Line::default();
        [(1, 4), (6, 9), (900, 901)].iter().for_each(|&(first, end)| line.packet(first, end));
        line.refuted(9);
        line.packet(9, 12);
        let want = LineCounts { packets: 4, messages: 10, lost: 2, ..LineCounts::default() };
        assert_eq!(line.counts, want);
    }

    #[test]
    fn memory_of_what_is_missing_is_bounded() {
        let packets: Vec<_> = (0..10_000).map(|i| (2 * i + 1, 2 * i + 2)).collect();
        let mut line = Line::default();
        packets.iter().for_each(|&(first, end)| line.packet(first, end));
        assert_eq!((line.counts.lost, line.missing.len()), (9_999, REMEMBERED));
    }
}
