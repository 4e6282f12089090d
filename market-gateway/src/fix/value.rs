//! Values of FIX fields: numbers, decimals, times and identifiers, exact or refused.

use std::fmt;

use bus::event::{Price, Quantity, Text, Time};

const SECOND: u64 = 1_000_000_000;
const DAY: u64 = 86_400;

/// Why a decimal is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecimalError {
    /// Not `[-]digits[.digits]`.
    Malformed,
    /// More decimal places than the unit holds, and not zeros.
    Inexact,
    /// Beyond 64 bits.
    Overflow,
}

impl fmt::Display for DecimalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "not a decimal number",
            Self::Inexact => "more decimal places than are kept",
            Self::Overflow => "too large",
        })
    }
}

/// A price in units of 1e-9, exactly.
///
/// # Errors
/// Where the text is no decimal, has more than nine places that are not zero, or is beyond ±9.2 billion.
pub fn price(text: &[u8]) -> Result<Price, DecimalError> {
    decimal(text, 9).map(Price)
}

/// A whole quantity; `100` and `100.00` are the same.
///
/// # Errors
/// Where the text is no decimal, is fractional ([`DecimalError::Inexact`]) or beyond 64 bits.
pub fn quantity(text: &[u8]) -> Result<Quantity, DecimalError> {
    decimal(text, 0).map(Quantity)
}

/// `text` in units of 10 to the power of minus `places`.
fn decimal(text: &[u8], places: usize) -> Result<i64, DecimalError> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    let point = digits.iter().position(|&b| b == b'.').unwrap_or(digits.len());
    let whole = &digits[..point];
    let fraction = digits.get(point + 1..).unwrap_or_default();
    if whole.len() + fraction.len() == 0 || !whole.iter().chain(fraction).all(u8::is_ascii_digit) {
        return Err(DecimalError::Malformed);
    }
    let (kept, beyond) = fraction.split_at(fraction.len().min(places));
    if beyond.iter().any(|&b| b != b'0') {
        return Err(DecimalError::Inexact);
    }
    let zeros = std::iter::repeat_n(&b'0', places - kept.len());
    let mut value: i64 = 0;
    for &digit in whole.iter().chain(kept).chain(zeros) {
        let digit = i64::from(digit - b'0');
        value = value.checked_mul(10).and_then(|v| v.checked_add(digit)).ok_or(DecimalError::Overflow)?;
    }
    Ok(if negative { -value } else { value })
}

/// A number without sign; `None` where it is none or beyond 64 bits.
pub fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |value, &b| {
        let digit = b.is_ascii_digit().then(|| u64::from(b - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

/// `YYYYMMDD` as a number, where it is a day of the calendar.
pub fn date(text: &[u8]) -> Option<u32> {
    days_of(text)?;
    u32::try_from(number(text)?).ok()
}

/// UTCTimestamp `YYYYMMDD-HH:MM:SS[.fraction]`. Digits beyond the nanosecond are cut off; a leap second counts as the
/// first second of the next minute. `None` where it is no time, or before 1970 or after 2554.
pub fn timestamp(text: &[u8]) -> Option<Time> {
    let days = days_of(text.get(..8)?)?;
    let [b'-', h1, h2, b':', m1, m2, b':', s1, s2, fraction @ ..] = text.get(8..)? else { return None };
    let (hour, minute, second) = (number(&[*h1, *h2])?, number(&[*m1, *m2])?, number(&[*s1, *s2])?);
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let seconds = days.checked_mul(DAY)? + hour * 3_600 + minute * 60 + second;
    seconds.checked_mul(SECOND)?.checked_add(nanoseconds(fraction)?).map(Time)
}

fn nanoseconds(fraction: &[u8]) -> Option<u64> {
    let digits = match fraction {
        [] => return Some(0),
        [b'.', digits @ ..] if (1..=12).contains(&digits.len()) => digits,
        _ => return None,
    };
    number(digits)?;
    let mut padded = [b'0'; 9];
    let kept = digits.len().min(9);
    padded[..kept].copy_from_slice(&digits[..kept]);
    number(&padded)
}

/// Days from 1970-01-01 to the `YYYYMMDD` of `text`. Algorithm: H. Hinnant, "chrono-compatible low-level date
/// algorithms", `days_from_civil`.
fn days_of(text: &[u8]) -> Option<u64> {
    if text.len() != 8 {
        return None;
    }
    let (year, month, day) = (number(&text[..4])?, number(&text[4..6])?, number(&text[6..])?);
    if year < 1970 || !(1..=12).contains(&month) || day < 1 || day > days_in(year, month) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year / 400, year % 400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let of_era = of_era * 365 + of_era / 4 - of_era / 100 + of_year;
    (era * 146_097 + of_era).checked_sub(719_468)
}

fn days_in(year: u64, month: u64) -> u64 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Appends `time` as UTCTimestamp with `places` (0 to 9) digits of the second's fraction; the rest is cut off.
/// Algorithm of the date: H. Hinnant, `civil_from_days`.
pub fn write_timestamp(out: &mut Vec<u8>, time: Time, places: usize) {
    let (seconds, nanoseconds) = (time.0 / SECOND, time.0 % SECOND);
    let shifted = seconds / DAY + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    let of_day = seconds % DAY;
    write_padded(out, year, 4);
    write_padded(out, month, 2);
    write_padded(out, day, 2);
    for (separator, part) in [(b'-', of_day / 3_600), (b':', of_day / 60 % 60), (b':', of_day % 60)] {
        out.push(separator);
        write_padded(out, part, 2);
    }
    if places > 0 {
        out.push(b'.');
        let end = out.len() + places.min(9);
        write_padded(out, nanoseconds, 9);
        out.truncate(end);
    }
}

/// Appends the last `width` decimal digits of `value`, with zeros in front.
pub fn write_padded(out: &mut Vec<u8>, value: u64, width: usize) {
    let start = out.len();
    let mut rest = value;
    for _ in 0..width {
        out.push(b'0' + (rest % 10) as u8);
        rest /= 10;
    }
    out[start..].reverse();
}

/// Appends a price in its shortest form.
pub fn write_price(out: &mut Vec<u8>, price: Price) {
    if price.0 < 0 {
        out.push(b'-');
    }
    let units = price.0.unsigned_abs();
    let scale = Price::SCALE.unsigned_abs();
    out.extend_from_slice((units / scale).to_string().as_bytes());
    if !units.is_multiple_of(scale) {
        out.push(b'.');
        write_padded(out, units % scale, 9);
        while out.last() == Some(&b'0') {
            out.pop();
        }
    }
}

/// An identifier as the event holds it. One that does not fit, or whose end would pass for padding, keeps its first
/// 15 bytes, then `~` and the 16 hexadecimal digits of its [`hash`].
pub fn identifier(text: &[u8]) -> Text<32> {
    fitting(text).unwrap_or_else(|| {
        let mut bytes = [b' '; 32];
        let kept = text.len().min(15);
        bytes[..kept].copy_from_slice(&text[..kept]);
        bytes[kept] = b'~';
        bytes[kept + 1..kept + 17].copy_from_slice(&hexadecimal(hash(text)));
        Text(bytes)
    })
}

/// An account as the event holds it. One that does not fit becomes `~` and the first 15 hexadecimal digits of its
/// [`hash`].
pub fn account(text: &[u8]) -> Text<16> {
    fitting(text).unwrap_or_else(|| {
        let mut bytes = [b'~'; 16];
        bytes[1..].copy_from_slice(&hexadecimal(hash(text))[..15]);
        Text(bytes)
    })
}

/// The text padded with spaces, where it fits and does not end like padding itself.
pub fn fitting<const N: usize>(text: &[u8]) -> Option<Text<N>> {
    if matches!(text.last(), Some(b' ' | 0)) {
        return None;
    }
    let mut bytes = [b' '; N];
    bytes.get_mut(..text.len())?.copy_from_slice(text);
    Some(Text(bytes))
}

/// FNV-1a of 64 bits (G. Fowler, L. C. Noll, K.-P. Vo): stable over versions and machines, since identities that are
/// journalled depend on it.
pub fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &b| (hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

fn hexadecimal(value: u64) -> [u8; 16] {
    std::array::from_fn(|i| b"0123456789abcdef"[(value >> (60 - 4 * i)) as usize & 15])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn decimals_are_exact_or_refused() {
        assert_eq!(price(b"101.25"), Ok(Price(101_250_000_000)));
        assert_eq!(price(b"-0.000000001"), Ok(Price(-1)));
        assert_eq!(price(b"007.5000000000000"), Ok(Price(7_500_000_000)));
        assert_eq!(price(b".5"), Ok(Price(500_000_000)));
        assert_eq!(price(b"0.0000000001"), Err(DecimalError::Inexact));
        assert_eq!(price(b"9223372036.854775807"), Ok(Price(i64::MAX)));
        assert_eq!(price(b"9223372036.854775808"), Err(DecimalError::Overflow));
        for bad in ["", "-", ".", "1e5", "+1", "1.2.3", " 1", "--1"] {
            assert_eq!(price(bad.as_bytes()), Err(DecimalError::Malformed), "{bad}");
        }
        assert_eq!(quantity(b"300.00"), Ok(Quantity(300)));
        assert_eq!(quantity(b"0.5"), Err(DecimalError::Inexact));
    }

    #[test]
    fn timestamps_reach_down_to_the_nanosecond() {
        assert_eq!(timestamp(b"19700101-00:00:00"), Some(Time(0)));
        assert_eq!(timestamp(b"20260102-03:04:05.123456789012"), Some(Time(1_767_323_045_123_456_789)));
        assert_eq!(timestamp(b"20161231-23:59:60"), timestamp(b"20170101-00:00:00"));
        for bad in [
            "20260229-00:00:00",
            "20260101-24:00:00",
            "20260101 00:00:00",
            "20260101-00:00:00.",
            "99991231-00:00:00",
        ] {
            assert_eq!(timestamp(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(date(b"20240229"), Some(20_240_229));
        assert_eq!(date(b"20230229"), None);
    }

    #[test]
    fn long_identifiers_keep_their_beginning_and_their_hash() {
        assert_eq!(hash(b"a"), 0xaf63_dc4c_8601_ec8c); // from the algorithm's own test suite
        assert_eq!(identifier(b"E1"), Text::new("E1").unwrap());
        assert_eq!(identifier(&[b'x'; 32]), Text([b'x'; 32]));
        let long = identifier(b"EXECUTION-0123456789-0123456789-0");
        assert_eq!(&long.0[..16], b"EXECUTION-01234~");
        assert_ne!(identifier(b"E1 "), identifier(b"E1"));
        assert_ne!(account(b"ACCOUNT-OF-A-LONG-NAME"), account(b"ACCOUNT-OF-A-LONG-NAMF"));
    }

    proptest! {
        #[test]
        fn a_written_timestamp_reads_back(time in any::<u64>(), places in 0_usize..=9) {
            let mut text = Vec::new();
            write_timestamp(&mut text, Time(time), places);
            let unit = 10_u64.pow(9 - places as u32);
            prop_assert_eq!(timestamp(&text), Some(Time(time / unit * unit)));
        }

        #[test]
        fn a_written_price_reads_back(units in -i64::MAX..=i64::MAX) {
            let mut text = Vec::new();
            write_price(&mut text, Price(units));
            prop_assert_eq!(price(&text), Ok(Price(units)));
        }

        #[test]
        fn any_bytes_are_a_value_or_refused(text in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = (price(&text), quantity(&text), number(&text), date(&text), timestamp(&text));
            prop_assert_eq!(identifier(&text), identifier(&text));
        }
    }
}
