//! The engine's configuration: limits and fees.

use bus::config::{BusConfig, written};
use bus::event::risk::{EngineConfigured, FeeSet, LimitSet};
use bus::event::{Bytes, Cause, Price, Quantity, Symbol, Text};
use bus::program::Failure;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;

/// A configuration file as the engine reads it.
///
/// ```toml
/// [risk]
/// snapshot_every = 1048576    # messages between two snapshots: about what a restart merges again
///
/// [[risk.limits]]
/// account = "PROP1"           # every account if left out
/// instrument = "AAPL"         # every instrument if left out
/// position = 10000            # largest absolute position
///
/// [[risk.fees]]               # the most specific entry applies
/// account = "PROP1"
/// instrument = "AAPL"
/// per_unit = "0.0002"         # for each unit of quantity
/// of_notional = "0.00001"     # part of price × quantity
/// ```
/// `[bus]` is [`BusConfig`], of whose topics this program publishes `risk`; `[gateway]` belongs to the gateway.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Topics, memory, cores.
    pub bus: BusConfig,
    /// Limits, fees, snapshots.
    pub risk: RiskConfig,
    gateway: IgnoredAny,
}

/// The part `[risk]`. Where neither limits nor fees are given, those stay in force that the journal holds.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RiskConfig {
    /// Position limits.
    pub limits: Option<Vec<LimitConfig>>,
    /// Fees.
    pub fees: Option<Vec<FeeConfig>>,
    /// Messages between two snapshots.
    pub snapshot_every: u64,
}

impl Default for RiskConfig {
    fn default() -> Self {
        Self { limits: None, fees: None, snapshot_every: 1 << 20 }
    }
}

/// An entry of `[[risk.limits]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitConfig {
    /// Account, else every one.
    pub account: Option<String>,
    /// Instrument, else every one.
    pub instrument: Option<String>,
    /// Largest absolute position, at least 0.
    pub position: i64,
}

/// An entry of `[[risk.fees]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeeConfig {
    /// Account, else every one.
    pub account: Option<String>,
    /// Instrument, else every one.
    pub instrument: Option<String>,
    /// Fee for each unit of quantity.
    #[serde(default, deserialize_with = "written")]
    pub per_unit: Price,
    /// Fee as part of the notional value.
    #[serde(default, deserialize_with = "written")]
    pub of_notional: Price,
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
    /// A name that is no account or instrument, a limit below 0, two entries for one account and instrument.
    pub fn new(config: &RiskConfig) -> Result<Option<Self>, Failure> {
        let RiskConfig { limits, fees, .. } = config;
        if limits.is_none() && fees.is_none() {
            return Ok(None);
        }
        let limits = limits.iter().flatten().map(limit).collect::<Result<Vec<_>, _>>()?;
        let fees = fees.iter().flatten().map(fee).collect::<Result<Vec<_>, _>>()?;
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
        return Err(wrong(format_args!("risk.limits: position = {}", config.position), "0 or more"));
    }
    Ok(LimitSet {
        cause: NO_CAUSE,
        account: name("risk.limits: account", config.account.as_deref())?,
        instrument: name::<8>("risk.limits: instrument", config.instrument.as_deref())? as Symbol,
        limit: Text::new(engine::POSITION_LIMIT).unwrap_or_default(),
        value: Quantity(config.position),
    })
}

fn fee(config: &FeeConfig) -> Result<FeeSet, Failure> {
    Ok(FeeSet {
        cause: NO_CAUSE,
        account: name("risk.fees: account", config.account.as_deref())?,
        instrument: name("risk.fees: instrument", config.instrument.as_deref())?,
        per_unit: config.per_unit,
        of_notional: config.of_notional,
    })
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

/// A name of at most `N` characters; blank stands for every one.
fn name<const N: usize>(key: &str, text: Option<&str>) -> Result<Text<N>, Failure> {
    let Some(text) = text else { return Ok(Text::default()) };
    let is_name = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    Text::new(text)
        .filter(|_| is_name)
        .ok_or_else(|| wrong(format_args!("{key} = \"{text}\""), format_args!("1 to {N} ASCII characters")))
}

fn wrong(place: impl std::fmt::Display, expected: impl std::fmt::Display) -> Failure {
    Failure::new("wrong configuration", place, format_args!("{expected} are expected"))
}
