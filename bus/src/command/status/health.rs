//! What of a bus needs somebody's attention, each with what to do.

use super::{Follower, Holder, Report, Room, Segments, State, Topic};

/// A reader this many segments behind no longer reads from shared memory.
const FAR_BEHIND: usize = 16;
/// Room that always counts as enough.
const ENOUGH: u64 = 1 << 30;
/// Segments that a topic makes ready ahead.
const AHEAD: u64 = 4;

/// Why the health is not `ok`; none if it is.
pub(super) fn reasons(report: &Report) -> Vec<String> {
    let of_topics = report.topics.iter().flat_map(of_topic);
    let mut reasons: Vec<_> = report.error.iter().cloned().chain(of_topics).collect();
    let largest = |topic: &Topic| topic.details.as_ref().map_or(0, |details| u64::from(details.segment_size));
    let needed = AHEAD * report.topics.iter().map(largest).max().unwrap_or(0);
    if let Some(room) = report.shared_memory.as_ref().filter(|room| is_nearly_full(room, needed)) {
        reasons.push(nearly_full("shared memory", room, "enlarge it or lower the key 'memory' of [bus]"));
    }
    if let Some(room) = report.disk.as_ref().filter(|room| is_nearly_full(room, needed)) {
        reasons.push(nearly_full("disk", room, "make room or lower the topics' retention"));
    }
    reasons
}

fn of_topic(topic: &Topic) -> Vec<String> {
    let name = &topic.topic;
    let error = topic.error.as_deref().unwrap_or_default();
    let lag = topic.details.as_ref().map_or(0, |details| details.lag);
    let of_state = match topic.state {
        State::Poisoned | State::Damaged | State::Unreadable => Some(format!("topic '{name}': {error}")),
        State::Dead if lag == 0 => Some(format!(
            "topic '{name}': its publisher died; all that it published is durable; start it again"
        )),
        State::Dead => Some(format!(
            "topic '{name}': its publisher died and left {lag} messages in shared memory only; start it again"
        )),
        State::Unclean => Some(format!(
            "topic '{name}': nobody publishes it, and it was not ended cleanly: the power was lost, or this is a copy of a \
             bus in use; what was durable is there; start its publisher, which recovers it"
        )),
        State::Open | State::Closed | State::Unknown => None,
    };
    let lost_before = topic.details.as_ref().and_then(|details| details.mark.lost_before);
    let of_mark = lost_before.map(|epoch| {
        format!(
            "topic '{name}': the mark before epoch {epoch} was lost, and with it the proof that nothing was lost there; run \
             `replay verify` and restore it from a copy"
        )
    });
    let of_readers = topic.details.iter().flat_map(|details| {
        details.readers.iter().filter_map(move |reader| {
            let what = of_reader(&details.segments, reader)?;
            Some(format!("topic '{name}': reader {} (process {}) {what}", reader.reader, reader.process))
        })
    });
    let of_keepers = topic.details.iter().flat_map(|details| {
        let told = |keeper| Some(format!("topic '{name}': {}", of_keeper(keeper)?));
        details.keepers.iter().filter_map(told)
    });
    of_state.into_iter().chain(of_mark).chain(of_readers).chain(of_keepers).collect()
}

fn of_reader(segments: &Segments, reader: &Follower) -> Option<String> {
    let Follower { segments_behind: behind, lag, removed, .. } = *reader;
    if removed > 0 {
        return Some(format!(
            "has not read {removed} messages that retention removed, and has lost them but for those of the segment that \
             it holds; speed it up or keep more"
        ));
    }
    if segments.floor > 0 && behind > 0 && behind + 1 >= segments.disk {
        return Some("is about to lose messages to retention; speed it up or keep more".into());
    }
    (behind > FAR_BEHIND)
        .then(|| format!("is {behind} segments and {lag} messages behind; see whether it hangs"))
}

fn of_keeper(Holder { keeper, sequence, lost, .. }: &Holder) -> Option<String> {
    if sequence.is_none() {
        return Some(format!(
            "what keeper '{keeper}' needs cannot be read, so all is held; remove 0/keeper-{keeper}"
        ));
    }
    (*lost > 0).then(|| {
        format!(
            "retention removed {lost} messages that keeper '{keeper}' needs after a restart; keep more, or remove \
             0/keeper-{keeper} if it will not come back"
        )
    })
}

fn is_nearly_full(room: &Room, needed: u64) -> bool {
    room.free < (room.total / 20).min(ENOUGH).max(needed)
}

fn nearly_full(what: &str, Room { directory, free, .. }: &Room, remedy: &str) -> String {
    format!("{what} nearly full: {directory} has {free} bytes left; {remedy}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_reader_has_lost_is_told_from_what_it_is_about_to_lose() {
        let segments = Segments { floor: 7, memory: 1, memory_bytes: 0, disk: 4, disk_bytes: 0 };
        let reader = |segments_behind, removed| Follower {
            reader: "slow".into(),
            process: 1,
            gate: "durable",
            sequence: 100,
            lag: 900,
            segments_behind,
            removed,
        };
        assert_eq!(of_reader(&segments, &reader(2, 0)), None);
        let about = of_reader(&segments, &reader(3, 0)).expect("it is in the oldest");
        assert!(about.starts_with("is about to lose"), "{about}");
        let lost = of_reader(&segments, &reader(4, 50)).expect("it is before the oldest");
        assert!(
            lost.starts_with("has not read 50 messages that retention removed, and has lost them"),
            "{lost}"
        );
        let hanging = of_reader(&Segments { floor: 0, disk: 90, ..segments }, &reader(17, 0));
        assert!(hanging.is_some_and(|why| why.starts_with("is 17 segments and 900 messages behind")));
    }

    #[test]
    fn nearly_full_is_a_share_of_small_places_and_an_amount_of_large_ones() {
        let room = |total, free| Room { directory: "/".into(), total, free };
        for (total, free, needed, want) in [
            (64 << 20, 60 << 20, 4 << 20, false),
            (64 << 20, 3 << 20, 4 << 20, true),
            (64 << 20, 3 << 20, 0, true),
            (1 << 40, 2 << 30, 4 << 20, false),
            (1 << 40, 1 << 29, 4 << 20, true),
            (0, 0, 0, false),
        ] {
            assert_eq!(
                is_nearly_full(&room(total, free), needed),
                want,
                "{free} of {total}, {needed} needed"
            );
        }
    }
}
