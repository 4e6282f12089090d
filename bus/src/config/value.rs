//! Values of a configuration, each refused with what was expected.

use crate::program::{Size, Value};
use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::marker::PhantomData;

/// Deserialises what people write in configurations as on command lines, such as `"10s"`, from a string. For
/// `#[serde(deserialize_with = "bus::config::written")]`.
pub fn written<'de, T: Value, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_str(Written(PhantomData))
}

/// As [`written`], for a key that may be left out.
pub fn some_written<'de, T: Value, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    written(deserializer).map(Some)
}

struct Written<T>(PhantomData<T>);

impl<T: Value> Visitor<'_> for Written<T> {
    type Value = T;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in quotes", T::EXPECTED)
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        T::parse(text).ok_or_else(|| E::custom(format_args!("\"{text}\" where {} is expected", T::EXPECTED)))
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        written(deserializer)
    }
}

/// Deserialises a whole number from `LEAST` to `MOST`, all of which `T` can hold. For
/// `#[serde(deserialize_with = "bus::config::number::<0, 9, _, _>")]`.
pub fn number<'de, const LEAST: i64, const MOST: i64, T: TryFrom<i64>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    let number = deserializer.deserialize_i64(Number::<LEAST, MOST>)?;
    T::try_from(number).map_err(|_| Error::invalid_value(Unexpected::Signed(number), &Number::<LEAST, MOST>))
}

/// As [`number`], for a key that may be left out.
pub fn some_number<'de, const LEAST: i64, const MOST: i64, T: TryFrom<i64>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    number::<LEAST, MOST, T, D>(deserializer).map(Some)
}

struct Number<const LEAST: i64, const MOST: i64>;

impl<const LEAST: i64, const MOST: i64> Visitor<'_> for Number<LEAST, MOST> {
    type Value = i64;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match MOST {
            i64::MAX => write!(f, "a whole number, {LEAST} or more"),
            _ => write!(f, "a whole number from {LEAST} to {MOST}"),
        }
    }
    fn visit_i64<E: Error>(self, number: i64) -> Result<i64, E> {
        let is_allowed = (LEAST..=MOST).contains(&number);
        is_allowed.then_some(number).ok_or_else(|| E::invalid_value(Unexpected::Signed(number), &self))
    }
}
