//! The engine on a bus: reads `market-data` and `trades` as they are published and journals what follows as `risk`.
//!
//! Each effect goes out at once, in one batch with the order of everything merged before it; order without effects
//! follows within a second. A restart takes the journalled order again, from a snapshot or from the beginning, and
//! compares each effect with the journalled one; so nothing is concluded twice and no conclusion is lost.

mod anew;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bus::agent::{Agent, AgentError};
use bus::clock::Clock;
use bus::event::market::MarketEvent;
use bus::event::risk::{RiskEvent, RiskEventRef};
use bus::event::trade::TradeEvent;
use bus::event::{Bytes, Cause, Time};
use bus::program::{counted, note};
use bus::wait::{Idle, WaitStrategy};
use bus::{Bus, Publisher, effects_cut, mark_lost, schema_lost};
use engine::{Cut, Effects, MergeRecorder, Oddity, Positions, RETAINED_FILLS, RETAINED_FILLS_LIMIT, State};
use replay::snapshots::{Snapshot, newest};

use crate::config::Settings;
use crate::error::EngineError;
use crate::follow::{Follow, Next};
use crate::inputs::{self, Input};
use crate::lost::Lost;
use crate::outbox::Outbox;
use crate::snapshots::{self, Saver, Taken};
use crate::watch::{Measures, Outcome, Watch, receive_time};
use crate::{MARKET_DATA, RISK, TRADES};

/// Messages that are taken from one input before the other has its turn.
const TURN: usize = 64;
/// Steps of following in one duty cycle.
const STEPS: usize = 1_024;
/// Order without effects is journalled after so many messages,
const ORDER_MESSAGES: u64 = 1 << 16;
/// or after this time.
const ORDER_WITHIN: Duration = Duration::from_secs(1);
/// Between two offers of measures to whoever watches.
const OFFER_EVERY: Duration = Duration::from_millis(200);
/// Between two looks whether retention calls for a snapshot.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// An input that lacks a message which `risk` follows from is waited for so long without a word.
const PATIENCE: Duration = Duration::from_secs(1);
/// What does not become durable in this time at the end waits for a cause that does not come.
const DURABLE_WITHIN: Duration = Duration::from_secs(5);
/// The way on for an input without its mark, where that is not to be had any more.
const PUBLISH: &str = "where there is none start its publisher once, which writes it anew";
/// Tries to publish what is left at the end, some of which nap for a millisecond.
const LAST_TRIES: u32 = 512;

/// The engine's agent.
pub struct Runner {
    bus: Bus,
    publisher: Option<Publisher<RiskEvent>>,
    settings: Option<Settings>,
    market_data: Input<MarketEvent>,
    trades: Input<TradeEvent>,
    state: State,
    effects: Effects,
    order: MergeRecorder,
    outbox: Outbox,
    follow: Option<Follow>,
    /// The message of `risk` from which it follows that.
    from: u64,
    /// Since when a message is waited for that the journal says was merged, and what was said of it.
    waiting: Option<(Time, Option<String>)>,
    clock: Clock,
    /// When order was journalled last.
    ordered: Time,
    saver: Saver,
    snapshot_every: u64,
    /// When it was looked last whether retention calls for snapshots sooner.
    looked: Time,
    /// Messages merged since the last snapshot.
    unsaved: u64,
    taken: Option<Taken>,
    gauge: Gauge,
    /// Inputs that had lost their mark at the start.
    unmarked: BTreeSet<String>,
    /// Inputs that were not there before `risk` was opened, so that it could not be asked whether they lack its causes.
    absent: Vec<&'static str>,
    /// Whether what does not fit is derived anew.
    derives_anew: bool,
    /// Of each input, where it ended when that was said: lost messages before that are gone over.
    goes_on_below: [u64; engine::INPUTS],
    /// Events of `risk` that were lost and gone over.
    passed: Option<Lost>,
    /// A restart needs what was decided since the last snapshot.
    must_save: bool,
    failed: bool,
}

impl fmt::Debug for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runner").field("cut", &self.positions().cut()).finish_non_exhaustive()
    }
}

impl Runner {
    /// Becomes the publisher of `risk` and begins where that topic ends. `settings` enter if they differ from what
    /// the journal holds; without them those stay. A snapshot is taken each `snapshot_every` messages.
    ///
    /// # Errors
    /// Another engine publishes `risk`, or the journals cannot be opened.
    pub fn open(
        bus: &Bus,
        settings: Option<Settings>,
        snapshot_every: u64,
        watch: Arc<Watch>,
    ) -> Result<Self, EngineError> {
        let inputs = [MARKET_DATA, TRADES].into_iter();
        let unmarked = inputs.filter(|topic| inputs::is_unmarked(bus, topic)).map(str::to_owned).collect();
        let absent = inputs::absent(bus);
        let publisher = publisher(bus)?;
        snapshots::hold_retention(bus);
        let clock = Clock::new();
        let begin = Positions::default();
        let mut runner = Self {
            publisher: Some(publisher),
            settings,
            market_data: Input::new(bus, MARKET_DATA, begin.market_data),
            trades: Input::new(bus, TRADES, begin.trades),
            state: State::new(),
            effects: Effects::new(),
            order: MergeRecorder::new(),
            outbox: Outbox::default(),
            follow: None,
            from: 0,
            waiting: None,
            ordered: clock.now(),
            saver: Saver::start(bus).map_err(EngineError::Thread)?,
            snapshot_every,
            looked: clock.now(),
            unsaved: 0,
            taken: None,
            gauge: Gauge::new(watch, clock.now()),
            unmarked,
            absent,
            derives_anew: false,
            goes_on_below: [0; engine::INPUTS],
            passed: None,
            must_save: false,
            failed: false,
            clock,
            bus: bus.clone(),
        };
        runner.begin()?;
        Ok(runner)
    }

    /// Goes back to the newest snapshot, or to the beginning, and follows the journal from there.
    fn begin(&mut self) -> Result<(), EngineError> {
        let end = self.publisher.as_ref().map_or(0, Publisher::next_sequence);
        snapshots::remove_beyond(&self.bus, end).map_err(EngineError::Stale)?;
        let (from, positions, state) = self.newest_snapshot(0).map_or_else(
            || (0, Positions::default(), State::new()),
            |found| (found.risk, found.restored.positions, found.restored.state),
        );
        (self.from, self.state) = (from, state);
        self.order = MergeRecorder::new();
        self.outbox.clear();
        self.taken = None;
        self.unsaved = 0;
        self.market_data = Input::new(&self.bus, MARKET_DATA, positions.market_data);
        self.trades = Input::new(&self.bus, TRADES, positions.trades);
        let is_absent = |topic| end > 0 && self.absent.contains(&topic);
        let goes_on_below = |input| self.goes_on_below[usize::from(input)];
        self.market_data.expect(is_absent(MARKET_DATA), goes_on_below(engine::MARKET_DATA));
        self.trades.expect(is_absent(TRADES), goes_on_below(engine::TRADES));
        let next = [positions.market_data.next, positions.trades.next];
        self.follow = Some(Follow::new(&self.bus, (from, end), next, self.derives_anew)?);
        self.gauge.watch.set_live(false);
        Ok(())
    }

    /// The newest snapshot from message `least` of `risk` on that fits what the journals hold now.
    fn newest_snapshot(&self, least: u64) -> Option<Snapshot> {
        let end = self.publisher.as_ref().map_or(0, Publisher::next_sequence);
        newest(&self.bus, |risk, positions| {
            (least..=end).contains(&risk)
                && self.holds(MARKET_DATA, positions.market_data.next)
                && self.holds(TRADES, positions.trades.next)
        })
    }

    /// Whether an input reaches a position.
    fn holds(&self, topic: &str, next: u64) -> bool {
        next == 0 || self.bus.watermarks(topic).is_ok_and(|marks| marks.published >= next)
    }

    fn positions(&self) -> Positions {
        Positions { market_data: self.market_data.position(), trades: self.trades.position() }
    }

    /// One duty cycle. Where an input went back behind what was applied, the engine does so too.
    fn work(&mut self) -> Result<usize, EngineError> {
        match self.try_work() {
            Err(EngineError::Regressed { topic, to }) => {
                note(&format!("topic '{topic}' went back to {to}: beginning again from the last snapshot"));
                self.begin_again()?;
                Ok(1)
            }
            Err(EngineError::Lost { .. }) if self.is_covered() => {
                self.begin()?;
                Ok(1)
            }
            Err(error) if self.derives_anew && error.is_misfit() => {
                self.cut(error)?;
                Ok(1)
            }
            done => done,
        }
    }

    /// Opens `risk` anew, which cuts it at the first effect whose cause is lost, and begins there.
    fn begin_again(&mut self) -> Result<(), EngineError> {
        if let Some(publisher) = self.publisher.take() {
            publisher.abandon();
        }
        // What the old one still writes is awaited.
        self.saver = Saver::start(&self.bus).map_err(EngineError::Thread)?;
        self.absent = inputs::absent(&self.bus);
        self.publisher = Some(publisher(&self.bus)?);
        self.begin()
    }

    fn try_work(&mut self) -> Result<usize, EngineError> {
        if !self.send()? {
            return Ok(0);
        }
        let done = match self.follow.take() {
            Some(mut follow) => {
                let taken = self.take_again(&mut follow);
                if !matches!(taken, Ok((_, true))) {
                    self.follow = Some(follow);
                }
                taken?.0
            }
            None => self.take_new()?,
        };
        let now = self.clock.now();
        self.save(now)?;
        self.gauge.show(self.positions().cut(), now, self.market_data.durable());
        Ok(done)
    }

    /// Publishes what is concluded; false where there is no room at the moment.
    #[inline]
    fn send(&mut self) -> Result<bool, EngineError> {
        let Some(publisher) = &mut self.publisher else { return Ok(true) };
        Ok(self.outbox.publish(publisher)?)
    }

    /// Merges what is new: trades first, which are few and have effects, then market data.
    fn take_new(&mut self) -> Result<usize, EngineError> {
        let mut done = 0;
        while done < TURN && self.outbox.is_empty() {
            let Some(cause) = self.apply_trade()? else { break };
            self.order.record(engine::TRADES, cause.epoch, cause.sequence);
            done += 1;
            if !self.effects.is_empty() {
                self.outbox.add(&mut self.order, &self.effects);
                self.send()?;
            }
        }
        let mut merged = 0;
        while merged < TURN && !self.order.is_full() {
            let Some(cause) = self.apply_market_data()? else { break };
            self.order.record(engine::MARKET_DATA, cause.epoch, cause.sequence);
            merged += 1;
        }
        let now = self.clock.now();
        if self.order.messages() == 0 {
            self.ordered = now;
        } else if self.is_order_due(now) && self.outbox.is_empty() {
            self.outbox.add_order(&mut self.order);
            self.send()?;
        }
        Ok(done + merged)
    }

    fn is_order_due(&self, now: Time) -> bool {
        self.order.is_full()
            || self.order.messages() >= ORDER_MESSAGES
            || now.0.saturating_sub(self.ordered.0) >= ORDER_WITHIN.as_nanos() as u64
    }

    /// Applies the next message of `trades`, if there is one, and says which it was.
    fn apply_trade(&mut self) -> Result<Option<Cause>, EngineError> {
        let Some(delivery) = self.trades.poll()? else { return Ok(None) };
        let (sequence, epoch) = (delivery.sequence, delivery.epoch);
        let cause = Cause { sequence, epoch, input: engine::TRADES, index: 0 };
        self.state.apply_trade(delivery.message, cause, &mut self.effects);
        self.unsaved += 1;
        Ok(Some(cause))
    }

    /// Applies the next message of `market-data`, if there is one, and says which it was.
    #[inline]
    fn apply_market_data(&mut self) -> Result<Option<Cause>, EngineError> {
        let Some(delivery) = self.market_data.poll()? else { return Ok(None) };
        let (sequence, epoch) = (delivery.sequence, delivery.epoch);
        self.state.apply_market(delivery.message);
        let received = receive_time(delivery.message);
        self.gauge.measure(sequence, received, delivery.publish_time, &self.clock);
        self.unsaved += 1;
        Ok(Some(Cause { sequence, epoch, input: engine::MARKET_DATA, index: 0 }))
    }

    /// Merges in the journalled order; says also whether that was followed to its end.
    fn take_again(&mut self, follow: &mut Follow) -> Result<(usize, bool), EngineError> {
        for done in 0..STEPS {
            let heads = [self.market_data.head()?, self.trades.head()?];
            self.look_for_arrivals()?;
            match follow.step(heads, &mut self.state).map_err(|error| self.explain(error))? {
                Next::Apply(turn) if turn.input == engine::TRADES => {
                    self.trades.pass();
                    self.apply_trade()?;
                    follow.applied(&self.effects)?;
                }
                Next::Apply(_) => {
                    self.market_data.pass();
                    self.apply_market_data()?;
                    follow.applied(&Effects::new())?;
                }
                Next::Taken => {}
                Next::Wait { input, sequence } => {
                    self.wait_for(input, sequence)?;
                    return Ok((done, false));
                }
                Next::Done => {
                    self.outbox.add_alerts(follow.take_unsaid());
                    if !self.send()? {
                        return Ok((done, false));
                    }
                    self.passed = follow.take_lost();
                    self.must_save |= self.passed.is_some();
                    self.go_live();
                    return Ok((done + 1, true));
                }
            }
        }
        self.waiting = None;
        Ok((STEPS, false))
    }

    /// The journal is followed to its end: the configuration takes effect, and new messages are merged.
    fn go_live(&mut self) {
        let in_force = self.state.configuration();
        let is_first = in_force.0.is_blank();
        if let Some(settings) = self.settings.clone().or(is_first.then(Settings::default)) {
            let configured = settings.configured();
            if (configured.version, configured.hash.0) != in_force {
                self.state.apply_config(RiskEventRef::EngineConfigured(&configured));
                settings
                    .limits
                    .iter()
                    .for_each(|limit| self.state.apply_config(RiskEventRef::LimitSet(limit)));
                settings.fees.iter().for_each(|fee| self.state.apply_config(RiskEventRef::FeeSet(fee)));
                self.outbox.add_configuration(configured, &settings.limits, &settings.fees);
                self.outbox.add_alerts(self.state.settle().into_iter());
            }
        }
        self.waiting = None;
        self.gauge.since = self.clock.now();
        self.gauge.watch.set_stuck(false);
        self.gauge.watch.set_live(true);
    }

    /// Takes a snapshot when it is time to, and hands it over when all of it is durable.
    fn save(&mut self, now: Time) -> Result<(), EngineError> {
        let Some(publisher) = &self.publisher else { return Ok(()) };
        if let Some(taken) = self.taken.take_if(|taken| publisher.durable() >= taken.risk) {
            self.taken = self.saver.save(taken);
        }
        self.must_save |= self.market_data.has_decided() | self.trades.has_decided();
        let is_due = self.must_save || self.unsaved >= self.snapshot_every || self.is_room_short(now);
        if !is_due || self.taken.is_some() || self.follow.is_some() || !self.outbox.is_empty() {
            return Ok(());
        }
        self.outbox.add_order(&mut self.order);
        if self.send()? {
            self.ordered = now;
            (self.unsaved, self.must_save) = (0, false);
            let risk = self.publisher.as_ref().map_or(0, Publisher::next_sequence);
            let frozen = self.state.freeze(&self.positions());
            self.taken = Some(Taken { risk, frozen });
        }
        Ok(())
    }

    /// Whether what was merged since the last snapshot is a large part of what retention holds for this engine. The two
    /// last snapshots and what comes meanwhile have to fit in there.
    fn is_room_short(&mut self, now: Time) -> bool {
        if now.0.saturating_sub(self.looked.0) < LOOK_EVERY.as_nanos() as u64 {
            return false;
        }
        self.looked = now;
        let room = [self.market_data.room(), self.trades.room()].into_iter().flatten().min();
        room.is_some_and(|room| self.unsaved > 0 && self.unsaved >= room / 8)
    }

    /// Journals what is left, makes all durable and says how it ended.
    fn end(&mut self) -> Result<(), EngineError> {
        if self.failed {
            return Ok(());
        }
        let mut idle = Idle::new(WaitStrategy::Park);
        self.outbox.add_order(&mut self.order);
        // The next segment comes in a moment; a full disk does not: the next start concludes the rest again.
        let mut is_sent = self.send()?;
        for _ in 0..LAST_TRIES {
            if is_sent {
                break;
            }
            idle.idle(0);
            is_sent = self.send()?;
        }
        let mut incomplete = self.lost_marks();
        incomplete.extend(self.bus.lost_schemas().iter().map(|topic| schema_lost(topic)));
        incomplete.extend(self.bus.cut_effects().iter().map(|topic| effects_cut(topic)));
        incomplete.extend([MARKET_DATA, TRADES, RISK].iter().filter_map(|topic| self.bus.astray(topic)));
        if !is_sent {
            incomplete.push(self.outbox.unsent());
        }
        incomplete.extend(self.waiting.take().and_then(|(_, said)| said));
        incomplete.extend(self.passed());
        incomplete.extend(too_late(&self.state));
        incomplete.extend(out_of_range(&self.state));
        incomplete.extend(withheld(&self.state));
        let undurable = self.close()?;
        if undurable > 0 {
            let count = counted(undurable, "message");
            incomplete.push(format!("{count} of 'risk' not durable, as their causes are not; start again"));
        } else if let Some(taken) = self.taken.take() {
            self.saver.save(taken);
        }
        let cut = self.positions().cut();
        self.gauge.close(cut);
        self.gauge.watch.set_outcome(Outcome {
            cut,
            state_hash: Bytes(self.state.state_hash(cut)),
            oddities: self.state.oddities(),
            incomplete,
        });
        Ok(())
    }

    /// What it means for each topic whose mark was lost, and what to do.
    fn lost_marks(&self) -> Vec<String> {
        let anew = BTreeSet::from_iter(self.bus.lost_marks());
        let without = self.unmarked.difference(&anew).map(|topic| format!("{}; {PUBLISH}", mark_lost(topic)));
        without.chain(anew.iter().map(|topic| mark_lost(topic))).collect()
    }

    /// Makes `risk` durable and ends it; returns how many messages wait for causes that do not come.
    fn close(&mut self) -> Result<u64, EngineError> {
        let Some(mut publisher) = self.publisher.take() else { return Ok(0) };
        if publisher.flush_within(DURABLE_WITHIN)? {
            publisher.close()?;
            return Ok(0);
        }
        let left = publisher.next_sequence() - publisher.durable();
        publisher.abandon();
        Ok(left)
    }
}

impl Agent for Runner {
    fn name(&self) -> &str {
        "risk"
    }

    fn do_work(&mut self) -> Result<usize, AgentError> {
        match self.work() {
            Ok(done) => Ok(done),
            Err(error) => {
                self.failed = true;
                Err(error.into())
            }
        }
    }

    fn on_close(&mut self) -> Result<(), AgentError> {
        Ok(self.end()?)
    }
}

/// What to do about busts and corrections that could not be applied.
fn too_late(state: &State) -> Option<String> {
    let messages = state.oddities().count(Oddity::ForgottenFill);
    (messages > 0).then(|| {
        format!(
            "{} of 'trades' bust or correct fills older than the last {RETAINED_FILLS}, so positions keep those; \
             alerts of 'risk' with the limit \"{RETAINED_FILLS_LIMIT}\" name them: reconcile with the venue",
            counted(messages, "message")
        )
    })
}

/// What to do about executions with which a position's sums would have left their range.
fn out_of_range(state: &State) -> Option<String> {
    let positions = state.positions().filter(|position| position.overflowed).count() as u64;
    (positions > 0).then(|| {
        format!(
            "{} lack executions with which a sum would have left its range; `replay state` names them: reconcile with \
             the venue",
            counted(positions, "position")
        )
    })
}

/// What to do about executions of which the gateway journalled no more than that they were reported.
fn withheld(state: &State) -> Option<String> {
    let reports = state.withheld();
    (reports > 0).then(|| {
        format!(
            "positions may lack {} that the gateway withheld; `replay blotter` names them: reconcile with the venue",
            counted(reports, "execution report")
        )
    })
}

fn publisher(bus: &Bus) -> Result<Publisher<RiskEvent>, EngineError> {
    Ok(bus.derived_publisher(RISK, &[MARKET_DATA, TRADES])?)
}

/// Measures, and tells whoever watches.
struct Gauge {
    watch: Arc<Watch>,
    measures: Box<Measures>,
    /// Older messages are not measured: they waited for the engine to catch up with its journal.
    since: Time,
    /// A message whose durability is awaited, and when it was published.
    sample: Option<(u64, Time)>,
    offered: Time,
}

impl Gauge {
    fn new(watch: Arc<Watch>, since: Time) -> Self {
        Self { watch, measures: Box::default(), since, sample: None, offered: since }
    }

    #[inline]
    fn measure(&mut self, sequence: u64, received: Time, published: Time, clock: &Clock) {
        if published < self.since || received.0 == 0 {
            return;
        }
        let now = clock.now();
        self.measures.receive_to_published.record(published.0.saturating_sub(received.0));
        self.measures.receive_to_risk.record(now.0.saturating_sub(received.0));
        if self.sample.is_none() {
            self.sample = Some((sequence, published));
        }
    }

    /// `durable` is the next sequence of `market-data` that will be durable, while that has a publisher.
    fn show(&mut self, cut: Cut, now: Time, durable: Option<u64>) {
        self.watch.set_cut(cut);
        if let (Some((sequence, published)), Some(durable)) = (self.sample, durable)
            && durable > sequence
        {
            self.measures.published_to_durable.record(now.0.saturating_sub(published.0));
            self.sample = None;
        }
        if now.0.saturating_sub(self.offered.0) >= OFFER_EVERY.as_nanos() as u64 {
            self.offered = now;
            self.watch.offer_measures(&mut self.measures);
        }
    }

    fn close(&mut self, cut: Cut) {
        self.watch.set_cut(cut);
        self.watch.leave_measures(&self.measures);
        *self.measures = Measures::default();
    }
}
