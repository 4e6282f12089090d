//! Market gateways: from a venue's wire to the topics `market-data` and `trades`.

pub mod arbiter;
pub mod fix;
pub mod itch;
pub mod mold;
pub mod net;
pub mod simulate;
