//! Audits journals: what a bus holds is proven, printed and derived anew, from the journals alone.
//!
//! ```text
//! verify    every topic read to its end: damage, open gaps, effects without cause, one hash of the contents
//! dump      one topic, message by message, as JSON
//! state     books and positions, from the inputs of `risk` in the order that it recorded
//! blotter   what compliance keeps: orders, fills, corrections, alerts, limits, gaps, once they are durable
//! ```
//!
//! Nothing here writes to a bus. All of it works on a copied or read-only directory, without shared memory and before
//! any writer has recovered: what is read then is what recovery would keep.

mod aside;
pub mod blotter;
mod cause;
pub mod dump;
mod feed;
mod findings;
mod gaps;
mod late_mark;
mod not_there;
mod show;
pub mod snapshots;
pub mod state;
pub mod verify;

pub use cause::{MissingCauses, Orphans};
pub use feed::{Damage, DamageKind};
pub use findings::Findings;
pub use gaps::OpenGap;
pub use not_there::{NotThere, WhyNot};
pub use show::Show;

/// The topic of what markets say.
pub const MARKET_DATA: &str = "market-data";
/// The topic of what happened to our orders.
pub const TRADES: &str = "trades";
/// The topic of what the risk engine concludes; derived from [`MARKET_DATA`] and [`TRADES`], in this order.
pub const RISK: &str = "risk";
