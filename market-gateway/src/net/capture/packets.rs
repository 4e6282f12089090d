//! The datagrams of one or more captures in the order in which they were captured.

use std::ops::Range;

use bus::event::Time;
use zerocopy::FromBytes;

use super::frame::{self, Endpoint, NoDatagram};
use super::{Pcap, identity};
use crate::feed::LINES;
use crate::mold::{Body, Header, Packet, SessionId};

/// A datagram as it was captured.
#[derive(Debug)]
pub struct Captured<'a> {
    /// Its line: each destination in each file is one.
    pub line: usize,
    /// When it was captured.
    pub time: Time,
    /// Its payload.
    pub payload: &'a [u8],
}

/// What captures held beside datagrams.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PacketCounters {
    /// Frames that carry no UDP, and datagrams to more destinations than a feed has lines.
    pub other: u64,
    /// Fragments, which are not put together.
    pub fragments: u64,
    /// Frames that are cut off or contradict themselves.
    pub malformed: u64,
}

/// Several captures merged by time. A file's own order is kept where its times go back.
#[derive(Debug)]
pub struct Packets {
    files: Vec<Ahead>,
    lines: Vec<(usize, Endpoint)>,
    counters: PacketCounters,
    /// The file whose datagram was given out last.
    given: Option<usize>,
    numbering: Numbering,
}

/// A file and its next datagram.
#[derive(Debug)]
struct Ahead {
    pcap: Pcap,
    next: Option<(Time, usize, Range<usize>)>,
}

impl Packets {
    /// Merges these captures.
    pub fn new(files: Vec<Pcap>) -> Self {
        let files = files.into_iter().map(|pcap| Ahead { pcap, next: None }).collect::<Vec<_>>();
        let mut packets = Self {
            files,
            lines: Vec::new(),
            counters: PacketCounters::default(),
            given: None,
            numbering: Numbering::default(),
        };
        (0..packets.files.len()).for_each(|file| packets.read(file));
        packets
    }

    /// The next datagram; `None` at the end of all files.
    pub fn next_packet(&mut self) -> Option<Captured<'_>> {
        if let Some(file) = self.given.take() {
            self.read(file);
        }
        let ready = |(index, file): (usize, &Ahead)| file.next.as_ref().map(|(time, ..)| (*time, index));
        let (_, file) = self.files.iter().enumerate().filter_map(ready).min()?;
        self.given = Some(file);
        let Ahead { pcap, next } = &mut self.files[file];
        let (time, line, payload) = next.take()?;
        let payload = pcap.frame().get_mut(payload)?;
        self.numbering.number(time, payload);
        Some(Captured { line, time, payload })
    }

    /// Reads a file up to its next datagram.
    fn read(&mut self, file: usize) {
        while let Some(time) = self.files[file].pcap.read() {
            let pcap = &mut self.files[file].pcap;
            match frame::datagram(pcap.link(), pcap.frame()) {
                Ok((endpoint, payload)) => {
                    if let Some(line) = self.line(file, endpoint) {
                        self.files[file].next = Some((time, line, payload));
                        return;
                    }
                    self.counters.other += 1;
                }
                Err(NoDatagram::Other) => self.counters.other += 1,
                Err(NoDatagram::Fragment) => self.counters.fragments += 1,
                Err(NoDatagram::Malformed) => self.counters.malformed += 1,
            }
        }
    }

    fn line(&mut self, file: usize, endpoint: Endpoint) -> Option<usize> {
        let key = (file, endpoint);
        let known = self.lines.iter().position(|line| *line == key);
        known.or_else(|| {
            (self.lines.len() < LINES).then(|| {
                self.lines.push(key);
                self.lines.len() - 1
            })
        })
    }

    /// The files, in the order in which they were given.
    pub fn files(&self) -> impl Iterator<Item = &Pcap> {
        self.files.iter().map(|file| &file.pcap)
    }

    /// What there was beside datagrams.
    pub fn counters(&self) -> PacketCounters {
        self.counters
    }
}

/// Numbers packets of captures from which session and sequence were erased, so that each stands alone: they are taken
/// for one session, known by the first of them.
#[derive(Debug, Default)]
struct Numbering {
    session: Option<SessionId>,
    messages: u64,
}

impl Numbering {
    fn number(&mut self, time: Time, datagram: &mut [u8]) {
        let Ok((header, rest)) = Header::ref_from_prefix(datagram) else { return };
        let erased = header.session.iter().all(|byte| matches!(byte, 0 | b' ')) && header.sequence.get() == 0;
        if !erased || rest.is_empty() {
            return;
        }
        let session = *self.session.get_or_insert_with(|| {
            identity(blake3::Hasher::new().update(&time.0.to_le_bytes()).update(datagram))
        });
        let count = header.count.get();
        if let Ok((header, _)) = Header::mut_from_prefix(datagram) {
            *header = Header::new(&session, self.messages + 1, count);
        }
        if let Ok(Packet { body: Body::Messages(blocks), .. }) = Packet::parse(datagram) {
            self.messages += blocks.count() as u64;
        }
    }
}
