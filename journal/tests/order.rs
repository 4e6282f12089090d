//! Given a journal at work, expect that what must come first comes first: the disk before the mark, the mark before the
//! memory goes, evidence before removal, and retirement before damage.
#![allow(missing_docs)]

mod common;

use std::{
    collections::{BTreeMap, VecDeque},
    fs,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use common::{
    Ground, SEGMENT, message, read_file, read_rest, segment_name,
    watched::{Act, Watched},
};
use journal::{
    Gate, Options, Places, ReadError, Retention, Start,
    layout::{FIRST_FRAME, KIND_SEAL, MarkSlot, Word},
    storage::{PwriteEngine, Storage, simulated::SimulatedDisk},
};

/// Nanoseconds within which the mark follows what is durable.
const WITHIN: u64 = 10_000_000;

fn newest_slot(bytes: &[u8]) -> MarkSlot {
    bytes.chunks(4096).filter_map(MarkSlot::read).max_by_key(|slot| slot.turn).unwrap()
}

fn mark(storage: &dyn Storage) -> MarkSlot {
    newest_slot(&read_file(storage, "mark"))
}

fn segment_number(name: &str) -> Option<u64> {
    u64::from_str_radix(name.strip_suffix(".segment")?, 16).ok()
}

fn segments_in(directory: &Path) -> Vec<u64> {
    let names = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut numbers: Vec<u64> = names.filter_map(|file| segment_number(file.file_name().to_str()?)).collect();
    numbers.sort_unstable();
    numbers
}

/// The offset behind the SEAL of a segment.
fn end_of_seal(segment: &[u8]) -> u64 {
    let mut at = FIRST_FRAME;
    loop {
        let word = Word::unpack(u64::from_le_bytes(segment[at..at + 8].try_into().unwrap()));
        assert!(word.fits(at, segment.len()), "no frame at {at}");
        at += word.stride();
        if word.kind == KIND_SEAL {
            return at as u64;
        }
    }
}

/// One operation of the storage.
#[derive(Debug)]
struct Step {
    what: What,
    /// Segments in memory when it had been done.
    memory: Vec<u64>,
}

#[derive(Debug, PartialEq, Eq)]
enum What {
    /// A segment is durable below this offset.
    Durable {
        segment: u64,
        end: u64,
    },
    /// The mark proves everything below this position, and that the journal begins at this segment.
    Marked {
        durable: u64,
        floor: u64,
    },
    /// The file of a segment was removed, or given to another one.
    Given(u64),
    Other,
}

/// All operations of a storage, in their order.
#[derive(Debug, Default)]
struct Log {
    steps: Vec<Step>,
    /// Up to where each segment is durable without a hole.
    durable: BTreeMap<u64, u64>,
}

impl Log {
    fn note(&mut self, act: Act<'_>, memory: Vec<u64>) {
        let what = match act {
            Act::Written { name: "mark", bytes, durable: true, .. } => {
                let MarkSlot { durable, floor, .. } = newest_slot(bytes);
                What::Marked { durable, floor }
            }
            Act::Written { name, bytes, offset, durable: true } => {
                let segment = segment_number(name).unwrap();
                let end = self.durable.entry(segment).or_default();
                if offset <= *end {
                    *end = (*end).max(offset + bytes.len() as u64);
                }
                What::Durable { segment, end: *end }
            }
            Act::Renamed { from: name, .. } | Act::Removed(name) => {
                segment_number(name).map_or(What::Other, What::Given)
            }
            _ => What::Other,
        };
        self.steps.push(Step { what, memory });
    }

    fn first(&self, is: impl Fn(&Step) -> bool) -> Option<usize> {
        self.steps.iter().position(is)
    }
}

/// A journal on a disk of which each operation is noted.
fn noted() -> (SimulatedDisk, Ground, Arc<Mutex<Log>>) {
    let disk = SimulatedDisk::new();
    let mut ground = Ground::on(Arc::new(disk.clone()));
    let log = Arc::new(Mutex::new(Log::default()));
    let (noting, memory) = (Arc::clone(&log), ground.memory.clone());
    let watch = Arc::new(move |act: Act<'_>| noting.lock().unwrap().note(act, segments_in(&memory)));
    ground.places.storage = Arc::new(Watched { below: Arc::new(disk.clone()), watch });
    (disk, ground, log)
}

#[test]
fn a_segment_is_durable_with_its_seal_then_in_the_mark_and_then_leaves_the_memory() {
    let (disk, ground, log) = noted();
    let mut live = ground.open();
    for n in 0..60_000 {
        live.publish(&message(n));
        if n % 50 == 0 {
            live.work();
        }
    }
    live.settle();
    let log = log.lock().unwrap();
    let mut retired = 0;
    for segment in 0.. {
        let was_there = log.first(|step| step.memory.contains(&segment));
        let Some(gone) =
            log.steps.iter().rposition(|step| step.memory.contains(&segment)).map(|last| last + 1)
        else {
            break;
        };
        if gone == log.steps.len() {
            break;
        }
        let seal = end_of_seal(&read_file(&disk, &segment_name(segment)));
        let sealed = log.first(
            |step| matches!(step.what, What::Durable { segment: s, end } if s == segment && end >= seal),
        );
        let behind = (segment + 1) * SEGMENT as u64;
        let marked = log.first(|step| matches!(step.what, What::Marked { durable, .. } if durable >= behind));
        let (Some(there), Some(sealed), Some(marked)) = (was_there, sealed, marked) else {
            panic!(
                "segment {segment}: in memory at {was_there:?}, sealed at {sealed:?}, marked at {marked:?}"
            );
        };
        assert!(
            there < sealed && sealed < marked && marked < gone,
            "segment {segment}: in memory from {there}, sealed at {sealed}, marked at {marked}, gone at {gone}"
        );
        retired += 1;
    }
    assert!(retired > 3);
    let kept = disk.names().unwrap().into_iter().filter(|name| name.ends_with(".segment")).count();
    assert!(kept > retired, "without retention nothing goes from the disk");
}

#[test]
fn no_position_is_in_the_mark_before_it_is_durable() {
    let (_, ground, log) = noted();
    let mut live = ground.open();
    for n in 0..20_000 {
        live.publish(&message(n));
        if n % 7 == 0 {
            live.work();
        }
    }
    live.close();
    let log = log.lock().unwrap();
    let mut ends = BTreeMap::new();
    let mut marks = 0;
    for step in &log.steps {
        match step.what {
            What::Durable { segment, end } => drop(ends.insert(segment, end)),
            What::Marked { durable, .. } => {
                let (segment, offset) = (durable / SEGMENT as u64, durable % SEGMENT as u64);
                let end = ends.get(&segment).copied().unwrap_or(0);
                assert!(end >= offset, "the mark says {durable}, segment {segment} is durable to {end}");
                marks += 1;
            }
            What::Given(_) | What::Other => {}
        }
    }
    assert!(marks > 10);
}

#[test]
fn nothing_goes_from_the_disk_before_the_mark_forbids_it() {
    let (_, ground, log) = noted();
    let retention = Some(Retention { bytes: 5 * SEGMENT as u64, cuts: journal::Cuts::Oldest });
    let options = Options { retention, memory_budget: 3 * SEGMENT, ..ground.options() };
    let mut live = ground.open_with(options, Box::new(PwriteEngine::new())).unwrap();
    for n in 0..80_000 {
        live.publish(&message(n));
        if n % 100 == 0 {
            live.work();
        }
    }
    let log = log.lock().unwrap();
    let (mut floor, mut given) = (0, 0);
    for step in &log.steps {
        match step.what {
            What::Marked { floor: marked, .. } => floor = marked,
            What::Given(segment) => {
                assert!(segment < floor, "segment {segment} goes while the floor is {floor}");
                given += 1;
            }
            What::Durable { .. } | What::Other => {}
        }
    }
    assert!(given > 1);
}

#[test]
fn the_mark_follows_within_ten_milliseconds() {
    let disk = SimulatedDisk::new();
    let ground = Ground::on(Arc::new(disk.clone()));
    let mut live = ground.open();
    for n in 0..20 {
        live.publish(&message(n));
        // A millisecond a turn; the first turns write.
        while live.writer().durable() <= n {
            live.work();
        }
        let durable_at = live.now;
        while mark(&disk).sequence <= n {
            live.work();
            assert!(live.now - durable_at <= WITHIN, "message {n} is durable and no evidence says so");
        }
    }
}

#[test]
fn the_mark_follows_within_ten_milliseconds_also_what_never_rests() {
    let disk = SimulatedDisk::new();
    let ground = Ground::on(Arc::new(disk.clone()));
    let mut live = ground.open();
    // What was durable when: the clock, then the sequence.
    let mut progress: VecDeque<(u64, u64)> = VecDeque::new();
    let mut most = 0;
    for n in 0..3_000 {
        live.publish(&message(n));
        live.work();
        let durable = live.writer().durable();
        if progress.back().is_none_or(|(_, last)| durable > *last) {
            progress.push_back((live.now, durable));
        }
        let marked = mark(&disk).sequence;
        while progress.front().is_some_and(|(_, sequence)| *sequence <= marked) {
            progress.pop_front();
        }
        let waits = progress.front().map_or(0, |(since, _)| live.now - since);
        assert!(waits <= WITHIN, "{waits} ns without evidence at message {n}");
        most = most.max(progress.len());
    }
    assert!(most > 1, "the disk went on while the mark waited");
}

#[test]
fn a_file_given_to_a_newer_segment_while_it_is_read_is_retired_and_not_damaged() {
    let disk = SimulatedDisk::new();
    let ground = Ground::on(Arc::new(disk.clone()));
    let retention = Some(Retention { bytes: 8 * SEGMENT as u64, cuts: journal::Cuts::Oldest });
    let options = Options { retention, memory_budget: 3 * SEGMENT, ..ground.options() };
    let mut live = ground.open_with(options, Box::new(PwriteEngine::new())).unwrap();
    for n in 0..50_000 {
        live.publish(&message(n));
    }
    live.settle();
    let recycled = Arc::new(AtomicBool::new(false));
    let (done, below) = (Arc::clone(&recycled), disk.clone());
    let act = Mutex::new(Some(move || {
        let before = mark(&below).floor;
        for n in 50_000..200_000 {
            live.publish(&message(n));
        }
        live.settle();
        done.store(mark(&below).floor > before, Ordering::SeqCst);
    }));
    // Once, in the middle of the first segment that is read.
    let watch = Arc::new(move |done: Act<'_>| {
        let is_segment = matches!(done, Act::HalfRead(name) if name.ends_with(".segment"));
        if let Some(mut act) = is_segment.then(|| act.lock().unwrap().take()).flatten() {
            act();
        }
    });
    let storage = Arc::new(Watched { below: Arc::new(disk), watch });
    let places = Places { storage, ..ground.places.clone() };
    let mut reader = journal::Reader::open(places, Start::Oldest, Gate::Durable).unwrap();
    let (messages, faults) = read_rest(&mut reader);
    assert!(recycled.load(Ordering::SeqCst), "the file was given away in the middle");
    let [ReadError::Retired { first }] = faults[..] else { panic!("{faults:?}") };
    assert!(messages.iter().all(|(sequence, body)| *sequence >= first && *body == message(*sequence)));
    assert_eq!(messages.last().unwrap().0, 199_999);
}
