//! `replay state`: books and positions, derived anew.

use bus::event::{Money, Side};
use bus::program::{self, Arguments, Exit, Failure, Progress, Tone, decimal};
use engine::{BookView, Cut, PositionView, Quote, RETAINED_FILLS};
use replay::state::{At, Derived, derive};
use serde::Serialize;

use super::{DamageEntry, hexadecimal, table::table};

pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let bus = super::open(arguments, false)?;
    let at = arguments.find::<String>("at")?.map(|text| parse_at(&text)).transpose()?;
    let derived = derive(&bus, at.as_ref(), &mut Progress::new())?;
    tell_faults(&derived);
    if arguments.json() {
        program::print_json(&Answer::from(&derived))?;
    } else {
        program::print_line(&describe(&derived))?;
    }
    Ok(if derived.is_ok() { Exit::Good } else { Exit::Fault })
}

/// `TOPIC=SEQ`.
fn parse_at(text: &str) -> Result<At, Failure> {
    let parts = text.split_once('=').and_then(|(topic, sequence)| Some((topic, sequence.parse().ok()?)));
    let (topic, sequence) = parts.ok_or_else(|| {
        Failure::new(
            "bad value",
            format!("--at {text}"),
            "TOPIC=SEQUENCE such as market-data=1000 is expected",
        )
    })?;
    Ok(At { topic: topic.into(), sequence })
}

fn tell_faults(derived: &Derived) {
    let from = derived.from;
    if (from.market_data, from.trades) != (0, 0) {
        let (market_data, trades) = (from.market_data, from.trades);
        let retired = derived.retired.iter().map(|(topic, begins)| format!("{topic} {begins}"));
        let why = match retired.collect::<Vec<_>>().join(", ") {
            none if none.is_empty() => "what came first is damaged".into(),
            retired => format!("retention removed what came before {retired}"),
        };
        program::note(&format!("begins at market-data {market_data} and trades {trades}, since {why}"));
    }
    if !derived.missing.is_empty() {
        let missing = derived.missing.iter().map(|(topic, first)| format!("{topic} {first}"));
        program::note(&format!(
            "incomplete: no snapshot covers what came before {}: {}",
            missing.collect::<Vec<_>>().join(", "),
            "books may lack orders, positions executions, and limits and fees may be others"
        ));
    }
    let lost: Vec<_> = derived.lost().map(|(topic, count)| format!("{count} of {topic}")).collect();
    if !lost.is_empty() {
        program::note(&format!(
            "incomplete: without messages that are lost, {}: books may lack orders, positions executions",
            lost.join(", ")
        ));
    }
    for (topic, damage) in &derived.damage {
        program::note(&format!("{topic}: {damage}"));
    }
    derived.divergence.listed().iter().for_each(|line| program::note(line));
    for (from, end) in derived.state.open_gaps() {
        program::note(&format!(
            "open gap: {} messages of the venue from {from}; books are stale",
            end - from
        ));
    }
    for (oddity, count) in derived.state.oddities().met() {
        program::note(&format!("not applied as it stood: {count} × {}", oddity.name()));
    }
    if derived.state.withheld() > 0 {
        program::note(&format!(
            "positions may lack {} that the gateway withheld; `replay blotter` names them: reconcile with the venue",
            program::counted(derived.state.withheld(), "execution report")
        ));
    }
    for position in derived.state.positions().filter(|position| position.overflowed) {
        program::note(&format!(
            "{} {}: lacks executions with which a sum would have left its range; reconcile with the venue",
            position.account, position.instrument
        ));
    }
    for position in derived.state.positions().filter(|position| position.unamended) {
        program::note(&format!(
            "{} {}: lacks busts or corrections of fills older than the last {RETAINED_FILLS}; reconcile with the venue",
            position.account, position.instrument
        ));
    }
}

#[derive(Serialize)]
struct Answer<'a> {
    cut: CutEntry,
    from: CutEntry,
    /// What is neither there nor covered by a snapshot.
    missing: Vec<MissingEntry>,
    /// What could not be read.
    damage: Vec<TopicDamage<'a>>,
    merge: &'static str,
    engine: String,
    books: Vec<BookEntry>,
    positions: Vec<PositionEntry>,
    /// Execution reports that the gateway withheld: positions may lack them.
    withheld: u64,
    divergence: &'a [String],
    state_hash: String,
}

#[derive(Serialize)]
struct MissingEntry {
    topic: &'static str,
    before: u64,
}

#[derive(Serialize)]
struct TopicDamage<'a> {
    topic: &'a str,
    #[serde(flatten)]
    damage: DamageEntry<'a>,
}

#[derive(Serialize)]
struct CutEntry {
    #[serde(rename = "market-data")]
    market_data: u64,
    trades: u64,
}

#[derive(Serialize)]
struct BookEntry {
    instrument: String,
    orders: u64,
    bid_levels: usize,
    ask_levels: usize,
    best_bid: Option<QuoteEntry>,
    best_ask: Option<QuoteEntry>,
    executed_volume: i128,
    executed_notional: String,
    stale: bool,
}

#[derive(Serialize)]
struct QuoteEntry {
    price: String,
    size: i64,
}

#[derive(Serialize)]
struct PositionEntry {
    account: String,
    instrument: String,
    quantity: i64,
    average_price: Option<String>,
    realised: String,
    unrealised: Option<String>,
    fees: String,
    /// Its figures lack executions with which a sum would have left its range.
    overflowed: bool,
    /// Its figures lack busts or corrections that came too late.
    unamended: bool,
}

impl<'a> From<&'a Derived> for Answer<'a> {
    fn from(derived: &'a Derived) -> Self {
        let state = &derived.state;
        Self {
            cut: derived.cut.into(),
            from: derived.from.into(),
            missing: derived.missing.iter().map(|&(topic, before)| MissingEntry { topic, before }).collect(),
            damage: derived
                .damage
                .iter()
                .map(|(topic, damage)| TopicDamage { topic, damage: damage.into() })
                .collect(),
            merge: derived.order.name(),
            engine: state.configuration().0.to_string(),
            books: state.books().map(|book| BookEntry::new(book, derived.is_stale())).collect(),
            positions: state.positions().map(PositionEntry::from).collect(),
            withheld: state.withheld(),
            divergence: derived.divergence.listed(),
            state_hash: hexadecimal(&derived.state_hash()),
        }
    }
}

impl From<Cut> for CutEntry {
    fn from(Cut { market_data, trades }: Cut) -> Self {
        Self { market_data, trades }
    }
}

impl BookEntry {
    fn new(book: BookView<'_>, stale: bool) -> Self {
        let best = |side| {
            book.best(side).map(|Quote { price, size }| QuoteEntry { price: decimal(price.0), size: size.0 })
        };
        let executed = book.executed();
        Self {
            instrument: book.instrument().to_string(),
            orders: book.orders(),
            bid_levels: book.levels(Side::BUY),
            ask_levels: book.levels(Side::SELL),
            best_bid: best(Side::BUY),
            best_ask: best(Side::SELL),
            executed_volume: executed.volume,
            executed_notional: decimal(executed.notional.0),
            stale,
        }
    }
}

impl From<PositionView> for PositionEntry {
    fn from(position: PositionView) -> Self {
        let holding = position.holding;
        Self {
            account: position.account.to_string(),
            instrument: position.instrument.to_string(),
            quantity: holding.quantity.0,
            average_price: average_price(holding.cost, holding.quantity.0).map(decimal),
            realised: decimal(holding.realised.0),
            unrealised: position.unrealised.map(|Money(units)| decimal(units)),
            fees: decimal(holding.fees.0),
            overflowed: position.overflowed,
            unamended: position.unamended,
        }
    }
}

/// Cost of a unit of an open position in units of 1e-9, rounded half to even; `None` where it is flat.
fn average_price(Money(cost): Money, quantity: i64) -> Option<i128> {
    let divisor = i128::from(quantity);
    let (whole, rest) = (cost.checked_div_euclid(divisor)?, cost.checked_rem_euclid(divisor)?);
    // The Euclidean quotient lies below the exact one for a long position, above it for a short one.
    let away = i128::from(quantity.signum());
    let twice = 2 * rest.unsigned_abs();
    let is_up = twice > divisor.unsigned_abs() || (twice == divisor.unsigned_abs() && whole % 2 != 0);
    Some(if is_up { whole + away } else { whole })
}

fn describe(derived: &Derived) -> String {
    let mut parts = vec![books_table(derived), positions_table(derived)];
    parts.retain(|part| !part.is_empty());
    let cut = derived.cut;
    parts.push(format!(
        "market-data {}, trades {}, merge order {}\nstate hash {}",
        cut.market_data,
        cut.trades,
        derived.order.name(),
        hexadecimal(&derived.state_hash())
    ));
    parts.join("\n\n")
}

fn books_table(derived: &Derived) -> String {
    let head = ["instrument", "orders", "bids", "asks", "bid", "ask", "volume", "notional", ""];
    let mut rows = vec![head.map(String::from).to_vec()];
    let quote = |quote: Option<Quote>| match quote {
        Some(Quote { price, size }) => format!("{} × {}", decimal(price.0), size.0),
        None => "-".into(),
    };
    rows.extend(derived.state.books().map(|book| {
        let executed = book.executed();
        vec![
            book.instrument().to_string(),
            book.orders().to_string(),
            book.levels(Side::BUY).to_string(),
            book.levels(Side::SELL).to_string(),
            quote(book.best(Side::BUY)),
            quote(book.best(Side::SELL)),
            executed.volume.to_string(),
            decimal(executed.notional.0),
            if derived.is_stale() { Tone::Warning.paint("stale") } else { String::new() },
        ]
    }));
    if rows.len() > 1 { table(&rows) } else { String::new() }
}

fn positions_table(derived: &Derived) -> String {
    let head = ["account", "instrument", "quantity", "average", "realised", "unrealised", "fees", ""];
    let mut rows = vec![head.map(String::from).to_vec()];
    rows.extend(derived.state.positions().map(|position| {
        let holding = position.holding;
        let or_dash = |units: Option<i128>| units.map_or("-".into(), decimal);
        vec![
            position.account.to_string(),
            position.instrument.to_string(),
            holding.quantity.0.to_string(),
            or_dash(average_price(holding.cost, holding.quantity.0)),
            decimal(holding.realised.0),
            or_dash(position.unrealised.map(|Money(units)| units)),
            decimal(holding.fees.0),
            lacks(&position),
        ]
    }));
    if rows.len() > 1 { table(&rows) } else { String::new() }
}

/// Why the figures of a position are not whole; empty where they are.
fn lacks(position: &PositionView) -> String {
    let flags = [(position.overflowed, "overflowed"), (position.unamended, "unamended")];
    let set: Vec<_> = flags.into_iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| flag).collect();
    if set.is_empty() { String::new() } else { Tone::Warning.paint(&set.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_average_price_is_rounded_half_to_even() {
        let average = |cost, quantity| average_price(Money(cost), quantity);
        assert_eq!(average(10, 0), None);
        for (cost, quantity, want) in [
            (10, 4, 2),
            (14, 4, 4),
            (-10, -4, 2),
            (-14, -4, 4),
            (11, 4, 3),
            (9, 4, 2),
            (-11, -4, 3),
            (-9, -4, 2),
            (-10, 4, -2),
            (-11, 4, -3),
            (12, 4, 3),
        ] {
            assert_eq!(average(cost, quantity), Some(want), "{cost} / {quantity}");
        }
        assert_eq!(average(i128::MIN, -1), None);
    }
}
