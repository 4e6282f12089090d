//! What `run` and `replay` say at their end.

use bus::program;
use market_gateway::arbiter::LineCounts;
use market_gateway::feed::FeedSummary;
use market_gateway::live::{LiveSummary, MARKET_DATA};
use market_gateway::net::Counters;
use market_gateway::normalise::Itch;
use serde::Serialize;
use std::collections::BTreeMap;
use std::ops::Range;

/// The summary of a run over packets or files.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Summary {
    messages: u64,
    published: u64,
    duplicates: u64,
    by_type: BTreeMap<String, u64>,
    gaps: Vec<GapReport>,
    /// Lost ranges beyond those listed.
    unlisted_gaps: u64,
    /// Events of the topic that could not be read back at the start.
    unread: u64,
    io: String,
    recovered: u64,
    requests: u64,
    packets: u64,
    /// Packets that are not MoldUDP64, and messages that are not of their type's length.
    malformed: u64,
    foreign: u64,
    /// Messages of a type that ITCH 5.0 does not have.
    unknown: u64,
    /// Packets too far ahead that nothing confirmed.
    unconfirmed: u64,
    /// Messages of jumps that the lines refuted.
    refuted: u64,
    lines: Vec<LineCounts>,
    /// What only live lines have.
    #[serde(flatten)]
    live: Option<Live>,
}

/// What happened around the feed of live lines.
#[derive(Debug, Serialize)]
struct Live {
    /// How often the topic had no room for an event; each was offered again.
    refused: u64,
    /// Requests that could not be sent.
    unsent: u64,
    /// What happened to packets before the feed.
    network: Counters,
}

/// Says at the start what of the topic could not be read back.
pub(crate) fn tell_unread(feed: &FeedSummary) {
    if let Some(Range { start, end }) = feed.unread {
        program::note(&format!(
            "retention removed events {start} to {end} of '{MARKET_DATA}' before a snapshot told them: which messages \
             are missing since is not known, and none of them is asked for; books that are stale stay so until the next \
             session"
        ));
    }
}

/// A range that was lost, or had to be asked for.
#[derive(Debug, Serialize)]
struct GapReport {
    from: u64,
    count: u64,
    recovered: bool,
}

impl GapReport {
    fn new((range, recovered): &(Range<u64>, bool)) -> Self {
        Self { from: range.start, count: range.end - range.start, recovered: *recovered }
    }
}

impl Summary {
    /// The summary where no market data was received.
    pub(crate) fn nothing(io: &str) -> Self {
        Self { io: io.into(), ..Self::default() }
    }

    /// What the feed did, received with `io`.
    pub(crate) fn new(feed: &FeedSummary, itch: &Itch, io: &str) -> Self {
        let letter = |byte: u8| byte.escape_ascii().to_string();
        Self {
            messages: feed.messages,
            published: feed.published,
            duplicates: feed.duplicates,
            by_type: itch.by_type().map(|(byte, count)| (letter(byte), count)).collect(),
            gaps: feed.gaps.iter().map(GapReport::new).collect(),
            unlisted_gaps: feed.unlisted_gaps,
            unread: feed.unread.as_ref().map_or(0, |range| range.end - range.start),
            io: io.into(),
            recovered: feed.recovered,
            requests: feed.requests,
            packets: feed.packets,
            malformed: feed.malformed + itch.malformed(),
            foreign: feed.foreign,
            unknown: itch.unknown(),
            unconfirmed: feed.unconfirmed,
            refuted: feed.refuted,
            lines: feed.lines.clone(),
            live: None,
        }
    }

    /// The summary of live lines.
    pub(crate) fn of_live(summary: &LiveSummary, itch: &Itch) -> Self {
        let LiveSummary { refused, unsent, network, .. } = *summary;
        let live = Some(Live { refused, unsent, network });
        Self { live, ..Self::new(&summary.feed, itch, summary.io) }
    }

    /// One line for a person.
    pub(crate) fn describe(&self) -> String {
        let open = self.gaps.iter().filter(|gap| !gap.recovered).count() as u64 + self.unlisted_gaps;
        format!(
            "{} messages, {} published, {} duplicates, {} recovered{}, {open} gaps open; received with {}",
            self.messages,
            self.published,
            self.duplicates,
            self.recovered,
            self.strange(),
            self.io
        )
    }

    /// What only those have who are attacked, have garbled lines, or filter: named as in the JSON object.
    fn strange(&self) -> String {
        let strangers = self.live.as_ref().map_or(0, |live| live.network.strangers);
        let counts = [
            (self.refuted, "refuted"),
            (self.foreign, "foreign"),
            (self.malformed, "malformed"),
            (strangers, "strangers"),
        ];
        let told = counts.into_iter().filter(|(count, _)| *count > 0);
        told.map(|(count, name)| format!(", {count} {name}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_strange_packets_expect_their_counts_in_the_line_and_nothing_of_them_where_there_are_none() {
        let told = |refuted, foreign, malformed, strangers| {
            let network = Counters { strangers, ..Counters::default() };
            let live = Some(Live { refused: 0, unsent: 0, network });
            Summary { refuted, foreign, malformed, live, ..Summary::nothing("none") }.describe()
        };
        let all = " 0 recovered, 3 refuted, 4 foreign, 5 malformed, 6 strangers, 0 gaps open;";
        assert!(told(3, 4, 5, 6).contains(all), "{}", told(3, 4, 5, 6));
        assert!(told(3, 0, 0, 0).contains(" 0 recovered, 3 refuted, 0 gaps open;"), "{}", told(3, 0, 0, 0));
        assert!(told(0, 0, 0, 0).contains(" 0 recovered, 0 gaps open;"), "{}", told(0, 0, 0, 0));
    }
}
