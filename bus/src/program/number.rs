//! Durations, sizes, rates and dates as people write them.

use super::Value;
use crate::event::{Money, Price, Time};
use std::time::Duration;

/// A number of things as people say it: `1 message`, `2 messages`.
pub fn counted(count: u64, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

impl Value for Duration {
    const EXPECTED: &'static str = "a duration such as 500ms, 10s, 2m or 1h";
    fn parse(text: &str) -> Option<Self> {
        let (number, unit) = split(text)?;
        let nanoseconds = match unit {
            "ns" => 1,
            "us" | "µs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        scaled(number, nanoseconds).map(Self::from_nanos)
    }
}

impl Value for Price {
    const EXPECTED: &'static str = "a price such as 4807.5, with at most nine digits after the point";
    fn parse(text: &str) -> Option<Self> {
        Self::parse(text)
    }
}

impl Value for Money {
    const EXPECTED: &'static str = "an amount such as 1000.25, with at most nine digits after the point";
    fn parse(text: &str) -> Option<Self> {
        Self::parse(text)
    }
}

/// A number of bytes: `4096`, `64KiB`, `64MiB`, `1GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl Value for Size {
    const EXPECTED: &'static str = "a size such as 4096, 64MiB or 1GiB";
    fn parse(text: &str) -> Option<Self> {
        let (number, unit) = split(text)?;
        let bytes = match unit {
            "" | "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            "TiB" => 1 << 40,
            _ => return None,
        };
        scaled(number, bytes).map(Self)
    }
}

/// In the largest unit that leaves no rest, as it is parsed.
impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let units = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        match units.into_iter().find(|(bytes, _)| self.0 != 0 && self.0.is_multiple_of(*bytes)) {
            Some((bytes, unit)) => write!(f, "{}{unit}", self.0 / bytes),
            None => write!(f, "{}", self.0),
        }
    }
}

/// A number a second: `20000`, `100k`, `2M`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(pub u64);

impl Value for Rate {
    const EXPECTED: &'static str = "a rate a second such as 20000, 100k or 2M";
    fn parse(text: &str) -> Option<Self> {
        let (number, unit) = split(text)?;
        let factor = match unit {
            "" => 1,
            "k" => 1_000,
            "M" => 1_000_000,
            _ => return None,
        };
        scaled(number, factor).map(Self)
    }
}

/// The number and the unit behind it.
fn split(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    Some(text.split_at(end)).filter(|(number, _)| !number.is_empty())
}

/// `number` × `factor`, exactly: `1.5` of 1000 is 1500, a fraction that leaves a rest is none, an overflow neither.
fn scaled(number: &str, factor: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let scale = 10_u64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let rest = fraction.parse::<u64>().ok()?.checked_mul(factor)?;
    let rest = rest.is_multiple_of(scale).then(|| rest / scale)?;
    whole.parse::<u64>().ok()?.checked_mul(factor)?.checked_add(rest)
}

/// A day of the Gregorian calendar from 1970-01-01 to 9999-12-31.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date {
    year: u32,
    month: u32,
    day: u32,
}

/// Nanoseconds of a day.
const DAY_NS: u64 = 86_400_000_000_000;

impl Date {
    /// The day, or `None` if there is none such in the calendar's range.
    pub fn new(year: u32, month: u32, day: u32) -> Option<Self> {
        let is_day = (1970..=9999).contains(&year) && (1..=12).contains(&month) && day >= 1;
        (is_day && day <= days_in(year, month)).then_some(Self { year, month, day })
    }

    /// The day of the number YYYYMMDD.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::new(number / 10_000, number / 100 % 100, number % 100)
    }

    /// The number YYYYMMDD.
    pub fn number(self) -> u32 {
        self.year * 10_000 + self.month * 100 + self.day
    }

    /// Its midnight in UTC. The last instants of the range do not fit a [`Time`] and are the largest time instead.
    pub fn midnight(self) -> Time {
        // Days of 400 years are constant; the year begins in March, so that the leap day is its last
        // (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", days_from_civil).
        let year = u64::from(self.year - u32::from(self.month <= 2));
        let month = u64::from((self.month + 9) % 12);
        let day_of_year = (153 * month + 2) / 5 + u64::from(self.day) - 1;
        let of_era = year % 400 * 365 + year % 400 / 4 - year % 400 / 100 + day_of_year;
        Time((year / 400 * 146_097 + of_era - 719_468).saturating_mul(DAY_NS))
    }

    /// The day in UTC in which `time` lies.
    pub fn of(time: Time) -> Self {
        // The inverse: civil_from_days of the same source.
        let days = time.0 / DAY_NS + 719_468;
        let of_era = days % 146_097;
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        let year = days / 146_097 * 400 + year_of_era + u64::from(month <= 2);
        // All fit: a `Time` ends in the year 2554.
        Self { year: year as u32, month: month as u32, day: day as u32 }
    }
}

fn days_in(year: u32, month: u32) -> u32 {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 => 28 + u32::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

impl Value for Date {
    const EXPECTED: &'static str = "a date as YYYYMMDD, such as 20231225,";
    fn parse(text: &str) -> Option<Self> {
        let is_form = text.len() == 8 && text.bytes().all(|b| b.is_ascii_digit());
        text.parse().ok().filter(|_| is_form).and_then(Self::from_number)
    }
}

impl std::fmt::Display for Date {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:08}", self.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_thing_and_many() {
        let said = [0, 1, 2].map(|count| counted(count, "message"));
        assert_eq!(said, ["0 messages", "1 message", "2 messages"]);
    }

    #[test]
    fn durations() {
        let ns = |text| <Duration as Value>::parse(text).map(|d| d.as_nanos());
        for (text, want) in
            [("500ms", 500_000_000), ("10s", 10_000_000_000), ("2m", 120_000_000_000), ("0s", 0)]
        {
            assert_eq!(ns(text), Some(want), "{text}");
        }
        assert_eq!(ns("1.5h"), Some(5_400_000_000_000));
        assert_eq!(ns("20us"), Some(20_000));
        for text in
            ["", "s", "10", "10 s", "-1s", "1e3s", "1.s", ".5s", "1.2.3s", "0.1ns", "99999999999h", "10S"]
        {
            assert_eq!(ns(text), None, "{text}");
        }
    }

    #[test]
    fn sizes() {
        let bytes = |text| <Size as Value>::parse(text).map(|size| size.0);
        for (text, want) in
            [("4096", 4096), ("64MiB", 64 << 20), ("1GiB", 1 << 30), ("1.5KiB", 1536), ("0", 0)]
        {
            assert_eq!(bytes(text), Some(want), "{text}");
        }
        for text in ["", "MiB", "64MB", "64mib", "-1", "99999999999TiB", "0.3"] {
            assert_eq!(bytes(text), None, "{text}");
        }
        assert_eq!(Size(64 << 20).to_string(), "64MiB");
        assert_eq!(Size(0).to_string(), "0");
    }

    #[test]
    fn rates() {
        let rate = |text| <Rate as Value>::parse(text).map(|rate| rate.0);
        for (text, want) in [("20000", 20_000), ("100k", 100_000), ("2M", 2_000_000), ("1.5k", 1_500)] {
            assert_eq!(rate(text), Some(want), "{text}");
        }
        for text in ["", "k", "2m", "2K", "1.0005k", "99999999999999999999"] {
            assert_eq!(rate(text), None, "{text}");
        }
    }

    #[test]
    fn dates() {
        let date = |text| <Date as Value>::parse(text);
        let christmas = date("20231225").unwrap();
        assert_eq!((christmas.number(), christmas.to_string()), (20_231_225, "20231225".into()));
        assert_eq!(christmas.midnight(), Time(1_703_462_400_000_000_000));
        assert_eq!(date("19700101").unwrap().midnight(), Time(0));
        assert!(date("20240229").is_some() && date("20000229").is_some());
        for text in [
            "20230229",
            "19000228",
            "20231301",
            "20230010",
            "2023-12-25",
            "020231225",
            "+2023122",
            "2023122x",
            "µ",
        ] {
            assert_eq!(date(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn each_instant_lies_in_its_day(ns in any::<u64>()) {
            let date = Date::of(Time(ns));
            let midnight = date.midnight().0;
            prop_assert!(midnight <= ns && ns - midnight < DAY_NS);
            prop_assert_eq!(Date::from_number(date.number()), Some(date));
        }

        #[test]
        fn a_size_reads_back(bytes in any::<u64>()) {
            prop_assert_eq!(<Size as Value>::parse(&Size(bytes).to_string()), Some(Size(bytes)));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC*") {
            let _ = (<Duration as Value>::parse(&text), <Size as Value>::parse(&text));
            let _ = (<Rate as Value>::parse(&text), <Date as Value>::parse(&text));
        }
    }
}
