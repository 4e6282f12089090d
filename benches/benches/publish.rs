//! What publishing costs: one event, one filled in place, and one of a batch of 100.

use std::time::{Duration, Instant};

use bus::event::Event;
use bus::{Bus, Publisher};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// An event of 64 bytes.
#[derive(Event, Clone, Copy, Debug)]
#[repr(C)]
struct Number {
    number: u64,
    payload: [u8; 56],
}

/// Events between two waits for the disk, whose pace is not what is measured: far fewer than fit prepared segments.
const BURST: u64 = 20_000;
const BATCH: u64 = 100;

fn event(number: u64) -> Number {
    Number { number, payload: [7; 56] }
}

/// Time that `events` take in bursts; the disk catches up in between.
fn bursts(
    publisher: &mut Publisher<Number>,
    events: u64,
    publish: impl Fn(&mut Publisher<Number>, u64),
) -> Duration {
    let (mut spent, mut left) = (Duration::ZERO, events);
    while left > 0 {
        let burst = left.min(BURST);
        let start = Instant::now();
        publish(publisher, burst);
        spent += start.elapsed();
        publisher.flush().expect("the disk takes it");
        left -= burst;
    }
    spent
}

fn one_by_one(publisher: &mut Publisher<Number>, events: u64) {
    for number in 0..events {
        publisher.publish(&event(number)).expect("there is room");
    }
}

fn in_place(publisher: &mut Publisher<Number>, events: u64) {
    for number in 0..events {
        let mut claim = publisher.claim::<Number>().expect("there is room");
        *claim = event(number);
        claim.commit();
    }
}

fn batches(publisher: &mut Publisher<Number>, events: u64) {
    for first in (0..events).step_by(BATCH as usize) {
        let mut batch = publisher.batch();
        for number in first..events.min(first + BATCH) {
            batch.push(&event(number)).expect("there is room");
        }
        batch.commit();
    }
}

fn publish(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().expect("a scratch directory");
    let bus = Bus::open(directory.path()).expect("a bus");
    let mut publisher = bus.publisher::<Number>("numbers").expect("the only publisher");
    let mut group = criterion.benchmark_group("publish 64 bytes");
    group.throughput(Throughput::Elements(1)).sample_size(10);
    group.warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(500));
    let mut figure = |name, publish: fn(&mut Publisher<Number>, u64)| {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|events| bursts(&mut publisher, events, publish));
        });
    };
    figure("publish", one_by_one);
    figure("claim and commit", in_place);
    figure("in batches of 100", batches);
    group.finish();
}

criterion_group!(benches, publish);
criterion_main!(benches);
