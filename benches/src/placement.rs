//! The raw cache-line ping-pong that every other figure is compared with: what two cores of this machine give at best,
//! now. On shared machines it moves by a factor of five within minutes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use crate::figure::median;

/// Two words, each on cache lines of its own.
#[repr(align(128))]
#[derive(Default)]
struct Line(AtomicU64);

/// Rounds of one measurement.
const ROUNDS: u64 = 200_000;
/// Rounds timed together: reading the clock costs as much as a round.
const GROUP: u64 = 100;

/// Median round trip between two threads over two cache lines, in nanoseconds.
pub(crate) fn ping_pong() -> f64 {
    let lines = Arc::new([Line::default(), Line::default()]);
    let peer = Arc::clone(&lines);
    let echo = std::thread::spawn(move || {
        for round in 1..=ROUNDS {
            // ORDERING: Acquire pairs with the Release of the other thread's store to the same line, both ways.
            while peer[0].0.load(Ordering::Acquire) != round {
                std::hint::spin_loop();
            }
            peer[1].0.store(round, Ordering::Release); // ORDERING: as above
        }
    });
    let mut times = Vec::new();
    let mut start = Instant::now();
    for round in 1..=ROUNDS {
        lines[0].0.store(round, Ordering::Release); // ORDERING: pairs with the echo's Acquire
        // ORDERING: Acquire pairs with the echo's Release.
        while lines[1].0.load(Ordering::Acquire) != round {
            std::hint::spin_loop();
        }
        if round % GROUP == 0 {
            times.push(start.elapsed().as_nanos() as f64 / GROUP as f64);
            start = Instant::now();
        }
    }
    echo.join().expect("the echo ends after its rounds");
    median(&mut times)
}
