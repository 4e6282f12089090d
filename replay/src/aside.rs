//! Effects that had been durable and were cut, because an input lost their causes, or was replaced by an older copy.

use bus::event::Time;
use bus::program::{Date, counted};
use bus::{Bus, SetAside};

use crate::{Damage, DamageKind};

/// What of a topic was cut so, as long as its bytes are kept beside.
pub(crate) fn cut_of(bus: &Bus, topic: &str) -> Vec<Damage> {
    match bus.set_aside(topic) {
        Ok(cuts) => cuts.into_iter().map(|cut| told(topic, cut)).collect(),
        // Whoever reads the topic tells so too.
        Err(error) if error.is_missing() => Vec::new(),
        Err(error) => vec![Damage::unreadable(format_args!("what was cut and kept beside: {error}"))],
    }
}

fn told(topic: &str, cut: SetAside) -> Damage {
    let SetAside { sequences: (from, to), positions, epoch, time, files: (first, last) } = cut;
    let when = time.map_or("at an unknown time".into(), |time| format!("at {}", moment(Time(time))));
    let files = if first == last { first } else { format!("{first} to {last}") };
    let detail = format!(
        "{} of epoch {epoch}, cut {when}, as an input lacked their causes: these are lost, or it was replaced by an older \
         copy, or by another bus's; restore its newest copy; they are kept in {topic}/0/{files}, \
         which is to be moved away once that is settled",
        counted(to - from, "message")
    );
    Damage { kind: DamageKind::Cut, from, to, positions: Some(positions), detail: Some(detail) }
}

/// A moment for people, in UTC.
fn moment(time: Time) -> String {
    let (number, seconds) = (Date::of(time).number(), time.0 / 1_000_000_000 % 86_400);
    let (year, month, day) = (number / 10_000, number / 100 % 100, number % 100);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_told_to_the_second() {
        assert_eq!(moment(Time(0)), "1970-01-01 00:00:00 UTC");
        assert_eq!(moment(Time(1_709_210_096_999_999_999)), "2024-02-29 12:34:56 UTC");
    }
}
