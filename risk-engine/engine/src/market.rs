//! The market: its session and its books, fed by the topic `market-data`.

use bus::event::market::{self, MarketEventRef};
use bus::event::{Code, Price, Symbol};

use crate::book::{Books, Change, Listing, NewOrder, Unbooked};
use crate::oddity::Oddity;
use crate::session::Session;

/// Books and session.
#[derive(Clone)]
pub(crate) struct Market {
    pub(crate) session: Session,
    pub(crate) books: Books,
}

impl Market {
    pub(crate) fn new() -> Self {
        Self { session: Session::default(), books: Books::new() }
    }

    #[inline]
    pub(crate) fn apply(&mut self, event: MarketEventRef<'_>) {
        match event {
            MarketEventRef::AddOrder(add) => self.books.add(add.instrument, new_order(add)),
            MarketEventRef::DeleteOrder(delete) => self.change(delete.order, Change::Delete),
            MarketEventRef::ReplaceOrder(replace) => self.change(replace.order, replacement(replace)),
            MarketEventRef::ExecuteOrder(execute) => self.change(
                execute.order,
                Change::Execute { quantity: execute.quantity, price: None, counts: true },
            ),
            MarketEventRef::ReduceOrder(reduce) => {
                self.change(reduce.order, Change::Reduce { quantity: reduce.quantity });
            }
            MarketEventRef::ExecuteOrderAtPrice(execute) => self.change(execute.order, priced(execute)),
            _ => self.apply_rare(event),
        }
    }

    #[cold]
    fn apply_rare(&mut self, event: MarketEventRef<'_>) {
        match event {
            MarketEventRef::Session(session) => self.apply_session(session),
            MarketEventRef::Instrument(instrument) => self.list(instrument),
            MarketEventRef::TradingStatus(status) => self.set_trading(status),
            MarketEventRef::Trade(t) => self.books.trade(t.instrument, t.price, t.quantity, Unbooked::Hidden),
            MarketEventRef::CrossTrade(t) => {
                self.books.trade(t.instrument, t.price, t.quantity, Unbooked::Cross)
            }
            MarketEventRef::Gap(gap) => self.apply_gap(gap),
            // They touch neither a book nor what was traded; `replay` shows them.
            _ => {}
        }
    }

    #[inline]
    fn change(&mut self, order: u64, change: Change) {
        if !self.books.change(order, change) && !self.session.wait(order, change) {
            self.books.oddities.note(Oddity::UnknownOrder);
        }
    }

    fn apply_session(&mut self, session: &market::Session) {
        if session.state == Code(b'S') {
            self.give_up_waiting();
            self.session = Session::begin(session);
            self.books.clear();
        } else {
            self.session.identity.ended = true;
        }
    }

    fn list(&mut self, instrument: &market::Instrument) {
        if let Some(book) = self.books.book(instrument.instrument) {
            book.listing = Listing {
                locate: instrument.locate,
                round_lot: instrument.round_lot,
                category: instrument.category,
                status: instrument.status,
                trading: book.listing.trading,
            };
        }
    }

    fn set_trading(&mut self, status: &market::TradingStatus) {
        if let Some(book) = self.books.book(status.instrument) {
            book.listing.trading = status.state;
        }
    }

    fn apply_gap(&mut self, gap: &market::Gap) {
        let first = gap.venue_sequence;
        let Some(end) = first.checked_add(gap.count).filter(|&end| end > first) else {
            return self.books.oddities.note(Oddity::UnknownGap);
        };
        if matches!(gap.state, Code(b'C' | b'W')) {
            // Of a session that is taken up again, gaps may have been opened before.
            if !self.session.close(first, end) && !self.session.broken {
                self.books.oddities.note(Oddity::UnknownGap);
            }
            if self.session.gaps.is_empty() {
                let unknown = self.books.oddities.count(Oddity::UnknownOrder);
                self.apply_waiting();
                // A line that is late may still bring an order that was waited for, and its change is used up.
                let is_used_up = self.books.oddities.count(Oddity::UnknownOrder) > unknown;
                self.session.broken |= gap.state == Code(b'W') && is_used_up;
            }
        } else if !self.session.open(first, end) {
            self.books.oddities.note(Oddity::RefusedGap);
        }
    }

    /// Nothing is lost any more: what waited for its orders now finds them.
    fn apply_waiting(&mut self) {
        for (order, change) in std::mem::take(&mut self.session.waiting) {
            self.change(order, change);
        }
    }

    fn give_up_waiting(&mut self) {
        for _ in self.session.waiting.drain(..) {
            self.books.oddities.note(Oddity::UnknownOrder);
        }
    }

    /// The price at which a position of that sign would be closed: bid for long, ask for short, else the last trade.
    pub(crate) fn mark(&self, symbol: Symbol, is_long: bool) -> Option<Price> {
        use bus::event::Side;
        let book = self.books.find(symbol)?;
        let side = if is_long { Side::BUY } else { Side::SELL };
        self.books.best(book, side).map(|quote| quote.price).or(book.last)
    }
}

#[inline]
fn new_order(add: &market::AddOrder) -> NewOrder {
    NewOrder { reference: add.order, side: add.side, price: add.price, quantity: add.quantity }
}

#[inline]
fn replacement(replace: &market::ReplaceOrder) -> Change {
    Change::Replace { reference: replace.new_order, price: replace.price, quantity: replace.quantity }
}

/// Only `N` is reported again elsewhere; anything else counts.
#[inline]
fn priced(execute: &market::ExecuteOrderAtPrice) -> Change {
    Change::Execute {
        quantity: execute.quantity,
        price: Some(execute.price),
        counts: execute.printable != Code(b'N'),
    }
}
