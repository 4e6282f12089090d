//! The configuration in force: limits and fees. It changes by journalled events only.

use std::collections::BTreeMap;

use bus::event::risk::{EngineConfigured, FeeSet, LimitSet};
use bus::event::{Bytes, Money, Price, Quantity, Symbol, Text};

use crate::hash::Canonical;
use crate::oddity::{Oddities, Oddity};
use crate::position::Execution;
use crate::ratio::scale;

/// Limits, and fees, at most.
pub const MAX_SETTINGS: usize = 1 << 16;

/// The name of the position limit in [`LimitSet`].
pub const POSITION_LIMIT: &str = "position";

/// Account and instrument; blank stands for every one.
pub(crate) type Scope = (Text<16>, Symbol);

/// Values by scope, of which the most specific applies.
#[derive(Clone)]
pub(crate) struct Scoped<V>(BTreeMap<Scope, V>);

impl<V: Copy> Scoped<V> {
    /// The value for an account and an instrument: of both, the account, the instrument, or of all.
    fn of(&self, (account, instrument): Scope) -> Option<V> {
        let (any_account, any_instrument) = (Text::default(), Symbol::default());
        let scopes = [
            (account, instrument),
            (account, any_instrument),
            (any_account, instrument),
            (any_account, any_instrument),
        ];
        scopes.iter().find_map(|scope| self.0.get(scope)).copied()
    }

    /// False, and not added, if there are too many.
    fn set(&mut self, scope: Scope, value: V) -> bool {
        let has_room = self.0.len() < MAX_SETTINGS || self.0.contains_key(&scope);
        if has_room {
            self.0.insert(scope, value);
        }
        has_room
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Scope, &V)> {
        self.0.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// A fee on each execution.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Fee {
    pub(crate) per_unit: Price,
    pub(crate) of_notional: Price,
}

impl Fee {
    /// The fee of an execution, rounded half to even once; `None` if it leaves its range.
    pub(crate) fn charge(self, quantity: Quantity, price: Price) -> Option<Money> {
        let notional = price.times(quantity).0.checked_abs()?;
        let share = scale(notional, self.of_notional.0, Price::SCALE.unsigned_abs())?;
        self.per_unit.times(quantity).0.checked_add(share).map(Money)
    }
}

/// What applies to one position.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) fee: Fee,
    /// Largest absolute position.
    pub(crate) limit: Option<i64>,
}

impl Terms {
    /// An execution with its fee; `quantity` is signed. `None` if the fee leaves its range.
    pub(crate) fn execution(&self, quantity: i64, price: Price) -> Option<Execution> {
        let fee = self.fee.charge(Quantity(quantity.checked_abs()?), price)?;
        Some(Execution { quantity, price, fee })
    }
}

/// Limits and fees in force.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) version: Text<16>,
    pub(crate) hash: Bytes<32>,
    pub(crate) limits: Scoped<i64>,
    pub(crate) fees: Scoped<Fee>,
    /// Counts the changes, so that positions know when their terms may be others.
    pub(crate) revision: u64,
    /// Something changed, and what follows from it was not asked for yet.
    pub(crate) is_new: bool,
}

impl Settings {
    pub(crate) fn new() -> Self {
        Self {
            version: Text::default(),
            hash: Bytes::default(),
            limits: Scoped(BTreeMap::new()),
            fees: Scoped(BTreeMap::new()),
            revision: 1,
            is_new: false,
        }
    }

    /// Begins a configuration: nothing of the earlier one stays.
    pub(crate) fn configure(&mut self, configured: &EngineConfigured) {
        let revision = self.revision + 1;
        let (version, hash) = (configured.version, configured.hash);
        *self = Self { version, hash, revision, is_new: true, ..Self::new() };
    }

    pub(crate) fn set_limit(&mut self, set: &LimitSet, oddities: &mut Oddities) {
        (self.revision, self.is_new) = (self.revision + 1, true);
        if set.limit.trimmed() != POSITION_LIMIT.as_bytes() {
            return oddities.note(Oddity::UnknownLimit);
        }
        // A limit below zero is kept by no position; zero means the same and is never "cleared" by mistake.
        if !self.limits.set(scope(&set.account, &set.instrument), set.value.0.max(0)) {
            oddities.note(Oddity::RefusedSetting);
        }
    }

    pub(crate) fn set_fee(&mut self, set: &FeeSet, oddities: &mut Oddities) {
        (self.revision, self.is_new) = (self.revision + 1, true);
        let fee = Fee { per_unit: set.per_unit, of_notional: set.of_notional };
        if !self.fees.set(scope(&set.account, &set.instrument), fee) {
            oddities.note(Oddity::RefusedSetting);
        }
    }

    pub(crate) fn terms(&self, scope: Scope) -> Terms {
        Terms { fee: self.fees.of(scope).unwrap_or_default(), limit: self.limits.of(scope) }
    }
}

/// Padding with zeros and with spaces name the same account or instrument.
pub(crate) fn scope(account: &Text<16>, instrument: &Symbol) -> Scope {
    (padded(account), padded(instrument))
}

fn padded<const N: usize>(text: &Text<N>) -> Text<N> {
    let mut bytes = [b' '; N];
    let trimmed = text.trimmed();
    bytes[..trimmed.len()].copy_from_slice(trimmed);
    Text(bytes)
}

/// The hash of a configuration's contents that [`EngineConfigured`] carries: independent of the order of its entries.
pub fn contents_hash(limits: &[LimitSet], fees: &[FeeSet]) -> Bytes<32> {
    let mut contents = Settings::new();
    let mut oddities = Oddities::default();
    for limit in limits {
        contents.set_limit(limit, &mut oddities);
    }
    for fee in fees {
        contents.set_fee(fee, &mut oddities);
    }
    let mut bytes = Canonical::new("busbar configuration 1");
    bytes.settings(&contents);
    Bytes(bytes.finish())
}
