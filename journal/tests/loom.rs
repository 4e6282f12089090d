//! Given all interleavings and all values that the memory model lets a load see, expect that frames are seen whole and that
//! no sleeper is forgotten. Each model has a weakened twin that must fail, so that the model proves something.
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test -p journal --test loom --release --target-dir target/loom
//! ```
#![cfg(loom)]
#![allow(missing_docs)]

#[path = "../src/protocol.rs"]
#[allow(dead_code, unreachable_pub)]
mod protocol;

use std::sync::Arc;

use loom::{
    cell::UnsafeCell,
    model::Builder,
    sync::{
        Condvar, Mutex,
        atomic::{AtomicU32, AtomicU64, Ordering, fence},
    },
    thread,
};
use protocol::{Parking, Word, clear, commit, observe, place, sleep, wake};

impl Word<u64> for AtomicU64 {
    fn load(&self, order: Ordering) -> u64 {
        self.load(order)
    }
    fn store(&self, value: u64, order: Ordering) {
        self.store(value, order);
    }
    fn fence(order: Ordering) {
        fence(order);
    }
}

fn model(preemptions: usize, run: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(run);
}

/// Three places for frames in a row: their words and bodies. What aborted claims left is in the second and the third.
struct Segment {
    words: [AtomicU64; 3],
    bodies: [UnsafeCell<u64>; 2],
}

// SAFETY: the models are about exactly this: bodies are written before their frame is committed and read after it was seen.
unsafe impl Sync for Segment {}
// SAFETY: as above.
unsafe impl Send for Segment {}

impl Segment {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            words: [AtomicU64::new(0), AtomicU64::new(77), AtomicU64::new(78)],
            bodies: [UnsafeCell::new(0), UnsafeCell::new(0)],
        })
    }

    fn fill(&self, at: usize, value: u64) {
        // SAFETY: loom tells of a reader at the same time.
        self.bodies[at].with_mut(|body| unsafe { *body = value });
    }

    fn body(&self, at: usize) -> u64 {
        // SAFETY: loom tells of a writer at the same time.
        self.bodies[at].with(|body| unsafe { *body })
    }
}

/// A writer of two frames and a reader, which sees none, one or both, whole.
fn two_frames(commit: fn(&AtomicU64, u64), clear: fn(&AtomicU64), observe: fn(&AtomicU64) -> Option<u64>) {
    model(4, move || {
        let segment = Segment::new();
        let written = Arc::clone(&segment);
        let writer = thread::spawn(move || {
            for at in 0..2 {
                written.fill(at, 10 + at as u64);
                clear(&written.words[at + 1]);
                commit(&written.words[at], 1 + at as u64);
            }
        });
        for at in 0..2 {
            let Some(word) = observe(&segment.words[at]) else { break };
            assert_eq!((word, segment.body(at)), (1 + at as u64, 10 + at as u64));
        }
        writer.join().unwrap();
        assert_eq!(observe(&segment.words[2]), None);
    });
}

#[test]
fn frames_are_seen_whole() {
    two_frames(commit, clear, observe);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_relaxed_commit_is_caught() {
    two_frames(|word, value| word.store(value, Ordering::Relaxed), clear, observe);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_look_without_fence_is_caught() {
    two_frames(commit, clear, |word| Some(word.load(Ordering::Relaxed)).filter(|word| *word != 0));
}

#[test]
#[should_panic(expected = "left == right")]
fn a_stale_word_that_is_not_cleared_is_caught() {
    two_frames(commit, |_| (), observe);
}

/// A writer of a batch of two and a reader, which sees none or both.
fn batch(is_first_word_last: bool) {
    model(4, move || {
        let segment = Segment::new();
        let written = Arc::clone(&segment);
        let writer = thread::spawn(move || {
            written.fill(0, 10);
            if !is_first_word_last {
                clear(&written.words[1]);
                commit(&written.words[0], 1);
            }
            written.fill(1, 11);
            place(&written.words[1], 2);
            clear(&written.words[2]);
            if is_first_word_last {
                commit(&written.words[0], 1);
            }
        });
        if let Some(word) = observe(&segment.words[0]) {
            assert_eq!((word, segment.body(0)), (1, 10));
            let second = observe(&segment.words[1]).expect("the batch is whole");
            assert_eq!((second, segment.body(1)), (2, 11));
            assert_eq!(observe(&segment.words[2]), None);
        }
        writer.join().unwrap();
    });
}

#[test]
fn batches_are_seen_whole_or_not_at_all() {
    batch(true);
}

#[test]
#[should_panic(expected = "the batch is whole")]
fn a_batch_whose_first_word_comes_first_is_caught() {
    batch(false);
}

/// The page of sleepers, the kernel's queue, and the processor of the waker, which `membarrier` makes pass a full barrier
/// wherever its program is.
struct Page {
    word: AtomicU32,
    queue: Mutex<()>,
    woken: Condvar,
    /// Barriers that each sleeper asked for, and that the waker has passed.
    asked: [AtomicU32; 2],
    passed: Mutex<[u32; 2]>,
    has_passed: Condvar,
    has_barrier: bool,
}

impl Page {
    fn new(has_barrier: bool) -> Arc<Self> {
        Arc::new(Self {
            word: AtomicU32::new(0),
            queue: Mutex::new(()),
            woken: Condvar::new(),
            asked: Default::default(),
            passed: Mutex::new([0; 2]),
            has_passed: Condvar::new(),
            has_barrier,
        })
    }

    /// A point of the waker's program where barriers may fall.
    fn interrupt(&self) {
        let counts = [0, 1].map(|seat| self.asked[seat].load(Ordering::Acquire));
        if counts != [0, 0] {
            self.pass(counts);
        }
    }

    /// The waker leaves its processor, which is a full barrier.
    fn leave(&self) {
        self.pass([u32::MAX; 2]);
    }

    fn pass(&self, counts: [u32; 2]) {
        fence(Ordering::SeqCst);
        *self.passed.lock().unwrap() = counts;
        self.has_passed.notify_all();
    }
}

/// What one thread sees of the page.
struct Seat(Arc<Page>, usize);

impl Word<u32> for Seat {
    fn load(&self, order: Ordering) -> u32 {
        self.0.word.load(order)
    }
    fn store(&self, value: u32, order: Ordering) {
        self.0.word.store(value, order);
    }
    fn fence(order: Ordering) {
        fence(order);
    }
}

impl Parking for Seat {
    fn compiler_fence() {}

    fn barrier(&self) {
        let Self(page, seat) = self;
        if !page.has_barrier {
            return;
        }
        let count = page.asked[*seat].load(Ordering::Relaxed) + 1;
        page.asked[*seat].store(count, Ordering::Release);
        let mut passed = page.passed.lock().unwrap();
        while passed[*seat] < count {
            passed = page.has_passed.wait(passed).unwrap();
        }
        drop(passed);
        fence(Ordering::SeqCst);
    }

    fn wait(&self, value: u32) {
        let queue = self.0.queue.lock().unwrap();
        // The kernel compares under the lock of its queue.
        if self.0.word.load(Ordering::Relaxed) == value {
            drop(self.0.woken.wait(queue).unwrap());
        }
    }

    fn wake_all(&self) {
        let _queue = self.0.queue.lock().unwrap();
        self.0.woken.notify_all();
    }
}

/// A writer of one message and readers that sleep until it comes. A forgotten sleeper is a deadlock, which loom reports.
fn parking(sleepers: usize, has_barrier: bool, preemptions: usize) {
    model(preemptions, move || {
        let page = Page::new(has_barrier);
        let message = Arc::new(AtomicU64::new(0));
        let sleepers: Vec<_> = (0..sleepers)
            .map(|seat| {
                let (seat, message) = (Seat(Arc::clone(&page), seat), Arc::clone(&message));
                thread::spawn(move || {
                    while observe(&*message).is_none() {
                        sleep(&seat, || observe(&*message).is_some());
                    }
                })
            })
            .collect();
        page.interrupt();
        commit(&*message, 1);
        page.interrupt();
        wake(&Seat(Arc::clone(&page), 0));
        page.leave();
        for sleeper in sleepers {
            sleeper.join().unwrap();
        }
    });
}

#[test]
fn no_sleeper_is_forgotten() {
    parking(1, true, 4);
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_sleeper_without_barrier_is_caught() {
    parking(1, false, 4);
}

#[test]
fn two_sleepers_on_one_word_are_both_woken() {
    parking(2, true, 2);
}
