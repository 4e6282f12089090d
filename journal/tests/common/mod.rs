//! A journal in temporary directories, whose write-out the test drives itself.
#![allow(dead_code, missing_docs, unreachable_pub)]

pub mod given;
pub mod hooked;
pub mod watched;

use std::{path::PathBuf, sync::Arc, time::Duration};

use journal::{
    Gate, Journal, OpenError, Options, Places, PublishError, ReadError, Reader, Start, Writer,
    storage::{Access, AlignedBuffer, DiskStorage, Engine, PwriteEngine, Storage},
};

pub const SEGMENT: usize = 1 << 20;

/// Directories of one journal.
pub struct Ground {
    _roots: [tempfile::TempDir; 2],
    pub disk: PathBuf,
    pub memory: PathBuf,
    pub places: Places,
}

impl Ground {
    pub fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        // Where there is shared memory the test is faster.
        let shared = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let (disk, memory) = (root.path().join("disk"), shared.path().join("memory"));
        let places = Places { storage: Arc::new(DiskStorage::new(&disk)), memory_dir: memory.clone() };
        Self { _roots: [root, shared], disk, memory, places }
    }

    /// On a storage of the test's own; the lock file lies in a real directory.
    pub fn on(storage: Arc<dyn Storage>) -> Self {
        let mut ground = Self::new();
        std::fs::create_dir_all(&ground.disk).unwrap();
        ground.places.storage = storage;
        ground
    }

    pub fn options(&self) -> Options {
        Options {
            segment_size: SEGMENT,
            memory_budget: 8 * SEGMENT,
            retention: None,
            inputs: Vec::new(),
            proven: Vec::new(),
            cut_from: None,
            lock: self.disk.join(journal::LOCK),
            now: 1_000,
            purpose: journal::lock::Purpose::Publish,
            patience: Duration::ZERO,
        }
    }

    pub fn try_open(&self) -> Result<Live, OpenError> {
        self.open_with(self.options(), Box::new(PwriteEngine::new()))
    }

    pub fn open_with(&self, options: Options, engine: Box<dyn Engine>) -> Result<Live, OpenError> {
        journal::open(&self.places, options).map(|journal| Live { engine, journal, now: 0 })
    }

    pub fn open(&self) -> Live {
        self.try_open().unwrap()
    }

    pub fn reader(&self, start: Start, gate: Gate) -> Reader {
        Reader::open(self.places.clone(), start, gate).unwrap()
    }

    /// All messages that a new reader sees: sequence and body, with the faults that it met.
    pub fn read_all(&self, gate: Gate) -> (Vec<(u64, Vec<u8>)>, Vec<ReadError>) {
        read_rest(&mut self.reader(Start::Oldest, gate))
    }

    /// As after a power loss: what lived in shared memory is gone.
    pub fn lose_memory(&self) {
        let _ = std::fs::remove_dir_all(&self.memory);
    }
}

/// A closed journal of so many messages in several segments: the first sequence of each.
pub fn closed(ground: &Ground, count: u64) -> Vec<u64> {
    let mut live = ground.open();
    for n in 0..count {
        live.publish(&message(n));
    }
    live.close();
    let mut reader = ground.reader(Start::Oldest, Gate::Durable);
    let mut firsts = Vec::new();
    while let Some(frame) = reader.poll().unwrap() {
        if frame.position / SEGMENT as u64 >= firsts.len() as u64 {
            firsts.push(frame.sequence);
        }
    }
    assert!(firsts.len() > 3, "{firsts:?}");
    firsts
}

/// Reads until nothing comes any more.
pub fn read_rest(reader: &mut Reader) -> (Vec<(u64, Vec<u8>)>, Vec<ReadError>) {
    let (mut messages, mut faults, mut empty) = (Vec::new(), Vec::new(), 0);
    while empty < 3 {
        match reader.poll() {
            Ok(Some(frame)) => messages.push((frame.sequence, frame.body.to_vec())),
            Ok(None) => {
                reader.look();
                empty += 1;
            }
            Err(fault) => faults.push(fault),
        }
        assert!(faults.len() < 1000, "endless faults");
    }
    (messages, faults)
}

/// An open journal whose two halves take turns.
#[derive(Debug)]
pub struct Live {
    /// Dropped first: what is in flight needs the journal's memory.
    pub engine: Box<dyn Engine>,
    pub journal: Journal,
    pub now: u64,
}

impl Live {
    pub fn writer(&mut self) -> &mut Writer {
        &mut self.journal.writer
    }

    /// Publishes, giving the write-out its turn where there is no room for the moment.
    pub fn publish(&mut self, body: &[u8]) -> u64 {
        loop {
            match self.journal.writer.append(1, 0, body, || self.now) {
                Ok(sequence) => return sequence,
                Err(PublishError::Full) => {
                    assert!(self.work() > 0, "full, and the write-out has nothing to do")
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// One turn of the write-out.
    pub fn work(&mut self) -> usize {
        self.now += 1_000_000;
        let mut done = 0;
        while let Some(completion) = self.engine.complete(Some(Duration::from_millis(1))) {
            self.journal.write_out.complete(completion, self.now);
            done += 1;
        }
        done + self.journal.write_out.work(self.engine.as_mut(), 0, self.now)
    }

    /// Turns until nothing is left to do.
    pub fn settle(&mut self) {
        let mut quiet = 0;
        while quiet < 10 {
            quiet = if self.work() == 0 { quiet + 1 } else { 0 };
        }
    }

    /// Ends the journal as a writer in good order does.
    pub fn close(mut self) {
        let Journal { writer, mut write_out, .. } = self.journal;
        writer.close();
        while !write_out.is_drained() {
            self.now += 1_000_000;
            while let Some(completion) = self.engine.complete(Some(Duration::from_millis(1))) {
                write_out.complete(completion, self.now);
            }
            write_out.work(self.engine.as_mut(), 0, self.now);
        }
        write_out.close().unwrap();
    }

    /// Ends as a killed process: nothing is flushed, sealed or removed.
    pub fn die(self) {}
}

/// Message n of a test: its number, and a length that varies.
pub fn message(n: u64) -> Vec<u8> {
    let mut body = n.to_le_bytes().to_vec();
    body.resize(8 + (n * 37 % 120) as usize, n as u8);
    body
}

/// Message n of a test that fills segments: of a length and of bytes that follow from its number.
pub fn long_message(n: u64) -> Vec<u8> {
    let mut body = vec![n as u8; 8 + (n * 131 % 1_900) as usize];
    body[..8].copy_from_slice(&n.to_le_bytes());
    body
}

pub fn assert_messages(messages: &[(u64, Vec<u8>)], count: u64) {
    for (n, (sequence, body)) in messages.iter().enumerate() {
        assert_eq!((*sequence, body), (n as u64, &message(n as u64)), "message {n}");
    }
    assert_eq!(messages.len() as u64, count);
}

/// Bytes of a file on a simulated or real disk.
pub fn read_file(storage: &dyn Storage, name: &str) -> Vec<u8> {
    let file = storage.open(name, Access::Read).unwrap();
    let mut bytes = vec![0; file.length().unwrap() as usize];
    assert_eq!(file.read_at(&mut bytes, 0).unwrap(), bytes.len());
    bytes
}

/// Makes a file hold exactly these bytes, whatever was there.
pub fn write_file(storage: &dyn Storage, name: &str, bytes: &[u8]) {
    let _ = storage.remove(name);
    let mut buffer = AlignedBuffer::zeroed(bytes.len());
    buffer[..bytes.len()].copy_from_slice(bytes);
    let file = storage.create(name, buffer.len() as u64).unwrap();
    file.write_at(&buffer, 0).unwrap();
    file.truncate(bytes.len() as u64).unwrap();
    file.sync().unwrap();
    storage.sync().unwrap();
}

pub fn segment_name(number: u64) -> String {
    format!("{number:016x}.segment")
}
