//! Names of a journal's files.
//!
//! ```text
//! disk    BUS/TOPIC/0/   lock  mark  0000000000000000.segment  …  torn-POSITION  keeper-NAME
//! memory  INSTANCE/TOPIC/0/   control  waiters  reader-PROCESS-NUMBER  0000000000000000.segment  …  spare-NUMBER
//! ```
//! A segment's name denotes one inode for ever. Once a segment is retired and nobody reads it, its inode may get the name
//! of a later one.

/// The mark file.
pub(crate) const MARK: &str = "mark";
/// The lock file.
pub(crate) const LOCK: &str = "lock";

/// How the names of memory begin that waits to become a later segment's.
const SPARE: &str = "spare-";

/// Memory of the retired segment `number` that waits to become a later one's. While one is made into a segment another may
/// come to wait: no two have one name.
pub(crate) fn spare(number: u64) -> String {
    format!("{SPARE}{number:016x}")
}

/// Whether a file is such memory.
pub(crate) fn is_spare(name: &str) -> bool {
    name.starts_with(SPARE)
}

/// What the name of a file ends with that is to replace a segment's.
pub(crate) const REPLACEMENT: &str = ".replacement";

/// The file of segment `number`, in memory and on disk.
pub(crate) fn segment(number: u64) -> String {
    format!("{number:016x}.segment")
}

/// The number in a segment's file name.
pub(crate) fn segment_number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".segment")?;
    (digits.len() == 16 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
        .then(|| u64::from_str_radix(digits, 16).ok())
        .flatten()
}

/// The file that keeps the bytes of a torn tail that began at `position`.
pub(crate) fn torn(position: u64) -> String {
    format!("torn-{position:016x}")
}

/// The position in the name of such a file.
pub(crate) fn torn_position(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("torn-").filter(|digits| digits.len() == 16)?;
    u64::from_str_radix(digits, 16).ok()
}

/// How the files of keepers begin.
const KEEPER: &str = "keeper-";

/// The file of a keeper.
pub(crate) fn keeper(name: &str) -> String {
    format!("{KEEPER}{name}")
}

/// The file that is to replace a keeper's.
pub(crate) fn fresh_keeper(name: &str) -> String {
    format!("new-{KEEPER}{name}")
}

/// The name of the keeper whose file this is.
pub(crate) fn keeper_name(name: &str) -> Option<&str> {
    name.strip_prefix(KEEPER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_others_are_not() {
        for number in [0, 1, 0xabc, u64::MAX] {
            assert_eq!(segment_number(&segment(number)), Some(number));
        }
        assert_eq!(torn_position(&torn(0xabc)), Some(0xabc));
        assert_eq!(torn_position("torn-abc"), None);
        for name in ["mark", ".segment", "1.segment", "000000000000000G.segment", "0000000000000000.segmentx"]
        {
            assert_eq!(segment_number(name), None, "{name}");
        }
    }
}
