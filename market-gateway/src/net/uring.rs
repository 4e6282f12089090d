//! Receiving through io_uring: one multishot receive a socket into provided buffers.
//!
//! The ring belongs to the one thread that polls it. Its deferred work runs only inside our own calls, and in latency
//! mode there is a call only when the kernel has raised its task-run flag: polling an idle line costs a load. A plain
//! receive carries neither address nor stamp; where one is asked for, each buffer begins with a message header.

use std::error::Error;
use std::fmt::{self, Display, Formatter};
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::time::Duration;
use std::{fs, io, mem};

use io_uring::register::Restriction;
use io_uring::types::{Fd, RecvMsgOut, SubmitArgs, Timespec};
use io_uring::{Builder, IoUring, Submitter, cqueue, opcode, squeue};

use super::Packet;
use super::buffers::{BufferRing, GROUP};
use super::control::{self, CONTROL_ROOM, NAME_ROOM};
use super::udp::{Intake, Stamps, UdpConfig, Wait};

/// Room in a buffer beside the datagram: the message header with name and control bytes, and some to see a cut.
const HEADROOM: usize = 128;

/// Why the kernel refuses io_uring to this process.
#[derive(Debug)]
pub enum RingRefused {
    /// There is no such system call, or a filter says so.
    Absent,
    /// The system's setting forbids it: 1 to ordinary users, 2 to all.
    Setting(u8),
    /// A system call filter (seccomp), as containers have it.
    Filter,
    /// The limit of locked memory is too low.
    LockedMemory,
    /// The kernel lacks what is needed.
    TooOld,
    /// Anything else.
    Other(io::Error),
}

impl RingRefused {
    fn new(error: io::Error) -> Self {
        let setting = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
        Self::explain(error, setting.trim())
    }

    fn explain(error: io::Error, setting: &str) -> Self {
        match (error.raw_os_error(), setting) {
            (Some(libc::ENOSYS), _) => Self::Absent,
            (Some(libc::EPERM), "1") => Self::Setting(1),
            (Some(libc::EPERM), "2") => Self::Setting(2),
            (Some(libc::EPERM | libc::EACCES), _) => Self::Filter,
            (Some(libc::ENOMEM), _) => Self::LockedMemory,
            (Some(libc::EINVAL), _) => Self::TooOld,
            _ => Self::Other(error),
        }
    }
}

impl Display for RingRefused {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str(
                "io_uring: ENOSYS, the kernel lacks it or a system call filter hides it; use Linux 6.1 or later, or \
                 allow io_uring_setup, io_uring_enter and io_uring_register in the filter",
            ),
            Self::Setting(level) => write!(
                f,
                "io_uring: EPERM, kernel.io_uring_disabled is {level}; sysctl kernel.io_uring_disabled=0{}",
                if *level == 1 { ", or join the group of kernel.io_uring_group" } else { "" },
            ),
            Self::Filter => f.write_str(
                "io_uring: EPERM, a system call filter forbids it, as containers do by default; allow \
                 io_uring_setup, io_uring_enter and io_uring_register in the container's seccomp profile",
            ),
            Self::LockedMemory => f.write_str(
                "io_uring: ENOMEM, the limit of locked memory is used up; raise it (ulimit -l, LimitMEMLOCK=)",
            ),
            Self::TooOld => f.write_str("io_uring: EINVAL, this kernel lacks what is needed; use Linux 6.1 or later"),
            Self::Other(error) => write!(f, "io_uring: {error}; see `bus doctor`"),
        }
    }
}

impl Error for RingRefused {}

/// The receiving ring. The order of the fields matters: the ring closes before its buffers go.
pub(super) struct Ring {
    ring: IoUring,
    buffers: BufferRing,
    /// Shape of the message header in each buffer; `None` for plain receives.
    message: Option<Box<libc::msghdr>>,
    /// For each line whether its multishot receive runs.
    armed: Vec<bool>,
    wait: Wait,
    enabled: bool,
}

// SAFETY: the one part that is not `Send` is the message header, whose pointers are all null.
unsafe impl Send for Ring {}

impl Ring {
    /// A ring for `lines` sockets, disabled until the first poll makes the polling thread its owner.
    pub(super) fn new(config: &UdpConfig, lines: usize) -> Result<Self, RingRefused> {
        // Each buffer completes once until it is given back, and each receive ends once until it is started again.
        Self::sized(config, lines, lines + usize::from(config.buffers))
    }

    /// A ring with room for so many completions at least; further ones wait in the kernel.
    fn sized(config: &UdpConfig, lines: usize, completions: usize) -> Result<Self, RingRefused> {
        let build = || {
            // Some sandboxes allow the set-up and refuse the use, which a disabled ring would show too late.
            builder().build(2)?.submit()?;
            let entries = u32::try_from(lines.next_power_of_two().max(8)).map_err(io::Error::other)?;
            let completions = u32::try_from(completions).map_err(io::Error::other)?.max(entries);
            let ring = builder().setup_r_disabled().setup_cqsize(completions).build(entries)?;
            let buffers = BufferRing::new(config.buffers, (config.longest + HEADROOM).next_multiple_of(64))?;
            // SAFETY: both move into one value whose ring is dropped first.
            unsafe { buffers.register(&ring.submitter()) }?;
            restrict(&ring.submitter())?;
            Ok((ring, buffers))
        };
        let (ring, buffers) = build().map_err(RingRefused::new)?;
        let bare = config.stamps == Stamps::Process && config.source.is_none();
        let message = (!bare).then(|| Box::new(message_shape()));
        Ok(Self { ring, buffers, message, armed: vec![false; lines], wait: config.wait, enabled: false })
    }

    pub(super) fn poll(
        &mut self,
        sockets: &[UdpSocket],
        intake: &mut Intake,
        handle: &mut dyn FnMut(Packet<'_>),
    ) -> io::Result<usize> {
        if !self.enabled {
            self.ring.submitter().register_enable_rings()?;
            self.enabled = true;
        }
        self.arm(sockets)?;
        intake.counters.overflowed += u64::from(self.ring.submission().cq_overflow());
        self.enter()?;
        let handed = self.sweep(intake, handle)?;
        self.buffers.publish();
        Ok(handed)
    }

    /// Starts a receive wherever none runs: at first, after the buffers ran out, and whenever the kernel ended one.
    fn arm(&mut self, sockets: &[UdpSocket]) -> io::Result<()> {
        for (line, (armed, socket)) in self.armed.iter_mut().zip(sockets).enumerate() {
            if *armed {
                continue;
            }
            let entry = receive(socket, self.message.as_deref()).user_data(line as u64);
            // SAFETY: the entry refers to the buffer group and to the message shape, both of which live until the
            // ring is closed; the socket may be closed earlier, the kernel then holds it by itself.
            unsafe { self.ring.submission().push(&entry) }.map_err(io::Error::other)?;
            *armed = true;
        }
        Ok(())
    }

    /// Calls the kernel if it has work for us, or if we may wait.
    fn enter(&mut self) -> io::Result<()> {
        let queue = self.ring.submission();
        let called = queue.taskrun() || queue.cq_overflow() || !queue.is_empty();
        drop(queue);
        let entered = match self.wait {
            Wait::Sleep { gather, longest } if self.ring.completion().is_empty() => {
                let gathers = self.ring.params().is_feature_min_timeout();
                sleep(&self.ring.submitter(), gathers.then_some(gather), longest)
            }
            _ if called => self.ring.submit(),
            _ => return Ok(()),
        };
        match entered.as_ref().map_err(io::Error::raw_os_error) {
            Ok(_) | Err(Some(libc::EINTR | libc::ETIME | libc::EAGAIN | libc::EBUSY)) => Ok(()),
            Err(_) => entered.map(drop),
        }
    }

    /// Hands over what completed.
    fn sweep(&mut self, intake: &mut Intake, handle: &mut dyn FnMut(Packet<'_>)) -> io::Result<usize> {
        let seen = intake.clock.now();
        let mut handed = 0;
        for completion in self.ring.completion() {
            let line = completion.user_data() as usize;
            if !cqueue::more(completion.flags()) {
                self.armed[line] = false;
            }
            let Ok(length) = usize::try_from(completion.result()) else {
                match -completion.result() {
                    libc::ENOBUFS => intake.counters.starved += 1,
                    libc::EINTR | libc::EAGAIN => {}
                    error => return Err(io::Error::from_raw_os_error(error)),
                }
                continue;
            };
            let Some(id) = cqueue::buffer_select(completion.flags()) else {
                // An empty datagram needs no buffer.
                let empty = Packet { line, receive_time: seen, bytes: &[] };
                handed += intake.admit(empty, None, handle);
                continue;
            };
            // SAFETY: the id comes from this completion, and the iterator yields each completion once.
            let Some(taken) = (unsafe { self.buffers.take(id, length) }) else { continue };
            handed += match self.message.as_deref() {
                None => intake.admit(Packet { line, receive_time: seen, bytes: &taken }, None, handle),
                Some(shape) => {
                    // The shape and the header's room were ours to state, so that parsing fails only on a short buffer.
                    let Ok(message) = RecvMsgOut::parse(&taken, shape) else { continue };
                    let receive_time = control::stamp(message.control_data()).unwrap_or(seen);
                    let packet = Packet { line, receive_time, bytes: message.payload_data() };
                    intake.admit(packet, control::address(message.name_data()), handle)
                }
            };
        }
        Ok(handed)
    }
}

/// One thread submits, and completions wait until it asks for them.
fn builder() -> Builder {
    let mut builder = IoUring::builder();
    builder.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag();
    builder
}

/// From the moment it is enabled the ring receives into its buffers and does nothing else, whatever is asked of it.
fn restrict(submitter: &Submitter<'_>) -> io::Result<()> {
    submitter.register_restrictions(&mut [
        Restriction::sqe_op(opcode::RecvMulti::CODE),
        Restriction::sqe_op(opcode::RecvMsgMulti::CODE),
        Restriction::sqe_flags_allowed(squeue::Flags::BUFFER_SELECT.bits()),
    ])
}

fn receive(socket: &UdpSocket, message: Option<&libc::msghdr>) -> squeue::Entry {
    let fd = Fd(socket.as_raw_fd());
    match message {
        None => opcode::RecvMulti::new(fd, GROUP).build(),
        Some(shape) => opcode::RecvMsgMulti::new(fd, shape, GROUP).build(),
    }
}

/// How much room each buffer gives to name and control bytes.
fn message_shape() -> libc::msghdr {
    // SAFETY: a plain struct of integers and pointers, for which zeros are valid.
    let mut shape: libc::msghdr = unsafe { mem::zeroed() };
    shape.msg_namelen = NAME_ROOM as libc::socklen_t;
    shape.msg_controllen = CONTROL_ROOM;
    shape
}

/// Submits and sleeps. With `gather` the kernel returns early only if a quarter of a typical batch is there.
fn sleep(submitter: &Submitter<'_>, gather: Option<Duration>, longest: Duration) -> io::Result<usize> {
    const BATCH: usize = 64;
    let limit = Timespec::from(longest);
    let arguments = SubmitArgs::new().timespec(&limit);
    match gather.map(|gather| u32::try_from(gather.as_micros()).unwrap_or(u32::MAX)) {
        None => submitter.submit_with_args(1, &arguments),
        Some(gather) => submitter.submit_with_args(BATCH, &arguments.min_wait_usec(gather)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(error: i32, setting: &str) -> String {
        RingRefused::explain(io::Error::from_raw_os_error(error), setting).to_string()
    }

    #[test]
    fn an_enabled_ring_does_nothing_but_receive() {
        let Ok(Ring { mut ring, .. }) = Ring::new(&UdpConfig::default(), 1) else { return };
        ring.submitter().register_enable_rings().expect("disabled until now");
        // SAFETY: refers to nothing.
        unsafe { ring.submission().push(&opcode::Nop::new().build()) }.expect("room");
        ring.submit_and_wait(1).expect("taken");
        let refused = ring.completion().next().expect("an answer").result();
        assert_eq!(refused, -libc::EACCES);
        let error = ring.submitter().register_files(&[-1]).expect_err("forbidden, too");
        assert_eq!(error.raw_os_error(), Some(libc::EACCES));
    }

    #[test]
    fn what_a_full_ring_cannot_take_is_counted_and_taken_later() {
        let sender = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let config = UdpConfig { buffers: 64, ..UdpConfig::default() };
        for (completions, overflows) in [(8, true), (65, false)] {
            let Ok(mut ring) = Ring::sized(&config, 1, completions) else { return };
            let mut intake = Intake::new(&config);
            let (mut due, mut received) = (0..200u8, Vec::new());
            while received.len() < 200 {
                for number in due.by_ref().take(50) {
                    sender.send_to(&[number], socket.local_addr().expect("bound")).expect("sent");
                }
                let mut keep = |packet: Packet<'_>| received.push(packet.bytes[0]);
                ring.poll(std::slice::from_ref(&socket), &mut intake, &mut keep).expect("received");
            }
            assert!(received.iter().copied().eq(0..200), "{received:?}");
            assert_eq!(intake.counters.overflowed > 0, overflows, "{:?}", intake.counters);
        }
    }

    #[test]
    fn each_refusal_names_its_own_remedy() {
        assert!(explained(libc::ENOSYS, "").contains("6.1"));
        assert!(explained(libc::EPERM, "2").contains("kernel.io_uring_disabled=0"));
        assert!(explained(libc::EPERM, "1").contains("io_uring_group"));
        assert!(explained(libc::EPERM, "0").contains("seccomp"));
        assert!(explained(libc::ENOMEM, "0").contains("ulimit -l"));
        assert!(explained(libc::EINVAL, "0").contains("6.1"));
        assert!(explained(libc::EIO, "0").contains("bus doctor"));
    }
}
