//! The raw cache-line ping-pong that every other figure is compared with: what two cores of this machine give at best,
//! now. On shared machines it moves by a factor of five within minutes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::figure::median;

/// Two words, each on cache lines of its own.
#[repr(align(128))]
#[derive(Default)]
struct Line(AtomicU64);

/// Groups of rounds in one measurement, at most.
const GROUPS: usize = 10_000;
/// Rounds timed together: reading the clock costs as much as a round.
const GROUP: u64 = 10;
/// Longest measurement: on a crowded machine a round may take a turn of the scheduler.
const LONGEST: Duration = Duration::from_millis(500);
/// The round that ends it.
const LAST: u64 = u64::MAX;

/// Median round trip between two threads over two cache lines, in nanoseconds.
pub(crate) fn ping_pong() -> f64 {
    let lines = Arc::new([Line::default(), Line::default()]);
    let peer = Arc::clone(&lines);
    let echo = std::thread::spawn(move || {
        let mut answered = 0;
        while answered != LAST {
            // ORDERING: Acquire pairs with the Release of the other thread's store to the same line, both ways.
            let round = peer[0].0.load(Ordering::Acquire);
            if round == answered {
                std::hint::spin_loop();
                continue;
            }
            peer[1].0.store(round, Ordering::Release); // ORDERING: as above
            answered = round;
        }
    });
    let (mut times, mut round, begin) = (Vec::new(), 0, Instant::now());
    while times.len() < GROUPS && begin.elapsed() < LONGEST {
        let start = Instant::now();
        for _ in 0..GROUP {
            round += 1;
            exchange(&lines, round);
        }
        times.push(start.elapsed().as_nanos() as f64 / GROUP as f64);
    }
    exchange(&lines, LAST);
    echo.join().expect("the echo ends after the last round");
    median(&mut times)
}

#[inline]
fn exchange(lines: &[Line; 2], round: u64) {
    lines[0].0.store(round, Ordering::Release); // ORDERING: pairs with the echo's Acquire
    // ORDERING: Acquire pairs with the echo's Release.
    while lines[1].0.load(Ordering::Acquire) != round {
        std::hint::spin_loop();
    }
}
