//! One line of the simulated exchange.

use std::net::{SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use zerocopy::IntoBytes;

use super::faults::Network;
use super::history::History;
use super::random::Random;
use super::venue::ExchangeConfig;
use crate::mold::{END_OF_SESSION, Header, PacketWriter, SessionId};

/// Payload of a packet that fits an Ethernet frame.
pub(super) const PAYLOAD: usize = 1_400;
/// How often the end of the session is told.
const END_AGAIN: Duration = Duration::from_millis(50);

/// One line: it packs the messages in its own way, so that packet boundaries differ between lines.
pub(super) struct Line {
    socket: UdpSocket,
    address: SocketAddrV4,
    pub(super) network: Network,
    random: Random,
    /// Messages that this line has packed.
    packed: u64,
    /// Most messages in a packet.
    largest: u32,
    packet: PacketWriter,
    heartbeat: Duration,
    /// When the line last said anything.
    spoke: Option<Instant>,
    /// Whether packets went out since the last look.
    is_busy: bool,
}

impl Line {
    /// A line that begins after `packed` messages of the session.
    pub(super) fn new(
        socket: UdpSocket,
        address: SocketAddrV4,
        config: &ExchangeConfig,
        seed: u64,
        packed: u64,
    ) -> Self {
        let mut random = Random::new(seed);
        Self {
            socket,
            address,
            network: Network::new(config.faults, random.next()),
            largest: 8 + random.below(24),
            random,
            packed,
            packet: PacketWriter::new(PAYLOAD),
            heartbeat: config.heartbeat,
            spoke: None,
            is_busy: false,
        }
    }

    /// Sends all messages that were made since the last call; packets with one that is `lost` go nowhere.
    pub(super) fn send(
        &mut self,
        session: &SessionId,
        history: &mut History,
        lost: &dyn Fn(u64) -> bool,
    ) -> usize {
        let mut packets = 0;
        while self.packed < history.made() {
            let doomed = self.pack(session, history, lost);
            let mut send = |datagram: &[u8]| self.socket.send_to(datagram, self.address).is_ok();
            self.network.carry(self.packet.datagram(), doomed, &mut send);
            packets += 1;
        }
        self.is_busy |= packets > 0;
        packets
    }

    /// Fills the next packet and says whether it holds a lost message.
    fn pack(&mut self, session: &SessionId, history: &mut History, lost: &dyn Fn(u64) -> bool) -> bool {
        let limit = (self.packed + u64::from(1 + self.random.below(self.largest))).min(history.made());
        let mut doomed = false;
        self.packet.begin(session, self.packed + 1);
        while self.packed < limit {
            let message = history.get(self.packed + 1, &mut History::ANY.clone());
            if !message.is_some_and(|message| self.packet.push(message.as_bytes())) {
                break;
            }
            self.packed += 1;
            doomed |= lost(self.packed);
        }
        doomed
    }

    /// Tells after some silence that the line lives, or that the session is over, and which message is `next`.
    pub(super) fn keep_alive(&mut self, now: Instant, session: &SessionId, next: u64, ended: bool) {
        let silence = if ended { END_AGAIN.min(self.heartbeat) } else { self.heartbeat };
        if std::mem::take(&mut self.is_busy) {
            self.spoke = Some(now);
            return;
        }
        if self.spoke.is_some_and(|spoke| now.saturating_duration_since(spoke) < silence) {
            return;
        }
        let mut send = |datagram: &[u8]| self.socket.send_to(datagram, self.address).is_ok();
        self.network.flush(&mut send);
        let count = if ended { END_OF_SESSION } else { 0 };
        send(Header::new(session, next, count).as_bytes());
        self.spoke = Some(now);
    }
}
