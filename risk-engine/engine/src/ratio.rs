//! Exact multiplication and division of money.

/// `value` × `part` ÷ `whole`, rounded half to even; `None` if it does not fit. `whole` is not zero.
///
/// The product may need 190 bits. So the value is first split into a multiple of `whole` and a rest below it: the
/// multiple divides exactly, and the rest × `part` fits.
pub(crate) fn scale(value: i128, part: i64, whole: u64) -> Option<i128> {
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
