//! How far the exchange has come, kept in its directory: a restart continues the session, as a venue would.
//!
//! The record is one line within the first page of a file, written by one call before anything that it
//! says is sent: whoever is killed at any moment leaves the old line or the new one. It is synced when a session begins
//! or ends; after a power loss the exchange may send the same messages once more.

use std::fmt::{self, Display, Formatter};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::market::FILL_EVERY;

/// Name of the file in the directory.
const FILE: &str = "simulate-state";
/// Bytes of the padded record.
const SIZE: usize = 4_096;
/// Sessions that are remembered beside the present one.
const REMEMBERED: usize = 24;

/// What the exchange remembers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Progress {
    pub(super) seed: u64,
    pub(super) day: Day,
    /// Messages sent in the session.
    pub(super) sent: u64,
    /// Whether the session is over.
    pub(super) ended: bool,
    /// The sessions before it, the oldest forgotten.
    pub(super) earlier: Vec<Day>,
}

/// What makes a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Day {
    /// Number of the session, from 1.
    pub(super) session: u32,
    /// Date on which it began, as the number YYYYMMDD.
    pub(super) date: u32,
    /// Number of its first fill, counted over all sessions.
    pub(super) first_fill: u64,
}

impl Progress {
    fn first(seed: u64, today: u32) -> Self {
        let day = Day { session: 1, date: today, first_fill: 1 };
        Self { seed, day, sent: 0, ended: false, earlier: Vec::new() }
    }

    /// Fills that have happened, over all sessions.
    pub(super) fn fills(&self) -> u64 {
        self.day.first_fill - 1 + self.sent / FILL_EVERY
    }

    /// The session that follows this one.
    fn next(mut self, today: u32) -> Self {
        self.earlier.push(self.day);
        self.earlier.drain(..self.earlier.len().saturating_sub(REMEMBERED));
        let session = self.day.session.saturating_add(1);
        Self {
            day: Day { session, date: today, first_fill: self.fills() + 1 },
            sent: 0,
            ended: false,
            ..self
        }
    }

    /// Whether an exchange can have written it.
    fn is_sound(&self) -> bool {
        const MOST: u64 = 1 << 60;
        let days: Vec<&Day> = self.earlier.iter().chain([&self.day]).collect();
        let rises =
            days.windows(2).all(|d| d[0].session < d[1].session && d[0].first_fill <= d[1].first_fill);
        rises
            && days[0].session > 0
            && days[0].first_fill > 0
            && self.day.first_fill < MOST
            && self.sent < MOST
    }
}

/// Why the progress in a directory cannot be used.
#[derive(Debug)]
pub enum ProgressError {
    /// The system refused the file.
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Another exchange holds the file.
    Held(PathBuf),
    /// The content is not a record of progress.
    Damaged(PathBuf),
    /// The directory belongs to a market of another seed.
    OtherSeed {
        /// The file.
        path: PathBuf,
        /// The seed it was begun with.
        begun: u64,
        /// The seed asked for.
        asked: u64,
    },
}

impl Display for ProgressError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, error } => {
                write!(
                    f,
                    "cannot keep the progress: {}: {error}; give another --bus directory",
                    path.display()
                )
            }
            Self::Held(path) => {
                write!(
                    f,
                    "another exchange runs: it holds {}; stop it, or give another --bus directory",
                    path.display()
                )
            }
            Self::Damaged(path) => {
                write!(
                    f,
                    "no record of a simulated session: {}; remove the file to begin anew",
                    path.display()
                )
            }
            Self::OtherSeed { path, begun, asked } => write!(
                f,
                "another market: {} was begun with seed {begun}, not {asked}; leave --seed out, or give another --bus \
                 directory",
                path.display()
            ),
        }
    }
}

impl std::error::Error for ProgressError {}

/// The locked file of a directory's progress.
#[derive(Debug)]
pub(super) struct ProgressFile {
    file: File,
    path: PathBuf,
}

impl ProgressFile {
    /// Opens and locks the file of `directory`, which is created if it does not exist, and settles what to do: go on
    /// with an open session, else begin the next one.
    pub(super) fn open(
        directory: &Path,
        seed: Option<u64>,
        today: u32,
    ) -> Result<(Self, Progress), ProgressError> {
        let path = directory.join(FILE);
        let failed = |error| ProgressError::File { path: path.clone(), error };
        fs::create_dir_all(directory).map_err(failed)?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(ProgressError::Held(path)),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let progress = match read(&file).map_err(failed)? {
            Content::New => Progress::first(seed.unwrap_or(1), today),
            Content::Damaged => return Err(ProgressError::Damaged(path)),
            Content::Known(known) => continued(known, seed, today)
                .map_err(|(begun, asked)| ProgressError::OtherSeed { path: path.clone(), begun, asked })?,
        };
        let file = Self { file, path };
        file.write(&progress)?;
        file.sync()?;
        Ok((file, progress))
    }

    /// Whether an exchange has ever kept its progress in `directory`.
    pub(super) fn is_there(directory: &Path) -> bool {
        directory.join(FILE).exists()
    }

    /// Replaces the record.
    pub(super) fn write(&self, progress: &Progress) -> Result<(), ProgressError> {
        let record = || {
            let mut record = serde_json::to_vec(progress)?;
            assert!(record.len() < SIZE, "two dozen sessions fit a page");
            record.resize(SIZE - 1, b' ');
            record.push(b'\n');
            self.file.write_all_at(&record, 0)
        };
        record().map_err(|error| self.failed(error))
    }

    /// Makes the record durable.
    pub(super) fn sync(&self) -> Result<(), ProgressError> {
        self.file.sync_all().map_err(|error| self.failed(error))
    }

    fn failed(&self, error: io::Error) -> ProgressError {
        ProgressError::File { path: self.path.clone(), error }
    }
}

enum Content {
    New,
    Known(Progress),
    Damaged,
}

fn read(file: &File) -> io::Result<Content> {
    let mut bytes = [0; SIZE];
    if file.metadata()?.len() == 0 {
        return Ok(Content::New);
    }
    let known = match file.read_exact_at(&mut bytes, 0) {
        Ok(()) => serde_json::from_slice(&bytes).ok(),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => None,
        Err(error) => return Err(error),
    };
    Ok(known.filter(Progress::is_sound).map_or(Content::Damaged, Content::Known))
}

/// What follows a known record, or the two seeds that disagree.
fn continued(known: Progress, seed: Option<u64>, today: u32) -> Result<Progress, (u64, u64)> {
    match seed {
        Some(asked) if asked != known.seed => Err((known.seed, asked)),
        _ if known.ended => Ok(known.next(today)),
        _ => Ok(known),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_goes_on_until_it_ended() {
        let directory = tempfile::tempdir().unwrap();
        let (file, begun) = ProgressFile::open(directory.path(), Some(7), 20_260_105).unwrap();
        assert_eq!(begun, Progress::first(7, 20_260_105));
        let later = Progress { sent: 4 * FILL_EVERY + 1, ..begun };
        file.write(&later).unwrap();
        drop(file);
        let (file, resumed) = ProgressFile::open(directory.path(), None, 20_260_106).unwrap();
        assert_eq!(resumed, later);
        file.write(&Progress { ended: true, ..later.clone() }).unwrap();
        drop(file);
        let (_, next) = ProgressFile::open(directory.path(), Some(7), 20_260_106).unwrap();
        let day = Day { session: 2, date: 20_260_106, first_fill: 5 };
        assert_eq!(next, Progress { seed: 7, day, sent: 0, ended: false, earlier: vec![later.day] });
    }

    #[test]
    fn the_oldest_sessions_are_forgotten_and_the_record_stays_small() {
        let directory = tempfile::tempdir().unwrap();
        let most = Progress {
            seed: u64::MAX,
            day: Day { session: u32::MAX - 100, date: 99_991_231, first_fill: (1 << 60) - 1_000 },
            sent: 0,
            ended: true,
            earlier: Vec::new(),
        };
        let (file, _) = ProgressFile::open(directory.path(), Some(u64::MAX), 20_260_105).unwrap();
        file.write(&most).unwrap();
        drop(file);
        for session in 1..=40 {
            let (file, progress) = ProgressFile::open(directory.path(), None, 99_991_231).unwrap();
            assert_eq!(progress.day.session, most.day.session + session);
            assert_eq!(progress.earlier.len(), (session as usize).min(REMEMBERED));
            file.write(&Progress { sent: FILL_EVERY, ended: true, ..progress }).unwrap();
        }
    }

    #[test]
    fn another_seed_and_another_exchange_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let (file, _) = ProgressFile::open(directory.path(), Some(7), 20_260_105).unwrap();
        let refused = |seed| ProgressFile::open(directory.path(), seed, 20_260_105).unwrap_err().to_string();
        assert!(refused(Some(7)).contains("another exchange runs"));
        drop(file);
        assert!(refused(Some(8)).contains("seed 7, not 8"));
    }

    #[test]
    fn a_senseless_file_is_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        const NO_SESSION: &[u8] =
            br#"{"seed":1,"day":{"session":0,"date":1,"first_fill":1},"sent":0,"ended":false,"earlier":[]}"#;
        for content in [&b"x"[..], &[0; 300], NO_SESSION] {
            let mut padded = content.to_vec();
            padded.resize(SIZE.max(content.len()), b' ');
            for bytes in [content, &padded] {
                fs::write(&path, bytes).unwrap();
                let error = ProgressFile::open(directory.path(), None, 20_260_105).unwrap_err();
                assert!(matches!(error, ProgressError::Damaged(_)), "{error}");
            }
        }
    }
}
