//! Market gateways: from a venue's wire to the topics `market-data` and `trades`.

pub mod net;
pub mod simulate;
