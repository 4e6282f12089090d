//! Metadata: one node, and each topic of the bus with its JSON view, as one partition each.

use super::NODE;
use crate::connection::Session;
use crate::topics::Source;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{BrokerId, MetadataRequest, MetadataResponse, TopicName};
use kafka_protocol::protocol::StrBytes;

const CLUSTER: &str = "busbar";

pub(super) fn answer(request: &MetadataRequest, version: i16, session: &Session<'_>) -> MetadataResponse {
    let node = MetadataResponseBroker::default()
        .with_node_id(BrokerId(NODE))
        .with_host(StrBytes::from_string(session.address.ip().to_string()))
        .with_port(i32::from(session.address.port()));
    let named: Vec<TopicName> =
        request.topics.iter().flatten().filter_map(|topic| topic.name.clone()).collect();
    // Version 0 had no null: there an empty list asks for all.
    let wants_all = request.topics.is_none() || version == 0 && named.is_empty();
    let topics =
        if wants_all { all(session) } else { named.into_iter().map(|name| topic(name, session)).collect() };
    MetadataResponse::default()
        .with_brokers(vec![node])
        .with_cluster_id(Some(StrBytes::from_static_str(CLUSTER)))
        .with_controller_id(BrokerId(NODE))
        .with_topics(topics)
}

/// All topics; none where the bus cannot be read, which a client asks again.
fn all(session: &Session<'_>) -> Vec<MetadataResponseTopic> {
    let names = session.shared.topics.names().unwrap_or_default();
    names.into_iter().map(|name| topic(StrBytes::from_string(name).into(), session)).collect()
}

fn topic(name: TopicName, session: &Session<'_>) -> MetadataResponseTopic {
    let found = session.shared.topics.find(&name).map(|source| partition(&source));
    let (code, partitions) = match found {
        Ok(partition) => (0, vec![partition]),
        Err(error) => (error.code(), Vec::new()),
    };
    MetadataResponseTopic::default().with_name(Some(name)).with_error_code(code).with_partitions(partitions)
}

fn partition(source: &Source) -> MetadataResponsePartition {
    let epoch = source.topic.marks().epoch;
    MetadataResponsePartition::default()
        .with_partition_index(0)
        .with_leader_id(BrokerId(NODE))
        .with_leader_epoch(epoch)
        .with_replica_nodes(vec![BrokerId(NODE)])
        .with_isr_nodes(vec![BrokerId(NODE)])
}
