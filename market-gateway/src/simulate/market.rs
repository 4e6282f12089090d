//! A market whose message n depends on the seed, the session and n alone.
//!
//! Re-requests for any past message must be answered with the same bytes, also after a restart and without a store. So
//! the session is made of blocks: a block begins with a state that follows from the seed and the block's number, and
//! ends by handing the books over to the orders with which the next one begins. To reach message n is to regenerate at
//! most one block. Prices walk as value noise, which needs no history at all. Times are those of a market that makes
//! 20,000 messages a second from 09:30 on, whatever the pace they are sent at.

use bus::event::{Price, Quantity, Side, Symbol, Text};
use zerocopy::{Immutable, IntoBytes};

use super::book::{Book, DEEPEST, Order};
use super::random::{Random, mix};
use crate::itch;

/// Messages in a block.
pub(super) const BLOCK: u64 = 1 << 17;
/// Every message whose number is a multiple of this is a trade, and one of ours.
pub(super) const FILL_EVERY: u64 = 256;

const INSTRUMENTS: usize = 8;
/// Symbol and middle price in ticks.
const LISTED: [(&[u8; 8], u32); INSTRUMENTS] = [
    (b"BUSBAR  ", 12_000),
    (b"VOLT    ", 4_850),
    (b"AMPERE  ", 23_175),
    (b"OHM     ", 7_320),
    (b"WATT    ", 31_000),
    (b"FARAD   ", 9_640),
    (b"HENRY   ", 15_480),
    (b"JOULE   ", 5_525),
];
/// How often each instrument is drawn, of 16.
const DRAWN: [usize; 16] = [0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 4, 5, 6, 7];
/// A tick of 0.01 in units of 1e-4.
const TICK: u32 = 100;
/// Orders with which a block begins, after the first: ten levels a side and instrument.
const OPENING: usize = 20 * INSTRUMENTS;
/// Messages before the first order: the session's start, each instrument, hours, each state, trading.
const PROLOGUE: u64 = 3 + 2 * INSTRUMENTS as u64;
/// A pause in trading of one instrument, as places in each block.
const PAUSED_AT: u64 = 60_000;
const RESUMED_AT: u64 = 61_000;
/// 09:30 in nanoseconds since midnight, and nanoseconds a message.
const OPEN: u64 = 34_200_000_000_000;
const INTERVAL: u64 = 50_000;
/// The latest time a message can carry.
const LATEST: u64 = (1 << 48) - 1;

/// A message as it goes on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Encoded {
    length: u8,
    bytes: [u8; Self::LONGEST],
}

impl Encoded {
    /// Bytes of the longest message of this market.
    const LONGEST: usize = size_of::<itch::NonCrossTrade>();

    fn new<T: IntoBytes + Immutable>(message: &T) -> Self {
        const { assert!(size_of::<T>() <= Self::LONGEST) };
        let mut bytes = [0; Self::LONGEST];
        bytes[..size_of::<T>()].copy_from_slice(message.as_bytes());
        Self { length: size_of::<T>() as u8, bytes }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

/// What traded in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Traded {
    pub(super) instrument: Symbol,
    pub(super) price: Price,
    pub(super) quantity: Quantity,
    /// Nanoseconds since midnight.
    pub(super) time: u64,
}

/// The market, about to make its next message.
#[derive(Debug, Clone)]
pub(super) struct Market {
    seed: u64,
    /// Number of the next message, from 1.
    next: u64,
    random: Random,
    books: [Book; INSTRUMENTS],
    /// References given in this block.
    references: u64,
    /// Orders of the next block that are already announced.
    announced: usize,
    traded: Option<Traded>,
}

impl Market {
    /// The market of a session, before its first message.
    pub(super) fn new(seed: u64, session: u32) -> Self {
        let seed = mix(&[seed, u64::from(session)]);
        let mut market = Self {
            seed,
            next: 1,
            random: Random::new(0),
            books: Default::default(),
            references: 0,
            announced: 0,
            traded: None,
        };
        market.begin_block(0);
        market
    }

    /// Number of the message that [`Self::make`] makes next.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// What traded in the message made last.
    pub(super) fn traded(&self) -> Option<Traded> {
        self.traded
    }

    /// Makes message `number` the next one.
    pub(super) fn seek(&mut self, number: u64) {
        assert!(number > 0, "messages count from 1");
        if block(number) != block(self.next) || number < self.next {
            self.begin_block(block(number));
        }
        while self.next < number {
            self.make();
        }
    }

    /// Makes the next message.
    pub(super) fn make(&mut self) -> Encoded {
        self.traded = None;
        let message = match (self.next - 1) % BLOCK {
            at if self.next <= PROLOGUE => self.prologue(at as usize),
            PAUSED_AT => self.trading_state(b'P'),
            RESUMED_AT => self.trading_state(b'T'),
            at if self.hands_over(BLOCK - at) => self.hand_over(BLOCK - at),
            _ if self.next.is_multiple_of(FILL_EVERY) => self.fill(),
            _ => self.ordinary(),
        };
        self.next += 1;
        if (self.next - 1).is_multiple_of(BLOCK) {
            self.begin_block(block(self.next));
        }
        message
    }

    fn begin_block(&mut self, block: u64) {
        self.next = block * BLOCK + 1;
        self.random = Random::new(mix(&[self.seed, block]));
        self.books.iter_mut().for_each(|book| *book = Book::default());
        self.references = 0;
        self.announced = 0;
        for index in 0..if block == 0 { 0 } else { OPENING } {
            let (instrument, side, order) = self.opening(block, index);
            self.books[instrument].insert(side, order);
        }
    }

    /// Order `index` of those with which a block begins.
    fn opening(&self, block: u64, index: usize) -> (usize, Side, Order) {
        let (instrument, level) = (index % INSTRUMENTS, index / INSTRUMENTS / 2);
        let side = if (index / INSTRUMENTS).is_multiple_of(2) { Side::BUY } else { Side::SELL };
        let shares = 100 * (1 + mix(&[self.seed, block, index as u64]) as u32 % 8);
        let price = away(side, self.middle(instrument, block * BLOCK), 1 + level as u32);
        (instrument, side, Order { reference: first_reference(block) + index as u64, price, shares })
    }

    /// Middle price of an instrument, in ticks, when message `number` is made.
    fn middle(&self, instrument: usize, number: u64) -> u32 {
        let walk: i64 = [(1 << 18, 400), (1 << 15, 80), (1 << 12, 10)]
            .map(|(period, height)| self.wave(instrument as u64, number, period, height))
            .iter()
            .sum();
        LISTED[instrument].1.saturating_add_signed(walk as i32)
    }

    /// Value noise: random heights at multiples of `period`, straight lines between them.
    fn wave(&self, instrument: u64, number: u64, period: u64, height: u64) -> i64 {
        let at = |step: u64| {
            (mix(&[self.seed, instrument, period, step]) % (2 * height + 1)) as i64 - height as i64
        };
        let (step, within) = (number / period, (number % period) as i64);
        (at(step) * (period as i64 - within) + at(step + 1) * within) / period as i64
    }
}

/// The block in which a message lies.
fn block(number: u64) -> u64 {
    (number - 1) / BLOCK
}

/// The first reference of a block; a block never needs as many as there are up to the next one's.
fn first_reference(block: u64) -> u64 {
    2 * block * BLOCK + 1
}

/// The price `ticks` to the passive side of `middle`, at least one tick.
fn away(side: Side, middle: u32, ticks: u32) -> u32 {
    let ticks = if side == Side::BUY { middle.saturating_sub(ticks) } else { middle.saturating_add(ticks) };
    ticks.max(1) * TICK
}

// The messages.
impl Market {
    fn head(&self, letter: u8, locate: usize) -> itch::Head {
        let time = OPEN.saturating_add(self.next.saturating_mul(INTERVAL)).min(LATEST);
        itch::Head::new(letter, locate as u16, time)
    }

    fn prologue(&self, at: usize) -> Encoded {
        const LISTING: usize = INSTRUMENTS + 1;
        match at {
            0 => self.system(b'O'),
            1..LISTING => self.directory(at - 1),
            LISTING => self.system(b'S'),
            _ if at < LISTING + 1 + INSTRUMENTS => self.action(at - LISTING - 1, b'T'),
            _ => self.system(b'Q'),
        }
    }

    fn system(&self, code: u8) -> Encoded {
        Encoded::new(&itch::SystemEvent { head: self.head(b'S', 0), code })
    }

    fn directory(&self, instrument: usize) -> Encoded {
        Encoded::new(&itch::StockDirectory {
            head: self.head(b'R', instrument + 1),
            stock: *LISTED[instrument].0,
            category: b'Q',
            status: b'N',
            round_lot: 100.into(),
            round_lots_only: b'N',
            classification: b'C',
            sub_type: *b"Z ",
            authenticity: b'T',
            short_sale_threshold: b'N',
            ipo: b'N',
            luld_tier: b'1',
            etp: b'N',
            etp_leverage: 0.into(),
            inverse: b'N',
        })
    }

    /// Pauses or resumes the block's turn among the instruments.
    fn trading_state(&self, state: u8) -> Encoded {
        self.action((block(self.next) % INSTRUMENTS as u64) as usize, state)
    }

    fn action(&self, instrument: usize, state: u8) -> Encoded {
        let head = self.head(b'H', instrument + 1);
        Encoded::new(&itch::TradingAction {
            head,
            stock: *LISTED[instrument].0,
            state,
            reserved: b' ',
            reason: [b' '; 4],
        })
    }

    /// A message of the usual mix: 46.5 % additions, 38.9 % deletions, the rest as on a real day.
    fn ordinary(&mut self) -> Encoded {
        let instrument = DRAWN[self.random.below(16) as usize];
        let side = if self.random.chance(1, 2) { Side::BUY } else { Side::SELL };
        let resting = self.books[instrument].side(side).len();
        let at = self.random.below(resting as u32) as usize;
        match self.random.below(1_000) {
            _ if resting == 0 => self.add(instrument, side),
            0..465 if resting < DEEPEST => self.add(instrument, side),
            0..854 => self.delete(instrument, side, at),
            854..903 => self.replace(instrument, side, at),
            903..951 => self.execute(instrument),
            951..998 => self.cancel(instrument, side, at),
            _ => self.hidden(instrument),
        }
    }

    fn add(&mut self, instrument: usize, side: Side) -> Encoded {
        let order = Order {
            reference: self.reference(),
            price: self.passive_price(instrument, side),
            shares: if self.random.chance(4, 5) {
                100 * (1 + self.random.below(5))
            } else {
                1 + self.random.below(99)
            },
        };
        self.books[instrument].insert(side, order);
        let attributed = self.random.chance(1, 16);
        self.added(instrument, side, order, attributed)
    }

    fn added(&self, instrument: usize, side: Side, order: Order, attributed: bool) -> Encoded {
        let (locate, stock) = (instrument + 1, *LISTED[instrument].0);
        let (reference, price) = (order.reference.into(), order.price.into());
        let (side, shares) = (side.0, order.shares.into());
        if attributed {
            let (head, participant) = (self.head(b'F', locate), *b"BUSB");
            return Encoded::new(&itch::AttributedOrder {
                head,
                order: reference,
                side,
                shares,
                stock,
                price,
                participant,
            });
        }
        Encoded::new(&itch::AddOrder {
            head: self.head(b'A', locate),
            order: reference,
            side,
            shares,
            stock,
            price,
        })
    }

    /// A price near the middle that does not trade at once.
    fn passive_price(&mut self, instrument: usize, side: Side) -> u32 {
        let distance = 1 + self.random.below(20).min(self.random.below(20));
        let price = away(side, self.middle(instrument, self.next), distance);
        let book = &self.books[instrument];
        match side {
            Side::BUY => book.best(Side::SELL).map_or(price, |ask| price.min(ask - TICK)),
            _ => book.best(Side::BUY).map_or(price, |bid| price.max(bid + TICK)),
        }
    }

    fn reference(&mut self) -> u64 {
        self.references += 1;
        first_reference(block(self.next)) + OPENING as u64 + self.references - 1
    }

    fn delete(&mut self, instrument: usize, side: Side, at: usize) -> Encoded {
        let order = self.books[instrument].remove(side, at);
        Encoded::new(&itch::OrderDelete {
            head: self.head(b'D', instrument + 1),
            order: order.reference.into(),
        })
    }

    fn replace(&mut self, instrument: usize, side: Side, at: usize) -> Encoded {
        let old = self.books[instrument].remove(side, at);
        let price = self.passive_price(instrument, side);
        let new = Order { reference: self.reference(), price, shares: 100 * (1 + self.random.below(5)) };
        self.books[instrument].insert(side, new);
        Encoded::new(&itch::OrderReplace {
            head: self.head(b'U', instrument + 1),
            order: old.reference.into(),
            new_order: new.reference.into(),
            shares: new.shares.into(),
            price: new.price.into(),
        })
    }

    fn cancel(&mut self, instrument: usize, side: Side, at: usize) -> Encoded {
        let order = self.books[instrument].side(side)[at];
        if order.shares == 1 {
            return self.delete(instrument, side, at);
        }
        let shares = 1 + self.random.below(order.shares - 1);
        self.books[instrument].reduce(side, at, shares);
        let head = self.head(b'X', instrument + 1);
        Encoded::new(&itch::OrderCancel { head, order: order.reference.into(), shares: shares.into() })
    }

    /// A trade that is ours, in whatever instrument has orders.
    fn fill(&mut self) -> Encoded {
        let drawn = DRAWN[self.random.below(16) as usize];
        match (drawn..drawn + INSTRUMENTS).map(|i| i % INSTRUMENTS).find(|&i| !self.books[i].is_empty()) {
            Some(instrument) => self.execute(instrument),
            None => self.hidden(drawn),
        }
    }

    /// The best order of a side trades: of the side that the middle price has reached, else of either.
    fn execute(&mut self, instrument: usize) -> Encoded {
        let middle = self.middle(instrument, self.next) * TICK;
        let book = &self.books[instrument];
        let drawn = if self.random.chance(1, 2) { Side::BUY } else { Side::SELL };
        let side = match (book.best(Side::BUY), book.best(Side::SELL)) {
            (None, None) => return self.hidden(instrument),
            (None, _) => Side::SELL,
            (_, None) => Side::BUY,
            (_, Some(ask)) if ask <= middle => Side::SELL,
            (Some(bid), _) if bid >= middle => Side::BUY,
            _ => drawn,
        };
        let at = book.side(side).len() - 1;
        let order = book.side(side)[at];
        let shares =
            if self.random.chance(1, 2) { order.shares } else { 1 + self.random.below(order.shares) };
        self.books[instrument].reduce(side, at, shares);
        if self.random.chance(1, 6) {
            self.executed_elsewhere(instrument, order, shares)
        } else {
            self.executed(instrument, order, shares)
        }
    }

    fn executed(&mut self, instrument: usize, order: Order, shares: u32) -> Encoded {
        self.trades(instrument, order.price, shares);
        Encoded::new(&itch::OrderExecuted {
            head: self.head(b'E', instrument + 1),
            order: order.reference.into(),
            shares: shares.into(),
            match_number: self.next.into(),
        })
    }

    /// An execution a tick away from the order's own price; one in eight is not printed.
    fn executed_elsewhere(&mut self, instrument: usize, order: Order, shares: u32) -> Encoded {
        let price = order.price + TICK;
        self.trades(instrument, price, shares);
        Encoded::new(&itch::OrderExecutedAtPrice {
            head: self.head(b'C', instrument + 1),
            order: order.reference.into(),
            shares: shares.into(),
            match_number: self.next.into(),
            printable: if self.random.chance(1, 8) { b'N' } else { b'Y' },
            price: price.into(),
        })
    }

    /// A trade with an order that nobody saw.
    fn hidden(&mut self, instrument: usize) -> Encoded {
        let price = self.middle(instrument, self.next) * TICK;
        let shares = 1 + self.random.below(400);
        self.trades(instrument, price, shares);
        Encoded::new(&itch::NonCrossTrade {
            head: self.head(b'P', instrument + 1),
            order: 0.into(),
            side: b'B',
            shares: shares.into(),
            stock: *LISTED[instrument].0,
            price: price.into(),
            match_number: self.next.into(),
        })
    }

    fn trades(&mut self, instrument: usize, price: u32, shares: u32) {
        self.traded = Some(Traded {
            instrument: Text(*LISTED[instrument].0),
            price: Price(i64::from(price) * (Price::SCALE / 10_000)),
            quantity: Quantity(i64::from(shares)),
            time: self.head(b'P', 0).timestamp.get(),
        });
    }
}

// The end of a block.
impl Market {
    /// Messages that the hand-over takes at least: every order leaves, every opening order comes, fills go on.
    fn owed(&self, remaining: u64) -> u64 {
        let orders: usize = self.books.iter().map(Book::len).sum();
        (orders + OPENING - self.announced) as u64 + fills(self.next, remaining)
    }

    /// Whether the last `remaining` messages of the block are all needed to hand over. An ordinary message adds at most
    /// one order, which takes one more.
    fn hands_over(&self, remaining: u64) -> bool {
        self.announced > 0 || remaining <= self.owed(remaining) + 2
    }

    fn hand_over(&mut self, remaining: u64) -> Encoded {
        if self.next.is_multiple_of(FILL_EVERY) || remaining > self.owed(remaining) {
            return self.hidden((self.next % INSTRUMENTS as u64) as usize);
        }
        if self.announced == OPENING {
            return self.clear();
        }
        let (instrument, side, order) = self.opening(block(self.next) + 1, self.announced);
        if self.books[instrument].crosses(side, order.price) {
            let opposite = if side == Side::BUY { Side::SELL } else { Side::BUY };
            return self.delete(instrument, opposite, self.books[instrument].side(opposite).len() - 1);
        }
        self.announced += 1;
        self.added(instrument, side, order, false)
    }

    /// Deletes one of the orders that are left, the worst first.
    fn clear(&mut self) -> Encoded {
        let left = |market: &Self, side| market.books.iter().position(|book| !book.side(side).is_empty());
        match (left(self, Side::BUY), left(self, Side::SELL)) {
            (Some(instrument), _) => self.delete(instrument, Side::BUY, 0),
            (None, Some(instrument)) => self.delete(instrument, Side::SELL, 0),
            (None, None) => unreachable!("`owed` counts the orders that are left"),
        }
    }
}

/// How many of `count` messages from `first` on are fills.
fn fills(first: u64, count: u64) -> u64 {
    (first + count - 1) / FILL_EVERY - (first - 1) / FILL_EVERY
}
