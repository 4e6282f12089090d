//! What retention has removed and what the disk has spoiled is said, never skipped.

use crate::client::{Served, decode, publish_orders, serve_with};
use bus::config::{BusConfig, TopicConfig, WhenFull};
use bus::program::Size;
use kafka_protocol::ResponseError;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

const SEGMENT: u64 = 1 << 20;

fn small_segments(retention: Option<Size>) -> Served {
    let topic = TopicConfig { retention, when_full: Some(WhenFull::Expire) };
    serve_with(BusConfig {
        segment: Some(Size(SEGMENT)),
        topics: [("market-data".to_owned(), topic)].into(),
        ..BusConfig::default()
    })
}

#[test]
fn what_has_retired_is_out_of_range() {
    let served = small_segments(Some(Size(4 * SEGMENT)));
    let mut client = served.client();
    let mut publisher = served.market();
    let mut published = 0;
    let mut start = 0;
    // The place of this connection is at the oldest message when that goes.
    while start == 0 && published < 400_000 {
        publish_orders(&mut publisher, published, 5_000);
        published += 5_000;
        start = client.fetch(11, "market-data", 0, 1).log_start_offset;
    }
    assert!(start > 0, "{published} messages and nothing expired");
    // The fetch that met the new start may still have had its place in a segment that was just retiring.
    let partition = client.fetch(11, "market-data", 0, 1);
    assert_eq!(partition.error_code, ResponseError::OffsetOutOfRange.code());
    let start = partition.log_start_offset;
    publisher.close().unwrap();
    let first = decode(&client.fetch(11, "market-data", start, 1 << 20));
    assert_eq!(first[0].offset, start);
    // Event times equal offsets here: a time before the start is found at the start.
    assert_eq!(client.list_offset(5, "market-data", -2), (start, -1, 0));
    assert_eq!(client.list_offset(5, "market-data", start + 100), (start + 100, start + 100, 0));
    assert_eq!(client.list_offset(5, "market-data", 1), (start, start, 0));
}

/// Spoils a byte in the middle of a segment on disk.
fn spoil(served: &Served, segment: u64) {
    let path: PathBuf = served.directory().join(format!("market-data/0/{segment:016x}.segment"));
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, SEGMENT / 2).unwrap();
    file.write_all_at(&[!byte[0]], SEGMENT / 2).unwrap();
}

#[test]
fn damage_is_an_error_at_its_offset_and_nowhere_else() {
    let served = small_segments(None);
    let mut publisher = served.market();
    // Time 0 would mean "not known".
    publish_orders(&mut publisher, 1, 30_000);
    publisher.close().unwrap();
    spoil(&served, 1);
    let mut client = served.client();
    let mut next = 0;
    let corrupt = ResponseError::CorruptMessage.code();
    let mut damaged = Vec::new();
    while next < 30_000 {
        let partition = client.fetch(11, "market-data", next, 1 << 20);
        if partition.error_code == corrupt {
            damaged.push(next);
            next += 1;
            continue;
        }
        for record in decode(&partition) {
            assert_eq!(record.offset, next, "nothing is skipped");
            next += 1;
        }
    }
    assert!(!damaged.is_empty(), "the spoiled byte went unnoticed");
    assert!(damaged.windows(2).all(|pair| pair[0] + 1 == pair[1]), "one range: {damaged:?}");
    // Times are found on both sides of it.
    assert_eq!(client.list_offset(5, "market-data", 29_001).0, 29_000);
    assert_eq!(client.list_offset(5, "market-data", damaged[0] + 1).0, damaged[damaged.len() - 1] + 1);
}
