//! The state hash: BLAKE3 of one canonical form of all that live and replay must agree on.
//!
//! The form is little-endian, each list after its length, books by symbol, levels from the best, orders in their
//! priority, positions by account and instrument. It leaves out receive and publish times, epochs, counts of
//! oddities (but for that of withheld executions, which the positions lack), and what depends on the path rather than on
//! the input: which alert came last. [`path_hash`] covers that.
//!
//! [`path_hash`]: crate::State::path_hash

use bus::event::{Money, Price, Quantity, Side, Text};

use crate::book::{Book, Books, Change, Turnover};
use crate::ledger::{Ledger, Position};
use crate::market::Market;
use crate::position::Holding;
use crate::session::Session;
use crate::settings::Settings;

/// One position in each input: the sequence of the next message, that is, how many were applied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cut {
    /// Next sequence of the topic `market-data`.
    pub market_data: u64,
    /// Next sequence of the topic `trades`.
    pub trades: u64,
}

/// Bytes gathered before they are hashed: the hash works on many blocks at once.
const GATHERED: usize = 64 << 10;

/// Writes the canonical form into a hash.
pub(crate) struct Canonical {
    hasher: blake3::Hasher,
    gathered: Vec<u8>,
}

impl Canonical {
    /// `domain` names the form and its version.
    pub(crate) fn new(domain: &str) -> Self {
        let mut canonical =
            Self { hasher: blake3::Hasher::new(), gathered: Vec::with_capacity(GATHERED + 1024) };
        canonical.length(domain.len());
        canonical.bytes(domain.as_bytes());
        canonical
    }

    pub(crate) fn finish(mut self) -> [u8; 32] {
        self.hasher.update(&self.gathered);
        self.hasher.finalize().into()
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.gathered.extend_from_slice(bytes);
        if self.gathered.len() >= GATHERED {
            self.hasher.update(&self.gathered);
            self.gathered.clear();
        }
    }

    fn flag(&mut self, value: bool) {
        self.bytes(&[value.into()]);
    }

    fn u32(&mut self, value: u32) {
        self.bytes(&value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.bytes(&value.to_le_bytes());
    }

    fn i64(&mut self, value: i64) {
        self.bytes(&value.to_le_bytes());
    }

    fn i128(&mut self, value: i128) {
        self.bytes(&value.to_le_bytes());
    }

    fn length(&mut self, length: usize) {
        self.u64(length as u64);
    }

    fn text<const N: usize>(&mut self, text: Text<N>) {
        self.bytes(&text.0);
    }

    fn money(&mut self, money: Money) {
        self.i128(money.0);
    }

    fn price(&mut self, price: Option<Price>) {
        self.flag(price.is_some());
        self.i64(price.unwrap_or_default().0);
    }

    pub(crate) fn cut(&mut self, cut: Cut) {
        self.u64(cut.market_data);
        self.u64(cut.trades);
    }

    pub(crate) fn market(&mut self, market: &Market) {
        self.session(&market.session);
        let books = market.books.sorted();
        self.length(books.len());
        for book in books {
            self.book(&market.books, book);
        }
    }

    fn session(&mut self, session: &Session) {
        self.text(session.identity.session);
        self.u32(session.identity.date);
        self.flag(session.identity.ended);
        self.flag(session.broken);
        self.length(session.gaps.len());
        for (&first, &end) in &session.gaps {
            self.u64(first);
            self.u64(end);
        }
        self.length(session.waiting.len());
        for &(order, change) in &session.waiting {
            self.u64(order);
            self.change(change);
        }
    }

    fn change(&mut self, change: Change) {
        match change {
            Change::Execute { quantity, price, counts } => {
                self.bytes(b"E");
                self.i64(quantity.0);
                self.price(price);
                self.flag(counts);
            }
            Change::Reduce { quantity } => {
                self.bytes(b"X");
                self.i64(quantity.0);
            }
            Change::Delete => self.bytes(b"D"),
            Change::Replace { reference, price, quantity } => {
                self.bytes(b"U");
                self.u64(reference);
                self.i64(price.0);
                self.i64(quantity.0);
            }
        }
    }

    fn book(&mut self, books: &Books, book: &Book) {
        self.text(book.symbol);
        let listing = &book.listing;
        self.u32(listing.locate);
        self.u32(listing.round_lot);
        self.bytes(&[listing.category.0, listing.status.0, listing.trading.0]);
        for turnover in [book.executed, book.hidden, book.crossed] {
            self.turnover(turnover);
        }
        self.price(book.last);
        for side in [Side::BUY, Side::SELL] {
            self.length(books.levels(book, side));
            for (price, orders) in books.depth(book, side) {
                self.i64(price.0);
                self.orders(orders);
            }
        }
    }

    fn orders(&mut self, orders: impl Iterator<Item = (u64, Quantity)>) {
        for (reference, quantity) in orders {
            self.u64(reference);
            self.i64(quantity.0);
        }
        // No order has quantity 0: this ends the queue.
        self.u64(0);
        self.i64(0);
    }

    fn turnover(&mut self, turnover: Turnover) {
        self.i128(turnover.volume);
        self.money(turnover.notional);
    }

    pub(crate) fn settings(&mut self, settings: &Settings) {
        self.length(settings.limits.len());
        for (&(account, instrument), &limit) in settings.limits.iter() {
            self.text(account);
            self.text(instrument);
            self.i64(limit);
        }
        self.length(settings.fees.len());
        for (&(account, instrument), fee) in settings.fees.iter() {
            self.text(account);
            self.text(instrument);
            self.i64(fee.per_unit.0);
            self.i64(fee.of_notional.0);
        }
    }

    pub(crate) fn ledger(&mut self, ledger: &Ledger) {
        self.text(ledger.settings.version);
        self.bytes(&ledger.settings.hash.0);
        self.settings(&ledger.settings);
        let numbers = ledger.sorted();
        let mut places = vec![0; numbers.len() + 1];
        self.length(numbers.len());
        for (place, &number) in (0..).zip(&numbers) {
            places[number as usize] = place;
            self.position(ledger.position(number));
        }
        self.length(ledger.fills.ring().len());
        for (fill, latest) in ledger.fills.ring().iter() {
            self.u32(places[fill.position as usize]);
            self.u32(fill.trade_date);
            self.flag(fill.is_void);
            self.i64(fill.execution.quantity);
            self.i64(fill.execution.price.0);
            self.money(fill.execution.fee);
            self.text(fill.id);
            self.text(latest);
        }
        self.u64(ledger.withheld);
    }

    fn position(&mut self, position: &Position) {
        self.text(position.scope.0);
        self.text(position.scope.1);
        self.holding(position.base);
        self.holding(position.now);
        self.flag(position.overflowed);
        self.flag(position.forgets);
        self.flag(position.unamended);
    }

    fn holding(&mut self, holding: Holding) {
        self.i64(holding.quantity.0);
        self.money(holding.cost);
        self.money(holding.realised);
        self.money(holding.fees);
    }

    pub(crate) fn path(&mut self, ledger: &Ledger) {
        for number in ledger.sorted() {
            let position = ledger.position(number);
            self.text(position.scope.0);
            self.text(position.scope.1);
            self.flag(position.breached.is_some());
            self.i64(position.breached.unwrap_or_default());
        }
    }
}
