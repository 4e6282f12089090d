//! Round trip and one-way rate of journalled topics, beside the raw ping-pong and the raw disk.

use std::time::{Duration, Instant};

use bus::{
    Bus, Gate, Publisher, Start, Subscriber,
    event::Event,
    program::{Arguments, Exit, Failure},
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
/// Timed together: reading the clock costs as much as a publish.
const GROUP: u64 = 100;
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
    let mut arriving: Subscriber<Message> = bus.subscriber("there", Start::Oldest, Gate::Published)?;
    let mut returning: Subscriber<Message> = bus.subscriber("back", Start::Oldest, Gate::Published)?;
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
    let (mut bursts, mut sustained, mut disk, mut shares) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let raw_before = raw_disk()?;
        bursts.push(burst()?);
        let (messages, bytes) = flow(length)?;
        let raw = f64::midpoint(raw_before, raw_disk()?);
        sustained.push(messages);
        disk.push(raw);
        shares.push(bytes / raw);
    }
    let figure = |figure, system: &str, unit, value, ratio| Figure {
        figure,
        system: system.into(),
        unit,
        value,
        ratio,
    };
    figure("durable writes of 256 KiB", "raw disk", "MB/s", median(&mut disk), None)
        .print(arguments.json())?;
    figure("burst, published and read", "busbar", "M msg/s", median(&mut bursts), None)
        .print(arguments.json())?;
    let share = Some(("raw disk bytes", median(&mut shares)));
    figure("sustained, to durable", "busbar", "M msg/s", median(&mut sustained), share)
        .print(arguments.json())?;
    Ok(Exit::Good)
}

/// Millions of messages a second through a burst that the prepared segments take.
fn burst() -> Result<f64, Failure> {
    let directory = scratch::directory()?;
    let bus = Bus::open(directory.path())?;
    let mut publisher: Publisher<Message> = bus.publisher("burst")?;
    // What was prepared ahead by now is the room of the burst: wait until it is there.
    publisher.publish(&message(0))?;
    publisher.flush()?;
    std::thread::sleep(Duration::from_millis(300));
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

/// Millions of messages, and megabytes of journal, a second over `length`, until all is durable.
fn flow(length: Duration) -> Result<(f64, f64), Failure> {
    let directory = scratch::directory()?;
    let bus = Bus::open(directory.path())?;
    let mut publisher: Publisher<Message> = bus.publisher("flow")?;
    let start = Instant::now();
    let mut count: u64 = 0;
    while start.elapsed() < length {
        for _ in 0..1_000 {
            publisher.publish(&message(count))?;
            count += 1;
        }
    }
    publisher.flush()?;
    let seconds = start.elapsed().as_secs_f64();
    let frame = 16 + size_of::<Message>();
    Ok((count as f64 / seconds / 1e6, count as f64 * frame as f64 / seconds / 1e6))
}

/// Megabytes a second of durable writes into blocks that were written before.
fn raw_disk() -> Result<f64, Failure> {
    let directory = scratch::directory()?;
    let storage = DiskStorage::new(directory.path());
    let failed = |error| Failure::new("cannot write", error, "make room");
    let file = storage.create("raw", (RAW_WRITE * RAW_WRITES) as u64).map_err(failed)?;
    let bytes = AlignedBuffer::zeroed(RAW_WRITE);
    let offsets = (0..RAW_WRITES).map(|write| (write * RAW_WRITE) as u64);
    for offset in offsets.clone() {
        file.write_at(&bytes, offset).map_err(failed)?;
    }
    file.sync().map_err(failed)?;
    let start = Instant::now();
    for offset in offsets {
        file.write_durable_at(&bytes, offset).map_err(failed)?;
    }
    Ok((RAW_WRITE * RAW_WRITES) as f64 / start.elapsed().as_secs_f64() / 1e6)
}
