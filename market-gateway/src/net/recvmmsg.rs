//! Receiving with recvmmsg: up to 32 packets a call and socket, wherever io_uring is not permitted.

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::ptr;
use std::time::Duration;

use super::Packet;
use super::control::{self, CONTROL_ROOM, NAME_ROOM};
use super::udp::{Intake, Stamps, UdpConfig, Wait};

/// Packets taken from a socket at once.
const MOST: usize = 32;

/// Room for what one call brings.
pub(super) struct Batch {
    slots: Vec<Slot>,
    wait: Wait,
    stamped: bool,
}

struct Slot {
    name: [u8; NAME_ROOM],
    control: [u8; CONTROL_ROOM],
    data: Box<[u8]>,
}

impl Batch {
    pub(super) fn new(config: &UdpConfig) -> Self {
        // One byte more than the longest datagram shows which ones were cut.
        let slot = || Slot {
            name: [0; NAME_ROOM],
            control: [0; CONTROL_ROOM],
            data: vec![0; config.longest + 1].into(),
        };
        let stamped = config.stamps == Stamps::Kernel;
        Self { slots: (0..MOST).map(|_| slot()).collect(), wait: config.wait, stamped }
    }

    pub(super) fn poll(
        &mut self,
        sockets: &[UdpSocket],
        intake: &mut Intake,
        handle: &mut dyn FnMut(Packet<'_>),
    ) -> io::Result<usize> {
        if let Wait::Sleep { longest, .. } = self.wait {
            sleep(sockets, longest)?;
        }
        let mut handed = 0;
        for (line, socket) in sockets.iter().enumerate() {
            let received = self.receive(socket)?;
            let seen = intake.clock.now();
            for (slot, length) in self.slots.iter().zip(received.into_iter().flatten()) {
                let stamp = if self.stamped { control::stamp(&slot.control) } else { None };
                let bytes = slot.data.get(..length).unwrap_or(&slot.data);
                let packet = Packet { line, receive_time: stamp.unwrap_or(seen), bytes };
                handed += intake.admit(packet, control::address(&slot.name), handle);
            }
        }
        Ok(handed)
    }

    /// Fills the slots with what is there and returns the length of each packet, `None` after the last one.
    fn receive(&mut self, socket: &UdpSocket) -> io::Result<[Option<usize>; MOST]> {
        // SAFETY: both are plain structs of integers and pointers, for which zeros are valid.
        let (mut parts, mut headers): ([libc::iovec; MOST], [libc::mmsghdr; MOST]) =
            unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        for ((slot, part), header) in self.slots.iter_mut().zip(&mut parts).zip(&mut headers) {
            slot.control = [0; CONTROL_ROOM];
            *part = libc::iovec { iov_base: slot.data.as_mut_ptr().cast(), iov_len: slot.data.len() };
            header.msg_hdr.msg_iov = part;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_name = slot.name.as_mut_ptr().cast();
            header.msg_hdr.msg_namelen = NAME_ROOM as libc::socklen_t;
            if self.stamped {
                header.msg_hdr.msg_control = slot.control.as_mut_ptr().cast();
                header.msg_hdr.msg_controllen = CONTROL_ROOM;
            }
        }
        // SAFETY: `headers` are MOST valid headers; their parts, names and control room lie in `parts` and in the
        // slots, which outlive the call and are borrowed by nobody else.
        let count = unsafe {
            let flags = libc::MSG_DONTWAIT;
            libc::recvmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), MOST as u32, flags, ptr::null_mut())
        };
        let count = match usize::try_from(count) {
            Ok(count) => count,
            Err(_) => nothing(io::Error::last_os_error())?,
        };
        let mut lengths = [None; MOST];
        for (length, header) in lengths.iter_mut().zip(&headers).take(count) {
            *length = Some(header.msg_len as usize);
        }
        Ok(lengths)
    }
}

/// Waits until a socket has something or `longest` is over.
fn sleep(sockets: &[UdpSocket], longest: Duration) -> io::Result<()> {
    let watch =
        |socket: &UdpSocket| libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let mut watched: Vec<_> = sockets.iter().map(watch).collect();
    let limit = libc::timespec {
        tv_sec: libc::time_t::try_from(longest.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: libc::c_long::from(longest.subsec_nanos() as i32),
    };
    // SAFETY: `watched` is as many entries as stated and `limit` a valid time, both outlive the call.
    let ready =
        unsafe { libc::ppoll(watched.as_mut_ptr(), watched.len() as u64, &raw const limit, ptr::null()) };
    if ready < 0 { nothing(io::Error::last_os_error()).map(drop) } else { Ok(()) }
}

/// No packets, where the error says no more than that.
fn nothing(error: io::Error) -> io::Result<usize> {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(0),
        _ => Err(error),
    }
}
