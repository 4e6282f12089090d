//! Prices and money as decimal numbers: units of 1e-9, written without trailing zeros (`4807.5`, `-0.2883`, `0`).

use super::{Money, Price};

/// Digits after the point that a unit of 1e-9 can need.
const DIGITS: usize = 9;
/// Units in one whole.
const WHOLE: u128 = 1_000_000_000;

/// The decimal form of a number of units of 1e-9.
pub fn decimal(units: impl Into<i128>) -> String {
    let mut text = String::new();
    push_decimal(&mut text, units.into());
    text
}

/// Appends the decimal form of a number of units of 1e-9.
pub(crate) fn push_decimal(out: &mut String, units: i128) {
    if units < 0 {
        out.push('-');
    }
    let size = units.unsigned_abs();
    let (whole, mut fraction) = (size / WHOLE, (size % WHOLE) as u32);
    match u64::try_from(whole) {
        Ok(whole) => push_u64(out, whole),
        Err(_) => out.push_str(&whole.to_string()),
    }
    if fraction == 0 {
        return;
    }
    let mut digits = [0; DIGITS];
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (fraction % 10) as u8;
        fraction /= 10;
    }
    let end = digits.iter().rposition(|digit| *digit != b'0').map_or(0, |last| last + 1);
    out.push('.');
    digits[..end].iter().for_each(|digit| out.push(char::from(*digit)));
}

/// Appends an integer.
pub(crate) fn push_u64(out: &mut String, mut value: u64) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.push_str(str::from_utf8(&digits[start..]).expect("digits are ASCII"));
}

/// The number of units of 1e-9 that a decimal number says exactly; `None` if it is none, has more than nine digits
/// after the point, or is out of range. An exponent, a sign `+` or an empty side of the point are refused.
pub fn parse_decimal(text: &str) -> Option<i128> {
    let (is_negative, size) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = size.split_once('.').unwrap_or((size, "0"));
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !is_digits(whole) || !is_digits(fraction) || fraction.len() > DIGITS {
        return None;
    }
    let units = whole.parse::<u128>().ok()?.checked_mul(WHOLE)?;
    let scale = 10_u128.pow((DIGITS - fraction.len()) as u32);
    let units = units.checked_add(fraction.parse::<u128>().ok()? * scale)?;
    if is_negative { 0_i128.checked_sub_unsigned(units) } else { i128::try_from(units).ok() }
}

macro_rules! as_decimal {
    ($($name:ident: $inner:ty;)*) => {
        $(
            impl std::fmt::Display for $name {
                fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.pad(&decimal(self.0))
                }
            }
            impl $name {
                /// The value of a decimal number such as `4807.5`; `None` where that is not exact in units of 1e-9.
                pub fn parse(text: &str) -> Option<Self> {
                    parse_decimal(text).and_then(|units| <$inner>::try_from(units).ok()).map(Self)
                }
            }
        )*
    };
}
as_decimal! {
    Price: i64;
    Money: i128;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn no_trailing_zeros_and_no_rounding() {
        for (units, text) in [
            (4_807_500_000_000, "4807.5"),
            (-288_300_000, "-0.2883"),
            (0, "0"),
            (1, "0.000000001"),
            (-1_000_000_000, "-1"),
            (i128::MAX, "170141183460469231731687303715.884105727"),
            (i128::MIN, "-170141183460469231731687303715.884105728"),
        ] {
            assert_eq!(decimal(units), text);
            assert_eq!(parse_decimal(text), Some(units));
        }
        assert_eq!(Price(1_250_000_000).to_string(), "1.25");
        assert_eq!(Price::parse("-1.25"), Some(Price(-1_250_000_000)));
        assert_eq!(Price::parse("9223372036.854775808"), None);
    }

    #[test]
    fn what_is_not_exactly_a_decimal_is_refused() {
        for text in ["", "-", ".", "1.", ".5", "+1", "1e3", "--1", "1.0000000001", "0x1", " 1", "1,5", "٣"] {
            assert_eq!(parse_decimal(text), None, "{text}");
        }
        assert_eq!(parse_decimal("170141183460469231731687303715.884105728"), None);
    }

    proptest! {
        #[test]
        fn every_number_reads_back(units in any::<i128>(), small in any::<i32>()) {
            prop_assert_eq!(parse_decimal(&decimal(units)), Some(units));
            prop_assert_eq!(parse_decimal(&decimal(small)), Some(i128::from(small)));
        }

        #[test]
        fn integers_are_written_as_the_standard_library_writes_them(value in any::<u64>()) {
            let mut text = String::new();
            push_u64(&mut text, value);
            prop_assert_eq!(text, value.to_string());
        }
    }
}
