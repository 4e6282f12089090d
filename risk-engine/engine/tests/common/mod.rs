//! Events for tests, and any sequence of them.

#![allow(dead_code)]

use bus::event::market::*;
use bus::event::risk::{EngineConfigured, FeeSet, LimitSet};
use bus::event::trade::{Fill, FillBust, FillCorrection, TradeEventRef, Withheld};
use bus::event::{Cause, Code, Price, Quantity, Side, Symbol, Text};
use engine::{Effect, Effects, State};
use proptest::prelude::*;

/// A market event with its body.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Market {
    Session(Session),
    Instrument(Instrument),
    Status(TradingStatus),
    Add(AddOrder),
    Execute(ExecuteOrder),
    ExecuteAt(ExecuteOrderAtPrice),
    Reduce(ReduceOrder),
    Delete(DeleteOrder),
    Replace(ReplaceOrder),
    Trade(Trade),
    Cross(CrossTrade),
    Gap(Gap),
}

impl Market {
    pub(crate) fn message(&self) -> MarketEventRef<'_> {
        match self {
            Self::Session(event) => MarketEventRef::Session(event),
            Self::Instrument(event) => MarketEventRef::Instrument(event),
            Self::Status(event) => MarketEventRef::TradingStatus(event),
            Self::Add(event) => MarketEventRef::AddOrder(event),
            Self::Execute(event) => MarketEventRef::ExecuteOrder(event),
            Self::ExecuteAt(event) => MarketEventRef::ExecuteOrderAtPrice(event),
            Self::Reduce(event) => MarketEventRef::ReduceOrder(event),
            Self::Delete(event) => MarketEventRef::DeleteOrder(event),
            Self::Replace(event) => MarketEventRef::ReplaceOrder(event),
            Self::Trade(event) => MarketEventRef::Trade(event),
            Self::Cross(event) => MarketEventRef::CrossTrade(event),
            Self::Gap(event) => MarketEventRef::Gap(event),
        }
    }
}

/// A trade event with its body.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Trades {
    Fill(Fill),
    Correction(FillCorrection),
    Bust(FillBust),
    Withheld(Withheld),
}

impl Trades {
    pub(crate) fn message(&self) -> TradeEventRef<'_> {
        match self {
            Self::Fill(event) => TradeEventRef::Fill(event),
            Self::Correction(event) => TradeEventRef::FillCorrection(event),
            Self::Bust(event) => TradeEventRef::FillBust(event),
            Self::Withheld(event) => TradeEventRef::Withheld(event),
        }
    }
}

pub(crate) fn symbol(name: &str) -> Symbol {
    Text::new(name).expect("a symbol has at most 8 bytes")
}

pub(crate) fn text<const N: usize>(name: &str) -> Text<N> {
    Text::new(name).expect("the text fits its field")
}

/// Units of money from a decimal number of them.
pub(crate) fn units(whole: i64) -> Price {
    Price(whole * Price::SCALE)
}

pub(crate) fn session(state: u8) -> Market {
    Market::Session(Session {
        session: text("TEST"),
        date: 20_260_102,
        state: Code(state),
        ..Session::default()
    })
}

pub(crate) fn gap(state: u8, first: u64, count: u64) -> Market {
    Market::Gap(Gap {
        venue_sequence: first,
        count,
        state: Code(state),
        cause: text("network"),
        ..Gap::default()
    })
}

pub(crate) fn add(order: u64, name: &str, side: Side, price: i64, quantity: i64) -> Market {
    let (price, quantity) = (units(price), Quantity(quantity));
    Market::Add(AddOrder { instrument: symbol(name), order, side, price, quantity, ..AddOrder::default() })
}

pub(crate) fn execute(order: u64, quantity: i64) -> Market {
    Market::Execute(ExecuteOrder { order, quantity: Quantity(quantity), ..ExecuteOrder::default() })
}

pub(crate) fn execute_at(order: u64, quantity: i64, price: i64, printable: u8) -> Market {
    let (price, quantity, printable) = (units(price), Quantity(quantity), Code(printable));
    Market::ExecuteAt(ExecuteOrderAtPrice {
        order,
        quantity,
        price,
        printable,
        ..ExecuteOrderAtPrice::default()
    })
}

pub(crate) fn reduce(order: u64, quantity: i64) -> Market {
    Market::Reduce(ReduceOrder { order, quantity: Quantity(quantity), ..ReduceOrder::default() })
}

pub(crate) fn delete(order: u64) -> Market {
    Market::Delete(DeleteOrder { order, ..DeleteOrder::default() })
}

pub(crate) fn replace(order: u64, new_order: u64, price: i64, quantity: i64) -> Market {
    let (price, quantity) = (units(price), Quantity(quantity));
    Market::Replace(ReplaceOrder { order, new_order, price, quantity, ..ReplaceOrder::default() })
}

pub(crate) fn hidden(name: &str, price: i64, quantity: i64) -> Market {
    let (price, quantity) = (units(price), Quantity(quantity));
    Market::Trade(Trade { instrument: symbol(name), price, quantity, side: Side::BUY, ..Trade::default() })
}

pub(crate) fn cross(name: &str, price: i64, quantity: i64) -> Market {
    let (price, quantity) = (units(price), Quantity(quantity));
    Market::Cross(CrossTrade {
        instrument: symbol(name),
        price,
        quantity,
        cross: Code(b'O'),
        ..CrossTrade::default()
    })
}

pub(crate) fn fill(account: &str, name: &str, id: u64, quantity: i64, price: Price) -> Trades {
    Trades::Fill(Fill {
        account: text(account),
        instrument: symbol(name),
        execution: text(&format!("X{id}")),
        side: if quantity < 0 { Side::SELL } else { Side::BUY },
        quantity: Quantity(quantity.saturating_abs()),
        price,
        ..Fill::default()
    })
}

pub(crate) fn bust(account: &str, name: &str, reference: u64) -> Trades {
    Trades::Bust(FillBust {
        account: text(account),
        instrument: symbol(name),
        execution: text("B"),
        reference: text(&format!("X{reference}")),
        ..FillBust::default()
    })
}

pub(crate) fn correction(
    account: &str,
    name: &str,
    reference: u64,
    id: u64,
    quantity: i64,
    price: Price,
) -> Trades {
    let Trades::Fill(terms) = fill(account, name, id, quantity, price) else {
        unreachable!("a fill was made")
    };
    Trades::Correction(FillCorrection {
        account: terms.account,
        instrument: terms.instrument,
        execution: terms.execution,
        side: terms.side,
        quantity: terms.quantity,
        price,
        reference: text(&format!("X{reference}")),
        ..FillCorrection::default()
    })
}

pub(crate) fn withheld(account: &str, name: &str, id: u64) -> Trades {
    let execution = text(&format!("X{id}"));
    Trades::Withheld(Withheld {
        account: text(account),
        instrument: symbol(name),
        execution,
        ..Withheld::default()
    })
}

/// Replaces the configuration; what follows from it.
pub(crate) fn configure(state: &mut State, limits: &[LimitSet], fees: &[FeeSet]) -> Vec<Effect> {
    use bus::event::risk::RiskEventRef;
    let hash = engine::contents_hash(limits, fees);
    state.apply_config(RiskEventRef::EngineConfigured(&EngineConfigured {
        hash,
        ..EngineConfigured::default()
    }));
    limits.iter().for_each(|limit| state.apply_config(RiskEventRef::LimitSet(limit)));
    fees.iter().for_each(|fee| state.apply_config(RiskEventRef::FeeSet(fee)));
    state.settle()
}

pub(crate) fn limit(account: &str, name: &str, value: i64) -> LimitSet {
    LimitSet {
        account: text(account),
        instrument: symbol(name),
        limit: text("position"),
        value: Quantity(value),
        ..LimitSet::default()
    }
}

pub(crate) fn fee(account: &str, name: &str, per_unit: i64, of_notional: i64) -> FeeSet {
    let (account, instrument) = (text(account), symbol(name));
    let (per_unit, of_notional) = (Price(per_unit), Price(of_notional));
    FeeSet { account, instrument, per_unit, of_notional, ..FeeSet::default() }
}

pub(crate) fn apply(state: &mut State, event: &Trades, sequence: u64) -> Vec<Effect> {
    let mut effects = Effects::new();
    let cause = Cause { sequence, epoch: 3, input: 1, index: 0 };
    state.apply_trade(event.message(), cause, &mut effects);
    effects.iter().copied().collect()
}

pub(crate) fn run(events: &[Market]) -> State {
    let mut state = State::new();
    for event in events {
        state.apply_market(event.message());
    }
    state
}

pub(crate) const SYMBOLS: [&str; 3] = ["AAPL", "ESH4", "Z"];

fn side() -> impl Strategy<Value = Side> {
    prop_oneof![8 => Just(Side::BUY), 8 => Just(Side::SELL), 1 => Just(Side(b'?'))]
}

fn quantity() -> impl Strategy<Value = i64> {
    prop_oneof![12 => 1i64..30, 1 => -2i64..1, 1 => Just(i64::MAX)]
}

/// A message about orders `1..=orders`, of which many are unknown, live already, or nonsense.
pub(crate) fn order_message(orders: u64) -> impl Strategy<Value = Market> {
    let name = proptest::sample::select(&SYMBOLS[..]);
    let price = || prop_oneof![20 => 90i64..110, 1 => -5i64..5];
    prop_oneof![
        12 => (1..=orders, name.clone(), side(), price(), quantity()).prop_map(|(o, n, s, p, q)| add(o, n, s, p, q)),
        4 => (1..=orders).prop_map(delete),
        3 => (1..=orders, quantity()).prop_map(|(o, q)| execute(o, q)),
        2 => (1..=orders, quantity(), price(), proptest::sample::select(&b"YN"[..]))
            .prop_map(|(o, q, p, y)| execute_at(o, q, p, y)),
        2 => (1..=orders, quantity()).prop_map(|(o, q)| reduce(o, q)),
        4 => (1..=orders, 1..=orders, price(), quantity()).prop_map(|(o, n, p, q)| replace(o, n, p, q)),
        1 => (name.clone(), price(), quantity()).prop_map(|(n, p, q)| hidden(n, p, q)),
        1 => (name, price(), quantity()).prop_map(|(n, p, q)| cross(n, p, q)),
    ]
}

/// Any market message.
pub(crate) fn market_message() -> impl Strategy<Value = Market> {
    prop_oneof![
        40 => order_message(60),
        1 => Just(session(b'S')),
        1 => Just(session(b'E')),
        2 => (proptest::sample::select(&b"OC"[..]), 0u64..20, 0u64..6).prop_map(|(s, f, c)| gap(s, f, c)),
        1 => proptest::sample::select(&SYMBOLS[..]).prop_map(|name| {
            Market::Instrument(Instrument { instrument: symbol(name), locate: 7, ..Instrument::default() })
        }),
        1 => proptest::sample::select(&SYMBOLS[..]).prop_map(|name| {
            Market::Status(TradingStatus { instrument: symbol(name), state: Code(b'H'), ..TradingStatus::default() })
        }),
    ]
}

/// Any message about our fills.
pub(crate) fn trade_message() -> impl Strategy<Value = Trades> {
    let account = proptest::sample::select(&["ALPHA", "BETA"][..]);
    let name = proptest::sample::select(&SYMBOLS[..]);
    let price = prop_oneof![20 => -1_000i64..100_000_000_000, 1 => any::<i64>()].prop_map(Price);
    let quantity = prop_oneof![20 => -50i64..50, 1 => any::<i64>()];
    (account, name, 0u64..400, 0u64..40, quantity, price, 0..10).prop_map(
        |(account, name, id, reference, quantity, price, kind)| match kind {
            0 => bust(account, name, reference),
            1 => correction(account, name, reference, id, quantity, price),
            2 => withheld(account, name, id),
            _ => fill(account, name, id, quantity, price),
        },
    )
}
