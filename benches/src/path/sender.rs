//! The venue: sends ITCH over MoldUDP64 at intended times, each of which travels in its message.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};

use bus::clock::Clock;
use bus::event::Time;
use bus::plan::Placement;
use bus::program::Latencies;
use bus::wait::{Idle, WaitStrategy};
use market_gateway::itch::{AddOrder, Head, OrderDelete};
use market_gateway::mold::{END_OF_SESSION, Header, PacketWriter};
use zerocopy::IntoBytes;

use super::schedule::Schedule;

/// Bytes of the longest datagram.
const DATAGRAM: usize = 1_400;
/// The end of the session is sent as often: a datagram may be lost.
const ENDS: usize = 3;

/// What became of a schedule.
pub(super) struct Sent {
    /// How much later than intended each message was handed to the kernel.
    pub(super) late: Latencies,
    /// When the last one was.
    pub(super) last: Time,
    /// Messages sent.
    pub(super) messages: u64,
}

/// Sends a schedule, whole unless it falls far behind. All messages that are due travel in one datagram, as far as they fit.
pub(super) fn send(schedule: &Schedule, to: SocketAddrV4, placement: &Placement) -> io::Result<Sent> {
    super::take_place(placement);
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.connect(to)?;
    let clock = Clock::new();
    let mut idle = Idle::new(match placement.wait {
        // Naps would be coarser than the schedule.
        WaitStrategy::Park => WaitStrategy::Yield,
        other => other,
    });
    let mut writer = PacketWriter::new(DATAGRAM);
    let mut sent = Sent { late: Latencies::new(), last: Time(0), messages: 0 };
    let mut next = 1;
    while next <= schedule.messages {
        let now = clock.now();
        if now > schedule.sending_ends() {
            break;
        }
        if schedule.intended(next) > now {
            idle.idle(0);
            continue;
        }
        next = fill(&mut writer, schedule, next, now, &mut sent.late);
        socket.send(writer.datagram())?;
        (sent.last, sent.messages) = (now, next - 1);
        idle.idle(1);
    }
    let end = Header::new(&Schedule::session(), next, END_OF_SESSION);
    (0..ENDS).try_for_each(|_| socket.send(end.as_bytes()).map(drop))?;
    Ok(sent)
}

/// Fills a datagram with the messages from `next` on that are due; the one that comes after them.
fn fill(
    writer: &mut PacketWriter,
    schedule: &Schedule,
    mut next: u64,
    now: Time,
    late: &mut Latencies,
) -> u64 {
    writer.begin(&Schedule::session(), next);
    while next <= schedule.messages {
        let intended = schedule.intended(next);
        if intended > now || !push(writer, schedule, next, intended) {
            break;
        }
        if schedule.counts(next) {
            late.record(now.0 - intended.0);
        }
        next += 1;
    }
    next
}

/// Adds message `sequence`: orders are added and deleted in turn.
fn push(writer: &mut PacketWriter, schedule: &Schedule, sequence: u64, intended: Time) -> bool {
    let since_midnight = schedule.since_midnight(intended);
    if sequence.is_multiple_of(2) {
        let head = Head::new(OrderDelete::LETTER, 1, since_midnight);
        return writer.push(OrderDelete { head, order: (sequence - 1).into() }.as_bytes());
    }
    let add = AddOrder {
        head: Head::new(AddOrder::LETTER, 1, since_midnight),
        order: sequence.into(),
        side: b'B',
        shares: 100.into(),
        stock: *b"BENCH   ",
        price: 1_000_000.into(),
    };
    writer.push(add.as_bytes())
}
