//! Live lines: UDP sockets, received through io_uring where it is permitted and through recvmmsg elsewhere.

use std::error::Error;
use std::fmt::{self, Display, Formatter};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::time::Duration;

use bus::clock::Clock;
use bus::wait::WaitStrategy;

use super::recvmmsg::Batch;
use super::uring::{Ring, RingRefused};
use super::{Counters, Packet, PacketSource, socket};

/// The largest datagram that any option allows: jumbo frames and some.
pub const LARGEST_DATAGRAM: usize = 9_216;

/// What to receive, and how.
#[derive(Debug, Clone)]
pub struct UdpConfig {
    /// The redundant lines: multicast groups, or local addresses. Port 0 lets the system choose.
    pub lines: Vec<SocketAddrV4>,
    /// Server of re-requests; its answers arrive as one further line.
    pub rerequest: Option<SocketAddrV4>,
    /// Address of the interface on which multicast groups are joined.
    pub interface: Option<Ipv4Addr>,
    /// The only address whose packets count on the lines; others are dropped and counted.
    pub source: Option<Ipv4Addr>,
    /// Who stamps the packets.
    pub stamps: Stamps,
    /// What to do while nothing arrives.
    pub wait: Wait,
    /// Number of buffers for io_uring, a power of two, 8 to 32,768.
    pub buffers: u16,
    /// Longest datagram in bytes, at most [`LARGEST_DATAGRAM`]; longer ones are dropped and counted.
    pub longest: usize,
    /// Bytes asked for as each socket's queue in the kernel.
    pub queue: usize,
    /// What to receive with.
    pub backend: Backend,
}

impl Default for UdpConfig {
    fn default() -> Self {
        Self {
            lines: Vec::new(),
            rerequest: None,
            interface: None,
            source: None,
            stamps: Stamps::Process,
            wait: Wait::Spin,
            buffers: 512,
            longest: 1_920,
            queue: 8 << 20,
            backend: Backend::Automatic,
        }
    }
}

/// Who stamps a packet's receive time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stamps {
    /// This process, once a poll.
    Process,
    /// The kernel, when the packet enters its queue; costs about 50 ns a packet.
    Kernel,
}

/// What a poll does while nothing has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Returns at once: the lowest latency, for a thread on a core of its own.
    Spin,
    /// Sleeps until a packet comes or `longest` has passed; with io_uring it gathers what comes within `gather` of
    /// falling asleep, so that one wake-up serves many packets (20 to 50 µs: a third of the CPU).
    Sleep {
        /// How long to gather packets.
        gather: Duration,
        /// The longest sleep.
        longest: Duration,
    },
}

impl Wait {
    /// Sleeping as measured best on shared cores: gather 50 µs, at most 1 ms.
    pub const BALANCED: Self =
        Self::Sleep { gather: Duration::from_micros(50), longest: Duration::from_millis(1) };
}

/// Where the core plan parks a thread, its sockets wait in the kernel; otherwise they never wait.
impl From<WaitStrategy> for Wait {
    fn from(strategy: WaitStrategy) -> Self {
        match strategy {
            WaitStrategy::Spin | WaitStrategy::Yield => Self::Spin,
            WaitStrategy::Park => Self::BALANCED,
        }
    }
}

/// What to receive with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// io_uring if this process may use it, else recvmmsg; [`UdpSource::fallback`] says why.
    #[serde(rename = "auto")]
    Automatic,
    /// io_uring or an error.
    #[serde(rename = "io_uring")]
    IoUring,
    /// recvmmsg.
    Recvmmsg,
}

/// Why the lines could not be opened.
#[derive(Debug)]
pub enum OpenError {
    /// A socket of `address` could not be bound, joined or set up.
    Socket {
        /// The line's address.
        address: SocketAddrV4,
        /// What the system said.
        error: io::Error,
    },
    /// io_uring was demanded and refused.
    Ring(RingRefused),
}

impl Display for OpenError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket { address, error } => {
                let remedy = match error.kind() {
                    io::ErrorKind::AddrInUse => {
                        "another process receives there; stop it or choose another port"
                    }
                    _ => "give a multicast group, or an address of this machine, and the interface's address",
                };
                write!(f, "cannot receive: {address}: {error}; {remedy}")
            }
            Self::Ring(refused) => refused.fmt(f),
        }
    }
}

impl Error for OpenError {}

/// Open lines.
pub struct UdpSource {
    receiver: Receiver,
    sockets: Vec<UdpSocket>,
    rerequest: Option<SocketAddrV4>,
    intake: Intake,
    fallback: Option<RingRefused>,
    queue: usize,
}

enum Receiver {
    Ring(Box<Ring>),
    Batch(Box<Batch>),
}

impl fmt::Debug for UdpSource {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("UdpSource")
            .field("backend", &self.backend())
            .field("sockets", &self.sockets)
            .finish_non_exhaustive()
    }
}

impl UdpSource {
    /// Binds and joins all lines. The first [`PacketSource::poll`] must come from the thread of all later ones.
    ///
    /// # Errors
    /// See [`OpenError`].
    ///
    /// # Panics
    /// If `buffers` or `longest` are out of their ranges, or there are more than 255 lines.
    pub fn open(config: &UdpConfig) -> Result<Self, OpenError> {
        assert!(
            (8..=super::buffers::MOST_BUFFERS).contains(&config.buffers) && config.buffers.is_power_of_two()
        );
        assert!((1..=LARGEST_DATAGRAM).contains(&config.longest), "datagrams are 1 to 9,216 bytes long");
        assert!(config.lines.len() < 256, "at most 255 lines");
        let mut queue = usize::MAX;
        let mut sockets = Vec::new();
        let answers = config.rerequest.map(|_| SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));
        for &address in config.lines.iter().chain(&answers) {
            let (socket, granted) =
                prepare(address, config).map_err(|error| OpenError::Socket { address, error })?;
            queue = queue.min(granted);
            sockets.push(socket);
        }
        let (receiver, fallback) = receiver(config, &sockets)?;
        let rerequest = config.rerequest;
        Ok(Self { receiver, sockets, rerequest, intake: Intake::new(config), fallback, queue })
    }

    /// Why io_uring is not used although it was wanted.
    pub fn fallback(&self) -> Option<&RingRefused> {
        self.fallback.as_ref()
    }

    /// Bytes of the smallest receive queue that the kernel granted. Bursts beyond it are lost.
    pub fn queue(&self) -> usize {
        self.queue
    }

    /// The local addresses, in the order of the lines, that of re-requests last.
    ///
    /// # Errors
    /// What the system says of a socket.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddrV4>> {
        let address =
            |socket: &UdpSocket| ipv4(socket.local_addr()?).ok_or(io::ErrorKind::Unsupported.into());
        self.sockets.iter().map(address).collect()
    }

    /// Sends a request to the server of re-requests; false if there is none, or no room to send right now.
    ///
    /// # Errors
    /// What the system says, such as an unreachable network.
    pub fn request(&self, datagram: &[u8]) -> io::Result<bool> {
        let (Some(server), Some(socket)) = (self.rerequest, self.sockets.last()) else { return Ok(false) };
        match socket.send_to(datagram, server) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl PacketSource for UdpSource {
    fn poll(&mut self, handle: &mut dyn FnMut(Packet<'_>)) -> io::Result<usize> {
        match &mut self.receiver {
            Receiver::Ring(ring) => ring.poll(&self.sockets, &mut self.intake, handle),
            Receiver::Batch(batch) => batch.poll(&self.sockets, &mut self.intake, handle),
        }
    }

    fn backend(&self) -> &'static str {
        match self.receiver {
            Receiver::Ring(_) => "io_uring",
            Receiver::Batch(_) => "recvmmsg",
        }
    }

    fn counters(&self) -> Counters {
        Counters { dropped: self.sockets.iter().map(socket::drops).sum(), ..self.intake.counters }
    }
}

/// The address of a socket, all of which are IPv4.
pub(crate) fn ipv4(address: SocketAddr) -> Option<SocketAddrV4> {
    match address {
        SocketAddr::V4(address) => Some(address),
        SocketAddr::V6(_) => None,
    }
}

fn prepare(address: SocketAddrV4, config: &UdpConfig) -> io::Result<(UdpSocket, usize)> {
    let socket = socket::receiver(address, config.interface)?;
    let granted = socket::raise_queue(&socket, config.queue)?;
    if config.stamps == Stamps::Kernel {
        socket::stamp_packets(&socket)?;
    }
    Ok((socket, granted))
}

fn receiver(config: &UdpConfig, sockets: &[UdpSocket]) -> Result<(Receiver, Option<RingRefused>), OpenError> {
    let fallback = match config.backend {
        Backend::Recvmmsg => None,
        _ => match Ring::new(config, sockets.len()) {
            Ok(ring) => return Ok((Receiver::Ring(Box::new(ring)), None)),
            Err(refused) if config.backend == Backend::IoUring => return Err(OpenError::Ring(refused)),
            Err(refused) => Some(refused),
        },
    };
    Ok((Receiver::Batch(Box::new(Batch::new(config))), fallback))
}

/// Decides which packets count, and counts them; the same for every backend.
pub(super) struct Intake {
    longest: usize,
    /// For each line the only address it may come from.
    sources: Vec<Option<Ipv4Addr>>,
    pub(super) clock: Clock,
    pub(super) counters: Counters,
}

impl Intake {
    pub(super) fn new(config: &UdpConfig) -> Self {
        let mut sources = vec![config.source; config.lines.len()];
        sources.push(config.source.and(config.rerequest).map(|server| *server.ip()));
        Self { longest: config.longest, sources, clock: Clock::new(), counters: Counters::default() }
    }

    /// Hands a packet over, unless it is too long or from elsewhere.
    pub(super) fn admit(
        &mut self,
        packet: Packet<'_>,
        from: Option<Ipv4Addr>,
        handle: &mut dyn FnMut(Packet<'_>),
    ) -> usize {
        let expected = self.sources.get(packet.line).copied().flatten();
        if expected.is_some() && from != expected {
            self.counters.strangers += 1;
            return 0;
        }
        if packet.bytes.len() > self.longest {
            self.counters.oversize += 1;
            return 0;
        }
        self.counters.packets += 1;
        handle(packet);
        1
    }
}
