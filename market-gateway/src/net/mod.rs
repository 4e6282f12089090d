//! Where packets come from: sockets, each kind behind one trait, and captures.

mod buffers;
pub mod capture;
mod control;
mod recvmmsg;
mod socket;
mod udp;
mod uring;

use std::io;

use bus::event::Time;

pub(crate) use socket::sender;
pub(crate) use udp::ipv4;
pub use udp::{Backend, LARGEST_DATAGRAM, OpenError, Stamps, UdpConfig, UdpSource, Wait};
pub use uring::RingRefused;

/// One packet as it came, valid until the handler returns.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a> {
    /// Index of the line it came on; answers to re-requests come on the line after the last redundant one.
    pub line: usize,
    /// When it was received: the kernel's stamp where asked for, else when this process saw it.
    pub receive_time: Time,
    /// The payload.
    pub bytes: &'a [u8],
}

/// A source of packets, polled by the one thread that owns it.
pub trait PacketSource {
    /// Hands over what has arrived, in order within a line, and returns how many packets that were. The work of one
    /// call is bounded.
    ///
    /// # Errors
    /// The source has failed for good. What a network does (loss, strangers, bursts) is counted, not an error.
    fn poll(&mut self, handle: &mut dyn FnMut(Packet<'_>)) -> io::Result<usize>;

    /// What the packets are received with, such as `io_uring` or `recvmmsg`.
    fn backend(&self) -> &'static str;

    /// What happened so far.
    fn counters(&self) -> Counters;
}

/// What happened to packets of a source so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counters {
    /// Packets handed over.
    pub packets: u64,
    /// Packets longer than the buffers: dropped here.
    pub oversize: u64,
    /// Packets from another address than the one asked for: dropped here.
    pub strangers: u64,
    /// Packets that the kernel dropped because a socket's queue was full.
    pub dropped: u64,
    /// How often all buffers were in use and receiving paused; nothing is lost by that alone.
    pub starved: u64,
    /// How often the ring had no room for what had happened, which the kernel kept meanwhile; nothing is lost by that.
    pub overflowed: u64,
}
