//! What the risk engine concludes: the kinds of the derived topic `risk`. Each begins with its [`Cause`].
//!
//! The inputs of `risk` are `market-data` (0) and `trades` (1).

use super::{Bytes, Cause, Event, Money, Price, Quantity, Symbol, Text, Time};

/// All kinds of the topic `risk`.
#[derive(Event)]
pub enum RiskEvent {
    /// See [`EngineConfigured`].
    EngineConfigured(EngineConfigured),
    /// See [`LimitSet`].
    LimitSet(LimitSet),
    /// See [`FeeSet`].
    FeeSet(FeeSet),
    /// See [`MergeRun`].
    MergeRun(MergeRun),
    /// See [`PositionUpdate`].
    PositionUpdate(PositionUpdate),
    /// See [`LimitAlert`].
    LimitAlert(LimitAlert),
}

impl RiskEventRef<'_> {
    /// Whether it is part of a configuration: an operator's act, and no conclusion.
    pub fn is_setting(&self) -> bool {
        matches!(self, Self::EngineConfigured(_) | Self::LimitSet(_) | Self::FeeSet(_))
    }
}

/// A configuration takes effect; the [`LimitSet`] and [`FeeSet`] events of the same batch are its contents and
/// replace all earlier ones. A [`LimitAlert`] follows for each position beyond its new limit.
#[derive(Event, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[event(kind = 1)]
#[repr(C)]
pub struct EngineConfigured {
    /// No cause: an operator's act.
    pub cause: Cause,
    /// Version of the engine.
    pub version: Text<16>,
    /// BLAKE3 of the contents.
    pub hash: Bytes<32>,
}

/// A limit in force.
#[derive(Event, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[event(kind = 2)]
#[repr(C)]
pub struct LimitSet {
    /// No cause: an operator's act.
    pub cause: Cause,
    /// Account; blank for every account.
    pub account: Text<16>,
    /// Instrument; blank for every instrument.
    pub instrument: Symbol,
    /// Which limit: `position`.
    pub limit: Text<16>,
    /// Largest allowed absolute value.
    pub value: Quantity,
}

/// Fees in force. The most specific entry applies (account and instrument, account, instrument, neither).
#[derive(Event, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[event(kind = 3)]
#[repr(C)]
pub struct FeeSet {
    /// No cause: an operator's act.
    pub cause: Cause,
    /// Account; blank for every account.
    pub account: Text<16>,
    /// Instrument; blank for every instrument.
    pub instrument: Symbol,
    /// Fee for each unit of quantity.
    pub per_unit: Price,
    /// Fee for each unit of notional value, which is price × quantity.
    pub of_notional: Price,
}

/// The engine merged `count` messages of the cause's input, from `first` to the cause itself.
#[derive(Event, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[event(kind = 4)]
#[repr(C)]
pub struct MergeRun {
    /// The last message of the run.
    pub cause: Cause,
    /// Sequence of the first message of the run.
    pub first: u64,
    /// Messages in the run.
    pub count: u64,
}

/// A position after an execution, correction or bust was applied.
#[derive(Event, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[event(kind = 5)]
#[repr(C)]
pub struct PositionUpdate {
    /// The execution.
    pub cause: Cause,
    /// Account.
    pub account: Text<16>,
    /// Instrument.
    pub instrument: Symbol,
    /// Venue time of the execution.
    pub exchange_time: Time,
    /// Position: positive long, negative short.
    pub quantity: Quantity,
    /// Price of the execution.
    pub price: Price,
    /// Cost of the open position: positive long, negative short.
    pub cost: Money,
    /// Realised profit and loss before fees, since the account's first execution.
    pub realised: Money,
    /// Fees, since the account's first execution.
    pub fees: Money,
}

/// A limit is exceeded (`state` text `breach`) or kept again (`clear`).
///
/// One that a configuration leads to, rather than an execution, has [`Cause::NONE`] as input of its cause, the number of
/// the alert among those of the configuration as its index (65,535 for all from there on), and no time. Such alerts follow
/// the configuration by account and instrument, before anything else is merged: in its own batch, or in further ones where
/// one cannot hold them.
///
/// The limit `retained fills` is the engine's own memory: the cause is a bust or correction that came too late to be
/// applied, since its fill is older than the last `allowed` ones of all accounts. The position keeps that fill, and each
/// such message raises its own alert, which nothing clears.
#[derive(Event, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[event(kind = 6)]
#[repr(C)]
pub struct LimitAlert {
    /// The execution or configuration that led to it.
    pub cause: Cause,
    /// Account.
    pub account: Text<16>,
    /// Instrument.
    pub instrument: Symbol,
    /// Venue time of the execution; 0 where a configuration led to it.
    pub exchange_time: Time,
    /// Which limit: `position` or `retained fills`.
    pub limit: Text<16>,
    /// `breach` or `clear`.
    pub state: Text<8>,
    /// Value that was reached.
    pub value: Quantity,
    /// Largest allowed absolute value.
    pub allowed: Quantity,
}
