//! What the listener has done, readable while it runs.

use std::sync::atomic::{AtomicU64, Ordering};

/// A snapshot of the listener's counters since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections taken.
    pub connections: u64,
    /// Connections closed at once because too many were open and none of them silent, or the system gave no thread.
    pub turned_away: u64,
    /// Connections closed as too many were open and this one was silent longest.
    pub gave_way: u64,
    /// Requests answered, by API.
    pub requests: Requests,
    /// Partitions of Produce requests; each was refused.
    pub refused_writes: u64,
    /// Connections closed because of what they sent: malformed, too long, or an API or version that is not shown.
    pub malformed: u64,
    /// Records given out.
    pub records: u64,
    /// Lost messages that consumers were told of and then led past, counted for each consumer.
    pub passed_over: u64,
}

/// Requests answered, by API.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Requests {
    /// ApiVersions.
    pub api_versions: u64,
    /// Metadata.
    pub metadata: u64,
    /// Fetch.
    pub fetch: u64,
    /// ListOffsets.
    pub list_offsets: u64,
    /// Produce.
    pub produce: u64,
    /// OffsetForLeaderEpoch.
    pub leader_epoch: u64,
    /// FindCoordinator, JoinGroup, OffsetFetch and OffsetCommit.
    pub groups: u64,
}

/// A counter that many connections add to.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: usize) {
        // ORDERING: Relaxed; counters order nothing and are read for display only, by `get`.
        self.0.fetch_add(count as u64, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        // ORDERING: Relaxed, as in `add`.
        self.0.load(Ordering::Relaxed)
    }
}

/// The live counters.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) connections: Counter,
    pub(crate) turned_away: Counter,
    pub(crate) gave_way: Counter,
    pub(crate) api_versions: Counter,
    pub(crate) metadata: Counter,
    pub(crate) fetch: Counter,
    pub(crate) list_offsets: Counter,
    pub(crate) produce: Counter,
    pub(crate) leader_epoch: Counter,
    pub(crate) groups: Counter,
    pub(crate) refused_writes: Counter,
    pub(crate) malformed: Counter,
    pub(crate) records: Counter,
    pub(crate) passed_over: Counter,
}

impl Counters {
    /// All at about this moment.
    pub(crate) fn snapshot(&self) -> Counts {
        Counts {
            connections: self.connections.get(),
            turned_away: self.turned_away.get(),
            gave_way: self.gave_way.get(),
            requests: Requests {
                api_versions: self.api_versions.get(),
                metadata: self.metadata.get(),
                fetch: self.fetch.get(),
                list_offsets: self.list_offsets.get(),
                produce: self.produce.get(),
                leader_epoch: self.leader_epoch.get(),
                groups: self.groups.get(),
            },
            refused_writes: self.refused_writes.get(),
            malformed: self.malformed.get(),
            records: self.records.get(),
            passed_over: self.passed_over.get(),
        }
    }
}
