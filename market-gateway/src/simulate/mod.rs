//! The simulated exchange: a deterministic market on real sockets, with the faults of real ones.

mod book;
pub mod drop_copy;
mod faults;
mod fills;
mod history;
mod line;
mod market;
#[cfg(test)]
mod market_tests;
mod progress;
mod random;
mod schedule;
mod truth;
mod venue;

pub use faults::{Faults, LineCounters};
pub use fills::Fills;
pub use progress::ProgressError;
pub use venue::{Exchange, ExchangeConfig, ExchangeCounters, ExchangeError};

use bus::event::{Price, Quantity, Side, Symbol, Text, Time};
use bus::program::{Rate, Value};

/// Messages a second that an exchange can be asked for: 1 to 100 million, more than any machine takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageRate(pub u64);

impl Value for MessageRate {
    const EXPECTED: &'static str = "a rate from 1 to 100M messages a second";
    fn parse(text: &str) -> Option<Self> {
        Rate::parse(text).filter(|Rate(rate)| (1..=100_000_000).contains(rate)).map(|Rate(rate)| Self(rate))
    }
}

/// One fill of an order of ours, as the exchange reports it on the drop copy. It depends on the seed and on where its
/// session begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Execution {
    /// Number of the fill, counted from 1 over all sessions.
    pub number: u64,
    /// Account that traded (FIX tag 1).
    pub account: Text<16>,
    /// Symbol (55).
    pub instrument: Symbol,
    /// Our side (54).
    pub side: Side,
    /// Price of the fill, a traded price of the market (31).
    pub price: Price,
    /// Quantity of the fill (32); the order is complete with it.
    pub quantity: Quantity,
    /// ExecID (17), unique over all sessions.
    pub execution: Text<32>,
    /// OrderID (37).
    pub order: Text<32>,
    /// ClOrdID (11).
    pub client_order: Text<32>,
    /// Transaction time (60): the time of the market message that carries the trade.
    pub time: Time,
    /// Trade date (75) as the number YYYYMMDD: the date on which the session began.
    pub trade_date: u32,
}
