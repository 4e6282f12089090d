//! What others see of a running engine: how far it is, and its latencies.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bus::event::market::MarketEventRef;
use bus::event::{Bytes, Time};
use bus::program::{Latencies, LatencySummary};
use engine::{Cut, Oddities};
use serde::Serialize;

/// Latencies of `market-data`, in nanoseconds.
#[derive(Debug, Clone, Default)]
pub struct Measures {
    /// From the receipt of a message to its publication.
    pub receive_to_published: Latencies,
    /// From the receipt of a message to its application by the engine.
    pub receive_to_risk: Latencies,
    /// From publication to durability, of some messages.
    pub published_to_durable: Latencies,
}

/// [`Measures`] as they are printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct MeasuresSummary {
    /// See [`Measures::receive_to_published`].
    pub receive_to_published: LatencySummary,
    /// See [`Measures::receive_to_risk`].
    pub receive_to_risk: LatencySummary,
    /// See [`Measures::published_to_durable`].
    pub published_to_durable: LatencySummary,
}

impl Measures {
    /// Adds all that `other` holds.
    pub fn add(&mut self, other: &Self) {
        self.receive_to_published.add(&other.receive_to_published);
        self.receive_to_risk.add(&other.receive_to_risk);
        self.published_to_durable.add(&other.published_to_durable);
    }

    /// The percentiles.
    pub fn summary(&self) -> MeasuresSummary {
        MeasuresSummary {
            receive_to_published: self.receive_to_published.summary(),
            receive_to_risk: self.receive_to_risk.summary(),
            published_to_durable: self.published_to_durable.summary(),
        }
    }
}

/// How an engine ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Where its inputs stand.
    pub cut: Cut,
    /// Hash of the state at the cut.
    pub state_hash: Bytes<32>,
    /// What was not applied as it stood.
    pub oddities: Oddities,
    /// What it concluded and could not journal, or could not conclude, each with what to do.
    pub incomplete: Vec<String>,
}

/// Shared between an engine and whoever watches it.
#[derive(Debug, Default)]
pub struct Watch {
    market_data: AtomicU64,
    trades: AtomicU64,
    is_live: AtomicBool,
    is_stuck: AtomicBool,
    /// What was measured since it was last taken, and whether there is something to take.
    measured: Mutex<(Box<Measures>, bool)>,
    outcome: Mutex<Option<Outcome>>,
}

impl Watch {
    // ORDERING: all Relaxed: each number stands for itself and orders nothing.

    /// Where the inputs of the engine stand.
    pub fn cut(&self) -> Cut {
        Cut {
            market_data: self.market_data.load(Ordering::Relaxed),
            trades: self.trades.load(Ordering::Relaxed),
        }
    }

    /// Whether the engine has caught up with its own journal and takes what is new.
    pub fn is_live(&self) -> bool {
        self.is_live.load(Ordering::Relaxed)
    }

    /// Whether an input lacks a message from which the journal already follows, and does not get it.
    pub fn is_stuck(&self) -> bool {
        self.is_stuck.load(Ordering::Relaxed)
    }

    /// Whether it has applied everything before `cut`.
    pub fn has_reached(&self, cut: Cut) -> bool {
        let here = self.cut();
        self.is_live() && here.market_data >= cut.market_data && here.trades >= cut.trades
    }

    /// Adds what was measured since the last call to `total`; false if there is nothing new.
    pub fn take_measures(&self, total: &mut Measures) -> bool {
        let mut measured = self.measured();
        let is_new = std::mem::take(&mut measured.1);
        if is_new {
            total.add(&std::mem::take(&mut measured.0));
        }
        is_new
    }

    /// How the engine ended, once it has.
    pub fn outcome(&self) -> Option<Outcome> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_cut(&self, cut: Cut) {
        self.market_data.store(cut.market_data, Ordering::Relaxed);
        self.trades.store(cut.trades, Ordering::Relaxed);
    }

    pub(crate) fn set_live(&self, is_live: bool) {
        self.is_live.store(is_live, Ordering::Relaxed);
    }

    pub(crate) fn set_stuck(&self, is_stuck: bool) {
        self.is_stuck.store(is_stuck, Ordering::Relaxed);
    }

    pub(crate) fn set_outcome(&self, outcome: Outcome) {
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
    }

    /// Gives measures away and gets empty ones back, unless the last ones were not taken yet or somebody is at it.
    pub(crate) fn offer_measures(&self, measures: &mut Box<Measures>) {
        if let Ok(mut measured) = self.measured.try_lock()
            && !measured.1
        {
            std::mem::swap(&mut measured.0, measures);
            measured.1 = true;
        }
    }

    /// Gives the last measures away.
    pub(crate) fn leave_measures(&self, measures: &Measures) {
        let mut measured = self.measured();
        measured.0.add(measures);
        measured.1 = true;
    }

    fn measured(&self) -> MutexGuard<'_, (Box<Measures>, bool)> {
        self.measured.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When a message of `market-data` was received.
pub(crate) fn receive_time(event: MarketEventRef<'_>) -> Time {
    match event {
        MarketEventRef::Session(event) => event.receive_time,
        MarketEventRef::Instrument(event) => event.receive_time,
        MarketEventRef::SystemEvent(event) => event.receive_time,
        MarketEventRef::TradingStatus(event) => event.receive_time,
        MarketEventRef::AddOrder(event) => event.receive_time,
        MarketEventRef::ExecuteOrder(event) => event.receive_time,
        MarketEventRef::ExecuteOrderAtPrice(event) => event.receive_time,
        MarketEventRef::ReduceOrder(event) => event.receive_time,
        MarketEventRef::DeleteOrder(event) => event.receive_time,
        MarketEventRef::ReplaceOrder(event) => event.receive_time,
        MarketEventRef::Trade(event) => event.receive_time,
        MarketEventRef::CrossTrade(event) => event.receive_time,
        MarketEventRef::BrokenTrade(event) => event.receive_time,
        MarketEventRef::Gap(event) => event.receive_time,
        MarketEventRef::VenueMessage(event) => event.receive_time,
    }
}
