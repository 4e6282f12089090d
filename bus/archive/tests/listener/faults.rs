//! What retention has removed and what the disk has spoiled is said, never skipped unsaid.

use crate::client::{Client, Served, decode, publish_orders, serve_with};
use archive::Lost;
use bus::config::{BusConfig, TopicConfig, WhenFull};
use bus::program::Size;
use bus::{Gate, Start};
use kafka_protocol::ResponseError;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

pub(crate) const SEGMENT: u64 = 1 << 20;
/// Bytes before the body of a message in a segment.
const FRAME_HEADER: usize = 16;

pub(crate) fn small_segments(retention: Option<Size>) -> Served {
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
    // A live publisher prepares on, and more may go meanwhile.
    publisher.close().unwrap();
    // The fetch that met the new start may still have had its place in a segment that was just retiring.
    let partition = client.fetch(11, "market-data", 0, 1);
    assert_eq!(partition.error_code, ResponseError::OffsetOutOfRange.code());
    let start = partition.log_start_offset;
    let first = decode(&client.fetch(11, "market-data", start, 1 << 20));
    assert_eq!(first[0].offset, start);
    // Event times equal offsets here: a time before the start is found at the start.
    assert_eq!(client.list_offset(5, "market-data", -2), (start, -1, 0));
    assert_eq!(client.list_offset(5, "market-data", start + 100), (start + 100, start + 100, 0));
    assert_eq!(client.list_offset(5, "market-data", 1), (start, start, 0));
}

fn segment(served: &Served, number: u64) -> fs::File {
    let path: PathBuf = served.directory().join(format!("market-data/0/{number:016x}.segment"));
    fs::File::options().read(true).write(true).open(path).unwrap()
}

/// Spoils a byte in the middle of a segment on disk.
fn spoil(served: &Served, number: u64) {
    let file = segment(served, number);
    let mut byte = [0];
    file.read_exact_at(&mut byte, SEGMENT / 2).unwrap();
    file.write_all_at(&[!byte[0]], SEGMENT / 2).unwrap();
}

/// Cuts the file of a segment.
fn shorten(served: &Served, number: u64, length: u64) {
    assert!(segment(served, number).metadata().unwrap().len() > length);
    segment(served, number).set_len(length).unwrap();
}

/// A topic of messages that are one millisecond apart, the first of them at 1: time 0 would mean "not known".
pub(crate) fn published(count: u64) -> Served {
    let served = small_segments(None);
    let mut publisher = served.market();
    publish_orders(&mut publisher, 1, count);
    publisher.close().unwrap();
    served
}

/// Whether a consumer is refused the message at an offset, or else given it.
pub(crate) fn is_refused(client: &mut Client, offset: i64) -> bool {
    let partition = client.fetch(11, "market-data", offset, 1);
    let is_refused = partition.error_code == ResponseError::CorruptMessage.code();
    assert!(is_refused || decode(&partition)[0].offset == offset, "nothing is skipped at {offset}");
    is_refused
}

/// Reads all messages from an offset on up to the first that is refused, and says where that is.
fn read_on(client: &mut Client, mut next: i64, count: i64) -> i64 {
    while next < count && !is_refused(client, next) {
        for record in decode(&client.fetch(11, "market-data", next, 1 << 20)) {
            assert_eq!(record.offset, next, "nothing is skipped");
            next += 1;
        }
    }
    next
}

#[test]
fn damage_is_an_error_at_its_offset_and_nowhere_else() {
    let served = published(30_000);
    spoil(&served, 1);
    let mut client = served.client();
    let first = read_on(&mut client, 0, 30_000);
    let behind = (first + 1..30_000).find(|offset| !is_refused(&mut client, *offset)).unwrap();
    assert!(first < behind, "the spoiled byte went unnoticed");
    assert_eq!(read_on(&mut client, behind, 30_000), 30_000, "one range");
    // Times are found on both sides of it.
    assert_eq!(client.list_offset(5, "market-data", 29_001).0, 29_000);
    assert_eq!(client.list_offset(5, "market-data", first + 1).0, behind);
}

#[test]
fn what_a_shortened_segment_lost_is_an_error_and_what_follows_is_served() {
    for length in [0, 100, 4_096, 5_001, SEGMENT / 2] {
        let served = published(30_000);
        let (first, behind) = (places(&served, 1)[0].0, places(&served, 2)[0].0);
        let kept = places(&served, 1).into_iter().take_while(|(_, end)| *end <= SEGMENT + length).count();
        shorten(&served, 1, length);
        let lost = first + i64::try_from(kept).unwrap();
        let mut client = served.client();
        assert_eq!(read_on(&mut client, 0, 30_000), lost, "{length}");
        for offset in [lost, lost + 1, i64::midpoint(lost, behind), behind - 1] {
            assert!(is_refused(&mut served.client(), offset), "{length}: {offset}");
        }
        assert_eq!(read_on(&mut client, behind, 30_000), 30_000, "{length}");
        assert_eq!(client.list_offset(5, "market-data", lost + 1).0, behind, "{length}");
    }
}

/// Reads a topic to its end as a client that asks again after each error: the offsets, and where it was refused.
fn read_through(client: &mut Client, topic: &str, end: i64) -> (Vec<i64>, Vec<i64>) {
    let (mut next, mut offsets, mut refused) = (0, Vec::new(), Vec::new());
    while next < end {
        let partition = client.fetch(11, topic, next, 1 << 20);
        if partition.error_code == 0 {
            offsets.extend(decode(&partition).iter().map(|record| record.offset));
            next = offsets.last().unwrap() + 1;
        } else {
            assert_eq!(partition.error_code, ResponseError::CorruptMessage.code(), "at {next}");
            assert!(refused.last() != Some(&next), "stuck at {next}");
            refused.push(next);
        }
    }
    (offsets, refused)
}

#[test]
fn a_consumer_that_asks_again_goes_on_behind_what_is_lost_and_the_range_is_noted() {
    let (first, behind) = {
        let whole = published(30_000);
        (places(&whole, 1)[0].0, places(&whole, 2)[0].0)
    };
    let faults: [fn(&std::path::Path); 2] = [|_| (), |path| fs::create_dir(path).unwrap()];
    for fault in faults {
        let served = published(30_000);
        let path = served.directory().join("market-data/0/0000000000000001.segment");
        fs::remove_file(&path).unwrap();
        fault(&path);
        let left: Vec<i64> = (0..first).chain(behind..30_000).collect();
        for topic in ["market-data", "market-data.json"] {
            let (offsets, refused) = read_through(&mut served.client(), topic, 30_000);
            assert!(offsets == left, "{} of {}", offsets.len(), left.len());
            assert_eq!(refused, [first], "said once, where it is");
        }
        let lost = Lost { topic: "market-data".into(), from: first, to: behind };
        assert_eq!(served.server.lost(), [lost]);
        let passed_over = u64::try_from(2 * (behind - first)).unwrap();
        assert_eq!(served.server.counts().passed_over, passed_over, "by two consumers");
        let mut client = served.client();
        assert!(is_refused(&mut client, behind - 1), "each consumer is told");
        let partition = client.fetch(11, "market-data", behind - 1, 1);
        assert_eq!(decode(&partition)[0].offset, behind, "also one that begins in the middle");
    }
}

#[test]
fn what_is_restored_after_it_was_refused_is_given() {
    let served = published(30_000);
    let (first, _) = places(&served, 1)[0];
    let path = served.directory().join("market-data/0/0000000000000001.segment");
    fs::rename(&path, path.with_extension("aside")).unwrap();
    let mut client = served.client();
    assert!(is_refused(&mut client, first), "the fault fired");
    fs::rename(path.with_extension("aside"), &path).unwrap();
    assert_eq!(read_on(&mut client, first, 30_000), 30_000);
    assert_eq!(served.server.counts().passed_over, 0);
}

#[test]
fn a_beginning_that_is_gone_is_an_error_and_not_retention() {
    let served = published(30_000);
    let behind = places(&served, 1)[0].0;
    fs::remove_file(served.directory().join("market-data/0/0000000000000000.segment")).unwrap();
    let mut client = served.client();
    assert_eq!(client.list_offset(5, "market-data", -2), (0, -1, 0), "the log begins where it began");
    for offset in [0, behind / 2, behind - 1] {
        assert!(is_refused(&mut client, offset), "{offset}");
    }
    assert_eq!(read_on(&mut client, behind, 30_000), 30_000);
}

#[test]
fn damage_that_took_no_message_is_no_concern_of_a_consumers() {
    let served = published(30_000);
    let (_, end) = *places(&served, 1).last().unwrap();
    shorten(&served, 1, end - SEGMENT);
    assert_eq!(read_on(&mut served.client(), 0, 30_000), 30_000);
}

/// The offsets of the messages in a segment, with the positions behind them.
pub(crate) fn places(served: &Served, number: u64) -> Vec<(i64, u64)> {
    let mut reader = served.bus.reader("market-data", Start::Oldest, Gate::Durable).unwrap();
    let mut places = Vec::new();
    while let Some(frame) = reader.poll().unwrap() {
        if frame.position / SEGMENT == number {
            let end = frame.position + (FRAME_HEADER + frame.body.len()) as u64;
            places.push((i64::try_from(frame.sequence).unwrap(), end));
        }
    }
    places
}
