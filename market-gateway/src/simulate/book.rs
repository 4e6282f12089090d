//! The simulated exchange's own book of one instrument: small, always valid, never crossed.

use bus::event::Side;

/// Orders a side holds at most.
pub(super) const DEEPEST: usize = 128;

/// A resting order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Order {
    /// Reference, unique in the session; an older order has a smaller one.
    pub(super) reference: u64,
    /// Price in units of 1e-4.
    pub(super) price: u32,
    /// Shares that are left, never 0.
    pub(super) shares: u32,
}

/// Both sides, each with its best order last: best price first served, then the oldest.
#[derive(Debug, Clone, Default)]
pub(super) struct Book {
    bids: Vec<Order>,
    asks: Vec<Order>,
}

impl Book {
    /// Number of orders on both sides.
    pub(super) fn len(&self) -> usize {
        self.bids.len() + self.asks.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The orders of a side, the best one last.
    pub(super) fn side(&self, side: Side) -> &[Order] {
        if side == Side::BUY { &self.bids } else { &self.asks }
    }

    /// Price of the best order of a side.
    pub(super) fn best(&self, side: Side) -> Option<u32> {
        self.side(side).last().map(|order| order.price)
    }

    /// Whether an order of `side` at `price` would trade with what rests.
    pub(super) fn crosses(&self, side: Side, price: u32) -> bool {
        match side {
            Side::BUY => self.best(Side::SELL).is_some_and(|ask| price >= ask),
            _ => self.best(Side::BUY).is_some_and(|bid| price <= bid),
        }
    }

    pub(super) fn insert(&mut self, side: Side, order: Order) {
        debug_assert!(order.shares > 0 && !self.crosses(side, order.price));
        let orders = self.orders(side);
        let served_later = |other: &Order| match side {
            Side::BUY => {
                other.price < order.price || other.price == order.price && other.reference > order.reference
            }
            _ => other.price > order.price || other.price == order.price && other.reference > order.reference,
        };
        let at = orders.partition_point(served_later);
        orders.insert(at, order);
    }

    /// Takes the order at `index` out of its side.
    pub(super) fn remove(&mut self, side: Side, index: usize) -> Order {
        self.orders(side).remove(index)
    }

    /// Takes `shares` off the order at `index`; an order that has none left goes.
    pub(super) fn reduce(&mut self, side: Side, index: usize, shares: u32) {
        let order = &mut self.orders(side)[index];
        assert!(shares <= order.shares, "no more than is left");
        order.shares -= shares;
        if order.shares == 0 {
            self.remove(side, index);
        }
    }

    fn orders(&mut self, side: Side) -> &mut Vec<Order> {
        if side == Side::BUY { &mut self.bids } else { &mut self.asks }
    }
}
