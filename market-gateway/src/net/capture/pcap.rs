//! Classic pcap: micro- or nanoseconds, either byte order.
//!
//! ```text
//! file    magic u32, version 2 × u16, zone i32, accuracy u32, snapshot length u32, link type u32
//! record  seconds u32, micro- or nanoseconds u32, captured length u32, length on the wire u32; the frame
//! ```

use std::fmt;
use std::io::{self, Read};

use bus::event::Time;

use super::Input;
use super::frame::Link;

/// First bytes of a pcapng file: the type of its section header block.
pub(super) const PCAPNG: [u8; 4] = [0x0A, 0x0D, 0x0D, 0x0A];

const FILE_HEADER: usize = 24;
const RECORD_HEADER: usize = 16;
/// Longest frame that capture programs write (libpcap's `MAXIMUM_SNAPLEN`). A longer record is nonsense.
const LONGEST_FRAME: usize = 256 * 1024;

/// How a capture came to its end.
#[derive(Debug)]
pub enum PcapEnding {
    /// With a whole record.
    Complete,
    /// Within a record.
    Truncated,
    /// With a record of an impossible length; where the next one begins cannot be known.
    Nonsense {
        /// The length.
        length: u32,
    },
    /// It could not be read any further; a damaged compressed file ends like this.
    Unreadable(io::Error),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Format {
    swapped: bool,
    nanoseconds: bool,
}

impl Format {
    fn of(start: &[u8]) -> Option<Self> {
        let (swapped, nanoseconds) = match start.first_chunk::<4>()? {
            [0xD4, 0xC3, 0xB2, 0xA1] => (false, false),
            [0x4D, 0x3C, 0xB2, 0xA1] => (false, true),
            [0xA1, 0xB2, 0xC3, 0xD4] => (true, false),
            [0xA1, 0xB2, 0x3C, 0x4D] => (true, true),
            _ => return None,
        };
        Some(Self { swapped, nanoseconds })
    }

    fn number(self, bytes: &[u8], at: usize) -> u32 {
        let bytes = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>()).copied().unwrap_or_default();
        if self.swapped { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }
}

/// Whether a file that begins like this is a classic capture.
pub(super) fn is_pcap(start: &[u8]) -> bool {
    Format::of(start).is_some()
}

/// The number of a capture's link type. The upper bits say something else.
pub(super) fn link_number(start: &[u8]) -> u32 {
    Format::of(start).map_or(0, |format| format.number(start, 20) & 0x0FFF_FFFF)
}

/// A capture, read record by record.
pub struct Pcap {
    input: Input,
    format: Format,
    link: Link,
    frame: Vec<u8>,
    ending: Option<PcapEnding>,
}

impl fmt::Debug for Pcap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pcap").field("format", &self.format).field("link", &self.link).finish_non_exhaustive()
    }
}

impl Pcap {
    /// A capture from its beginning; `None` if its link type is not known.
    pub(super) fn new(mut input: Input) -> Option<Self> {
        let mut header = [0; FILE_HEADER];
        let ending = match read_whole(&mut input, &mut header) {
            Ok(FILE_HEADER) => None,
            Ok(_) => Some(PcapEnding::Truncated),
            Err(error) => Some(PcapEnding::Unreadable(error)),
        };
        let format = Format::of(&header)?;
        let link = match ending {
            None => Link::from_number(link_number(&header))?,
            Some(_) => Link::Ethernet,
        };
        Some(Self { input, format, link, frame: Vec::new(), ending })
    }

    pub(super) fn link(&self) -> Link {
        self.link
    }

    /// How the file ended, once it has.
    pub fn ending(&self) -> Option<&PcapEnding> {
        self.ending.as_ref()
    }

    /// The last frame read.
    pub(super) fn frame(&mut self) -> &mut [u8] {
        &mut self.frame
    }

    /// Reads the next frame and says when it was captured; `None` at the end.
    pub(super) fn read(&mut self) -> Option<Time> {
        if self.ending.is_some() {
            return None;
        }
        match self.try_read() {
            Ok(Ok(time)) => Some(time),
            Ok(Err(ending)) => {
                self.ending = Some(ending);
                None
            }
            Err(error) => {
                self.ending = Some(PcapEnding::Unreadable(error));
                None
            }
        }
    }

    fn try_read(&mut self) -> io::Result<Result<Time, PcapEnding>> {
        let mut header = [0; RECORD_HEADER];
        match read_whole(&mut self.input, &mut header)? {
            0 => return Ok(Err(PcapEnding::Complete)),
            RECORD_HEADER => {}
            _ => return Ok(Err(PcapEnding::Truncated)),
        }
        let number = |at| self.format.number(&header, at);
        let (seconds, fraction, length) = (number(0), number(4), number(8));
        let size = usize::try_from(length).unwrap_or(usize::MAX);
        if size > LONGEST_FRAME {
            return Ok(Err(PcapEnding::Nonsense { length }));
        }
        self.frame.resize(size, 0);
        if read_whole(&mut self.input, &mut self.frame)? < size {
            return Ok(Err(PcapEnding::Truncated));
        }
        let unit = if self.format.nanoseconds { 1 } else { 1_000 };
        Ok(Ok(Time(u64::from(seconds) * 1_000_000_000 + u64::from(fraction) * unit)))
    }
}

/// Fills the buffer, or as much of it as the input has left; returns how much.
fn read_whole(input: &mut Input, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
