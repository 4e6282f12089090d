//! What compliance keeps: every event of our orders, fills, corrections, withheld reports, alerts, limits and gaps, once they are
//! durable.
//!
//! Each line is the JSON object of the message, as `dump` prints it, after the name of its topic. Topics are merged by
//! publish time, then name, then sequence, so a finished bus always gives the same lines, and a blotter that follows has
//! them in the same order (`blotter/order.rs`): what it has written is the beginning of what a later one writes, but for
//! messages that were not durable when it ended, and those that its last line counts as late. The last line says what is incomplete. That includes every trade
//! that the engine has not judged, so of a bus with a live engine the newest trades, whose judgement is on its way.

mod causes;
mod incomplete;
mod order;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Display;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bus::agent::{Agent, AgentError};
use bus::event::market::{MarketEvent, MarketEventRef};
use bus::event::risk::{EngineConfigured, LimitAlert, LimitSet, RiskEvent};
use bus::event::trade::{TradeEvent, TradeEventRef};
use bus::event::{Event, Message as _, Schema, Symbol, json, market};
use bus::program::{Failure, Output, note};
use bus::{Bus, BusError, Gate, SCHEMA_GONE, Start};

use crate::aside::cut_of;
use crate::cause::OrphanRuns;
use crate::feed::{Feed, Message};
use crate::gaps::Gaps;
use crate::{Damage, DamageKind, Findings, RISK, TRADES};
use causes::Extent;
pub use incomplete::{Incomplete, Summary};
use order::{HOLD, Order, Pace};

/// Messages of one duty cycle.
const BATCH: usize = 1024;
/// Between two looks for topics that are new.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Instruments that are told apart at most.
const MAX_INSTRUMENTS: usize = 1 << 20;

/// What a topic carries, as far as compliance cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Carries {
    Market,
    Trades,
    Risk,
    /// Of our users' own making: only its causes are checked.
    Other,
}

impl Carries {
    fn of(schema: &Schema) -> Self {
        let serves = |wanted: Result<Schema, _>| wanted.is_ok_and(|wanted| schema.serves(&wanted).is_ok());
        if serves(Schema::of::<MarketEvent>(&[])) {
            Self::Market
        } else if serves(Schema::of::<TradeEvent>(&[])) {
            Self::Trades
        } else if serves(Schema::of::<RiskEvent>(&[])) {
            Self::Risk
        } else {
            Self::Other
        }
    }

    /// Whether a message of this kind is a line.
    fn is_line(self, kind: u16) -> bool {
        match self {
            Self::Market => matches!(kind, market::Session::KIND | market::Gap::KIND),
            Self::Trades => true,
            Self::Risk => matches!(kind, EngineConfigured::KIND | LimitSet::KIND | LimitAlert::KIND),
            Self::Other => false,
        }
    }
}

/// A topic of the bus.
struct Source {
    topic: Arc<str>,
    feed: Feed,
    schema: Arc<Schema>,
    carries: Carries,
    /// Of a market.
    gaps: Gaps,
    /// The sequence behind the last message taken.
    next: u64,
    /// Of trades: the sequence behind the last one that a journal of risk follows from.
    judged: u64,
    /// Of trades: reports that are not journalled as what they report.
    withheld: Findings<Incomplete>,
    /// Effects here whose causes are in no journal.
    orphans: OrphanRuns,
    /// By the index of an input: effects here below this sequence have their causes there, or are orphans.
    settled: HashMap<u16, u64>,
    extent: Extent,
    /// For the order.
    pace: Pace,
}

/// Writes the blotter of a bus.
pub struct Blotter<W: Write + Send> {
    bus: Bus,
    out: Output<W>,
    /// In the order of their names.
    sources: Vec<Source>,
    follows: bool,
    order: Order,
    looked: Option<Instant>,
    /// Why topics could not be opened at the last look.
    refused: BTreeMap<String, BusError>,
    /// Topics that had lost their schema at the last look.
    undescribed: Vec<String>,
    instruments: Instruments,
    lines: BTreeMap<String, u64>,
    line: String,
    /// What comes now is none of its concern.
    is_ending: bool,
    is_finished: bool,
}

/// Instruments that the market named, and fills in others.
#[derive(Default)]
struct Instruments {
    named: BTreeSet<Symbol>,
    /// Topic and sequence of the first fill in each instrument that was not named yet.
    unnamed: BTreeMap<Symbol, (String, u64)>,
    /// Fills that say no instrument at all.
    blank: Findings<(String, u64)>,
    /// Whether what named instruments may have been removed by retention.
    is_cut: bool,
}

impl Instruments {
    fn name(&mut self, instrument: Symbol) {
        self.unnamed.remove(&instrument);
        if self.named.len() < MAX_INSTRUMENTS {
            self.named.insert(instrument);
        }
    }

    fn fill(&mut self, instrument: Symbol, topic: &str, sequence: u64) {
        if instrument.is_blank() {
            self.blank.push((topic.into(), sequence));
        } else if !self.named.contains(&instrument) && self.unnamed.len() < MAX_INSTRUMENTS {
            self.unnamed.entry(instrument).or_insert_with(|| (topic.into(), sequence));
        }
    }

    /// Fills that nobody can relate to an instrument. Where the market's directory is not on the bus, or not whole,
    /// only those that say none.
    fn missing(&self) -> Findings<Incomplete> {
        let mut missing = Findings::default();
        missing.append(&self.blank, |(topic, sequence)| {
            let (topic, sequence) = (topic.clone(), *sequence);
            Incomplete::Fill { topic, sequence, instrument: None }
        });
        let has_directory = !self.named.is_empty() && !self.is_cut && self.named.len() < MAX_INSTRUMENTS;
        for (instrument, (topic, sequence)) in self.unnamed.iter().filter(|_| has_directory) {
            let (topic, instrument) = (topic.clone(), Some(instrument.to_string()));
            missing.push(Incomplete::Fill { topic, sequence: *sequence, instrument });
        }
        missing
    }
}

impl<W: Write + Send> Blotter<W> {
    /// The blotter of what becomes durable on a bus, of topics that are there and of those that come.
    pub fn new(bus: &Bus, out: W) -> Self {
        Self {
            bus: bus.clone(),
            out: Output::to(out),
            sources: Vec::new(),
            follows: true,
            order: Order::new(Some(HOLD)),
            looked: None,
            refused: BTreeMap::new(),
            undescribed: Vec::new(),
            instruments: Instruments::default(),
            lines: BTreeMap::new(),
            line: String::new(),
            is_ending: false,
            is_finished: false,
        }
    }

    /// The blotter of what is durable now.
    ///
    /// # Errors
    /// The bus cannot be listed, or this user may read none of its topics. A topic that cannot be opened beside others
    /// that can is incomplete and hides none of them.
    pub fn bounded(bus: &Bus, out: W) -> Result<Self, Failure> {
        let mut blotter = Self { follows: false, order: Order::new(None), ..Self::new(bus, out) };
        blotter.look()?;
        let is_any_read = !blotter.sources.is_empty() || !blotter.refused.values().all(BusError::is_refused);
        match blotter.refused.pop_first() {
            Some((_, error)) if !is_any_read => Err(error.into()),
            Some((topic, error)) => {
                blotter.refused.insert(topic, error);
                Ok(blotter)
            }
            None => Ok(blotter),
        }
    }

    /// Holds each message so long for those that were published before it and are not durable yet; a second unless told
    /// otherwise.
    pub fn hold(&mut self, hold: Duration) {
        self.order.hold = self.order.hold.map(|_| hold);
    }

    /// Holds nothing any more, as all publishers have closed or flushed, or nobody waits for what they do.
    pub fn release(&mut self) {
        self.order.hold = None;
    }

    /// Writes what has become durable and has its turn, up to a limit; 0 where there was nothing.
    ///
    /// # Errors
    /// The bus cannot be listed, or the output refuses.
    pub fn do_work(&mut self) -> Result<usize, Failure> {
        if self.follows && !self.is_ending && self.looked.is_none_or(|looked| looked.elapsed() >= LOOK_EVERY)
        {
            self.look()?;
        }
        self.order.look(&mut self.sources);
        for done in 0..BATCH {
            let heads = self.sources.iter_mut().enumerate();
            let heads = heads.filter_map(|(at, source)| {
                let info = source.feed.peek()?.info;
                Some((info.publish_time, at, info.sequence))
            });
            let next = heads.min();
            let next = next.filter(|(_, at, sequence)| self.order.is_next(&self.sources, *at, *sequence));
            let Some((time, at, _)) = next else {
                self.rest()?;
                return Ok(done);
            };
            if self.follows {
                self.order.take(&mut self.sources, at, time);
            }
            self.take(at)?;
        }
        Ok(BATCH)
    }

    /// Writes what is durable by now, and nothing that becomes so meanwhile, or a faster publisher would keep it for ever.
    /// Ends the blotter with the line that says what is incomplete.
    ///
    /// # Errors
    /// The bus cannot be listed, or the output refuses.
    pub fn finish(&mut self) -> Result<Summary, Failure> {
        if self.follows && !self.is_finished {
            self.look()?;
            self.is_ending = true;
            self.release();
            for source in &mut self.sources {
                let end = source.feed.available();
                source.feed.stop_at(end);
            }
            while self.do_work()? > 0 {}
        }
        let unopened = self.unopened()?;
        let mut summary = self.summary();
        if let Some(doubt) = self.bus.topics_doubt() {
            summary.incomplete.push(unreadable("bus.topics", doubt));
        }
        let gone = self.bus.topics_gone().unwrap_or_default();
        let is_told = |topic: &str| unopened.contains_key(topic) || gone.iter().any(|gone| gone == topic);
        for topic in self.absent().filter(|topic| !is_told(topic)) {
            summary.incomplete.push(Incomplete::Topic { topic: topic.into() });
        }
        gone.into_iter().for_each(|topic| summary.incomplete.push(Incomplete::Gone { topic }));
        let replaced = self.bus.topics()?.into_iter().filter(|topic| self.bus.is_replaced(topic));
        replaced.for_each(|topic| summary.incomplete.push(Incomplete::Replaced { topic }));
        let is_told = |source: &&Source| source.carries != Carries::Other && source.feed.begins() > 0;
        for Source { topic, feed, .. } in self.sources.iter().filter(is_told) {
            summary.incomplete.push(Incomplete::Retired { topic: topic.to_string(), before: feed.begins() });
        }
        for (topic, why) in unopened.iter().filter(|(topic, _)| !self.refused.contains_key(*topic)) {
            summary.incomplete.push(unreadable(topic, why));
        }
        if !std::mem::replace(&mut self.is_finished, true) {
            self.out.json(&summary.end())?;
        }
        self.out.flush()?;
        Ok(summary)
    }

    /// How it stands now, with the topics that are there. What retention had removed before is not among what is
    /// incomplete: an earlier blotter may have had it.
    pub fn summary(&self) -> Summary {
        let mut incomplete = self.instruments.missing();
        for source in &self.sources {
            incomplete_of(source, &self.bus, &mut incomplete);
        }
        for (topic, error) in &self.refused {
            incomplete.push(unreadable(topic, error));
        }
        Summary { lines: self.lines.clone(), late: self.order.late, incomplete }
    }

    /// What every compliance record is made of and no topic carries.
    fn absent(&self) -> impl Iterator<Item = &'static str> {
        let is_carried = |what| self.sources.iter().any(|source| source.carries == what);
        let absent =
            [(TRADES, Carries::Trades), (RISK, Carries::Risk)].map(|(topic, what)| (topic, is_carried(what)));
        absent.into_iter().filter(|(_, is_carried)| !is_carried).map(|(topic, _)| topic)
    }

    /// Topics that hold, or held, messages and cannot be opened, and why.
    fn unopened(&self) -> Result<BTreeMap<String, String>, Failure> {
        let mut unopened = BTreeMap::new();
        for topic in self.bus.topics()? {
            if self.sources.iter().any(|source| *source.topic == *topic) {
                continue;
            }
            if let Err(error) = self.bus.reader(&topic, Start::Oldest, Gate::Durable) {
                unopened.insert(topic, error.to_string());
            }
        }
        let without = self.bus.topics_without_schema()?.into_iter();
        unopened.extend(without.map(|topic| (topic, SCHEMA_GONE.to_owned())));
        Ok(unopened)
    }

    /// Nothing to do at the moment: hands on what is buffered, and asks again how far topics at rest are.
    fn rest(&mut self) -> Result<(), Failure> {
        if self.follows {
            self.sources.iter_mut().for_each(|source| source.extent = Extent::default());
        }
        self.out.flush()
    }

    /// Opens the topics that are new.
    fn look(&mut self) -> Result<(), Failure> {
        self.looked = Some(Instant::now());
        for topic in self.bus.topics()? {
            let place = self.sources.binary_search_by(|source| (*source.topic).cmp(&topic));
            let Err(place) = place else { continue };
            let open = if self.follows { Feed::following } else { Feed::bounded };
            let feed = match open(&self.bus, &topic, Start::Oldest, Gate::Durable) {
                Ok(feed) => feed,
                // Its publisher is just making it.
                Err(error) if error.is_missing() => continue,
                // Whoever mends it is waited for, and what the others hold is kept meanwhile.
                Err(error) => {
                    if !self.refused.contains_key(&topic) {
                        note(&format!("left out: {error}"));
                    }
                    self.refused.insert(topic, error);
                    continue;
                }
            };
            self.refused.remove(&topic);
            let (schema, carries) = (Arc::new(feed.schema().clone()), Carries::of(feed.schema()));
            self.instruments.is_cut |= carries == Carries::Market && feed.first() > 0;
            let gaps = Gaps::of(feed.schema()).unwrap_or_default();
            let topic = topic.into();
            let (next, judged, orphans) = (0, 0, OrphanRuns::default());
            let withheld = Findings::default();
            let (settled, extent, pace) = (HashMap::new(), Extent::default(), self.order.pace());
            let source = Source {
                topic,
                feed,
                schema,
                carries,
                gaps,
                next,
                judged,
                withheld,
                orphans,
                settled,
                extent,
                pace,
            };
            self.sources.insert(place, source);
        }
        self.undescribed = self.bus.topics_without_schema()?;
        Ok(())
    }

    /// Takes the message at hand of a source.
    fn take(&mut self, at: usize) -> Result<(), Failure> {
        self.check_cause(at)?;
        let Source { topic, feed, schema, carries, gaps, next, withheld, .. } = &mut self.sources[at];
        let Some(message) = feed.peek() else { return Ok(()) };
        match carries {
            Carries::Market => note_market(message, gaps, &mut self.instruments),
            Carries::Trades => note_trade(message, topic, &mut self.instruments, withheld),
            Carries::Risk | Carries::Other => {}
        }
        if carries.is_line(message.info.kind) {
            write_line(&mut self.line, topic, schema, message);
            self.out.line(&self.line)?;
            let name = schema.kind(message.info.kind).map_or("unknown", |kind| &kind.name);
            *self.lines.entry(name.to_owned()).or_default() += 1;
        }
        *next = message.info.sequence + 1;
        feed.advance();
        Ok(())
    }
}

/// A topic that cannot be opened.
fn unreadable(topic: &str, why: impl Display) -> Incomplete {
    let (topic, kind, detail) = (topic.into(), DamageKind::Unreadable.name(), Some(why.to_string()));
    Incomplete::Damage { topic, from: 0, to: 0, kind, detail }
}

/// What of a topic is incomplete.
fn incomplete_of(source: &Source, bus: &Bus, incomplete: &mut Findings<Incomplete>) {
    let Source { topic, feed, carries, gaps, next, judged, withheld, orphans, .. } = source;
    incomplete.append(withheld, Incomplete::clone);
    let (orphans, _) = orphans.clone().finish();
    incomplete
        .append(&orphans, |found| Incomplete::Effects { topic: topic.to_string(), effects: found.clone() });
    incomplete.append(&gaps.open(), |gap| {
        let session = gap.session.to_string();
        Incomplete::Gap { topic: topic.to_string(), session, from: gap.from, count: gap.count }
    });
    let from = feed.first().max(*judged);
    if *carries == Carries::Trades && from < *next {
        incomplete.push(Incomplete::Unjudged { topic: topic.to_string(), from, count: next - from });
    }
    let damaged = |damage: &Damage| {
        let Damage { kind, from, to, ref detail, .. } = *damage;
        let (topic, detail) = (topic.to_string(), detail.clone());
        Incomplete::Damage { topic, from, to, kind: kind.name(), detail }
    };
    incomplete.append(feed.damage(), damaged);
    let found = feed.doubt().into_iter().chain(cut_of(bus, topic));
    found.for_each(|found| incomplete.push(damaged(&found)));
}

fn note_market(message: &Message, gaps: &mut Gaps, instruments: &mut Instruments) {
    if let Some(MarketEventRef::Instrument(named)) = MarketEvent::decode(message.info.kind, message.body()) {
        instruments.name(named.instrument);
    }
    gaps.apply(message.info.kind, message.body());
}

fn note_trade(
    message: &Message,
    topic: &str,
    instruments: &mut Instruments,
    withheld: &mut Findings<Incomplete>,
) {
    let sequence = message.info.sequence;
    match TradeEvent::decode(message.info.kind, message.body()) {
        Some(TradeEventRef::Fill(fill)) => instruments.fill(fill.instrument, topic, sequence),
        Some(TradeEventRef::FillCorrection(correction)) => {
            instruments.fill(correction.instrument, topic, sequence);
        }
        Some(TradeEventRef::Withheld(report)) => withheld.push(Incomplete::withheld(topic, sequence, report)),
        Some(TradeEventRef::OrderUpdate(_) | TradeEventRef::FillBust(_)) | None => {}
    }
}

fn write_line(line: &mut String, topic: &str, schema: &Schema, message: &Message) {
    line.clear();
    json::write_object(line, schema, &message.frame(), message.body());
    // Names of topics need no escapes.
    line.insert_str(1, &format!("\"topic\":\"{topic}\","));
}

impl<W: Write + Send> Agent for Blotter<W> {
    fn name(&self) -> &str {
        "compliance"
    }

    fn do_work(&mut self) -> Result<usize, AgentError> {
        Blotter::do_work(self).map_err(|failure| failure.to_string().into())
    }

    /// Writes what is durable by now and the last line.
    fn on_close(&mut self) -> Result<(), AgentError> {
        self.finish().map(drop).map_err(|failure| failure.to_string().into())
    }
}
