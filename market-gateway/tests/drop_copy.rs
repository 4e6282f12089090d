//! The drop copy over TCP against the simulated exchange: lives of both sides end at any moment, and every execution
//! is journalled once, in order.

use std::{
    io::Write,
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use bus::event::{
    Message as _, Price, Quantity, Side, Text, Time, as_bytes,
    trade::{Fill, TradeEvent, TradeEventRef},
};
use bus::{Bus, Gate, Start};
use market_gateway::{
    fix::{
        drop_copy::DropCopy,
        executions::{Resume, Trades, TradesError},
        numbers::{Numbers, NumbersReserved, ReserveError, Reserved},
        reason::Reason,
        session::SessionConfig,
        writer::{Header, Writer},
    },
    simulate::{Execution, drop_copy::DropCopyServer},
};

/// What would be on disk: it outlives both sides.
#[derive(Clone, Default)]
struct Disk {
    reserved: Arc<Mutex<Reserved>>,
    fills: Arc<Mutex<Vec<Fill>>>,
    full: Arc<Mutex<bool>>,
}

impl Numbers for Disk {
    fn reserved(&self) -> Reserved {
        *self.reserved.lock().unwrap()
    }

    fn reserve(&mut self, reserved: Reserved) -> Result<(), ReserveError> {
        *self.reserved.lock().unwrap() = reserved;
        Ok(())
    }
}

impl Trades for Disk {
    fn publish(&mut self, event: &TradeEvent) -> Result<(), TradesError> {
        let TradeEvent::Fill(fill) = event else { panic!("the exchange reports fills only") };
        if *self.full.lock().unwrap() {
            return Err(TradesError::NoRoom);
        }
        self.fills.lock().unwrap().push(*fill);
        Ok(())
    }
}

impl Disk {
    fn count(&self) -> usize {
        self.fills.lock().unwrap().len()
    }
}

fn execution(number: u64) -> Option<Execution> {
    Some(Execution {
        number,
        account: Text::new("DESK-1")?,
        instrument: Text::new("BUSBAR")?,
        side: if number.is_multiple_of(2) { Side::BUY } else { Side::SELL },
        price: Price(101_250_000_000 + number.cast_signed()),
        quantity: Quantity(1 + number.cast_signed() % 7),
        execution: Text::new(&format!("E{number}"))?,
        order: Text::new(&format!("O{number}"))?,
        client_order: Text::new(&format!("C{number}"))?,
        time: Time(1_767_323_045_000_000_000 + number),
        trade_date: 20_260_102,
    })
}

fn config() -> SessionConfig {
    SessionConfig {
        sender: "US".to_owned(),
        target: "VENUE".to_owned(),
        heartbeat: Duration::from_secs(5),
        reset_on_logon: false,
    }
}

/// The exchange and the gateway in one thread, with a clock of their own.
struct World {
    exchange: Disk,
    gateway: Disk,
    address: SocketAddr,
    listener: TcpListener,
    now: Time,
}

impl World {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self {
            exchange: Disk::default(),
            gateway: Disk::default(),
            address: listener.local_addr().unwrap(),
            listener,
            now: Time(1_767_323_000_000_000_000),
        }
    }

    fn server(&self, published: u64) -> DropCopyServer {
        let listener = self.listener.try_clone().unwrap();
        let mut server = DropCopyServer::new(listener, "VENUE", self.exchange.clone(), execution).unwrap();
        server.publish_up_to(published);
        server
    }

    fn gateway(&self) -> DropCopy<Disk, Disk> {
        let mut resume = Resume::default();
        for fill in self.gateway.fills.lock().unwrap().iter() {
            resume.observe(TradeEvent::decode(1, as_bytes(fill)).unwrap());
        }
        DropCopy::new(self.address.to_string(), config(), resume, self.gateway.clone(), self.gateway.clone())
    }

    /// Lets both sides work until `done`.
    fn run<N: Numbers, T: Trades>(
        &mut self,
        server: &mut DropCopyServer,
        gateway: &mut DropCopy<N, T>,
        mut done: impl FnMut(&mut DropCopyServer, &mut DropCopy<N, T>) -> bool,
    ) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !done(server, gateway) {
            assert!(Instant::now() < deadline, "stuck: {:?} {:?}", server.counters(), gateway.counters());
            self.now.0 += 100_000;
            if server.do_work(self.now) + gateway.do_work(self.now).unwrap() == 0 {
                thread::yield_now();
            }
        }
    }

    fn assert_complete(&self, last: u64) {
        let fills = self.gateway.fills.lock().unwrap();
        assert_eq!(fills.len() as u64, last);
        for (number, fill) in (1..).zip(fills.iter()) {
            let expected = execution(number).unwrap();
            assert_eq!(fill.venue_sequence, 4_096 * number, "the same number whatever happened");
            assert_eq!((fill.execution, fill.order), (expected.execution, expected.order));
            assert_eq!((fill.account, fill.client_order), (expected.account, expected.client_order));
            assert_eq!((fill.instrument, fill.side), (expected.instrument, expected.side));
            assert_eq!(
                (fill.price, fill.quantity, fill.leaves),
                (expected.price, expected.quantity, Quantity(0))
            );
            assert_eq!((fill.exchange_time, fill.trade_date), (expected.time, expected.trade_date));
        }
    }
}

#[test]
fn executions_of_before_and_after_the_logon_arrive_once() {
    let mut world = World::new();
    let (mut server, mut gateway) = (world.server(3_000), world.gateway());
    let disk = world.gateway.clone();
    world.run(&mut server, &mut gateway, |_, _| disk.count() >= 3_000);
    let mut published = 3_000;
    world.run(&mut server, &mut gateway, |server, _| {
        published += 1;
        server.publish_up_to(published.min(5_000));
        disk.count() == 5_000
    });
    world.assert_complete(5_000);
    assert_eq!(server.counters().resent, 3_000);
    assert_eq!(gateway.counters().session.resend_requests, 1);
    gateway.finish();
    world.run(&mut server, &mut gateway, |_, gateway| gateway.is_finished());
    assert_eq!(gateway.take_ended(), Some(Reason::Finished));
}

#[test]
fn either_side_may_die_at_any_moment() {
    let mut world = World::new();
    let disk = world.gateway.clone();
    let (mut server, mut gateway) = (world.server(0), world.gateway());
    let (mut requests, mut refusals) = (0, 0);
    for round in 1..=12 {
        let published = round * 250;
        server.publish_up_to(published);
        let until = published as usize - 100;
        world.run(&mut server, &mut gateway, |_, _| disk.count() >= until);
        requests += gateway.counters().session.resend_requests_received;
        match round % 3 {
            0 => server = world.server(published),
            1 => gateway = world.gateway(),
            _ => {
                server = world.server(published);
                gateway = world.gateway();
            }
        }
        refusals += gateway.counters().session.too_low;
    }
    world.run(&mut server, &mut gateway, |_, _| disk.count() >= 3_000);
    world.assert_complete(3_000);
    assert!(requests > 0, "the exchange asked for the numbers that a new life of the gateway jumps over");
    assert_eq!(refusals, 0);
}

#[test]
fn a_peer_that_closes_is_connected_to_again() {
    let mut world = World::new();
    let disk = world.gateway.clone();
    let (mut server, mut gateway) = (world.server(10), world.gateway());
    world.run(&mut server, &mut gateway, |_, _| disk.count() == 10);
    server = world.server(20);
    world.run(&mut server, &mut gateway, |_, gateway| gateway.counters().session.disconnects > 0);
    assert!(matches!(gateway.take_ended(), Some(Reason::PeerClosed | Reason::Io(_))));
    world.run(&mut server, &mut gateway, |_, _| disk.count() == 20);
    world.assert_complete(20);
    assert_eq!(gateway.counters().session.logons, 2);
}

#[test]
fn a_full_journal_stops_the_reading_and_loses_nothing() {
    let mut world = World::new();
    let disk = world.gateway.clone();
    let (mut server, mut gateway) = (world.server(10), world.gateway());
    world.run(&mut server, &mut gateway, |_, _| disk.count() == 10);
    *disk.full.lock().unwrap() = true;
    server.publish_up_to(20_000);
    let mut cycles = 0;
    world.run(&mut server, &mut gateway, |_, _| {
        cycles += 1;
        cycles > 1_000
    });
    assert_eq!(disk.count(), 10);
    *disk.full.lock().unwrap() = false;
    world.run(&mut server, &mut gateway, |_, _| disk.count() == 20_000);
    world.assert_complete(20_000);
    assert_eq!(server.delivered(), Some(20_000));
    assert_eq!(gateway.counters().executions.waited, 1);
}

#[test]
fn strangers_do_not_disturb_the_exchange() {
    let mut world = World::new();
    let disk = world.gateway.clone();
    let (mut server, mut gateway) = (world.server(10), world.gateway());
    let stranger = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(world.address).unwrap();
        stream.write_all(bytes).unwrap();
        stream
    };
    let logon = |target: &[u8], number: u64, kind: &[u8]| {
        let header = Header { kind, sender: b"THEM", target, number, time: Time(0), original: None };
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes, &header);
        writer.number(98, 0).number(108, 30).number(7, u64::MAX).number(16, u64::MAX);
        writer.finish();
        bytes
    };
    let noise = stranger(&[b'8'; 300_000]);
    let wrong = [stranger(&logon(b"OTHER", 1, b"A")), stranger(&logon(b"VENUE", 1, b"8"))];
    let odd = stranger(
        &[logon(b"VENUE", u64::MAX, b"A"), logon(b"VENUE", 0, b"2"), logon(b"VENUE", 1, b"4")].concat(),
    );
    world.run(&mut server, &mut gateway, |_, _| disk.count() == 10);
    world.run(&mut server, &mut gateway, |server, _| server.counters().refused == 2);
    drop((noise, wrong, odd));
    world.assert_complete(10);
}

#[test]
fn on_a_bus_the_topics_are_all_that_a_new_life_needs() {
    let mut world = World::new();
    let directory = tempfile::tempdir().unwrap();
    let mut server = world.server(0);
    for life in 1..=3 {
        let bus = Bus::open(directory.path()).unwrap();
        let mut gateway = DropCopy::open(&bus, world.address.to_string(), config()).unwrap();
        server.publish_up_to(life * 400);
        let last = life * 400 - u64::from(life < 3) * 150;
        world.run(&mut server, &mut gateway, |_, gateway| gateway.trades().next_sequence() >= last);
    }
    let bus = Bus::open(directory.path()).unwrap();
    let mut trades = bus.subscriber::<TradeEvent>("trades", Start::Oldest, Gate::Durable).unwrap();
    while let Some(event) = trades.wait().unwrap() {
        let TradeEventRef::Fill(fill) = event else { panic!("the exchange reports fills only") };
        world.gateway.fills.lock().unwrap().push(*fill);
    }
    world.assert_complete(1_200);
    let mut numbers = bus.subscriber::<NumbersReserved>("session", Start::Oldest, Gate::Durable).unwrap();
    let mut reserved = Vec::new();
    while let Some(event) = numbers.wait().unwrap() {
        reserved.push(event.next);
    }
    assert_eq!(reserved, [1_025, 2_049, 3_073]);
}

#[test]
fn nobody_there_is_told_and_tried_again() {
    let mut world = World::new();
    let unused = TcpListener::bind("127.0.0.1:0").unwrap();
    world.address = unused.local_addr().unwrap();
    drop(unused);
    let (mut server, mut gateway) = (world.server(0), world.gateway());
    world.run(&mut server, &mut gateway, |_, gateway| gateway.counters().session.disconnects >= 3);
    assert!(matches!(gateway.take_ended(), Some(Reason::Io(_))));
}
