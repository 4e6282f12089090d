//! The state hash: equal for equal states however they came about, different for different ones.

mod common;

use bus::event::risk::{EngineConfigured, RiskEventRef};
use bus::event::{Cause, Side, Time};
use common::*;
use engine::{Cut, Effects, State};
use proptest::prelude::*;

const CUT: Cut = Cut { market_data: 3, trades: 4 };

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The merge order of the inputs does not reach the state.
    #[test]
    fn is_the_same_for_any_merge_order(
        market in proptest::collection::vec(market_message(), 0..150),
        trades in proptest::collection::vec(trade_message(), 0..150),
        order in proptest::collection::vec(any::<bool>(), 0..300),
    ) {
        let (mut one, mut other) = (State::new(), State::new());
        market.iter().for_each(|event| one.apply_market(event.message()));
        trades.iter().for_each(|event| drop(apply(&mut one, event, 0)));
        let (mut market, mut trades) = (market.iter(), trades.iter());
        for is_market in order {
            if is_market {
                market.next().into_iter().for_each(|event| other.apply_market(event.message()));
            } else {
                trades.next().into_iter().for_each(|event| drop(apply(&mut other, event, 1)));
            }
        }
        market.for_each(|event| other.apply_market(event.message()));
        trades.for_each(|event| drop(apply(&mut other, event, 2)));
        prop_assert_eq!(one.state_hash(CUT), other.state_hash(CUT));
        prop_assert_eq!(one.oddities(), other.oddities());
    }
}

#[test]
fn covers_what_agrees_and_nothing_else() {
    let base = [add(1, "Z", Side::BUY, 100, 5), add(2, "Z", Side::BUY, 100, 5)];
    let hash = |events: &[Market]| run(events).state_hash(CUT);
    let other_way = [base[1], base[0]];
    assert_ne!(hash(&base), hash(&other_way), "priority counts");
    assert_ne!(hash(&base), hash(&[&base[..], &[gap(b'O', 1, 1)]].concat()), "an open gap counts");
    assert_ne!(hash(&base), hash(&[&base[..], &[hidden("Z", 1, 1)]].concat()), "turnover counts");
    assert_ne!(run(&base).state_hash(CUT), run(&base).state_hash(Cut::default()), "the cut counts");
    assert_eq!(hash(&base), hash(&[&base[..], &[delete(9)]].concat()), "oddities do not count");
    let through = [&base[..], &[add(3, "Z", Side::SELL, 101, 1), delete(3)]].concat();
    assert_eq!(hash(&base), hash(&through), "what is gone does not count");
}

#[test]
fn leaves_out_receive_times_and_epochs() {
    let hash = |receive_time: u64, epoch: u32| {
        let mut state = State::new();
        let Trades::Fill(mut event) = fill("A", "Z", 1, 5, units(3)) else { unreachable!("a fill was made") };
        event.receive_time = Time(receive_time);
        let cause = Cause { sequence: 9, epoch, input: 1, index: 0 };
        state.apply_trade(Trades::Fill(event).message(), cause, &mut Effects::new());
        state.state_hash(CUT)
    };
    assert_eq!(hash(1, 1), hash(2, 7));
}

#[test]
fn what_was_told_of_a_limit_is_path() {
    let filled = |limits: [i64; 2]| {
        let mut state = State::new();
        configure(&mut state, &[limit("", "", limits[0])], &[]);
        apply(&mut state, &fill("A", "Z", 1, 5, units(3)), 0);
        configure(&mut state, &[limit("", "", limits[1])], &[]);
        state
    };
    // A configuration is judged at once, so that which one came before is forgotten.
    assert_eq!(filled([1, 10]).path_hash(CUT), filled([10, 10]).path_hash(CUT));
    let (mut unsaid, said) = (filled([10, 10]), filled([10, 1]));
    let tightened = limit("", "", 1);
    unsaid.apply_config(RiskEventRef::EngineConfigured(&EngineConfigured {
        hash: engine::contents_hash(&[tightened], &[]),
        ..EngineConfigured::default()
    }));
    unsaid.apply_config(RiskEventRef::LimitSet(&tightened));
    assert_eq!(unsaid.state_hash(CUT), said.state_hash(CUT));
    assert_ne!(unsaid.path_hash(CUT), said.path_hash(CUT));
    unsaid.settle();
    assert_eq!(unsaid.path_hash(CUT), said.path_hash(CUT));
}

/// The form is a promise to journals written before: this value changes only with its version.
#[test]
fn the_form_is_fixed() {
    let mut state =
        run(&[session(b'S'), add(1, "Z", Side::BUY, 100, 5), execute(1, 2), gap(b'O', 7, 2), delete(8)]);
    configure(&mut state, &[limit("", "", 1)], &[fee("A", "", 3, 4)]);
    apply(&mut state, &fill("A", "Z", 1, 5, units(3)), 0);
    let hex = |hash: [u8; 32]| hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(
        hex(state.state_hash(CUT)),
        "1a59acdf2ae108d908bb262f031ca02f400c282e599706f321316f55bc0194a5"
    );
    assert_eq!(hex(state.path_hash(CUT)), "41731478dccad501e0c336ec49652046bd5061bb2f953b24b77e368d70de3b7d");
}
