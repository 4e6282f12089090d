//! Snapshots: the whole state at a cut, as bytes that can be checked.
//!
//! It is taken in two steps: [`State::freeze`] is short, and [`Frozen::bytes`] is for another thread.
//!
//! A header (magic, format, engine version, positions of the inputs, length, BLAKE3 of header and body), then the
//! state in canonical order as an [`rkyv`] archive. Slots, tables and counts of oddities are not part of it, so that
//! equal states give equal bytes. Reading trusts nothing: checksum, then the archive's own validation, then every rule
//! that the live state keeps.

mod image;

use std::fmt;

use bus::event::Text;
use rkyv::rancor;
use rkyv::util::AlignedVec;

use crate::fills::Ring;
use crate::hash::Cut;
use crate::state::State;
use image::{ArchivedImage, Image};

const MAGIC: [u8; 8] = *b"BUSBSNAP";
/// Version of header and body.
const FORMAT: u32 = 5;
/// Bytes of the header; a multiple of the archive's alignment.
const HEADER: usize = 112;
/// Where the checksum begins, the last field of the header.
const CHECKSUM: usize = HEADER - 32;

/// Where an input stands: the next message to apply.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InputPosition {
    /// Sequence of the next message.
    pub next: u64,
    /// Epoch of the last message applied; 0 before the first.
    pub epoch: u32,
}

/// Where both inputs stand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Positions {
    /// The topic `market-data`.
    pub market_data: InputPosition,
    /// The topic `trades`.
    pub trades: InputPosition,
}

impl Positions {
    /// The cut that they mean.
    pub fn cut(&self) -> Cut {
        Cut { market_data: self.market_data.next, trades: self.trades.next }
    }
}

/// A state read from a snapshot.
#[derive(Clone)]
pub struct Restored {
    /// Where its inputs stand.
    pub positions: Positions,
    /// Version of the engine that wrote it.
    pub version: Text<16>,
    /// The state; its counts of oddities begin at zero.
    pub state: State,
}

/// Why bytes are not a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotError {
    /// They do not begin like one.
    NotASnapshot,
    /// A format that this version does not read.
    UnknownFormat {
        /// The format.
        format: u32,
    },
    /// More or fewer bytes than the header says.
    Length {
        /// Bytes of the body that the header names.
        expected: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// The bytes are not those that were written.
    Checksum,
    /// The checksum holds, but the contents are no state.
    Invalid {
        /// What breaks which rule.
        what: &'static str,
    },
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotASnapshot => write!(f, "snapshot: these bytes are not one")?,
            Self::UnknownFormat { format } => {
                write!(f, "snapshot: format {format} is not known to this version, which reads {FORMAT}")?;
            }
            Self::Length { expected, found } => {
                write!(f, "snapshot: {found} bytes where {expected} were written")?;
            }
            Self::Checksum => write!(f, "snapshot: its checksum does not hold")?,
            Self::Invalid { what } => write!(f, "snapshot: {what}")?,
        }
        write!(f, "; replay the journals from their beginning or from an older snapshot")
    }
}

impl std::error::Error for SnapshotError {}

/// The state at a cut, taken out of the state's way: [`Self::bytes`] may take its time, on any thread.
pub struct Frozen {
    positions: Positions,
    image: Image,
    fills: Ring,
    /// The place of a position in the image by its number.
    places: Vec<u32>,
}

impl fmt::Debug for Frozen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frozen").field("positions", &self.positions).finish_non_exhaustive()
    }
}

impl Frozen {
    /// The snapshot.
    ///
    /// # Errors
    /// [`SnapshotError::Invalid`] where the state exceeds what an archive addresses (2 GiB).
    pub fn bytes(self) -> Result<Vec<u8>, SnapshotError> {
        let Self { positions, mut image, fills, places } = self;
        image.add_fills(&fills, &places);
        drop(fills);
        let too_large = |_: rancor::Error| SnapshotError::Invalid { what: "the state exceeds 2 GiB" };
        let body = rkyv::to_bytes::<rancor::Error>(&image).map_err(too_large)?;
        drop(image);
        let mut bytes = Vec::with_capacity(HEADER + body.len());
        bytes.extend(MAGIC);
        bytes.extend(FORMAT.to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend(Text::<16>::new(crate::VERSION).unwrap_or_default().0);
        for input in [positions.market_data, positions.trades] {
            bytes.extend(input.next.to_le_bytes());
            bytes.extend(u64::from(input.epoch).to_le_bytes());
        }
        bytes.extend((body.len() as u64).to_le_bytes());
        bytes.extend([0; 8]);
        debug_assert_eq!(bytes.len(), CHECKSUM, "the header is laid out as it is read");
        let checksum = checksum(&bytes, &body);
        bytes.extend(checksum);
        bytes.extend_from_slice(&body);
        Ok(bytes)
    }
}

impl State {
    /// The state at the cut of `positions`, for a snapshot. Books and positions are copied; retained fills are shared, and
    /// copied by blocks where they change before the snapshot is made.
    pub fn freeze(&self, positions: &Positions) -> Frozen {
        let numbers = self.ledger.sorted();
        let mut places = vec![0; numbers.len() + 1];
        for (place, &number) in (0..).zip(&numbers) {
            places[number as usize] = place;
        }
        let (image, fills) = (Image::of(self), self.ledger.fills.ring().clone());
        Frozen { positions: *positions, image, fills, places }
    }

    /// The state at the cut of `positions` as bytes.
    ///
    /// # Errors
    /// As [`Frozen::bytes`].
    pub fn snapshot(&self, positions: &Positions) -> Result<Vec<u8>, SnapshotError> {
        self.freeze(positions).bytes()
    }

    /// The state that [`Self::snapshot`] wrote.
    ///
    /// # Errors
    /// Any other bytes are refused with what is wrong with them.
    pub fn restore(bytes: &[u8]) -> Result<Restored, SnapshotError> {
        let (header, body) = bytes.split_at_checked(HEADER).ok_or(SnapshotError::NotASnapshot)?;
        let header = Header::read(header)?;
        if header.length != body.len() as u64 {
            return Err(SnapshotError::Length { expected: header.length, found: body.len() as u64 });
        }
        if header.checksum != checksum(&bytes[..CHECKSUM], body) {
            return Err(SnapshotError::Checksum);
        }
        let mut aligned = AlignedVec::<16>::with_capacity(body.len());
        aligned.extend_from_slice(body);
        let image = rkyv::access::<ArchivedImage, rancor::Failure>(&aligned)
            .map_err(|_| SnapshotError::Invalid { what: "the archive is malformed" })?;
        Ok(Restored { positions: header.positions, version: header.version, state: image.state()? })
    }
}

fn checksum(header: &[u8], body: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(header);
    hasher.update(body);
    hasher.finalize().into()
}

struct Header {
    version: Text<16>,
    positions: Positions,
    length: u64,
    checksum: [u8; 32],
}

impl Header {
    fn read(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let mut rest = bytes;
        if take::<8>(&mut rest)? != MAGIC {
            return Err(SnapshotError::NotASnapshot);
        }
        let format = u32::from_le_bytes(take(&mut rest)?);
        if format != FORMAT {
            return Err(SnapshotError::UnknownFormat { format });
        }
        take::<4>(&mut rest)?;
        let version = Text(take(&mut rest)?);
        let positions = Positions { market_data: input(&mut rest)?, trades: input(&mut rest)? };
        let length = u64::from_le_bytes(take(&mut rest)?);
        take::<8>(&mut rest)?;
        Ok(Self { version, positions, length, checksum: take(&mut rest)? })
    }
}

fn input(rest: &mut &[u8]) -> Result<InputPosition, SnapshotError> {
    let next = u64::from_le_bytes(take(rest)?);
    let epoch = u64::from_le_bytes(take(rest)?);
    let epoch =
        u32::try_from(epoch).map_err(|_| SnapshotError::Invalid { what: "an epoch is out of range" })?;
    Ok(InputPosition { next, epoch })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], SnapshotError> {
    let (taken, left) = rest.split_first_chunk().ok_or(SnapshotError::NotASnapshot)?;
    *rest = left;
    Ok(*taken)
}
