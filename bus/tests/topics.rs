//! Given a bus, these publishers and subscribers, expect that.
#![allow(missing_docs)]

use std::{fs, thread};

use bus::{
    Bus, BusError, Gate, PublishError, Publisher, ReadError, SCHEMA_GONE, Start,
    event::{Cause, Event, Price, Quantity, Symbol},
};

#[derive(Event, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
struct Quote {
    instrument: Symbol,
    bid: Price,
    ask: Price,
    size: Quantity,
}

#[derive(Event, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[event(kind = 2)]
#[repr(C)]
struct Halt {
    instrument: Symbol,
}

#[derive(Event)]
enum Feed {
    Quote(Quote),
    Halt(Halt),
}

#[derive(Event, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
struct Effect {
    cause: Cause,
    value: i64,
}

fn quote(n: i64) -> Quote {
    Quote { bid: Price(n), ask: Price(n + 1), size: Quantity(n * 2), ..Quote::default() }
}

fn ground() -> (tempfile::TempDir, Bus) {
    let directory = tempfile::tempdir().unwrap();
    let bus = Bus::open(directory.path().join("bus")).unwrap();
    (directory, bus)
}

#[test]
fn three_lines_publish_and_three_subscribe() {
    let (_ground, bus) = ground();
    let mut quotes = bus.publisher::<Quote>("quotes").unwrap();
    for n in 0..1_000 {
        assert_eq!(quotes.publish(&quote(n)), Ok(n as u64));
    }
    quotes.close().unwrap();
    let bus = Bus::open(bus.directory()).unwrap();
    let mut quotes = bus.subscriber::<Quote>("quotes", Start::Oldest, Gate::Durable).unwrap();
    let mut seen = 0;
    while let Some(event) = quotes.wait().unwrap() {
        assert_eq!(event, &quote(seen));
        seen += 1;
    }
    assert_eq!(seen, 1_000);
}

#[test]
fn claims_and_batches_of_several_kinds() {
    let (_ground, bus) = ground();
    let mut feed = bus.publisher::<Feed>("feed").unwrap();
    let mut claim = feed.claim::<Quote>().unwrap();
    *claim = quote(7);
    assert_eq!(claim.commit(), 0);
    feed.claim::<Halt>().unwrap().abort();
    let mut batch = feed.batch();
    batch.push(&Halt::default()).unwrap();
    batch.push(&quote(8)).unwrap();
    assert_eq!(batch.commit(), 1);
    let mut subscriber = bus.subscriber::<Feed>("feed", Start::Oldest, Gate::Published).unwrap();
    assert!(matches!(subscriber.wait(), Ok(Some(FeedRef::Quote(q))) if *q == quote(7)));
    assert!(matches!(subscriber.wait(), Ok(Some(FeedRef::Halt(_)))));
    let delivery = subscriber.poll_delivery().unwrap().unwrap();
    assert_eq!((delivery.sequence, delivery.epoch), (2, 1));
    assert!(matches!(subscriber.poll(), Ok(None)));
}

#[test]
fn a_subscriber_waits_in_another_thread_and_ends_with_its_publisher() {
    let (_ground, bus) = ground();
    let mut quotes = bus.publisher::<Quote>("quotes").unwrap();
    let mut subscriber = bus.subscriber::<Quote>("quotes", Start::Oldest, Gate::Published).unwrap();
    let reading = std::thread::spawn(move || {
        let mut seen = 0;
        while let Some(event) = subscriber.wait().unwrap() {
            assert_eq!(event, &quote(seen));
            seen += 1;
        }
        seen
    });
    for n in 0..200_000 {
        quotes.publish(&quote(n)).unwrap();
    }
    drop(quotes);
    assert_eq!(reading.join().unwrap(), 200_000);
}

#[test]
fn a_second_publisher_and_other_schemas_are_refused() {
    let (_ground, bus) = ground();
    let quotes = bus.publisher::<Quote>("quotes").unwrap();
    let refused = bus.publisher::<Quote>("quotes").unwrap_err().to_string();
    assert!(refused.contains(&std::process::id().to_string()), "{refused}");
    let other = bus.subscriber::<Halt>("quotes", Start::Oldest, Gate::Published);
    assert!(matches!(other, Err(BusError::Schema { .. })), "{other:?}");
    drop(quotes);
    let refused = bus.publisher::<Halt>("quotes");
    assert!(matches!(refused, Err(BusError::Schema { .. })), "{refused:?}");
    assert_eq!(bus.watermarks("quotes").unwrap().epoch, 1, "who is refused begins no epoch");
    let missing = bus.subscriber::<Quote>("nothing", Start::Oldest, Gate::Published);
    assert!(missing.unwrap_err().is_missing());
    for name in ["", "..", ".hidden", "a/b", "ä"] {
        assert!(matches!(bus.publisher::<Quote>(name), Err(BusError::Name { .. })), "{name}");
    }
}

/// It would hide the view of the topic `quotes` from Kafka consumers.
#[test]
fn a_topic_cannot_have_the_name_of_a_view() {
    let (_ground, bus) = ground();
    let _quotes = bus.publisher::<Quote>("quotes").unwrap();
    let refused = bus.publisher::<Quote>("quotes.json").unwrap_err();
    assert!(matches!(refused, BusError::ViewName { .. }), "{refused}");
    assert_eq!(
        refused.to_string(),
        "not a topic name: 'quotes.json'; Kafka consumers read the JSON view of 'quotes' by that name: give one that does \
         not end with '.json'"
    );
    // Waiting for it would be in vain.
    let refused = bus.subscriber::<Quote>("quotes.json", Start::Oldest, Gate::Published).unwrap_err();
    assert!(matches!(refused, BusError::ViewName { .. }) && !refused.is_missing(), "{refused}");
    let refused = bus.derived_publisher::<Effect>("effects.json", &["quotes"]).unwrap_err();
    assert!(matches!(refused, BusError::ViewName { .. }), "{refused}");
    assert_eq!(bus.topics().unwrap(), ["quotes"]);
    for name in ["json", "quotes.json.raw", "quotes.JSON"] {
        assert!(bus.publisher::<Quote>(name).is_ok(), "{name}");
    }
}

#[test]
fn an_effect_is_durable_only_after_its_cause() {
    let (_ground, bus) = ground();
    let mut causes = bus.publisher::<Quote>("causes").unwrap();
    let mut effects = bus.derived_publisher::<Effect>("effects", &["causes"]).unwrap();
    causes.publish(&quote(0)).unwrap();
    let cause = |sequence| Cause { sequence, epoch: 1, input: 0, index: 0 };
    effects.publish(&Effect { cause: cause(0), value: 1 }).unwrap();
    effects.publish(&Effect { cause: cause(1), value: 2 }).unwrap();
    while effects.durable() < 1 {
        std::thread::yield_now();
    }
    assert_eq!(effects.durable(), 1, "the second effect's cause does not exist yet");
    causes.publish(&quote(1)).unwrap();
    effects.flush().unwrap();
    assert_eq!((effects.durable(), causes.durable()), (2, 2));
}

#[test]
fn watermarks_and_topics_are_told_and_survive_the_end() {
    let (_ground, bus) = ground();
    assert_eq!(bus.topics().unwrap(), [""; 0]);
    let mut quotes = bus.publisher::<Quote>("quotes").unwrap();
    for n in 0..10 {
        quotes.publish(&quote(n)).unwrap();
    }
    quotes.flush().unwrap();
    for _ in 0..2 {
        let marks = bus.watermarks("quotes").unwrap();
        assert_eq!((marks.first, marks.published, marks.durable, marks.epoch), (0, 10, 10, 1));
        if let Ok(mut again) = bus.publisher::<Quote>("later") {
            again.publish(&quote(0)).unwrap();
        }
    }
    drop(quotes);
    let marks = bus.watermarks("quotes").unwrap();
    assert_eq!((marks.published, marks.durable), (10, 10));
    assert_eq!(bus.topics().unwrap(), ["later", "quotes"]);
}

#[test]
fn publishers_move_between_threads() {
    fn is_send<T: Send>() {}
    is_send::<Publisher<Quote>>();
    is_send::<ReadError>();
}

#[test]
fn given_a_disk_that_fails_at_the_end_expect_close_to_say_so_and_the_next_publisher_to_complete_it() {
    let (directory, bus) = ground();
    let mut quotes = bus.publisher::<Quote>("quotes").unwrap();
    quotes.publish(&quote(0)).unwrap();
    let segments = || {
        let files =
            fs::read_dir(directory.path().join("bus/quotes/0")).unwrap().flatten().map(|file| file.path());
        let mut files: Vec<_> =
            files.filter(|file| file.extension().is_some_and(|it| it == "segment")).collect();
        files.sort();
        files
    };
    while segments().len() < 5 {
        thread::yield_now();
    }
    // One that is ready ahead: it cannot be taken back, and no message needs it.
    fs::remove_file(&segments()[4]).unwrap();
    assert_eq!(quotes.close(), Err(PublishError::NotEnded));

    let mut reader = bus.reader("quotes", Start::Oldest, Gate::Durable).unwrap();
    assert!(!reader.is_closed(), "nobody can know that it ends there");
    bus.publisher::<Quote>("quotes").unwrap().close().unwrap();
    assert!(reader.poll().unwrap().is_some() && reader.is_closed());
}

#[test]
fn a_lost_schema_is_told_by_the_publisher_that_writes_it_anew() {
    let (_ground, bus) = ground();
    let schema = bus.directory().join("quotes/schema.json");
    let publish = |count: i64| {
        let bus = Bus::open(bus.directory()).unwrap();
        let mut quotes = bus.publisher::<Quote>("quotes").unwrap();
        (0..count).for_each(|n| assert!(quotes.publish(&quote(n)).is_ok()));
        quotes.close().unwrap();
        bus.lost_schemas()
    };
    // A topic that was made, or was begun and never written to, has lost nothing.
    assert_eq!(publish(0), Vec::<String>::new());
    std::fs::remove_file(&schema).unwrap();
    assert_eq!(publish(3), Vec::<String>::new());
    assert_eq!(publish(0), Vec::<String>::new());
    let written = std::fs::read(&schema).unwrap();
    std::fs::remove_file(&schema).unwrap();
    let refused = bus.subscriber::<Quote>("quotes", Start::Oldest, Gate::Published).unwrap_err();
    let told = format!("topic 'quotes': {}: {SCHEMA_GONE}", bus.directory().display());
    assert_eq!((refused.to_string(), refused.is_missing()), (told, false), "waiting for it mends nothing");
    assert_eq!(publish(1), ["quotes"]);
    assert_eq!(std::fs::read(&schema).unwrap(), written);
    assert_eq!(publish(0), Vec::<String>::new(), "it is there again");
}
