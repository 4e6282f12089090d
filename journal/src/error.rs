//! What can go wrong, said so that an operator knows what to do.

use std::{fmt, io, path::PathBuf};

use crate::{layout::SEGMENT_MIN, lock::Purpose, memory::Headroom};

/// Which memory or disk had no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// Shared memory.
    Memory,
    /// What the limit of this process's memory group leaves.
    Group,
    /// The disk of the journal.
    Disk,
    /// The disk that the topic's retention allows.
    Retention,
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "shared memory is full",
            Self::Group => "the memory limit of this control group has no room for another segment",
            Self::Disk => "the disk is full",
            Self::Retention => "the topic has taken the disk that its retention allows",
        })
    }
}

impl Room {
    /// What helps.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Memory => "make room there, or lower the key 'memory' of [bus]",
            Self::Group => "raise it (a container: --memory)",
            Self::Disk => "make room there",
            Self::Retention => "see with `bus status` who holds it, or raise the topic's retention",
        }
    }
}

/// Why a journal could not be opened.
#[derive(Debug)]
pub enum OpenError {
    /// Another process writes this journal, or completes what a dead one left.
    Held {
        /// The lock file.
        path: PathBuf,
        /// What the holder wrote about itself, such as `process 4711`.
        holder: String,
        /// What it holds the lock for.
        purpose: Purpose,
    },
    /// The journal is of a format that this version does not know.
    Version {
        /// What carries the version.
        what: String,
        /// The version found.
        found: u32,
    },
    /// There is no such journal.
    Missing {
        /// Its directory.
        path: PathBuf,
    },
    /// There is no room for another segment.
    NoRoom {
        /// Where.
        room: Room,
        /// Directory of the segment.
        path: PathBuf,
        /// Bytes that are needed.
        needed: u64,
    },
    /// The limit of this process's memory group leaves no room for another segment.
    NoGroupRoom {
        /// What is left of which limit.
        headroom: Headroom,
        /// Directory of the segment.
        path: PathBuf,
        /// Bytes that are needed.
        needed: u64,
    },
    /// A segment that evidence names is unreadable, so that the journal cannot be continued safely.
    Damaged {
        /// What is damaged.
        what: String,
    },
    /// The causes of what a derived journal holds in memory are not durable in its input and do not become so.
    NotDurable {
        /// Index of the input.
        input: usize,
        /// The sequence below which the input should be durable.
        needed: u64,
    },
    /// The operating system refused.
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Its answer.
        error: io::Error,
    },
}

impl OpenError {
    /// Tells what was tried on a file when it failed, and no room from other failures.
    pub(crate) fn io(what: &'static str, path: &str) -> impl Fn(io::Error) -> Self + use<> {
        let path = PathBuf::from(path);
        move |error| match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::NoRoom { room: Room::Disk, path: path.clone(), needed: SEGMENT_MIN as u64 }
            }
            _ => Self::Io { what, path: path.clone(), error },
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held { path, holder, purpose: Purpose::Publish } => {
                write!(f, "the journal has a writer: {}: held by {holder}; stop it first", path.display())
            }
            Self::Held { path, holder, purpose: Purpose::Complete } => write!(
                f,
                "what a dead writer left of the journal is being completed: {}: by {holder}, for longer than is waited; \
                 see whether it hangs, and start again",
                path.display()
            ),
            Self::Version { what, found } => {
                write!(f, "unknown format version {found}: {what}; use the version of Busbar that wrote it")
            }
            Self::Missing { path } => {
                write!(f, "no journal: {}; name another --bus or start its writer", path.display())
            }
            Self::NoRoom { room, path, needed } => {
                write!(f, "{room}: {}; make {needed} bytes free and start again", path.display())
            }
            Self::NoGroupRoom { headroom, path, needed } => write!(
                f,
                "the memory limit of this control group has no room for {needed} bytes of shared memory: {}; {headroom}",
                path.display()
            ),
            Self::Damaged { what } => {
                write!(f, "damaged: {what}; run `replay verify` and restore it from a copy")
            }
            Self::NotDurable { input, needed } => {
                write!(
                    f,
                    "its input {input} is not durable to sequence {needed}; start that input's writer first"
                )
            }
            Self::Io { what, path, error } => {
                write!(f, "cannot {what}: {}: {error}; {}", path.display(), remedy(error))
            }
        }
    }
}

impl std::error::Error for OpenError {}

/// What an operator does about what the system answered.
pub fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "give this user the right, or run as the bus directory's owner",
        io::ErrorKind::NotADirectory => "name another --bus, or move away what lies there",
        _ => "mend that and start again",
    }
}

/// Why a message was not published. Nothing of it is in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishError {
    /// The next segment is not ready yet; it will be in a moment.
    Full,
    /// The message is larger than a journal of this segment size takes.
    TooLarge {
        /// Bytes of the message.
        length: usize,
        /// Largest message.
        largest: usize,
    },
    /// There is no room for another segment. Publishing goes on when there is.
    NoRoom(Room),
    /// Writing to disk failed with this error number; the journal takes nothing more until it is opened anew.
    Poisoned(i32),
    /// All that was published is durable, but the journal could not be ended: the disk failed at its end, or took too long.
    /// It looks as after a crash, until it is opened anew.
    NotEnded,
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("the journal is full for the moment: publish; try again"),
            Self::TooLarge { length, largest } => {
                write!(
                    f,
                    "message too large: {length} bytes, {largest} at most, a quarter of a segment, whose size \
                     a new journal takes from `segment` under [bus]"
                )
            }
            Self::NoRoom(room @ Room::Group) => {
                write!(f, "{room}: publish; raise it (a container: --memory), publishing then goes on")
            }
            Self::NoRoom(room) => write!(f, "{room}: publish; make room, publishing then goes on"),
            Self::Poisoned(code) => {
                let error = io::Error::from_raw_os_error(*code);
                match error.kind() {
                    // No disk failed: a name below which files are made and synced is no longer there.
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => write!(
                        f,
                        "its directory, or a file in it, is gone: moved or removed while it was written ({error}); put it \
                         back, or name the new place with --bus, and start again"
                    ),
                    _ => write!(f, "the disk failed: {error}; mend it and start again"),
                }
            }
            Self::NotEnded => f.write_str(
                "all messages are durable, but the disk failed, or took too long, where the journal was to be ended: its \
                 end stays in shared memory; start again, which completes it",
            ),
        }
    }
}

impl std::error::Error for PublishError {}

/// Why a reader could not deliver the next message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadError {
    /// The message was removed by retention.
    Retired {
        /// The oldest sequence that retention has left; where that cannot be read, damage is told of next.
        first: u64,
    },
    /// Bytes between two positions are damaged or gone. The reader goes on behind them.
    ///
    /// A segment counts as lost with its file: where that is not there, holds no header of this journal, or is refused by
    /// the system (a directory of its name, no permission, an I/O error), while the segment is not in shared memory
    /// either; also 20 ms later, where it was refused or the journal has shared memory. What is refused for want of
    /// something on the reader's side (descriptors, memory) is [`ReadError::Failed`], and nothing is passed over.
    Damage {
        /// First damaged position.
        from: u64,
        /// First position behind the damage.
        to: u64,
        /// Messages that are lost, where the surrounding evidence tells.
        sequences: (u64, u64),
        /// What the system said, where it refuses a segment of the range that may be whole behind that.
        refused: Option<String>,
    },
    /// What was read beyond this sequence was lost with the memory of a machine that went down. The reader goes on there.
    Regressed {
        /// The next sequence that will be delivered.
        to: u64,
    },
    /// The operating system or the format refused. The next poll tries again.
    Failed(String),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Retired { first } => {
                write!(f, "retired: the journal begins at sequence {first}; start there")
            }
            Self::Damage { from, to, sequences: (first, next), refused } => {
                write!(f, "damage: positions {from} to {to}, sequences {first} to {next}; ")?;
                match refused {
                    Some(why) => write!(f, "{why}"),
                    None => f.write_str("restore from a copy"),
                }
            }
            Self::Regressed { to } => {
                write!(f, "regressed: to sequence {to}; take a snapshot at or below it")
            }
            Self::Failed(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for ReadError {}
