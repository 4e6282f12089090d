//! What can go wrong with a bus, said so that an operator knows what to do.

use std::{fmt, io, path::PathBuf};

use journal::{OpenError, instance::InstanceError};

use crate::{directory::SCHEMA_GONE, event::schema::SchemaError, known::TOPIC_GONE, topic::JSON_VIEW};

/// Why a topic could not be opened.
#[derive(Debug)]
pub enum BusError {
    /// There is no bus.
    NoBus {
        /// The directory that was named, which is not there or holds none.
        directory: PathBuf,
    },
    /// There is no such topic on the bus.
    Missing {
        /// The topic.
        topic: String,
        /// The bus directory.
        bus: PathBuf,
    },
    /// A topic has messages and lost its schema.
    SchemaGone {
        /// The topic.
        topic: String,
        /// The bus directory.
        bus: PathBuf,
    },
    /// The topic's journal is gone, which the bus has had.
    JournalGone {
        /// The topic.
        topic: String,
        /// The bus directory.
        bus: PathBuf,
    },
    /// The list of the topics that the bus has had has lines that name none.
    Garbled {
        /// The list.
        path: PathBuf,
        /// How many.
        lines: usize,
    },
    /// A topic's name is 1 to 64 of `a-z A-Z 0-9 . _ -` and does not begin with a dot.
    Name {
        /// The name.
        topic: String,
    },
    /// A topic's name does not end with `.json`, by which Kafka consumers read the JSON view of another one.
    ViewName {
        /// The name.
        topic: String,
    },
    /// The topic carries other kinds, or is derived from other topics.
    Schema {
        /// The topic.
        topic: String,
        /// The difference.
        source: SchemaError,
    },
    /// The journal of the topic refuses.
    Journal {
        /// The topic.
        topic: String,
        /// Why.
        source: OpenError,
    },
    /// There is too little shared memory for the journals of the bus to go on from segment to segment.
    TooLittleMemory {
        /// The topic that was to be published.
        topic: String,
        /// What limits it.
        place: String,
        /// What it gives, in bytes.
        given: u64,
        /// What the topic and those that are published already need, in bytes.
        needed: u64,
        /// What helps.
        remedy: String,
    },
    /// There is too little room on the disk for the topic's next segment.
    TooLittleDisk {
        /// The topic that was to be published.
        topic: String,
        /// The bus directory.
        path: PathBuf,
        /// What its next segment takes, in bytes.
        segment: u64,
        /// What is free now, in bytes.
        free: u64,
        /// What all topics of the bus need to start, but for those that have a publisher in another program, in bytes.
        needed: u64,
        /// What was free before this program began to publish, in bytes.
        before: u64,
    },
    /// The shared memory of the bus refuses.
    Memory(InstanceError),
    /// The operating system refuses.
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Its answer.
        source: io::Error,
    },
}

impl fmt::Display for BusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBus { directory } => {
                write!(f, "no bus: {}; start a publisher or name another --bus", directory.display())
            }
            Self::Missing { topic, bus } => {
                write!(f, "no topic '{topic}': {}; start its publisher or name another --bus", bus.display())
            }
            Self::SchemaGone { topic, bus } => write!(f, "topic '{topic}': {}: {SCHEMA_GONE}", bus.display()),
            Self::JournalGone { topic, bus } => write!(f, "topic '{topic}': {}: {TOPIC_GONE}", bus.display()),
            Self::Garbled { path, lines } => write!(
                f,
                "cannot tell which topics are gone: {}: lines that name no topic: {lines}; restore the file from a copy, or \
                 take them out",
                path.display()
            ),
            Self::Name { topic } => write!(
                f,
                "not a topic name: '{topic}'; use 1 to 64 of letters, digits, '.', '_', '-', not beginning with '.'"
            ),
            Self::ViewName { topic } => {
                let viewed = topic.strip_suffix(JSON_VIEW).unwrap_or(topic);
                write!(
                    f,
                    "not a topic name: '{topic}'; Kafka consumers read the JSON view of '{viewed}' by that name: give one \
                     that does not end with '{JSON_VIEW}'"
                )
            }
            Self::Schema { topic, source } => write!(f, "topic '{topic}' does not fit: {source}"),
            Self::Journal { topic, source } => write!(f, "topic '{topic}': {source}"),
            Self::TooLittleMemory { topic, place, given, needed, remedy } => write!(
                f,
                "too little shared memory for topic '{topic}': {place} gives {given} bytes, and {needed} are needed with \
                 the topics that are published already; {remedy}"
            ),
            Self::TooLittleDisk { topic, path, segment, free, needed, before } => {
                let more = needed.saturating_sub(*before).max(segment.saturating_sub(*free));
                write!(
                    f,
                    "topic '{topic}': the disk is full: {}: a segment takes {segment} bytes, and {free} are free; the topics of \
                     this bus need {needed} together to start, two segments each and little more, and {before} were free \
                     before; make {more} bytes more free and start again",
                    path.display()
                )
            }
            Self::Memory(source) => source.fmt(f),
            Self::Io { what, path, source } => {
                write!(f, "cannot {what}: {}: {source}; {}", path.display(), journal::remedy(source))
            }
        }
    }
}

impl std::error::Error for BusError {}

impl BusError {
    /// Whether the topic does not exist yet, so that waiting for it makes sense.
    pub fn is_missing(&self) -> bool {
        matches!(
            self,
            Self::Missing { .. }
                | Self::JournalGone { .. }
                | Self::Journal { source: OpenError::Missing { .. }, .. }
        )
    }

    /// Whether it says nothing about the data: this user may not read them, or this version cannot.
    pub fn is_refused(&self) -> bool {
        let denied = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
        match self {
            Self::Io { source, .. } => denied(source),
            Self::Journal { source: journal::OpenError::Io { error, .. }, .. } => denied(error),
            Self::Journal { source: journal::OpenError::Version { .. }, .. } => true,
            Self::Schema { source: SchemaError::Format(_) | SchemaError::FieldType { .. }, .. } => true,
            _ => false,
        }
    }

    /// Whether there is no room, so that making some helps.
    pub fn is_no_room(&self) -> bool {
        match self {
            Self::Journal { source, .. } => {
                matches!(source, OpenError::NoRoom { .. } | OpenError::NoGroupRoom { .. })
            }
            Self::TooLittleDisk { .. } => true,
            Self::Io { source, .. } => {
                matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            _ => false,
        }
    }
}
