//! Which engine writes: io_uring or blocking `pwritev2`, by a short trial on the disk at hand.
//!
//! The two tie on a quiet machine; beside threads that spin, the ring's completions can wait for milliseconds where the
//! blocking call does not. So both write the same blocks in turn, and the ring wins unless it is clearly slower.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    layout::BLOCK,
    service::EngineMaker,
    storage::{AlignedBuffer, DiskFile, DiskStorage, Engine, PwriteEngine, Storage, UringEngine, Write},
};

/// Writes that the ring keeps in flight: one for each of a process's journals, most often.
const DEPTH: usize = 8;
/// Writes of each engine in the trial.
const ROUNDS: usize = 9;
/// The wait for a write goes on in steps of this.
const STEP: Duration = Duration::from_millis(100);

/// The engine that is faster in `directory`, tried when the write-out thread starts. `pwritev2` where there is no ring
/// or the trial cannot be held.
pub fn fastest_engine(directory: &Path) -> EngineMaker {
    let directory = directory.to_owned();
    Box::new(move || {
        let mut plain: Box<dyn Engine> = Box::new(PwriteEngine::new());
        let Ok(ring) = UringEngine::new(DEPTH) else { return plain };
        let mut ring: Box<dyn Engine> = Box::new(ring);
        match trial(directory, plain.as_mut(), ring.as_mut()) {
            Some((plain_time, ring_time)) if ring_time <= plain_time + plain_time / 4 => ring,
            _ => plain,
        }
    })
}

/// Median times of one durable block by each engine, in turn.
fn trial(directory: PathBuf, plain: &mut dyn Engine, ring: &mut dyn Engine) -> Option<(Duration, Duration)> {
    let storage = DiskStorage::new(directory);
    let name = format!(".trial-{}-{:?}", std::process::id(), std::thread::current().id());
    let file = storage.create(&name, BLOCK as u64).ok()?;
    let times = measure(&file, plain, ring);
    // A file that stays behind is one block; the next trial has another name.
    let _ = storage.remove(&name);
    times
}

fn measure(
    file: &Arc<dyn DiskFile>,
    plain: &mut dyn Engine,
    ring: &mut dyn Engine,
) -> Option<(Duration, Duration)> {
    let block = AlignedBuffer::zeroed(BLOCK);
    file.write_at(&block, 0).and_then(|()| file.sync()).ok()?;
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        times[0].push(one(file, &block, plain)?);
        times[1].push(one(file, &block, ring)?);
    }
    times.iter_mut().for_each(|times| times.sort_unstable());
    Some((times[0][ROUNDS / 2], times[1][ROUNDS / 2]))
}

fn one(file: &Arc<dyn DiskFile>, block: &AlignedBuffer, engine: &mut dyn Engine) -> Option<Duration> {
    let start = Instant::now();
    let write =
        Write { file: Arc::clone(file), bytes: block.as_ptr(), length: block.len(), offset: 0, token: 0 };
    // SAFETY: the block is used for nothing else, and this function stays until the engine has given the write back.
    unsafe { engine.submit(write).ok()? };
    while engine.in_flight() > 0 {
        if let Some(completion) = engine.complete(Some(STEP)) {
            return completion.result.ok().map(|()| start.elapsed());
        }
    }
    None
}
