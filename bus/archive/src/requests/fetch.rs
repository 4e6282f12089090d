//! Fetch: record batches of what is durable, from an offset on.
//!
//! Fetch sessions are declined (session id 0), so each request names all it wants. Both isolation levels see the same:
//! there are no transactions, and what is durable stays.

use crate::batch::Batches;
use crate::connection::Session;
use crate::cursor::Cursors;
use crate::topics::Source;
use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::{FetchRequest, FetchResponse, TopicName};
use std::thread;
use std::time::{Duration, Instant};

/// An answer's records take at most this, and those of one partition; one record may be larger.
const LARGEST_ANSWER: usize = 4 << 20;
const LARGEST_PARTITION: usize = 1 << 20;
/// A client waits at most this long for new messages.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Between two looks at what is durable.
const FIRST_PAUSE: Duration = Duration::from_micros(250);
const LONGEST_PAUSE: Duration = Duration::from_millis(4);

pub(super) fn answer(request: &FetchRequest, session: &mut Session<'_>) -> FetchResponse {
    let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
    let deadline = Instant::now() + wait.min(LONGEST_WAIT);
    let enough = usize::try_from(request.min_bytes).unwrap_or(0).min(LARGEST_ANSWER);
    let mut budget = usize::try_from(request.max_bytes).unwrap_or(0).min(LARGEST_ANSWER);
    let mut parts = parts(request, session);
    let mut pause = FIRST_PAUSE;
    let mut gathered = 0;
    loop {
        for part in parts.iter_mut().take_while(|_| !session.shared.stop.requested()) {
            let added = part.gather(budget, gathered == 0, &mut session.cursors);
            budget = budget.saturating_sub(added);
            gathered += added;
        }
        let is_final = parts.is_empty() || parts.iter().any(|part| part.is_full || part.error.is_some());
        if is_final || gathered >= enough || Instant::now() >= deadline || session.shared.stop.requested() {
            break;
        }
        thread::sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    session.shared.counters.records.add(parts.iter().map(|part| part.count).sum());
    session.shared.counters.passed_over.add(parts.iter().map(|part| part.passed_over).sum());
    respond(request, parts)
}

/// One partition of a request and what was gathered for it.
struct Part<'a> {
    name: &'a TopicName,
    partition: i32,
    source: Option<Source>,
    offset: i64,
    limit: usize,
    records: Vec<u8>,
    count: usize,
    /// Lost messages before the first record.
    passed_over: usize,
    /// Whether there is more than fits into the answer.
    is_full: bool,
    error: Option<ResponseError>,
}

fn parts<'a>(request: &'a FetchRequest, session: &Session<'_>) -> Vec<Part<'a>> {
    let partitions =
        request.topics.iter().flat_map(|topic| topic.partitions.iter().map(move |each| (topic, each)));
    let part = |(topic, partition): (&'a _, &'a _)| part(topic, partition, session);
    partitions.map(part).collect()
}

fn part<'a>(topic: &'a FetchTopic, partition: &FetchPartition, session: &Session<'_>) -> Part<'a> {
    let found = session.shared.topics.find_partition(&topic.topic, partition.partition);
    let error = found.as_ref().err().copied();
    Part {
        name: &topic.topic,
        partition: partition.partition,
        source: found.ok(),
        offset: partition.fetch_offset,
        limit: usize::try_from(partition.partition_max_bytes).unwrap_or(0).min(LARGEST_PARTITION),
        records: Vec::new(),
        count: 0,
        passed_over: 0,
        is_full: false,
        error,
    }
}

impl Part<'_> {
    /// Takes what is durable by now, within what is left of the answer's budget, and returns the bytes added.
    fn gather(&mut self, budget: usize, at_least_one: bool, cursors: &mut Cursors<'_>) -> usize {
        if self.error.is_some() {
            return 0;
        }
        let before = self.records.len();
        let limit = budget.min(self.limit.saturating_sub(self.records.len()));
        if let Err(error) = self.read(limit, at_least_one, cursors) {
            // Behind records it is told with the next request only.
            match self.records.is_empty() {
                true => cursors.tell(self.name, self.offset, error),
                false => cursors.forget(self.name),
            }
            self.error = Some(error);
        }
        self.records.len() - before
    }

    fn read(
        &mut self,
        limit: usize,
        at_least_one: bool,
        cursors: &mut Cursors<'_>,
    ) -> Result<(), ResponseError> {
        let Some(source) = &self.source else { return Err(ResponseError::UnknownTopicOrPartition) };
        let batches = Batches::new(&mut self.records, limit, at_least_one);
        let mut filled = cursors.at(self.name, source, self.offset)?.fill(source, batches);
        if matches!(filled, Err(ResponseError::CorruptMessage))
            && let Some(past) = cursors.past(self.name, source, self.offset)?
        {
            filled = past.fill(source, Batches::new(&mut self.records, limit, at_least_one));
        }
        let filled = filled?;
        self.offset = filled.next;
        self.count += filled.records;
        if filled.records > 0 {
            cursors.told.give(self.name);
        }
        self.passed_over += filled.passed_over;
        self.is_full = filled.is_full;
        Ok(())
    }

    fn finish(self) -> PartitionData {
        let mut answer = PartitionData::default().with_partition_index(self.partition);
        if let Some(marks) = self.source.map(|source| source.topic.recent_marks()) {
            // The reader may be ahead of these marks, and the high watermark is never behind the records.
            let durable =
                if self.records.is_empty() { marks.durable } else { marks.durable.max(self.offset) };
            answer.high_watermark = durable;
            answer.last_stable_offset = durable;
            answer.log_start_offset = marks.first;
        }
        // Records gathered before an error are good; the client meets the error with its next request.
        let code = self.error.filter(|_| self.records.is_empty()).map_or(0, |error| error.code());
        answer
            .with_error_code(code)
            .with_aborted_transactions(Some(Vec::new()))
            .with_records(Some(Bytes::from(self.records)))
    }
}

fn respond(request: &FetchRequest, parts: Vec<Part<'_>>) -> FetchResponse {
    let mut partitions = parts.into_iter().map(Part::finish);
    let topics = request.topics.iter().map(|topic| {
        let own = partitions.by_ref().take(topic.partitions.len()).collect();
        FetchableTopicResponse::default().with_topic(topic.topic.clone()).with_partitions(own)
    });
    FetchResponse::default().with_responses(topics.collect())
}
