//! At a lost end, and at a lost beginning behind what was retired, consumers are told once and then led past it.

use crate::client::{Client, Served, decode, publish_orders};
use crate::faults::{SEGMENT, is_refused, places, published, small_segments};
use archive::Lost;
use bus::Bus;
use bus::event::market::MarketEvent;
use bus::program::Size;
use kafka_protocol::ResponseError;
use std::{fs, path::Path};

const COUNT: i64 = 30_000;

type Fault = fn(&Path);

/// Ways in which a segment loses all its messages. The last one a publisher refuses to go on from.
const FAULTS: [Fault; 4] = [
    |path| fs::remove_file(path).unwrap(),
    |path| fs::File::options().write(true).open(path).unwrap().set_len(0).unwrap(),
    |path| {
        let mut bytes = fs::read(path).unwrap();
        bytes[40] ^= 1;
        fs::write(path, bytes).unwrap();
    },
    |path| {
        fs::remove_file(path).unwrap();
        fs::create_dir(path).unwrap();
    },
];

/// A topic of `COUNT` messages that lost its newest segment, and the first offset that is lost.
fn without_end(fault: Fault) -> (Served, i64) {
    let served = published(u64::try_from(COUNT).unwrap());
    let newest = (0..).find(|number| places(&served, number + 1).is_empty()).unwrap();
    let first = places(&served, newest)[0].0;
    fault(&served.directory().join(format!("market-data/0/{newest:016x}.segment")));
    (served, first)
}

/// Reads as clients do until the high watermark, asking again after each error: the offsets of what came, and where it was
/// refused.
fn read_to_end(client: &mut Client, topic: &str, begin: i64) -> (Vec<i64>, Vec<i64>) {
    let (mut next, mut offsets, mut refused) = (begin, Vec::new(), Vec::new());
    loop {
        let partition = client.fetch(11, topic, next, 1 << 20);
        assert_eq!((partition.high_watermark, partition.last_stable_offset), (COUNT, COUNT), "at {next}");
        if partition.error_code != 0 {
            assert_eq!(partition.error_code, ResponseError::CorruptMessage.code(), "at {next}");
            assert!(refused.last() != Some(&next), "told twice at {next}");
            refused.push(next);
            continue;
        }
        offsets.extend(decode(&partition).iter().map(|record| record.offset));
        let Some(behind) = next_offset(partition.records.as_deref().unwrap_or_default()) else {
            assert_eq!(next, COUNT, "stuck");
            return (offsets, refused);
        };
        assert!(behind > next, "led back from {next} to {behind}");
        next = behind;
    }
}

/// The offset behind the last batch, where clients go on.
fn next_offset(mut batches: &[u8]) -> Option<i64> {
    let mut next = None;
    while let Some(base) = batches.first_chunk() {
        let length = i32::from_be_bytes(*batches[8..].first_chunk().unwrap());
        let last_delta = i32::from_be_bytes(*batches[23..].first_chunk().unwrap());
        next = Some(i64::from_be_bytes(*base) + i64::from(last_delta) + 1);
        batches = &batches[12 + usize::try_from(length).unwrap()..];
    }
    next
}

#[test]
fn consumers_are_told_of_a_lost_end_and_then_wait_behind_it() {
    for (number, fault) in FAULTS.into_iter().enumerate() {
        let (served, first) = without_end(fault);
        let mut client = served.client();
        for topic in ["market-data", "market-data.json"] {
            assert_eq!(client.list_offset(5, topic, -1), (COUNT, -1, 0));
            for begin in [0, first - 1, first, first + 1, COUNT - 1, COUNT] {
                let (offsets, refused) = read_to_end(&mut served.client(), topic, begin);
                assert!(offsets.into_iter().eq(begin.min(first)..first), "from {begin}");
                let lost = Some(begin.max(first)).filter(|lost| *lost < COUNT);
                assert_eq!(refused, Vec::from_iter(lost), "from {begin}");
            }
        }
        assert_eq!(served.server.lost(), [Lost { topic: "market-data".into(), from: first, to: COUNT }]);
        if number == 3 {
            continue;
        }
        let mut publisher = served.market();
        publish_orders(&mut publisher, 1, 1);
        let next = decode(&client.fetch(11, "market-data", COUNT, 1 << 20));
        assert_eq!(next[0].offset, COUNT, "and goes on with what is new");
        publisher.close().unwrap();
    }
}

#[test]
fn an_end_that_is_lost_ends_no_epoch() {
    let served = published(u64::try_from(COUNT).unwrap());
    let mut publisher = served.market();
    publish_orders(&mut publisher, 1, 10);
    let epoch = i32::try_from(publisher.epoch()).unwrap();
    publisher.close().unwrap();
    let newest = (0..).find(|number| places(&served, number + 1).is_empty()).unwrap();
    let mut client = served.client();
    assert_eq!(client.end_of_epoch(2, epoch - 1), (epoch - 1, COUNT));
    // Its own last messages cannot be read any more, but the next epoch says where it began.
    fs::remove_file(served.directory().join(format!("market-data/0/{:016x}.segment", newest - 1))).unwrap();
    assert_eq!(client.end_of_epoch(2, epoch - 1), (epoch - 1, COUNT));
    // Nothing of the next epoch can be read any more: what is lost was durable, and no client may step back before it.
    fs::remove_file(served.directory().join(format!("market-data/0/{newest:016x}.segment"))).unwrap();
    assert_eq!(client.end_of_epoch(2, epoch - 1), (epoch - 1, COUNT + 10));
    assert_eq!(client.end_of_epoch(2, epoch), (epoch, COUNT + 10));
}

#[test]
fn a_consumer_that_ended_at_the_error_and_begins_there_again_is_led_past_it_once() {
    for fault in FAULTS {
        let (served, first) = without_end(fault);
        let mut told = served.client();
        assert!(is_refused(&mut told, first));
        told.leave();
        for _ in 0..2 {
            let mut other = served.client();
            let refused = read_to_end(&mut other, "market-data", 0).1;
            assert_eq!(refused, [first], "one of the same name, which comes there by reading");
            other.leave();
        }
        let mut back = served.client();
        assert_eq!(read_to_end(&mut back, "market-data", first).1, [0_i64; 0], "it knows");
        back.leave();
        assert_eq!(
            read_to_end(&mut served.client(), "market-data", first).1,
            [first],
            "another one does not"
        );
    }
}

#[test]
fn a_lost_beginning_behind_what_was_retired_is_an_error_and_not_retention() {
    for (number, fault) in FAULTS.into_iter().enumerate() {
        let served = small_segments(Some(Size(8 * SEGMENT)));
        let mut publisher = served.market();
        publish_orders(&mut publisher, 1, 120_000);
        publisher.close().unwrap();
        let floor = (1..).find(|number| !places(&served, *number).is_empty()).unwrap();
        let (begins, first) = (places(&served, floor)[0].0, places(&served, floor + 1)[0].0);
        assert!(begins > 0);
        fault(&served.directory().join(format!("market-data/0/{floor:016x}.segment")));
        for is_published in [false, number != 3] {
            // With room enough: it would else retire more at once.
            let roomy = || Bus::open(served.directory()).unwrap().publisher::<MarketEvent>("market-data");
            let publisher = is_published.then(|| roomy().unwrap());
            let mut client = served.client();
            // Of what was in the segment only the last message is known.
            assert_eq!(client.list_offset(5, "market-data", -2), (first - 1, -1, 0), "{is_published}");
            let retired = client.fetch(11, "market-data", begins, 1);
            let told = (retired.error_code, retired.log_start_offset);
            assert_eq!(told, (ResponseError::OffsetOutOfRange.code(), first - 1));
            assert!(is_refused(&mut client, first - 1), "{is_published}");
            assert_eq!(decode(&client.fetch(11, "market-data", first - 1, 1))[0].offset, first);
            if let Some(publisher) = publisher {
                publisher.close().unwrap();
            }
        }
        let lost = Lost { topic: "market-data".into(), from: first - 1, to: first };
        assert_eq!(served.server.lost(), [lost]);
    }
}
