//! The bytes of one simulated file: what is seen, what is durable, and what lies between.

use super::Fired;
use super::seed::Seed;

/// What a disk writes wholly or not at all, but for a tear in the last write. In bytes.
const SECTOR: usize = 512;

/// A file's bytes.
#[derive(Debug)]
pub(super) struct Content {
    seen: Vec<u8>,
    durable: Vec<u8>,
    /// Changes that are not durable, in the order in which they were begun.
    volatile: Vec<Volatile>,
}

#[derive(Debug)]
enum Volatile {
    Write(Write),
    Length(usize),
}

#[derive(Debug)]
struct Write {
    number: u64,
    offset: usize,
    bytes: Vec<u8>,
    progress: Progress,
    /// Sectors of this write that a later, durable one has replaced.
    replaced: Vec<bool>,
}

/// Only what is done is made durable by a sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    InFlight,
    Done,
    Failed,
}

impl Write {
    /// The sectors that may still reach the disk: where they begin in the file, and their bytes.
    fn sectors(&self) -> impl Iterator<Item = (usize, &[u8])> {
        let sectors = self.bytes.chunks(SECTOR).enumerate().zip(&self.replaced);
        sectors
            .filter(|(_, replaced)| !**replaced)
            .map(|((index, bytes), _)| (self.offset + index * SECTOR, bytes))
    }

    /// Gives up the sectors that `other`, begun later, has made durable.
    fn give_way(&mut self, other: &Self) {
        let (from, to) = (other.offset, other.offset + other.bytes.len());
        for (index, replaced) in self.replaced.iter_mut().enumerate() {
            let at = self.offset + index * SECTOR;
            *replaced |= from <= at && at < to;
        }
    }
}

impl Content {
    /// A new file of zeros, its length not durable yet.
    pub(super) fn zeros(length: u64) -> Self {
        let mut content = Self { seen: Vec::new(), durable: Vec::new(), volatile: Vec::new() };
        content.set_length(length);
        content
    }

    pub(super) fn length(&self) -> u64 {
        self.seen.len() as u64
    }

    pub(super) fn read(&self, buffer: &mut [u8], offset: u64) -> usize {
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(self.seen.len());
        let length = buffer.len().min(self.seen.len() - from);
        buffer[..length].copy_from_slice(&self.seen[from..from + length]);
        length
    }

    pub(super) fn set_length(&mut self, length: u64) {
        let length = usize::try_from(length).expect("a file that fits in memory");
        self.seen.resize(length, 0);
        self.volatile.push(Volatile::Length(length));
    }

    pub(super) fn begin(&mut self, number: u64, bytes: &[u8], offset: u64) {
        let offset = usize::try_from(offset).expect("a file that fits in memory");
        put(&mut self.seen, offset, bytes);
        self.volatile.push(Volatile::Write(Write {
            number,
            offset,
            bytes: bytes.to_vec(),
            progress: Progress::InFlight,
            replaced: vec![false; bytes.len().div_ceil(SECTOR)],
        }));
    }

    pub(super) fn finish(&mut self, number: u64) {
        self.write(number).progress = Progress::Done;
    }

    pub(super) fn fail(&mut self, number: u64) {
        self.write(number).progress = Progress::Failed;
    }

    pub(super) fn finish_durable(&mut self, number: u64) {
        let place = self.volatile.iter().position(|change| is_write(change, number));
        self.make_durable(place.expect("a write in flight"));
    }

    /// Makes durable what is done; what is in flight or has failed stays as it is.
    pub(super) fn sync(&mut self) {
        let mut place = 0;
        while let Some(change) = self.volatile.get(place) {
            match change {
                Volatile::Write(write) if write.progress != Progress::Done => place += 1,
                _ => self.make_durable(place),
            }
        }
    }

    /// What a failed sync leaves: nothing that it was asked for will be made durable by a later one.
    pub(super) fn fail_all(&mut self) {
        for change in &mut self.volatile {
            if let Volatile::Write(write) = change {
                write.progress = Progress::Failed;
            }
        }
    }

    pub(super) fn tamper(&mut self, offset: u64, change: impl Fn(&mut u8)) {
        let offset = usize::try_from(offset).expect("a file that fits in memory");
        change(&mut self.seen[offset]);
        if let Some(byte) = self.durable.get_mut(offset) {
            change(byte);
        }
    }

    /// The number of the last volatile write.
    pub(super) fn last_write(&self) -> Option<u64> {
        self.volatile.iter().rev().find_map(|change| match change {
            Volatile::Write(write) => Some(write.number),
            Volatile::Length(_) => None,
        })
    }

    /// The file as it may be found after a cut. Lengths survive in their order, as file systems that keep
    /// a log have them, sectors as it comes; a sector of the write `last` may be torn.
    pub(super) fn after_cut(&self, seed: &mut Seed, last: Option<u64>, fired: &mut Fired) -> Self {
        let mut found = self.durable.clone();
        let lengths = self.volatile.iter().filter(|change| matches!(change, Volatile::Length(_))).count();
        let mut lengths_kept = seed.below(lengths + 1);
        for change in &self.volatile {
            match change {
                Volatile::Length(length) if lengths_kept > 0 => {
                    lengths_kept -= 1;
                    found.resize(*length, 0);
                }
                Volatile::Length(_) => {}
                Volatile::Write(write) => {
                    let tear = last == Some(write.number) && seed.coin();
                    keep_some(&mut found, write, tear, seed, fired);
                }
            }
        }
        Self { seen: found.clone(), durable: found, volatile: Vec::new() }
    }

    fn write(&mut self, number: u64) -> &mut Write {
        let write = self.volatile.iter_mut().find_map(|change| match change {
            Volatile::Write(write) if write.number == number => Some(write),
            _ => None,
        });
        write.expect("a write in flight")
    }

    fn make_durable(&mut self, place: usize) {
        match self.volatile.remove(place) {
            Volatile::Length(length) => self.durable.resize(length, 0),
            Volatile::Write(write) => {
                for (at, bytes) in write.sectors() {
                    put(&mut self.durable, at, bytes);
                }
                for earlier in &mut self.volatile[..place] {
                    if let Volatile::Write(earlier) = earlier {
                        earlier.give_way(&write);
                    }
                }
            }
        }
    }
}

fn is_write(change: &Volatile, number: u64) -> bool {
    matches!(change, Volatile::Write(write) if write.number == number)
}

/// Puts bytes into a file, which grows by zeros where need be.
fn put(file: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if file.len() < offset + bytes.len() {
        file.resize(offset + bytes.len(), 0);
    }
    file[offset..offset + bytes.len()].copy_from_slice(bytes);
}

/// Lets some sectors of a write reach the file: all, none, the first ones, or any.
fn keep_some(file: &mut Vec<u8>, write: &Write, tear: bool, seed: &mut Seed, fired: &mut Fired) {
    let sectors: Vec<_> = write.sectors().collect();
    if sectors.is_empty() {
        return;
    }
    let kind = seed.below(4);
    let first = seed.below(sectors.len() + 1);
    let mut kept = 0;
    for (index, (at, bytes)) in sectors.iter().enumerate() {
        let keep = match kind {
            0 => true,
            1 => false,
            2 => index < first,
            _ => seed.coin(),
        };
        if keep {
            put(file, *at, bytes);
            kept += 1;
        }
    }
    fired.kept_sectors += kept;
    fired.dropped_sectors += sectors.len() as u64 - kept;
    fired.torn_writes += u64::from(kept > 0 && kept < sectors.len() as u64);
    if tear && kept < sectors.len() as u64 {
        let (at, bytes) = sectors[seed.below(sectors.len())];
        let cut = 1 + seed.below(bytes.len() - 1);
        put(file, at, &bytes[..cut]);
        fired.torn_sectors += 1;
    }
}
