//! A disk in memory that loses power where it is told to, for tests of the journal and of what is built
//! on it.
//!
//! What is written is seen at once but stays volatile, in sectors of 512 bytes, until a sync or a durable
//! write has completed; names stay volatile until the directory is synced. Each operation that changes
//! something has a number. [`SimulatedDisk::cut_at`] lets the power fail during one of them, and
//! [`SimulatedDisk::after_cut`] gives the disk as it may then be found: each volatile sector and name
//! kept or lost on its own, and one sector of the last write perhaps torn. The same seed gives the same
//! disk.
//!
//! ```
//! use journal::storage::{AlignedBuffer, Storage, simulated::SimulatedDisk};
//!
//! let disk = SimulatedDisk::new();
//! disk.make_directory()?;
//! disk.create("kept", 4096)?.sync()?;
//! disk.sync()?;
//! let volatile = disk.create("perhaps", 4096)?;
//! volatile.write_durable_at(&AlignedBuffer::zeroed(4096), 0)?; // its bytes, but not its name
//! disk.cut();
//! let found = disk.after_cut(7).names()?;
//! assert!(found == ["kept"] || found == ["kept", "perhaps"]);
//! # Ok::<(), std::io::Error>(())
//! ```

mod content;
mod engine;
mod names;
mod seed;

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, ErrorKind};
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Access, DiskFile, Storage, assert_blocks, assert_name};
use content::Content;
pub use engine::SimulatedEngine;
use names::{Names, Node};
use seed::Seed;

/// Space of a disk that has not been limited: 1 TiB.
const CAPACITY: u64 = 1 << 40;

/// How an operation can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// `EIO`, of any operation. What was to be written may be on the disk or not, and no later sync
    /// vouches for it.
    Io,
    /// `ENOSPC`, of operations that may take space: creating, writing, truncating.
    NoSpace,
}

/// How a disk can lie, for control tests: each must be caught by a test that claims to prove durability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Durable writes are acknowledged before they are durable.
    Writes,
    /// Syncs of files do nothing.
    Syncs,
    /// Syncs of the directory do nothing.
    Names,
}

/// What really happened, so that a test can prove that its faults fired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fired {
    /// Operations that were made to fail.
    pub failures: u64,
    /// Volatile sectors that survived a cut.
    pub kept_sectors: u64,
    /// Volatile sectors that a cut lost.
    pub dropped_sectors: u64,
    /// Writes of which a cut kept some sectors and lost others.
    pub torn_writes: u64,
    /// Sectors of which a cut kept the beginning only.
    pub torn_sectors: u64,
    /// Volatile changes of names that a cut lost.
    pub lost_names: u64,
}

/// The error of every operation from the cut on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PowerCut;

impl fmt::Display for PowerCut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the simulated disk has lost power")
    }
}

impl std::error::Error for PowerCut {}

/// Whether an error says that a simulated disk has lost power.
#[must_use]
pub fn is_power_cut(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<PowerCut>())
}

/// A simulated disk with one directory. Clones are the same disk.
#[derive(Clone)]
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
}

struct State {
    /// Whether the directory exists.
    made: bool,
    names: Names,
    /// Operations so far.
    operations: u64,
    cut_at: Option<u64>,
    dark: bool,
    /// Each how many operations one fails, and how.
    failure: Option<(u64, Failure)>,
    lie: Option<Lie>,
    capacity: u64,
    fired: Fired,
}

/// What becomes of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Done,
    /// The power fails while it runs: it has happened or not, and nobody hears of it.
    Cut,
    Failed(Failure),
}

impl Verdict {
    fn answer(self) -> io::Result<()> {
        match self {
            Self::Done => Ok(()),
            Self::Cut => Err(io::Error::other(PowerCut)),
            Self::Failed(Failure::Io) => Err(io::Error::from_raw_os_error(libc::EIO)),
            Self::Failed(Failure::NoSpace) => Err(io::Error::from_raw_os_error(libc::ENOSPC)),
        }
    }
}

impl State {
    fn new() -> Self {
        Self {
            made: false,
            names: Names::default(),
            operations: 0,
            cut_at: None,
            dark: false,
            failure: None,
            lie: None,
            capacity: CAPACITY,
            fired: Fired::default(),
        }
    }

    /// Refuses everything once the power has gone.
    fn check_power(&self) -> io::Result<()> {
        if self.dark { Verdict::Cut.answer() } else { Ok(()) }
    }

    /// Numbers an operation and says what becomes of it.
    fn next(&mut self, takes_space: bool) -> io::Result<Verdict> {
        self.check_power()?;
        let number = self.operations;
        self.operations += 1;
        if self.cut_at == Some(number) {
            self.dark = true;
            return Ok(Verdict::Cut);
        }
        match self.failure {
            Some((every, failure))
                if self.operations.is_multiple_of(every) && (takes_space || failure == Failure::Io) =>
            {
                self.fired.failures += 1;
                Ok(Verdict::Failed(failure))
            }
            _ => Ok(Verdict::Done),
        }
    }

    fn free_space(&self) -> u64 {
        let used = self.names.seen().values().map(|node| lock(node).length()).sum();
        self.capacity.saturating_sub(used)
    }

    /// Refuses to grow by more than there is room for.
    fn check_room(&self, growth: u64) -> io::Result<()> {
        if growth > self.free_space() { Verdict::Failed(Failure::NoSpace).answer() } else { Ok(()) }
    }
}

impl SimulatedDisk {
    /// An empty disk without faults, whose directory does not exist yet.
    #[must_use]
    pub fn new() -> Self {
        Self { state: Arc::new(Mutex::new(State::new())) }
    }

    /// How many operations have changed something or tried to, or synced. Reading is none.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Lets the power fail during the operation of this number, the first being 0: it may have happened
    /// or not, and it and everything after it fails with an error that [`is_power_cut`] knows.
    pub fn cut_at(&self, operation: u64) {
        self.state().cut_at = Some(operation);
    }

    /// Lets the power fail now, between two operations.
    pub fn cut(&self) {
        self.state().dark = true;
    }

    /// The disk as it may be found after the cut: with power, without faults, all that it holds durable.
    /// The cut disk stays as it is, so that many seeds can be tried.
    ///
    /// # Panics
    /// If the power has not failed.
    #[must_use]
    pub fn after_cut(&self, seed: u64) -> Self {
        let state = self.state();
        assert!(state.dark, "the power has not failed");
        let mut seed = Seed::new(seed);
        let mut found = State::new();
        found.made = state.made;
        found.capacity = state.capacity;
        let last = state.names.nodes().filter_map(|node| lock(node).last_write()).max();
        let mut contents: BTreeMap<usize, Node> = BTreeMap::new();
        for (name, node) in state.names.after_cut(&mut seed, &mut found.fired) {
            let survivor = contents.entry(Arc::as_ptr(&node).addr()).or_insert_with(|| {
                Arc::new(Mutex::new(lock(&node).after_cut(&mut seed, last, &mut found.fired)))
            });
            found.names.put_durable(name, Arc::clone(survivor));
        }
        Self { state: Arc::new(Mutex::new(found)) }
    }

    /// Makes each operation whose number is a multiple of `every`, counted from 1, fail; none if there is
    /// no failure.
    ///
    /// # Panics
    /// If `every` is 0.
    pub fn fail_every(&self, every: u64, failure: Option<Failure>) {
        assert!(every > 0, "a failure every 0 operations");
        self.state().failure = failure.map(|failure| (every, failure));
    }

    /// Makes the disk lie from now on, or be honest again.
    pub fn lie(&self, lie: Option<Lie>) {
        self.state().lie = lie;
    }

    /// Limits the space for files, in bytes, from now on.
    pub fn limit_space(&self, capacity: u64) {
        self.state().capacity = capacity;
    }

    /// Changes the bytes of a file behind everybody's back, volatile and durable ones alike: rot.
    ///
    /// # Panics
    /// If there is no such file, or the range leaves it.
    pub fn tamper(&self, name: &str, offset: u64, change: impl Fn(&mut u8)) {
        let state = self.state();
        let node = state.names.get(name).expect("a file to tamper with");
        lock(node).tamper(offset, change);
    }

    /// What has really happened: failures on this disk, and what the cut did that it was found after.
    #[must_use]
    pub fn fired(&self) -> Fired {
        self.state().fired
    }

    /// An engine with `depth` writes in flight, which completes them in an order that `seed` decides.
    ///
    /// # Panics
    /// If `depth` is 0.
    #[must_use]
    pub fn engine(&self, depth: usize, seed: u64) -> SimulatedEngine {
        SimulatedEngine::new(self.clone(), depth, seed)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn file(&self, node: &Node, access: Access) -> Arc<dyn DiskFile> {
        Arc::new(SimulatedFile { disk: self.clone(), node: Arc::clone(node), access })
    }
}

impl Default for SimulatedDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for SimulatedDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("SimulatedDisk")
            .field("operations", &state.operations)
            .field("dark", &state.dark)
            .finish_non_exhaustive()
    }
}

impl Storage for SimulatedDisk {
    fn names(&self) -> io::Result<Vec<String>> {
        let state = self.state();
        state.check_power()?;
        Ok(state.names.seen().keys().cloned().collect())
    }

    fn make_directory(&self) -> io::Result<()> {
        let mut state = self.state();
        let verdict = state.next(true)?;
        state.made |= verdict == Verdict::Done;
        verdict.answer()
    }

    fn create(&self, name: &str, length: u64) -> io::Result<Arc<dyn DiskFile>> {
        assert_name(name);
        let mut state = self.state();
        let verdict = state.next(true)?;
        if !state.made {
            return Err(ErrorKind::NotFound.into());
        }
        if state.names.get(name).is_some() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        if let Verdict::Failed(_) = verdict {
            verdict.answer()?;
        }
        state.check_room(length)?;
        let node = Arc::new(Mutex::new(Content::zeros(length)));
        state.names.create(name, Arc::clone(&node));
        verdict.answer()?;
        Ok(self.file(&node, Access::Write))
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        assert_name(name);
        let state = self.state();
        state.check_power()?;
        let node = state.names.get(name).ok_or(ErrorKind::NotFound)?;
        Ok(self.file(node, access))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        assert_name(from);
        assert_name(to);
        let mut state = self.state();
        let verdict = state.next(false)?;
        if let Verdict::Failed(_) = verdict {
            return verdict.answer();
        }
        state.names.rename(from, to)?;
        verdict.answer()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        assert_name(name);
        let mut state = self.state();
        let verdict = state.next(false)?;
        if let Verdict::Failed(_) = verdict {
            return verdict.answer();
        }
        state.names.remove(name)?;
        verdict.answer()
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state();
        let verdict = state.next(false)?;
        match verdict {
            Verdict::Done if state.lie != Some(Lie::Names) => state.names.sync(),
            _ => {}
        }
        verdict.answer()
    }

    fn free_space(&self) -> io::Result<u64> {
        let state = self.state();
        state.check_power()?;
        Ok(state.free_space())
    }
}

/// An open file of a [`SimulatedDisk`].
struct SimulatedFile {
    disk: SimulatedDisk,
    node: Node,
    access: Access,
}

impl SimulatedFile {
    fn check_writable(&self) -> io::Result<()> {
        match self.access {
            Access::Write => Ok(()),
            Access::Read => Err(io::Error::from_raw_os_error(libc::EBADF)),
        }
    }

    /// Starts a write: its bytes can be seen, and may survive a cut. Answers its number and what is to
    /// become of it.
    fn begin(&self, bytes: &[u8], offset: u64) -> io::Result<(u64, Verdict)> {
        assert_blocks(bytes.as_ptr(), bytes.len(), offset);
        self.check_writable()?;
        let mut state = self.disk.state();
        let verdict = state.next(true)?;
        let number = state.operations;
        let growth = (offset + bytes.len() as u64).saturating_sub(lock(&self.node).length());
        if growth > 0 {
            state.check_room(growth)?;
        }
        let mut content = lock(&self.node);
        content.begin(number, bytes, offset);
        if verdict != Verdict::Done {
            content.fail(number);
        }
        Ok((number, verdict))
    }

    /// Ends the write `number`, durably if it says so and the disk does not lie.
    fn finish(&self, number: u64, durable: bool) {
        let durable = durable && self.disk.state().lie != Some(Lie::Writes);
        let mut content = lock(&self.node);
        if durable { content.finish_durable(number) } else { content.finish(number) }
    }

    fn write(&self, bytes: &[u8], offset: u64, durable: bool) -> io::Result<()> {
        let (number, verdict) = self.begin(bytes, offset)?;
        if verdict == Verdict::Done {
            self.finish(number, durable);
        }
        verdict.answer()
    }
}

impl DiskFile for SimulatedFile {
    fn length(&self) -> io::Result<u64> {
        self.disk.state().check_power()?;
        Ok(lock(&self.node).length())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.disk.state().check_power()?;
        Ok(lock(&self.node).read(buffer, offset))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write(bytes, offset, false)
    }

    fn write_durable_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write(bytes, offset, true)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.check_writable()?;
        let mut state = self.disk.state();
        let verdict = state.next(true)?;
        if let Verdict::Failed(_) = verdict {
            return verdict.answer();
        }
        let growth = length.saturating_sub(lock(&self.node).length());
        state.check_room(growth)?;
        lock(&self.node).set_length(length);
        verdict.answer()
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        let verdict = state.next(false)?;
        let mut content = lock(&self.node);
        match verdict {
            Verdict::Done if state.lie != Some(Lie::Syncs) => content.sync(),
            Verdict::Failed(_) => content.fail_all(),
            _ => {}
        }
        verdict.answer()
    }

    fn barrier(&self) -> io::Result<()> {
        self.disk.state().next(false)?.answer()
    }

    fn is_direct(&self) -> bool {
        true
    }

    fn raw_fd(&self) -> Option<RawFd> {
        None
    }
}

impl fmt::Debug for SimulatedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimulatedFile({} bytes, {:?})", lock(&self.node).length(), self.access)
    }
}

/// Locks, also after a panic elsewhere: the state is consistent between operations.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
