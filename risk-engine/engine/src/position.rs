//! A position: quantity, cost, realised profit and loss, fees.
//!
//! The cost of an open position is a sum, never an average. A fill on the position's side adds price × quantity. A
//! fill against it takes out the closed part of the cost, rounded half to even, and realises the difference; the
//! remainder of the cost stays. A fill beyond flat closes all, then opens the rest. So at any moment
//!
//! > realised − cost = − Σ price × signed quantity
//!
//! to the last unit, and a flat position has realised exactly the cash that flowed.

use std::num::NonZeroU64;

use bus::event::{Money, Price, Quantity};

use crate::ratio::scale;

/// Terms of an execution: signed quantity (positive bought), price and fee.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Execution {
    pub(crate) quantity: i64,
    pub(crate) price: Price,
    pub(crate) fee: Money,
}

/// What executions add up to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Holding {
    /// Positive long, negative short.
    pub quantity: Quantity,
    /// What the open position cost: positive long, negative short.
    pub cost: Money,
    /// Profit and loss of what was closed, before fees.
    pub realised: Money,
    /// Fees paid; negative if rebates exceed them.
    pub fees: Money,
}

impl Holding {
    /// The holding after an execution; `None` if a sum would leave its range.
    pub(crate) fn after(self, execution: Execution) -> Option<Self> {
        let held = self.quantity.0;
        let fees = Money(self.fees.0.checked_add(execution.fee.0)?);
        let traded = execution.quantity;
        if held.signum() * traded.signum() >= 0 {
            return Self { fees, ..self }.opened(traded, execution.price);
        }
        // The part of the fill that closes; the opposite sign of what is held.
        let closing = if traded.unsigned_abs() > held.unsigned_abs() { held.checked_neg()? } else { traded };
        Self { fees, ..self }.closed(closing, execution.price)?.opened(traded - closing, execution.price)
    }

    fn opened(self, quantity: i64, price: Price) -> Option<Self> {
        let cost = self.cost.0.checked_add(price.times(Quantity(quantity)).0)?;
        // The smallest number has no positive counterpart to close it with.
        let quantity = self.quantity.0.checked_add(quantity).filter(|&sum| sum != i64::MIN)?;
        Some(Self { quantity: Quantity(quantity), cost: Money(cost), ..self })
    }

    fn closed(self, quantity: i64, price: Price) -> Option<Self> {
        let held = self.quantity.0;
        let part = if held > 0 { quantity.checked_neg()? } else { quantity };
        let removed = scale(self.cost.0, part, held.unsigned_abs())?;
        let gained = price.times(Quantity(quantity)).0.checked_add(removed)?;
        Some(Self {
            quantity: Quantity(held + quantity),
            cost: Money(self.cost.0.checked_sub(removed)?),
            realised: Money(self.realised.0.checked_sub(gained)?),
            fees: self.fees,
        })
    }

    /// Cost ÷ quantity, rounded half to even to 1e-9, for display only; `None` if the position is flat.
    pub fn average_price(self) -> Option<Price> {
        let quantity = NonZeroU64::new(self.quantity.0.unsigned_abs())?;
        let average = scale(self.cost.0, self.quantity.0.signum(), quantity.get())?;
        i64::try_from(average).ok().map(Price)
    }

    /// Profit and loss of the open position at `mark`; `None` if it leaves its range.
    pub fn unrealised(self, mark: Price) -> Option<Money> {
        mark.times(self.quantity).0.checked_sub(self.cost.0).map(Money)
    }
}
