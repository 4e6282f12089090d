//! The market against a naive model of what a venue may say.

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;

use super::market::{BLOCK, FILL_EVERY, Market};
use crate::itch::Message;

/// What a naive reader knows of a resting order.
struct Resting {
    locate: u16,
    side: u8,
    price: u32,
    left: u32,
}

/// A naive reader that refuses whatever no venue would say.
#[derive(Default)]
struct Model {
    orders: HashMap<u64, Resting>,
    /// For each instrument and side the live prices and how many orders have each.
    levels: BTreeMap<(u16, u8, u32), u32>,
    used: u64,
    by_type: BTreeMap<char, u64>,
}

impl Model {
    fn apply(&mut self, bytes: &[u8]) {
        let message = Message::decode(bytes).unwrap();
        *self.by_type.entry(char::from(message.head().letter)).or_default() += 1;
        let locate = message.head().locate.get();
        match message {
            Message::AddOrder(m) => self.add(m.order.get(), locate, m.side, m.price.get(), m.shares.get()),
            Message::AttributedOrder(m) => {
                self.add(m.order.get(), locate, m.side, m.price.get(), m.shares.get())
            }
            Message::OrderExecuted(m) => self.reduce(m.order.get(), locate, m.shares.get()),
            Message::OrderExecutedAtPrice(m) => self.reduce(m.order.get(), locate, m.shares.get()),
            Message::OrderCancel(m) => self.reduce(m.order.get(), locate, m.shares.get()),
            Message::OrderDelete(m) => self.remove(m.order.get(), locate),
            Message::OrderReplace(m) => {
                let side = self.orders[&m.order.get()].side;
                self.remove(m.order.get(), locate);
                self.add(m.new_order.get(), locate, side, m.price.get(), m.shares.get());
            }
            _ => {}
        }
    }

    fn add(&mut self, order: u64, locate: u16, side: u8, price: u32, shares: u32) {
        assert!(shares > 0 && price > 0 && b"BS".contains(&side));
        assert!(
            self.orders.insert(order, Resting { locate, side, price, left: shares }).is_none(),
            "reference {order}"
        );
        *self.levels.entry((locate, side, price)).or_default() += 1;
        self.used += 1;
        let best_bid = self.levels.range((locate, b'B', 0)..=(locate, b'B', u32::MAX)).next_back();
        let best_ask = self.levels.range((locate, b'S', 0)..=(locate, b'S', u32::MAX)).next();
        if let (Some(((_, _, bid), _)), Some(((_, _, ask), _))) = (best_bid, best_ask) {
            assert!(bid < ask, "crossed: {bid} {ask}");
        }
    }

    fn reduce(&mut self, order: u64, locate: u16, shares: u32) {
        let resting = self.orders.get_mut(&order).unwrap();
        assert!(shares > 0 && shares <= resting.left && resting.locate == locate);
        resting.left -= shares;
        if resting.left == 0 {
            self.remove(order, locate);
        }
    }

    fn remove(&mut self, order: u64, locate: u16) {
        let Resting { side, price, .. } = self.orders.remove(&order).unwrap();
        let level = (locate, side, price);
        let count = self.levels.get_mut(&level).unwrap();
        *count -= 1;
        if *count == 0 {
            self.levels.remove(&level);
        }
    }
}

#[test]
fn two_blocks_are_a_valid_market_with_the_usual_mix() {
    let (mut market, mut model) = (Market::new(42, 1), Model::default());
    let (mut time, mut traded) = (0, 0);
    for number in 1..=2 * BLOCK {
        assert_eq!(market.next(), number);
        let message = market.make();
        model.apply(message.as_bytes());
        let stamped = Message::decode(message.as_bytes()).unwrap().head().timestamp.get();
        assert!(stamped > time);
        time = stamped;
        let is_trade = b"ECP".contains(&message.as_bytes()[0]);
        assert_eq!(market.traded().is_some(), is_trade);
        assert!(is_trade || !number.is_multiple_of(FILL_EVERY), "message {number} must be a trade");
        traded += u64::from(is_trade);
        if number > 1_000 {
            assert!((40..2_100).contains(&model.orders.len()), "{} orders at {number}", model.orders.len());
        }
    }
    assert!(model.used > BLOCK / 2 && traded > 2 * BLOCK / 50, "{:?}", model.by_type);
    let share = |letters: &str| {
        letters.chars().filter_map(|l| model.by_type.get(&l)).sum::<u64>() * 1_000 / (2 * BLOCK)
    };
    assert!((400..500).contains(&share("AF")) && (380..480).contains(&share("D")), "{:?}", model.by_type);
    assert!("SRHAFECXDUP".chars().all(|letter| model.by_type.contains_key(&letter)), "{:?}", model.by_type);
}

#[test]
fn sessions_and_seeds_differ() {
    let start = |seed, session| {
        let mut market = Market::new(seed, session);
        market.seek(500);
        (0..50).map(|_| market.make()).collect::<Vec<_>>()
    };
    assert_eq!(start(1, 1), start(1, 1));
    assert!(start(1, 1) != start(2, 1) && start(1, 1) != start(1, 2));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_message_can_be_reached_from_any_other(
        seed: u64,
        places in prop::collection::vec(prop_oneof![1..3 * BLOCK, BLOCK - 3..BLOCK + 4, (1u64 << 40)..(1 << 41)], 1..4),
    ) {
        let mut market = Market::new(seed, 1);
        for place in places {
            market.seek(place);
            let mut fresh = Market::new(seed, 1);
            fresh.seek(place);
            for _ in 0..5 {
                prop_assert_eq!(market.make(), fresh.make());
                prop_assert_eq!(market.traded(), fresh.traded());
            }
        }
    }
}
