//! Given a journal at work, expect that what must come first comes first: evidence before removal, the mark soon after the
//! disk, retirement before damage, and each journal of a service in its turn.
#![allow(missing_docs)]

mod common;

use std::{
    fmt, fs, io,
    os::fd::RawFd,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use common::{Ground, Live, SEGMENT, message, read_file, read_rest, segment_name};
use journal::{
    Gate, Journal, Options, Places, ReadError, Retention, Service, Start,
    layout::MarkSlot,
    storage::{
        Access, DiskFile, PwriteEngine, Storage,
        simulated::{Failure, SimulatedDisk},
    },
};

fn mark(storage: &dyn Storage) -> MarkSlot {
    let bytes = read_file(storage, "mark");
    bytes.chunks(4096).filter_map(MarkSlot::read).max_by_key(|slot| slot.turn).unwrap()
}

fn segments_in(directory: &std::path::Path) -> Vec<u64> {
    let names =
        fs::read_dir(directory).unwrap().flatten().filter_map(|file| file.file_name().into_string().ok());
    let mut numbers: Vec<u64> =
        names.filter_map(|name| u64::from_str_radix(name.strip_suffix(".segment")?, 16).ok()).collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn memory_goes_only_when_the_disk_has_it_and_the_mark_says_so() {
    let disk = SimulatedDisk::new();
    let ground = Ground::on(Arc::new(disk.clone()));
    let mut live = ground.open();
    let mut retired = 0;
    for n in 0..60_000 {
        live.publish(&message(n));
        if n % 50 == 0 {
            live.work();
        }
        let oldest = segments_in(&ground.memory)[0];
        if oldest > retired {
            retired = oldest;
            let durable = mark(&disk).durable;
            assert!(durable >= oldest * SEGMENT as u64, "segment {} went at {durable}", oldest - 1);
            assert!(live.writer().durable() > 0);
        }
    }
    assert!(retired > 3);
    let floors = disk.names().unwrap().into_iter().filter(|name| name.ends_with(".segment")).count();
    assert!(floors as u64 > retired, "without retention nothing goes from the disk");
}

#[test]
fn nothing_goes_from_the_disk_before_the_mark_forbids_it() {
    let disk = SimulatedDisk::new();
    let ground = Ground::on(Arc::new(disk.clone()));
    let retention = Some(Retention { bytes: 5 * SEGMENT as u64, cuts: journal::Cuts::Oldest });
    let options = Options { retention, memory_budget: 3 * SEGMENT, ..ground.options() };
    let mut live = ground.open_with(options, Box::new(PwriteEngine::new())).unwrap();
    let mut first = 0;
    for n in 0..80_000 {
        live.publish(&message(n));
        if n % 100 != 0 {
            continue;
        }
        live.work();
        let names = disk.names().unwrap();
        let oldest = names.iter().find(|name| name.ends_with(".segment")).unwrap();
        if *oldest > segment_name(first) {
            first += 1;
            assert!(mark(&disk).floor >= first, "{oldest} is the first, the floor is {}", mark(&disk).floor);
        }
    }
    assert!(first > 1);
}

#[test]
fn the_mark_follows_within_ten_milliseconds() {
    let disk = SimulatedDisk::new();
    let ground = Ground::on(Arc::new(disk.clone()));
    let mut live: Live = ground.open();
    for n in 0..20 {
        live.publish(&message(n));
        // A millisecond a turn; the first turns write.
        while live.writer().durable() <= n {
            live.work();
        }
        let mut turns = 0;
        while mark(&disk).sequence <= n {
            live.work();
            turns += 1;
            assert!(turns <= 10, "message {n} is durable and no evidence says so");
        }
    }
}

/// A disk on which something happens in the middle of a read, once.
#[derive(Debug)]
struct Interrupted {
    disk: SimulatedDisk,
    armed: Arc<AtomicBool>,
    act: Arc<Mutex<Act>>,
}

struct Act(Box<dyn FnMut() + Send>);

impl fmt::Debug for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Act")
    }
}

#[derive(Debug)]
struct InterruptedFile {
    file: Arc<dyn DiskFile>,
    armed: Arc<AtomicBool>,
    act: Arc<Mutex<Act>>,
}

impl Storage for Interrupted {
    fn names(&self) -> io::Result<Vec<String>> {
        self.disk.names()
    }
    fn make_directory(&self) -> io::Result<()> {
        self.disk.make_directory()
    }
    fn create(&self, name: &str, length: u64) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.create(name, length)
    }
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.open(name, access)?;
        if !name.ends_with(".segment") {
            return Ok(file);
        }
        Ok(Arc::new(InterruptedFile { file, armed: Arc::clone(&self.armed), act: Arc::clone(&self.act) }))
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }
    fn sync(&self) -> io::Result<()> {
        self.disk.sync()
    }
    fn free_space(&self) -> io::Result<u64> {
        self.disk.free_space()
    }
}

impl DiskFile for InterruptedFile {
    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        // Only whole segments: the header is read before as well.
        if buffer.len() < SEGMENT || !self.armed.swap(false, Ordering::SeqCst) {
            return self.file.read_at(buffer, offset);
        }
        let (first, second) = buffer.split_at_mut(4096);
        let read = self.file.read_at(first, offset)?;
        (self.act.lock().unwrap().0)();
        Ok(read + self.file.read_at(second, offset + 4096)?)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(bytes, offset)
    }
    fn write_durable_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_durable_at(bytes, offset)
    }
    fn truncate(&self, length: u64) -> io::Result<()> {
        self.file.truncate(length)
    }
    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
    fn barrier(&self) -> io::Result<()> {
        self.file.barrier()
    }
    fn is_direct(&self) -> bool {
        self.file.is_direct()
    }
    fn raw_fd(&self) -> Option<RawFd> {
        self.file.raw_fd()
    }
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
    let (armed, recycled) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
    let (done, below) = (Arc::clone(&recycled), disk.clone());
    let act = Box::new(move || {
        let before = mark(&below).floor;
        for n in 50_000..200_000 {
            live.publish(&message(n));
        }
        live.settle();
        done.store(mark(&below).floor > before, Ordering::SeqCst);
    });
    let storage = Interrupted { disk, armed, act: Arc::new(Mutex::new(Act(act))) };
    let places = Places { storage: Arc::new(storage), ..ground.places.clone() };
    let mut reader = journal::Reader::open(places, Start::Oldest, Gate::Durable).unwrap();
    let (messages, faults) = read_rest(&mut reader);
    assert!(recycled.load(Ordering::SeqCst), "the file was given away in the middle");
    let [ReadError::Retired { first }] = faults[..] else { panic!("{faults:?}") };
    assert!(messages.iter().all(|(sequence, body)| *sequence >= first && *body == message(*sequence)));
    assert_eq!(messages.last().unwrap().0, 199_999);
}

#[test]
fn a_busy_journal_leaves_its_turn_to_others() {
    let grounds = [Ground::new(), Ground::new()];
    let mut service = Service::start(Box::new(|| Box::new(PwriteEngine::new())), || (), || ()).unwrap();
    let [busy, quiet] = [0, 1].map(|which: usize| {
        let Journal { writer, write_out, lock, .. } =
            journal::open(&grounds[which].places, grounds[which].options()).unwrap();
        (writer, service.add(write_out, lock))
    });
    let (mut busy_writer, busy_token) = busy;
    let (mut quiet_writer, quiet_token) = quiet;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let body = vec![7; 20_000];
            while !stop.load(Ordering::Relaxed) {
                if busy_writer.append(1, 0, &body, 0).is_err() {
                    std::thread::yield_now();
                }
            }
        });
        for n in 0..20 {
            assert_eq!(quiet_writer.append(1, 0, &message(n), 0), Ok(n));
            let start = std::time::Instant::now();
            while quiet_writer.durable() <= n {
                assert!(start.elapsed() < Duration::from_secs(20), "message {n} is starved");
                std::thread::yield_now();
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    for (writer, token) in [(busy_writer, busy_token), (quiet_writer, quiet_token)] {
        writer.close();
        assert!(service.close(token, Duration::from_secs(60)).recv().unwrap().unwrap());
    }
    assert!(grounds.iter().all(|ground| !ground.memory.exists()));
}

#[test]
fn a_poisoned_journal_is_closed_without_harm_to_what_is_in_flight() {
    for seed in 0..20 {
        let disk = SimulatedDisk::new();
        let ground = Ground::on(Arc::new(disk.clone()));
        let engine = disk.clone();
        let start = Service::start(Box::new(move || Box::new(engine.engine(4, seed))), || (), || ());
        let mut service = start.unwrap();
        let Journal { mut writer, write_out, lock, .. } =
            journal::open(&ground.places, ground.options()).unwrap();
        let token = service.add(write_out, lock);
        let mut n = 0;
        while n < 500 && writer.append(1, 0, &message(n), 0).is_ok() {
            n += 1;
        }
        disk.fail_every(1 + seed % 3, Some(Failure::Io));
        writer.append(1, 0, &message(n), 0).ok();
        writer.close();
        let closed = service.close(token, Duration::from_secs(5)).recv().unwrap();
        disk.fail_every(1, None);
        if !matches!(closed, Ok(true)) {
            let live = ground.open();
            assert!(live.journal.writer.next_sequence() >= n, "the memory was kept");
        }
    }
}
