//! Round trip and one-way rate of journalled topics, beside the raw ping-pong and the raw disk.

use std::time::{Duration, Instant};

use bus::{
    Bus, Gate, Publisher, Start, Subscriber,
    config::{BusConfig, TopicConfig, WhenFull},
    event::Event,
    program::{Arguments, Exit, Failure, Size},
};
use journal::storage::{AlignedBuffer, DiskStorage, Storage};

use crate::{
    conditions,
    figure::{Figure, median},
    placement::ping_pong,
    scratch,
};

/// A message of 64 bytes.
#[derive(Event, Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Message {
    pub(crate) number: u64,
    payload: [u8; 56],
}

const ROUND_TRIPS: u64 = 100_000;
/// Timed together: reading the clock costs as much as a publish. Few, since the median is to be that of a round trip, and
/// what interrupts one spoils its group.
const GROUP: u64 = 10;
/// What a publisher prepares when it starts takes a core meanwhile.
const PREPARED_WITHIN: Duration = Duration::from_millis(300);
/// Disk that the sustained flow keeps where it recycles.
const KEPT: u64 = 128 << 20;
/// Bytes of one write of the raw disk figure.
const RAW_WRITE: usize = 256 * 1024;
const RAW_WRITES: usize = 256;

pub(crate) fn message(number: u64) -> Message {
    Message { number, payload: [7; 56] }
}

/// The round trip, as a ratio to the raw ping-pong measured around it.
pub(crate) fn round_trip(arguments: &Arguments) -> Result<Exit, Failure> {
    let rounds: u64 = arguments.get("rounds")?;
    let how = format!("unpinned, {rounds} rounds of {ROUND_TRIPS}");
    conditions::print(arguments.json(), "round trip of 64-byte messages over two journalled topics", &how)?;
    let (mut raw, mut trips, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let before = ping_pong();
        let trip = one_round_trip()?;
        let beside = f64::midpoint(before, ping_pong());
        raw.push(beside);
        trips.push(trip);
        ratios.push(trip / beside);
    }
    let figure = |system: &str, value, ratio| Figure {
        figure: "round trip, p50",
        system: system.into(),
        unit: "ns",
        value,
        ratio,
    };
    figure("raw lines", median(&mut raw), None).print(arguments.json())?;
    figure("busbar", median(&mut trips), Some(("raw lines", median(&mut ratios)))).print(arguments.json())?;
    Ok(Exit::Good)
}

fn one_round_trip() -> Result<f64, Failure> {
    let directory = scratch::directory()?;
    let bus = Bus::open(directory.path())?;
    let mut there: Publisher<Message> = bus.publisher("there")?;
    let mut back: Publisher<Message> = bus.publisher("back")?;
    settle(&mut there)?;
    settle(&mut back)?;
    let mut arriving: Subscriber<Message> = bus.subscriber("there", Start::Newest, Gate::Published)?;
    let mut returning: Subscriber<Message> = bus.subscriber("back", Start::Newest, Gate::Published)?;
    let echo = std::thread::spawn(move || -> Result<(), Failure> {
        for _ in 0..ROUND_TRIPS {
            let message = take(&mut arriving)?;
            back.publish(&message)?;
        }
        Ok(())
    });
    let mut times = Vec::new();
    let mut start = Instant::now();
    for number in 1..=ROUND_TRIPS {
        there.publish(&message(number))?;
        assert_eq!(take(&mut returning)?.number, number);
        if number % GROUP == 0 {
            times.push(start.elapsed().as_nanos() as f64 / GROUP as f64);
            start = Instant::now();
        }
    }
    echo.join().map_err(|_| Failure::new("the echo ended", "a panic", "report it"))??;
    Ok(median(&mut times))
}

/// Waits until a new publisher has its segments prepared.
fn settle(publisher: &mut Publisher<Message>) -> Result<(), Failure> {
    publisher.publish(&message(0))?;
    publisher.flush()?;
    std::thread::sleep(PREPARED_WITHIN);
    Ok(())
}

#[inline]
fn take(subscriber: &mut Subscriber<Message>) -> Result<Message, Failure> {
    loop {
        if let Some(message) = subscriber.poll()? {
            return Ok(*message);
        }
        std::hint::spin_loop();
    }
}

/// The one-way rate: a burst that fits the memory budget, then sustained, beside what the disk gives raw.
pub(crate) fn rate(arguments: &Arguments) -> Result<Exit, Failure> {
    let (rounds, length): (u64, Duration) = (arguments.get("rounds")?, arguments.get("for")?);
    let how = format!("unpinned, {rounds} rounds of {} s sustained", length.as_secs_f64());
    conditions::print(arguments.json(), "64-byte messages one way, one publisher, one subscriber", &how)?;
    let (mut bursts, mut used, mut new) = (Vec::new(), Vec::new(), Vec::new());
    let (mut fresh, mut recycled) = (Sustained::default(), Sustained::default());
    for _ in 0..rounds {
        bursts.push(burst()?);
        for (sustained, retention) in [(&mut fresh, None), (&mut recycled, Some(KEPT))] {
            let before = raw_disks()?;
            let flow = flow(length, retention)?;
            let after = raw_disks()?;
            let beside = [0, 1].map(|blocks| f64::midpoint(before[blocks], after[blocks]));
            used.push(beside[0]);
            new.push(beside[1]);
            sustained.add(flow, beside);
        }
    }
    let figure = |figure, system: &str, unit, value, ratio| Figure {
        figure,
        system: system.into(),
        unit,
        value,
        ratio,
    };
    figure("durable writes of 256 KiB", "raw disk", "MB/s", median(&mut used), None)
        .print(arguments.json())?;
    figure("the same into new blocks", "raw disk", "MB/s", median(&mut new), None).print(arguments.json())?;
    figure("burst, published and read", "busbar", "M msg/s", median(&mut bursts), None)
        .print(arguments.json())?;
    let names = ["raw disk bytes", "raw disk bytes into new blocks"];
    for (name, Sustained { mut rates, shares }) in
        [("sustained, all kept", fresh), ("sustained, retention", recycled)]
    {
        let rate = median(&mut rates);
        for (beside, mut shares) in names.into_iter().zip(shares) {
            let share = Some((beside, median(&mut shares)));
            figure(name, "busbar", "M msg/s", rate, share).print(arguments.json())?;
        }
    }
    Ok(Exit::Good)
}

/// Rates until all is durable, in millions of messages a second, and what they are of the disk's, by [`raw_disks`].
#[derive(Default)]
struct Sustained {
    rates: Vec<f64>,
    shares: [Vec<f64>; 2],
}

impl Sustained {
    fn add(&mut self, (rate, bytes): (f64, f64), raw: [f64; 2]) {
        self.rates.push(rate);
        for (shares, raw) in self.shares.iter_mut().zip(raw) {
            shares.push(bytes / raw);
        }
    }
}

/// Millions of messages a second through a burst that the prepared segments take.
fn burst() -> Result<f64, Failure> {
    let directory = scratch::directory()?;
    let bus = Bus::open(directory.path())?;
    let mut publisher: Publisher<Message> = bus.publisher("burst")?;
    // What is prepared ahead is the room of the burst.
    settle(&mut publisher)?;
    let count = 200_000;
    let mut subscriber: Subscriber<Message> = bus.subscriber("burst", Start::Newest, Gate::Published)?;
    let reading = std::thread::spawn(move || -> Result<Instant, Failure> {
        for _ in 0..count {
            take(&mut subscriber)?;
        }
        Ok(Instant::now())
    });
    let start = Instant::now();
    for number in 0..count {
        publisher.publish(&message(number))?;
    }
    let end = reading.join().map_err(|_| Failure::new("the reader ended", "a panic", "report it"))??;
    Ok(count as f64 / (end - start).as_secs_f64() / 1e6)
}

/// Millions of messages, and megabytes of journal, a second over `length`, until all is durable. With a retention the
/// disk copies of retired segments are written again; without one every segment's blocks are written twice, once before
/// it is used.
fn flow(length: Duration, retention: Option<u64>) -> Result<(f64, f64), Failure> {
    let directory = scratch::directory()?;
    let when_full = retention.map(|_| WhenFull::Expire);
    let topic = TopicConfig { retention: retention.map(Size), when_full };
    let config = BusConfig { topics: [("flow".to_owned(), topic)].into(), ..BusConfig::default() };
    let bus = Bus::with_config(directory.path(), config)?;
    let mut publisher: Publisher<Message> = bus.publisher("flow")?;
    settle(&mut publisher)?;
    while retention.is_some() && bus.watermarks("flow")?.first == 0 {
        publish(&mut publisher, Duration::from_millis(100))?;
    }
    publisher.flush()?;
    let start = Instant::now();
    let count = publish(&mut publisher, length)?;
    publisher.flush()?;
    let seconds = start.elapsed().as_secs_f64();
    let frame = 16 + size_of::<Message>();
    Ok((count as f64 / seconds / 1e6, count as f64 * frame as f64 / seconds / 1e6))
}

/// Publishes for a while, as fast as it goes; returns how many messages.
fn publish(publisher: &mut Publisher<Message>, length: Duration) -> Result<u64, Failure> {
    let (start, mut count) = (Instant::now(), 0);
    while start.elapsed() < length {
        for _ in 0..1_000 {
            publisher.publish(&message(count))?;
            count += 1;
        }
    }
    Ok(count)
}

/// What a raw write goes into.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Blocks {
    /// Blocks that were written before, as a used twin's.
    Old,
    /// Blocks that are only reserved, as of a file that grows.
    New,
}

/// Megabytes a second of durable writes into blocks that were written before, and into new ones.
fn raw_disks() -> Result<[f64; 2], Failure> {
    Ok([raw_disk(Blocks::Old)?, raw_disk(Blocks::New)?])
}

/// Megabytes a second of durable writes.
fn raw_disk(blocks: Blocks) -> Result<f64, Failure> {
    let directory = scratch::directory()?;
    let storage = DiskStorage::new(directory.path());
    let failed = |error| Failure::new("cannot write", error, "make room");
    let file = storage.create("raw", (RAW_WRITE * RAW_WRITES) as u64).map_err(failed)?;
    let bytes = AlignedBuffer::zeroed(RAW_WRITE);
    let offsets = (0..RAW_WRITES).map(|write| (write * RAW_WRITE) as u64);
    if blocks == Blocks::Old {
        offsets.clone().try_for_each(|offset| file.write_at(&bytes, offset)).map_err(failed)?;
    }
    file.sync().map_err(failed)?;
    let start = Instant::now();
    for offset in offsets {
        file.write_durable_at(&bytes, offset).map_err(failed)?;
    }
    Ok((RAW_WRITE * RAW_WRITES) as f64 / start.elapsed().as_secs_f64() / 1e6)
}
