//! Exact multiplication and division of money.

/// `value` × `part` ÷ `whole`, rounded half to even; `None` if it does not fit. `whole` is not zero.
///
/// One division where the product fits, as that of any price and quantity of this world does. Else it may need 190 bits: then
/// the value is first split into a multiple of `whole` and a rest below it; the multiple divides exactly, and the rest ×
/// `part` fits.
pub(crate) fn scale(value: i128, part: i64, whole: u64) -> Option<i128> {
    let Some(product) = value.checked_mul(i128::from(part)) else { return scale_split(value, part, whole) };
    let (magnitude, whole) = (product.unsigned_abs(), u128::from(whole));
    let below = magnitude / whole;
    let rest = magnitude - below * whole;
    let up = rest > whole - rest || (rest == whole - rest && below % 2 != 0);
    // A magnitude that is rounded up was divided by two at least.
    let rounded = below + u128::from(up);
    if product < 0 { 0i128.checked_sub_unsigned(rounded) } else { i128::try_from(rounded).ok() }
}

fn scale_split(value: i128, part: i64, whole: u64) -> Option<i128> {
    let (part, whole) = (i128::from(part), i128::from(whole));
    let multiple = (value / whole).checked_mul(part)?;
    let product = (value % whole) * part;
    let (below, rest) = (product.div_euclid(whole), product.rem_euclid(whole));
    let floor = multiple.checked_add(below)?;
    let up = rest > whole - rest || (rest == whole - rest && floor % 2 != 0);
    floor.checked_add(i128::from(up))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn halves_go_to_the_even_neighbour() {
        for (value, rounded) in [(1, 0), (3, 2), (5, 2), (7, 4), (-1, 0), (-3, -2), (-5, -2), (-7, -4)] {
            assert_eq!(scale(value, 1, 2), Some(rounded), "{value} halves");
        }
    }

    #[test]
    fn the_whole_of_anything_is_itself() {
        for value in [i128::MIN, -1, 0, 1, i128::MAX] {
            for whole in [1, 7, i64::MAX] {
                assert_eq!(scale(value, whole, whole as u64), Some(value));
            }
        }
        assert_eq!(scale(i128::MAX, 2, 1), None);
    }

    proptest! {
        /// Where the product fits, both ways give the same.
        #[test]
        fn one_division_is_as_good_as_four(value: i128, shift in 0u32..127, part: i64, whole in 1u64..=u64::MAX, small in 1u64..9) {
            for whole in [whole, small] {
                for value in [value, value >> shift] {
                    prop_assert_eq!(scale(value, part, whole), scale_split(value, part, whole));
                }
            }
        }

        /// The result is at most half a unit off, and even where it is exactly half.
        #[test]
        fn is_nearest(value in -1_000_000_000_000_000_000i128..1_000_000_000_000_000_000, part: i64, whole in 1u64..=u64::MAX >> 1) {
            let Some(result) = scale(value, part, whole) else { return Ok(()) };
            let error = 2 * (value * i128::from(part) - result * i128::from(whole));
            let whole = i128::from(whole);
            prop_assert!(error.abs() < whole || (error.abs() == whole && result % 2 == 0), "{}", error);
        }
    }
}
