//! Full-depth books of all instruments, order by order.
//!
//! An order is found by the venue's reference alone; it knows its level, the level its book. So only an add looks an
//! instrument and a price up.

mod ladder;
mod queue;

use bus::event::{Code, Money, Price, Quantity, Side, Symbol};

use crate::index::{Index, NONE};
use crate::oddity::{Oddities, Oddity};
use ladder::Ladder;
use queue::Queues;

/// Resting orders at most; a bound on memory, far above any market's.
pub const MAX_ORDERS: u32 = 1 << 24;
/// Instruments of a session at most.
pub const MAX_INSTRUMENTS: usize = 1 << 18;

/// Quantity and value of executions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Turnover {
    /// Sum of the quantities.
    pub volume: i128,
    /// Sum of price × quantity.
    pub notional: Money,
}

impl Turnover {
    /// False, and nothing changed, if a sum would leave its range.
    fn add(&mut self, price: Price, quantity: Quantity) -> bool {
        let volume = self.volume.checked_add(quantity.0.into());
        let notional = self.notional.0.checked_add(price.times(quantity).0);
        let (Some(volume), Some(notional)) = (volume, notional) else { return false };
        *self = Self { volume, notional: Money(notional) };
        true
    }
}

/// What the venue says of an instrument.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Listing {
    /// The venue's number within the session.
    pub locate: u32,
    /// Units of a round lot.
    pub round_lot: u32,
    /// Market category, as the venue writes it.
    pub category: Code,
    /// Financial status, as the venue writes it.
    pub status: Code,
    /// Trading state, as in `TradingStatus`; 0 if none was announced.
    pub trading: Code,
}

/// Orders of one instrument and what was traded in it.
#[derive(Clone, Default)]
pub(crate) struct Book {
    pub(crate) symbol: Symbol,
    pub(crate) listing: Listing,
    /// Bids, asks.
    sides: [Ladder; 2],
    /// Displayed executions that count as volume.
    pub(crate) executed: Turnover,
    /// Executions of orders that were not displayed.
    pub(crate) hidden: Turnover,
    /// Auctions.
    pub(crate) crossed: Turnover,
    pub(crate) last: Option<Price>,
}

/// The best price of a side and the quantity that rests there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quote {
    /// Price.
    pub price: Price,
    /// Sum of the orders at it.
    pub size: Quantity,
}

/// An order as an add brings it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewOrder {
    pub(crate) reference: u64,
    pub(crate) side: Side,
    pub(crate) price: Price,
    pub(crate) quantity: Quantity,
}

/// A change of a resting order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// At `price`, or at its own; `counts` as volume or is reported again elsewhere.
    Execute { quantity: Quantity, price: Option<Price>, counts: bool },
    /// Made smaller.
    Reduce { quantity: Quantity },
    /// Gone.
    Delete,
    /// Gone, and a new one of the same side behind the queue.
    Replace { reference: u64, price: Price, quantity: Quantity },
}

/// How the turnover of a trade without a displayed order is counted.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Unbooked {
    Hidden,
    Cross,
}

/// All books of a session.
#[derive(Clone)]
pub(crate) struct Books {
    references: Index<u64>,
    queues: Queues,
    symbols: Index<u64>,
    /// By book number; 0 belongs to nobody.
    books: Vec<Book>,
    pub(crate) oddities: Oddities,
}

impl Books {
    pub(crate) fn new() -> Self {
        Self {
            references: Index::new(),
            queues: Queues::new(),
            symbols: Index::new(),
            books: vec![Book::default()],
            oddities: Oddities::default(),
        }
    }

    /// Forgets all instruments and orders; counts stay.
    pub(crate) fn clear(&mut self) {
        *self = Self { oddities: self.oddities, ..Self::new() };
    }

    /// The book of `symbol`; created where there is none.
    #[inline]
    pub(crate) fn book(&mut self, symbol: Symbol) -> Option<&mut Book> {
        let number = self.number(symbol);
        (number != NONE).then(|| &mut self.books[number as usize])
    }

    #[inline]
    fn number(&mut self, symbol: Symbol) -> u32 {
        let key = u64::from_le_bytes(symbol.0);
        match self.symbols.find(key, |number| symbol_key(&self.books, number)) {
            NONE => self.open(symbol),
            number => number,
        }
    }

    #[cold]
    fn open(&mut self, symbol: Symbol) -> u32 {
        if self.books.len() > MAX_INSTRUMENTS {
            self.oddities.note(Oddity::RefusedInstrument);
            return NONE;
        }
        let number = self.books.len() as u32;
        self.books.push(Book { symbol, ..Book::default() });
        self.symbols.insert(u64::from_le_bytes(symbol.0), number, |number| symbol_key(&self.books, number));
        number
    }

    #[inline]
    fn slot(&self, reference: u64) -> u32 {
        self.references.find(reference, |slot| self.queues.order(slot).reference)
    }

    /// Puts an order behind the queue of its price.
    #[inline]
    pub(crate) fn add(&mut self, symbol: Symbol, order: NewOrder) {
        if order.quantity.0 <= 0 {
            return self.oddities.note(Oddity::InvalidQuantity);
        }
        if order.side.sign() == 0 {
            return self.oddities.note(Oddity::UnknownSide);
        }
        if self.slot(order.reference) != NONE {
            return self.oddities.note(Oddity::DuplicateOrder);
        }
        let number = self.number(symbol);
        if number != NONE {
            self.rest(number, order);
        }
    }

    /// Rests a valid order whose reference is free.
    #[inline]
    fn rest(&mut self, number: u32, order: NewOrder) {
        if self.queues.live_orders() >= MAX_ORDERS {
            return self.oddities.note(Oddity::RefusedOrder);
        }
        let Self { queues, books, .. } = self;
        let book = &mut books[number as usize];
        let side = usize::from(order.side == Side::SELL);
        let rank = ladder::rank(order.side, order.price);
        let owner = (number << 1) | side as u32;
        let level = book.sides[side].find_or_insert(rank, || queues.new_level(owner, rank));
        if queues.level(level).quantity.checked_add(order.quantity.0).is_none() {
            return self.oddities.note(Oddity::BookOverflow);
        }
        let slot = queues.append(level, order.reference, order.quantity.0);
        self.references.insert(order.reference, slot, |slot| self.queues.order(slot).reference);
    }

    /// Applies a change to a resting order; false if there is none of that reference.
    #[inline]
    pub(crate) fn change(&mut self, reference: u64, change: Change) -> bool {
        let slot = match change {
            Change::Delete => self.forget(reference),
            _ => self.slot(reference),
        };
        if slot == NONE {
            return false;
        }
        match change {
            Change::Execute { quantity, price, counts } => self.execute(slot, quantity, price, counts),
            Change::Reduce { quantity } => {
                self.take(slot, quantity);
            }
            Change::Delete => self.unlink(slot),
            Change::Replace { reference, price, quantity } => self.replace(slot, reference, price, quantity),
        }
        true
    }

    fn execute(&mut self, slot: u32, quantity: Quantity, price: Option<Price>, counts: bool) {
        let level = self.queues.level(self.queues.order(slot).level);
        let (number, resting) = (level.owner >> 1, ladder::price(side_of(level.owner), level.rank));
        let taken = self.take(slot, quantity);
        if counts && taken.0 > 0 {
            let (book, price) = (&mut self.books[number as usize], price.unwrap_or(resting));
            book.last = Some(price);
            if !book.executed.add(price, taken) {
                self.oddities.note(Oddity::BookOverflow);
            }
        }
    }

    /// Takes at most what is left of an order; returns what was taken.
    #[inline]
    fn take(&mut self, slot: u32, quantity: Quantity) -> Quantity {
        let left = self.queues.order(slot).quantity;
        if quantity.0 <= 0 {
            self.oddities.note(Oddity::InvalidQuantity);
            return Quantity(0);
        }
        if quantity.0 < left {
            self.queues.reduce(slot, quantity.0);
            return quantity;
        }
        if quantity.0 > left {
            self.oddities.note(Oddity::MoreThanLeft);
        }
        self.remove(slot);
        Quantity(left)
    }

    #[inline]
    fn remove(&mut self, slot: u32) {
        self.forget(self.queues.order(slot).reference);
        self.unlink(slot);
    }

    /// Makes a reference unknown; returns the order that went by it.
    #[inline]
    fn forget(&mut self, reference: u64) -> u32 {
        self.references.remove(reference, |slot| self.queues.order(slot).reference)
    }

    /// Takes an order out of its queue, and its level out of the book if it was the last.
    #[inline]
    fn unlink(&mut self, slot: u32) {
        let level = self.queues.order(slot).level;
        self.queues.remove(slot);
        if self.queues.level(level).orders == 0 {
            self.close_level(level);
        }
    }

    fn close_level(&mut self, level: u32) {
        let &queue::Level { owner, rank, .. } = self.queues.level(level);
        self.books[(owner >> 1) as usize].sides[(owner & 1) as usize].remove(rank);
        self.queues.free_level(level);
    }

    fn replace(&mut self, slot: u32, reference: u64, price: Price, quantity: Quantity) {
        if quantity.0 <= 0 {
            return self.oddities.note(Oddity::InvalidQuantity);
        }
        let other = self.slot(reference);
        if other != NONE && other != slot {
            return self.oddities.note(Oddity::DuplicateOrder);
        }
        let owner = self.queues.level(self.queues.order(slot).level).owner;
        self.remove(slot);
        self.rest(owner >> 1, NewOrder { reference, side: side_of(owner), price, quantity });
    }

    /// A trade that touches no displayed order.
    pub(crate) fn trade(&mut self, symbol: Symbol, price: Price, quantity: Quantity, kind: Unbooked) {
        if quantity.0 < 0 || (quantity.0 == 0 && matches!(kind, Unbooked::Hidden)) {
            return self.oddities.note(Oddity::InvalidQuantity);
        }
        let Some(book) = self.book(symbol) else { return };
        // An auction without a match is reported with quantity 0; its price is not one that anybody paid.
        if quantity.0 == 0 {
            return;
        }
        book.last = Some(price);
        let turnover = match kind {
            Unbooked::Hidden => &mut book.hidden,
            Unbooked::Cross => &mut book.crossed,
        };
        if !turnover.add(price, quantity) {
            self.oddities.note(Oddity::BookOverflow);
        }
    }
}

/// What readers ask for.
impl Books {
    /// The books by symbol.
    pub(crate) fn sorted(&self) -> Vec<&Book> {
        let mut sorted: Vec<&Book> = self.books[1..].iter().collect();
        sorted.sort_unstable_by_key(|book| book.symbol);
        sorted
    }

    /// The book of a symbol, if there is one.
    pub(crate) fn find(&self, symbol: Symbol) -> Option<&Book> {
        match self.symbols.find(u64::from_le_bytes(symbol.0), |number| symbol_key(&self.books, number)) {
            NONE => None,
            number => self.books.get(number as usize),
        }
    }

    pub(crate) fn levels(&self, book: &Book, side: Side) -> usize {
        book.side(side).len()
    }

    pub(crate) fn orders(&self, book: &Book) -> u64 {
        let levels = book.sides.iter().flat_map(Ladder::iter);
        levels.map(|level| u64::from(self.queues.level(level).orders)).sum()
    }

    pub(crate) fn best(&self, book: &Book, side: Side) -> Option<Quote> {
        let level = self.queues.level(book.side(side).best()?);
        Some(Quote { price: ladder::price(side, level.rank), size: Quantity(level.quantity) })
    }

    /// Levels from the best: price, and the orders (reference, quantity) in their priority.
    pub(crate) fn depth<'a>(
        &'a self,
        book: &'a Book,
        side: Side,
    ) -> impl Iterator<Item = (Price, impl Iterator<Item = (u64, Quantity)> + 'a)> + 'a {
        book.side(side).iter().map(move |slot| {
            let orders = self.queues.queue(slot).map(|order| (order.reference, Quantity(order.quantity)));
            (ladder::price(side, self.queues.level(slot).rank), orders)
        })
    }
}

impl Book {
    fn side(&self, side: Side) -> &Ladder {
        &self.sides[usize::from(side == Side::SELL)]
    }
}

fn side_of(owner: u32) -> Side {
    if owner & 1 == 1 { Side::SELL } else { Side::BUY }
}

fn symbol_key(books: &[Book], number: u32) -> u64 {
    u64::from_le_bytes(books[number as usize].symbol.0)
}
