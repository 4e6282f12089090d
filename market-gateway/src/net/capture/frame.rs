//! From a captured frame to the payload of a UDP datagram.
//!
//! Ethernet with up to two VLAN tags, Linux cooked (SLL), or raw IP; IPv4 with options, or IPv6 without extension
//! headers. Nothing in a frame is trusted.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

/// Where a datagram was sent to.
pub type Endpoint = (IpAddr, u16);

/// What captured frames begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    Ethernet,
    LinuxCooked,
    RawIp,
}

impl Link {
    /// The link type of a number in a capture's header.
    pub(super) fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::Ethernet),
            113 => Some(Self::LinuxCooked),
            12 | 14 | 101 => Some(Self::RawIp),
            _ => None,
        }
    }
}

/// Why a frame gives no datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoDatagram {
    /// It carries something else.
    Other,
    /// It is a fragment; fragments are not put together.
    Fragment,
    /// It is cut off, or contradicts itself.
    Malformed,
}

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86DD;
const VLAN: [u16; 3] = [0x8100, 0x88A8, 0x9100];
const UDP: u8 = 17;
const IPV6_FRAGMENT: u8 = 44;

/// Where the datagram went, and where in the frame its payload is.
pub(super) fn datagram(link: Link, frame: &[u8]) -> Result<(Endpoint, Range<usize>), NoDatagram> {
    let (protocol, at) = network(link, frame)?;
    let (address, udp) = match protocol {
        IPV4 => ipv4(frame, at)?,
        IPV6 => ipv6(frame, at)?,
        _ => return Err(NoDatagram::Other),
    };
    let port = u16_at(frame, udp.start + 2)?;
    let length = usize::from(u16_at(frame, udp.start + 4)?);
    if length < 8 || length > udp.len() {
        return Err(NoDatagram::Malformed);
    }
    Ok(((address, port), udp.start + 8..udp.start + length))
}

/// The network protocol and where it begins.
fn network(link: Link, frame: &[u8]) -> Result<(u16, usize), NoDatagram> {
    match link {
        Link::Ethernet => {
            let mut at = 12;
            for _ in 0..2 {
                if !VLAN.contains(&u16_at(frame, at)?) {
                    break;
                }
                at += 4;
            }
            Ok((u16_at(frame, at)?, at + 2))
        }
        Link::LinuxCooked => Ok((u16_at(frame, 14)?, 16)),
        Link::RawIp => match u8_at(frame, 0)? >> 4 {
            4 => Ok((IPV4, 0)),
            6 => Ok((IPV6, 0)),
            _ => Err(NoDatagram::Other),
        },
    }
}

fn ipv4(frame: &[u8], at: usize) -> Result<(IpAddr, Range<usize>), NoDatagram> {
    let first = u8_at(frame, at)?;
    let header = usize::from(first & 15) * 4;
    let total = usize::from(u16_at(frame, at + 2)?);
    let fragment = u16_at(frame, at + 6)?;
    let protocol = u8_at(frame, at + 9)?;
    let address = Ipv4Addr::from(bytes_at::<4>(frame, at + 16)?);
    if first >> 4 != 4 || header < 20 || total < header || at + total > frame.len() {
        return Err(NoDatagram::Malformed);
    }
    // All but "don't fragment": more fragments follow, or this one is not the first.
    if fragment & 0x3FFF != 0 {
        return Err(NoDatagram::Fragment);
    }
    if protocol != UDP {
        return Err(NoDatagram::Other);
    }
    Ok((address.into(), at + header..at + total))
}

fn ipv6(frame: &[u8], at: usize) -> Result<(IpAddr, Range<usize>), NoDatagram> {
    let version = u8_at(frame, at)? >> 4;
    let length = usize::from(u16_at(frame, at + 4)?);
    let next = u8_at(frame, at + 6)?;
    let address = Ipv6Addr::from(bytes_at::<16>(frame, at + 24)?);
    let payload = at + 40..at + 40 + length;
    if version != 6 || payload.end > frame.len() {
        return Err(NoDatagram::Malformed);
    }
    match next {
        UDP => Ok((address.into(), payload)),
        IPV6_FRAGMENT => Err(NoDatagram::Fragment),
        _ => Err(NoDatagram::Other),
    }
}

fn bytes_at<const N: usize>(frame: &[u8], at: usize) -> Result<[u8; N], NoDatagram> {
    let bytes = frame.get(at..).and_then(|rest| rest.first_chunk::<N>());
    bytes.copied().ok_or(NoDatagram::Malformed)
}

fn u8_at(frame: &[u8], at: usize) -> Result<u8, NoDatagram> {
    bytes_at::<1>(frame, at).map(|[byte]| byte)
}

fn u16_at(frame: &[u8], at: usize) -> Result<u16, NoDatagram> {
    bytes_at(frame, at).map(u16::from_be_bytes)
}
