//! The numbers of our own messages, reserved in durable blocks so that none is used twice, whatever crashes.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{self, ErrorKind},
    os::unix::fs::FileExt,
    path::Path,
};

use bus::event::{Event, Text, Time};

use super::value;

/// What is known durably of our numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reserved {
    /// First number that was never reserved: a new life begins here, and the numbers it jumps over are answered with a
    /// gap fill.
    pub next: u64,
    /// When both sides last began again at 1 (ResetSeqNumFlag); 0 for never. Executions received before then carry
    /// numbers of an earlier count.
    pub restarted: Time,
}

impl Default for Reserved {
    fn default() -> Self {
        Self { next: 1, restarted: Time(0) }
    }
}

/// The reservation could not be made durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReserveError(pub String);

impl fmt::Display for ReserveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "outbound numbers not reserved: {}", self.0)
    }
}

impl std::error::Error for ReserveError {}

/// Where reservations are kept.
pub trait Numbers {
    /// The latest reservation.
    fn reserved(&self) -> Reserved;

    /// Keeps `reserved` from now on, even where its next number is lower than before. Returns once it is durable.
    ///
    /// # Errors
    /// It is not durable; the session ends rather than use the numbers.
    fn reserve(&mut self, reserved: Reserved) -> Result<(), ReserveError>;
}

/// Numbers that are forgotten with the process, for peers that are not there to stay.
impl Numbers for Reserved {
    fn reserved(&self) -> Reserved {
        *self
    }

    fn reserve(&mut self, reserved: Reserved) -> Result<(), ReserveError> {
        *self = reserved;
        Ok(())
    }
}

/// The names of a session. One that is longer than 32 bytes is shortened and ends with its hash.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Names {
    /// What we are called: our SenderCompID.
    pub ours: Text<32>,
    /// What the venue is called.
    pub venue: Text<32>,
}

impl Names {
    /// The session in which we are `ours` and the venue is `venue`.
    pub fn new(ours: &[u8], venue: &[u8]) -> Self {
        Self { ours: value::identifier(ours), venue: value::identifier(venue) }
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with {}", self.ours, self.venue)
    }
}

/// The event of the topic `session`: the latest one is the reservation in force. Its names say whose executions the
/// topic `trades` holds, since an ExecID means something only within its session.
#[derive(Event, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[event(kind = 1, name = "numbers_reserved")]
#[repr(C)]
pub struct NumbersReserved {
    /// See [`Reserved::next`].
    pub next: u64,
    /// See [`Reserved::restarted`].
    pub restarted: Time,
    /// See [`Names::ours`].
    pub ours: Text<32>,
    /// See [`Names::venue`].
    pub venue: Text<32>,
}

/// Numbers kept in a file of their own, for who has no bus: a venue.
#[derive(Debug)]
pub struct NumberFile {
    file: File,
    reserved: Reserved,
}

impl NumberFile {
    /// A line of fixed length within one sector: whoever is killed leaves the old one or the new one.
    const SIZE: usize = 64;

    /// Opens the file at `path`, which is created if it does not exist.
    ///
    /// # Errors
    /// The system refuses the file, or it holds something else (`InvalidData`).
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut line = [0; Self::SIZE];
        let reserved = if file.metadata()?.len() == 0 {
            Reserved::default()
        } else {
            file.read_exact_at(&mut line, 0)?;
            parse(&line)
                .ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "not a record of FIX numbers"))?
        };
        Ok(Self { file, reserved })
    }
}

fn parse(line: &[u8]) -> Option<Reserved> {
    let (next, restarted) = std::str::from_utf8(line).ok()?.trim_end().split_once(' ')?;
    Some(Reserved { next: next.parse().ok()?, restarted: Time(restarted.parse().ok()?) })
}

impl Numbers for NumberFile {
    fn reserved(&self) -> Reserved {
        self.reserved
    }

    fn reserve(&mut self, reserved: Reserved) -> Result<(), ReserveError> {
        let line = format!(
            "{:<width$}\n",
            format!("{} {}", reserved.next, reserved.restarted.0),
            width = Self::SIZE - 1
        );
        let written = self.file.write_all_at(line.as_bytes(), 0).and_then(|()| self.file.sync_data());
        written.map_err(|error| ReserveError(error.to_string()))?;
        self.reserved = reserved;
        Ok(())
    }
}

/// Hands out one number after the other from reserved blocks.
#[derive(Debug)]
pub(crate) struct Outbound<N> {
    store: N,
    next: u64,
    reserved: Reserved,
}

impl<N: Numbers> Outbound<N> {
    /// Numbers a block: at one heartbeat in 30 seconds it lasts a trading day.
    pub(crate) const BLOCK: u64 = 1_024;

    pub(crate) fn new(store: N) -> Self {
        let reserved = store.reserved();
        Self { store, next: reserved.next, reserved }
    }

    /// The next number, which is now used.
    pub(crate) fn take(&mut self) -> Result<u64, ReserveError> {
        if self.next >= self.reserved.next {
            self.reserve(Reserved { next: self.next.saturating_add(Self::BLOCK), ..self.reserved })?;
        }
        let number = self.next;
        self.next = number.checked_add(1).ok_or_else(|| ReserveError("there are no more".to_owned()))?;
        Ok(number)
    }

    /// The number that [`take`](Self::take) gives next.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// See [`Reserved::restarted`].
    pub(crate) fn restarted(&self) -> Time {
        self.reserved.restarted
    }

    /// Begins again at 1.
    pub(crate) fn restart(&mut self, now: Time) -> Result<(), ReserveError> {
        self.reserve(Reserved { next: 1 + Self::BLOCK, restarted: now })?;
        self.next = 1;
        Ok(())
    }

    fn reserve(&mut self, reserved: Reserved) -> Result<(), ReserveError> {
        self.store.reserve(reserved)?;
        self.reserved = reserved;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_life_never_repeats_a_number() {
        let mut store = Reserved::default();
        let mut last = 0;
        for life in 0..3 {
            let mut numbers = Outbound::new(store);
            for _ in 0..=life * Outbound::<Reserved>::BLOCK {
                let number = numbers.take().unwrap();
                assert!(number > last);
                last = number;
            }
            store = numbers.store;
        }
    }

    #[test]
    fn a_file_keeps_the_latest_reservation_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("numbers");
        let mut file = NumberFile::open(&path).unwrap();
        assert_eq!(file.reserved(), Reserved::default());
        for reserved in
            [Reserved { next: u64::MAX, restarted: Time(u64::MAX) }, Reserved { next: 7, restarted: Time(0) }]
        {
            file.reserve(reserved).unwrap();
            assert_eq!(NumberFile::open(&path).unwrap().reserved(), reserved);
        }
        for damaged in [vec![b'x'], vec![0xFF; 64], b"1 2 3".repeat(20)] {
            std::fs::write(&path, damaged).unwrap();
            assert!(NumberFile::open(&path).is_err());
        }
    }

    #[test]
    fn a_restart_is_remembered() {
        let mut numbers = Outbound::new(Reserved { next: 5_000, restarted: Time(0) });
        numbers.restart(Time(9)).unwrap();
        assert_eq!(numbers.take(), Ok(1));
        assert_eq!(numbers.store, Reserved { next: 1_025, restarted: Time(9) });
    }
}
