//! What an operator is to know of a topic's retention.

use crate::program::Size;

/// Segments that a topic has at least: one that is written, one ahead, one retired.
pub(crate) const LEAST_SEGMENTS: u64 = 3;

/// What keeps a topic from holding as much as its retention says, and no more; nothing where it can.
pub(crate) fn doubt(topic: &str, retention: Size, segment: Size, disk: Size) -> Option<String> {
    let least = Size(LEAST_SEGMENTS * segment.0);
    if retention < least {
        return Some(format!(
            "topic '{topic}' takes {least} of disk, {LEAST_SEGMENTS} of its segments of {segment}, since its retention of \
             {retention} is less: set that much, or a smaller `segment` under [bus] before the topic is made"
        ));
    }
    (retention > disk).then(|| {
        format!(
            "the retention of topic '{topic}' is {retention} and its disk has {}MiB: that is full first, and the topic is \
             refused; set less",
            disk.0 >> 20
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn told(retention: u64, segment: u64, disk: u64) -> String {
        let [retention, segment, disk] = [retention, segment, disk].map(|size| Size(size * MIB));
        doubt("t", retention, segment, disk).unwrap_or_default()
    }

    #[test]
    fn a_retention_that_cannot_be_kept_to_is_told_with_what_can() {
        assert_eq!([told(3, 1, 3), told(48, 16, 100)], ["", ""]);
        let told_least = told(47, 16, 100);
        assert!(
            told_least.starts_with("topic 't' takes 48MiB of disk, 3 of its segments of 16MiB"),
            "{told_least}"
        );
        let told_most = told(1 << 24, 16, 500);
        assert!(
            told_most.starts_with("the retention of topic 't' is 16TiB and its disk has 500MiB"),
            "{told_most}"
        );
    }
}
