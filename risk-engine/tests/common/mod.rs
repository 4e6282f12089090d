//! A small market, what an engine must conclude from it, and what a journal says that it concluded.

#![allow(dead_code)]

use std::path::PathBuf;

use bus::event::market::{AddOrder, MarketEvent, MarketEventRef};
use bus::event::risk::{LimitAlert, MergeRun, PositionUpdate, RiskEvent, RiskEventRef};
use bus::event::trade::{Fill, TradeEvent, TradeEventRef};
use bus::event::{Cause, Price, Quantity, Side, Text, Time};
use bus::{Bus, Gate, Publisher, Start};
use engine::{Cut, Effect, Effects, State};
use risk_engine::Settings;

/// Messages of `market-data` for one of `trades`.
pub(crate) const MARKET_PER_TRADE: u64 = 20;

pub(crate) struct Ground {
    _directory: tempfile::TempDir,
    pub(crate) bus: Bus,
}

impl Ground {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let bus = Bus::open(directory.path().join("bus")).unwrap();
        Self { _directory: directory, bus }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.bus.directory().to_owned()
    }
}

pub(crate) fn order(n: u64) -> AddOrder {
    AddOrder {
        exchange_time: Time(n),
        receive_time: bus::clock::Clock::new().now(),
        venue_sequence: n + 1,
        instrument: Text::new(["AAPL", "MSFT"][n as usize % 2]).unwrap(),
        order: n,
        price: Price((100 + n as i64 % 7) * Price::SCALE),
        quantity: Quantity(1 + n as i64 % 5),
        side: if n.is_multiple_of(3) { Side::BUY } else { Side::SELL },
        ..AddOrder::default()
    }
}

pub(crate) fn fill(n: u64) -> Fill {
    Fill {
        exchange_time: Time(n),
        instrument: Text::new("AAPL").unwrap(),
        price: Price((100 + n as i64 % 11) * Price::SCALE),
        quantity: Quantity(1 + n as i64 % 9),
        side: if (n / 8).is_multiple_of(2) { Side::BUY } else { Side::SELL },
        account: Text::new(["A", "B"][n as usize % 2]).unwrap(),
        execution: Text::new(&format!("E{n}")).unwrap(),
        ..Fill::default()
    }
}

/// Publishes some messages after those that are there.
pub(crate) fn feed(
    market_data: &mut Publisher<MarketEvent>,
    trades: &mut Publisher<TradeEvent>,
    messages: u64,
) {
    for _ in 0..messages {
        let n = market_data.publish(&order(market_data.next_sequence())).unwrap();
        if n % MARKET_PER_TRADE == MARKET_PER_TRADE - 1 {
            trades.publish(&fill(trades.next_sequence())).unwrap();
        }
    }
}

/// What an engine concludes from so many messages.
pub(crate) fn conclusions(settings: &Settings, cut: Cut) -> (Vec<Effect>, [u8; 32]) {
    let (mut state, mut effects, mut all) = (State::new(), Effects::new(), Vec::new());
    state.apply_config(RiskEventRef::EngineConfigured(&settings.configured()));
    settings.limits.iter().for_each(|limit| state.apply_config(RiskEventRef::LimitSet(limit)));
    settings.fees.iter().for_each(|fee| state.apply_config(RiskEventRef::FeeSet(fee)));
    for n in 0..cut.market_data {
        state.apply_market(MarketEventRef::AddOrder(&order(n)));
    }
    for sequence in 0..cut.trades {
        let cause = Cause { sequence, input: engine::TRADES, ..Cause::default() };
        state.apply_trade(TradeEventRef::Fill(&fill(sequence)), cause, &mut effects);
        all.extend(effects.iter().copied());
    }
    (all, state.state_hash(cut))
}

/// What the topic `risk` holds.
#[derive(Default)]
pub(crate) struct Journalled {
    pub(crate) runs: Vec<MergeRun>,
    pub(crate) effects: Vec<Effect>,
    pub(crate) configurations: usize,
}

impl Journalled {
    pub(crate) fn read(bus: &Bus) -> Self {
        let mut risk = bus.subscriber::<RiskEvent>("risk", Start::Oldest, Gate::Durable).unwrap();
        let mut found = Self::default();
        while let Some(event) = risk.wait().unwrap() {
            match event {
                RiskEventRef::EngineConfigured(_) => found.configurations += 1,
                RiskEventRef::LimitSet(_) | RiskEventRef::FeeSet(_) => {}
                RiskEventRef::MergeRun(run) => found.runs.push(*run),
                RiskEventRef::PositionUpdate(update) => {
                    let cause = Cause { epoch: 0, ..update.cause };
                    found.effects.push(Effect::Position(PositionUpdate { cause, ..*update }));
                }
                RiskEventRef::LimitAlert(alert) => {
                    let cause = Cause { epoch: 0, ..alert.cause };
                    found.effects.push(Effect::Limit(LimitAlert { cause, ..*alert }));
                }
            }
        }
        found
    }

    /// Every message before the cut was merged once and in order.
    pub(crate) fn assert_order_to(&self, cut: Cut) {
        let mut next = [0; 2];
        for run in &self.runs {
            let input = usize::from(run.cause.input);
            assert_eq!(run.first, next[input], "{run:?}");
            assert_eq!(run.cause.sequence + 1, run.first + run.count, "{run:?}");
            next[input] = run.first + run.count;
        }
        assert_eq!(next, [cut.market_data, cut.trades]);
    }
}
