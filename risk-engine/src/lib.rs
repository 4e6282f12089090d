//! The risk engine on a bus, and the whole path in one process.
//!
//! ```text
//! market-data ─┐  as published, in the   ┌─ effects, and the order of what was merged ─▶ risk
//!              ├─▶ order they are met ──▶ engine::State
//! trades ──────┘                         └─ each 2^20 messages, once durable ─▶ risk/snapshots
//! ```

mod config;
mod error;
mod follow;
mod inputs;
mod outbox;
mod runner;
mod snapshots;
mod watch;

pub use config::{Config, FeeConfig, LimitConfig, RiskConfig, Settings};
pub use error::EngineError;
pub use runner::Runner;
pub use snapshots::directory as snapshot_directory;
pub use watch::{Measures, MeasuresSummary, Outcome, Watch};

/// The topic of the market.
pub const MARKET_DATA: &str = "market-data";
/// The topic of our own orders.
pub const TRADES: &str = "trades";
/// The topic of what the engine concludes.
pub const RISK: &str = "risk";
