//! How far the exchange has come, kept in its directory: a restart continues the session, as a venue would.
//!
//! The record is one line of fewer than 512 bytes at the start of a file, written by one call before anything that it
//! says is sent: whoever is killed at any moment leaves the old line or the new one. It is synced when a session begins
//! or ends; after a power loss the exchange may send the same messages once more.

use std::fmt::{self, Display, Formatter};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Name of the file in the directory.
const FILE: &str = "simulate-state";
/// Bytes of the padded record.
const SIZE: usize = 256;

/// What the exchange remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Progress {
    pub(super) seed: u64,
    /// Number of the session, from 1.
    pub(super) session: u32,
    /// Date on which it began, as the number YYYYMMDD.
    pub(super) date: u32,
    /// Messages sent in it.
    pub(super) sent: u64,
    /// Whether the session is over.
    pub(super) ended: bool,
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
            Content::New => {
                Progress { seed: seed.unwrap_or(1), session: 1, date: today, sent: 0, ended: false }
            }
            Content::Damaged => return Err(ProgressError::Damaged(path)),
            Content::Known(known) => continued(known, seed, today)
                .map_err(|(begun, asked)| ProgressError::OtherSeed { path: path.clone(), begun, asked })?,
        };
        let file = Self { file, path };
        file.write(&progress)?;
        file.sync()?;
        Ok((file, progress))
    }

    /// Replaces the record.
    pub(super) fn write(&self, progress: &Progress) -> Result<(), ProgressError> {
        let record = || {
            let mut record = serde_json::to_vec(progress)?;
            assert!(record.len() < SIZE, "a record of five short fields");
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
    Ok(known
        .filter(|p: &Progress| p.session > 0 && p.sent < u64::MAX / 4)
        .map_or(Content::Damaged, Content::Known))
}

/// What follows a known record, or the two seeds that disagree.
fn continued(known: Progress, seed: Option<u64>, today: u32) -> Result<Progress, (u64, u64)> {
    match seed {
        Some(asked) if asked != known.seed => Err((known.seed, asked)),
        _ if known.ended => Ok(Progress {
            session: known.session.saturating_add(1),
            date: today,
            sent: 0,
            ended: false,
            ..known
        }),
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
        assert_eq!(begun, Progress { seed: 7, session: 1, date: 20_260_105, sent: 0, ended: false });
        let later = Progress { sent: 41, ..begun };
        file.write(&later).unwrap();
        drop(file);
        let (file, resumed) = ProgressFile::open(directory.path(), None, 20_260_106).unwrap();
        assert_eq!(resumed, later);
        file.write(&Progress { ended: true, ..later }).unwrap();
        drop(file);
        let (_, next) = ProgressFile::open(directory.path(), Some(7), 20_260_106).unwrap();
        assert_eq!(next, Progress { seed: 7, session: 2, date: 20_260_106, sent: 0, ended: false });
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
        for content in [&b"x"[..], &[0; 300], br#"{"seed":1,"session":0,"date":1,"sent":0,"ended":false}"#] {
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
