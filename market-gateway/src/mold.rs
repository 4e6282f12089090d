//! MoldUDP64 1.00: numbered messages in datagrams, read and written.
//!
//! ```text
//! downstream  0        10           18      20
//!             | session | sequence   | count | count × (length u16, message)
//!             |  ASCII  | u64        | u16   |
//! request     | session | first      | count |
//! ```
//!
//! All numbers are big-endian. `sequence` is the number of the first message of the datagram; the first message of a
//! session has number 1. A datagram without messages is a heartbeat (`count` 0) or the end of the session (0xFFFF), and
//! its `sequence` is that of the message to come *next*. A request asks for `count` messages from `first`; the answer is
//! a downstream datagram with as many of them as fit.
//!
//! Day files frame their messages in the same way, so [`Blocks`] serves both.

use std::fmt;

use bus::event::Text;
use zerocopy::big_endian::{U16, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Largest payload of a UDP datagram over IPv4.
pub const MAX_DATAGRAM: usize = 65_507;

/// `count` of the datagram that ends a session.
pub const END_OF_SESSION: u16 = u16::MAX;

/// Identity of a session: the ten bytes of the venue, or up to sixteen given by the user or made from a capture.
pub type SessionId = Text<16>;

/// The session of ten bytes as they are on the wire.
pub fn session_id(wire: [u8; 10]) -> SessionId {
    let mut id = SessionId::default();
    id.0[..10].copy_from_slice(&wire);
    id
}

/// The first 20 bytes of every datagram, and the whole of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Header {
    /// Session, padded with spaces.
    pub session: [u8; 10],
    /// Number of the first message.
    pub sequence: U64,
    /// Number of messages, or [`END_OF_SESSION`].
    pub count: U16,
}

/// Bytes of a [`Header`].
pub const HEADER: usize = size_of::<Header>();
const _: () = assert!(HEADER == 20);

impl Header {
    /// A header of `session`, whose first ten bytes travel.
    pub fn new(session: &SessionId, sequence: u64, count: u16) -> Self {
        let mut wire = [0; 10];
        wire.copy_from_slice(&session.0[..10]);
        Self { session: wire, sequence: U64::new(sequence), count: U16::new(count) }
    }
}

/// Why a datagram is not MoldUDP64. Such a datagram is dropped as a whole: the other line or a re-request has better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MoldError {
    /// Shorter than a header.
    Short {
        /// Bytes there are.
        length: usize,
    },
    /// A message reaches beyond the end of the datagram.
    Overrun {
        /// Index of the message in the datagram.
        message: usize,
    },
    /// Bytes follow the last message.
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// Sequence 0, or numbers that exceed 64 bits.
    Numbering {
        /// Number of the first message.
        sequence: u64,
    },
}

impl fmt::Display for MoldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short { length } => write!(f, "a datagram of {length} bytes is shorter than its header"),
            Self::Overrun { message } => {
                write!(f, "message {message} reaches beyond the end of its datagram")
            }
            Self::Trailing { bytes } => write!(f, "{bytes} bytes follow the last message of a datagram"),
            Self::Numbering { sequence } => write!(f, "no message can have the number {sequence}"),
        }
    }
}

impl std::error::Error for MoldError {}

/// Messages that follow each other, each after its length. The framing has been checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocks<'a> {
    bytes: &'a [u8],
    count: usize,
}

impl<'a> Blocks<'a> {
    /// The `count` messages that `bytes` consist of.
    ///
    /// # Errors
    /// If there are fewer, or bytes are left.
    pub fn exactly(count: usize, bytes: &'a [u8]) -> Result<Self, MoldError> {
        let (blocks, rest) = Self::prefix(count, bytes);
        if blocks.count < count {
            return Err(MoldError::Overrun { message: blocks.count });
        }
        if !rest.is_empty() {
            return Err(MoldError::Trailing { bytes: rest.len() });
        }
        Ok(blocks)
    }

    /// The whole messages at the start of `bytes`, at most `limit` of them, and what is left.
    pub fn prefix(limit: usize, bytes: &'a [u8]) -> (Self, &'a [u8]) {
        let (mut rest, mut count) = (bytes, 0);
        while count < limit {
            let Some((_, after)) = split_block(rest) else { break };
            rest = after;
            count += 1;
        }
        (Self { bytes: &bytes[..bytes.len() - rest.len()], count }, rest)
    }

    /// Messages whose framing has been checked before.
    pub(crate) fn checked(count: usize, bytes: &'a [u8]) -> Self {
        debug_assert!(Self::exactly(count, bytes).is_ok());
        Self { bytes, count }
    }

    /// As [`prefix`](Self::prefix), but an empty message is the end mark of a day file and stays outside.
    pub(crate) fn of_day(limit: usize, bytes: &'a [u8]) -> Self {
        let (mut rest, mut count) = (bytes, 0);
        while count < limit {
            let Some((message, after)) = split_block(rest) else { break };
            if message.is_empty() {
                break;
            }
            rest = after;
            count += 1;
        }
        Self { bytes: &bytes[..bytes.len() - rest.len()], count }
    }

    /// The framed bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The first `count` messages, which stay behind; all if there are fewer.
    #[must_use]
    pub fn take_first(&mut self, count: usize) -> Self {
        let (first, rest) = Self::prefix(count.min(self.count), self.bytes);
        *self = Self { bytes: rest, count: self.count - first.count };
        first
    }
}

impl<'a> Iterator for Blocks<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let (message, rest) = split_block(self.bytes)?;
        *self = Self { bytes: rest, count: self.count - 1 };
        Some(message)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.count, Some(self.count))
    }

    /// Number of messages, without walking them.
    fn count(self) -> usize {
        self.count
    }
}

impl ExactSizeIterator for Blocks<'_> {}

#[inline]
fn split_block(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

/// A datagram, understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Its session.
    pub session: SessionId,
    /// Number of its first message, or of the one to come.
    pub sequence: u64,
    /// What it says.
    pub body: Body<'a>,
}

/// What a datagram says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// Messages, one or more.
    Messages(Blocks<'a>),
    /// Nothing new: all before the sequence has been sent.
    Heartbeat,
    /// The session is over: the sequence is one beyond its last message.
    End,
}

impl<'a> Packet<'a> {
    /// Reads a datagram.
    ///
    /// # Errors
    /// See [`MoldError`].
    pub fn parse(datagram: &'a [u8]) -> Result<Self, MoldError> {
        let (header, rest) =
            Header::ref_from_prefix(datagram).map_err(|_| MoldError::Short { length: datagram.len() })?;
        let sequence = header.sequence.get();
        let (count, body) = match header.count.get() {
            0 => (0, Body::Heartbeat),
            END_OF_SESSION => (0, Body::End),
            count => {
                let count = usize::from(count);
                (count, Body::Messages(Blocks::exactly(count, rest)?))
            }
        };
        if count == 0 && !rest.is_empty() {
            return Err(MoldError::Trailing { bytes: rest.len() });
        }
        if sequence == 0 || sequence.checked_add(count as u64).is_none() {
            return Err(MoldError::Numbering { sequence });
        }
        Ok(Self { session: session_id(header.session), sequence, body })
    }

    /// The number after that of its last message.
    pub fn end(&self) -> u64 {
        match self.body {
            Body::Messages(blocks) => self.sequence + blocks.count() as u64,
            Body::Heartbeat | Body::End => self.sequence,
        }
    }
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Number of the first message, from 1.
    pub sequence: u64,
    /// Number of messages, from 1 to 65,534.
    pub count: u16,
}

impl Request {
    /// The datagram of the request.
    pub fn datagram(&self, session: &SessionId) -> Header {
        Header::new(session, self.sequence, self.count)
    }

    /// Reads a request and the session it is about.
    ///
    /// # Errors
    /// Another length, or numbers that no message can have.
    pub fn parse(datagram: &[u8]) -> Result<(SessionId, Self), MoldError> {
        let (header, rest) =
            Header::ref_from_prefix(datagram).map_err(|_| MoldError::Short { length: datagram.len() })?;
        if !rest.is_empty() {
            return Err(MoldError::Trailing { bytes: rest.len() });
        }
        let (sequence, count) = (header.sequence.get(), header.count.get());
        if sequence == 0 || count == 0 || sequence.checked_add(u64::from(count)).is_none() {
            return Err(MoldError::Numbering { sequence });
        }
        Ok((session_id(header.session), Self { sequence, count }))
    }
}

/// Fills a datagram, message by message. The buffer is reused.
///
/// ```
/// use market_gateway::mold::{Packet, PacketWriter, session_id};
///
/// let mut writer = PacketWriter::new(1400);
/// writer.begin(&session_id(*b"20260105  "), 1);
/// assert!(writer.push(b"first") && writer.push(b"second"));
/// let packet = Packet::parse(writer.datagram()).expect("what was written");
/// assert_eq!(packet.end(), 3);
/// ```
#[derive(Debug)]
pub struct PacketWriter {
    bytes: Vec<u8>,
    limit: usize,
    count: u16,
}

impl PacketWriter {
    /// A writer of datagrams of at most `limit` bytes.
    ///
    /// # Panics
    /// If `limit` is not between a header and [`MAX_DATAGRAM`].
    pub fn new(limit: usize) -> Self {
        assert!((HEADER..=MAX_DATAGRAM).contains(&limit), "a datagram of {limit} bytes");
        Self { bytes: Vec::with_capacity(limit), limit, count: 0 }
    }

    /// Begins a datagram whose first message has number `sequence`. Without messages it is a heartbeat.
    pub fn begin(&mut self, session: &SessionId, sequence: u64) {
        self.bytes.clear();
        self.bytes.extend_from_slice(Header::new(session, sequence, 0).as_bytes());
        self.count = 0;
    }

    /// Adds a message; `false` if there is no more room for it.
    ///
    /// # Panics
    /// If no datagram was begun.
    #[must_use]
    pub fn push(&mut self, message: &[u8]) -> bool {
        assert!(self.bytes.len() >= HEADER, "begin a datagram first");
        let Ok(length) = u16::try_from(message.len()) else { return false };
        if self.bytes.len() + 2 + message.len() > self.limit || self.count == END_OF_SESSION - 1 {
            return false;
        }
        self.bytes.extend_from_slice(&length.to_be_bytes());
        self.bytes.extend_from_slice(message);
        self.count += 1;
        let at = std::mem::offset_of!(Header, count);
        self.bytes[at..HEADER].copy_from_slice(&self.count.to_be_bytes());
        true
    }

    /// Number of messages so far.
    pub fn count(&self) -> u16 {
        self.count
    }

    /// The datagram.
    pub fn datagram(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id() -> SessionId {
        session_id(*b"SESSION001")
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(first in 1u64..1 << 60, messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..30)) {
            let mut writer = PacketWriter::new(MAX_DATAGRAM);
            writer.begin(&id(), first);
            for message in &messages {
                prop_assert!(writer.push(message));
            }
            let packet = Packet::parse(writer.datagram()).unwrap();
            prop_assert_eq!((packet.session, packet.sequence, packet.end()), (id(), first, first + messages.len() as u64));
            match packet.body {
                Body::Messages(blocks) => prop_assert!(blocks.eq(messages.iter().map(Vec::as_slice))),
                body => prop_assert!(messages.is_empty() && body == Body::Heartbeat),
            }
        }

        #[test]
        fn no_datagram_is_trusted(bytes in prop::collection::vec(any::<u8>(), 0..200), count in 0u16..4) {
            let mut bytes = bytes;
            if let Some(field) = bytes.get_mut(18..20) {
                field.copy_from_slice(&count.to_be_bytes());
            }
            if let Ok(Packet { sequence, body: Body::Messages(blocks), .. }) = Packet::parse(&bytes) {
                prop_assert!(sequence > 0);
                prop_assert_eq!(blocks.count(), blocks.fold(0, |walked, _| walked + 1));
                prop_assert_eq!(blocks.map(|m| m.len() + 2).sum::<usize>() + HEADER, bytes.len());
            }
        }

        #[test]
        fn blocks_divide_without_loss(lengths in prop::collection::vec(0usize..9, 0..20), cut in 0usize..25) {
            let bytes: Vec<u8> = lengths.iter().flat_map(|&n| [vec![0, u8::try_from(n).unwrap()], vec![7; n]].concat()).collect();
            let whole = Blocks::exactly(lengths.len(), &bytes).unwrap();
            let mut rest = whole;
            let first = rest.take_first(cut);
            prop_assert_eq!(first.count(), cut.min(lengths.len()));
            prop_assert!(first.chain(rest).eq(whole));
        }
    }

    #[test]
    fn each_malformation_has_its_name() {
        let datagram =
            |sequence, count, body: &[u8]| [Header::new(&id(), sequence, count).as_bytes(), body].concat();
        let error = |bytes: &[u8]| Packet::parse(bytes).unwrap_err();
        assert_eq!(error(b"short"), MoldError::Short { length: 5 });
        assert_eq!(error(&datagram(1, 2, b"\0\x01a\0\x09b")), MoldError::Overrun { message: 1 });
        assert_eq!(error(&datagram(1, 1, b"\0\x01ab")), MoldError::Trailing { bytes: 1 });
        assert_eq!(error(&datagram(1, 0, b"x")), MoldError::Trailing { bytes: 1 });
        assert_eq!(error(&datagram(1, END_OF_SESSION, b"\0\x01a")), MoldError::Trailing { bytes: 3 });
        assert_eq!(error(&datagram(0, 1, b"\0\x01a")), MoldError::Numbering { sequence: 0 });
        assert_eq!(error(&datagram(u64::MAX, 1, b"\0\x01a")), MoldError::Numbering { sequence: u64::MAX });
        assert_eq!(Packet::parse(&datagram(9, END_OF_SESSION, b"")).unwrap().body, Body::End);
    }

    #[test]
    fn a_request_travels() {
        let request = Request { sequence: 17_538, count: 3 };
        assert_eq!(Request::parse(request.datagram(&id()).as_bytes()), Ok((id(), request)));
        assert!(Request::parse(Header::new(&id(), 5, 0).as_bytes()).is_err());
    }

    #[test]
    fn a_full_datagram_refuses_the_next_message() {
        let mut writer = PacketWriter::new(HEADER + 10);
        writer.begin(&id(), 1);
        assert!(writer.push(b"12345678"));
        assert!(!writer.push(b""));
        assert_eq!(writer.count(), 1);
        writer.begin(&id(), 2);
        assert_eq!(Packet::parse(writer.datagram()).unwrap().body, Body::Heartbeat);
    }
}
