//! The other requests: what the listener shows, where topics begin and end, and what it refuses.

use crate::client::{frame, name, order, publish_orders, serve};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, ApiVersionsResponse, FindCoordinatorRequest, JoinGroupRequest,
    MetadataRequest, OffsetCommitRequest, OffsetFetchRequest, ProduceRequest,
};
use kafka_protocol::protocol::{Decodable, StrBytes};
use proptest::prelude::*;

#[test]
fn api_versions_in_every_version_and_beyond() {
    let served = serve();
    let mut client = served.client();
    for version in 0..=4 {
        let shown = client.call(version, &ApiVersionsRequest::default());
        let produce = shown.api_keys.iter().find(|key| key.api_key == ApiKey::Produce as i16).unwrap();
        assert_eq!((produce.min_version, produce.max_version), (0, 8), "librdkafka needs this range");
        assert!(shown.api_keys.iter().all(|key| key.api_key != ApiKey::InitProducerId as i16));
    }
    // A version of the future: error 35 in a body of version 0, upon which the client asks again.
    let mut unknown = frame(ApiKey::ApiVersions as i16, 4, 77, &ApiVersionsRequest::default());
    unknown[7] = 5;
    client.send_bytes(&unknown);
    let mut answer = client.receive_bytes().unwrap();
    assert_eq!(answer.split_to(4).as_ref(), 77_i32.to_be_bytes());
    let shown = ApiVersionsResponse::decode(&mut answer, 0).unwrap();
    assert_eq!(shown.error_code, ResponseError::UnsupportedVersion.code());
    assert_eq!(shown.api_keys.len(), 10);
}

#[test]
fn topics_are_listed_as_they_appear() {
    let served = serve();
    let mut client = served.client();
    let all = MetadataRequest::default().with_topics(None);
    assert_eq!(client.call(1, &all).topics.len(), 0);
    let mut publisher = served.market();
    publish_orders(&mut publisher, 1, 1);
    for version in 0..=9 {
        // Version 0 asks for all by an empty list.
        let request =
            if version == 0 { MetadataRequest::default().with_topics(Some(Vec::new())) } else { all.clone() };
        let answer = client.call(version, &request);
        let names: Vec<String> =
            answer.topics.iter().map(|topic| topic.name.as_ref().unwrap().to_string()).collect();
        assert_eq!(names, ["market-data", "market-data.json"]);
        let [broker] = answer.brokers.as_slice() else { panic!("one node") };
        assert_eq!(broker.host.as_str(), "127.0.0.1");
        assert_eq!(broker.port, i32::from(served.server.address().port()));
        let [partition] = answer.topics[1].partitions.as_slice() else { panic!("one partition") };
        assert_eq!((partition.partition_index, partition.leader_id), (0, broker.node_id));
        if version >= 7 {
            assert_eq!(partition.leader_epoch, i32::try_from(publisher.epoch()).unwrap());
        }
    }
    let none = client.call(4, &MetadataRequest::default().with_topics(Some(Vec::new())));
    assert_eq!(none.topics.len(), 0);
    for unknown in ["nothing", "nothing.json", "../market-data", "", "market-data.json.json"] {
        let wanted = MetadataRequestTopic::default().with_name(Some(name(unknown)));
        let answer = client.call(9, &MetadataRequest::default().with_topics(Some(vec![wanted])));
        assert_eq!(answer.topics[0].error_code, ResponseError::UnknownTopicOrPartition.code(), "{unknown}");
        assert_eq!(answer.topics[0].name.as_ref().unwrap().as_str(), unknown);
    }
}

#[test]
fn the_ends_of_a_topic() {
    let served = serve();
    publish_orders(&mut served.market(), 100, 9);
    let mut client = served.client();
    for version in 1..=7 {
        assert_eq!(client.list_offset(version, "market-data.json", -1), (9, -1, 0));
        assert_eq!(client.list_offset(version, "market-data", -2), (0, -1, 0));
        assert_eq!(client.list_offset(version, "market-data", 104), (4, 104, 0));
        assert_eq!(client.list_offset(version, "market-data", 109), (-1, -1, 0));
        let unknown = ResponseError::UnknownTopicOrPartition.code();
        assert_eq!(client.list_offset(version, "nothing", -1), (-1, -1, unknown));
    }
    assert_eq!(client.list_offset(7, "market-data", -3), (8, 108, 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    /// Times that rise and fall: always the first message at or above the one asked for, also after more was written.
    #[test]
    fn by_time_as_a_naive_search(
        first in proptest::collection::vec(1_u64..400, 0..40),
        then in proptest::collection::vec(1_u64..400, 1..40),
        asked in proptest::collection::vec(0_i64..420, 10),
    ) {
        let served = serve();
        let mut publisher = served.market();
        let mut client = served.client();
        let mut times = Vec::new();
        for part in [first, then] {
            for time in part {
                publisher.publish(&order("AAPL", time)).unwrap();
                times.push(i64::try_from(time).unwrap());
            }
            publisher.flush().unwrap();
            for asked in &asked {
                let want = times.iter().position(|time| time >= asked);
                let want = want.map_or((-1, -1, 0), |at| (i64::try_from(at).unwrap(), times[at], 0));
                prop_assert_eq!(client.list_offset(5, "market-data", *asked), want);
            }
        }
    }
}

#[test]
fn by_time_over_many_blocks() {
    let served = serve();
    let mut publisher = served.market();
    publish_orders(&mut publisher, 10_000, 9_000);
    publisher.publish(&order("AAPL", 50_000)).unwrap();
    publish_orders(&mut publisher, 20_000, 4_000);
    let mut client = served.client();
    for (time, offset) in [(1, 0), (18_999, 8_999), (19_000, 9_000), (22_000, 9_000), (50_000, 9_000)] {
        assert_eq!(client.list_offset(7, "market-data", time).0, offset, "{time}");
    }
    assert_eq!(client.list_offset(7, "market-data", -3), (9_000, 50_000, 0));
    assert_eq!(client.list_offset(7, "market-data", 50_001).0, -1);
}

#[test]
fn the_ends_of_epochs() {
    let served = serve();
    let mut ends = Vec::new();
    for life in 1..=3 {
        let mut publisher = served.market();
        publish_orders(&mut publisher, life, life * 7);
        ends.push((
            i32::try_from(publisher.epoch()).unwrap(),
            i64::try_from(7 * life * (life + 1) / 2).unwrap(),
        ));
        publisher.close().unwrap();
    }
    let mut client = served.client();
    for version in 2..=4 {
        for end in &ends {
            assert_eq!(client.end_of_epoch(version, end.0), *end);
        }
        assert_eq!(client.end_of_epoch(version, ends[2].0 + 1), (-1, -1), "an epoch yet to come");
        assert_eq!(client.end_of_epoch(version, -1), (-1, -1));
    }
}

fn produce(acks: i16) -> ProduceRequest {
    let partition = PartitionProduceData::default().with_records(Some(vec![0; 100].into()));
    let topic =
        TopicProduceData::default().with_name(name("market-data")).with_partition_data(vec![partition]);
    ProduceRequest::default().with_acks(acks).with_timeout_ms(1_000).with_topic_data(vec![topic])
}

#[test]
fn writes_are_refused() {
    let served = serve();
    publish_orders(&mut served.market(), 1, 1);
    let mut client = served.client();
    for version in 3..=8 {
        let answer = client.call(version, &produce(-1));
        let partition = &answer.responses[0].partition_responses[0];
        assert_eq!(partition.error_code, ResponseError::TopicAuthorizationFailed.code());
        assert_eq!(partition.base_offset, -1);
    }
    // Who wants no answer learns it by losing the connection.
    client.send(8, &produce(0));
    assert_eq!(client.receive_bytes(), None);
    assert_eq!(served.client().read_all("market-data").len(), 1);
    let counts = served.server.stop();
    assert_eq!((counts.refused_writes, counts.malformed), (7, 0));
}

#[test]
fn groups_are_refused_but_naming_one_does_no_harm() {
    let served = serve();
    publish_orders(&mut served.market(), 1, 1);
    let mut client = served.client();
    let refused = ResponseError::GroupAuthorizationFailed.code();
    for version in 0..=2 {
        let answer = client.call(version, &FindCoordinatorRequest::default());
        assert_eq!((answer.error_code, answer.port), (0, i32::from(served.server.address().port())));
    }
    let of_transactions = client.call(2, &FindCoordinatorRequest::default().with_key_type(1));
    assert_eq!(of_transactions.error_code, ResponseError::TransactionalIdAuthorizationFailed.code());
    for version in 0..=4 {
        let member = StrBytes::from_static_str("");
        assert_eq!(
            client.call(version, &JoinGroupRequest::default().with_member_id(member)).error_code,
            refused
        );
    }
    for version in 2..=7 {
        let partitions = vec![OffsetCommitRequestPartition::default().with_committed_offset(5)];
        let topic =
            OffsetCommitRequestTopic::default().with_name(name("market-data")).with_partitions(partitions);
        let answer = client.call(version, &OffsetCommitRequest::default().with_topics(vec![topic]));
        assert_eq!(answer.topics[0].partitions[0].error_code, refused);
    }
    for version in 1..=7 {
        let topic =
            OffsetFetchRequestTopic::default().with_name(name("market-data")).with_partition_indexes(vec![0]);
        let answer = client.call(version, &OffsetFetchRequest::default().with_topics(Some(vec![topic])));
        let partition = &answer.topics[0].partitions[0];
        assert_eq!((partition.error_code, partition.committed_offset), (0, -1));
    }
}
