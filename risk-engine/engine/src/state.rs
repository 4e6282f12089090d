//! The whole state, and how events change it.

use bus::event::market::MarketEventRef;
use bus::event::risk::RiskEventRef;
use bus::event::trade::TradeEventRef;
use bus::event::{Cause, Symbol, Text};

use crate::effect::{Effect, Effects};
use crate::hash::{Canonical, Cut};
use crate::ledger::Ledger;
use crate::market::Market;
use crate::oddity::Oddities;
use crate::session::Identity;
use crate::view::{BookView, PositionView};

/// Books of the venue session and positions of our accounts.
///
/// It changes by events only; equal events in equal order give an equal state. The market depends on `market-data`
/// alone, positions on `trades` and the configuration alone, so their merge order does not reach the state hash. It
/// decides what an alert or a valuation saw.
#[derive(Clone)]
pub struct State {
    pub(crate) market: Market,
    pub(crate) ledger: Ledger,
}

impl State {
    /// No session, no positions, no configuration.
    pub fn new() -> Self {
        Self { market: Market::new(), ledger: Ledger::new() }
    }

    /// Applies a message of `market-data`.
    #[inline]
    pub fn apply_market(&mut self, event: MarketEventRef<'_>) {
        self.market.apply(event);
    }

    /// Applies a message of `trades` and fills `effects` with what it leads to. `cause` says where the message
    /// stands; its index is set here.
    pub fn apply_trade(&mut self, event: TradeEventRef<'_>, cause: Cause, effects: &mut Effects) {
        self.ledger.apply(event, cause, effects);
    }

    /// Applies a configuration event of `risk`; its other kinds are conclusions and change nothing. After the last event of
    /// a configuration, [`Self::settle`] says what follows from it.
    pub fn apply_config(&mut self, event: RiskEventRef<'_>) {
        let Ledger { settings, oddities, .. } = &mut self.ledger;
        match event {
            RiskEventRef::EngineConfigured(configured) => settings.configure(configured),
            RiskEventRef::LimitSet(limit) => settings.set_limit(limit, oddities),
            RiskEventRef::FeeSet(fee) => settings.set_fee(fee, oddities),
            RiskEventRef::MergeRun(_) | RiskEventRef::PositionUpdate(_) | RiskEventRef::LimitAlert(_) => {}
        }
    }

    /// What follows from a configuration once all its events are applied: an alert for each position that is beyond its
    /// limit, or within it again, unless the last alert said so under the same limit. By account and instrument, without
    /// a cause in a journal and without time; `cause.index` counts them (up to its end). Empty, and free, where nothing
    /// was configured since.
    pub fn settle(&mut self) -> Vec<Effect> {
        self.ledger.settle()
    }

    /// BLAKE3-256 of what live and replay must agree on after the messages before `cut`.
    pub fn state_hash(&self, cut: Cut) -> [u8; 32] {
        let mut canonical = Canonical::new("busbar state 4");
        canonical.cut(cut);
        canonical.market(&self.market);
        canonical.ledger(&self.ledger);
        canonical.finish()
    }

    /// BLAKE3-256 of what depends on the path as well: which limits were last reported as exceeded.
    pub fn path_hash(&self, cut: Cut) -> [u8; 32] {
        let mut canonical = Canonical::new("busbar path 2");
        canonical.cut(cut);
        canonical.path(&self.ledger);
        canonical.finish()
    }

    /// What was not applied as it stood, counted since the state was created or restored.
    pub fn oddities(&self) -> Oddities {
        let mut oddities = self.market.books.oddities;
        oddities.add(&self.ledger.oddities);
        oddities
    }

    /// The venue session that the books belong to.
    pub fn session(&self) -> Identity {
        self.market.session.identity
    }

    /// Whether messages of the session are missing, so that every book may differ from the venue's.
    pub fn is_stale(&self) -> bool {
        self.market.session.is_stale()
    }

    /// Lost ranges that have not arrived: first venue sequence, and the one after the last; in order.
    pub fn open_gaps(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.market.session.gaps.iter().map(|(&first, &end)| (first, end))
    }

    /// The books by symbol.
    pub fn books(&self) -> impl Iterator<Item = BookView<'_>> {
        self.market.books.sorted().into_iter().map(|book| BookView::new(&self.market, book))
    }

    /// The book of a symbol.
    pub fn book(&self, symbol: Symbol) -> Option<BookView<'_>> {
        self.market.books.find(symbol).map(|book| BookView::new(&self.market, book))
    }

    /// The positions by account and instrument.
    pub fn positions(&self) -> impl Iterator<Item = PositionView> + '_ {
        self.ledger
            .sorted()
            .into_iter()
            .map(|number| PositionView::new(&self.market, self.ledger.position(number)))
    }

    /// Execution reports that the gateway could not keep or withheld as possible repetitions: positions may lack them.
    /// Unlike [`Self::oddities`], part of the state.
    pub fn withheld(&self) -> u64 {
        self.ledger.withheld
    }

    /// Version of the engine and hash of the contents of the configuration in force; blank before the first.
    pub fn configuration(&self) -> (Text<16>, [u8; 32]) {
        (self.ledger.settings.version, self.ledger.settings.hash.0)
    }
}

impl Default for State {
    fn default() -> Self {
        Self::new()
    }
}
