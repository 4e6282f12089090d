//! Produce: refused, partition by partition. A journal has one writer, and that is a publisher of the bus.

use crate::connection::Session;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{ProduceRequest, ProduceResponse};
use kafka_protocol::protocol::StrBytes;

const REASON: &str = "this listener is read-only: publish to the bus";

/// An authorization error, at which every client gives up at once; `None` where no answer is wanted.
pub(super) fn refuse(request: &ProduceRequest, session: &Session<'_>) -> Option<ProduceResponse> {
    session
        .shared
        .counters
        .refused_writes
        .add(request.topic_data.iter().map(|t| t.partition_data.len()).sum());
    let topics = request.topic_data.iter().map(|topic| {
        let partitions = topic.partition_data.iter().map(|partition| {
            PartitionProduceResponse::default()
                .with_index(partition.index)
                .with_error_code(ResponseError::TopicAuthorizationFailed.code())
                .with_base_offset(-1)
                .with_error_message(Some(StrBytes::from_static_str(REASON)))
        });
        TopicProduceResponse::default()
            .with_name(topic.name.clone())
            .with_partition_responses(partitions.collect())
    });
    (request.acks != 0).then(|| ProduceResponse::default().with_responses(topics.collect()))
}
