//! Positions against the list of their fills, and what they lead to.

mod common;

use bus::event::{Money, Price, Quantity, Side};
use common::*;
use engine::{Effect, Oddity, PositionView, State};
use proptest::prelude::*;
use proptest::sample::Index;

fn only_position(state: &State) -> PositionView {
    let positions: Vec<_> = state.positions().collect();
    assert_eq!(positions.len(), 1);
    positions[0]
}

/// A fill as the model keeps it.
#[derive(Debug, Clone, Copy)]
struct Row {
    id: u64,
    quantity: i64,
    price: i64,
}

/// Average cost by the book: long arithmetic, one fill after the other.
fn replayed(rows: &[Row]) -> (i64, i128, i128) {
    let (mut held, mut cost, mut realised) = (0i64, 0i128, 0i128);
    for row in rows {
        let closing = if held.signum() * row.quantity.signum() < 0 {
            row.quantity.signum() * row.quantity.abs().min(held.abs())
        } else {
            0
        };
        if closing != 0 {
            let removed = half_even(cost * i128::from(closing.abs()), i128::from(held.abs()));
            realised += -i128::from(closing) * i128::from(row.price) - removed;
            cost -= removed;
        }
        let opening = row.quantity - closing;
        cost += i128::from(opening) * i128::from(row.price);
        held += row.quantity;
    }
    (held, cost, realised)
}

fn half_even(numerator: i128, denominator: i128) -> i128 {
    let (floor, rest) = (numerator.div_euclid(denominator), numerator.rem_euclid(denominator));
    match (2 * rest).cmp(&denominator) {
        std::cmp::Ordering::Less => floor,
        std::cmp::Ordering::Greater => floor + 1,
        std::cmp::Ordering::Equal => floor + floor.rem_euclid(2),
    }
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let quantity =
        (1i64..2_000, any::<bool>()).prop_map(|(quantity, buy)| if buy { quantity } else { -quantity });
    let row = (quantity, -1_000_000_007i64..900_000_000_007);
    proptest::collection::vec(row, 0..80)
        .prop_map(|rows| (0..).zip(rows).map(|(id, (quantity, price))| Row { id, quantity, price }).collect())
}

fn assert_replayed(state: &State, rows: &[Row]) {
    let Some(position) = state.positions().next() else { return assert!(rows.is_empty()) };
    let (held, cost, realised) = replayed(rows);
    let holding = position.holding;
    assert_eq!((holding.quantity.0, holding.cost.0, holding.realised.0), (held, cost, realised));
    let cash: i128 = rows.iter().map(|row| -i128::from(row.quantity) * i128::from(row.price)).sum();
    assert_eq!(holding.realised.0 - holding.cost.0, cash, "money is conserved");
    if held == 0 {
        assert_eq!(holding.cost, Money(0));
        assert_eq!(holding.realised.0, cash, "a flat position has realised the cash that flowed");
    }
}

proptest! {
    #[test]
    fn fills_add_up_exactly(rows in rows()) {
        let mut state = State::new();
        for (n, row) in rows.iter().enumerate() {
            apply(&mut state, &fill("A", "Z", row.id, row.quantity, Price(row.price)), n as u64);
            assert_replayed(&state, &rows[..=n]);
        }
    }

    /// After a bust or a correction the position is what it would be had the fill been so from the start.
    #[test]
    fn busts_and_corrections_rewrite_history(
        rows in rows(),
        amendments in proptest::collection::vec((0usize..80, any::<Option<(i8, i32)>>()), 0..20),
    ) {
        let (mut state, mut model) = (State::new(), rows.clone());
        for row in &rows {
            apply(&mut state, &fill("A", "Z", row.id, row.quantity, Price(row.price)), row.id);
        }
        for (n, (place, terms)) in (1_000..).zip(amendments) {
            if model.is_empty() {
                break;
            }
            let place = place % model.len();
            match terms {
                Some((quantity, price)) if quantity != 0 => {
                    let row = Row { quantity: quantity.into(), price: price.into(), id: model[place].id };
                    let corrected = correction("A", "Z", row.id, n, row.quantity, Price(row.price));
                    prop_assert_eq!(apply(&mut state, &corrected, n).len(), 1);
                    model[place] = row;
                }
                _ => {
                    let row = model.remove(place);
                    prop_assert_eq!(apply(&mut state, &bust("A", "Z", row.id), n).len(), 1);
                }
            }
            assert_replayed(&state, &model);
        }
    }

    /// The same in a position so long that it is computed again from within, while other fills come, also of another account,
    /// and where an amendment is refused because a sum would leave its range.
    #[test]
    fn a_long_history_is_rewritten_from_any_place(
        steps in proptest::collection::vec((any::<Index>(), any::<Option<(i8, i32)>>(), 0u64..400, any::<bool>()), 1..25),
        before in 0u64..1_500,
    ) {
        let (mut state, mut model, mut id) = (State::new(), Vec::new(), 0);
        let mut add = |state: &mut State, model: &mut Vec<Row>, count: u64| {
            for _ in 0..count {
                let drawn = (id * 0x9e37_79b9) % 1_009;
                let quantity = (1 + drawn % 300) as i64 * if drawn % 5 < 2 { -1 } else { 1 };
                let row = Row { id, quantity, price: 1_000_000_007 + drawn as i64 };
                for account in ["A", "B"] {
                    apply(state, &fill(account, "Z", row.id, row.quantity, Price(row.price)), row.id);
                }
                model.push(row);
                id += 1;
            }
        };
        add(&mut state, &mut model, before);
        for (n, (at, terms, more, overflows)) in (1_000_000..).zip(steps) {
            add(&mut state, &mut model, more + 1);
            let at = at.index(model.len());
            if overflows && model.len() > 1 {
                let beyond = correction("A", "Z", model[at].id, n + 500_000, i64::MAX, Price(1));
                apply(&mut state, &beyond, n);
                if state.positions().next().is_some_and(|position| !position.overflowed) {
                    model[at] = Row { quantity: i64::MAX, price: 1, ..model[at] };
                }
            }
            match terms {
                Some((quantity, price)) if quantity != 0 => {
                    let row = Row { quantity: quantity.into(), price: price.into(), id: model[at].id };
                    apply(&mut state, &correction("A", "Z", row.id, n, row.quantity, Price(row.price)), n);
                    model[at] = row;
                }
                _ => drop(apply(&mut state, &bust("A", "Z", model.remove(at).id), n)),
            }
            assert_replayed(&state, &model);
        }
    }

    /// No sequence of messages, however absurd, panics or makes money.
    #[test]
    fn absurd_messages_are_survived(events in proptest::collection::vec(trade_message(), 0..300)) {
        let mut state = State::new();
        configure(&mut state, &[limit("", "", 100)], &[fee("", "", 1_000, 100_000), fee("BETA", "Z", i64::MAX, i64::MIN)]);
        for (n, event) in (0..).zip(&events) {
            apply(&mut state, event, n);
        }
        for position in state.positions() {
            prop_assert!(position.holding.quantity.0 != 0 || position.holding.cost == Money(0));
        }
    }
}

#[test]
fn a_bust_by_either_execution_id_voids_a_corrected_fill() {
    for reference in [1, 2] {
        let mut state = State::new();
        apply(&mut state, &fill("A", "Z", 1, 10, units(5)), 0);
        apply(&mut state, &correction("A", "Z", 1, 2, 7, units(6)), 1);
        assert_eq!(only_position(&state).holding.cost, Money(42_000_000_000));
        apply(&mut state, &bust("A", "Z", reference), 2);
        assert_eq!(only_position(&state).holding, engine::Holding::default());
        assert_eq!(apply(&mut state, &bust("A", "Z", reference), 3), []);
        assert_eq!(state.oddities().count(Oddity::UnknownReference), 1);
    }
}

fn on(date: u32, event: Trades) -> Trades {
    match event {
        Trades::Fill(fill) => Trades::Fill(bus::event::trade::Fill { trade_date: date, ..fill }),
        Trades::Correction(event) => {
            Trades::Correction(bus::event::trade::FillCorrection { trade_date: date, ..event })
        }
        Trades::Bust(bust) => Trades::Bust(bus::event::trade::FillBust { trade_date: date, ..bust }),
        Trades::Withheld(_) => event,
    }
}

/// A venue that numbers its executions anew each day means the fill of the day that it names.
#[test]
fn an_execution_id_means_the_fill_of_its_trade_date() {
    let mut state = State::new();
    for (date, quantity) in [(1, 10), (2, 20), (3, 40)] {
        apply(&mut state, &on(date, fill("A", "Z", 5, quantity, units(1))), date.into());
    }
    let held = |state: &State| only_position(state).holding.quantity.0;
    apply(&mut state, &on(2, bust("A", "Z", 5)), 4);
    assert_eq!(held(&state), 50);
    assert_eq!(apply(&mut state, &on(2, bust("A", "Z", 5)), 5), [], "that one is void already");
    assert_eq!((held(&state), state.oddities().count(Oddity::UnknownReference)), (50, 1));
    apply(&mut state, &on(1, correction("A", "Z", 5, 6, 3, units(1))), 6);
    assert_eq!(held(&state), 43);
    // After midnight, without a trade date of its own: the newest that is valid.
    apply(&mut state, &on(4, bust("A", "Z", 5)), 7);
    assert_eq!(held(&state), 3);
    apply(&mut state, &on(4, bust("A", "Z", 6)), 8);
    assert_eq!(held(&state), 0);
}

#[test]
fn an_overflow_is_refused_and_flagged() {
    let mut state = State::new();
    for id in 0..2 {
        apply(&mut state, &fill("A", "Z", id, i64::MAX, Price(1)), id);
    }
    let position = only_position(&state);
    assert!(position.overflowed);
    assert_eq!(position.holding.quantity, Quantity(i64::MAX));
    assert_eq!(state.oddities().count(Oddity::PositionOverflow), 1);
}

#[test]
fn given_a_withheld_execution_expect_no_position_to_change_and_the_state_to_tell_it() {
    let mut state = State::new();
    apply(&mut state, &fill("A", "Z", 1, 5, units(3)), 0);
    let before = only_position(&state);
    let hash = |state: &State| state.state_hash(engine::Cut::default());
    let unaware = hash(&state);
    assert_eq!(apply(&mut state, &withheld("A", "Z", 2), 1), []);
    assert_eq!(apply(&mut state, &withheld("", "", 3), 2), []);
    assert_eq!(only_position(&state), before);
    assert_eq!((state.withheld(), state.oddities().count(Oddity::WithheldExecution)), (2, 2));
    assert_ne!(hash(&state), unaware, "a state that lacks executions is another one");
    // The venue sends the report anew, under the same ExecID.
    apply(&mut state, &fill("A", "Z", 2, 4, units(3)), 3);
    assert_eq!((only_position(&state).holding.quantity, state.withheld()), (Quantity(9), 2));
}

#[test]
fn the_most_specific_fee_applies() {
    let mut state = State::new();
    let fees = [fee("", "", 1, 0), fee("", "Z", 2, 0), fee("A", "", 3, 0), fee("A", "Z", 4, 0)];
    configure(&mut state, &[], &fees);
    for (account, name, charged) in [("A", "Z", 4), ("A", "Y", 3), ("B", "Z", 2), ("B", "Y", 1)] {
        let effects = apply(&mut state, &fill(account, name, 1, 1, units(1)), 0);
        let Effect::Position(update) = effects[0] else { panic!("the first effect is the position") };
        assert_eq!(update.fees, Money(charged), "{account} {name}");
    }
}

#[test]
fn a_fee_is_rounded_half_to_even_once() {
    let mut state = State::new();
    configure(&mut state, &[], &[fee("", "", 0, 500_000_000)]);
    let charged: Vec<i128> = [1, 3, 5]
        .iter()
        .map(|&price| {
            apply(&mut state, &fill(&format!("A{price}"), "Z", 1, -1, Price(price)), 0);
            state.positions().last().expect("a position was opened").holding.fees.0
        })
        .collect();
    assert_eq!(charged, [0, 2, 2]);
}

fn alerts(effects: &[Effect]) -> Vec<(String, i64, u16)> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Limit(alert) => Some((alert.state.to_string(), alert.value.0, alert.cause.index)),
            Effect::Position(_) => None,
        })
        .collect()
}

#[test]
fn a_limit_alerts_once_when_crossed_and_once_when_kept_again() {
    let mut state = State::new();
    configure(&mut state, &[limit("", "", 1_000), limit("A", "Z", 10)], &[]);
    let met: Vec<_> = [10, 1, 5, -6, -30]
        .iter()
        .zip(0..)
        .map(|(&quantity, id)| alerts(&apply(&mut state, &fill("A", "Z", id, quantity, units(1)), id)))
        .collect();
    let breach = |value| vec![("breach".to_owned(), value, 1)];
    assert_eq!(met, [vec![], breach(11), vec![], vec![("clear".to_owned(), 10, 1)], breach(-20)]);
}

#[test]
fn a_new_configuration_replaces_the_old_and_speaks_at_once() {
    let mut state = State::new();
    assert_eq!(configure(&mut state, &[limit("", "", 1)], &[fee("", "", 5, 0)]), []);
    assert_eq!(alerts(&apply(&mut state, &fill("A", "Z", 0, 2, units(1)), 0)).len(), 1);
    assert_eq!(alerts(&configure(&mut state, &[], &[])), [("clear".to_owned(), 2, 0)]);
    assert_eq!(alerts(&apply(&mut state, &fill("A", "Z", 1, 2, units(1)), 1)), []);
    assert_eq!(only_position(&state).holding.fees, Money(10));
}

#[test]
fn a_tightened_limit_alerts_for_each_open_position_beyond_it_in_order() {
    let mut state = State::new();
    configure(&mut state, &[limit("", "", 100)], &[]);
    let held =
        [("B", "Z", -50), ("A", "Z", 50), ("A", "Y", 10), ("C", "Z", 200), ("B", "A", 11), ("D", "Z", 40)];
    for (&(account, name, quantity), id) in held.iter().zip(0..) {
        apply(&mut state, &fill(account, name, id, quantity, units(1)), id);
    }
    apply(&mut state, &fill("D", "Z", 9, -40, units(1)), 9);
    let effects = configure(&mut state, &[limit("", "", 10), limit("C", "", 100)], &[]);
    let told: Vec<_> = effects
        .iter()
        .map(|effect| match effect {
            Effect::Limit(alert) => {
                assert_eq!((alert.cause.sequence, alert.cause.epoch, alert.exchange_time.0), (0, 0, 0));
                assert_eq!((alert.cause.input, alert.limit), (bus::event::Cause::NONE, text("position")));
                let of = format!("{} {}", alert.account, alert.instrument);
                (of, alert.state.to_string(), alert.value.0, alert.allowed.0, alert.cause.index)
            }
            Effect::Position(update) => panic!("no position has changed: {update:?}"),
        })
        .collect();
    let breach =
        |of: &str, value, allowed, index| (of.to_owned(), "breach".to_owned(), value, allowed, index);
    // C was told under the same limit before; D is flat.
    assert_eq!(told, [breach("A Z", 50, 10, 0), breach("B A", 11, 10, 1), breach("B Z", -50, 10, 2)]);
    assert_eq!(state.settle(), [], "each configuration is judged once");
    let looser = [limit("", "", 20), limit("C", "", 150), limit("B", "A", 10)];
    let again: Vec<_> =
        alerts(&configure(&mut state, &looser, &[])).into_iter().map(|(s, v, _)| (s, v)).collect();
    let breach = |value| ("breach".to_owned(), value);
    assert_eq!(again, [breach(50), breach(-50), breach(200)], "beyond another limit than they were told of");
    let closed = alerts(&apply(&mut state, &fill("B", "A", 10, -5, units(1)), 10));
    assert_eq!(closed, [("clear".to_owned(), 6, 1)]);
    let fees_only = configure(&mut state, &looser, &[fee("", "", 1, 0)]);
    assert_eq!(fees_only, [], "no limit is another");
}

/// What a configuration leads to is the same whether the positions come from executions or from a snapshot.
#[test]
fn a_restored_state_is_judged_alike() {
    let mut state = State::new();
    configure(&mut state, &[limit("A", "", 5)], &[]);
    for (account, id) in [("A", 0), ("B", 1)] {
        apply(&mut state, &fill(account, "Z", id, 9, units(1)), id);
    }
    let bytes = state.snapshot(&engine::Positions::default()).expect("the state fits an archive");
    let mut restored = State::restore(&bytes).expect("an own snapshot is accepted").state;
    assert_eq!(restored.settle(), []);
    let limits = [limit("", "", 5)];
    assert_eq!(configure(&mut restored, &limits, &[]), configure(&mut state, &limits, &[]));
    assert_eq!(restored.path_hash(engine::Cut::default()), state.path_hash(engine::Cut::default()));
}

#[test]
fn effects_carry_their_cause_and_count_from_zero() {
    let mut state = State::new();
    configure(&mut state, &[limit("", "", 0)], &[]);
    let effects = apply(&mut state, &fill("A", "Z", 0, 2, units(1)), 41);
    let causes: Vec<_> = effects
        .iter()
        .map(|effect| match effect {
            Effect::Position(update) => update.cause,
            Effect::Limit(alert) => alert.cause,
        })
        .map(|cause| (cause.sequence, cause.epoch, cause.input, cause.index))
        .collect();
    assert_eq!(causes, [(41, 3, 1, 0), (41, 3, 1, 1)]);
}

#[test]
fn positions_are_marked_where_they_would_be_closed_and_never_made_up() {
    let mut state = State::new();
    apply(&mut state, &fill("A", "Z", 0, 2, units(100)), 0);
    assert_eq!((only_position(&state).mark, only_position(&state).unrealised), (None, None));
    state.apply_market(hidden("Z", 99, 1).message());
    assert_eq!(only_position(&state).unrealised, Some(Money(-2_000_000_000)));
    state.apply_market(add(1, "Z", Side::BUY, 103, 1).message());
    state.apply_market(add(2, "Z", Side::SELL, 105, 1).message());
    assert_eq!(only_position(&state).unrealised, Some(Money(6_000_000_000)));
    apply(&mut state, &fill("A", "Z", 1, -3, units(100)), 1);
    let short = only_position(&state);
    assert_eq!((short.mark, short.unrealised), (Some(units(105)), Some(Money(-5_000_000_000))));
    assert_eq!(short.exposure, Some(Money(-105_000_000_000)));
    apply(&mut state, &fill("A", "Z", 2, 1, units(100)), 2);
    assert_eq!((only_position(&state).mark, only_position(&state).unrealised), (None, Some(Money(0))));
}

/// The example of Trading Technologies' average cost method, with a fee of 0.01 % of each notional, as
/// NautilusTrader's tests print it: realised profit and loss after fees, to eight decimals.
#[test]
fn vector_average_cost() {
    let mut state = State::new();
    configure(&mut state, &[], &[fee("", "", 0, 100_000)]);
    let steps = [
        (12, 100, -12_000_000),
        (17, 99, -28_830_000),
        (-9, 101, 1_389_666_207),
        (-4, 105, 3_619_948_966),
        (3, 103, 3_616_858_966),
    ];
    for (id, (quantity, price, expected)) in (0..).zip(steps) {
        apply(&mut state, &fill("A", "Z", id, quantity, units(price)), id);
        let holding = only_position(&state).holding;
        let after_fees = holding.realised.0 - holding.fees.0;
        assert_eq!(half_even(after_fees, 10), expected, "fill {id}");
    }
    let holding = only_position(&state).holding;
    assert_eq!((holding.quantity, holding.realised.0), (Quantity(19), 36_620_689_655));
    // 19 × the average price that is printed, 99.98003629764065, to the nearest 1e-9.
    assert_eq!(holding.cost.0, 1_899_620_689_655);
    assert_eq!(holding.average_price(), Some(Price(99_980_036_298)));
}

/// Two cycles through flat: +100 at 50, −100 at 55; −50 at 54, +50 at 52.
#[test]
fn vector_netting_cycles() {
    let mut state = State::new();
    let realised: Vec<i128> = [(100, 50), (-100, 55), (-50, 54), (50, 52)]
        .iter()
        .zip(0..)
        .map(|(&(quantity, price), id)| {
            apply(&mut state, &fill("A", "Z", id, quantity, units(price)), id);
            only_position(&state).holding.realised.0 / 1_000_000_000
        })
        .collect();
    assert_eq!(realised, [0, 500, 500, 600]);
}
