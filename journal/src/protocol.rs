//! The orders of loads and stores on which journals rest, over any kind of atomic word, so that loom tries the
//! interleavings of this very code (`tests/loom.rs`).

use std::sync::atomic::Ordering;

/// An atomic word, in shared memory or in a model.
pub(crate) trait Word<T> {
    fn load(&self, order: Ordering) -> T;
    fn store(&self, value: T, order: Ordering);
    fn fence(order: Ordering);
}

/// Zeroes the word behind a frame that is about to be committed: what an aborted claim left there is no frame.
#[inline]
pub(crate) fn clear<W: Word<u64>>(word: &W) {
    word.store(0, Ordering::Relaxed); // ORDERING: before the Release store in `commit`
}

/// Stores the word of a frame behind the first of its batch: readers cannot get there yet.
#[inline]
pub(crate) fn place<W: Word<u64>>(word: &W, value: u64) {
    word.store(value, Ordering::Relaxed); // ORDERING: before the Release store of the batch's first word in `commit`
}

/// Publishes a frame, and the batch that it opens.
#[inline]
pub(crate) fn commit<W: Word<u64>>(word: &W, value: u64) {
    word.store(value, Ordering::Release); // ORDERING: pairs with the Acquire fence in `observe`
}

/// The word of a frame; `None` where none was committed yet. Who sees it sees the frame, its batch, and the zeroed word
/// behind them.
#[inline]
pub(crate) fn observe<W: Word<u64>>(word: &W) -> Option<u64> {
    // ORDERING: a Relaxed load and an Acquire fence, all that the language guarantees on read-only memory, pair with the
    // Release store in `commit`.
    let value = word.load(Ordering::Relaxed);
    if value == 0 {
        return None;
    }
    W::fence(Ordering::Acquire);
    Some(value)
}

/// A word that sleepers set and wait on.
pub(crate) trait Parking: Word<u32> {
    /// Keeps the compiler from moving the load of a waker before its commit; the processor is kept by [`Parking::barrier`].
    fn compiler_fence();
    /// Makes every waker pass a full barrier at some point of its program meanwhile.
    fn barrier(&self);
    /// Sleeps as long as the word has this value.
    fn wait(&self, value: u32);
    /// Wakes all sleepers.
    fn wake_all(&self);
}

/// Wakes the sleepers, if there are any, after a commit.
#[inline]
pub(crate) fn wake<P: Parking>(word: &P) {
    P::compiler_fence();
    // ORDERING: Relaxed: ordered after the commit by the sleeper's barrier. If that fell before the commit, the word is seen
    // here; if after this load, the sleeper sees the commit.
    if word.load(Ordering::Relaxed) != 0 {
        // ORDERING: Relaxed: a sleeper that sets it again afterwards looks again before it sleeps.
        word.store(0, Ordering::Relaxed);
        word.wake_all();
    }
}

/// Sleeps until woken, unless `ready` says after the barrier that there is something to do.
#[inline]
pub(crate) fn sleep<P: Parking>(word: &P, ready: impl FnOnce() -> bool) {
    word.store(1, Ordering::Relaxed); // ORDERING: before the barrier, which pairs with the load in `wake`
    word.barrier();
    if !ready() {
        word.wait(1);
    }
}
