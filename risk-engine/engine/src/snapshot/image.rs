//! The archived form of the state, and the way back.

use bus::event::risk::{FeeSet, LimitSet};
use bus::event::{Bytes, Code, Money, Price, Quantity, Side, Text};
use rkyv::{Archive, Serialize};

use super::SnapshotError;
use crate::book::{Book, Books, Change, Listing, NewOrder, Turnover};
use crate::fills::{Fill, RETAINED_FILLS, Ring};
use crate::ledger::{Ledger, MAX_POSITIONS, Position};
use crate::market::Market;
use crate::oddity::Oddities;
use crate::position::{Execution, Holding};
use crate::session::{Identity, MAX_GAPS, MAX_WAITING, Session};
use crate::settings::{POSITION_LIMIT, Settings};
use crate::state::State;

/// The state in canonical order.
#[derive(Archive, Serialize)]
pub(super) struct Image {
    session: SessionImage,
    books: Vec<BookImage>,
    settings: SettingsImage,
    /// By account and instrument.
    positions: Vec<PositionImage>,
    /// Oldest first.
    fills: Vec<FillImage>,
    /// ExecIDs of the latest corrections, with the places of their fills in the list above, ascending.
    corrections: Vec<(u32, [u8; 32])>,
    /// Execution reports that were withheld.
    withheld: u64,
}

#[derive(Archive, Serialize)]
struct SessionImage {
    session: [u8; 16],
    date: u32,
    ended: bool,
    broken: bool,
    gaps: Vec<(u64, u64)>,
    waiting: Vec<(u64, ChangeImage)>,
}

#[derive(Archive, Serialize)]
enum ChangeImage {
    Execute { quantity: i64, price: Option<i64>, counts: bool },
    Reduce { quantity: i64 },
    Delete,
    Replace { reference: u64, price: i64, quantity: i64 },
}

#[derive(Archive, Serialize)]
struct BookImage {
    symbol: [u8; 8],
    locate: u32,
    round_lot: u32,
    /// Category, status, trading state.
    codes: [u8; 3],
    /// Executed, hidden, crossed: volume and notional.
    turnovers: [(i128, i128); 3],
    last: Option<i64>,
    /// Bids, asks.
    sides: [Vec<LevelImage>; 2],
}

#[derive(Archive, Serialize)]
struct LevelImage {
    price: i64,
    /// Reference and quantity, in priority.
    orders: Vec<(u64, i64)>,
}

#[derive(Archive, Serialize)]
struct SettingsImage {
    version: [u8; 16],
    hash: [u8; 32],
    limits: Vec<LimitImage>,
    fees: Vec<FeeImage>,
}

#[derive(Archive, Serialize)]
struct LimitImage {
    account: [u8; 16],
    instrument: [u8; 8],
    value: i64,
}

#[derive(Archive, Serialize)]
struct FeeImage {
    account: [u8; 16],
    instrument: [u8; 8],
    per_unit: i64,
    of_notional: i64,
}

#[derive(Archive, Serialize)]
struct HoldingImage {
    quantity: i64,
    cost: i128,
    realised: i128,
    fees: i128,
}

#[derive(Archive, Serialize)]
struct PositionImage {
    account: [u8; 16],
    instrument: [u8; 8],
    base: HoldingImage,
    now: HoldingImage,
    overflowed: bool,
    forgets: bool,
    unamended: bool,
    breached: Option<i64>,
}

#[derive(Archive, Serialize)]
struct FillImage {
    /// Place in the list of positions.
    position: u32,
    trade_date: u32,
    is_void: bool,
    quantity: i64,
    price: i64,
    fee: i128,
    id: [u8; 32],
}

/// From the state.
impl Image {
    /// All but the fills, which [`Self::add_fills`] adds.
    pub(super) fn of(state: &State) -> Self {
        let State { market, ledger } = state;
        let numbers = ledger.sorted();
        let books = &market.books;
        Self {
            session: SessionImage::of(&market.session),
            books: books.sorted().into_iter().map(|book| BookImage::of(books, book)).collect(),
            settings: SettingsImage::of(&ledger.settings),
            positions: numbers.iter().map(|&number| PositionImage::of(ledger.position(number))).collect(),
            fills: Vec::new(),
            corrections: Vec::new(),
            withheld: ledger.withheld,
        }
    }

    /// Adds the fills; `places` gives the place of a position in the list by its number.
    pub(super) fn add_fills(&mut self, fills: &Ring, places: &[u32]) {
        self.fills.reserve_exact(fills.len());
        for ((fill, latest), at) in fills.iter().zip(0..) {
            self.fills.push(FillImage::of(fill, places[fill.position as usize]));
            if latest != fill.id {
                self.corrections.push((at, latest.0));
            }
        }
    }
}

impl SessionImage {
    fn of(session: &Session) -> Self {
        Self {
            session: session.identity.session.0,
            date: session.identity.date,
            ended: session.identity.ended,
            broken: session.broken,
            gaps: session.gaps.iter().map(|(&first, &end)| (first, end)).collect(),
            waiting: session
                .waiting
                .iter()
                .map(|&(order, change)| (order, ChangeImage::of(change)))
                .collect(),
        }
    }
}

impl ChangeImage {
    fn of(change: Change) -> Self {
        match change {
            Change::Execute { quantity, price, counts } => {
                Self::Execute { quantity: quantity.0, price: price.map(|price| price.0), counts }
            }
            Change::Reduce { quantity } => Self::Reduce { quantity: quantity.0 },
            Change::Delete => Self::Delete,
            Change::Replace { reference, price, quantity } => {
                Self::Replace { reference, price: price.0, quantity: quantity.0 }
            }
        }
    }
}

impl BookImage {
    fn of(books: &Books, book: &Book) -> Self {
        let Listing { locate, round_lot, category, status, trading } = book.listing;
        let turnover = |turnover: Turnover| (turnover.volume, turnover.notional.0);
        let levels = |side| {
            let level = |(price, orders): (Price, _)| LevelImage { price: price.0, orders: pairs(orders) };
            books.depth(book, side).map(level).collect()
        };
        Self {
            symbol: book.symbol.0,
            locate,
            round_lot,
            codes: [category.0, status.0, trading.0],
            turnovers: [book.executed, book.hidden, book.crossed].map(turnover),
            last: book.last.map(|price| price.0),
            sides: [Side::BUY, Side::SELL].map(levels),
        }
    }
}

fn pairs(orders: impl Iterator<Item = (u64, Quantity)>) -> Vec<(u64, i64)> {
    orders.map(|(reference, quantity)| (reference, quantity.0)).collect()
}

impl SettingsImage {
    fn of(settings: &Settings) -> Self {
        let limit = |(&(account, instrument), &value)| {
            let (account, instrument): (Text<16>, Text<8>) = (account, instrument);
            LimitImage { account: account.0, instrument: instrument.0, value }
        };
        let fees = settings.fees.iter().map(|(&(account, instrument), fee)| FeeImage {
            account: account.0,
            instrument: instrument.0,
            per_unit: fee.per_unit.0,
            of_notional: fee.of_notional.0,
        });
        Self {
            version: settings.version.0,
            hash: settings.hash.0,
            limits: settings.limits.iter().map(limit).collect(),
            fees: fees.collect(),
        }
    }
}

impl HoldingImage {
    fn of(holding: Holding) -> Self {
        Self {
            quantity: holding.quantity.0,
            cost: holding.cost.0,
            realised: holding.realised.0,
            fees: holding.fees.0,
        }
    }
}

impl PositionImage {
    fn of(position: &Position) -> Self {
        Self {
            account: position.scope.0.0,
            instrument: position.scope.1.0,
            base: HoldingImage::of(position.base),
            now: HoldingImage::of(position.now),
            overflowed: position.overflowed,
            forgets: position.forgets,
            unamended: position.unamended,
            breached: position.breached,
        }
    }
}

impl FillImage {
    fn of(fill: &Fill, position: u32) -> Self {
        Self {
            position,
            trade_date: fill.trade_date,
            is_void: fill.is_void,
            quantity: fill.execution.quantity,
            price: fill.execution.price.0,
            fee: fill.execution.fee.0,
            id: fill.id.0,
        }
    }
}

fn rule(holds: bool, what: &'static str) -> Result<(), SnapshotError> {
    if holds { Ok(()) } else { Err(SnapshotError::Invalid { what }) }
}

/// Back to the state.
impl ArchivedImage {
    pub(super) fn state(&self) -> Result<State, SnapshotError> {
        let mut books = Books::new();
        for book in self.books.iter() {
            book.restore(&mut books)?;
        }
        let market = Market { session: self.session.session()?, books };
        Ok(State { market, ledger: self.ledger()? })
    }

    fn ledger(&self) -> Result<Ledger, SnapshotError> {
        let mut ledger = Ledger::new();
        ledger.settings = self.settings.settings()?;
        ledger.withheld = self.withheld.to_native();
        rule(self.positions.len() <= MAX_POSITIONS, "it has too many positions")?;
        let in_order = self.positions.iter().is_sorted_by(|a, b| a.key() < b.key());
        rule(in_order, "its positions are out of order")?;
        for position in self.positions.iter() {
            ledger.insert(position.position());
        }
        rule(self.fills.len() <= RETAINED_FILLS, "it has too many fills")?;
        let mut sums: Vec<_> = self.positions.iter().map(|position| Some(position.base.holding())).collect();
        for fill in self.fills.iter() {
            let place = fill.position.to_native();
            let sum = sums
                .get_mut(place as usize)
                .ok_or(SnapshotError::Invalid { what: "a fill has no position" })?;
            // Positions were inserted in this order, from number 1.
            let (fill, is_void) = (fill.fill(place + 1), fill.is_void);
            if !is_void {
                *sum = sum.and_then(|sum| sum.after(fill.execution));
            }
            ledger.retain(fill);
        }
        self.restore_amendments(&mut ledger)?;
        let adds_up = |(sum, position): (&Option<Holding>, &ArchivedPositionImage)| {
            *sum == Some(position.now.holding())
        };
        rule(
            sums.iter().zip(self.positions.iter()).all(adds_up),
            "its fills do not add up to its positions",
        )?;
        Ok(ledger)
    }
}

impl ArchivedImage {
    fn restore_amendments(&self, ledger: &mut Ledger) -> Result<(), SnapshotError> {
        let ascend = self.corrections.iter().is_sorted_by(|a, b| a.0 < b.0);
        let are_there = self.corrections.iter().all(|pair| (pair.0.to_native() as usize) < self.fills.len());
        rule(ascend && are_there, "a correction has no fill")?;
        // Fills were retained in this order, from slot 1.
        for (slot, _) in (1..).zip(self.fills.iter()).filter(|(_, fill)| fill.is_void) {
            ledger.fills.void(slot);
        }
        for pair in self.corrections.iter() {
            let slot = pair.0.to_native() + 1;
            let execution = ledger.fills.at(slot).execution;
            ledger.fills.correct(slot, execution, Text(pair.1));
        }
        Ok(())
    }
}

impl ArchivedSessionImage {
    fn session(&self) -> Result<Session, SnapshotError> {
        rule(self.gaps.len() <= MAX_GAPS, "it has too many gaps")?;
        rule(self.waiting.len() <= MAX_WAITING, "it has too many waiting changes")?;
        let identity =
            Identity { session: Text(self.session), date: self.date.to_native(), ended: self.ended };
        let mut session = Session { identity, ..Session::default() };
        for gap in self.gaps.iter() {
            let (first, end) = (gap.0.to_native(), gap.1.to_native());
            rule(first < end, "a gap is empty")?;
            session.open(first, end);
        }
        rule(session.gaps.len() == self.gaps.len(), "its gaps overlap")?;
        session.broken = self.broken;
        session.waiting = self.waiting.iter().map(|pair| (pair.0.to_native(), pair.1.change())).collect();
        Ok(session)
    }
}

impl ArchivedChangeImage {
    fn change(&self) -> Change {
        match self {
            Self::Execute { quantity, price, counts } => Change::Execute {
                quantity: Quantity(quantity.to_native()),
                price: price.as_ref().map(|price| Price(price.to_native())),
                counts: *counts,
            },
            Self::Reduce { quantity } => Change::Reduce { quantity: Quantity(quantity.to_native()) },
            Self::Delete => Change::Delete,
            Self::Replace { reference, price, quantity } => Change::Replace {
                reference: reference.to_native(),
                price: Price(price.to_native()),
                quantity: Quantity(quantity.to_native()),
            },
        }
    }
}

impl ArchivedBookImage {
    fn restore(&self, books: &mut Books) -> Result<(), SnapshotError> {
        let symbol = Text(self.symbol);
        rule(books.find(symbol).is_none(), "two of its books have the same symbol")?;
        let book =
            books.book(symbol).ok_or(SnapshotError::Invalid { what: "it has too many instruments" })?;
        let [category, status, trading] = self.codes.map(Code);
        let (locate, round_lot) = (self.locate.to_native(), self.round_lot.to_native());
        book.listing = Listing { locate, round_lot, category, status, trading };
        for (turnover, archived) in
            [&mut book.executed, &mut book.hidden, &mut book.crossed].into_iter().zip(&self.turnovers)
        {
            *turnover = Turnover { volume: archived.0.to_native(), notional: Money(archived.1.to_native()) };
        }
        book.last = self.last.as_ref().map(|price| Price(price.to_native()));
        for (side, levels) in [Side::BUY, Side::SELL].into_iter().zip(&self.sides) {
            for level in levels.iter() {
                level.restore(books, symbol, side);
            }
        }
        // What an add refuses, it counts: a valid image meets nothing of it.
        rule(books.oddities == Oddities::default(), "one of its orders is not valid")
    }
}

impl ArchivedLevelImage {
    fn restore(&self, books: &mut Books, symbol: Text<8>, side: Side) {
        let price = Price(self.price.to_native());
        for order in self.orders.iter() {
            let (reference, quantity) = (order.0.to_native(), Quantity(order.1.to_native()));
            books.add(symbol, NewOrder { reference, side, price, quantity });
        }
    }
}

impl ArchivedSettingsImage {
    fn settings(&self) -> Result<Settings, SnapshotError> {
        let mut settings = Settings::new();
        let mut oddities = Oddities::default();
        settings.version = Text(self.version);
        settings.hash = Bytes(self.hash);
        for limit in self.limits.iter() {
            let set = LimitSet {
                account: Text(limit.account),
                instrument: Text(limit.instrument),
                limit: Text::new(POSITION_LIMIT).unwrap_or_default(),
                value: Quantity(limit.value.to_native()),
                ..LimitSet::default()
            };
            settings.set_limit(&set, &mut oddities);
        }
        for fee in self.fees.iter() {
            let set = FeeSet {
                account: Text(fee.account),
                instrument: Text(fee.instrument),
                per_unit: Price(fee.per_unit.to_native()),
                of_notional: Price(fee.of_notional.to_native()),
                ..FeeSet::default()
            };
            settings.set_fee(&set, &mut oddities);
        }
        let all_are_set =
            settings.limits.len() == self.limits.len() && settings.fees.len() == self.fees.len();
        settings.is_new = false;
        rule(all_are_set && oddities == Oddities::default(), "its configuration contradicts itself")?;
        Ok(settings)
    }
}

impl ArchivedHoldingImage {
    fn holding(&self) -> Holding {
        Holding {
            quantity: Quantity(self.quantity.to_native()),
            cost: Money(self.cost.to_native()),
            realised: Money(self.realised.to_native()),
            fees: Money(self.fees.to_native()),
        }
    }
}

impl ArchivedPositionImage {
    fn key(&self) -> ([u8; 16], [u8; 8]) {
        (self.account, self.instrument)
    }

    fn position(&self) -> Position {
        let mut position = Position::new((Text(self.account), Text(self.instrument)));
        position.base = self.base.holding();
        position.now = self.now.holding();
        position.overflowed = self.overflowed;
        position.forgets = self.forgets;
        position.unamended = self.unamended;
        position.breached = self.breached.as_ref().map(|limit| limit.to_native());
        position
    }
}

impl ArchivedFillImage {
    fn fill(&self, position: u32) -> Fill {
        let execution = Execution {
            quantity: self.quantity.to_native(),
            price: Price(self.price.to_native()),
            fee: Money(self.fee.to_native()),
        };
        Fill::new(position, self.trade_date.to_native(), execution, Text(self.id))
    }
}
