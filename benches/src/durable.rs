//! From publish to durable, one message at a time, beside a bare durable write of one block on the same disk.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bus::program::{Arguments, Exit, Failure, Latencies, note};
use bus::{Bus, Gate, Publisher, Start, Subscriber};
use journal::layout::BLOCK;
use journal::storage::{AlignedBuffer, DiskFile, DiskStorage, Storage};

use crate::figure::{LatencyFigure, ratio_of_medians};
use crate::throughput::{Message, message};
use crate::{conditions, scratch};

/// Writes of one kind before it is the other's turn.
const TURN: u64 = 16;
/// Blocks of the bare file, written round and round.
const BLOCKS: u64 = 1_024;

/// Prints both latencies and the ratio of their medians.
pub(crate) fn durable(arguments: &Arguments) -> Result<Exit, Failure> {
    let (as_json, length): (bool, Duration) = (arguments.json(), arguments.get("for")?);
    let how = format!("unpinned, in turns of {TURN} for {} s, one in flight", length.as_secs_f64());
    conditions::print(as_json, "64-byte messages from publish to durable, closed loop", &how)?;
    let directory = scratch::directory()?;
    let mut acknowledged = Acknowledged::open(&Bus::open(directory.path().join("bus"))?)?;
    let mut bare = Bare::open(&DiskStorage::new(directory.path()))?;
    if !bare.file.is_direct() {
        note("WARNING: this file system refuses O_DIRECT: both are cached and synced");
    }
    let (mut ours, mut theirs) = (Latencies::new(), Latencies::new());
    let mut end = None;
    while end.is_none_or(|end| Instant::now() < end) {
        if end.is_none() {
            // The first turns warm up.
            end = Some(Instant::now() + length);
            (0..TURN).try_for_each(|_| bare.write().and(acknowledged.publish()).map(drop))?;
        }
        (0..TURN).try_for_each(|_| bare.write().map(|took| theirs.record(took)))?;
        (0..TURN).try_for_each(|_| acknowledged.publish().map(|took| ours.record(took)))?;
    }
    let (ours, theirs) = (ours.summary(), theirs.summary());
    LatencyFigure::print_head(as_json)?;
    LatencyFigure { figure: "durable write of 4 KiB", system: "raw disk", latency: theirs, ratio: None }
        .print(as_json)?;
    let ratio = ratio_of_medians(&ours, "raw disk", &theirs);
    LatencyFigure { figure: "publish to durable", system: "busbar", latency: ours, ratio }.print(as_json)?;
    Ok(Exit::Good)
}

/// A publisher that waits for each message to be durable before the next.
struct Acknowledged {
    publisher: Publisher<Message>,
    subscriber: Subscriber<Message>,
    number: u64,
}

impl Acknowledged {
    fn open(bus: &Bus) -> Result<Self, Failure> {
        let publisher = bus.publisher("acknowledged")?;
        let subscriber = bus.subscriber("acknowledged", Start::Oldest, Gate::Durable)?;
        Ok(Self { publisher, subscriber, number: 0 })
    }

    /// Publishes a message and waits until a subscriber at the gate `durable` has it; nanoseconds.
    fn publish(&mut self) -> Result<u64, Failure> {
        self.number += 1;
        let start = Instant::now();
        self.publisher.publish(&message(self.number))?;
        let came = self.subscriber.wait()?.map(|message| message.number);
        let took = start.elapsed();
        assert_eq!(came, Some(self.number), "one in flight, in order");
        Ok(nanoseconds(took))
    }
}

/// A file whose blocks were written before, as a journal's are.
struct Bare {
    file: Arc<dyn DiskFile>,
    block: AlignedBuffer,
    writes: u64,
}

impl Bare {
    fn open(storage: &DiskStorage) -> Result<Self, Failure> {
        let file = storage.create("bare", BLOCKS * BLOCK as u64).map_err(cannot_write)?;
        let block = AlignedBuffer::zeroed(BLOCK);
        for number in 0..BLOCKS {
            file.write_at(&block, number * BLOCK as u64).map_err(cannot_write)?;
        }
        file.sync().map_err(cannot_write)?;
        Ok(Self { file, block, writes: 0 })
    }

    /// Writes the next block durably; nanoseconds.
    fn write(&mut self) -> Result<u64, Failure> {
        let offset = self.writes % BLOCKS * BLOCK as u64;
        self.writes += 1;
        let start = Instant::now();
        self.file.write_durable_at(&self.block, offset).map_err(cannot_write)?;
        Ok(nanoseconds(start.elapsed()))
    }
}

fn cannot_write(error: std::io::Error) -> Failure {
    Failure::new("cannot write", error, "make room")
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
