//! OffsetForLeaderEpoch: where an epoch of the writer ended. Consumers ask it after a change of epoch to learn whether
//! what they read still stands; what is durable always does.

use crate::connection::Session;
use crate::topics::{Topic, leader_epoch, next_readable};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use kafka_protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, TopicName};

pub(super) fn answer(
    request: &OffsetForLeaderEpochRequest,
    session: &Session<'_>,
) -> OffsetForLeaderEpochResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let answer = EpochEndOffset::default().with_partition(partition.partition);
            match end_of(&topic.topic, partition, session) {
                Ok((epoch, offset)) => answer.with_leader_epoch(epoch).with_end_offset(offset),
                Err(error) => answer.with_error_code(error.code()),
            }
        });
        OffsetForLeaderTopicResult::default()
            .with_topic(topic.topic.clone())
            .with_partitions(partitions.collect())
    });
    OffsetForLeaderEpochResponse::default().with_topics(topics.collect())
}

/// The largest epoch that is not above the one asked for, and the offset after its last message. As in Kafka: −1 for
/// both if that epoch is yet to come; the epoch asked for and the log's start if all of it has retired.
fn end_of(
    name: &TopicName,
    wanted: &OffsetForLeaderPartition,
    session: &Session<'_>,
) -> Result<(i32, i64), ResponseError> {
    let source = session.shared.topics.find_partition(name, wanted.partition)?;
    let marks = source.topic.marks();
    if wanted.leader_epoch < 0 || wanted.leader_epoch > marks.epoch {
        return Ok((-1, -1));
    }
    let (mut low, mut high) = (marks.first, marks.durable);
    let mut last = wanted.leader_epoch;
    if wanted.leader_epoch == marks.epoch {
        low = high;
    }
    // Epochs never fall from message to message, so the end is found by halving.
    while low < high {
        let middle = low + (high - low) / 2;
        match epoch_at(&source.topic, middle)? {
            Some(epoch) if epoch <= wanted.leader_epoch => (low, last) = (middle + 1, epoch),
            _ => high = middle,
        }
    }
    // What was durable and is lost stands: no client may step back before it.
    let end = source.topic.end_of(last).map_or(low, |end| end.clamp(low, marks.durable));
    Ok((last, end))
}

/// The epoch of the next message that can be read from an offset on; `None` where all from there on is lost.
fn epoch_at(topic: &Topic, offset: i64) -> Result<Option<i32>, ResponseError> {
    let mut reader = topic.reader(offset)?;
    Ok(next_readable(&mut reader)?.map(|frame| leader_epoch(frame.epoch)))
}
