//! The engine's configuration: limits and fees.

use bus::config::{BusConfig, FeeConfig, LimitConfig, RiskConfig};
use bus::event::risk::{EngineConfigured, FeeSet, LimitSet};
use bus::event::{Bytes, Cause, Quantity, Symbol, Text};
use bus::program::Failure;
use market_gateway::live::GatewayConfig;
use serde::Deserialize;
use std::collections::BTreeMap;

/// A configuration file as the engine reads it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Topics, of which this program publishes `risk`; memory, cores.
    pub bus: BusConfig,
    /// Limits, fees, snapshots.
    pub risk: RiskConfig,
    /// For the gateway, and only has to be right.
    pub gateway: GatewayConfig,
}

/// Limits and fees as they are journalled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// Limits.
    pub limits: Vec<LimitSet>,
    /// Fees.
    pub fees: Vec<FeeSet>,
}

/// No message caused a configuration.
const NO_CAUSE: Cause = Cause { sequence: 0, epoch: 0, input: Cause::NONE, index: 0 };

impl Settings {
    /// The settings that a configuration means; `None` where it gives none.
    ///
    /// # Errors
    /// A limit below 0, two entries for one account and instrument: neither passes where a file is read.
    pub fn new(config: &RiskConfig) -> Result<Option<Self>, Failure> {
        let RiskConfig { limits, fees, .. } = config;
        if limits.is_none() && fees.is_none() {
            return Ok(None);
        }
        let limits = limits.iter().flatten().map(limit).collect::<Result<Vec<_>, _>>()?;
        let fees = Vec::from_iter(fees.iter().flatten().map(fee));
        each_once("risk.limits", limits.iter().map(|limit| (limit.account, limit.instrument)))?;
        each_once("risk.fees", fees.iter().map(|fee| (fee.account, fee.instrument)))?;
        Ok(Some(Self { limits, fees }))
    }

    /// The event that begins their batch.
    pub fn configured(&self) -> EngineConfigured {
        EngineConfigured { cause: NO_CAUSE, version: version(), hash: self.hash() }
    }

    fn hash(&self) -> Bytes<32> {
        engine::contents_hash(&self.limits, &self.fees)
    }
}

/// Version of this engine.
fn version() -> Text<16> {
    Text::new(engine::VERSION).unwrap_or_default()
}

fn limit(config: &LimitConfig) -> Result<LimitSet, Failure> {
    if config.position < 0 {
        let place = format_args!("risk.limits: position = {}", config.position);
        return Err(Failure::new("wrong configuration", place, "0 or more is expected"));
    }
    Ok(LimitSet {
        cause: NO_CAUSE,
        account: config.account.unwrap_or_default(),
        instrument: config.instrument.unwrap_or_default(),
        limit: Text::new(engine::POSITION_LIMIT).unwrap_or_default(),
        value: Quantity(config.position),
    })
}

fn fee(config: &FeeConfig) -> FeeSet {
    FeeSet {
        cause: NO_CAUSE,
        account: config.account.unwrap_or_default(),
        instrument: config.instrument.unwrap_or_default(),
        per_unit: config.per_unit,
        of_notional: config.of_notional,
    }
}

/// Refuses a second entry for the same accounts and instruments: which of the two is meant, nobody can tell.
fn each_once(list: &str, scopes: impl Iterator<Item = (Text<16>, Symbol)>) -> Result<(), Failure> {
    let mut first_of = BTreeMap::new();
    for (entry, scope) in (1..).zip(scopes) {
        let Some(first) = first_of.insert(scope, entry) else { continue };
        let (account, instrument) = (shown(&scope.0), shown(&scope.1));
        let place =
            format_args!("{list}: entries {first} and {entry}, account {account}, instrument {instrument}");
        return Err(Failure::new("wrong configuration", place, "leave one of them"));
    }
    Ok(())
}

/// A name in quotes, or `any` where it is blank.
fn shown<const N: usize>(name: &Text<N>) -> String {
    if *name == Text::default() { "any".into() } else { format!("\"{name}\"") }
}
