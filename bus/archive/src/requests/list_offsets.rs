//! ListOffsets: the ends of a journal, and the first message at or after a time.

use crate::connection::Session;
use crate::topics::Source;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::list_offsets_request::ListOffsetsPartition;
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse, TopicName};

/// Times with a meaning of their own.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const LARGEST_TIMESTAMP: i64 = -3;

/// Since this version an answer carries the leader epoch.
const EPOCH_FROM: i16 = 4;

pub(super) fn answer(
    request: &ListOffsetsRequest,
    version: i16,
    session: &Session<'_>,
) -> ListOffsetsResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let answer =
                ListOffsetsPartitionResponse::default().with_partition_index(partition.partition_index);
            match find(&topic.name, partition, session) {
                Ok(found) => answer
                    .with_offset(found.offset)
                    .with_timestamp(found.timestamp)
                    .with_leader_epoch(if version < EPOCH_FROM { -1 } else { found.epoch }),
                Err(error) => answer.with_error_code(error.code()),
            }
        });
        ListOffsetsTopicResponse::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    ListOffsetsResponse::default().with_topics(topics.collect())
}

/// −1 stands for "none".
struct Found {
    offset: i64,
    timestamp: i64,
    epoch: i32,
}

fn find(
    name: &TopicName,
    wanted: &ListOffsetsPartition,
    session: &Session<'_>,
) -> Result<Found, ResponseError> {
    let source = session.shared.topics.find_partition(name, wanted.partition_index)?;
    let marks = source.topic.marks();
    match wanted.timestamp {
        LATEST => Ok(Found { offset: marks.durable, timestamp: -1, epoch: marks.epoch }),
        EARLIEST => Ok(Found { offset: marks.first, timestamp: -1, epoch: marks.epoch }),
        LARGEST_TIMESTAMP => by_time(&source, None, session),
        time if time >= 0 => by_time(&source, Some(time), session),
        _ => Err(ResponseError::UnsupportedVersion),
    }
}

/// By the time of an event, or the event with the largest time.
fn by_time(source: &Source, time: Option<i64>, session: &Session<'_>) -> Result<Found, ResponseError> {
    let mut times = source.topic.times();
    times.catch_up(&source.topic, &session.shared.stop)?;
    let found = match time {
        Some(time) => times.first_at_or_after(&source.topic, time)?,
        None => times.largest(&source.topic)?,
    };
    Ok(found.map_or(Found { offset: -1, timestamp: -1, epoch: -1 }, |at| Found {
        offset: at.offset,
        timestamp: at.timestamp,
        epoch: at.epoch,
    }))
}
