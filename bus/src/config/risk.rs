//! The part `[risk]` of a configuration: what the risk engine is told. It is read here since every program of a bus is
//! given the same file, and refuses what none of them understands.

use super::value::{number, written};
use crate::event::{Price, Symbol, Text};
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

/// The part `[risk]`. Where neither limits nor fees are given, those stay in force that the journal holds.
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
/// Where either is given, the two replace all that the journal holds: `limits = []` under `[risk]`, in the place of
/// entries, withdraws the limits, and fees that are not given beside it too.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub struct RiskConfig {
    /// Position limits, one for an account and instrument.
    #[serde(deserialize_with = "entries")]
    pub limits: Option<Vec<LimitConfig>>,
    /// Fees, one for an account and instrument.
    #[serde(deserialize_with = "entries")]
    pub fees: Option<Vec<FeeConfig>>,
    /// Messages between two snapshots.
    #[serde(deserialize_with = "number::<0, { i64::MAX }, _, _>")]
    pub snapshot_every: u64,
}

impl Default for RiskConfig {
    fn default() -> Self {
        Self { limits: None, fees: None, snapshot_every: 1 << 20 }
    }
}

/// An entry of `[[risk.limits]]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitConfig {
    /// Account, else every one.
    #[serde(default, deserialize_with = "name")]
    pub account: Option<Text<16>>,
    /// Instrument, else every one.
    #[serde(default, deserialize_with = "name")]
    pub instrument: Option<Symbol>,
    /// Largest absolute position, at least 0.
    #[serde(deserialize_with = "number::<0, { i64::MAX }, _, _>")]
    pub position: i64,
}

/// An entry of `[[risk.fees]]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeeConfig {
    /// Account, else every one.
    #[serde(default, deserialize_with = "name")]
    pub account: Option<Text<16>>,
    /// Instrument, else every one.
    #[serde(default, deserialize_with = "name")]
    pub instrument: Option<Symbol>,
    /// Fee for each unit of quantity.
    #[serde(default, deserialize_with = "written")]
    pub per_unit: Price,
    /// Fee as part of the notional value.
    #[serde(default, deserialize_with = "written")]
    pub of_notional: Price,
}

/// The accounts and instruments that an entry is for; `None` stands for every one.
type Scope = (Option<Text<16>>, Option<Symbol>);

trait Entry {
    fn scope(&self) -> Scope;
}

impl Entry for LimitConfig {
    fn scope(&self) -> Scope {
        (self.account, self.instrument)
    }
}

impl Entry for FeeConfig {
    fn scope(&self) -> Scope {
        (self.account, self.instrument)
    }
}

/// Entries of which each has a scope of its own: which of two were meant, nobody could tell.
fn entries<'de, T, D>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    T: Entry + Deserialize<'de>,
    D: Deserializer<'de>,
{
    deserializer.deserialize_seq(Entries(PhantomData)).map(Some)
}

struct Entries<T>(PhantomData<T>);

impl<'de, T: Entry + Deserialize<'de>> Visitor<'de> for Entries<T> {
    type Value = Vec<T>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tables in double brackets, or []")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut tables: A) -> Result<Vec<T>, A::Error> {
        let (mut entries, mut first_of) = (Vec::new(), BTreeMap::new());
        while let Some(entry) = tables.next_element_seed(Next(&mut first_of, PhantomData))? {
            entries.push(entry);
        }
        Ok(entries)
    }
}

/// Reads an entry, given the number of the first one of each scope. What is refused while a table is visited is refused
/// at that table's place.
struct Next<'a, T>(&'a mut BTreeMap<Scope, usize>, PhantomData<T>);

impl<'de, T: Entry + Deserialize<'de>> DeserializeSeed<'de> for Next<'_, T> {
    type Value = T;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, T: Entry + Deserialize<'de>> Visitor<'de> for Next<'_, T> {
    type Value = T;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table")
    }
    fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<T, A::Error> {
        let entry = T::deserialize(MapAccessDeserializer::new(table))?;
        let (scope, number) = (entry.scope(), self.0.len() + 1);
        match self.0.insert(scope, number) {
            None => Ok(entry),
            Some(first) => Err(Error::custom(format_args!(
                "entries {first} and {number} are both for {}: leave one of them",
                shown(scope)
            ))),
        }
    }
}

fn shown((account, instrument): Scope) -> String {
    let account = account.map_or_else(|| "every account".into(), |name| format!("account {name}"));
    let instrument =
        instrument.map_or_else(|| "every instrument".into(), |name| format!("instrument {name}"));
    format!("{account} and {instrument}")
}

/// A name of at most `N` characters.
fn name<'de, const N: usize, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Text<N>>, D::Error> {
    deserializer.deserialize_str(Name).map(Some)
}

struct Name<const N: usize>;

impl<const N: usize> Visitor<'_> for Name<N> {
    type Value = Text<N>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "1 to {N} ASCII characters without blanks, in quotes")
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Text<N>, E> {
        let is_name = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        let name = Text::new(text).filter(|_| is_name);
        name.ok_or_else(|| {
            E::custom(format_args!("\"{text}\" where 1 to {N} ASCII characters without blanks are expected"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_keys_are_read() {
        let text = "snapshot_every = 5\nfees = []\n[[limits]]\nposition = 1\n[[limits]]\naccount = \"A\"\nposition = 0";
        let config: RiskConfig = toml::from_str(text).unwrap();
        let limit = |account, position| LimitConfig { account, instrument: None, position };
        let limits = vec![limit(None, 1), limit(Text::new("A"), 0)];
        assert_eq!(config, RiskConfig { limits: Some(limits), fees: Some(Vec::new()), snapshot_every: 5 });
        let text = "[[fees]]\ninstrument = \"AAPL\"\nper_unit = \"0.5\"\nof_notional = \"0.25\"";
        let config: RiskConfig = toml::from_str(text).unwrap();
        let instrument = Text::new("AAPL");
        let [per_unit, of_notional] = [500_000_000, 250_000_000].map(Price);
        assert_eq!(config.fees, Some(vec![FeeConfig { account: None, instrument, per_unit, of_notional }]));
        assert_eq!((config.limits, config.snapshot_every), (None, 1 << 20));
    }
}
