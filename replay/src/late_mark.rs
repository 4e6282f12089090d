//! Causes that are there and are not seen yet.
//!
//! An effect is durable only after its cause is. But topics are asked one after the other how far they are, and of one whose
//! writer's memory is not seen only the mark tells it, which follows milliseconds later: a cause may be there without being
//! seen. So none is called missing before its topic was asked after the effect was known to be durable, and was given the
//! time that a mark takes.

use std::thread;
use std::time::Duration;

/// How long a mark is waited for, and the first pause of that; each one behind it is twice as long. A mark follows within
/// 10 ms and the time of a write.
const PATIENCE: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_millis(4);

/// Whether an input is found to have a cause when it is asked anew, after its mark was waited for where only that tells.
/// Before each pause `on_pause` is called.
pub(crate) fn comes<I, E>(
    input: &mut I,
    is_blind: impl Fn(&I) -> bool,
    mut is_there: impl FnMut(&mut I) -> bool,
    mut on_pause: impl FnMut() -> Result<(), E>,
) -> Result<bool, E> {
    let (mut pause, mut left) = (FIRST_PAUSE, PATIENCE);
    loop {
        // Before it is asked how far it is: a writer that goes in between leaves a newer mark.
        let is_told_late = is_blind(input);
        if is_there(input) {
            return Ok(true);
        }
        if left.is_zero() || !is_told_late {
            return Ok(false);
        }
        on_pause()?;
        thread::sleep(pause.min(left));
        (pause, left) = (2 * pause, left.saturating_sub(pause));
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[test]
    fn a_writer_that_goes_while_it_is_asked_is_asked_once_more() {
        let mut asked = 0;
        // Blind until it was asked once; there only after that.
        let is_there = |asked: &mut u32| {
            *asked += 1;
            *asked > 1
        };
        let Ok(found) = comes(&mut asked, |asked| *asked == 0, is_there, || Ok::<_, Infallible>(()));
        assert!(found);
    }

    #[test]
    fn who_is_seen_is_asked_anew_and_not_waited_for() {
        let (mut asked, mut pauses) = (0, 0);
        let is_there = |asked: &mut u32| {
            *asked += 1;
            false
        };
        let Ok(found) = comes(
            &mut asked,
            |_| false,
            is_there,
            || {
                pauses += 1;
                Ok::<_, Infallible>(())
            },
        );
        assert_eq!((found, asked, pauses), (false, 1, 0));
    }
}
