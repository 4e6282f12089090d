//! Given real processes that are killed at any moment, expect that what they said to be published is there, and what they
//! said to be durable is there also without shared memory.
#![allow(missing_docs)]

mod common;

use std::{
    collections::VecDeque,
    fs,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::Duration,
};

use common::{Ground, SEGMENT, long_message as message, read_rest, segment_name};
use journal::{
    Gate, Journal, OpenError, Options, Places, PublishError, ReadError, Reader, Retention, Service, Start,
    storage::{DiskStorage, Engine, PwriteEngine, UringEngine},
};

const ROLE: &str = "JOURNAL_TEST_ROLE";
/// Kills of a writer.
const KILLS: u64 = 64;
/// Segments that retention leaves.
const KEPT: u64 = 24;

/// The other processes: each does what its role says.
#[test]
fn process() {
    let Ok(role) = std::env::var(ROLE) else { return };
    match &*role.split(' ').collect::<Vec<_>>() {
        ["write", disk, memory, engine] => write(&places(disk, memory), disk, engine),
        ["read", disk, memory] => read(places(disk, memory)),
        other => panic!("{other:?}"),
    }
}

fn places(disk: &str, memory: &str) -> Places {
    Places { storage: Arc::new(DiskStorage::new(disk)), memory_dir: memory.into() }
}

fn options(disk: &str) -> Options {
    Options {
        segment_size: SEGMENT,
        memory_budget: 6 * SEGMENT,
        retention: Some(Retention { bytes: KEPT * SEGMENT as u64, cuts: journal::Cuts::Oldest }),
        inputs: Vec::new(),
        proven: Vec::new(),
        cut_from: None,
        lock: PathBuf::from(disk).join(journal::LOCK),
        now: 0,
        purpose: journal::lock::Purpose::Publish,
        patience: Duration::ZERO,
    }
}

fn engine(name: &str) -> Box<dyn Engine> {
    if name == "uring"
        && let Ok(ring) = UringEngine::new(4)
    {
        return Box::new(ring);
    }
    Box::new(PwriteEngine::new())
}

fn say(word: &str, number: u64) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{word} {number}").unwrap();
    out.flush().unwrap();
}

/// Publishes until it is killed, says what is published and what is durable.
fn write(places: &Places, disk: &str, name: &str) {
    let name = name.to_owned();
    let mut service = Service::start(Box::new(move || engine(&name)), || (), || ()).unwrap();
    say("start", 0);
    let Journal { mut writer, write_out, lock, .. } = journal::open(places, options(disk)).unwrap();
    service.add(write_out, lock);
    say("open", writer.next_sequence());
    loop {
        for _ in 0..16 {
            let n = writer.next_sequence();
            match writer.append(1, 0, &message(n), || n) {
                Ok(sequence) => assert_eq!(sequence, n),
                Err(PublishError::Full) => std::thread::yield_now(),
                Err(error) => panic!("{error}"),
            }
        }
        say("durable", writer.durable());
        say("published", writer.next_sequence());
    }
}

/// Reads from the oldest message on, slowly, and says how far it is.
fn read(places: Places) {
    let mut reader = Reader::open(places, Start::Oldest, Gate::Published).unwrap();
    loop {
        if let Some(frame) = reader.poll().unwrap() {
            assert_eq!(frame.body, message(frame.sequence));
            let n = frame.sequence;
            if n.is_multiple_of(100) {
                say("read", n);
            }
        }
    }
}

/// Another process, and what it says.
struct Process {
    child: Child,
    told: Arc<Mutex<VecDeque<(String, u64)>>>,
    listener: Option<JoinHandle<()>>,
}

impl Process {
    fn start(role: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "process", "--nocapture"])
            .env(ROLE, role)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let told = Arc::new(Mutex::new(VecDeque::new()));
        let (output, heard) = (BufReader::new(child.stdout.take().unwrap()), Arc::clone(&told));
        let listener = std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                // The harness says where it is on the first line.
                let line = line.rsplit("... ").next().unwrap_or_default();
                if let Some((word, number)) = line.split_once(' ')
                    && let Ok(number) = number.parse()
                {
                    heard.lock().unwrap().push_back((word.into(), number));
                }
            }
        });
        Self { child, told, listener: Some(listener) }
    }

    /// The last number said with a word.
    fn last(&self, word: &str) -> Option<u64> {
        let told = self.told.lock().unwrap();
        told.iter().rev().find(|(said, _)| said == word).map(|(_, number)| *number)
    }

    /// Waits until a word is said with at least this number.
    fn until(&self, word: &str, number: u64) {
        for _ in 0..30_000 {
            if self.last(word).is_some_and(|last| last >= number) {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("it never said {word} {number}");
    }

    /// Waits until it is stopped.
    fn until_stopped(&self) {
        let path = format!("/proc/{}/stat", self.child.id());
        while !fs::read_to_string(&path).unwrap().contains(") T ") {
            std::thread::yield_now();
        }
    }

    fn signal(&self, signal: libc::c_int) {
        let id = libc::pid_t::try_from(self.child.id()).unwrap();
        // SAFETY: a signal to our own child, which was not waited for yet.
        assert_eq!(unsafe { libc::kill(id, signal) }, 0);
    }

    /// Kills it, and waits until all that it said is heard.
    fn kill(&mut self) {
        self.signal(libc::SIGKILL);
        self.child.wait().unwrap();
        self.listener.take().unwrap().join().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.listener.is_some() {
            self.kill();
        }
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Reads from `from` on and checks every message; answers where the journal ends.
fn check(ground: &Ground, from: u64) -> u64 {
    let mut reader = match Reader::open(ground.places.clone(), Start::Sequence(from), Gate::Published) {
        Ok(reader) => reader,
        Err(OpenError::Missing { .. }) => return 0,
        Err(error) => panic!("{error}"),
    };
    let (messages, faults) = read_rest(&mut reader);
    let mut expected = from;
    match faults[..] {
        [] => {}
        [ReadError::Retired { first }] => expected = first,
        _ => panic!("{faults:?}"),
    }
    for (sequence, body) in messages {
        assert_eq!((sequence, body), (expected, message(expected)));
        expected += 1;
    }
    expected
}

#[test]
fn a_writer_may_be_killed_at_any_moment() {
    let ground = Ground::new();
    let (mut random, mut end, mut durable) = (Random(0x9e37_79b9_7f4a_7c15), 0, 0);
    let (mut recovering, mut without_memory, mut publishing) = (0, 0, 0);
    for kill in 0..KILLS {
        let engine = if kill % 2 == 0 { "uring" } else { "pwritev2" };
        let role = format!("write {} {} {engine}", ground.disk.display(), ground.memory.display());
        let mut writer = Process::start(&role);
        writer.until("start", 0);
        // A third within the opening, which recovers.
        if kill % 3 == 0 {
            std::thread::sleep(Duration::from_micros(random.below(8_000)));
        } else {
            writer.until("published", 0);
            std::thread::sleep(Duration::from_micros(random.below(80_000)));
        }
        writer.kill();
        recovering += u64::from(writer.last("open").is_none());
        publishing += u64::from(writer.last("published").is_some());
        if let Some(opened) = writer.last("open") {
            assert_eq!(opened, end, "recovery keeps what a reader saw before it, kill {kill}");
            // What recovery kept is durable.
            durable = opened;
        }
        durable = writer.last("durable").unwrap_or(0).max(durable);
        let published = writer.last("published").unwrap_or(0).max(end);
        let lost = kill % 5 == 4;
        if lost {
            without_memory += 1;
            // A lock outlives its process as long as writes are in flight; no power loss leaves one.
            while journal::lock::is_held(&ground.disk.join(journal::LOCK)).unwrap() {
                std::thread::yield_now();
            }
            ground.lose_memory();
        }
        let promised = if lost { durable } else { published };
        let found = check(&ground, durable.min(end));
        assert!(found >= promised, "kill {kill}: {found} of {promised}");
        end = found;
    }
    assert!(
        recovering > 3 && without_memory > 10 && publishing > 30,
        "{recovering} {without_memory} {publishing}"
    );
    assert!(end > 20_000, "segments were rolled: {end}");
}

#[test]
fn a_live_writer_is_the_only_one_and_a_stopped_reader_does_not_matter() {
    let ground = Ground::new();
    let (disk, memory) = (ground.disk.display(), ground.memory.display());
    let mut writer = Process::start(&format!("write {disk} {memory} pwritev2"));
    writer.until("published", 100);
    match ground.try_open() {
        Err(OpenError::Held { holder, .. }) => {
            assert!(holder.contains(&writer.child.id().to_string()), "{holder}")
        }
        other => panic!("{other:?}"),
    }
    let mut reader = Process::start(&format!("read {disk} {memory}"));
    reader.until("read", 100);
    reader.signal(libc::SIGSTOP);
    reader.until_stopped();
    let before = writer.last("published").unwrap();
    // What it said before is heard meanwhile.
    writer.until("published", before + 2_000);
    let stopped_at = reader.last("read").unwrap();
    // More than ten segments go by under the mapping of a reader that does not move.
    writer.until("published", before + 12_000);
    let segments = fs::read_dir(&ground.memory).unwrap().flatten().filter(|file| {
        let name = file.file_name();
        name.to_str().is_some_and(|name| name.ends_with(".segment"))
    });
    assert!(segments.count() <= 7, "the writer's memory stays within its budget");
    assert_eq!(reader.last("read"), Some(stopped_at));
    reader.signal(libc::SIGCONT);
    reader.until("read", stopped_at + 5_000);
    writer.kill();
    let end = check(&ground, 0);
    reader.until("read", (end - 1) / 100 * 100);
    reader.kill();
    let newest = ground.places.storage.names().unwrap().into_iter().rfind(|name| name.ends_with(".segment"));
    assert!(newest.unwrap() > segment_name(10));
}
