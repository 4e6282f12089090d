//! Books against a model that keeps one flat list of orders.

mod common;

use std::collections::BTreeMap;

use bus::event::{Price, Quantity, Side, Symbol};
use common::*;
use engine::{Oddity, Quote, State};
use proptest::prelude::*;

#[derive(Debug, Clone, Copy, PartialEq)]
struct Order {
    symbol: Symbol,
    side: Side,
    price: Price,
    quantity: i64,
    priority: usize,
}

/// Orders by reference, and what was met.
#[derive(Default)]
struct Model {
    orders: BTreeMap<u64, Order>,
    executed: BTreeMap<Symbol, (i128, i128)>,
    hidden: BTreeMap<Symbol, i128>,
    odd: BTreeMap<Oddity, u64>,
    step: usize,
}

impl Model {
    fn odd(&mut self, oddity: Oddity) {
        *self.odd.entry(oddity).or_default() += 1;
    }

    fn level(&self, symbol: Symbol, side: Side, price: Price) -> i128 {
        let at = |o: &&Order| o.symbol == symbol && o.side == side && o.price == price;
        self.orders.values().filter(at).map(|order| i128::from(order.quantity)).sum()
    }

    fn rest(&mut self, reference: u64, order: Order) {
        let sum = self.level(order.symbol, order.side, order.price) + i128::from(order.quantity);
        if sum > i128::from(i64::MAX) {
            return self.odd(Oddity::BookOverflow);
        }
        self.orders.insert(reference, order);
    }

    fn take(&mut self, reference: u64, quantity: i64) -> Option<(Order, i64)> {
        let Some(order) = self.orders.get_mut(&reference) else {
            self.odd(Oddity::UnknownOrder);
            return None;
        };
        if quantity <= 0 {
            self.odd(Oddity::InvalidQuantity);
            return None;
        }
        let (before, taken) = (*order, quantity.min(order.quantity));
        order.quantity -= taken;
        if order.quantity == 0 {
            self.orders.remove(&reference);
        }
        if quantity > taken {
            self.odd(Oddity::MoreThanLeft);
        }
        Some((before, taken))
    }

    fn count(&mut self, taken: Option<(Order, i64)>, price: Option<Price>) {
        if let Some((order, quantity)) = taken {
            let executed = self.executed.entry(order.symbol).or_default();
            executed.0 += i128::from(quantity);
            executed.1 += price.unwrap_or(order.price).times(Quantity(quantity)).0;
        }
    }

    fn replace(&mut self, old: u64, new: u64, price: Price, quantity: i64) {
        let Some(&order) = self.orders.get(&old) else { return self.odd(Oddity::UnknownOrder) };
        if quantity <= 0 {
            return self.odd(Oddity::InvalidQuantity);
        }
        if new != old && self.orders.contains_key(&new) {
            return self.odd(Oddity::DuplicateOrder);
        }
        self.orders.remove(&old);
        self.rest(new, Order { price, quantity, priority: self.step, ..order });
    }

    fn apply(&mut self, event: &Market) {
        self.step += 1;
        match *event {
            Market::Add(a) if a.quantity.0 <= 0 => self.odd(Oddity::InvalidQuantity),
            Market::Add(a) if a.side.sign() == 0 => self.odd(Oddity::UnknownSide),
            Market::Add(a) if self.orders.contains_key(&a.order) => self.odd(Oddity::DuplicateOrder),
            Market::Add(a) => {
                let (symbol, quantity, priority) = (a.instrument, a.quantity.0, self.step);
                self.rest(a.order, Order { symbol, side: a.side, price: a.price, quantity, priority });
            }
            Market::Delete(d) if self.orders.remove(&d.order).is_none() => self.odd(Oddity::UnknownOrder),
            Market::Reduce(r) => {
                self.take(r.order, r.quantity.0);
            }
            Market::Execute(e) => {
                let taken = self.take(e.order, e.quantity.0);
                self.count(taken, None);
            }
            Market::ExecuteAt(e) => {
                let taken = self.take(e.order, e.quantity.0);
                if e.printable.0 == b'Y' {
                    self.count(taken, Some(e.price));
                }
            }
            Market::Replace(r) => self.replace(r.order, r.new_order, r.price, r.quantity.0),
            Market::Trade(t) if t.quantity.0 <= 0 => self.odd(Oddity::InvalidQuantity),
            Market::Trade(t) => *self.hidden.entry(t.instrument).or_default() += i128::from(t.quantity.0),
            Market::Cross(c) if c.quantity.0 < 0 => self.odd(Oddity::InvalidQuantity),
            _ => {}
        }
    }

    /// Prices from the best, with their orders in priority.
    fn depth(&self, symbol: Symbol, side: Side) -> Vec<(Price, Vec<(u64, Quantity)>)> {
        let mut levels: BTreeMap<i128, Vec<(usize, u64, Quantity)>> = BTreeMap::new();
        for (&reference, order) in self.orders.iter().filter(|(_, o)| o.symbol == symbol && o.side == side) {
            let level = levels.entry(-i128::from(order.price.0) * i128::from(side.sign())).or_default();
            level.push((order.priority, reference, Quantity(order.quantity)));
        }
        let price = |rank: i128| Price((-rank * i128::from(side.sign())) as i64);
        let queue = |mut orders: Vec<(usize, u64, Quantity)>| {
            orders.sort_unstable();
            orders.into_iter().map(|(_, reference, quantity)| (reference, quantity)).collect()
        };
        levels.into_iter().map(|(rank, orders)| (price(rank), queue(orders))).collect()
    }
}

fn assert_equal(state: &State, model: &Model) {
    for name in SYMBOLS {
        let Some(book) = state.book(symbol(name)) else {
            assert!(!model.orders.values().any(|order| order.symbol == symbol(name)));
            continue;
        };
        let mut orders = 0;
        for side in [Side::BUY, Side::SELL] {
            let wanted = model.depth(symbol(name), side);
            let found: Vec<_> = book.depth(side).map(|(price, orders)| (price, orders.collect())).collect();
            assert_eq!(found, wanted, "{name} {side:?}");
            assert_eq!(book.levels(side), wanted.len());
            let size =
                |orders: &[(u64, Quantity)]| Quantity(orders.iter().map(|(_, quantity)| quantity.0).sum());
            let best = wanted.first().map(|(price, orders)| Quote { price: *price, size: size(orders) });
            assert_eq!(book.best(side), best);
            orders += wanted.iter().map(|(_, orders)| orders.len()).sum::<usize>();
        }
        assert_eq!(book.orders() as usize, orders);
        let executed = model.executed.get(&symbol(name)).copied().unwrap_or_default();
        assert_eq!((book.executed().volume, book.executed().notional.0), executed);
        assert_eq!(book.hidden().volume, model.hidden.get(&symbol(name)).copied().unwrap_or_default());
    }
    let met: BTreeMap<Oddity, u64> = state.oddities().met().collect();
    assert_eq!(met, model.odd);
}

proptest! {
    #[test]
    fn books_hold_what_a_flat_list_holds(events in proptest::collection::vec(order_message(25), 0..400)) {
        let (mut state, mut model) = (State::new(), Model::default());
        for event in &events {
            state.apply_market(event.message());
            model.apply(event);
            assert_equal(&state, &model);
        }
    }

    #[test]
    fn deep_books_hold_what_a_flat_list_holds(
        steps in proptest::collection::vec((1u64..2_000, any::<bool>(), 1i64..500, 1i64..9, 0..4), 0..3_000),
    ) {
        let (mut state, mut model) = (State::new(), Model::default());
        for (order, is_buy, distance, quantity, kind) in steps {
            let (side, price) = if is_buy { (Side::BUY, -distance) } else { (Side::SELL, distance) };
            let event = if kind == 0 { delete(order) } else { add(order, "Z", side, price, quantity) };
            state.apply_market(event.message());
            model.apply(&event);
        }
        assert_equal(&state, &model);
    }
}

#[test]
fn executions_print_at_the_resting_price_and_unprintable_ones_do_not_count() {
    let state = run(&[
        add(1, "Z", Side::BUY, 100, 50),
        execute(1, 10),
        execute_at(1, 10, 99, b'Y'),
        execute_at(1, 10, 98, b'N'),
        hidden("Z", 97, 5),
        cross("Z", 96, 7),
    ]);
    let book = state.book(symbol("Z")).expect("the book was opened");
    assert_eq!((book.executed().volume, book.executed().notional.0), (20, i128::from(units(1_990).0)));
    assert_eq!((book.hidden().volume, book.crossed().volume), (5, 7));
    assert_eq!(book.best(Side::BUY), Some(Quote { price: units(100), size: Quantity(20) }));
    assert_eq!(book.last_price(), Some(units(96)));
}

#[test]
fn a_replaced_order_keeps_its_side_and_goes_behind_the_queue() {
    let state = run(&[
        add(1, "Z", Side::SELL, 100, 5),
        add(2, "Z", Side::SELL, 100, 6),
        replace(1, 3, 100, 5),
        Market::Status(bus::event::market::TradingStatus { instrument: symbol("Z"), ..Default::default() }),
    ]);
    let book = state.book(symbol("Z")).expect("the book was opened");
    let queue: Vec<u64> =
        book.depth(Side::SELL).flat_map(|(_, orders)| orders.map(|(reference, _)| reference)).collect();
    assert_eq!(queue, [2, 3]);
}

#[test]
fn a_new_session_empties_the_books_and_forgets_gaps() {
    let state = run(&[session(b'S'), add(1, "Z", Side::BUY, 1, 1), gap(b'O', 5, 2), session(b'S')]);
    assert_eq!(state.books().count(), 0);
    assert!(!state.is_stale());
    assert_eq!(state.session().date, 20_260_102);
}

#[test]
fn given_a_session_that_is_taken_up_again_behind_another_expect_its_books_to_be_stale() {
    let Market::Session(of_test) = session(b'S') else { unreachable!() };
    let again = Market::Session(bus::event::market::Session { venue_sequence: 90, ..of_test });
    let (first, second) = (add(1, "Z", Side::BUY, 1, 1), add(2, "Z", Side::BUY, 1, 1));
    let mut state = run(&[session(b'S'), first, gap(b'O', 40, 50), session(b'S'), again, second]);
    assert!(state.is_stale(), "order 1 is not in the book");
    state.apply_market(gap(b'W', 60, 30).message());
    state.apply_market(gap(b'C', 40, 20).message());
    assert!(state.is_stale(), "nothing brings it back");
    assert_eq!(state.oddities().count(Oddity::UnknownGap), 0, "the gap was opened before");
    state.apply_market(session(b'S').message());
    assert!(!state.is_stale());
}

#[test]
fn an_open_gap_makes_every_book_stale_until_all_gaps_are_closed() {
    let mut state = run(&[add(1, "Z", Side::BUY, 1, 1), gap(b'O', 5, 2), gap(b'O', 9, 1)]);
    let stale = |state: &State| state.book(symbol("Z")).expect("the book was opened").is_stale();
    assert!(stale(&state));
    state.apply_market(gap(b'C', 5, 2).message());
    assert!(stale(&state));
    assert_eq!(state.open_gaps().collect::<Vec<_>>(), [(9, 10)]);
    state.apply_market(gap(b'C', 9, 1).message());
    assert!(!stale(&state));
}

#[test]
fn what_is_withdrawn_of_a_gap_makes_no_book_stale() {
    let mut state = run(&[add(1, "Z", Side::BUY, 1, 1), gap(b'O', 5, 1 << 62), gap(b'W', 7, (1 << 62) - 2)]);
    assert_eq!(state.open_gaps().collect::<Vec<_>>(), [(5, 7)]);
    state.apply_market(gap(b'C', 5, 2).message());
    assert!(!state.is_stale());
    let whole = run(&[gap(b'O', 5, 9), gap(b'W', 5, 9)]);
    assert!(!whole.is_stale());
    assert_eq!(whole.oddities().count(Oddity::UnknownGap), 0);
}

#[test]
fn a_change_that_waits_for_an_order_of_a_withdrawn_range_leaves_the_books_stale() {
    let mut state = run(&[gap(b'O', 5, 2), delete(77), gap(b'W', 5, 2)]);
    assert_eq!(state.open_gaps().count(), 0);
    // A line that is late brings it all the same, and nobody knows of the change any more.
    state.apply_market(add(77, "Z", Side::BUY, 1, 1).message());
    assert!(state.is_stale());
}

/// What was lost and arrives late gives the books that it would have given in time.
#[test]
fn a_closed_gap_repairs_the_books() {
    let lost = [add(2, "Z", Side::BUY, 99, 10), replace(1, 3, 101, 5)];
    let after = [execute(2, 4), replace(2, 4, 98, 3), reduce(3, 1), add(5, "Z", Side::SELL, 120, 1)];
    let first = [add(1, "Z", Side::BUY, 100, 5)];
    let undisturbed = run(&[&first[..], &lost, &after].concat());
    let mut state = run(&[&first[..], &[gap(b'O', 2, 2)], &after].concat());
    for event in lost {
        state.apply_market(event.message());
    }
    state.apply_market(gap(b'C', 2, 2).message());
    let cut = engine::Cut::default();
    assert_eq!(state.state_hash(cut), undisturbed.state_hash(cut));
    assert_eq!(state.oddities(), undisturbed.oddities());
}

#[test]
fn changes_of_unknown_orders_are_counted_once_no_gap_explains_them() {
    let mut state = run(&[gap(b'O', 5, 2), delete(77), gap(b'C', 5, 2), delete(78)]);
    assert_eq!(state.oddities().count(Oddity::UnknownOrder), 2);
    state.apply_market(gap(b'C', 5, 2).message());
    state.apply_market(gap(b'O', u64::MAX, 2).message());
    assert_eq!(state.oddities().count(Oddity::UnknownGap), 2);
}
