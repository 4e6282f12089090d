//! What reading costs: messages that are there already, where they lie in shared memory, at both gates.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bus::event::Event;
use bus::{Bus, Gate, Start, Subscriber};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// An event of 64 bytes.
#[derive(Event, Clone, Copy, Debug)]
#[repr(C)]
struct Number {
    number: u64,
    payload: [u8; 56],
}

/// Events read in one go, fewer than one segment holds.
const EVENTS: u64 = 5_000;

/// Time that reading all of them takes.
fn read(mut subscriber: Subscriber<Number>) -> Duration {
    let start = Instant::now();
    for _ in 0..EVENTS {
        let event = subscriber.poll().expect("nothing is damaged");
        black_box(event.expect("all are at the gate").number);
    }
    start.elapsed()
}

fn poll(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().expect("a scratch directory");
    let bus = Bus::open(directory.path()).expect("a bus");
    let mut publisher = bus.publisher::<Number>("numbers").expect("the only publisher");
    for number in 0..EVENTS {
        publisher.publish(&Number { number, payload: [7; 56] }).expect("there is room");
    }
    publisher.flush().expect("the disk takes it");
    let mut group = criterion.benchmark_group("poll 64 bytes");
    group.throughput(Throughput::Elements(EVENTS)).sample_size(10);
    group.warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(500));
    for (name, gate) in [("published", Gate::Published), ("durable", Gate::Durable)] {
        let open = || bus.subscriber("numbers", Start::Oldest, gate).expect("the topic is there");
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|rounds| (0..rounds).map(|_| read(open())).sum());
        });
    }
    group.finish();
}

criterion_group!(benches, poll);
criterion_main!(benches);
