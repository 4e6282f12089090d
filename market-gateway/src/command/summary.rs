//! What `run` and `replay` say at their end.

use bus::program::{self, Exit, Failure};
use market_gateway::feed::FeedSummary;
use market_gateway::normalise::Itch;
use serde::Serialize;
use std::collections::BTreeMap;
use std::ops::Range;

/// The summary of a run over packets or files.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    messages: u64,
    published: u64,
    duplicates: u64,
    by_type: BTreeMap<String, u64>,
    gaps: Vec<GapReport>,
    /// Gaps beyond those listed.
    unlisted_gaps: u64,
    io: String,
    packets: u64,
    malformed: u64,
    foreign: u64,
    requests: u64,
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
            io: io.into(),
            packets: feed.packets,
            malformed: feed.malformed,
            foreign: feed.foreign,
            requests: feed.requests,
        }
    }

    /// Prints it and says how the program ends.
    pub(crate) fn print(&self, json: bool) -> Result<Exit, Failure> {
        if json {
            program::print_json(self)?;
        } else {
            program::print_line(&self.describe())?;
        }
        let lost = self.unlisted_gaps > 0 || self.gaps.iter().any(|gap| !gap.recovered);
        Ok(if lost { Exit::Fault } else { Exit::Good })
    }

    fn describe(&self) -> String {
        let open = self.gaps.iter().filter(|gap| !gap.recovered).count();
        let recovered: u64 = self.gaps.iter().filter(|gap| gap.recovered).map(|gap| gap.count).sum();
        format!(
            "{} messages, {} published, {} duplicates, {recovered} recovered, {open} gaps open; received with {}",
            self.messages, self.published, self.duplicates, self.io
        )
    }
}
