//! The live path against the simulated exchange: whatever dies, the topics are what an undisturbed run would have
//! written.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::net::{SocketAddr, SocketAddrV4, TcpListener, UdpSocket};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bus::config::{BusConfig, TopicConfig, WhenFull};
use bus::event::market::{MarketEvent, Session};
use bus::event::trade::{TradeEvent, TradeEventRef};
use bus::event::{PartOf, as_bytes};
use bus::program::{Date, Size};
use bus::{Bus, Gate, Start};
use market_gateway::feed::{Feed, FeedConfig};
use market_gateway::fix::session::SessionConfig;
use market_gateway::itch::day_file;
use market_gateway::live::{DropCopyConfig, LiveConfig, LiveGateway};
use market_gateway::mold::{PacketWriter, SessionId};
use market_gateway::net::{UdpConfig, Wait};
use market_gateway::normalise::Itch;
use market_gateway::resume::History;
use market_gateway::simulate::{Exchange, ExchangeConfig, Faults};
use market_gateway::{Normalise as _, Output, Recall};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);
const FAULTS: Faults = Faults { lost: 100, repeated: 50, overtaken: 50, lost_everywhere: 10 };

/// Addresses that the system gave out.
#[derive(Clone)]
struct Wires {
    lines: Vec<SocketAddrV4>,
    rerequest: SocketAddrV4,
    fix: SocketAddrV4,
}

impl Wires {
    fn new() -> Self {
        let sockets: Vec<_> = (0..3).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
        let addresses: Vec<_> = sockets.iter().map(|socket| ipv4(socket.local_addr().unwrap())).collect();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let fix = ipv4(listener.local_addr().unwrap());
        Self { lines: addresses[..2].to_vec(), rerequest: addresses[2], fix }
    }

    fn gateway(&self) -> LiveConfig {
        let session = SessionConfig {
            sender: "DESK".into(),
            target: "EXCHANGE".into(),
            heartbeat: Duration::from_secs(5),
            reset_on_logon: false,
        };
        LiveConfig {
            udp: UdpConfig {
                lines: self.lines.clone(),
                rerequest: Some(self.rerequest),
                wait: Wait::BALANCED,
                ..UdpConfig::default()
            },
            patience: Some(PATIENCE),
            drop_copy: Some(DropCopyConfig { address: self.fix.to_string(), session }),
            date: None,
        }
    }

    /// Starts the gateway as a process.
    fn start(&self, home: &Path) -> Child {
        let fix = self.fix.to_string();
        let drop_copy = ["--fix", &fix, "--sender", "DESK", "--target", "EXCHANGE"];
        self.command(home).args(drop_copy).spawn().unwrap()
    }

    /// The gateway without a drop copy.
    fn command(&self, home: &Path) -> Command {
        let config = home.join("config.toml");
        std::fs::write(&config, format!("[gateway]\npatience = \"{}s\"\n", PATIENCE.as_secs())).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_market-gateway"));
        command.args(["run", "--until-end", "--json"]);
        for line in &self.lines {
            command.args(["--mold", &line.to_string()]);
        }
        command.args(["--rerequest", &self.rerequest.to_string()]);
        command.arg("--bus").arg(home.join("bus")).arg("--config").arg(config);
        command.stdout(File::create(home.join("summary")).unwrap());
        command.stderr(File::create(home.join("notes")).unwrap());
        command
    }
}

fn ipv4(address: SocketAddr) -> SocketAddrV4 {
    match address {
        SocketAddr::V4(address) => address,
        SocketAddr::V6(address) => panic!("{address} is not IPv4"),
    }
}

/// An exchange on a thread of its own.
struct Market {
    exchange: Arc<Mutex<Exchange>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Market {
    fn open(home: &Path, wires: &Wires) -> Self {
        let config = ExchangeConfig {
            directory: home.join("venue"),
            lines: wires.lines.clone(),
            rerequest: Some(wires.rerequest),
            fix: Some(wires.fix),
            faults: FAULTS,
            truth: Some(home.join("truth.itch50")),
            ..ExchangeConfig::default()
        };
        let exchange = Arc::new(Mutex::new(Exchange::open(&config).unwrap()));
        let stop = Arc::new(AtomicBool::new(false));
        let (shared, stopped) = (Arc::clone(&exchange), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            // ORDERING: Relaxed: the flag alone matters, the thread is joined.
            while !stopped.load(Ordering::Relaxed) {
                shared.lock().unwrap().do_work(Instant::now()).unwrap();
                std::thread::sleep(Duration::from_micros(200));
            }
        });
        Self { exchange, stop, thread: Some(thread) }
    }

    fn now(&self) -> MutexGuard<'_, Exchange> {
        self.exchange.lock().unwrap()
    }

    fn wait_for(&self, messages: u64) {
        let began = Instant::now();
        while self.now().sent() < messages {
            assert!(began.elapsed() < PATIENCE, "the exchange stands at message {}", self.now().sent());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn end(&self) {
        self.now().end(Instant::now()).unwrap();
    }
}

impl Drop for Market {
    fn drop(&mut self) {
        // ORDERING: Relaxed: the flag alone matters, the thread is joined.
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}

/// The kind and the bytes of an event, without its receive time.
type Timeless = (u16, Vec<u8>);

fn timeless(kind: u16, body: &[u8]) -> Timeless {
    let mut bytes = body.to_vec();
    bytes[8..16].fill(0);
    (kind, bytes)
}

/// What a feed publishes.
struct Collected(Vec<Timeless>);

impl Output<MarketEvent> for Collected {
    type Error = std::convert::Infallible;
    fn publish<E: PartOf<MarketEvent>>(&mut self, event: &E) -> Result<(), Self::Error> {
        self.0.push(timeless(E::KIND, as_bytes(event)));
        Ok(())
    }
}

/// The events of what the exchange says that it sent, in a session of that date.
fn expected(truth: &Path, session: SessionId, date: Option<Date>) -> Vec<Timeless> {
    let config = FeedConfig { date, ..FeedConfig::new(false) };
    let mut feed = Feed::new(Itch::new(), Collected(Vec::new()), History::default(), config);
    let mut reader = day_file::Reader::new(File::open(truth).unwrap());
    let mut next = 1;
    while let Some(blocks) = reader.next_blocks(1_000) {
        feed.messages(session, next, blocks).unwrap();
        next += blocks.count() as u64;
    }
    feed.end(session, next).unwrap();
    feed.into_parts().1.0
}

fn journalled(bus: &Path) -> Vec<Timeless> {
    let mut reader = Bus::open(bus).unwrap().reader("market-data", Start::Oldest, Gate::Durable).unwrap();
    let mut events = Vec::new();
    while let Some(frame) = reader.poll().unwrap() {
        events.push(timeless(frame.kind, frame.body));
    }
    events
}

/// The topics hold what the exchange says that it sent, no more and no less.
fn assert_whole(home: &Path, exchange: &Exchange) {
    assert_market_whole(home, exchange);
    assert_fills(&home.join("bus"), exchange);
}

fn assert_market_whole(home: &Path, exchange: &Exchange) {
    let journalled = journalled(&home.join("bus"));
    let began = bus::event::from_bytes::<Session>(&journalled[0].1).unwrap();
    let expected = expected(&home.join("truth.itch50"), exchange.session(), Date::from_number(began.date));
    if let Some(at) =
        (0..journalled.len().max(expected.len())).find(|&at| journalled.get(at) != expected.get(at))
    {
        panic!("event {at}: {:?} where {:?} is due", journalled.get(at), expected.get(at));
    }
}

/// Every fill that the exchange reported is journalled, once and in order.
fn assert_fills(bus: &Path, exchange: &Exchange) {
    let mut fills = exchange.fills();
    let mut events =
        Bus::open(bus).unwrap().subscriber::<TradeEvent>("trades", Start::Oldest, Gate::Durable).unwrap();
    let mut count = 0;
    while let Some(event) = events.poll().unwrap() {
        let TradeEventRef::Fill(fill) = event else { panic!("{event:?}") };
        count += 1;
        let due = fills.execution(count).unwrap();
        assert_eq!((fill.execution, fill.account, fill.price), (due.execution, due.account, due.price));
        assert_eq!((fill.instrument, fill.side, fill.quantity), (due.instrument, due.side, due.quantity));
        assert_eq!((fill.exchange_time, fill.trade_date), (due.time, due.trade_date));
    }
    assert_eq!(count, exchange.executions());
}

/// Runs the gateway until the venue's end is journalled.
fn run_to_the_end(bus: &Bus, wires: &Wires) -> market_gateway::live::LiveSummary {
    let mut gateway = LiveGateway::open(bus, &wires.gateway(), Itch::new()).unwrap();
    work_until(&mut gateway, LiveGateway::is_ended);
    gateway.close().unwrap().0
}

fn work_until(gateway: &mut LiveGateway<Itch>, done: impl Fn(&LiveGateway<Itch>) -> bool) {
    let began = Instant::now();
    while !done(gateway) {
        assert!(began.elapsed() < PATIENCE, "{:?}", gateway.summary());
        gateway.do_work().unwrap();
    }
}

fn home() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    (directory, path)
}

#[test]
fn a_bad_day_is_journalled_whole() {
    let (_directory, home) = home();
    let wires = Wires::new();
    let bus = Bus::open(home.join("bus")).unwrap();
    let mut gateway = LiveGateway::open(&bus, &wires.gateway(), Itch::new()).unwrap();
    let market = Market::open(&home, &wires);
    work_until(&mut gateway, |gateway| {
        let sent = market.now().sent();
        if sent > 20_000 {
            market.end();
        }
        gateway.is_ended()
    });
    let (summary, itch) = gateway.close().unwrap();
    let sent = market.now().sent();
    assert_eq!((summary.feed.messages, summary.feed.published), (sent, sent));
    assert!(summary.feed.recovered > 0 && !summary.is_incomplete(), "{summary:?}");
    assert_eq!(itch.by_type().map(|(_, count)| count).sum::<u64>(), sent);
    assert_whole(&home, &market.now());
}

#[test]
fn a_late_gateway_asks_for_the_session_from_its_beginning() {
    let (_directory, home) = home();
    let wires = Wires::new();
    let market = Market::open(&home, &wires);
    market.wait_for(8_000);
    let ended = std::thread::scope(|scope| {
        let run = scope.spawn(|| run_to_the_end(&Bus::open(home.join("bus")).unwrap(), &wires));
        market.wait_for(16_000);
        market.end();
        run.join().unwrap()
    });
    assert_eq!(ended.feed.published, market.now().sent());
    assert_whole(&home, &market.now());
}

#[test]
fn a_full_topic_is_received_beside_and_completed_when_there_is_room() {
    let (_directory, home) = home();
    let wires = Wires::new();
    let full = TopicConfig { retention: Some(Size(3 << 20)), when_full: Some(WhenFull::Refuse) };
    let small = BusConfig {
        segment: Some(Size(1 << 20)),
        topics: [("market-data".into(), full)].into(),
        ..BusConfig::default()
    };
    let bus = Bus::with_config(home.join("bus"), small).unwrap();
    let mut gateway = LiveGateway::open(&bus, &wires.gateway(), Itch::new()).unwrap();
    let market = Market::open(&home, &wires);
    let published = work_until_refused(&mut gateway);
    let sent = market.now().sent();
    work_until(&mut gateway, |_| market.now().sent() > sent + 5_000);
    assert_eq!(gateway.summary().feed.published, published, "refused for good");
    gateway.close().unwrap();
    drop(bus);

    let bus = Bus::open(home.join("bus")).unwrap();
    std::thread::scope(|scope| {
        let run = scope.spawn(|| run_to_the_end(&bus, &wires));
        market.end();
        run.join().unwrap();
    });
    assert_whole(&home, &market.now());
}

/// Works until the topic has taken all that it takes, and says how many messages that are.
fn work_until_refused(gateway: &mut LiveGateway<Itch>) -> u64 {
    let began = Instant::now();
    while gateway.summary().refused < 1_000 {
        assert!(began.elapsed() < PATIENCE, "{:?}", gateway.summary());
        gateway.do_work().unwrap();
    }
    gateway.summary().feed.published
}

#[test]
fn a_gateway_killed_at_any_moment_ends_with_the_topics_of_an_undisturbed_one() {
    let (_directory, home) = home();
    let wires = Wires::new();
    let mut market = Market::open(&home, &wires);
    for kill in 1..=5u64 {
        let mut gateway = wires.start(&home);
        market.wait_for(kill * 9_000 + kill * kill * 137);
        gateway.kill().unwrap();
        let exit = gateway.wait().unwrap();
        let notes = std::fs::read_to_string(home.join("notes")).unwrap();
        assert_eq!(exit.signal(), Some(9), "it ran until it was killed: {notes}");
        if kill == 3 {
            // The exchange dies, too, and goes on with its session.
            drop(market);
            market = Market::open(&home, &wires);
        }
    }
    let mut gateway = wires.start(&home);
    market.wait_for(60_000);
    market.end();
    let exit = gateway.wait().unwrap();
    assert!(exit.success(), "{exit}: {}", std::fs::read_to_string(home.join("notes")).unwrap());
    assert_whole(&home, &market.now());
}

/// Sends a packet that is not the exchange's on both lines: one message, far beyond what was sent.
fn forge(wires: &Wires, session: SessionId, number: u64) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut writer = PacketWriter::new(100);
    writer.begin(&session, number);
    assert!(writer.push(b"Zforged"));
    for line in &wires.lines {
        socket.send_to(writer.datagram(), line).unwrap();
    }
}

/// How often each message of the venue is in the topic.
fn message_counts(bus: &Bus) -> BTreeMap<u64, u64> {
    let mut events = bus.subscriber::<MarketEvent>("market-data", Start::Oldest, Gate::Published).unwrap();
    let (mut itch, mut counts) = (Itch::new(), BTreeMap::new());
    while let Some(event) = events.poll().unwrap() {
        if let Recall::Message(number) = itch.recall(event) {
            *counts.entry(number).or_default() += 1;
        }
    }
    counts
}

#[test]
fn a_forged_jump_heals_while_the_market_lives_and_over_a_restart() {
    let (_directory, home) = home();
    let wires = Wires::new();
    let bus = Bus::open(home.join("bus")).unwrap();
    let config = LiveConfig { patience: Some(Duration::from_millis(100)), ..wires.gateway() };
    let open = || LiveGateway::open(&bus, &config, Itch::new()).unwrap();
    let market = Market::open(&home, &wires);
    let session = market.now().session();
    let is_at = |gateway: &LiveGateway<Itch>, what: &dyn Fn(u64) -> bool| {
        gateway.reached().is_some_and(|reached| what(reached.next))
    };
    let far = |round: u64| (1 << 62) + (round << 40);
    let mut gateway = open();
    for round in 0..2 {
        work_until(&mut gateway, |gateway| is_at(gateway, &|next| next > 1_000));
        forge(&wires, session, far(round));
        work_until(&mut gateway, |gateway| is_at(gateway, &|next| next > far(round)));
        if round == 1 {
            gateway.close().unwrap();
            gateway = open();
        }
        let is_healed =
            |gateway: &LiveGateway<Itch>| gateway.reached().is_some() && gateway.missing() < 1 << 32;
        work_until(&mut gateway, is_healed);
    }
    market.end();
    work_until(&mut gateway, |gateway| gateway.is_ended() && gateway.missing() == 0);
    let (summary, _) = gateway.close().unwrap();
    assert!(!summary.is_incomplete(), "{summary:?}");
    let sent = market.now().sent();
    let counts = message_counts(&bus);
    assert!(counts.into_iter().eq((1..=sent).map(|number| (number, 1))), "each message once");
    let history = History::read(&bus, "market-data", &mut Itch::new()).unwrap();
    let past = history.past(&session).unwrap();
    assert_eq!((past.next, past.open.len(), past.ended), (sent + 1, 0, Some(sent + 1)));
}

#[test]
fn a_run_until_the_end_ends_although_a_jump_was_forged_just_before_it() {
    let (_directory, home) = home();
    let wires = Wires::new();
    let market = Market::open(&home, &wires);
    let mut gateway = wires.start(&home);
    let began = Instant::now();
    while progress(&home.join("bus")).is_none_or(|(published, _)| published < 1_000) {
        assert!(began.elapsed() < PATIENCE, "it does not begin");
        std::thread::sleep(Duration::from_millis(1));
    }
    let session = market.now().session();
    forge(&wires, session, 1 << 62);
    market.end();
    let exit = loop {
        match gateway.try_wait().unwrap() {
            Some(exit) => break exit,
            None if began.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(1)),
            None => {
                gateway.kill().unwrap();
                panic!("it does not end");
            }
        }
    };
    assert!(exit.success(), "{exit}: {}", std::fs::read_to_string(home.join("notes")).unwrap());
    assert_whole(&home, &market.now());
}

/// Becomes a user of its own, with file systems of a few mebibytes as the bus directory `$1` and as shared memory; runs the
/// rest of its arguments.
const SMALL: &str = "mount -t tmpfs -o size=40m tmpfs \"$1\" && mount -t tmpfs -o size=24m tmpfs \"$BUSBAR_SHM\" \
                     && shift && exec \"$@\"";
/// Where the process that [`SMALL`] starts finds its home.
const HOME: &str = "LIVE_TEST_HOME";

/// Runs a test of this binary in small file systems; says so where the system gives none.
fn in_little_room(test: &str) {
    let (_directory, home) = home();
    let (bus, memory) = (home.join("bus"), home.join("memory"));
    [&bus, &memory].into_iter().for_each(|place| std::fs::create_dir(place).unwrap());
    let small = |program: &Path| {
        let mut command = Command::new("unshare");
        command.args(["-U", "-r", "-m", "sh", "-c", SMALL, "sh"]).arg(&bus).arg(program);
        command.env("BUSBAR_SHM", &memory).env(HOME, &home);
        command
    };
    if !small(Path::new("true")).output().is_ok_and(|tried| tried.status.success()) {
        eprintln!("not proven: this system gives no user namespace");
        return;
    }
    let mut command = small(&std::env::current_exe().unwrap());
    let exit = command.args(["--exact", test, "--nocapture"]).status().unwrap();
    assert!(exit.success(), "{exit}");
}

/// Takes all room of a file system but for some bytes.
fn take_room(place: &Path, but: u64) -> PathBuf {
    let filler = place.join(".filler");
    let mut file = File::create(&filler).unwrap();
    while file.write_all(&[0; 1 << 16]).is_ok() {}
    file.set_len(file.metadata().unwrap().len() - but).unwrap();
    filler
}

/// Events of `market-data`, and how often it refused one.
fn progress(bus: &Path) -> Option<(u64, u64)> {
    let survey = Bus::open(bus).unwrap().survey("market-data").ok()?;
    Some((survey.watermarks.published, survey.control?.counters()[3]))
}

/// A gateway refuses what finds no room, receives on beside it, and goes on by itself where there is room again.
fn refuse_and_go_on(gateway: &mut Child, market: &Market, home: &Path, filler: &Path, short: &str) {
    let (bus, began) = (home.join("bus"), Instant::now());
    let mut wait = |what: &str, is_done: &dyn Fn() -> bool| {
        while !is_done() {
            assert!(began.elapsed() < PATIENCE, "{what}: {:?}", progress(&bus));
            assert_eq!(gateway.try_wait().unwrap(), None, "it ended by itself");
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    wait("refuses", &|| progress(&bus).is_some_and(|(_, refused)| refused > 1_000));
    let notes = || std::fs::read_to_string(home.join("notes")).unwrap();
    wait("says why", &|| notes().contains(&format!("refused for lack of room: {short} is full: make room")));
    let (published, _) = progress(&bus).unwrap();
    let sent = market.now().sent();
    market.wait_for(sent + 5_000);
    assert_eq!(progress(&bus).unwrap().0, published, "it takes nothing meanwhile");
    std::fs::remove_file(filler).unwrap();
    wait("goes on", &|| progress(&bus).is_some_and(|(now, _)| now > published + 5_000));
    market.end();
    let exit = gateway.wait().unwrap();
    assert!(exit.success(), "{exit}: {}", std::fs::read_to_string(home.join("notes")).unwrap());
    let summary: Value = serde_json::from_slice(&std::fs::read(home.join("summary")).unwrap()).unwrap();
    assert!(summary["refused"].as_u64() > Some(0), "{summary}");
}

#[test]
fn a_full_disk_is_received_beside_and_gone_on_from_while_the_gateway_runs() {
    let Some(home) = std::env::var_os(HOME).map(PathBuf::from) else {
        return in_little_room("a_full_disk_is_received_beside_and_gone_on_from_while_the_gateway_runs");
    };
    let wires = Wires::new();
    let filler = take_room(&home.join("bus"), 16 << 20);
    let market = Market::open(&home, &wires);
    let mut gateway = wires.start(&home);
    refuse_and_go_on(&mut gateway, &market, &home, &filler, "the disk");
    assert_whole(&home, &market.now());
}

#[test]
fn full_shared_memory_is_received_beside_and_gone_on_from_while_the_gateway_runs() {
    let Some(home) = std::env::var_os(HOME).map(PathBuf::from) else {
        return in_little_room(
            "full_shared_memory_is_received_beside_and_gone_on_from_while_the_gateway_runs",
        );
    };
    let wires = Wires::new();
    let memory = home.join("memory");
    // For one segment, which cannot retire before there is a second one.
    let filler = take_room(&memory, 3 << 19);
    let market = Market::open(&home, &wires);
    let mut gateway = wires.command(&home).spawn().unwrap();
    refuse_and_go_on(&mut gateway, &market, &home, &filler, "shared memory");
    assert_market_whole(&home, &market.now());
    let left: Vec<_> = std::fs::read_dir(&memory).unwrap().collect();
    assert!(left.is_empty(), "a clean end leaves no memory: {left:?}");
}

/// Replays what the exchange says that it sent; the exit code and the summary, if it came to one.
fn replay(home: &Path) -> (Option<i32>, Option<Value>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_market-gateway"));
    command.arg("replay").arg(home.join("truth.itch50")).args(["--json", "--bus"]).arg(home.join("bus"));
    let output = command.output().unwrap();
    (output.status.code(), serde_json::from_slice(&output.stdout).ok())
}

#[test]
fn a_capture_ends_where_the_disk_is_full_and_its_rerun_completes() {
    let Some(home) = std::env::var_os(HOME).map(PathBuf::from) else {
        return in_little_room("a_capture_ends_where_the_disk_is_full_and_its_rerun_completes");
    };
    let market = Market::open(&home, &Wires::new());
    market.wait_for(60_000);
    market.end();
    let session = market.now().session();
    let sent = market.now().sent();
    drop(market);
    let filler = take_room(&home.join("bus"), 3 << 20);
    assert_eq!(replay(&home), (Some(2), None));
    let there = journalled(&home.join("bus")).len();
    assert!(there > 1_000 && (there as u64) < sent, "{there} of {sent}");
    std::fs::remove_file(filler).unwrap();
    let (code, summary) = replay(&home);
    let summary = summary.unwrap();
    assert_eq!((code, summary["messages"].as_u64()), (Some(0), Some(sent)), "{summary}");
    assert!(summary["duplicates"].as_u64() > Some(1_000), "{summary}");
    let expected = expected(&home.join("truth.itch50"), session, None);
    assert_eq!(journalled(&home.join("bus")).len(), expected.len());
}
