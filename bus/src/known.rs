//! The topics that a bus has had, so that one whose directory is gone is missed: of most topics nothing else knows. A name
//! stands in the bus directory from when its topic is made, one a line, until somebody takes it out.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use crate::{
    error::BusError,
    topic::{Bus, is_name},
};

/// The file. A topic of this name could not be made any more.
const FILE: &str = "bus.topics";
/// No bus has as many topics as fill this.
const MOST: u64 = 1 << 20;

/// Notes a topic for good, if that is not done yet.
pub(crate) fn note_topic(bus: &Path, topic: &str) -> io::Result<()> {
    let path = bus.join(FILE);
    let text = read(&path)?;
    if names(&text).any(|name| name == topic) {
        return Ok(());
    }
    // What a crash has cut short ends here.
    let line =
        if text.is_empty() || text.ends_with('\n') { format!("{topic}\n") } else { format!("\n{topic}\n") };
    let mut file = options().append(true).create(true).open(&path)?;
    file.write_all(line.as_bytes())?;
    file.sync_all()?;
    File::open(bus)?.sync_all()
}

/// Who may write in the bus directory cannot have anybody wait here, or write elsewhere.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    options
}

/// What the file says; nothing where there is none.
fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    let file = options().read(true).open(path).and_then(regular);
    match file.and_then(|file| file.take(MOST).read_to_end(&mut bytes)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error),
        Ok(_) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
    }
}

/// A pipe would pass for a list of no topics.
fn regular(file: File) -> io::Result<File> {
    let is_regular = file.metadata()?.is_file();
    is_regular
        .then_some(file)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"))
}

fn names(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|name| is_name(name))
}

impl Bus {
    /// The names of topics that this bus has had and that are gone with their directories, sorted.
    ///
    /// # Errors
    /// The list of them cannot be read.
    pub fn topics_gone(&self) -> Result<Vec<String>, BusError> {
        let path = self.directory().join(FILE);
        let text = read(&path).map_err(|source| BusError::Io {
            what: "tell which topics are gone",
            path,
            source,
        })?;
        let is_gone = |name: &&str| {
            fs::symlink_metadata(self.directory().join(name))
                .is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
        };
        let mut gone: Vec<String> = names(&text).filter(is_gone).map(str::to_owned).collect();
        gone.sort_unstable();
        gone.dedup();
        Ok(gone)
    }
}

/// What it means that a topic is gone, and what to do.
pub const TOPIC_GONE: &str = "its directory is gone; restore it from a copy, or, if it was removed on purpose, take its name out \
                              of bus.topics";
