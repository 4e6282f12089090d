//! Given publishers and subscribers in processes of their own, expect that.
#![allow(missing_docs)]

mod common;

use bus::{Bus, Gate, Start};
use common::{Process, Quote, ground, orders, quote};

/// The other processes: each does what its orders say.
#[test]
fn process() {
    let Some((bus, orders)) = orders() else { return };
    match &*orders.iter().map(String::as_str).collect::<Vec<_>>() {
        ["publish"] => publish(&bus),
        ["publish-until", last] => publish_until(&bus, last.parse().unwrap()),
        ["subscribe", gate] => {
            subscribe(&bus, if *gate == "durable" { Gate::Durable } else { Gate::Published })
        }
        other => panic!("{other:?}"),
    }
}

/// Publishes until it is killed, and says now and then how far it is.
fn publish(bus: &Bus) {
    let mut quotes = bus.publisher::<Quote>("quotes").unwrap();
    println!("begin {}", quotes.next_sequence());
    loop {
        let next = quotes.next_sequence();
        assert_eq!(quotes.publish(&quote(next)), Ok(next));
        if next.is_multiple_of(5_000) {
            println!("published {next}");
        }
    }
}

/// Publishes up to a sequence and ends well.
fn publish_until(bus: &Bus, last: u64) {
    let mut quotes = bus.publisher::<Quote>("quotes").unwrap();
    while quotes.next_sequence() < last {
        quotes.publish(&quote(quotes.next_sequence())).unwrap();
    }
    println!("ends {}", quotes.next_sequence());
}

/// Reads to the clean end, checking that each message comes once and in order.
fn subscribe(bus: &Bus, gate: Gate) {
    let mut quotes = bus.subscriber::<Quote>("quotes", Start::Oldest, gate).unwrap();
    println!("reading 0");
    let mut seen = 0;
    while let Some(event) = quotes.wait().unwrap() {
        assert_eq!(event, &quote(seen));
        seen += 1;
    }
    println!("seen {seen}");
}

#[test]
fn a_publisher_is_killed_and_started_again_and_subscribers_see_every_message_once() {
    let (_directory, bus) = ground();
    let mut publisher = Process::start("process", &bus, "publish");
    publisher.told("begin");
    let mut subscribers =
        ["published", "durable"].map(|gate| Process::start("process", &bus, &format!("subscribe {gate}")));
    subscribers.iter_mut().for_each(|subscriber| assert_eq!(subscriber.told("reading"), 0));
    let mut published = 0;
    for _life in 0..3 {
        while published < publisher.told("published") {
            published += 20_000;
        }
        let at_least = publisher.told("published");
        publisher.kill();
        publisher = Process::start("process", &bus, "publish");
        let begin = publisher.told("begin");
        assert!(begin > at_least, "{at_least} were published, the next life begins at {begin}");
    }
    let at_least = publisher.told("published");
    publisher.kill();
    let last = at_least + 200_000;
    let mut publisher = Process::start("process", &bus, &format!("publish-until {last}"));
    let ends = publisher.told("ends");
    for mut subscriber in subscribers {
        assert_eq!(subscriber.told("seen"), ends);
        assert!(subscriber.end().success());
    }
    assert!(publisher.end().success());
}

#[test]
fn a_killed_subscriber_leaves_nothing_that_holds_up_others() {
    let (_directory, bus) = ground();
    let mut publisher = Process::start("process", &bus, "publish");
    publisher.told("published");
    let mut subscriber = Process::start("process", &bus, "subscribe published");
    let number = subscriber.id();
    subscriber.told("reading");
    let seen = || Bus::open(&bus).unwrap().survey("quotes").unwrap().readers;
    while !seen().iter().any(|reader| reader.process == number && reader.sequence > 0) {
        std::thread::yield_now();
    }
    subscriber.kill();
    while !seen().is_empty() {
        std::thread::yield_now();
    }
    publisher.kill();
    let mut publisher = Process::start("process", &bus, "publish-until 1");
    publisher.told("ends");
    assert!(publisher.end().success());
    let instance = journal::instance::Instance::of(&bus).unwrap();
    assert!(!instance.directory().exists(), "a clean end leaves no memory");
}
