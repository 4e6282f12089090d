//! UDP sockets with the options that the standard library lacks.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// A non-blocking UDP socket bound to `address`. A multicast address is bound as it is, so that other groups on the
/// same port stay out, and joined on `interface` (the kernel's choice if none is given).
pub(super) fn receiver(address: SocketAddrV4, interface: Option<Ipv4Addr>) -> io::Result<UdpSocket> {
    let multicast = address.ip().is_multicast();
    // SAFETY: creating a socket touches no memory of ours.
    let fd = unsafe {
        libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0)
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `fd` is open, and nobody else has it.
    let socket = UdpSocket::from(unsafe { OwnedFd::from_raw_fd(fd) });
    if multicast {
        // Several processes of a machine may listen to one group.
        set(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, &1i32)?;
    }
    bind(fd, address)?;
    if multicast {
        socket.join_multicast_v4(address.ip(), &interface.unwrap_or(Ipv4Addr::UNSPECIFIED))?;
    }
    Ok(socket)
}

/// A non-blocking UDP socket for sending, to multicast groups through `interface`.
pub(crate) fn sender(interface: Option<Ipv4Addr>) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_nonblocking(true)?;
    if let Some(interface) = interface {
        set(socket.as_raw_fd(), libc::IPPROTO_IP, libc::IP_MULTICAST_IF, &interface.octets())?;
    }
    Ok(socket)
}

/// Raises the socket's receive queue to about `bytes`, beyond the system's limit where permitted, and returns the
/// bytes that it got as the kernel counts them (bookkeeping included).
pub(super) fn raise_queue(socket: &UdpSocket, bytes: usize) -> io::Result<usize> {
    let fd = socket.as_raw_fd();
    let wanted = i32::try_from(bytes / 2).unwrap_or(i32::MAX);
    if set(fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &wanted).is_err() {
        set(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, &wanted)?;
    }
    let mut granted = 0i32;
    get(fd, libc::SO_RCVBUF, &mut granted)?;
    Ok(usize::try_from(granted).unwrap_or(0))
}

/// Asks the kernel to stamp each datagram at its reception.
pub(super) fn stamp_packets(socket: &UdpSocket) -> io::Result<()> {
    set(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, &1i32)
}

/// Datagrams that the kernel dropped because the socket's queue was full; 0 where the kernel does not say.
pub(super) fn drops(socket: &UdpSocket) -> u64 {
    const DROPS: usize = 8;
    let mut figures = [0u32; DROPS + 1];
    match get(socket.as_raw_fd(), libc::SO_MEMINFO, &mut figures) {
        Ok(()) => u64::from(figures[DROPS]),
        Err(_) => 0,
    }
}

fn bind(fd: RawFd, address: SocketAddrV4) -> io::Result<()> {
    let name = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) },
        sin_zero: [0; 8],
    };
    let length = size_of::<libc::sockaddr_in>() as libc::socklen_t;
    // SAFETY: `name` is a socket address of `length` bytes that outlives the call.
    checked(unsafe { libc::bind(fd, (&raw const name).cast(), length) })
}

fn set<T: Copy>(fd: RawFd, level: i32, option: i32, value: &T) -> io::Result<()> {
    let length = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel reads `length` bytes of `value`, all of them a `T`'s, which outlives the call.
    checked(unsafe { libc::setsockopt(fd, level, option, std::ptr::from_ref(value).cast(), length) })
}

/// Reads a socket option into `value`, which any bytes must be valid for.
fn get<T: zerocopy::FromBytes + Copy>(fd: RawFd, option: i32, value: &mut T) -> io::Result<()> {
    let mut length = size_of::<T>() as libc::socklen_t;
    let room = std::ptr::from_mut(value).cast();
    // SAFETY: the kernel writes at most `length` bytes into `value`, for which any bytes are valid.
    checked(unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, option, room, &raw mut length) })
}

fn checked(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
