//! Positions by account and instrument, fed by the topic `trades`.
//!
//! A bust leaves the position as if the fill had never happened, a correction as if it had happened on the other
//! terms: the position is computed again from the fills that are retained. That conserves money to the last unit,
//! and it depends on nothing but the fills and their order. Where the fill is no longer retained, the position stays, is
//! flagged, and an alert says so.

use bus::event::risk::{LimitAlert, PositionUpdate};
use bus::event::trade::{self, TradeEventRef};
use bus::event::{Cause, Price, Quantity, Side, Text, Time};

use crate::effect::{Effect, Effects};
use crate::fills::{Fill, Fills, Found, RETAINED_FILLS, RETAINED_FILLS_LIMIT};
use crate::index::{Index, Key, NONE, SPREAD};
use crate::oddity::{Oddities, Oddity};
use crate::position::{Execution, Holding};
use crate::settings::{POSITION_LIMIT, Scope, Settings, Terms, scope};

/// Positions at most.
pub const MAX_POSITIONS: usize = 1 << 18;

impl Key for Scope {
    fn tag(self) -> u32 {
        let account = u128::from_le_bytes(self.0.0);
        let instrument = u64::from_le_bytes(self.1.0);
        let mixed = [(account >> 64) as u64, instrument]
            .iter()
            .fold(account as u64, |mixed, part| mixed.wrapping_mul(SPREAD).rotate_left(32) ^ part);
        (mixed.wrapping_mul(SPREAD) >> 32) as u32
    }
}

/// The position of an account in an instrument.
#[derive(Clone, Copy)]
pub(crate) struct Position {
    pub(crate) scope: Scope,
    /// What the executions that are no longer retained add up to.
    pub(crate) base: Holding,
    /// With the retained ones.
    pub(crate) now: Holding,
    /// An execution was refused because a sum would have left its range.
    pub(crate) overflowed: bool,
    /// Some valid executions are no longer retained.
    pub(crate) forgets: bool,
    /// A bust or correction referred to one of those.
    pub(crate) unamended: bool,
    /// The limit that the last alert called exceeded; `None` where it said that the limit is kept, or none was raised.
    pub(crate) breached: Option<i64>,
    terms: Terms,
    revision: u64,
}

/// All positions and what they depend on.
#[derive(Clone)]
pub(crate) struct Ledger {
    pub(crate) settings: Settings,
    index: Index<Scope>,
    /// By position number; 0 belongs to nobody.
    positions: Vec<Position>,
    pub(crate) fills: Fills,
    /// Execution reports that were withheld: any position may lack them.
    pub(crate) withheld: u64,
    pub(crate) oddities: Oddities,
}

/// What becomes of a fill.
enum Amendment {
    Void,
    /// Other terms, by a correction of this ExecID.
    Terms(Execution, Text<32>),
}

/// When and why a position changed.
struct Occasion {
    price: Price,
    exchange_time: Time,
    cause: Cause,
}

impl Position {
    pub(crate) fn new(scope: Scope) -> Self {
        Self {
            scope,
            base: Holding::default(),
            now: Holding::default(),
            overflowed: false,
            forgets: false,
            unamended: false,
            breached: None,
            terms: Terms::default(),
            revision: 0,
        }
    }

    fn overflow(&mut self) -> Oddity {
        self.overflowed = true;
        Oddity::PositionOverflow
    }

    fn update_terms(&mut self, settings: &Settings) {
        if self.revision != settings.revision {
            self.terms = settings.terms(self.scope);
            self.revision = settings.revision;
        }
    }

    /// Flags the position and says so: a bust or correction of a fill that is no longer retained cannot be applied.
    fn come_too_late(&mut self, exchange_time: Time, cause: Cause, effects: &mut Effects) {
        self.unamended = true;
        let allowed = RETAINED_FILLS as i64;
        let alert = self.alert(RETAINED_FILLS_LIMIT, true, Quantity(allowed + 1), allowed);
        effects.push(cause, |cause| Effect::Limit(LimitAlert { cause, exchange_time, ..alert }));
    }

    /// That a limit of this position is exceeded, or kept again; when and why is left to say.
    fn alert(&self, limit: &str, exceeds: bool, value: Quantity, allowed: i64) -> LimitAlert {
        let (account, instrument) = self.scope;
        LimitAlert {
            account,
            instrument,
            limit: text(limit),
            state: text(if exceeds { "breach" } else { "clear" }),
            value,
            allowed: Quantity(allowed),
            ..LimitAlert::default()
        }
    }

    /// What is to be said of the position's limit; `None` where the last alert still holds: it is exceeded and was told so
    /// under the same limit, or it is kept.
    fn judge(&mut self) -> Option<LimitAlert> {
        let (held, allowed) = (self.now.quantity, self.terms.limit.unwrap_or(i64::MAX));
        let exceeds = held.0.unsigned_abs() > allowed.unsigned_abs();
        let breached = exceeds.then_some(allowed);
        if breached == self.breached {
            return None;
        }
        self.breached = breached;
        Some(self.alert(POSITION_LIMIT, exceeds, held, allowed))
    }

    /// Reports the position and, where its limit is crossed either way, that.
    fn report(&mut self, occasion: &Occasion, effects: &mut Effects) {
        let &Occasion { price, exchange_time, cause } = occasion;
        let ((account, instrument), now) = (self.scope, self.now);
        effects.push(cause, |cause| {
            Effect::Position(PositionUpdate {
                cause,
                account,
                instrument,
                exchange_time,
                quantity: now.quantity,
                price,
                cost: now.cost,
                realised: now.realised,
                fees: now.fees,
            })
        });
        if let Some(alert) = self.judge() {
            effects.push(cause, |cause| Effect::Limit(LimitAlert { cause, exchange_time, ..alert }));
        }
    }
}

/// The engine's own words fit their fields.
fn text<const N: usize>(word: &str) -> Text<N> {
    Text::new(word).unwrap_or_default()
}

impl Ledger {
    pub(crate) fn new() -> Self {
        Self {
            settings: Settings::new(),
            index: Index::new(),
            positions: vec![Position::new(Scope::default())],
            fills: Fills::new(),
            withheld: 0,
            oddities: Oddities::default(),
        }
    }

    pub(crate) fn apply(&mut self, event: TradeEventRef<'_>, cause: Cause, effects: &mut Effects) {
        effects.clear();
        let applied = match event {
            TradeEventRef::Fill(fill) => self.fill(fill, cause, effects),
            TradeEventRef::FillCorrection(correction) => self.correct(correction, cause, effects),
            TradeEventRef::FillBust(bust) => self.bust(bust, cause, effects),
            TradeEventRef::OrderUpdate(_) => Ok(()),
            TradeEventRef::Withheld(_) => Err(self.withhold()),
        };
        if let Err(oddity) = applied {
            self.oddities.note(oddity);
        }
    }

    fn withhold(&mut self) -> Oddity {
        self.withheld = self.withheld.saturating_add(1);
        Oddity::WithheldExecution
    }

    /// What follows from a configuration that is whole by now: each position whose limit is exceeded, or kept again, under
    /// other terms than the last alert said, by account and instrument. Nothing where no configuration came since.
    pub(crate) fn settle(&mut self) -> Vec<Effect> {
        if !std::mem::take(&mut self.settings.is_new) {
            return Vec::new();
        }
        let mut alerts = Vec::new();
        for number in self.sorted() {
            let position = &mut self.positions[number as usize];
            position.update_terms(&self.settings);
            if let Some(alert) = position.judge() {
                let index = u16::try_from(alerts.len()).unwrap_or(u16::MAX);
                let cause = Cause { input: Cause::NONE, index, ..Cause::default() };
                alerts.push(Effect::Limit(LimitAlert { cause, ..alert }));
            }
        }
        alerts
    }

    fn fill(&mut self, fill: &trade::Fill, cause: Cause, effects: &mut Effects) -> Result<(), Oddity> {
        let quantity = signed(fill.side, fill.quantity)?;
        let number = self.open(scope(&fill.account, &fill.instrument))?;
        let position = &mut self.positions[number as usize];
        let execution = position.terms.execution(quantity, fill.price);
        let after = execution.and_then(|execution| Some((execution, position.now.after(execution)?)));
        let Some((execution, now)) = after else { return Err(position.overflow()) };
        position.now = now;
        let occasion = Occasion { price: fill.price, exchange_time: fill.exchange_time, cause };
        position.report(&occasion, effects);
        self.retain(Fill::new(number, fill.trade_date, execution, fill.execution));
        Ok(())
    }

    /// Keeps a fill of which its position knows, in place of the oldest one where there are too many.
    pub(crate) fn retain(&mut self, fill: Fill) {
        if let Some(oldest) = self.fills.make_room() {
            self.forget(&oldest);
        }
        self.fills.push(fill);
    }

    /// An execution is too old to be taken back: its position is computed from beyond it from now on.
    fn forget(&mut self, fill: &Fill) {
        let position = &mut self.positions[fill.position as usize];
        if fill.is_void {
            return;
        }
        position.forgets = true;
        match position.base.after(fill.execution) {
            Some(base) => position.base = base,
            None => position.overflowed = true,
        }
    }

    fn bust(&mut self, bust: &trade::FillBust, cause: Cause, effects: &mut Effects) -> Result<(), Oddity> {
        let number = self.known(scope(&bust.account, &bust.instrument))?;
        let amended = self.amend(number, bust.trade_date, bust.reference, Amendment::Void);
        self.conclude(number, amended, bust.exchange_time, cause, effects)
    }

    fn correct(
        &mut self,
        correction: &trade::FillCorrection,
        cause: Cause,
        effects: &mut Effects,
    ) -> Result<(), Oddity> {
        let quantity = signed(correction.side, correction.quantity)?;
        let number = self.known(scope(&correction.account, &correction.instrument))?;
        let position = &mut self.positions[number as usize];
        let Some(execution) = position.terms.execution(quantity, correction.price) else {
            return Err(position.overflow());
        };
        let terms = Amendment::Terms(execution, correction.execution);
        let amended = self.amend(number, correction.trade_date, correction.reference, terms);
        self.conclude(number, amended, correction.exchange_time, cause, effects)
    }

    /// Reports what became of a bust or correction: the position, or that the fill is no longer retained.
    fn conclude(
        &mut self,
        number: u32,
        amended: Result<Price, Oddity>,
        exchange_time: Time,
        cause: Cause,
        effects: &mut Effects,
    ) -> Result<(), Oddity> {
        let position = &mut self.positions[number as usize];
        match amended {
            Ok(price) => position.report(&Occasion { price, exchange_time, cause }, effects),
            Err(Oddity::ForgottenFill) => position.come_too_late(exchange_time, cause, effects),
            Err(_) => {}
        }
        amended.map(|_| ())
    }

    /// Changes a retained fill and computes its position again; returns the fill's price.
    fn amend(
        &mut self,
        number: u32,
        trade_date: u32,
        reference: Text<32>,
        amendment: Amendment,
    ) -> Result<Price, Oddity> {
        let position = &mut self.positions[number as usize];
        let slot = match self.fills.find(number, trade_date, reference) {
            Found::Valid(slot) => slot,
            Found::Nothing if position.forgets => return Err(Oddity::ForgottenFill),
            Found::Nothing | Found::Void => return Err(Oddity::UnknownReference),
        };
        let mut amended = *self.fills.at(slot);
        match amendment {
            Amendment::Void => amended.is_void = true,
            Amendment::Terms(execution, _) => amended.execution = execution,
        }
        let Some(again) = self.fills.again(number, slot, &amended, position.base) else {
            return Err(position.overflow());
        };
        position.now = again.now;
        match amendment {
            Amendment::Void => self.fills.void(slot),
            Amendment::Terms(execution, id) => self.fills.correct(slot, execution, id),
        }
        self.fills.accept(number, again);
        Ok(amended.execution.price)
    }

    /// The position of a scope, ready to be changed.
    fn known(&mut self, scope: Scope) -> Result<u32, Oddity> {
        match self.index.find(scope, |number| self.positions[number as usize].scope) {
            NONE => Err(Oddity::UnknownReference),
            number => {
                self.positions[number as usize].update_terms(&self.settings);
                Ok(number)
            }
        }
    }

    /// The position of a scope, created where there is none.
    fn open(&mut self, scope: Scope) -> Result<u32, Oddity> {
        if let Ok(number) = self.known(scope) {
            return Ok(number);
        }
        if self.positions.len() > MAX_POSITIONS {
            return Err(Oddity::RefusedPosition);
        }
        let mut position = Position::new(scope);
        position.update_terms(&self.settings);
        Ok(self.insert(position))
    }

    /// Adds a position whose scope is new.
    pub(crate) fn insert(&mut self, position: Position) -> u32 {
        let number = self.positions.len() as u32;
        self.positions.push(position);
        self.index.insert(position.scope, number, |number| self.positions[number as usize].scope);
        number
    }

    /// Position numbers by account and instrument.
    pub(crate) fn sorted(&self) -> Vec<u32> {
        let mut numbers: Vec<u32> = (1..self.positions.len() as u32).collect();
        numbers.sort_unstable_by_key(|&number| self.position(number).scope);
        numbers
    }

    pub(crate) fn position(&self, number: u32) -> &Position {
        &self.positions[number as usize]
    }
}

fn signed(side: Side, quantity: Quantity) -> Result<i64, Oddity> {
    match side.sign() {
        0 => Err(Oddity::InvalidFill),
        _ if quantity.0 <= 0 => Err(Oddity::InvalidFill),
        sign => Ok(sign * quantity.0),
    }
}
