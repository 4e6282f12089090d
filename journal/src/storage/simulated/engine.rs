//! An engine that completes in an order of its own.

use std::any::Any;
use std::fmt;
use std::io;
use std::time::Duration;

use super::seed::Seed;
use super::{SimulatedDisk, SimulatedFile, Verdict};
use crate::storage::{Completion, DiskFile, Engine, Write};

/// Durable writes to a [`SimulatedDisk`], completed in an order that its seed decides, and sometimes not
/// at the first look. Power may fail at each submission and at each completion.
///
/// It asserts what a real engine cannot: that the memory of a write did not change in flight.
pub struct SimulatedEngine {
    disk: SimulatedDisk,
    depth: usize,
    seed: Seed,
    in_flight: Vec<InFlight>,
}

struct InFlight {
    write: Write,
    /// The bytes as they were when the write was submitted.
    bytes: Vec<u8>,
    /// The number of the write that was begun, or why it has failed already.
    begun: io::Result<u64>,
}

impl SimulatedEngine {
    pub(super) fn new(disk: SimulatedDisk, depth: usize, seed: u64) -> Self {
        assert!(depth > 0, "an engine of depth 0");
        Self { disk, depth, seed: Seed::new(seed), in_flight: Vec::new() }
    }

    fn finish(&self, in_flight: InFlight) -> Completion {
        let InFlight { write, bytes, begun } = in_flight;
        // SAFETY: the submitter keeps the memory mapped and unchanged until the completion is taken, which
        // is when this returns.
        let now = unsafe { std::slice::from_raw_parts(write.bytes, write.length) };
        assert!(now == bytes, "the memory of a write changed in flight, token {}", write.token);
        let result = begun.and_then(|number| {
            let verdict = self.disk.state().next(false)?;
            if verdict == Verdict::Done {
                simulated(&*write.file).finish(number, true);
            }
            verdict.answer()
        });
        Completion { token: write.token, offset: write.offset, result }
    }
}

impl Engine for SimulatedEngine {
    fn name(&self) -> &'static str {
        "simulated"
    }

    fn depth(&self) -> usize {
        self.depth
    }

    unsafe fn submit(&mut self, write: Write) -> io::Result<()> {
        assert!(self.in_flight.len() < self.depth, "a write beyond the engine's depth");
        // SAFETY: the caller keeps the memory mapped and unchanged for longer than this borrow.
        let bytes = unsafe { std::slice::from_raw_parts(write.bytes, write.length) };
        let begun = simulated(&*write.file).begin(bytes, write.offset);
        let begun = begun.and_then(|(number, verdict)| verdict.answer().map(|()| number));
        self.in_flight.push(InFlight { bytes: bytes.to_vec(), write, begun });
        Ok(())
    }

    fn complete(&mut self, wait: Option<Duration>) -> Option<Completion> {
        if self.in_flight.is_empty() || (wait.is_none() && self.seed.coin()) {
            return None;
        }
        let choice = self.seed.below(self.in_flight.len());
        let in_flight = self.in_flight.swap_remove(choice);
        Some(self.finish(in_flight))
    }

    fn in_flight(&self) -> usize {
        self.in_flight.len()
    }
}

impl Drop for SimulatedEngine {
    fn drop(&mut self) {
        while self.complete(Some(Duration::ZERO)).is_some() {}
    }
}

impl fmt::Debug for SimulatedEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedEngine")
            .field("depth", &self.depth)
            .field("in_flight", &self.in_flight.len())
            .finish_non_exhaustive()
    }
}

/// The simulated file that this one must be.
fn simulated(file: &dyn DiskFile) -> &SimulatedFile {
    (file as &dyn Any).downcast_ref().expect("a file of a simulated disk")
}
