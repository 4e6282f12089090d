//! The stages of each message as a subscriber sees them.

use bus::clock::Clock;
use bus::event::market::{MarketEvent, MarketEventRef};
use bus::event::{Message, Time};
use bus::plan::Placement;
use bus::program::{Failure, Latencies};
use bus::wait::WaitStrategy;
use bus::{Frame, Reader};

use super::schedule::Schedule;

/// Turns of finding nothing before a spinning subscriber asks whether the topic is closed.
const TURNS: u32 = 4_096;

/// Nanoseconds from the intended send of each message to each stage.
pub(super) struct Stages {
    /// The kernel has stamped it.
    pub(super) received: Latencies,
    /// It is published.
    pub(super) published: Latencies,
    /// This subscriber has it.
    pub(super) seen: Latencies,
    /// From the kernel's stamp to its publication.
    pub(super) through: Latencies,
}

/// Follows the topic until it is closed.
pub(super) fn watch(
    mut reader: Reader,
    schedule: &Schedule,
    placement: &Placement,
) -> Result<Stages, Failure> {
    super::take_place(placement);
    let clock = Clock::new();
    let mut stages = Stages {
        received: Latencies::new(),
        published: Latencies::new(),
        seen: Latencies::new(),
        through: Latencies::new(),
    };
    while is_open(&mut reader, placement.wait)? {
        while let Some(frame) = reader.poll()? {
            stages.record(&frame, clock.now(), schedule);
        }
    }
    Ok(stages)
}

/// Waits for a message; false once the topic is closed and read.
fn is_open(reader: &mut Reader, wait: WaitStrategy) -> Result<bool, Failure> {
    if wait != WaitStrategy::Spin {
        return Ok(reader.wait_ready()?);
    }
    loop {
        for _ in 0..TURNS {
            if reader.has_next()? {
                return Ok(true);
            }
            std::hint::spin_loop();
        }
        if reader.is_closed() {
            return Ok(reader.has_next()?);
        }
    }
}

impl Stages {
    fn record(&mut self, frame: &Frame<'_>, now: Time, schedule: &Schedule) {
        let (intended, received, sequence) = match MarketEvent::decode(frame.kind, frame.body) {
            Some(MarketEventRef::AddOrder(add)) => (add.exchange_time, add.receive_time, add.venue_sequence),
            Some(MarketEventRef::DeleteOrder(delete)) => {
                (delete.exchange_time, delete.receive_time, delete.venue_sequence)
            }
            _ => return,
        };
        if !schedule.counts(sequence) {
            return;
        }
        let published = frame.publish_time;
        self.received.record(received.0.saturating_sub(intended.0));
        self.published.record(published.0.saturating_sub(intended.0));
        self.through.record(published.0.saturating_sub(received.0));
        self.seen.record(now.0.saturating_sub(intended.0));
    }
}
