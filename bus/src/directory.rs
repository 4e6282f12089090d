//! What lies in a bus directory: its topics and what each carries. Only read.

use std::{fs, io, path::Path};

use journal::OpenError;

use crate::{
    error::BusError,
    event::schema::Schema,
    known::FILE as KNOWN,
    regular,
    subscriber::{Gate, Start},
    topic::{Bus, SCHEMA, check_name, check_new_name, is_name},
};

/// What it means for a topic that its schema is lost, and what to do.
pub const SCHEMA_GONE: &str =
    "its schema.json is gone; restore it from a copy, or start its publisher once, which writes it anew";
/// No schema is as long, in bytes.
const LONGEST_SCHEMA: u64 = 4 << 20;
/// The file that a bus's first writer leaves there.
const ID: &str = "bus.id";

/// Refuses what is no directory, for who only reads.
pub(crate) fn must_be_there(directory: &Path) -> Result<(), BusError> {
    match fs::metadata(directory) {
        Ok(found) if found.is_dir() => Ok(()),
        Err(source) if !matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Err(BusError::Io { what: "look at", path: directory.into(), source })
        }
        _ => Err(BusError::NoBus { directory: directory.into() }),
    }
}

/// Whether a topic has a schema, as far as this user can tell.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Described {
    Yes,
    No,
    /// The system does not say, or something else has its name: who reads it is told.
    Unknown,
}

impl Bus {
    /// Refuses a directory that is not there or holds no bus: no topic, and nothing that a writer of a bus leaves. For
    /// programs that only read and do not wait for a publisher.
    ///
    /// # Errors
    /// [`BusError::NoBus`]; [`BusError::Io`] where the directory cannot be read.
    pub fn must_exist(&self) -> Result<(), BusError> {
        must_be_there(self.directory())?;
        if self.has_begun(&self.names()?) || !self.topics_without_schema()?.is_empty() {
            return Ok(());
        }
        Err(BusError::NoBus { directory: self.directory().into() })
    }

    /// The names of its topics, sorted; none if the directory does not exist. Those of a bus that this user may not look
    /// into are among them: what hides from this user is not to be taken for what is not there.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn topics(&self) -> Result<Vec<String>, BusError> {
        let mut names = self.names()?;
        let has_begun = self.has_begun(&names);
        names.retain(|name| match self.described(name) {
            Described::Yes => true,
            Described::No => false,
            // In a directory that is no bus it is anything.
            Described::Unknown => has_begun,
        });
        Ok(names)
    }

    /// The names of topics that lost their schema: what is left is a journal with messages, and nobody is just making it.
    ///
    /// # Errors
    /// As [`Bus::topics`].
    pub fn topics_without_schema(&self) -> Result<Vec<String>, BusError> {
        let mut names = self.names()?;
        names.retain(|name| self.has_lost_schema(name));
        Ok(names)
    }

    fn has_lost_schema(&self, topic: &str) -> bool {
        self.lacks_schema(topic) && self.holds_journal(topic)
    }

    /// Whether nothing is left of a topic, nor does anybody just make it. Something may be in its place: a directory that was
    /// emptied, or made again by a publisher that was refused then, or what is none.
    pub(crate) fn is_gone(&self, topic: &str) -> bool {
        self.lacks_schema(topic) && !self.holds_journal(topic)
    }

    fn holds_journal(&self, topic: &str) -> bool {
        self.topic_dir(topic).join("0").is_dir() && self.has_messages(topic)
    }

    /// What a topic carries.
    ///
    /// # Errors
    /// [`BusError::Missing`] where there is no such topic, [`BusError::SchemaGone`] where it lost what it carries,
    /// [`BusError::Name`] and [`BusError::ViewName`] where there can be
    /// none.
    pub fn schema(&self, topic: &str) -> Result<Schema, BusError> {
        check_name(topic)?;
        let path = self.topic_dir(topic).join(SCHEMA);
        match regular::read(&path, LONGEST_SCHEMA) {
            Ok(file) => {
                Schema::parse(&file).map_err(|source| BusError::Schema { topic: topic.into(), source })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                check_new_name(topic)?;
                let (topic, bus) = (topic.to_owned(), self.directory().into());
                let is_lost = self.has_lost_schema(&topic);
                Err(if is_lost {
                    BusError::SchemaGone { topic, bus }
                } else {
                    BusError::Missing { topic, bus }
                })
            }
            Err(source) => Err(BusError::Io { what: "read", path, source }),
        }
    }

    /// Whether a writer has been here.
    fn has_begun(&self, names: &[String]) -> bool {
        [ID, KNOWN].iter().any(|file| self.directory().join(file).exists())
            || names.iter().any(|name| self.described(name) == Described::Yes)
    }

    /// The names in the directory that a topic may have, sorted.
    fn names(&self) -> Result<Vec<String>, BusError> {
        let failed = |source| BusError::Io { what: "list", path: self.directory().into(), source };
        let entries = match fs::read_dir(self.directory()) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry.map_err(failed)?.file_name().to_str().map(str::to_owned);
            names.extend(name.filter(|name| is_name(name)));
        }
        names.sort_unstable();
        Ok(names)
    }

    fn described(&self, topic: &str) -> Described {
        match fs::metadata(self.topic_dir(topic).join(SCHEMA)) {
            Ok(found) if found.is_file() => Described::Yes,
            Err(error)
                if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP)) =>
            {
                Described::No
            }
            Ok(_) | Err(_) => Described::Unknown,
        }
    }

    fn lacks_schema(&self, topic: &str) -> bool {
        // A publisher that makes a topic holds the lock until the schema is there.
        let lock = self.topic_dir(topic).join("0").join(journal::LOCK);
        let is_in_the_making = || journal::lock::is_held(&lock).unwrap_or(false);
        self.described(topic) == Described::No && !is_in_the_making()
    }

    /// Whether the journal of a topic has, or had, messages; also where it is too damaged to tell.
    fn has_messages(&self, topic: &str) -> bool {
        let Ok(places) = self.places(topic) else { return true };
        match journal::Reader::open(places, Start::Oldest, Gate::Published) {
            Ok(mut reader) => reader.watermarks().published > 0,
            Err(error) => !matches!(error, OpenError::Missing { .. }),
        }
    }
}
