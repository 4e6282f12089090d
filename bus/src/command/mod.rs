//! The commands of `bus`.

pub(crate) mod doctor;
pub(crate) mod status;

use bus::program::Size;

/// A number of bytes for people: the largest unit with at least ten of it.
fn about(bytes: u64) -> String {
    let unit = [40, 30, 20, 10].into_iter().find(|shift| bytes >> shift >= 10);
    Size(unit.map_or(bytes, |shift| bytes >> shift << shift)).to_string()
}

#[cfg(test)]
mod tests {
    use super::about;

    #[test]
    fn sizes_are_told_roughly() {
        for (bytes, text) in [(7, "7"), (8 << 20, "8MiB"), (24_683_656 << 10, "23GiB"), (20_000_000, "19MiB")]
        {
            assert_eq!(about(bytes), text);
        }
    }
}
