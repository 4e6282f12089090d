//! Given these topics, expect this blotter.
#![allow(missing_docs)]

mod common;

use std::fs;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bus::Publisher;
use bus::agent::Agent as _;
use bus::event::market::{AddOrder, MarketEvent};
use bus::event::risk::{LimitAlert, LimitSet, MergeRun, PositionUpdate, RiskEvent};
use bus::event::trade::{Fill, FillBust, OrderUpdate, TradeEvent, Withheld};
use bus::event::{Cause, Code, Side, Symbol};
use common::{Ground, Ran, add, fill, gap, instrument, program, replay, session, text};
use replay::blotter::{Blotter, Summary};
use serde_json::{Value, json};

/// Output that the test reads while it is written.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn lines(&self) -> Vec<Value> {
        let bytes = self.0.lock().unwrap();
        bytes
            .split(|b| *b == b'\n')
            .filter(|l| !l.is_empty())
            .map(|l| serde_json::from_slice(l).unwrap())
            .collect()
    }
}

fn names(lines: &[Value]) -> Vec<String> {
    let name = |line: &Value| {
        format!("{} {}", line["topic"].as_str().unwrap_or("-"), line["type"].as_str().unwrap())
    };
    lines.iter().map(name).collect()
}

/// A day with one of everything, published in this order.
fn day(ground: &Ground) {
    let (mut market, mut trades) = (ground.market(), ground.trades());
    let mut risk = ground.bus.derived_publisher::<RiskEvent>("risk", &["market-data", "trades"]).unwrap();
    let none = Cause { input: Cause::NONE, ..Cause::default() };
    let cause = Cause { sequence: 1, epoch: 1, input: 1, index: 0 };
    risk.publish(&LimitSet { cause: none, limit: text("position"), ..LimitSet::default() }).unwrap();
    market.publish(&session("DAY1", b'S')).unwrap();
    market.publish(&instrument("ACME")).unwrap();
    market.publish(&add(1)).unwrap();
    trades.publish(&OrderUpdate { instrument: text("ACME"), ..OrderUpdate::default() }).unwrap();
    trades.publish(&fill(1, Side::BUY, 100, 5)).unwrap();
    risk.publish(&MergeRun { cause, first: 0, count: 2 }).unwrap();
    risk.publish(&PositionUpdate { cause, ..PositionUpdate::default() }).unwrap();
    risk.publish(&LimitAlert { cause, state: text("breach"), ..LimitAlert::default() }).unwrap();
    market.publish(&gap(b'O', 5, 2)).unwrap();
    trades.publish(&FillBust { reference: text("E1"), ..FillBust::default() }).unwrap();
    market.publish(&gap(b'C', 5, 2)).unwrap();
    risk.publish(&MergeRun { cause: Cause { sequence: 2, ..cause }, first: 2, count: 1 }).unwrap();
    market.close().unwrap();
    trades.close().unwrap();
    risk.close().unwrap();
}

const DAY: [&str; 8] = [
    "risk limit_set",
    "market-data session",
    "trades order_update",
    "trades fill",
    "risk limit_alert",
    "market-data gap",
    "trades fill_bust",
    "market-data gap",
];

#[test]
fn what_compliance_keeps_stands_in_the_order_of_publishing() {
    let ground = Ground::new();
    day(&ground);
    let ran = replay(ground.bus.directory(), &["blotter", "--json"]);
    assert_eq!((ran.code, ran.error.as_str()), (0, ""));
    let lines = ran.lines();
    assert_eq!(names(&lines[..8]), DAY);
    let alert = &lines[4];
    assert_eq!(alert["cause"], json!({"topic": "trades", "epoch": 1, "sequence": 1, "index": 0}));
    assert_eq!((&alert["sequence"], &alert["state"]), (&json!(3), &json!("breach")));
    assert!(lines[3]["publish_time"].as_u64().unwrap() > 0 && lines[3]["exchange_time"] == 5_001);
    let end = &lines[8];
    assert_eq!((&end["type"], &end["complete"]), (&json!("end"), &json!(true)));
    assert_eq!((&end["lines"]["fill"], &end["lines"]["gap"]), (&json!(1), &json!(2)));
    assert_eq!(lines.len(), 9);
    assert_eq!(replay(ground.bus.directory(), &["blotter"]).out, ran.out, "always the same lines");
    assert_eq!(replay(&ground.read_only_copy(), &["blotter"]).out, ran.out);
}

#[test]
fn a_file_is_written_once() {
    let ground = Ground::new();
    day(&ground);
    let file = ground.path("blotter.jsonl");
    let arguments = ["blotter", "--out", file.to_str().unwrap()];
    let ran = replay(ground.bus.directory(), &arguments);
    assert_eq!(ran.code, 0, "{}", ran.error);
    assert!(ran.out.contains("8 lines") && ran.out.contains("complete"), "{}", ran.out);
    let written = std::fs::read_to_string(&file).unwrap();
    assert_eq!(written, replay(ground.bus.directory(), &["blotter"]).out);
    let again = replay(ground.bus.directory(), &arguments);
    assert!(again.code == 2 && again.error.contains("name another --out"), "{}", again.error);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), written, "evidence is not overwritten");
}

#[test]
fn what_is_incomplete_stands_in_the_last_line() {
    let ground = Ground::new();
    let mut market = ground.market();
    market.publish(&session("DAY1", b'S')).unwrap();
    market.publish(&instrument("ACME")).unwrap();
    market.publish(&gap(b'O', 5, 2)).unwrap();
    let mut trades = ground.trades();
    trades.publish(&fill(1, Side::BUY, 100, 5)).unwrap();
    trades.publish(&Fill { instrument: text("OTHER"), ..fill(2, Side::BUY, 100, 5) }).unwrap();
    trades.publish(&Fill { instrument: Symbol::default(), ..fill(3, Side::BUY, 100, 5) }).unwrap();
    market.close().unwrap();
    trades.close().unwrap();
    let ran = replay(ground.bus.directory(), &["blotter"]);
    assert_eq!(ran.code, 1);
    let lines = ran.lines();
    let end = lines.last().unwrap();
    assert_eq!(end["complete"], false);
    assert_eq!(
        end["incomplete"],
        json!([
            {"what": "fill without instrument", "topic": "trades", "sequence": 2, "instrument": null},
            {"what": "fill without instrument", "topic": "trades", "sequence": 1, "instrument": "OTHER"},
            {"what": "open gap", "topic": "market-data", "session": "DAY1", "from": 5, "count": 2},
            {"what": "not judged", "topic": "trades", "from": 0, "count": 3},
            {"what": "no topic", "topic": "risk"},
        ])
    );
}

#[test]
fn given_withheld_executions_expect_a_line_for_each_and_to_find_them_incomplete() {
    let ground = Ground::new();
    day(&ground);
    let mut trades = ground.trades();
    let report = |venue_sequence, cause, tag, execution| Withheld {
        venue_sequence,
        cause,
        tag,
        execution: text(execution),
        execution_type: Code(b'F'),
        ..Withheld::default()
    };
    trades.publish(&report(7, Withheld::MISSING, 17, "")).unwrap();
    trades.publish(&report(8, Withheld::VALUE, 32, "E8")).unwrap();
    trades.publish(&report(9, Withheld::REPETITION, 0, "E9")).unwrap();
    trades.close().unwrap();
    let ran = replay(ground.bus.directory(), &["blotter"]);
    let lines = ran.lines();
    let (line, end) = (&lines[9], lines.last().unwrap());
    assert_eq!(
        (&line["type"], &line["execution"], &line["tag"]),
        (&json!("withheld"), &json!("E8"), &json!(32))
    );
    assert_eq!((&line["cause"], &line["execution_type"]), (&json!("V"), &json!("F")));
    assert_eq!((ran.code, &end["lines"]["withheld"]), (1, &json!(3)));
    let found = |sequence, venue_sequence, execution: Option<&str>, cause, tag| {
        json!({"what": "execution withheld", "topic": "trades", "sequence": sequence,
            "venue_sequence": venue_sequence, "execution": execution, "cause": cause, "tag": tag})
    };
    assert_eq!(
        incomplete(&ground),
        [
            found(3, 7, None, "field missing", 17),
            found(4, 8, Some("E8"), "bad value", 32),
            found(5, 9, Some("E9"), "possible repetition", 0),
            json!({"what": "not judged", "topic": "trades", "from": 3, "count": 3}),
        ]
    );
    let told =
        "execution 4 of 'trades' is withheld, bad value in tag 32: the venue's message 8 with ExecID E8";
    let mut blotter = Blotter::bounded(&ground.bus, Vec::new()).unwrap();
    while blotter.do_work().unwrap() > 0 {}
    assert_eq!(blotter.summary().incomplete.listed()[1].to_string(), told);
}

#[test]
fn without_trades_nothing_is_complete_and_each_effect_is_without_its_cause() {
    let ground = Ground::new();
    day(&ground);
    fs::remove_dir_all(ground.bus.directory().join("trades")).unwrap();
    let causes = json!({"topic": "trades", "epoch": 1, "first": 1, "last": 2});
    let effects = json!({"what": "effect without cause", "topic": "risk",
        "first": 1, "last": 4, "effects": 4, "causes": causes});
    let lost = |topic| json!({"what": "topic gone", "topic": topic});
    assert_eq!(incomplete(&ground), [effects, lost("trades")]);
    fs::remove_dir_all(ground.bus.directory().join("risk")).unwrap();
    assert_eq!(incomplete(&ground), [lost("risk"), lost("trades")]);
    fs::remove_file(ground.bus.directory().join("bus.topics")).unwrap();
    let never = |topic| json!({"what": "no topic", "topic": topic});
    assert_eq!(incomplete(&ground), [never("trades"), never("risk")], "nobody knows that they were there");
}

#[test]
fn given_a_market_that_is_gone_expect_the_blotter_to_miss_it_although_nothing_follows_from_it() {
    let ground = Ground::new();
    day(&ground);
    let mut market = ground.bus.publisher::<MarketEvent>("other-venue").unwrap();
    market.publish(&session("DAY1", b'S')).unwrap();
    market.close().unwrap();
    let gone = |topics: &[&str]| {
        Vec::from_iter(topics.iter().map(|topic| json!({"what": "topic gone", "topic": topic})))
    };
    fs::remove_dir_all(ground.bus.directory().join("market-data")).unwrap();
    assert_eq!(incomplete(&ground), gone(&["market-data"]));
    fs::remove_dir_all(ground.bus.directory().join("other-venue")).unwrap();
    assert_eq!(incomplete(&ground), gone(&["market-data", "other-venue"]));
}

#[test]
fn given_a_topic_that_was_lost_and_made_anew_expect_the_blotter_to_miss_the_old_one() {
    let ground = Ground::new();
    day(&ground);
    fs::remove_dir_all(ground.bus.directory().join("market-data")).unwrap();
    let mut market = ground.market();
    market.publish(&session("DAY1", b'S')).unwrap();
    market.publish(&instrument("ACME")).unwrap();
    market.close().unwrap();
    let replaced = json!({"what": "topic replaced", "topic": "market-data"});
    assert_eq!(incomplete(&ground), [replaced]);
}

#[test]
fn given_a_garbled_list_of_topics_expect_the_blotter_not_to_be_complete() {
    let ground = Ground::new();
    day(&ground);
    let list = ground.bus.directory().join("bus.topics");
    let whole = fs::read_to_string(&list).unwrap();
    fs::write(&list, whole.replace("trades ", "trades x")).unwrap();
    let found = incomplete(&ground);
    let [found] = &found[..] else { panic!("{found:?}") };
    assert_eq!((&found["what"], &found["topic"]), (&json!("damage"), &json!("bus.topics")));
    assert!(found["detail"].as_str().unwrap().starts_with("cannot tell which topics are gone: "), "{found}");
}

#[test]
fn trades_that_no_engine_has_judged_are_incomplete() {
    let ground = Ground::new();
    day(&ground);
    let mut trades = ground.trades();
    for n in 2..5 {
        trades.publish(&fill(n, Side::BUY, 100, 5)).unwrap();
    }
    trades.close().unwrap();
    assert_eq!(
        incomplete(&ground),
        [json!({"what": "not judged", "topic": "trades", "from": 3, "count": 3})]
    );
    fs::remove_dir_all(ground.bus.directory().join("risk")).unwrap();
    let unjudged = json!({"what": "not judged", "topic": "trades", "from": 0, "count": 6});
    assert_eq!(incomplete(&ground), [unjudged, json!({"what": "topic gone", "topic": "risk"})]);
}

/// What the blotter of a bus, which has some, says is incomplete.
fn incomplete(ground: &Ground) -> Vec<Value> {
    let ran = replay(ground.bus.directory(), &["blotter"]);
    let lines = ran.lines();
    let end = lines.last().unwrap();
    assert_eq!((ran.code, &end["complete"]), (1, &json!(false)));
    end["incomplete"].as_array().unwrap().clone()
}

#[test]
fn a_topic_that_lost_its_schema_its_journal_or_its_mark_makes_the_blotter_incomplete() {
    for (lost, kind) in [("schema.json", "unreadable"), ("0", "unreadable"), ("0/mark", "missing")] {
        let ground = Ground::new();
        day(&ground);
        let path = ground.bus.directory().join("risk").join(lost);
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap()
        } else {
            fs::remove_file(path).unwrap()
        }
        let ran = replay(ground.bus.directory(), &["blotter"]);
        let lines = ran.lines();
        let end = lines.last().unwrap();
        assert_eq!((ran.code, &end["complete"]), (1, &json!(false)), "{lost}: {end}");
        let found = end["incomplete"].as_array().unwrap().iter();
        let found: Vec<_> =
            found.filter(|found| found["topic"] == "risk").map(|found| &found["kind"]).collect();
        assert_eq!(found, [kind], "{lost}: {end}");
        assert!(names(&lines).iter().any(|name| name.starts_with("trades ")), "{lost}: the others are told");
    }
}

#[test]
fn a_blotter_that_follows_takes_topics_as_they_come() {
    let ground = Ground::new();
    let out = Shared::default();
    let mut blotter = Blotter::new(&ground.bus, out.clone());
    assert_eq!(blotter.do_work().unwrap(), 0, "there is no bus yet");
    day(&ground);
    while names(&out.lines()).len() < DAY.len() {
        if blotter.do_work().unwrap() == 0 {
            std::thread::yield_now();
        }
    }
    let mut market = ground.market();
    market.publish(&AddOrder::default()).unwrap();
    market.publish(&session("DAY1", b'E')).unwrap();
    market.flush().unwrap();
    while names(&out.lines()).len() < DAY.len() + 1 {
        blotter.do_work().unwrap();
    }
    drop(market);
    let summary = blotter.finish().unwrap();
    assert!(summary.incomplete.is_empty(), "{:?}", summary.incomplete);
    assert_eq!(summary.lines["session"], 2);
    assert_eq!(blotter.finish().unwrap(), summary, "the last line is written once");
    let lines = out.lines();
    let mut seen = names(&lines[..DAY.len()]);
    let mut want = DAY.map(String::from).to_vec();
    seen.sort();
    want.sort();
    assert_eq!(seen, want);
    assert_eq!(names(&lines[DAY.len()..]), ["market-data session", "- end"]);
}

/// Follows while an effect waits for its cause and what was published after it is durable: the blotter before the cause
/// comes, its end, and the lines of the whole.
fn follow(ground: &Ground, hold: Duration) -> (Vec<String>, Summary, String) {
    let (mut market, mut trades) = (ground.market(), ground.trades());
    let mut risk = ground.bus.derived_publisher::<RiskEvent>("risk", &["market-data", "trades"]).unwrap();
    let out = Shared::default();
    let mut blotter = Blotter::new(&ground.bus, out.clone());
    blotter.hold(hold);
    let cause = Cause { sequence: 0, epoch: 1, input: 1, index: 0 };
    risk.publish(&LimitAlert { cause, state: text("breach"), ..LimitAlert::default() }).unwrap();
    market.publish(&session("DAY1", b'S')).unwrap();
    market.flush().unwrap();
    assert_eq!((market.durable(), risk.durable()), (1, 0), "the effect waits");
    for _ in 0..10 {
        blotter.do_work().unwrap();
    }
    let before = names(&out.lines());
    trades.publish(&fill(1, Side::BUY, 100, 5)).unwrap();
    market.close().unwrap();
    trades.close().unwrap();
    risk.close().unwrap();
    let summary = blotter.finish().unwrap();
    let lines = String::from_utf8(out.0.lock().unwrap().clone()).unwrap();
    (before, summary, lines)
}

#[test]
fn a_blotter_that_follows_has_the_order_of_a_later_one() {
    let ground = Ground::new();
    let (before, summary, lines) = follow(&ground, Duration::from_secs(3_600));
    assert_eq!((before.len(), summary.late), (0, 0), "the effect was published first");
    let later = replay(ground.bus.directory(), &["blotter"]);
    assert_eq!(lines, later.out);
    assert_eq!(names(&later.lines())[..3], ["risk limit_alert", "market-data session", "trades fill"]);
}

#[test]
fn what_comes_too_late_for_its_place_is_counted() {
    let ground = Ground::new();
    let (before, summary, lines) = follow(&ground, Duration::ZERO);
    assert_eq!((&before[..], summary.late), (&["market-data session".to_owned()][..], 1));
    let later = replay(ground.bus.directory(), &["blotter"]);
    assert_ne!(lines, later.out);
    assert_eq!(lines.lines().count(), later.out.lines().count(), "the same lines");
}

#[test]
fn a_topic_that_stays_silent_holds_up_the_others_no_longer_than_it_may() {
    let ground = Ground::new();
    let (mut market, _trades) = (ground.market(), ground.trades());
    let out = Shared::default();
    let mut blotter = Blotter::new(&ground.bus, out.clone());
    blotter.hold(Duration::from_millis(20));
    for n in 0..3 {
        market.publish(&session("DAY1", b'S')).unwrap();
        market.flush().unwrap();
        while out.lines().len() <= n {
            if blotter.do_work().unwrap() == 0 {
                std::thread::yield_now();
            }
        }
    }
    assert_eq!(blotter.finish().unwrap().late, 0);
}

/// A publisher that is always ahead of a blotter: whatever that writes, there is a trade more.
struct Ahead {
    trades: Publisher<TradeEvent>,
    lines: u64,
}

impl std::io::Write for Ahead {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.lines += 1;
        if self.lines > 1_000 {
            return Err(std::io::Error::other("the blotter does not end"));
        }
        self.trades.publish(&fill(self.lines, Side::BUY, 100, 5)).map_err(std::io::Error::other)?;
        self.trades.flush().map_err(std::io::Error::other)?;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn given_a_publisher_that_is_always_ahead_expect_a_blotter_to_end_with_what_was_durable_when_it_was_asked() {
    let ground = Ground::new();
    let mut trades = ground.trades();
    for n in 0..3 {
        trades.publish(&fill(n, Side::BUY, 100, 5)).unwrap();
    }
    trades.flush().unwrap();
    let mut blotter = Blotter::new(&ground.bus, Ahead { trades, lines: 0 });
    blotter.on_close().unwrap();
    assert_eq!(blotter.finish().unwrap().lines["fill"], 3);
    assert!(ground.bus.watermarks("trades").unwrap().durable > 3, "the publisher went on");
}

#[test]
fn the_program_follows_until_it_is_stopped() {
    let ground = Ground::new();
    day(&ground);
    let mut follower = program(ground.bus.directory())
        .args(["blotter", "--follow"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The signal is only watched once it works, so the first line is awaited.
    let mut out = std::io::BufReader::new(follower.stdout.take().unwrap());
    let mut first = String::new();
    std::io::BufRead::read_line(&mut out, &mut first).unwrap();
    let stopped = std::process::Command::new("kill").arg(follower.id().to_string()).status().unwrap();
    assert!(stopped.success());
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut out, &mut rest).unwrap();
    let ran = Ran::of(follower.wait_with_output().unwrap());
    assert_eq!((ran.code, ran.error.as_str()), (0, ""));
    let end: Value = serde_json::from_str(rest.lines().last().unwrap()).unwrap();
    assert_eq!((&end["type"], &end["complete"], &end["late"]), (&json!("end"), &json!(true), &json!(0)));
    assert_eq!(first + &rest, replay(ground.bus.directory(), &["blotter"]).out, "as a later one");
}

#[test]
fn what_retention_removed_before_is_incomplete() {
    let ground = Ground::expiring();
    ground.trades().close().unwrap();
    ground.bus.derived_publisher::<RiskEvent>("risk", &["market-data", "trades"]).unwrap().close().unwrap();
    let mut market = ground.market();
    market.publish(&add(0)).unwrap();
    assert_eq!(replay(ground.bus.directory(), &["blotter"]).code, 0);
    let first = ground.add_until_first_is_gone(market, 1);
    assert_eq!(
        incomplete(&ground),
        [json!({"what": "removed by retention", "topic": "market-data", "before": first})]
    );
}
