//! Consumer groups belong to a later version, and consumers assign partitions themselves. Many name a group all the
//! same: librdkafka demands one of every consumer, waits for its coordinator, and at the end for a commit. So there is
//! a coordinator, which knows of no commit, takes none and lets nobody join, and nothing hangs.

use super::NODE;
use crate::connection::Session;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponsePartition, OffsetFetchResponseTopic,
};
use kafka_protocol::messages::{
    BrokerId, FindCoordinatorRequest, FindCoordinatorResponse, JoinGroupRequest, JoinGroupResponse,
    OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse,
};
use kafka_protocol::protocol::StrBytes;

/// The kind of coordinator that groups have; the other kind is that of transactions.
const GROUP: i8 = 0;

/// At this error every client gives up at once; softer ones are tried again without end.
const REFUSED: ResponseError = ResponseError::GroupAuthorizationFailed;

/// This node, for groups.
pub(super) fn coordinator(
    request: &FindCoordinatorRequest,
    session: &Session<'_>,
) -> FindCoordinatorResponse {
    if request.key_type != GROUP {
        return FindCoordinatorResponse::default()
            .with_error_code(ResponseError::TransactionalIdAuthorizationFailed.code())
            .with_error_message(Some(StrBytes::from_static_str("this listener is read-only")))
            .with_node_id(BrokerId(-1))
            .with_port(-1);
    }
    FindCoordinatorResponse::default()
        .with_node_id(BrokerId(NODE))
        .with_host(StrBytes::from_string(session.address.ip().to_string()))
        .with_port(i32::from(session.address.port()))
}

/// Nobody joins.
pub(super) fn join(request: &JoinGroupRequest) -> JoinGroupResponse {
    JoinGroupResponse::default()
        .with_error_code(REFUSED.code())
        .with_protocol_name(Some(StrBytes::new()))
        .with_member_id(request.member_id.clone())
}

/// Nothing is kept.
pub(super) fn commit(request: &OffsetCommitRequest) -> OffsetCommitResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            OffsetCommitResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(REFUSED.code())
        });
        OffsetCommitResponseTopic::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    OffsetCommitResponse::default().with_topics(topics.collect())
}

/// Nothing was committed, so that the consumer starts where its own settings say.
pub(super) fn committed(request: &OffsetFetchRequest) -> OffsetFetchResponse {
    let topics = request.topics.iter().flatten().map(|topic| {
        let partitions = topic.partition_indexes.iter().map(|partition| {
            OffsetFetchResponsePartition::default()
                .with_partition_index(*partition)
                .with_committed_offset(-1)
                .with_metadata(Some(StrBytes::new()))
        });
        OffsetFetchResponseTopic::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    OffsetFetchResponse::default().with_topics(topics.collect())
}
