//! The merge order: what was recorded is taken again, and nothing else passes for it.

use bus::event::risk::MergeRun;
use bus::event::{Cause, Time};
use engine::{Head, INPUTS, MergeError, MergeRecorder, MergeReplay};
use proptest::prelude::*;

/// Takes all messages up to `ends` with all publish times of an input equal.
fn replayed(replay: &mut MergeReplay, mut next: [u64; INPUTS], ends: [u64; INPUTS]) -> Vec<(u16, u64, bool)> {
    let mut taken = Vec::new();
    loop {
        let head = |input: usize| {
            let publish_time = Time(next[input] * 10 + input as u64);
            (next[input] < ends[input]).then_some(Head { sequence: next[input], publish_time })
        };
        let Some(turn) = replay.next([head(0), head(1)]).expect("the recorded order holds") else {
            return taken;
        };
        next[usize::from(turn.input)] += 1;
        taken.push((turn.input, turn.sequence, turn.recorded));
    }
}

fn run(input: u16, first: u64, count: u64) -> MergeRun {
    let sequence = first.wrapping_add(count).wrapping_sub(1);
    MergeRun { cause: Cause { sequence, epoch: 1, input, index: 0 }, first, count }
}

proptest! {
    /// Whatever the order, the batches and the epochs: what was recorded is what is taken.
    #[test]
    fn a_recorded_order_is_taken_again(
        messages in proptest::collection::vec((0u16..2, any::<bool>(), 0u32..3), 0..300),
        skip in 0usize..300,
    ) {
        let (mut recorder, mut replay) = (MergeRecorder::new(), MergeReplay::new([0, 0]));
        let (mut next, mut order, mut events) = ([0, 0], Vec::new(), Vec::new());
        for (input, is_batch, epoch) in messages {
            let sequence = &mut next[usize::from(input)];
            recorder.record(input, epoch, *sequence);
            order.push((input, *sequence, true));
            *sequence += 1;
            if is_batch || recorder.is_full() {
                events.extend(recorder.drain());
            }
        }
        events.extend(recorder.drain());
        prop_assert_eq!(recorder.messages(), 0);
        events.iter().for_each(|event| replay.push(event).expect("a recorded run is accepted"));
        prop_assert_eq!(replayed(&mut replay, [0, 0], next), &order[..]);

        // From any cut of that order, the rest of it.
        let skip = skip.min(order.len());
        let mut cut = [0, 0];
        order[..skip].iter().for_each(|&(input, ..)| cut[usize::from(input)] += 1);
        let mut resumed = MergeReplay::new(cut);
        events.iter().for_each(|event| resumed.push(event).expect("a recorded run is accepted"));
        prop_assert_eq!(replayed(&mut resumed, cut, next), &order[skip..]);
    }

    /// No run from a journal that lies can panic, and an accepted one continues its input.
    #[test]
    fn absurd_runs_are_refused(runs in proptest::collection::vec((0u16..4, any::<[u64; 3]>()), 0..20)) {
        let mut replay = MergeReplay::new([5, 5]);
        for (input, [first, count, sequence]) in runs {
            let cause = Cause { sequence, epoch: 0, input, index: 0 };
            let _ = replay.push(&MergeRun { cause, first, count });
        }
    }
}

#[test]
fn beyond_the_record_the_order_is_canonical_and_says_so() {
    let mut replay = MergeReplay::new([0, 0]);
    replay.push(&run(1, 0, 2)).expect("the first run is accepted");
    let taken = replayed(&mut replay, [0, 0], [3, 4]);
    let (recorded, canonical) = (true, false);
    assert_eq!(
        taken,
        [
            (1, 0, recorded),
            (1, 1, recorded),
            (0, 0, canonical),
            (0, 1, canonical),
            (0, 2, canonical),
            (1, 2, canonical),
            (1, 3, canonical),
        ]
    );
}

#[test]
fn equal_times_go_by_input() {
    let head = Some(Head { sequence: 7, publish_time: Time(5) });
    let turn = MergeReplay::new([7, 7]).next([head, head]).expect("nothing is recorded");
    assert_eq!(turn.map(|turn| turn.input), Some(engine::MARKET_DATA));
}

#[test]
fn an_order_goes_over_messages_only_where_the_input_lacks_them() {
    let mut replay = MergeReplay::new([0, 0]);
    replay.push(&run(0, 4, 1)).expect("those before may be lost");
    let head = |sequence| Some(Head { sequence, publish_time: Time(0) });
    let there = Err(MergeError::Discontinuous { input: 0, expected: 3, found: 4 });
    assert_eq!(replay.next([head(3), None]), there);
    assert_eq!(replay.next([None, None]), Err(MergeError::Missing { input: 0, sequence: 4 }));
    let turn = replay.next([head(4), None]).expect("they are lost");
    assert_eq!(turn.map(|turn| turn.sequence), Some(4));
}

#[test]
fn broken_records_are_named() {
    let mut replay = MergeReplay::new([0, 0]);
    assert_eq!(replay.push(&run(2, 0, 1)), Err(MergeError::UnknownInput { input: 2 }));
    assert_eq!(replay.push(&run(0, 4, 0)), Err(MergeError::Malformed { input: 0, first: 4 }));
    replay.push(&run(0, 0, 3)).expect("the first run is accepted");
    assert_eq!(
        replay.push(&run(0, 2, 3)),
        Err(MergeError::Discontinuous { input: 0, expected: 3, found: 2 })
    );
    assert_eq!(replay.next([None, None]), Err(MergeError::Missing { input: 0, sequence: 0 }));
    assert_eq!(
        MergeError::Missing { input: 1, sequence: 7 }.to_string(),
        "merge order: message 7 of trades was merged but is not there; verify the journals with `replay verify`"
    );
}
