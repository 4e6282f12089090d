//! What a consumer reads: records, their order, their limits.

use crate::client::{decode, fetch_request, header, name, one, order, publish_orders, serve};
use bus::event::market::{MarketEvent, SystemEvent};
use bus::event::{Code, Event, Schema, Time, as_bytes};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::FetchRequest;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};

#[test]
fn every_version_reads_the_same() {
    let served = serve();
    publish_orders(&mut served.market(), 1_000, 20);
    let mut client = served.client();
    for version in 4..=12 {
        let partition = client.fetch(version, "market-data", 3, 1 << 20);
        assert_eq!(partition.high_watermark, 20);
        assert_eq!(partition.last_stable_offset, 20);
        let offsets: Vec<i64> = decode(&partition).iter().map(|record| record.offset).collect();
        assert_eq!(offsets, (3..20).collect::<Vec<_>>(), "version {version}");
    }
    assert_eq!(served.server.counts().requests.fetch, 9);
    assert_eq!(served.server.counts().malformed, 0);
}

#[test]
fn a_record_carries_the_event_and_what_describes_it() {
    let served = serve();
    let mut publisher = served.market();
    let event = order("MSFT", 1_700_000_000_123);
    publisher.publish(&event).unwrap();
    publisher.publish(&SystemEvent { code: Code(b'O'), ..SystemEvent::default() }).unwrap();
    publisher.flush().unwrap();
    let [first, second] = <[_; 2]>::try_from(served.client().read_all("market-data")).unwrap();

    let schema = Schema::of::<MarketEvent>(&[]).unwrap();
    let kind = schema.kind(bus::event::market::AddOrder::KIND).unwrap();
    assert_eq!(first.key.as_deref(), Some(b"MSFT".as_slice()));
    assert_eq!(first.value.as_deref(), Some(as_bytes(&event)));
    assert_eq!(first.timestamp, 1_700_000_000_123);
    assert_eq!(header(&first, "schema"), format!("add_order:{:016x}", kind.hash));
    assert_eq!(header(&first, "sequence"), "0");
    assert_eq!(header(&first, "exchange_time_ns"), "1700000000123000000");
    assert_eq!(header(&first, "epoch"), publisher.epoch().to_string());

    // No instrument, no time of the venue: no key, and the time of publishing stands in.
    assert_eq!(second.key, None);
    assert_eq!(header(&second, "exchange_time_ns"), "0");
    let published: i64 = header(&second, "publish_time_ns").parse().unwrap();
    assert!(published > 0);
    assert_eq!(second.timestamp, published / 1_000_000);
}

#[test]
fn the_json_view_has_the_same_offsets_and_one_object_each() {
    let served = serve();
    publish_orders(&mut served.market(), 5, 3);
    let mut client = served.client();
    let (raw, json) = (client.read_all("market-data"), client.read_all("market-data.json"));
    assert_eq!(raw.len(), 3);
    for (raw, json) in raw.iter().zip(&json) {
        let object: serde_json::Value = serde_json::from_slice(json.value.as_ref().unwrap()).unwrap();
        assert_eq!(object["sequence"], raw.offset);
        assert_eq!(object["type"], "add_order");
        assert_eq!(object["instrument"], "AAPL");
        assert_eq!((json.offset, json.timestamp, &json.key), (raw.offset, raw.timestamp, &raw.key));
        assert_eq!(header(json, "schema"), header(raw, "schema"));
    }
    assert_eq!(json.len(), 3);
}

#[test]
fn limits_are_kept_but_one_record_always_comes() {
    let served = serve();
    publish_orders(&mut served.market(), 1, 50);
    let mut client = served.client();
    let mut next = 0;
    for limit in [0, 1, 700, 5_000, 300] {
        let partition = client.fetch(11, "market-data", next, limit);
        let records = decode(&partition);
        let size = partition.records.as_ref().map_or(0, |records| records.len());
        assert!(records.len() == 1 || size <= limit.try_into().unwrap(), "{size} bytes for {limit}");
        assert_eq!(records[0].offset, next, "each fetch goes on where the last one ended");
        next += i64::try_from(records.len()).unwrap();
    }
    assert_eq!(
        decode(&client.fetch(11, "market-data", next, 1 << 20)).len(),
        50 - usize::try_from(next).unwrap()
    );
}

#[test]
fn one_budget_serves_several_topics() {
    let served = serve();
    publish_orders(&mut served.market(), 1, 10);
    let topic = |topic: &str| {
        let partition = FetchPartition::default().with_partition_max_bytes(1 << 20);
        FetchTopic::default().with_topic(name(topic)).with_partitions(vec![partition])
    };
    let request = FetchRequest::default().with_max_bytes(1).with_topics(vec![
        topic("nothing"),
        topic("market-data"),
        topic("market-data.json"),
    ]);
    let response = served.client().call(12, &request);
    let [unknown, raw, json] = <[_; 3]>::try_from(response.responses).unwrap();
    assert_eq!(unknown.partitions[0].error_code, ResponseError::UnknownTopicOrPartition.code());
    assert_eq!(decode(&raw.partitions[0]).len(), 1);
    assert_eq!(decode(&json.partitions[0]).len(), 0);
}

#[test]
fn offsets_outside_the_journal_are_out_of_range() {
    let served = serve();
    publish_orders(&mut served.market(), 1, 5);
    let mut client = served.client();
    for offset in [-1, 6, i64::MAX, i64::MIN] {
        let partition = client.fetch(11, "market-data", offset, 1 << 20);
        assert_eq!(partition.error_code, ResponseError::OffsetOutOfRange.code(), "{offset}");
        assert_eq!((partition.log_start_offset, partition.high_watermark), (0, 5));
    }
    assert_eq!(decode(&client.fetch(11, "market-data", 5, 1 << 20)).len(), 0);
}

#[test]
fn epochs_are_told_apart_by_batches() {
    let served = serve();
    let mut epochs = Vec::new();
    for life in 0..3 {
        let mut publisher = served.market();
        publish_orders(&mut publisher, life * 10, 4);
        epochs.extend([i32::try_from(publisher.epoch()).unwrap(); 4]);
        publisher.close().unwrap();
    }
    let records = served.client().read_all("market-data");
    assert_eq!(records.iter().map(|record| record.partition_leader_epoch).collect::<Vec<_>>(), epochs);
    assert!(records.iter().zip(0..).all(|(record, offset)| record.offset == offset));
}

#[test]
fn a_fetch_at_the_end_waits_for_what_comes() {
    let served = serve();
    let mut publisher = served.market();
    publish_orders(&mut publisher, 1, 2);
    let mut client = served.client();
    client.send(11, &fetch_request("market-data.json", 2, 1 << 20).with_max_wait_ms(30_000));
    publish_orders(&mut publisher, 3, 1);
    let records = decode(&one(client.receive::<FetchRequest>(11)));
    assert_eq!(records.iter().map(|record| record.offset).collect::<Vec<_>>(), [2]);

    // Without anything new, the wait ends with nothing.
    let nothing = one(client.call(11, &fetch_request("market-data.json", 3, 1 << 20).with_max_wait_ms(20)));
    assert_eq!(decode(&nothing).len(), 0);
}

#[test]
fn a_full_answer_does_not_wait_for_more() {
    let served = serve();
    publish_orders(&mut served.market(), 1, 5);
    let request = fetch_request("market-data", 0, 300).with_min_bytes(i32::MAX).with_max_wait_ms(i32::MAX);
    assert_eq!(decode(&one(served.client().call(11, &request))).len(), 1);
}

#[test]
fn readers_of_one_connection_do_not_disturb_each_other() {
    let served = serve();
    publish_orders(&mut served.market(), 1, 30);
    let mut client = served.client();
    for (topic, offset) in
        [("market-data", 0), ("market-data.json", 7), ("market-data", 20), ("market-data", 3)]
    {
        let records = decode(&client.fetch(11, topic, offset, 1 << 20));
        assert_eq!(records.first().map(|record| record.offset), Some(offset));
        assert_eq!(records.last().map(|record| record.offset), Some(29));
    }
}

#[test]
fn an_event_of_a_users_own_is_served_like_any_other() {
    #[derive(Event, Clone, Copy)]
    #[repr(C)]
    struct Heartbeat {
        exchange_time: Time,
        count: u64,
    }
    let served = serve();
    let mut publisher = served.bus.publisher::<Heartbeat>("pulse").unwrap();
    publisher.publish(&Heartbeat { exchange_time: Time(0), count: 7 }).unwrap();
    publisher.flush().unwrap();
    let [record] = <[_; 1]>::try_from(served.client().read_all("pulse.json")).unwrap();
    let object: serde_json::Value = serde_json::from_slice(record.value.as_ref().unwrap()).unwrap();
    assert_eq!(object["count"], 7);
    assert_eq!(record.key, None);
}
