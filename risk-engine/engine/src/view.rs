//! The state as readers see it.

use bus::event::{Money, Price, Quantity, Side, Symbol, Text};

use crate::book::{Book, Books, Listing, Quote, Turnover};
use crate::ledger::Position;
use crate::market::Market;
use crate::position::Holding;

/// One book.
#[derive(Clone, Copy)]
pub struct BookView<'a> {
    books: &'a Books,
    book: &'a Book,
    stale: bool,
}

impl<'a> BookView<'a> {
    pub(crate) fn new(market: &'a Market, book: &'a Book) -> Self {
        Self { books: &market.books, book, stale: market.session.is_stale() }
    }

    /// Symbol.
    pub fn instrument(&self) -> Symbol {
        self.book.symbol
    }

    /// What the venue said of the instrument.
    pub fn listing(&self) -> Listing {
        self.book.listing
    }

    /// Resting orders; counted over the levels.
    pub fn orders(&self) -> u64 {
        self.books.orders(self.book)
    }

    /// Prices at which orders rest on a side.
    pub fn levels(&self, side: Side) -> usize {
        self.books.levels(self.book, side)
    }

    /// Best price of a side.
    pub fn best(&self, side: Side) -> Option<Quote> {
        self.books.best(self.book, side)
    }

    /// Prices of a side from the best, each with its orders (reference, quantity) in their priority.
    pub fn depth(
        &self,
        side: Side,
    ) -> impl Iterator<Item = (Price, impl Iterator<Item = (u64, Quantity)> + 'a)> + 'a {
        self.books.depth(self.book, side)
    }

    /// Executions of displayed orders that count as volume.
    pub fn executed(&self) -> Turnover {
        self.book.executed
    }

    /// Trades of orders that were not displayed; not part of [`Self::executed`].
    pub fn hidden(&self) -> Turnover {
        self.book.hidden
    }

    /// Trades of auctions; not part of [`Self::executed`].
    pub fn crossed(&self) -> Turnover {
        self.book.crossed
    }

    /// Price of the latest trade of any of these kinds.
    pub fn last_price(&self) -> Option<Price> {
        self.book.last
    }

    /// Whether messages of the session are missing.
    pub fn is_stale(&self) -> bool {
        self.stale
    }
}

/// One position, valued at the market.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PositionView {
    /// Account.
    pub account: Text<16>,
    /// Instrument.
    pub instrument: Symbol,
    /// Quantity, cost, realised profit and loss, fees.
    pub holding: Holding,
    /// What the open position would be closed at: bid for long, ask for short, else the last trade; `None` where
    /// the market gives no price, or the position is flat.
    pub mark: Option<Price>,
    /// Value of the open position at the mark; 0 where it is flat, `None` where it is unpriced.
    pub exposure: Option<Money>,
    /// Profit and loss of the open position at the mark; 0 where it is flat, `None` where it is unpriced.
    pub unrealised: Option<Money>,
    /// An execution was refused because a sum would have left its range: the figures lack it.
    pub overflowed: bool,
    /// A bust or correction came for a fill that was [no longer retained](crate::RETAINED_FILLS): the figures still count
    /// the fill as it was.
    pub unamended: bool,
    /// Whether the position limit was last reported as exceeded.
    pub is_breached: bool,
}

impl PositionView {
    pub(crate) fn new(market: &Market, position: &Position) -> Self {
        let (account, instrument) = position.scope;
        let holding = position.now;
        let is_flat = holding.quantity.0 == 0;
        let mark = if is_flat { None } else { market.mark(instrument, holding.quantity.0 > 0) };
        let valued = |value: Option<Money>| if is_flat { Some(Money(0)) } else { value };
        Self {
            account,
            instrument,
            holding,
            mark,
            exposure: valued(mark.map(|mark| mark.times(holding.quantity))),
            unrealised: valued(mark.and_then(|mark| holding.unrealised(mark))),
            overflowed: position.overflowed,
            unamended: position.unamended,
            is_breached: position.breached.is_some(),
        }
    }
}
