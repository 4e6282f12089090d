//! Orders and price levels in slabs, linked by slot numbers.
//!
//! A slot that was freed last is given out first: it is still in the cache. Slot 0 of both slabs belongs to nobody;
//! links that end point to it, so that unlinking needs no case for the ends.

use crate::index::NONE;

/// A resting order.
#[derive(Clone, Copy)]
pub(crate) struct Order {
    pub(crate) reference: u64,
    /// What is left of it, above 0.
    pub(crate) quantity: i64,
    /// Behind it in the queue; in a free slot, the next free one.
    next: u32,
    /// Before it in the queue.
    previous: u32,
    pub(crate) level: u32,
}

/// All orders of a price, in the order of their priority.
#[derive(Clone, Copy)]
pub(crate) struct Level {
    pub(crate) rank: i64,
    /// Sum over its orders.
    pub(crate) quantity: i64,
    /// First in the queue; in a free slot, the next free level.
    head: u32,
    tail: u32,
    pub(crate) orders: u32,
    /// Whose side it is.
    pub(crate) owner: u32,
}

const NO_ORDER: Order = Order { reference: 0, quantity: 0, next: NONE, previous: NONE, level: NONE };
const NO_LEVEL: Level = Level { rank: 0, quantity: 0, head: NONE, tail: NONE, orders: 0, owner: 0 };

/// Both slabs.
#[derive(Clone)]
pub(crate) struct Queues {
    orders: Vec<Order>,
    free_order: u32,
    live_orders: u32,
    levels: Vec<Level>,
    free_level: u32,
}

/// Slots for which address space is reserved at once. Memory is taken as they are used, and no message pays for
/// moving all earlier ones.
const RESERVED_ORDERS: usize = 1 << 20;
const RESERVED_LEVELS: usize = 1 << 17;

impl Queues {
    pub(crate) fn new() -> Self {
        let mut queues = Self {
            orders: Vec::with_capacity(RESERVED_ORDERS),
            free_order: NONE,
            live_orders: 0,
            levels: Vec::with_capacity(RESERVED_LEVELS),
            free_level: NONE,
        };
        queues.orders.push(NO_ORDER);
        queues.levels.push(NO_LEVEL);
        queues
    }

    #[inline]
    pub(crate) fn order(&self, slot: u32) -> &Order {
        &self.orders[slot as usize]
    }

    #[inline]
    pub(crate) fn level(&self, slot: u32) -> &Level {
        &self.levels[slot as usize]
    }

    pub(crate) fn live_orders(&self) -> u32 {
        self.live_orders
    }

    /// The orders of a level, first in the queue first.
    pub(crate) fn queue(&self, level: u32) -> impl Iterator<Item = &Order> + '_ {
        let mut slot = self.level(level).head;
        std::iter::from_fn(move || {
            let order = self.orders.get(slot as usize).filter(|_| slot != NONE)?;
            slot = order.next;
            Some(order)
        })
    }

    /// A new level without orders.
    #[inline]
    pub(crate) fn new_level(&mut self, owner: u32, rank: i64) -> u32 {
        let level = Level { rank, owner, ..NO_LEVEL };
        let slot = self.free_level;
        if slot == NONE {
            self.levels.push(level);
            return (self.levels.len() - 1) as u32;
        }
        self.free_level = self.levels[slot as usize].head;
        self.levels[slot as usize] = level;
        slot
    }

    pub(crate) fn free_level(&mut self, slot: u32) {
        self.levels[slot as usize].head = self.free_level;
        self.free_level = slot;
    }

    /// Adds an order at the end of a level's queue; the sum of the level must have room for it.
    #[inline]
    pub(crate) fn append(&mut self, level: u32, reference: u64, quantity: i64) -> u32 {
        let tail = self.levels[level as usize].tail;
        let slot = self.store(Order { reference, quantity, next: NONE, previous: tail, level });
        let level = &mut self.levels[level as usize];
        level.tail = slot;
        level.quantity += quantity;
        level.orders += 1;
        if tail == NONE {
            level.head = slot;
        } else {
            self.orders[tail as usize].next = slot;
        }
        slot
    }

    #[inline]
    fn store(&mut self, order: Order) -> u32 {
        self.live_orders += 1;
        let slot = self.free_order;
        if slot == NONE {
            self.orders.push(order);
            return (self.orders.len() - 1) as u32;
        }
        self.free_order = self.orders[slot as usize].next;
        self.orders[slot as usize] = order;
        slot
    }

    /// Makes an order smaller by less than what is left of it.
    #[inline]
    pub(crate) fn reduce(&mut self, slot: u32, quantity: i64) {
        let order = &mut self.orders[slot as usize];
        order.quantity -= quantity;
        self.levels[order.level as usize].quantity -= quantity;
    }

    /// Takes an order out of its queue and frees its slot.
    #[inline]
    pub(crate) fn remove(&mut self, slot: u32) {
        let Order { quantity, next, previous, level, .. } = self.orders[slot as usize];
        self.orders[previous as usize].next = next;
        self.orders[next as usize].previous = previous;
        let level = &mut self.levels[level as usize];
        level.quantity -= quantity;
        level.orders -= 1;
        if previous == NONE {
            level.head = next;
        }
        if next == NONE {
            level.tail = previous;
        }
        self.orders[slot as usize].next = self.free_order;
        self.free_order = slot;
        self.live_orders -= 1;
    }
}
