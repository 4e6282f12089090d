//! Publishes quotes until Ctrl-C, for `quotes_subscribe` in another process to read:
//!
//!     cargo run -p bus --example quotes_publish [DIRECTORY]

use std::{process::ExitCode, time::Duration};

use bus::{
    Bus,
    event::{Event, Price, Quantity, Symbol},
    program::{self, Failure, Stop},
};

#[derive(Event, Clone, Copy, Debug)]
#[repr(C)]
struct Quote {
    instrument: Symbol,
    bid: Price,
    ask: Price,
    size: Quantity,
}

fn main() -> ExitCode {
    program::attempt("quotes_publish", publish)
}

fn publish() -> Result<(), Failure> {
    let directory = std::env::args().nth(1).unwrap_or("busbar-data".into());
    let stop = Stop::on_signals();

    let bus = Bus::open(directory)?;
    let mut quotes = bus.publisher::<Quote>("quotes")?;
    while !stop.sleep(Duration::from_millis(200)) {
        let quote = next_quote(quotes.next_sequence());
        let sequence = quotes.publish(&quote)?;

        println!("{sequence}: {} bids {}, asks {}", quote.instrument, quote.bid, quote.ask);
    }
    Ok(()) // dropping the publisher makes all durable and closes the topic
}

/// A price that wanders up and down by a cent.
fn next_quote(number: u64) -> Quote {
    let cents = 10_000 + (number % 20).abs_diff(10) as i64;
    let price = |cents| Price(cents * Price::SCALE / 100);
    Quote {
        instrument: Symbol::new("ACME").expect("at most eight letters"),
        bid: price(cents),
        ask: price(cents + 2),
        size: Quantity(100),
    }
}
