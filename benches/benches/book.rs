//! What a message costs the engine's books: a mix of 500 symbols, and one deep book.
//!
//! Both are seeded. The mix has the proportions of an equities day (adds 46.5 %, deletes 38.9, replaces 4.9,
//! executions 4.9, reductions 4.9) over 600,000 resting orders, three in four changes among the newest 10,000; the deep
//! book has some 900 levels a side, three in four prices near the touch.

use std::time::{Duration, Instant};

use bus::event::market::{
    AddOrder, DeleteOrder, ExecuteOrder, MarketEventRef, ReduceOrder, ReplaceOrder, Session,
};
use bus::event::{Code, Price, Quantity, Side, Symbol, Text};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use engine::State;

#[path = "../src/random.rs"]
mod random;

use random::Random;

enum Message {
    Add(AddOrder),
    Delete(DeleteOrder),
    Replace(ReplaceOrder),
    Execute(ExecuteOrder),
    Reduce(ReduceOrder),
}

impl Message {
    fn message(&self) -> MarketEventRef<'_> {
        match self {
            Self::Add(event) => MarketEventRef::AddOrder(event),
            Self::Delete(event) => MarketEventRef::DeleteOrder(event),
            Self::Replace(event) => MarketEventRef::ReplaceOrder(event),
            Self::Execute(event) => MarketEventRef::ExecuteOrder(event),
            Self::Reduce(event) => MarketEventRef::ReduceOrder(event),
        }
    }
}

struct Live {
    order: u64,
    symbol: u64,
    side: Side,
    quantity: i64,
}

/// A flow of messages that a real venue could send.
struct Flow {
    random: Random,
    symbols: u64,
    /// Price steps from the touch: far for one add in four, near otherwise.
    far: u64,
    near: u64,
    next_order: u64,
    live: Vec<Live>,
    messages: Vec<Message>,
}

const STEP: i64 = 10_000_000;

impl Flow {
    fn new(symbols: u64, near: u64, far: u64) -> Self {
        let random = Random(0x5EED);
        Self { random, symbols, far, near, next_order: 1, live: Vec::new(), messages: Vec::new() }
    }

    fn price(&mut self, symbol: u64, side: Side) -> Price {
        let distance = if self.random.below(4) == 0 {
            self.random.below(self.far)
        } else {
            self.random.distance(self.near)
        };
        let middle = 1_000 + 10 * symbol as i64;
        Price((middle - side.sign() * (1 + distance as i64)) * STEP)
    }

    fn add(&mut self) {
        let symbol = self.random.below(self.symbols);
        // Deep books lean to one side.
        let side = if self.random.below(8) < 5 { Side::BUY } else { Side::SELL };
        let quantity = 100 * (1 + self.random.below(5) as i64);
        let order = self.next_order;
        self.next_order += 1 + self.random.below(3);
        self.live.push(Live { order, symbol, side, quantity });
        let (instrument, price, quantity) = (name(symbol), self.price(symbol, side), Quantity(quantity));
        self.messages.push(Message::Add(AddOrder {
            instrument,
            order,
            side,
            price,
            quantity,
            ..AddOrder::default()
        }));
    }

    fn delete(&mut self, place: usize) {
        let Live { order, symbol, .. } = self.live.swap_remove(place);
        self.messages.push(Message::Delete(DeleteOrder {
            instrument: name(symbol),
            order,
            ..DeleteOrder::default()
        }));
    }

    fn replace(&mut self, place: usize) {
        let new_order = self.next_order;
        self.next_order += 1;
        let (symbol, side) = (self.live[place].symbol, self.live[place].side);
        let price = self.price(symbol, side);
        let live = &mut self.live[place];
        let order = std::mem::replace(&mut live.order, new_order);
        let quantity = Quantity(live.quantity);
        let instrument = name(symbol);
        self.messages.push(Message::Replace(ReplaceOrder {
            instrument,
            order,
            new_order,
            price,
            quantity,
            ..ReplaceOrder::default()
        }));
    }

    /// An order to change: three in four are among the newest, as most orders are short-lived.
    fn place(&mut self) -> usize {
        let live = self.live.len() as u64;
        let among = if self.random.below(4) == 0 { live } else { live.min(10_000) };
        (live - 1 - self.random.below(among)) as usize
    }

    /// Takes a part, or the whole where it is small.
    fn take(&mut self, place: usize, is_execution: bool) {
        let live = &mut self.live[place];
        let quantity = Quantity(live.quantity.min(100));
        let (order, instrument) = (live.order, name(live.symbol));
        live.quantity -= quantity.0;
        if live.quantity == 0 {
            self.live.swap_remove(place);
        }
        self.messages.push(if is_execution {
            Message::Execute(ExecuteOrder { instrument, order, quantity, ..ExecuteOrder::default() })
        } else {
            Message::Reduce(ReduceOrder { instrument, order, quantity, ..ReduceOrder::default() })
        });
    }

    /// Rests `orders`, then makes `messages`; returns both apart.
    fn make(mut self, orders: usize, messages: usize) -> (Vec<Message>, Vec<Message>) {
        for _ in 0..orders {
            self.add();
        }
        let resting = std::mem::take(&mut self.messages);
        while self.messages.len() < messages {
            let place = self.place();
            match self.random.below(1_000) {
                0..465 => self.add(),
                465..854 => self.delete(place),
                854..903 => self.replace(place),
                903..952 => self.take(place, true),
                _ => self.take(place, false),
            }
        }
        (resting, self.messages)
    }
}

fn name(symbol: u64) -> Symbol {
    Text::new(&format!("S{symbol:03}")).unwrap_or_default()
}

fn apply(state: &mut State, messages: &[Message]) {
    for message in messages {
        state.apply_market(message.message());
    }
}

fn bench(criterion: &mut Criterion, figure: &str, (resting, messages): (Vec<Message>, Vec<Message>)) {
    let mut full = State::new();
    full.apply_market(MarketEventRef::Session(&Session { state: Code(b'S'), ..Session::default() }));
    apply(&mut full, &resting);
    let mut group = criterion.benchmark_group("book");
    group.throughput(Throughput::Elements(messages.len() as u64)).sample_size(10);
    group.bench_function(figure, |bencher| {
        bencher.iter_custom(|rounds| {
            let mut spent = Duration::ZERO;
            for _ in 0..rounds {
                let mut state = full.clone();
                let start = Instant::now();
                apply(&mut state, &messages);
                spent += start.elapsed();
                assert_eq!(state.oddities().met().count(), 0, "the flow is valid");
            }
            spent
        });
    });
    group.finish();
}

fn books(criterion: &mut Criterion) {
    bench(criterion, "mix of 500 symbols", Flow::new(500, 8, 120).make(600_000, 2_000_000));
    bench(criterion, "one deep book", Flow::new(1, 12, 950).make(10_000, 1_000_000));
}

criterion_group!(book, books);
criterion_main!(book);
