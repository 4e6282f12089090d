//! Given a live bus of which an auditor sees no shared memory, expect that it names no effect without cause that has one,
//! whichever topic it sees farther.
#![allow(missing_docs)]

mod common;

use std::fs;
use std::sync::{Arc, Mutex};

use bus::event::risk::{MergeRun, RiskEvent};
use bus::event::trade::TradeEvent;
use bus::event::{Cause, Side};
use bus::{Bus, Publisher};
use common::{Ground, copy, fill};
use replay::Show;
use replay::blotter::{Blotter, Summary};
use replay::state::{Order, derive};
use replay::verify::{TopicReport, verify};

/// More than a duty cycle of the blotter takes.
const MANY: u64 = 3_000;
const MORE: u64 = 100;

/// A live bus, and a directory that shows its topics as they were on disk when the test said so.
struct Live {
    trades: Publisher<TradeEvent>,
    risk: Publisher<RiskEvent>,
    /// Dropped last: while publishers hold their memory, no other directory may get the inode that names it.
    ground: Ground,
    count: u64,
}

impl Live {
    fn new() -> Self {
        let ground = Ground::new();
        ground.market().close().unwrap();
        let trades = ground.trades();
        let risk = ground.bus.derived_publisher("risk", &["market-data", "trades"]).unwrap();
        let mut live = Self { ground, trades, risk, count: 0 };
        live.trade(MANY);
        copy(&live.ground.bus.directory().join("market-data"), &live.ground.path("view/market-data"));
        live
    }

    /// Publishes so many fills with an effect of each, all of which are durable then.
    fn trade(&mut self, count: u64) {
        for _ in 0..count {
            let sequence = self.trades.publish(&fill(self.count, Side::BUY, 100, 1)).unwrap();
            let cause = Cause { sequence, epoch: self.trades.epoch(), input: 1, index: 0 };
            self.risk.publish(&MergeRun { cause, first: sequence, count: 1 }).unwrap();
            self.count += 1;
        }
        self.trades.flush().unwrap();
        self.risk.flush().unwrap();
    }

    /// What an auditor sees, who has the directory and no shared memory.
    fn view(&self) -> Bus {
        Bus::open(self.ground.path("view")).unwrap()
    }

    /// Shows a topic as it is on disk now, and that its writer is at it.
    fn show(&self, topic: &str) {
        self.show_in("view", topic);
    }

    /// The same to who looks elsewhere.
    fn show_in(&self, view: &str, topic: &str) {
        let (of, to) = (self.ground.bus.directory().join(topic), self.ground.path(view).join(topic));
        let view = Bus::open(self.ground.path(view)).unwrap();
        loop {
            let _ = fs::remove_dir_all(&to);
            copy(&of, &to);
            fs::remove_file(to.join("0/lock")).unwrap();
            fs::hard_link(of.join("0/lock"), to.join("0/lock")).unwrap();
            // The mark follows some milliseconds later.
            let seen = view.watermarks(topic).unwrap().durable;
            assert!(seen <= self.count);
            if seen == self.count {
                return;
            }
            std::thread::yield_now();
        }
    }
}

type OnFlush = Box<dyn FnMut() + Send>;

/// Output of which the test hears when what was written is handed on.
#[derive(Clone)]
struct Handed(Arc<Mutex<OnFlush>>);

impl Handed {
    fn to(hook: impl FnMut() + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(Box::new(hook))))
    }
}

impl std::io::Write for Handed {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        (self.0.lock().unwrap())();
        Ok(())
    }
}

/// Hears of each pause of an audit that waits.
struct OnPause<F>(F);

impl<F: FnMut()> Show for OnPause<F> {
    fn show(&mut self, describe: impl FnOnce() -> String) {
        assert_eq!(describe(), "trades: waiting for its mark");
        (self.0)();
    }
}

fn assert_complete(summary: &Summary, fills: u64) {
    assert!(summary.incomplete.is_empty(), "{:?}", summary.incomplete.listed());
    assert_eq!(summary.lines["fill"], fills);
}

#[test]
fn who_is_stopped_while_catching_up_knows_the_causes_that_have_come_since() {
    let mut live = Live::new();
    ["trades", "risk"].iter().for_each(|topic| live.show(topic));
    let mut blotter = Blotter::new(&live.view(), std::io::sink());
    assert!(blotter.do_work().unwrap() > 0);
    live.trade(MORE);
    ["trades", "risk"].iter().for_each(|topic| live.show(topic));
    assert!(blotter.do_work().unwrap() > 0, "it is catching up");
    assert_complete(&blotter.finish().unwrap(), MANY + MORE);
}

#[test]
fn a_cause_whose_mark_is_behind_that_of_its_effect_is_waited_for() {
    for is_bounded in [false, true] {
        let mut live = Live::new();
        live.show("trades");
        live.trade(MORE);
        live.show("risk");
        let (view, live) = (live.view(), Mutex::new(live));
        let out = Handed::to(move || live.lock().unwrap().show("trades"));
        let mut blotter = if is_bounded {
            let mut blotter = Blotter::bounded(&view, out).unwrap();
            while blotter.do_work().unwrap() > 0 {}
            blotter
        } else {
            let mut blotter = Blotter::new(&view, out);
            assert!(blotter.do_work().unwrap() > 0);
            blotter
        };
        assert_complete(&blotter.finish().unwrap(), MANY);
    }
}

#[test]
fn causes_that_do_not_come_are_waited_for_once() {
    let mut live = Live::new();
    live.show("trades");
    live.trade(MORE);
    live.show("risk");
    let (handed, count) = (Arc::new(Mutex::new(0)), Arc::new(Mutex::new(0)));
    let counted = Arc::clone(&handed);
    let mut blotter =
        Blotter::bounded(&live.view(), Handed::to(move || *counted.lock().unwrap() += 1)).unwrap();
    while blotter.do_work().unwrap() > 0 {
        *count.lock().unwrap() += 1;
    }
    let summary = blotter.finish().unwrap();
    let told: Vec<_> = summary.incomplete.listed().iter().map(ToString::to_string).collect();
    let want = "'risk': 100 effects from 3000 to 3099 without their causes, messages 3000 to 3099 of epoch 1 of trades";
    assert_eq!(told, [want]);
    assert!(*handed.lock().unwrap() < 20, "once, not for each of them");
}

fn assert_whole(report: &TopicReport, effects: u64) {
    assert!(report.is_ok(), "{report:?}");
    assert_eq!(report.messages, effects);
}

#[test]
fn a_cause_whose_mark_is_behind_that_of_its_effect_is_waited_for_before_an_effect_is_called_an_orphan() {
    let mut live = Live::new();
    live.show("trades");
    live.trade(MORE);
    live.show_in("later", "trades");
    live.trade(MORE);
    live.show("risk");
    let (view, mut turn) = (live.view(), 0);
    // The mark moves twice, and not far enough at once.
    let report = verify(
        &view,
        "risk",
        &mut OnPause(|| {
            turn += 1;
            match turn {
                1 => {
                    fs::remove_dir_all(live.ground.path("view/trades")).unwrap();
                    fs::rename(live.ground.path("later/trades"), live.ground.path("view/trades")).unwrap();
                }
                _ => live.show("trades"),
            }
        }),
    );
    assert_whole(&report.unwrap(), MANY + 2 * MORE);
    assert_eq!(turn, 2);
}

#[test]
fn causes_that_do_not_come_are_orphans_and_waited_for_once() {
    let mut live = Live::new();
    live.show("trades");
    live.trade(MORE);
    live.show("risk");
    let mut pauses = 0;
    let report = verify(&live.view(), "risk", &mut OnPause(|| pauses += 1)).unwrap();
    let told: Vec<_> = report.orphans.listed().iter().map(ToString::to_string).collect();
    let want =
        "100 effects from 3000 to 3099 without their causes, messages 3000 to 3099 of epoch 1 of trades";
    assert_eq!(told, [want]);
    assert!(0 < pauses && pauses < 20, "{pauses}: once, not for each of them");
}

#[test]
fn causes_that_do_not_come_are_not_waited_for_where_nobody_writes() {
    let mut live = Live::new();
    live.show("trades");
    fs::remove_file(live.ground.path("view/trades/0/lock")).unwrap();
    live.trade(MORE);
    live.show("risk");
    let report = verify(&live.view(), "risk", &mut OnPause(|| panic!("nobody's mark comes"))).unwrap();
    assert_eq!(report.orphans_count, MORE);
}

#[test]
fn a_recorded_message_whose_mark_is_behind_is_waited_for_before_the_order_is_lost() {
    let mut live = Live::new();
    live.show("trades");
    live.trade(MORE);
    live.show("risk");
    let derived = derive(&live.view(), None, &mut OnPause(|| live.show("trades"))).unwrap();
    assert!(derived.is_ok(), "{:?}", derived.divergence.listed());
    assert_eq!((derived.cut.trades, derived.order), (MANY + MORE, Order::Recorded));
}

#[test]
fn a_recorded_message_that_does_not_come_is_told_once_it_was_waited_for() {
    let mut live = Live::new();
    live.show("trades");
    live.trade(MORE);
    live.show("risk");
    let mut pauses = 0;
    let derived = derive(&live.view(), None, &mut OnPause(|| pauses += 1)).unwrap();
    let want = "merge order: message 3000 of trades was merged but is not there; verify the journals with `replay verify`";
    assert_eq!(derived.divergence.listed(), [want]);
    assert!(0 < pauses && pauses < 20, "{pauses}: once");
}
