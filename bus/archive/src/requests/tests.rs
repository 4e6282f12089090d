//! Whatever arrives, it is answered or refused: no panic, no hang, no memory beyond what arrived.

use super::*;
use crate::connection::Shared;
use crate::cursor::Cursors;
use crate::told::Told;
use bus::Bus;
use bus::event::market::{AddOrder, MarketEvent};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    ApiVersionsRequest, FetchRequest, FindCoordinatorRequest, JoinGroupRequest, ListOffsetsRequest,
    MetadataRequest, OffsetCommitRequest, OffsetFetchRequest, OffsetForLeaderEpochRequest, ProduceRequest,
    TopicName,
};
use kafka_protocol::protocol::{Request, StrBytes};
use proptest::prelude::*;
use proptest::sample::Index;
use std::net::SocketAddr;

/// A request with its header, without its length.
fn bytes<R: Request>(version: i16, request: &R) -> Vec<u8> {
    let api = ApiKey::try_from(R::KEY).expect("a known API");
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(0x0102_0304)
        .with_client_id(Some(StrBytes::from_static_str("client")));
    let mut out = Vec::new();
    header.encode(&mut out, api.request_header_version(version)).expect("a valid header");
    request.encode(&mut out, version).expect("a valid request");
    out
}

fn name() -> TopicName {
    StrBytes::from_static_str("market-data.json").into()
}

/// One full request of each API, in one version.
fn valid(api: ApiKey, version: i16) -> Vec<u8> {
    match api {
        ApiKey::Produce => {
            let partition = PartitionProduceData::default().with_records(Some(vec![1; 9].into()));
            let topic = TopicProduceData::default().with_name(name()).with_partition_data(vec![partition]);
            bytes(version.max(3), &ProduceRequest::default().with_acks(1).with_topic_data(vec![topic]))
        }
        ApiKey::Fetch => {
            let partition = FetchPartition::default().with_fetch_offset(1).with_partition_max_bytes(1 << 20);
            let topic = FetchTopic::default().with_topic(name()).with_partitions(vec![partition]);
            let forgotten = ForgottenTopic::default().with_topic(name()).with_partitions(vec![0, 1]);
            let request = FetchRequest::default().with_max_wait_ms(i32::MAX).with_topics(vec![topic]);
            let request =
                if version < 7 { request } else { request.with_forgotten_topics_data(vec![forgotten]) };
            bytes(version, &request)
        }
        ApiKey::ListOffsets => {
            let topic = ListOffsetsTopic::default().with_name(name());
            let topic = topic.with_partitions(vec![ListOffsetsPartition::default().with_timestamp(5)]);
            bytes(version, &ListOffsetsRequest::default().with_topics(vec![topic]))
        }
        ApiKey::Metadata => {
            let topic = MetadataRequestTopic::default().with_name(Some(name()));
            bytes(version, &MetadataRequest::default().with_topics(Some(vec![topic])))
        }
        ApiKey::OffsetForLeaderEpoch => {
            let topic = OffsetForLeaderTopic::default().with_topic(name());
            let topic = topic.with_partitions(vec![OffsetForLeaderPartition::default()]);
            bytes(version, &OffsetForLeaderEpochRequest::default().with_topics(vec![topic]))
        }
        ApiKey::OffsetCommit => {
            let topic = OffsetCommitRequestTopic::default().with_name(name());
            let topic = topic.with_partitions(vec![OffsetCommitRequestPartition::default()]);
            bytes(version, &OffsetCommitRequest::default().with_topics(vec![topic]))
        }
        ApiKey::OffsetFetch => {
            let topic =
                OffsetFetchRequestTopic::default().with_name(name()).with_partition_indexes(vec![0, 1]);
            bytes(version, &OffsetFetchRequest::default().with_topics(Some(vec![topic])))
        }
        ApiKey::JoinGroup => {
            let protocol = JoinGroupRequestProtocol::default().with_metadata(vec![3; 4].into());
            bytes(version, &JoinGroupRequest::default().with_protocols(vec![protocol]))
        }
        ApiKey::FindCoordinator => bytes(version, &FindCoordinatorRequest::default()),
        _ => bytes(version, &ApiVersionsRequest::default()),
    }
}

fn shown() -> impl Iterator<Item = (ApiKey, i16)> {
    SHOWN.iter().flat_map(|(api, range)| (range.min..=range.max).map(|version| (*api, version)))
}

/// Asks a listener with a small bus whose stop is requested, so that nothing waits.
struct Asked {
    shared: Shared,
    _dir: tempfile::TempDir,
}

impl Asked {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let bus = Bus::open(dir.path()).expect("a bus");
        let mut publisher = bus.publisher::<MarketEvent>("market-data").expect("a publisher");
        (0..3).for_each(|_| _ = publisher.publish(&AddOrder::default()).expect("room"));
        publisher.close().expect("room");
        let shared = Shared::new(bus);
        shared.stop.request();
        Self { shared, _dir: dir }
    }

    /// Some answer, or `None` for a refusal.
    fn ask(&self, request: &[u8]) -> Option<Answer> {
        let address = SocketAddr::from(([127, 0, 0, 1], 9092));
        let told = Told::new(&self.shared.departed, address.ip());
        let mut session = Session { shared: &self.shared, address, cursors: Cursors::new(told) };
        answer(Bytes::copy_from_slice(request), &mut session)
    }
}

#[test]
fn every_shown_version_is_answered() {
    let asked = Asked::new();
    for (api, version) in shown() {
        let Some(Answer::Send(answer)) = asked.ask(&valid(api, version)) else { panic!("{api:?} {version}") };
        assert_eq!(answer[4..8], [1, 2, 3, 4], "the correlation id comes back");
    }
}

#[test]
fn a_request_cut_short_is_refused() {
    let asked = Asked::new();
    for (api, version) in shown() {
        let request = valid(api, version);
        for length in 0..request.len() {
            assert!(
                asked.ask(&request[..length]).is_none(),
                "{api:?} {version}: {length} bytes of {}",
                request.len()
            );
        }
    }
}

#[test]
fn counts_that_lie_are_refused() {
    let asked = Asked::new();
    for (api, version) in
        shown().filter(|(api, _)| *api != ApiKey::ApiVersions && *api != ApiKey::FindCoordinator)
    {
        let valid = valid(api, version);
        let lies = (12..valid.len().saturating_sub(4)).filter(|at| {
            let mut lie = valid.clone();
            lie[*at..at + 4].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff]);
            asked.ask(&lie).is_none()
        });
        assert!(lies.count() > 0, "{api:?} {version}: some four bytes are a count");
    }
}

fn mutation() -> impl Strategy<Value = (Index, Index, Vec<(Index, u8)>, bool)> {
    (
        any::<Index>(),
        any::<Index>(),
        proptest::collection::vec((any::<Index>(), edge_byte()), 0..6),
        any::<bool>(),
    )
}

/// Bytes that lengths and counts are made of.
fn edge_byte() -> impl Strategy<Value = u8> {
    prop_oneof![Just(0), Just(1), Just(0x7f), Just(0x80), Just(0xff), any::<u8>()]
}

#[test]
fn spoiled_requests_do_no_harm() {
    let asked = Asked::new();
    let all: Vec<(ApiKey, i16)> = shown().collect();
    proptest!(ProptestConfig::with_cases(2_000), |((which, cut, changes, is_cut) in mutation())| {
        let (api, version) = *which.get(&all);
        let mut request = valid(api, version);
        for (at, byte) in changes {
            let at = at.index(request.len());
            request[at] = byte;
        }
        if is_cut {
            request.truncate(cut.index(request.len() + 1));
        }
        let _ = asked.ask(&request);
    });
}

#[test]
fn random_bodies_do_no_harm() {
    let asked = Asked::new();
    let all: Vec<(ApiKey, i16)> = shown().collect();
    let body = proptest::collection::vec(edge_byte(), 0..80);
    proptest!(ProptestConfig::with_cases(2_000), |(which in any::<Index>(), body in body)| {
        let (api, version) = *which.get(&all);
        let head = [(api as i16).to_be_bytes(), version.to_be_bytes(), [0, 0], [0, 1], [255, 255]].concat();
        let flexible: &[u8] = if api.request_header_version(version) > 1 { &[0] } else { &[] };
        let _ = asked.ask(&[&head, flexible, &body].concat());
        let _ = asked.ask(&body);
    });
}
