//! Reads what `quotes_publish` publishes, from its beginning until it ends:
//!
//!     cargo run -p bus --example quotes_subscribe [DIRECTORY]

use std::process::ExitCode;

use bus::{
    Bus, Gate, Start,
    event::{Event, Price, Quantity, Symbol},
    program::{self, Failure},
};

/// The publisher's message type. A difference between the two is refused.
#[derive(Event, Clone, Copy, Debug)]
#[repr(C)]
struct Quote {
    instrument: Symbol,
    bid: Price,
    ask: Price,
    size: Quantity,
}

fn main() -> ExitCode {
    program::attempt("quotes_subscribe", subscribe)
}

fn subscribe() -> Result<(), Failure> {
    let directory = std::env::args().nth(1).unwrap_or("busbar-data".into());

    let mut quotes = Bus::open(directory)?.subscriber::<Quote>("quotes", Start::Oldest, Gate::Published)?;
    while let Some(quote) = quotes.wait()? {
        println!("{}: {} at {} / {}", quote.instrument, quote.size.0, quote.bid, quote.ask);
    }
    Ok(())
}
