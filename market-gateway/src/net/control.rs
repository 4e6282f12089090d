//! What comes beside a datagram: the sender's address and the kernel's receive stamp.

use std::net::Ipv4Addr;

use bus::event::Time;

/// Room for one `SCM_TIMESTAMPNS` control message.
pub(super) const CONTROL_ROOM: usize = 32;
/// Room for an IPv4 socket address.
pub(super) const NAME_ROOM: usize = size_of::<libc::sockaddr_in>();

const HEADER: usize = size_of::<libc::cmsghdr>();

/// The kernel's receive stamp among control messages, if there is one.
pub(super) fn stamp(mut control: &[u8]) -> Option<Time> {
    loop {
        let length = usize::from_ne_bytes(*control.first_chunk()?);
        let level = i32::from_ne_bytes(*control.get(8..)?.first_chunk()?);
        let kind = i32::from_ne_bytes(*control.get(12..)?.first_chunk()?);
        if level == libc::SOL_SOCKET && kind == libc::SCM_TIMESTAMPNS {
            return timespec(control.get(HEADER..length)?);
        }
        control = control.get(length.max(HEADER).checked_next_multiple_of(8)?..)?;
    }
}

fn timespec(bytes: &[u8]) -> Option<Time> {
    let seconds = u64::from_ne_bytes(*bytes.first_chunk()?);
    let nanoseconds = u64::from_ne_bytes(*bytes.get(8..)?.first_chunk()?);
    Some(Time(seconds.checked_mul(1_000_000_000)?.checked_add(nanoseconds)?))
}

/// The address in the bytes of a socket address, if it is IPv4.
pub(super) fn address(name: &[u8]) -> Option<Ipv4Addr> {
    let family = u16::from_ne_bytes(*name.first_chunk()?);
    let octets: [u8; 4] = *name.get(4..)?.first_chunk()?;
    (i32::from(family) == libc::AF_INET).then(|| octets.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: i32, body: &[u8]) -> Vec<u8> {
        let mut bytes = (HEADER + body.len()).to_ne_bytes().to_vec();
        bytes.extend(libc::SOL_SOCKET.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(body);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    fn stamped() -> Vec<u8> {
        message(libc::SCM_TIMESTAMPNS, &[5u64.to_ne_bytes(), 7u64.to_ne_bytes()].concat())
    }

    #[test]
    fn a_stamp_is_found_behind_other_messages() {
        assert_eq!(stamp(&stamped()), Some(Time(5_000_000_007)));
        assert_eq!(stamp(&[message(1, &[1, 2, 3]), stamped()].concat()), Some(Time(5_000_000_007)));
        assert_eq!(stamp(&[]), None);
    }

    #[test]
    fn cut_and_senseless_control_bytes_hold_no_stamp() {
        let whole = stamped();
        for cut in 0..whole.len() {
            assert_eq!(stamp(&whole[..cut]), None, "{cut} bytes");
        }
        let mut endless = whole.clone();
        endless[..8].fill(0xff);
        assert_eq!(stamp(&endless), None);
        let mut standing = [message(1, &[]), message(1, &[])].concat();
        standing[..8].fill(0);
        assert_eq!(stamp(&standing), None);
    }

    #[test]
    fn only_an_ipv4_name_is_an_address() {
        let mut name = vec![2, 0, 0x12, 0x34, 10, 0, 0, 7];
        name.resize(NAME_ROOM, 0);
        assert_eq!(address(&name), Some(Ipv4Addr::new(10, 0, 0, 7)));
        assert_eq!(address(&name[..7]), None);
        name[0] = 10;
        assert_eq!(address(&name), None);
    }
}
