//! The topics that a bus has had, so that one whose directory is gone is missed, and one that came from elsewhere in its
//! place is noticed: of most topics nothing else knows. Each stands in the bus directory from when it is made until somebody
//! takes it out, one a line:
//!
//! ```text
//! NAME JOURNAL    the identity of its journal, in 32 hexadecimal digits
//! NAME            by an older version; its journal is noted by the next publisher
//! ```

use std::{
    collections::BTreeSet,
    fs::{File, OpenOptions},
    io::{self, Write},
    path::Path,
};

use journal::storage::DiskStorage;

use crate::{
    error::BusError,
    program::note,
    regular,
    topic::{Bus, is_name},
};

/// The file. A topic of this name could not be made any more.
pub(crate) const FILE: &str = "bus.topics";
/// No bus has as many topics as fill this.
const MOST: u64 = 1 << 20;

/// Notes a topic and its journal for good, if that is not done yet: what was noted of another journal stays.
fn note_topic(bus: &Path, topic: &str, journal: &str) -> io::Result<()> {
    let path = bus.join(FILE);
    let text = read(&path)?;
    if journals(&text, topic).next().is_some() {
        return Ok(());
    }
    // What a crash has cut short ends here.
    let before = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    let line = format!("{before}{topic} {journal}\n");
    let mut file = open(OpenOptions::new().append(true).create(true), &path)?;
    file.write_all(line.as_bytes())?;
    file.sync_all()?;
    File::open(bus)?.sync_all()
}

/// Who may write in the bus directory cannot have anybody wait here, or write elsewhere.
fn open(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    regular::open_as(options, libc::O_NOFOLLOW, path)
}

/// What the file says; nothing where there is none.
fn read(path: &Path) -> io::Result<String> {
    let file = open(OpenOptions::new().read(true), path);
    match file.and_then(|file| regular::contents(file, MOST)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error),
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
    }
}

/// What the lines say: a topic, and its journal where that was noted.
fn lines(text: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    let read = |line| match str::split_once(line, ' ') {
        Some((topic, journal)) => (topic, Some(journal)),
        None => (line, None),
    };
    let is_journal = |text: &str| text.len() == 32 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    text.lines().map(read).filter(move |(topic, journal)| is_name(topic) && journal.is_none_or(is_journal))
}

/// The journals that were noted of a topic; more than one only by an operator's hand.
fn journals<'a>(text: &'a str, topic: &str) -> impl Iterator<Item = &'a str> {
    lines(text).filter(move |line| line.0 == topic).filter_map(|line| line.1)
}

impl Bus {
    /// The names of topics that this bus has had and of which nothing is left, sorted.
    ///
    /// # Errors
    /// The list of them cannot be read.
    pub fn topics_gone(&self) -> Result<Vec<String>, BusError> {
        let text = self.topics_known()?;
        let names: BTreeSet<&str> = lines(&text).map(|line| line.0).collect();
        Ok(names.into_iter().filter(|name| self.is_gone(name)).map(str::to_owned).collect())
    }

    /// What keeps it from being told which topics are gone or replaced: the list of them cannot be read, or has lines that name
    /// none.
    pub fn topics_doubt(&self) -> Option<BusError> {
        let text = match self.topics_known() {
            Ok(text) => text,
            Err(error) => return Some(error),
        };
        let written = text.lines().filter(|line| !line.is_empty()).count();
        let garbled = written - lines(&text).count();
        (garbled > 0).then(|| BusError::Garbled { path: self.directory().join(FILE), lines: garbled })
    }

    /// Whether the bus has noted a journal of a topic.
    pub(crate) fn has_had_journal(&self, topic: &str) -> bool {
        self.topics_known().is_ok_and(|text| journals(&text, topic).next().is_some())
    }

    /// Whether the journal of a topic is not the one that the bus has had: it was put there from another bus, or made anew
    /// where it was lost. One that cannot be told is not, as where the list cannot be read, which [`Bus::topics_doubt`] tells.
    pub fn is_replaced(&self, topic: &str) -> bool {
        let Ok(text) = self.topics_known() else { return false };
        let mut noted = journals(&text, topic).peekable();
        let journal = noted.peek().and_then(|_| self.journal_of(topic));
        journal.is_some_and(|journal| noted.all(|noted| noted != journal))
    }

    /// Says what has become of a topic that is not the one that the bus has had, and what to do; nothing where it is, or
    /// never was.
    pub fn astray(&self, topic: &str) -> Option<String> {
        let is_known = |text: String| lines(&text).any(|line| line.0 == topic);
        let is_lost = self.is_gone(topic) && self.topics_known().is_ok_and(is_known);
        let replaced = || self.is_replaced(topic).then_some(TOPIC_REPLACED);
        let what = is_lost.then_some(TOPIC_GONE).or_else(replaced)?;
        Some(format!("topic '{topic}': {what}"))
    }

    /// Notes the journal that this process publishes. Says if it is not the one that the bus has had.
    pub(crate) fn note_journal(&self, topic: &str) {
        let Some(journal) = self.journal_of(topic) else { return };
        // Only evidence against a later loss: no reason to refuse where the bus directory takes nothing.
        let _ = note_topic(self.directory(), topic, &journal);
        self.astray(topic).iter().for_each(|astray| note(astray));
    }

    fn journal_of(&self, topic: &str) -> Option<String> {
        journal::identity(&DiskStorage::new(self.topic_dir(topic).join("0")))
    }

    fn topics_known(&self) -> Result<String, BusError> {
        let path = self.directory().join(FILE);
        read(&path).map_err(|source| BusError::Io { what: "tell which topics are gone", path, source })
    }
}

/// What it means that a topic is gone, and what to do.
pub const TOPIC_GONE: &str = "its directory is gone, or holds no journal; restore it from a copy, or, if it was removed on \
                              purpose, take its line out of bus.topics";

/// What it means that a topic is [replaced](Bus::is_replaced), and what to do.
pub const TOPIC_REPLACED: &str = "this is not the journal that bus.topics names, but of another bus, or of another life of the \
                                  topic; restore it from a copy of this bus, or, if it was replaced on purpose, take its \
                                  line out of bus.topics";
