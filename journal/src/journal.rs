//! Opening a journal for writing: win the lock, recover, make the new epoch durable, prepare the first segment.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use crate::{
    control::{Control, State},
    error::{OpenError, Room},
    in_flight::window,
    layout::{MarkSlot, SEGMENT_MAX, SEGMENT_MIN, is_epoch},
    lock::{LockError, OwnerLock, Purpose},
    mark::{self, Mark},
    memory::{MemoryError, headroom},
    names,
    prepare::{Failure, Preparation, Twin},
    progress::Input,
    reader::Places,
    recovery::{Proof, Recovered, Recovery, forget_memory, recover},
    retention::{Retained, Retention},
    segment::Segment,
    storage::Storage,
    waiters::Waiters,
    write_out::{Parts, WriteOut},
    writer::{Beginning, Shortage, Writer},
};

/// How a journal is made and kept.
#[derive(Debug)]
pub struct Options {
    /// Bytes of a segment, a power of two from 1 to 16 MiB. Fixed when the journal is made.
    pub segment_size: usize,
    /// Shared memory that this journal may use, in bytes; at least three segments are used.
    pub memory_budget: usize,
    /// How much stays on disk; `None` keeps all.
    pub retention: Option<Retention>,
    /// The inputs of a derived journal, in the order of `Cause::input`.
    pub inputs: Vec<Box<dyn Input>>,
    /// What journals derived from this one prove of it, by [`last_cause`](crate::last_cause).
    pub proven: Vec<Proof>,
    /// Where a derived journal is to be cut, whatever its inputs hold: at the batch with the first message from this
    /// sequence on. What follows is kept beside, and told by [`set_aside`](crate::set_aside) as far as it was durable.
    pub cut_from: Option<u64>,
    /// The lock file, which lies in the journal's directory on disk.
    pub lock: PathBuf,
    /// Nanoseconds since the Unix epoch.
    pub now: u64,
    /// What the journal is opened for.
    pub purpose: Purpose,
    /// How long to wait for an owner that may be just ending.
    pub patience: Duration,
}

/// Between two tries for the lock.
const PATIENCE_STEP: Duration = Duration::from_millis(1);

/// An open journal: the writer's half, the disk's half, and what opening it found.
#[derive(Debug)]
pub struct Journal {
    /// For the publishing thread.
    pub writer: Writer,
    /// For the thread that writes to disk.
    pub write_out: WriteOut,
    /// Held until both halves are gone.
    pub lock: OwnerLock,
    /// What recovery found.
    pub recovery: Recovery,
}

/// The name of the lock file in a journal's directory.
pub const LOCK: &str = names::LOCK;

/// Opens or makes a journal, taking over from an owner that died.
///
/// # Errors
/// [`OpenError`]; a journal that cannot be opened is left as it was, but for what recovery completed. Of a new one nothing is
/// left in its directory.
pub fn open(places: &Places, options: Options) -> Result<Journal, OpenError> {
    let size = options.segment_size;
    assert!(size.is_power_of_two() && (SEGMENT_MIN..=SEGMENT_MAX).contains(&size), "segment size {size}");
    let directory = options.lock.parent().unwrap_or(&options.lock);
    let shown = directory.to_string_lossy().into_owned();
    places.storage.make_directory().map_err(OpenError::io("make", &shown))?;
    let path = options.lock.clone();
    let lock = win(&path, options.purpose, options.patience)?;
    let is_new = is_blank(places.storage.as_ref());
    match begin(places, options, &shown) {
        Ok((writer, write_out, recovery)) => Ok(Journal { writer, write_out, lock, recovery }),
        Err(error) => {
            if is_new {
                take_away(places.storage.as_ref(), &path);
            }
            Err(error)
        }
    }
}

/// Whether there is nothing of a journal yet but its lock.
fn is_blank(storage: &dyn Storage) -> bool {
    storage.names().is_ok_and(|names| names.iter().all(|name| name == names::LOCK))
}

/// Takes away what was made of a new journal, as far as that can be done. While the lock is held: who waits for it finds that
/// its file is another's then.
fn take_away(storage: &dyn Storage, lock: &Path) {
    for name in [&names::segment(0), names::MARK] {
        let _ = storage.remove(name);
    }
    let _ = storage.sync();
    let _ = fs::remove_file(lock);
}

/// What [`open`] does once it has the lock. `shown` is the journal's directory.
fn begin(
    places: &Places,
    mut options: Options,
    shown: &str,
) -> Result<(Writer, WriteOut, Recovery), OpenError> {
    let mut slot = match mark::load_to_write(places.storage.as_ref())? {
        Some(old) => old,
        None => {
            let journal = identity().map_err(OpenError::io("draw an identity for", shown))?;
            mark::first(journal, options.segment_size)
        }
    };
    let size = slot.segment_size as usize;
    fs::create_dir_all(&places.memory_dir)
        .map_err(OpenError::io("make", &places.memory_dir.to_string_lossy()))?;
    let found = recover(places, &slot, &mut options)?;
    if !found.epoch.checked_add(1).is_some_and(is_epoch) {
        let what = format!("{shown}: no epoch follows {}", found.epoch);
        return Err(OpenError::Damaged { what });
    }
    let before = slot;
    begin_epoch(&mut slot, &found);
    let mut mark =
        Mark::own(places.storage.as_ref(), slot).map_err(OpenError::io("write the mark in", shown))?;
    let (control, waiters) = pages(places, &slot).map_err(|error| memory_failure(&error, places, size))?;
    announce(&control, &slot, &found);
    forget_memory(places);
    let first = first_segment(places, found.next_segment, size, Path::new(shown)).inspect_err(|_| {
        // Nobody writes here: readers shall not wait for it.
        for name in [Control::NAME, Waiters::NAME] {
            let _ = fs::remove_file(places.memory_dir.join(name));
        }
        // Nobody has written anything: it is as closed as it was, or as recovery has left it. Should that fail, its next
        // owner recovers it.
        let _ = mark.write(|slot| match before.clean {
            1 => *slot = MarkSlot { turn: slot.turn, ..before },
            _ => slot.clean = 1,
        });
    })?;
    let beginning = Beginning {
        journal: slot.journal,
        epoch: slot.epoch,
        segment_size: size,
        sequence: found.sequence,
        previous_end: slot.durable,
        window: window(size),
    };
    let (producer, consumer) = rtrb::RingBuffer::new(crate::write_out::AHEAD);
    let shortage = Arc::new(Shortage::default());
    let writer = Writer::begin(
        beginning,
        Arc::clone(&first.0),
        consumer,
        Arc::clone(&control),
        Arc::clone(&waiters),
        Arc::clone(&shortage),
        options.now,
    );
    let write_out = WriteOut::begin(Parts {
        journal: slot.journal,
        epoch: slot.epoch,
        segment_size: size,
        memory_budget: options.memory_budget.max(3 * size),
        retained: Retained::new(found.retired, options.retention, size),
        sequence: found.sequence,
        storage: Arc::clone(&places.storage),
        memory_dir: places.memory_dir.clone(),
        control,
        waiters,
        shortage,
        mark,
        inputs: options.inputs,
        first,
        prepared: producer,
    });
    Ok((writer, write_out, found.report))
}

/// The mark that makes the new epoch durable before anything is published in it.
fn begin_epoch(slot: &mut MarkSlot, found: &Recovered) {
    (slot.epoch, slot.clean, slot.sequence) = (found.epoch + 1, 0, found.sequence);
    slot.newest = slot.newest.max(found.next_segment);
    slot.durable = slot.durable.max(found.next_segment * u64::from(slot.segment_size));
}

/// Wins the lock. An owner that is just ending holds it for a moment only, so it may be worth waiting for.
fn win(path: &Path, purpose: Purpose, patience: Duration) -> Result<OwnerLock, OpenError> {
    let start = Instant::now();
    loop {
        match OwnerLock::acquire(path, purpose) {
            Ok(lock) => return Ok(lock),
            Err(LockError::Held { .. }) if start.elapsed() < patience => thread::sleep(PATIENCE_STEP),
            Err(LockError::Held { path, holder, purpose }) => {
                return Err(OpenError::Held { path, holder, purpose });
            }
            Err(LockError::Io { path, source, .. }) => {
                return Err(OpenError::Io { what: "lock", path, error: source });
            }
        }
    }
}

/// The two pages that the owner shares with readers.
fn pages(places: &Places, slot: &MarkSlot) -> Result<(Arc<Control>, Arc<Waiters>), MemoryError> {
    let control_path = places.memory_dir.join(Control::NAME);
    let control = Control::own(&control_path, &slot.journal, slot.segment_size as usize)?;
    let waiters = Waiters::own(&places.memory_dir.join(Waiters::NAME))?;
    Ok((Arc::new(control), Arc::new(waiters)))
}

/// Tells readers where the new epoch begins.
fn announce(control: &Control, slot: &MarkSlot, found: &Recovered) {
    control.set_state(State::Open, 0);
    control.set_floor(slot.floor, found.first);
    control.set_published(slot.durable, found.sequence);
    control.set_durable(slot.durable, found.sequence);
    control.set_epoch(slot.epoch);
}

/// Prepares the segment that the writer begins with; its twin's blocks are written later.
fn first_segment(
    places: &Places,
    number: u64,
    size: usize,
    directory: &Path,
) -> Result<(Arc<Segment>, Twin), OpenError> {
    let mut preparation = Preparation::new(number, size, places.memory_dir.clone());
    loop {
        match preparation.step(places.storage.as_ref()) {
            Ok(None) => {}
            Ok(Some(first)) => return Ok(first),
            Err(Failure::NoRoom(Room::Memory | Room::Group)) => return Err(no_memory(places, size)),
            Err(Failure::NoRoom(room)) => {
                let path = directory.to_owned();
                return Err(OpenError::NoRoom { room, path, needed: size as u64 });
            }
            Err(Failure::Io(error)) => {
                return Err(OpenError::Io { what: "prepare a segment", path: directory.to_owned(), error });
            }
        }
    }
}

/// Sixteen random bytes.
fn identity() -> io::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    io::Read::read_exact(&mut fs::File::open("/dev/urandom")?, &mut bytes)?;
    Ok(bytes)
}

fn memory_failure(error: &MemoryError, places: &Places, size: usize) -> OpenError {
    match error {
        MemoryError::Io { source, .. } if source.kind() != io::ErrorKind::StorageFull => OpenError::Io {
            what: "make shared memory",
            path: places.memory_dir.clone(),
            error: io::Error::new(source.kind(), error.to_string()),
        },
        _ => no_memory(places, size),
    }
}

/// Why there is no shared memory for a segment: the limit of the memory group where that is what is short.
fn no_memory(places: &Places, size: usize) -> OpenError {
    let (path, needed) = (places.memory_dir.clone(), size as u64);
    match headroom().filter(|headroom| headroom.left < needed) {
        Some(headroom) => OpenError::NoGroupRoom { headroom, path, needed },
        None => OpenError::NoRoom { room: Room::Memory, path, needed },
    }
}
