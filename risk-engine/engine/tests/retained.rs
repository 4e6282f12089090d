//! Fills are remembered up to a bound: what is still remembered can be taken back, and what comes too late is said.

mod common;

use std::sync::LazyLock;

use bus::event::{Price, Quantity};
use common::*;
use engine::{Cut, Effect, Oddity, PositionView, Positions, RETAINED_FILLS, State};
use proptest::prelude::*;

/// Fills of account A that are the oldest, so the next ones to be forgotten.
const OLDEST: u64 = 40;

/// As many fills as are retained: some of A, then all of another account.
static FULL: LazyLock<State> = LazyLock::new(|| {
    let mut state = State::new();
    for id in 0..RETAINED_FILLS as u64 {
        let account = if id < OLDEST { "A" } else { "FILLER" };
        apply(&mut state, &fill(account, "Z", id, terms(id).0, Price(terms(id).1)), id);
    }
    state
});

fn terms(id: u64) -> (i64, i64) {
    let quantity = 1 + (id * 7 % 30) as i64;
    (if id.is_multiple_of(3) { -quantity } else { quantity }, 1_000 + (id * 13 % 101) as i64)
}

/// A fill of A as the model keeps it: all of them, with their place among the fills of all accounts.
#[derive(Debug, Clone, Copy)]
struct Row {
    id: u64,
    place: u64,
    quantity: i64,
    price: i64,
    is_void: bool,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Fill { of_a: bool, quantity: i64, price: i64 },
    Bust(usize),
    Correct(usize, i64, i64),
}

fn step() -> impl Strategy<Value = Step> {
    let quantity = || prop_oneof![1i64..40, -40i64..-1];
    prop_oneof![
        5 => (any::<bool>(), quantity(), 1i64..5_000)
            .prop_map(|(of_a, quantity, price)| Step::Fill { of_a, quantity, price }),
        2 => (0usize..80).prop_map(Step::Bust),
        2 => (0usize..80, quantity(), 1i64..5_000).prop_map(|(row, quantity, price)| Step::Correct(row, quantity, price)),
    ]
}

/// Everything ever filled, and how many fills all accounts had.
struct Model {
    rows: Vec<Row>,
    fills: u64,
    unamended: bool,
    too_late: u64,
    void_again: u64,
}

impl Model {
    fn new() -> Self {
        let row = |id| Row { id, place: id, quantity: terms(id).0, price: terms(id).1, is_void: false };
        let rows = (0..OLDEST).map(row).collect();
        Self { rows, fills: RETAINED_FILLS as u64, unamended: false, too_late: 0, void_again: 0 }
    }

    /// Changes a row if it may still be changed; returns whether the position or an alert is reported.
    fn amend(&mut self, at: usize, change: impl FnOnce(&mut Row)) -> Told {
        let first = self.fills - RETAINED_FILLS as u64;
        let forgets = self.rows.iter().any(|row| row.place < first && !row.is_void);
        let row = &mut self.rows[at];
        if row.place >= first && !row.is_void {
            change(row);
            Told::Position
        } else if row.place < first && forgets {
            self.unamended = true;
            self.too_late += 1;
            Told::TooLate
        } else {
            self.void_again += 1;
            Told::Nothing
        }
    }

    fn cash(&self) -> i128 {
        let valid = self.rows.iter().filter(|row| !row.is_void);
        valid.map(|row| -i128::from(row.quantity) * i128::from(row.price)).sum()
    }

    fn held(&self) -> i64 {
        self.rows.iter().filter(|row| !row.is_void).map(|row| row.quantity).sum()
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Told {
    Position,
    TooLate,
    Nothing,
}

fn told(effects: &[Effect]) -> Told {
    match effects {
        [] => Told::Nothing,
        [Effect::Position(_)] => Told::Position,
        [Effect::Limit(alert)] => {
            assert_eq!(alert.limit.to_string(), engine::RETAINED_FILLS_LIMIT);
            assert_eq!((alert.state.to_string(), alert.account), ("breach".into(), text("A")));
            assert_eq!(alert.allowed, Quantity(RETAINED_FILLS as i64));
            Told::TooLate
        }
        other => panic!("one effect at most: {other:?}"),
    }
}

fn of_a(state: &State) -> PositionView {
    state.positions().next().expect("A has a position")
}

/// The message of a step, and what the model expects it to lead to.
fn play(model: &mut Model, n: u64, step: Step) -> (Trades, Told) {
    let id = 1_000_000 + n;
    match step {
        Step::Fill { of_a, quantity, price } => {
            let account = if of_a { "A" } else { "FILLER" };
            if of_a {
                model.rows.push(Row { id, place: model.fills, quantity, price, is_void: false });
            }
            model.fills += 1;
            (fill(account, "Z", id, quantity, Price(price)), Told::Position)
        }
        Step::Bust(row) => {
            let at = row % model.rows.len();
            let expected = model.amend(at, |row| row.is_void = true);
            (bust("A", "Z", model.rows[at].id), expected)
        }
        Step::Correct(row, quantity, price) => {
            let at = row % model.rows.len();
            let expected = model.amend(at, |row| (row.quantity, row.price) = (quantity, price));
            (correction("A", "Z", model.rows[at].id, id, quantity, Price(price)), expected)
        }
    }
}

fn restored(state: &State) -> State {
    let bytes = state.snapshot(&Positions::default()).expect("the state fits an archive");
    State::restore(&bytes).expect("an own snapshot is accepted").state
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    /// However fills fall out of memory between busts and corrections, and wherever a snapshot takes the place of the
    /// messages before it: money is conserved, what is remembered is amended, and what comes too late is told.
    #[test]
    fn what_is_remembered_is_amended_and_what_is_not_is_told(
        steps in proptest::collection::vec(step(), 1..120),
        restart: proptest::sample::Index,
    ) {
        let (mut state, mut model) = (FULL.clone(), Model::new());
        let mut restarted = None;
        for (n, step) in (0..).zip(&steps) {
            if n == restart.index(steps.len()) as u64 {
                restarted = Some(restored(&state));
            }
            let (message, expected) = play(&mut model, n, *step);
            let effects = apply(&mut state, &message, n);
            prop_assert_eq!(told(&effects), expected, "{:?}", step);
            let position = of_a(&state);
            prop_assert_eq!(position.holding.quantity.0, model.held());
            prop_assert_eq!(position.holding.realised.0 - position.holding.cost.0, model.cash());
            prop_assert_eq!(position.unamended, model.unamended);
            if let Some(other) = &mut restarted {
                prop_assert_eq!(apply(other, &message, n), effects);
            }
        }
        let oddities = state.oddities();
        prop_assert_eq!(oddities.count(Oddity::ForgottenFill), model.too_late);
        prop_assert_eq!(oddities.count(Oddity::UnknownReference), model.void_again);
        let other = restarted.expect("a snapshot was taken");
        prop_assert_eq!(state.state_hash(Cut::default()), other.state_hash(Cut::default()));
    }
}

#[test]
fn memory_ends_where_it_is_said_to() {
    let sizes: Vec<usize> = [0, 1_000]
        .map(|more| {
            let mut state = FULL.clone();
            for n in 0..more {
                apply(&mut state, &fill("A", "Z", 1_000_000 + n, 1, Price(1)), n);
            }
            state.snapshot(&Positions::default()).expect("the state fits an archive").len()
        })
        .into();
    assert_eq!(sizes[0], sizes[1], "fills beyond the bound take no room");
    let a_fill = sizes[0] / RETAINED_FILLS;
    assert_eq!(a_fill, 80, "bytes of a snapshot for each fill, as documented");
}

#[test]
fn a_flag_outlives_what_comes_after_it() {
    let mut state = FULL.clone();
    apply(&mut state, &fill("A", "Z", 1_000_000, 1, Price(1)), 0);
    let before = of_a(&state);
    assert!(!before.unamended);
    assert_eq!(told(&apply(&mut state, &bust("A", "Z", 0), 1)), Told::TooLate);
    assert_eq!(PositionView { unamended: false, ..of_a(&state) }, before, "the figures stay");
    assert_eq!(told(&apply(&mut state, &bust("A", "Z", 1), 2)), Told::Position);
    assert!(of_a(&state).unamended && of_a(&restored(&state)).unamended);
    assert!(!state.positions().any(|position| position.unamended && position.account != text("A")));
}

/// Busts leave behind what they computed on the way; that is right also when fills before, and at, those places are
/// forgotten: a state that was restored has nothing of it.
#[test]
fn what_earlier_busts_computed_serves_later_ones_when_fills_are_forgotten() {
    let mut state = FULL.clone();
    let amend = |state: &mut State, id: u64| {
        let effects = apply(state, &bust("FILLER", "Z", id), id);
        assert_eq!(told(&effects), Told::Position, "{id}");
        effects
    };
    amend(&mut state, OLDEST + 1_200);
    for n in 0..900 {
        apply(&mut state, &fill("FILLER", "Z", 2_000_000 + n, 1 + n as i64 % 7, Price(1_000 + n as i64)), n);
        if n == 300 {
            amend(&mut state, OLDEST + 900);
        }
    }
    let mut other = restored(&state);
    for id in
        [OLDEST + 1_000, OLDEST + 1_025, OLDEST + 5_000, 2_000_300, RETAINED_FILLS as u64 - 1, OLDEST + 870]
    {
        assert_eq!(amend(&mut state, id), amend(&mut other, id), "{id}");
    }
    assert_eq!(state.state_hash(Cut::default()), other.state_hash(Cut::default()));
}
