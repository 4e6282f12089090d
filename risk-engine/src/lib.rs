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
mod lost;
mod outbox;
mod runner;
mod snapshots;
mod watch;

pub use config::{Config, Settings};
pub use error::EngineError;
pub use runner::Runner;
pub use watch::{Measures, MeasuresSummary, Outcome, Watch};

pub use replay::{MARKET_DATA, RISK, TRADES};
