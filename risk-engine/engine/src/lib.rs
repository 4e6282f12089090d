//! The pure risk engine.
//!
//! ```text
//! market-data ──▶ session, gaps ──▶ books ──┐
//!                                           ├──▶ views: figures of books, valued positions
//! trades ──▶ fills ──▶ positions ───────────┘
//!                          │                     state hash at a cut, snapshot
//! configuration ───────────┴──▶ effects: position updates, limit alerts
//! ```
//!
//! No clock, no input or output, no floating point, and no order that events do not give. So the same events in the
//! same order give the same [`State`], the same effects and the same hash on any machine, live or in replay.
//!
//! Input is not trusted: what cannot be applied as it stands is counted as an [`Oddity`], sums are checked, and every
//! list has a bound.

mod book;
mod checkpoints;
mod effect;
mod fills;
mod hash;
mod index;
mod ledger;
mod market;
mod merge;
mod oddity;
mod position;
mod ratio;
mod session;
mod settings;
mod snapshot;
mod state;
mod view;

pub use book::{Listing, MAX_INSTRUMENTS, MAX_ORDERS, Quote, Turnover};
pub use effect::{Effect, Effects, MAX_EFFECTS};
pub use fills::{RETAINED_FILLS, RETAINED_FILLS_LIMIT};
pub use hash::Cut;
pub use ledger::MAX_POSITIONS;
pub use merge::{Head, INPUTS, MARKET_DATA, MergeError, MergeRecorder, MergeReplay, TRADES, Turn};
pub use oddity::{Oddities, Oddity};
pub use position::Holding;
pub use session::{Identity, MAX_GAPS};
pub use settings::{MAX_SETTINGS, POSITION_LIMIT, contents_hash};
pub use snapshot::{Frozen, InputPosition, Positions, Restored, SnapshotError};
pub use state::State;
pub use view::{BookView, PositionView};

/// Version of the engine, as [`EngineConfigured`](bus::event::risk::EngineConfigured) journals it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
