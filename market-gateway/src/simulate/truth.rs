//! The day file of what the exchange really sends.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Seek};
use std::path::{Path, PathBuf};

use super::market::Market;
use super::venue::ExchangeError;
use crate::itch::day_file::Writer;

/// The file as it was found. Nothing in it has changed.
pub(super) struct Found {
    file: File,
    path: PathBuf,
    /// It was not there before.
    is_new: bool,
}

impl Found {
    /// Opens the file at `path`, which is created if it does not exist.
    pub(super) fn open(path: &Path) -> Result<Self, ExchangeError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        let found = match options.clone().create_new(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                options.open(path).map(|file| (file, false))
            }
            made => made.map(|file| (file, true)),
        };
        let path = path.to_owned();
        match found {
            Ok((file, is_new)) => Ok(Self { file, path, is_new }),
            Err(error) => Err(ExchangeError::Truth { path, error }),
        }
    }

    /// Leaves nothing behind where nothing was: the exchange is refused for another reason.
    pub(super) fn give_back(&self) {
        if self.is_new {
            let _ = fs::remove_file(&self.path);
        }
    }

    /// Refuses a file that holds anything, for an exchange that has sent nothing yet.
    pub(super) fn must_be_empty(&self) -> Result<(), ExchangeError> {
        match self.is_empty() {
            Ok(true) => Ok(()),
            Ok(false) => Err(ExchangeError::ForeignTruth(self.path.clone())),
            Err(error) => Err(ExchangeError::Truth { path: self.path.clone(), error }),
        }
    }

    /// The truth of a session that has sent the first `sent` messages of a market, which `market` gives from its
    /// beginning. A file that holds something else is refused.
    pub(super) fn begin(self, market: impl Fn() -> Market, sent: u64) -> Result<Truth, ExchangeError> {
        let failed = |error| ExchangeError::Truth { path: self.path.clone(), error };
        if !self.is_empty().map_err(failed)? {
            if !is_beginning(&self.file, market(), sent).map_err(failed)? {
                return Err(ExchangeError::ForeignTruth(self.path));
            }
            self.file.set_len(0).and_then(|()| (&self.file).rewind()).map_err(failed)?;
        }
        let day = Writer::new(BufWriter::with_capacity(1 << 20, self.file));
        let mut truth = Truth { day: Some(day), path: self.path };
        let mut market = market();
        (0..sent).try_for_each(|_| truth.write(market.make().as_bytes()))?;
        Ok(truth)
    }

    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.file.metadata()?.len() == 0)
    }
}

/// Whether a file holds nothing but the first `sent` messages of the market, or fewer, the last one perhaps cut off: what
/// an earlier run of the session has left.
fn is_beginning(file: &File, mut market: Market, sent: u64) -> io::Result<bool> {
    let mut file = BufReader::with_capacity(1 << 20, file);
    let (mut expected, mut found) = (Vec::new(), Vec::new());
    for _ in 0..sent {
        expected.clear();
        found.clear();
        Writer::new(&mut expected).message(market.make().as_bytes())?;
        file.by_ref().take(expected.len() as u64).read_to_end(&mut found)?;
        if found != expected {
            return Ok(found.len() < expected.len() && expected.starts_with(&found));
        }
    }
    Ok(file.read(&mut [0])? == 0)
}

/// The day file of the session.
pub(super) struct Truth {
    day: Option<Writer<BufWriter<File>>>,
    path: PathBuf,
}

impl Truth {
    pub(super) fn write(&mut self, message: &[u8]) -> Result<(), ExchangeError> {
        let Some(day) = &mut self.day else { return Ok(()) };
        day.message(message).map_err(|error| ExchangeError::Truth { path: self.path.clone(), error })
    }

    pub(super) fn finish(&mut self) -> Result<(), ExchangeError> {
        let Some(day) = self.day.take() else { return Ok(()) };
        day.finish().map(drop).map_err(|error| ExchangeError::Truth { path: self.path.clone(), error })
    }
}
