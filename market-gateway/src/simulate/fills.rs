//! Our own fills, each derived from a trade of the market, so that any of them can be told again at any time.

use bus::event::{Side, Text, Time};
use bus::program::Date;

use super::Execution;
use super::market::{FILL_EVERY, Market};
use super::progress::{Day, Progress};
use super::random::mix;
use super::venue::session_name;

/// Gives fill n of an exchange, whenever and as often as it is asked for.
#[derive(Debug, Clone)]
pub struct Fills {
    seed: u64,
    /// The sessions that are remembered and the present one, in their order.
    days: Vec<Day>,
    /// The market of the session that was asked for last.
    market: Market,
    session: u32,
}

impl Fills {
    pub(super) fn new(progress: &Progress) -> Self {
        let (seed, session) = (progress.seed, progress.day.session);
        let days = progress.earlier.iter().copied().chain([progress.day]).collect();
        Self { seed, days, market: Market::new(seed, session), session }
    }

    /// Fill `number`, counted from 1 over all sessions. `None` if there is no such number, or its session is so long
    /// ago that the exchange has forgotten it. A fill of the present session may still have to happen: the exchange
    /// says [how many have](super::Exchange::executions).
    pub fn execution(&mut self, number: u64) -> Option<Execution> {
        let after = self.days.partition_point(|day| day.first_fill <= number);
        let day = *self.days.get(after.checked_sub(1)?)?;
        let message =
            (number - day.first_fill + 1).checked_mul(FILL_EVERY).filter(|&message| message < 1 << 62)?;
        if self.session != day.session {
            self.market = Market::new(self.seed, day.session);
            self.session = day.session;
        }
        self.market.seek(message);
        self.market.make();
        let traded = self.market.traded()?;
        let drawn = mix(&[self.seed, number]);
        let midnight = Date::from_number(day.date).map_or(Time(0), Date::midnight);
        let session = session_name(self.seed, day.session);
        let label = |prefix: &str| Text::new(&format!("{prefix}{session}-{number}")).unwrap_or_default();
        Some(Execution {
            number,
            account: Text::new(&format!("ACC{}", 1 + drawn % 4)).unwrap_or_default(),
            instrument: traded.instrument,
            side: if drawn & 8 == 0 { Side::BUY } else { Side::SELL },
            price: traded.price,
            quantity: traded.quantity,
            execution: label(""),
            order: label("O"),
            client_order: label("C"),
            time: Time(midnight.0.saturating_add(traded.time)),
            trade_date: day.date,
        })
    }
}
