//! A Kafka client made of the codec alone, and a bus to read with it.

use archive::Server;
use bus::config::BusConfig;
use bus::event::market::{AddOrder, MarketEvent};
use bus::event::{Price, Quantity, Side, Symbol, Time};
use bus::{Bus, BusError, Publisher};
use bytes::{Buf, Bytes};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::{
    ApiKey, FetchRequest, FetchResponse, ListOffsetsRequest, OffsetForLeaderEpochRequest, RequestHeader,
    ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use kafka_protocol::records::{Record, RecordBatchDecoder};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Longer than anything here takes; reaching it fails the test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A bus in a directory of its own, served.
pub(crate) struct Served {
    pub(crate) bus: Bus,
    pub(crate) server: Server,
    dir: TempDir,
}

pub(crate) fn serve() -> Served {
    serve_with(BusConfig::default())
}

pub(crate) fn serve_with(config: BusConfig) -> Served {
    let dir = tempfile::tempdir().unwrap();
    let bus = Bus::with_config(dir.path(), config).unwrap();
    let server = Server::start(bus.clone(), SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    Served { bus, server, dir }
}

impl Served {
    pub(crate) fn client(&self) -> Client {
        Client::connect(self.server.address())
    }

    pub(crate) fn directory(&self) -> &Path {
        self.dir.path()
    }

    /// The publisher of `market-data`; the one before may still be on its way out.
    pub(crate) fn market(&self) -> Publisher<MarketEvent> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.bus.publisher("market-data") {
                Err(BusError::Journal { .. }) if Instant::now() < deadline => thread::yield_now(),
                result => return result.unwrap(),
            }
        }
    }
}

/// An order of `symbol` at a time of the venue in milliseconds.
pub(crate) fn order(symbol: &str, milliseconds: u64) -> AddOrder {
    AddOrder {
        exchange_time: Time(milliseconds * 1_000_000),
        instrument: Symbol::new(symbol).unwrap(),
        order: milliseconds,
        price: Price(1_500_000_000),
        quantity: Quantity(100),
        side: Side::BUY,
        ..AddOrder::default()
    }
}

/// Publishes orders one millisecond apart, from `from` on, and makes them durable.
pub(crate) fn publish_orders(publisher: &mut Publisher<MarketEvent>, from: u64, count: u64) {
    for time in from..from + count {
        publisher.publish(&order("AAPL", time)).unwrap();
    }
    publisher.flush().unwrap();
}

pub(crate) struct Client {
    stream: TcpStream,
    correlation: i32,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream, correlation: 0 }
    }

    /// Sends a request and reads its answer.
    pub(crate) fn call<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        self.send(version, request);
        self.receive::<R>(version)
    }

    pub(crate) fn send<R: Request>(&mut self, version: i16, request: &R) {
        self.correlation += 1;
        self.send_bytes(&frame(R::KEY, version, self.correlation, request));
    }

    pub(crate) fn receive<R: Request>(&mut self, version: i16) -> R::Response {
        let mut answer = self.receive_bytes().expect("an answer");
        let header = ResponseHeader::decode(&mut answer, R::Response::header_version(version)).unwrap();
        assert_eq!(header.correlation_id, self.correlation);
        let response = R::Response::decode(&mut answer, version).unwrap();
        assert_eq!(answer.remaining(), 0, "nothing may follow the answer");
        response
    }

    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// The next answer without its length; `None` if the connection is closed.
    pub(crate) fn receive_bytes(&mut self) -> Option<Bytes> {
        let mut length = [0; 4];
        match self.stream.read_exact(&mut length) {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => {
                return None;
            }
            Err(error) => panic!("{error}"),
        }
        let mut answer = vec![0; i32::from_be_bytes(length).try_into().unwrap()];
        self.stream.read_exact(&mut answer).unwrap();
        Some(answer.into())
    }

    /// One fetch of one topic, without waiting.
    pub(crate) fn fetch(&mut self, version: i16, topic: &str, offset: i64, limit: i32) -> PartitionData {
        one(self.call(version, &fetch_request(topic, offset, limit)))
    }

    /// Offset, timestamp and error for one time.
    pub(crate) fn list_offset(&mut self, version: i16, topic: &str, time: i64) -> (i64, i64, i16) {
        let partition = ListOffsetsPartition::default().with_timestamp(time);
        let topic = ListOffsetsTopic::default().with_name(name(topic)).with_partitions(vec![partition]);
        let answer = self.call(version, &ListOffsetsRequest::default().with_topics(vec![topic]));
        let found = &answer.topics[0].partitions[0];
        (found.offset, found.timestamp, found.error_code)
    }

    /// The epoch that is told for one asked for, and the offset behind its last message.
    pub(crate) fn end_of_epoch(&mut self, version: i16, epoch: i32) -> (i32, i64) {
        let partition = OffsetForLeaderPartition::default().with_leader_epoch(epoch);
        let topic =
            OffsetForLeaderTopic::default().with_topic(name("market-data")).with_partitions(vec![partition]);
        let answer = self.call(version, &OffsetForLeaderEpochRequest::default().with_topics(vec![topic]));
        let found = &answer.topics[0].partitions[0];
        assert_eq!(found.error_code, 0);
        (found.leader_epoch, found.end_offset)
    }

    /// Closes the connection, and waits until the listener has done so too.
    pub(crate) fn leave(mut self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(self.receive_bytes(), None);
    }

    /// All records of a topic, fetched until there are no more.
    pub(crate) fn read_all(&mut self, topic: &str) -> Vec<Record> {
        let mut records = Vec::new();
        let mut next = 0;
        loop {
            let got = decode(&self.fetch(11, topic, next, 1 << 20));
            let Some(last) = got.last() else { return records };
            next = last.offset + 1;
            records.extend(got);
        }
    }
}

/// A request as it goes over the wire, length included.
pub(crate) fn frame<R: Encodable + HeaderVersion>(
    key: i16,
    version: i16,
    correlation: i32,
    request: &R,
) -> Vec<u8> {
    let api = ApiKey::try_from(key).unwrap();
    let header = RequestHeader::default()
        .with_request_api_key(key)
        .with_request_api_version(version)
        .with_correlation_id(correlation)
        .with_client_id(Some(StrBytes::from_static_str("test")));
    let mut bytes = vec![0; 4];
    header.encode(&mut bytes, api.request_header_version(version)).unwrap();
    request.encode(&mut bytes, version).unwrap();
    let length = i32::try_from(bytes.len() - 4).unwrap();
    bytes[..4].copy_from_slice(&length.to_be_bytes());
    bytes
}

pub(crate) fn name(topic: &str) -> TopicName {
    StrBytes::from_string(topic.to_owned()).into()
}

pub(crate) fn fetch_request(topic: &str, offset: i64, limit: i32) -> FetchRequest {
    let partition =
        FetchPartition::default().with_partition(0).with_fetch_offset(offset).with_partition_max_bytes(limit);
    FetchRequest::default()
        .with_min_bytes(1)
        .with_topics(vec![FetchTopic::default().with_topic(name(topic)).with_partitions(vec![partition])])
}

/// The only partition of an answer.
pub(crate) fn one(response: FetchResponse) -> PartitionData {
    assert_eq!(response.error_code, 0);
    assert_eq!(response.session_id, 0, "sessions are declined");
    let [topic] = <[_; 1]>::try_from(response.responses).unwrap();
    let [partition] = <[_; 1]>::try_from(topic.partitions).unwrap();
    partition
}

/// The records of a partition's answer; the codec checks their CRC.
pub(crate) fn decode(partition: &PartitionData) -> Vec<Record> {
    assert_eq!(partition.error_code, 0);
    let mut bytes = partition.records.clone().unwrap_or_default();
    let sets = RecordBatchDecoder::decode_all(&mut bytes).unwrap();
    sets.into_iter().flat_map(|set| set.records).collect()
}

/// A header's value as text.
pub(crate) fn header(record: &Record, name: &'static str) -> String {
    let value = record.headers.get(&StrBytes::from_static_str(name)).cloned().flatten();
    String::from_utf8(value.unwrap().to_vec()).unwrap()
}
