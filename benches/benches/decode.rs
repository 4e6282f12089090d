//! What a message costs before the books: ITCH in place, and ITCH to events.

#[path = "../src/random.rs"]
mod random;

#[path = "../src/flow.rs"]
#[expect(dead_code, reason = "files and their sizes are the program's")]
mod flow;

use std::convert::Infallible;
use std::hint::black_box;
use std::time::Duration;

use bus::event::market::{MarketEvent, Session};
use bus::event::{PartOf, Time};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use flow::{Flow, Framed};
use market_gateway::itch::Message;
use market_gateway::normalise::Itch;
use market_gateway::{Normalise, Output, Raw};

/// Takes events and keeps none.
struct Sink;

impl Output<MarketEvent> for Sink {
    type Error = Infallible;

    #[inline]
    fn publish<E: PartOf<MarketEvent>>(&mut self, event: &E) -> Result<(), Infallible> {
        black_box(event);
        Ok(())
    }
}

fn in_place(messages: &Framed) {
    for message in messages.blocks() {
        black_box(Message::decode(message).expect("ITCH").head().timestamp.get());
    }
}

fn normalise(itch: &mut Itch, messages: &Framed) {
    for (sequence, bytes) in (1..).zip(messages.blocks()) {
        let Ok(()) = itch.message(Raw { sequence, receive_time: Time(0), bytes }, &mut Sink);
    }
}

fn decode(criterion: &mut Criterion) {
    let (opening, messages) = Flow::new().day(10_000, 100_000);
    let mut itch = Itch::new();
    itch.begin(&Session::default());
    normalise(&mut itch, &opening);
    let mut group = criterion.benchmark_group("ITCH mix of 500 symbols");
    group.throughput(Throughput::Elements(messages.count() as u64)).sample_size(10);
    group.warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(500));
    group.bench_function("decode", |bencher| bencher.iter(|| in_place(&messages)));
    group.bench_function("decode and normalise", |bencher| bencher.iter(|| normalise(&mut itch, &messages)));
    group.finish();
}

criterion_group!(benches, decode);
criterion_main!(benches);
