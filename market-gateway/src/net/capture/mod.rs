//! Captures as sources: packet captures and day files, plain or compressed, read in bounded memory.
//!
//! What a file is, its first bytes decide; the name is asked only where they leave room. A file that just stops, or
//! turns to nonsense, is used as far as it is whole, and says how it ended.

mod answers;
mod frame;
mod packets;
mod pcap;

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use crate::itch::{self, day_file};
use crate::mold::SessionId;
pub use answers::Answers;
pub use frame::Endpoint;
pub use packets::{Captured, PacketCounters, Packets};
pub use pcap::{Pcap, PcapEnding};

/// Bytes that are read ahead of a file, and again of its decompressed contents.
const AHEAD: usize = 64 * 1024;
/// Messages of a day file that make its identity.
const IDENTITY: usize = 16;

/// The contents of a file, decompressed.
pub type Input = Box<dyn BufRead>;

/// A file of recorded market data.
#[derive(Debug)]
pub enum Capture {
    /// The messages of one session.
    Day(DayFile),
    /// Packets, with the times at which they were captured.
    Packets(Pcap),
}

/// A day file, from its beginning.
pub type DayFile = day_file::Reader<Input>;

/// Why a file is no source.
#[derive(Debug)]
pub enum CaptureError {
    /// It cannot be opened or read.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is a pcapng capture.
    Pcapng {
        /// The file.
        path: PathBuf,
    },
    /// Its packets are of a link layer that is not known here.
    LinkType {
        /// The file.
        path: PathBuf,
        /// The number of the link type.
        number: u32,
    },
    /// It is neither a packet capture nor a day file.
    Unknown {
        /// The file.
        path: PathBuf,
    },
    /// It is a packet capture where a day file is needed.
    NotDayFile {
        /// The file.
        path: PathBuf,
    },
}

impl fmt::Display for CaptureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, source } => {
                write!(f, "cannot read: {} ({source}); name a readable file", path.display())
            }
            Self::Pcapng { path } => write!(
                f,
                "a pcapng capture: {}; convert it with 'editcap -F nsecpcap {} out.pcap'",
                path.display(),
                path.display()
            ),
            Self::LinkType { path, number } => write!(
                f,
                "unknown link type {number}: {}; capture Ethernet, Linux cooked or raw IP packets",
                path.display()
            ),
            Self::Unknown { path } => write!(
                f,
                "neither a packet capture nor a day file: {}; name a .pcap or .itch50 file, plain or .gz",
                path.display()
            ),
            Self::NotDayFile { path } => {
                write!(
                    f,
                    "a packet capture where a day file is needed: {}; name an .itch50 file",
                    path.display()
                )
            }
        }
    }
}

impl std::error::Error for CaptureError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl Capture {
    /// Opens a file.
    ///
    /// # Errors
    /// It cannot be read, or is of no kind known here.
    pub fn open(path: &Path) -> Result<Self, CaptureError> {
        let unreadable = |source| CaptureError::Unreadable { path: path.into(), source };
        let mut input = contents(path)?;
        let start = input.fill_buf().map_err(unreadable)?;
        if start.starts_with(&pcap::PCAPNG) {
            return Err(CaptureError::Pcapng { path: path.into() });
        }
        if pcap::is_pcap(start) {
            let number = pcap::link_number(start);
            return match Pcap::new(input) {
                Some(pcap) => Ok(Self::Packets(pcap)),
                None => Err(CaptureError::LinkType { path: path.into(), number }),
            };
        }
        if names_day_file(path) || begins_with_message(start) {
            return Ok(Self::Day(day_file::Reader::new(input)));
        }
        Err(CaptureError::Unknown { path: path.into() })
    }

    /// Opens a day file.
    ///
    /// # Errors
    /// It cannot be read, or is none.
    pub fn open_day(path: &Path) -> Result<DayFile, CaptureError> {
        match Self::open(path)? {
            Self::Day(day) => Ok(day),
            Self::Packets(_) => Err(CaptureError::NotDayFile { path: path.into() }),
        }
    }
}

/// What a day file, which names no session, may be known by: hashes of its first 16, 15, … 1 messages. It is known by
/// the first of them; a file that was cut off within these messages was known by one of the others.
///
/// # Errors
/// As [`Capture::open_day`].
pub fn identities(path: &Path) -> Result<Vec<SessionId>, CaptureError> {
    let mut day = Capture::open_day(path)?;
    let (mut hash, mut ids) = (blake3::Hasher::new(), Vec::new());
    while ids.len() < IDENTITY
        && let Some(messages) = day.next_blocks(1)
    {
        hash.update(messages.bytes());
        ids.push(identity(&hash));
    }
    ids.reverse();
    Ok(ids)
}

/// A session id made from contents.
fn identity(hash: &blake3::Hasher) -> SessionId {
    SessionId::new(&hash.finalize().to_hex()[..16]).expect("sixteen digits")
}

/// Opens a file of whatever kind, plain or compressed.
///
/// # Errors
/// It cannot be read.
pub fn contents(path: &Path) -> Result<Input, CaptureError> {
    decompressed(path).map_err(|source| CaptureError::Unreadable { path: path.into(), source })
}

fn decompressed(path: &Path) -> io::Result<Input> {
    let mut file = BufReader::with_capacity(AHEAD, File::open(path)?);
    if file.fill_buf()?.starts_with(&[0x1F, 0x8B]) {
        return Ok(Box::new(BufReader::with_capacity(AHEAD, MultiGzDecoder::new(file))));
    }
    Ok(Box::new(file))
}

fn names_day_file(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    name.ends_with("itch50")
}

fn begins_with_message(start: &[u8]) -> bool {
    start.get(..3).is_some_and(|start| {
        itch::length(start[2]) == Some(usize::from(u16::from_be_bytes([start[0], start[1]])))
    })
}

#[cfg(test)]
mod tests;
