//! Given these journals, expect this state.
#![allow(missing_docs)]

mod common;

use std::fs;

use bus::event::market::MarketEvent;
use bus::event::risk::{EngineConfigured, FeeSet, LimitSet, MergeRun, RiskEvent};
use bus::event::trade::TradeEvent;
use bus::event::{Cause, Price, Quantity, Side};
use bus::{Bus, Gate, Publisher, SCHEMA_GONE, Start, TOPIC_GONE, TOPIC_REPLACED};
use common::{Ground, add, delete, execute, fill, gap, replay, session, silent, text};
use engine::{Cut, Effect, Effects, InputPosition, MergeRecorder, Positions, State};
use replay::snapshots;
use replay::state::{At, Derived, Order, StateError, derive};
use serde_json::json;

fn derived(bus: &Bus) -> Derived {
    derive(bus, None, &mut silent()).unwrap()
}

/// The engine as it runs live, driven by hand: it records its order and its effects.
struct Live {
    bus: Bus,
    state: State,
    risk: Publisher<RiskEvent>,
    recorder: MergeRecorder,
    cut: Cut,
}

impl Live {
    fn new(ground: &Ground) -> Self {
        let bus = ground.bus.clone();
        let risk = bus.derived_publisher("risk", &["market-data", "trades"]).unwrap();
        Self { bus, state: State::new(), risk, recorder: MergeRecorder::new(), cut: Cut::default() }
    }

    fn configure(&mut self, limit: i64) {
        let none = Cause { input: Cause::NONE, ..Cause::default() };
        let configured =
            EngineConfigured { cause: none, version: text("test"), ..EngineConfigured::default() };
        let limit =
            LimitSet { cause: none, limit: text("position"), value: Quantity(limit), ..LimitSet::default() };
        let fee = FeeSet { cause: none, per_unit: Price(2_500_000), ..FeeSet::default() };
        let mut batch = self.risk.batch();
        batch.push(&configured).unwrap();
        batch.push(&limit).unwrap();
        batch.push(&fee).unwrap();
        batch.commit();
        use bus::event::risk::RiskEventRef::{EngineConfigured as Begin, FeeSet as Fee, LimitSet as Limit};
        self.state.apply_config(Begin(&configured));
        self.state.apply_config(Limit(&limit));
        self.state.apply_config(Fee(&fee));
    }

    fn take_market(&mut self, count: u64) {
        let start = Start::Sequence(self.cut.market_data);
        let mut market = self.bus.subscriber::<MarketEvent>("market-data", start, Gate::Published).unwrap();
        for _ in 0..count {
            let delivery = market.poll_delivery().unwrap().unwrap();
            self.recorder.record(engine::MARKET_DATA, delivery.epoch, delivery.sequence);
            self.state.apply_market(delivery.message);
            self.cut.market_data = delivery.sequence + 1;
        }
    }

    fn take_trades(&mut self, count: u64) {
        let start = Start::Sequence(self.cut.trades);
        let mut trades = self.bus.subscriber::<TradeEvent>("trades", start, Gate::Published).unwrap();
        let mut effects = Effects::new();
        for _ in 0..count {
            let delivery = trades.poll_delivery().unwrap().unwrap();
            let (sequence, epoch) = (delivery.sequence, delivery.epoch);
            self.recorder.record(engine::TRADES, epoch, sequence);
            let cause = Cause { sequence, epoch, input: engine::TRADES, index: 0 };
            self.state.apply_trade(delivery.message, cause, &mut effects);
            self.cut.trades = sequence + 1;
            let mut batch = self.risk.batch();
            for run in self.recorder.drain() {
                batch.push(&run).unwrap();
            }
            for effect in effects.iter() {
                match effect {
                    Effect::Position(update) => batch.push(update).unwrap(),
                    Effect::Limit(alert) => batch.push(alert).unwrap(),
                }
            }
            batch.commit();
        }
    }

    /// Keeps a snapshot of all that was taken.
    fn save(&self) {
        let position = |next| InputPosition { next, ..InputPosition::default() };
        let Cut { market_data, trades } = self.cut;
        let positions = Positions { market_data: position(market_data), trades: position(trades) };
        let directory = snapshots::directory(&self.bus);
        fs::create_dir(&directory).unwrap();
        let path = snapshots::path(&directory, self.risk.next_sequence());
        fs::write(path, self.state.snapshot(&positions).unwrap()).unwrap();
    }

    fn hash(&self) -> [u8; 32] {
        self.state.state_hash(self.cut)
    }
}

/// A market of 40 orders and four fills, all published before any engine looks.
fn market_and_trades() -> Ground {
    let ground = Ground::new();
    let mut market = ground.market();
    market.publish(&session("DAY1", b'S')).unwrap();
    for n in 0..40 {
        market.publish(&add(n)).unwrap();
    }
    market.publish(&execute(1, 4)).unwrap();
    market.publish(&delete(0)).unwrap();
    let mut trades = ground.trades();
    for (n, (side, price, quantity)) in
        (1..).zip([(Side::BUY, 100, 30), (Side::BUY, 103, 10), (Side::SELL, 110, 10), (Side::SELL, 90, 5)])
    {
        trades.publish(&fill(n, side, price, quantity)).unwrap();
    }
    ground
}

#[test]
fn books_and_positions_have_the_promised_fields() {
    let ground = market_and_trades();
    let ran = replay(ground.bus.directory(), &["state", "--json"]);
    assert_eq!(ran.code, 0, "{}", ran.error);
    let state = ran.json();
    assert_eq!(state["cut"], json!({"market-data": 43, "trades": 4}));
    assert_eq!(state["merge"], "canonical");
    assert_eq!(
        state["books"],
        json!([{
            "instrument": "ACME", "orders": 39, "bid_levels": 19, "ask_levels": 20,
            "best_bid": {"price": "97", "size": 10}, "best_ask": {"price": "102", "size": 6},
            "executed_volume": 4, "executed_notional": "408", "stale": false,
        }])
    );
    let position = &state["positions"][0];
    // 30 at 100 and 10 at 103 cost 4,030; 10 of 40 take out 1,007.5, then 5 of 30 a sixth of the rest.
    for (field, want) in [
        ("account", json!("MAIN")),
        ("instrument", json!("ACME")),
        ("quantity", json!(25)),
        ("average_price", json!("100.75")),
        ("realised", json!("38.75")),
        ("unrealised", json!("-93.75")),
        ("fees", json!("0")),
    ] {
        assert_eq!(position[field], want, "{field}");
    }
    let derived = derived(&ground.bus);
    let hash: String = derived.state_hash().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(state["state_hash"], json!(hash));
    let shown = replay(ground.bus.directory(), &["state"]).out;
    for part in ["ACME", "97 × 10", "MAIN", "100.75", &hash] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
}

#[test]
fn the_live_engines_state_is_derived_at_every_cut() {
    let ground = market_and_trades();
    let mut live = Live::new(&ground);
    live.configure(35);
    let mut cuts = Vec::new();
    for (market, trades) in [(10, 1), (20, 1), (0, 1), (13, 1)] {
        live.take_market(market);
        live.take_trades(trades);
        cuts.push((live.cut, live.hash()));
    }
    for (cut, hash) in &cuts {
        let at = At { topic: "trades".into(), sequence: cut.trades - 1 };
        let derived = derive(&ground.bus, Some(&at), &mut silent()).unwrap();
        assert_eq!((derived.cut, derived.state_hash()), (*cut, *hash));
        assert_eq!(derived.order, Order::Recorded);
        assert!(derived.is_ok(), "{:?}", derived.divergence);
    }
    let whole = derived(&ground.bus);
    assert_eq!((whole.state_hash(), whole.order), (live.hash(), Order::Recorded));
    let ran = replay(ground.bus.directory(), &["state", "--at", "market-data=29", "--json"]);
    assert_eq!(ran.json()["cut"], json!({"market-data": 30, "trades": 1}), "{}", ran.error);
}

#[test]
fn beyond_what_was_recorded_the_order_is_canonical() {
    let ground = market_and_trades();
    let mut live = Live::new(&ground);
    live.configure(1_000);
    live.take_market(10);
    live.take_trades(1);
    let derived = derived(&ground.bus);
    assert_eq!(derived.order, Order::RecordedThenCanonical);
    live.take_market(33);
    live.take_trades(3);
    assert_eq!(derived.state_hash(), live.hash());
}

/// A bus whose engine told one limit.
fn with_a_limit() -> Ground {
    let ground = Ground::new();
    ground.market().publish(&add(1)).unwrap();
    let mut risk = ground.bus.derived_publisher::<RiskEvent>("risk", &["market-data", "trades"]).unwrap();
    let cause = Cause { input: Cause::NONE, ..Cause::default() };
    risk.publish(&LimitSet { cause, ..LimitSet::default() }).unwrap();
    risk.close().unwrap();
    assert_eq!(replay(ground.bus.directory(), &["state"]).code, 0);
    ground
}

#[test]
fn a_topic_that_lost_its_journal_or_its_schema_is_not_taken_for_one_that_never_was() {
    for topic in ["risk", "market-data"] {
        for gone in ["0", "schema.json"] {
            let ground = with_a_limit();
            let path = ground.bus.directory().join(topic).join(gone);
            match path.is_dir() {
                true => fs::remove_dir_all(&path).unwrap(),
                false => fs::remove_file(&path).unwrap(),
            }
            let ran = replay(ground.bus.directory(), &["state"]);
            let (path, bus) = (path.display(), ground.bus.directory().display());
            let told = match gone {
                "0" => format!("replay: topic '{topic}' lost its journal: {path}; restore it from a copy\n"),
                _ => format!("replay: topic '{topic}': {bus}: {SCHEMA_GONE}\n"),
            };
            assert_eq!((ran.code, ran.out.as_str(), ran.error), (2, "", told));
        }
    }
}

#[test]
fn given_a_topic_that_is_gone_or_of_another_bus_expect_the_state_not_to_be_whole() {
    for (topic, is_replaced) in [("risk", false), ("risk", true), ("market-data", true)] {
        let (ground, other) = (with_a_limit(), with_a_limit());
        let [path, others] = [&ground, &other].map(|ground| ground.bus.directory().join(topic));
        fs::rename(&path, ground.path("aside")).unwrap();
        if is_replaced {
            fs::rename(others, &path).unwrap();
        }
        let told = match is_replaced {
            true => format!("note: {topic}: replaced ({TOPIC_REPLACED})\n"),
            false => format!("note: {topic}: unreadable ({TOPIC_GONE})\n"),
        };
        for arguments in [&["state"][..], &["state", "--at", "market-data=0"]] {
            let ran = replay(ground.bus.directory(), arguments);
            assert_eq!((ran.code, ran.error.contains(&told)), (1, true), "{topic}: {}", ran.error);
        }
    }
}

#[test]
fn given_inputs_that_are_gone_expect_that_a_copy_is_asked_for_and_no_gateway() {
    let ground = with_a_limit();
    fs::remove_dir_all(ground.bus.directory().join("market-data")).unwrap();
    let ran = replay(ground.bus.directory(), &["state"]);
    assert_eq!((ran.code, ran.error), (2, format!("replay: topic 'market-data': {TOPIC_GONE}\n")));
}

#[test]
fn a_topic_that_lost_its_mark_may_lack_its_end_and_only_a_cut_before_it_is_proven() {
    for topic in ["risk", "market-data"] {
        let ground = with_a_limit();
        fs::remove_file(ground.segment(topic, 0).with_file_name("mark")).unwrap();
        let told = format!("{topic}: missing (the mark, and with it the proof that nothing follows)");
        let state = |arguments: &[&str]| {
            let ran = replay(ground.bus.directory(), &[&["state"], arguments].concat());
            (ran.code, ran.error.contains(&told))
        };
        assert_eq!(state(&[]), (1, true), "{topic}");
        let is_short = topic == "risk";
        assert_eq!(state(&["--at", "market-data=0"]), (i32::from(is_short), is_short), "{topic}");
        let beyond = replay(ground.bus.directory(), &["state", "--at", "market-data=1"]);
        let doubt =
            "no message 1 of 'market-data': missing (the mark, and with it the proof that nothing follows)";
        assert_eq!((beyond.code, beyond.error.contains(doubt)), (2, !is_short), "{}", beyond.error);
    }
}

#[test]
fn a_position_whose_sums_left_their_range_is_shown_to_lack_executions() {
    let ground = Ground::new();
    let mut trades = ground.trades();
    for n in 1..3 {
        let whole = bus::event::trade::Fill { price: Price(1), ..fill(n, Side::BUY, 1, i64::MAX) };
        trades.publish(&whole).unwrap();
    }
    trades
        .publish(&bus::event::trade::Fill { account: text("OTHER"), ..fill(3, Side::BUY, 100, 1) })
        .unwrap();
    drop(trades);
    let ran = replay(ground.bus.directory(), &["state", "--json"]);
    let json = ran.json();
    let flags = |n: usize| [&json["positions"][n]["overflowed"], &json["positions"][n]["unamended"]];
    assert_eq!(flags(0), [&json!(true), &json!(false)], "{json}");
    assert_eq!(flags(1), [&json!(false), &json!(false)], "{json}");
    assert_eq!(ran.code, 1, "the figures are incomplete");
    assert!(ran.error.contains("note: MAIN ACME: lacks executions"), "{}", ran.error);
    let text = replay(ground.bus.directory(), &["state"]).out;
    let row = |account| text.lines().find(|line| line.starts_with(account)).unwrap().trim_end().to_owned();
    assert!(row("MAIN").ends_with("overflowed") && !row("OTHER").contains("overflowed"), "{text}");
}

#[test]
fn given_a_withheld_execution_expect_the_positions_to_be_told_as_incomplete() {
    use bus::event::trade::Withheld;
    let ground = Ground::new();
    let mut trades = ground.trades();
    trades.publish(&fill(1, Side::BUY, 100, 5)).unwrap();
    trades
        .publish(&Withheld { account: text("MAIN"), cause: Withheld::VALUE, ..Withheld::default() })
        .unwrap();
    drop(trades);
    let ran = replay(ground.bus.directory(), &["state", "--json"]);
    let json = ran.json();
    assert_eq!((ran.code, &json["withheld"], &json["positions"][0]["quantity"]), (1, &json!(1), &json!(5)));
    assert!(ran.error.contains("note: positions may lack 1 execution report"), "{}", ran.error);
    assert!(ran.error.contains("1 × withheld_execution"), "{}", ran.error);
    let before = replay(ground.bus.directory(), &["state", "--json", "--at", "trades=0"]);
    assert_eq!((before.code, &before.json()["withheld"]), (0, &json!(0)), "{}", before.error);
}

#[test]
fn either_input_alone_is_enough() {
    let ground = Ground::new();
    ground.market().publish(&add(1)).unwrap();
    let market = derived(&ground.bus);
    assert_eq!((market.cut.market_data, market.cut.trades, market.state.books().count()), (1, 0, 1));
    let ground = Ground::new();
    ground.trades().publish(&fill(1, Side::BUY, 100, 1)).unwrap();
    let trades = derived(&ground.bus);
    assert_eq!((trades.cut.trades, trades.state.positions().count()), (1, 1));
}

#[test]
fn an_open_gap_makes_books_stale_and_is_a_fault() {
    let ground = Ground::new();
    let mut market = ground.market();
    market.publish(&session("DAY1", b'S')).unwrap();
    market.publish(&add(1)).unwrap();
    market.publish(&gap(b'O', 7, 1)).unwrap();
    let ran = replay(ground.bus.directory(), &["state", "--json"]);
    assert_eq!((ran.code, &ran.json()["books"][0]["stale"]), (1, &json!(true)));
    assert!(ran.error.contains("open gap: 1 messages of the venue from 7"), "{}", ran.error);
    market.publish(&gap(b'C', 7, 1)).unwrap();
    let ran = replay(ground.bus.directory(), &["state", "--json"]);
    assert_eq!((ran.code, &ran.json()["books"][0]["stale"]), (0, &json!(false)));
}

#[test]
fn an_effect_that_does_not_follow_is_a_divergence() {
    let ground = market_and_trades();
    let mut live = Live::new(&ground);
    live.take_trades(1);
    let mut other = live.state.clone();
    let mut effects = Effects::new();
    let cause = Cause { sequence: 1, epoch: 1, input: engine::TRADES, index: 0 };
    let invented = fill(2, Side::BUY, 999, 10);
    other.apply_trade(bus::event::trade::TradeEventRef::Fill(&invented), cause, &mut effects);
    let mut batch = live.risk.batch();
    batch.push(&MergeRun { cause, first: 1, count: 1 }).unwrap();
    let Some(Effect::Position(update)) = effects.iter().next() else { panic!("{effects:?}") };
    batch.push(update).unwrap();
    batch.commit();
    let ran = replay(ground.bus.directory(), &["state", "--json"]);
    assert_eq!(ran.code, 1);
    assert!(ran.error.contains("is not the one that follows from its cause"), "{}", ran.error);
    assert_eq!(ran.json()["divergence"].as_array().unwrap().len(), 1);
}

#[test]
fn an_order_that_contradicts_the_inputs_is_told_and_left() {
    let ground = market_and_trades();
    let mut live = Live::new(&ground);
    let cause = Cause { sequence: 20, epoch: 1, input: engine::MARKET_DATA, index: 0 };
    live.risk.publish(&MergeRun { cause, first: 15, count: 6 }).unwrap();
    let derived = derived(&ground.bus);
    assert_eq!((derived.order, derived.cut), (Order::Canonical, Cut { market_data: 43, trades: 4 }));
    assert_eq!(derived.divergence.count(), 1);
    assert!(!derived.is_ok());
}

/// A market that lived three times with ten messages each, of which those of one life are lost.
fn without_life(number: u64) -> Ground {
    let ground = Ground::new();
    for life in 0..3 {
        let mut market = ground.market();
        (0..10).for_each(|n| assert!(market.publish(&add(10 * life + n)).is_ok()));
        market.close().unwrap();
    }
    fs::remove_file(ground.segment("market-data", number)).unwrap();
    ground
}

#[test]
fn what_the_state_lacks_of_its_inputs_is_said_wherever_it_was_lost() {
    for (number, cut) in [(1, 30), (2, 30)] {
        let ground = without_life(number);
        let ran = replay(ground.bus.directory(), &["state", "--json"]);
        let (state, from) = (ran.json(), 10 * number);
        assert_eq!((ran.code, &state["cut"]["market-data"]), (1, &json!(cut)), "{}", ran.error);
        assert!(
            ran.error.contains("note: incomplete: without messages that are lost, 10 of market-data: books")
        );
        let damage = &state["damage"][0];
        let told = [&damage["topic"], &damage["kind"], &damage["from"], &damage["to"]];
        assert_eq!(told, [&json!("market-data"), &json!("missing"), &json!(from), &json!(from + 10)]);
        assert_eq!(state["books"][0]["stale"], json!(true), "lacks orders");
        // Before it nothing is missing, nor once a session has begun with empty books.
        let before = replay(ground.bus.directory(), &["state", "--json", "--at", "market-data=9"]).json();
        assert_eq!(
            (&before["cut"]["market-data"], &before["books"][0]["stale"]),
            (&json!(10), &json!(false))
        );
        let mut market = ground.market();
        market.publish(&session("DAY2", b'S')).unwrap();
        market.publish(&add(1)).unwrap();
        market.close().unwrap();
        let ran = replay(ground.bus.directory(), &["state", "--json"]);
        assert_eq!((ran.code, &ran.json()["books"][0]["stale"]), (1, &json!(false)), "{}", ran.error);
    }
}

#[test]
fn a_cut_at_a_message_that_is_lost_is_refused_with_its_range() {
    for number in [0, 1, 2] {
        let ground = without_life(number);
        let (from, to) = (10 * number, 10 * number + 10);
        for asked in [from, to - 1] {
            let ran = replay(ground.bus.directory(), &["state", "--at", &format!("market-data={asked}")]);
            let told = format!(
                "no message {asked} of 'market-data': missing: sequences {from} to before {to}, positions"
            );
            assert!(ran.code == 2 && ran.error.contains(&told), "{}", ran.error);
        }
    }
}

#[test]
fn a_cut_that_is_not_there_is_refused() {
    let ground = market_and_trades();
    let refused = |at: &str| {
        let ran = replay(ground.bus.directory(), &["state", "--at", at]);
        assert_eq!((ran.code, ran.error.lines().count()), (2, 1), "{}", ran.error);
        ran.error
    };
    assert!(
        refused("market-data=43").contains("no message 43 yet: 'market-data' holds sequences 0 to before 43")
    );
    assert!(refused("risk=1").contains("not an input"));
    for bad in ["market-data", "market-data=", "market-data=-1", "market-data=x"] {
        assert!(refused(bad).contains(bad), "{bad}");
    }
    let nowhere = Bus::open(ground.path("nowhere")).unwrap();
    assert!(matches!(derive(&nowhere, None, &mut silent()), Err(StateError::Empty { .. })));
}

#[test]
fn a_beginning_that_is_damaged_is_told_also_behind_a_snapshot_and_not_laid_to_retention() {
    for with_snapshot in [false, true] {
        let ground = Ground::new();
        let mut market = ground.market();
        (0..30_000).for_each(|n| assert!(market.publish(&add(n)).is_ok()));
        market.close().unwrap();
        let mut live = Live::new(&ground);
        live.configure(1_000);
        live.take_market(29_000);
        if with_snapshot {
            live.save();
        }
        live.risk.close().unwrap();
        fs::remove_file(ground.segment("market-data", 0)).unwrap();
        let ran = replay(ground.bus.directory(), &["state", "--json"]);
        let from = ran.json()["from"]["market-data"].as_u64().unwrap();
        assert_eq!((ran.code, from == 29_000), (1, with_snapshot), "{}", ran.error);
        let begins = format!(
            "note: begins at market-data {from} and trades 0, since what came first is damaged
"
        );
        assert!(ran.error.starts_with(&begins), "{}", ran.error);
        assert!(ran.error.contains("note: market-data: missing: sequences 0 to before "), "{}", ran.error);
        assert!(!ran.error.contains("retention"), "{}", ran.error);
        assert!(!ran.error.contains("without messages that are lost"), "{}", ran.error);
    }
}

#[test]
fn damage_in_an_input_is_told() {
    let ground = Ground::new();
    let mut market = ground.market();
    for n in 0..30_000 {
        market.publish(&add(n)).unwrap();
    }
    market.close().unwrap();
    ground.spoil("market-data", 0, 500_000);
    let derived = derived(&ground.bus);
    assert_eq!(derived.cut.market_data, 30_000);
    let [(topic, damage)] = &derived.damage[..] else { panic!("{:?}", derived.damage) };
    assert!(topic == "market-data" && damage.from < damage.to);
    assert_eq!(replay(ground.bus.directory(), &["state"]).code, 1);
}

#[test]
fn books_whose_beginning_retention_removed_are_stale_until_a_session_begins() {
    let ground = Ground::expiring();
    let first = ground.add_until_first_is_gone(ground.market(), 0);
    let end = ground.bus.watermarks("market-data").unwrap().published;
    let missing = json!([{"topic": "market-data", "before": first}]);
    let at = format!("market-data={}", end - 1);
    for arguments in [&["state", "--json"][..], &["state", "--json", "--at", &at]] {
        let ran = replay(ground.bus.directory(), arguments);
        let state = ran.json();
        assert_eq!((ran.code, &state["missing"]), (1, &missing), "{}", ran.error);
        assert_eq!(state["books"][0]["stale"], json!(true));
        let note = format!("note: incomplete: no snapshot covers what came before market-data {first}: ");
        assert!(ran.error.contains(&note), "{}", ran.error);
    }
    assert!(replay(ground.bus.directory(), &["state"]).out.contains("stale"));
    // Another session begins with empty books, and lacks nothing.
    ground.bus.keep_from("market-data", "auditor", end - 1).unwrap();
    let mut market = ground.market();
    market.publish(&session("DAY2", b'S')).unwrap();
    market.publish(&add(1)).unwrap();
    market.close().unwrap();
    assert!(ground.bus.watermarks("market-data").unwrap().first > 0, "it is still gone");
    let ran = replay(ground.bus.directory(), &["state", "--json"]);
    let state = ran.json();
    assert_eq!((ran.code, &state["missing"], &state["books"][0]["stale"]), (0, &json!([]), &json!(false)));
    assert_eq!(replay(ground.bus.directory(), &["state", "--at", &at]).code, 1, "{}", ran.error);
}

#[test]
fn a_snapshot_covers_what_retention_removed_for_what_comes_behind_it() {
    let ground = Ground::expiring();
    let mut market = ground.market();
    ground.bus.keep_from("market-data", "risk", 0).unwrap();
    (0..20_000).for_each(|n| assert!(market.publish(&add(n)).is_ok()));
    assert_eq!(ground.bus.watermarks("market-data").unwrap().first, 0);
    let mut live = Live::new(&ground);
    live.configure(1_000);
    live.take_market(20_000);
    live.save();
    live.risk.close().unwrap();
    ground.bus.keep_from("market-data", "risk", 20_000).unwrap();
    let first = ground.add_until_first_is_gone(market, 20_000);
    assert!(first < 20_000, "the journal goes on from the snapshot: {first}");
    let state = |at: &str| {
        let arguments: &[&str] =
            if at.is_empty() { &["state", "--json"] } else { &["state", "--json", "--at", at] };
        let ran = replay(ground.bus.directory(), arguments);
        let state = ran.json();
        (ran.code, state["from"]["market-data"].as_u64().unwrap(), state["books"][0]["stale"] == json!(true))
    };
    assert_eq!(state(""), (0, 20_000, false));
    assert_eq!(state("market-data=20000"), (0, 20_000, false));
    assert_eq!(state("market-data=19999"), (1, first, true), "the snapshot lies beyond");
    let gone = replay(ground.bus.directory(), &["state", "--at", &format!("market-data={}", first - 1)]);
    assert!(
        gone.code == 2
            && gone
                .error
                .contains(&format!("retention removed it; 'market-data' holds sequences {first} to")),
        "{}",
        gone.error
    );
    fs::remove_dir_all(snapshots::directory(&ground.bus)).unwrap();
    assert_eq!(state(""), (1, first, true));
}
