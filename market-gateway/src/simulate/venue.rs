//! The simulated exchange: the market's messages on redundant lines at their intended times, and answers to re-requests.

use std::fmt::{self, Display, Formatter};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bus::clock::Clock;
use bus::program::Date;

use super::drop_copy::{DropCopyServer, DropCopyServerCounters};
use super::faults::{Faults, LineCounters};
use super::fills::Fills;
use super::history::History;
use super::line::{Line, PAYLOAD};
use super::market::Market;
use super::progress::{Day, Progress, ProgressError, ProgressFile};
use super::random::mix;
use super::schedule::Schedule;
use super::truth::{Found, Truth};
use crate::fix::numbers::NumberFile;
use crate::mold::{PacketWriter, Request, SessionId, session_id};
use crate::net;

/// File of the FIX numbers in the directory.
const NUMBERS: &str = "simulate-fix";
/// Requests answered in one call.
const REQUESTS: usize = 64;

/// How the exchange is set up.
#[derive(Debug, Clone)]
pub struct ExchangeConfig {
    /// Where it keeps its progress.
    pub directory: PathBuf,
    /// Seed of the market; `None` is the directory's own, 1 in a new one.
    pub seed: Option<u64>,
    /// Messages a second, as [`MessageRate`](super::MessageRate) bounds them.
    pub rate: u64,
    /// Where each line is sent to.
    pub lines: Vec<SocketAddrV4>,
    /// Where re-requests are answered; port 0 lets the system choose.
    pub rerequest: Option<SocketAddrV4>,
    /// Where the FIX drop copy is served; port 0 lets the system choose.
    pub fix: Option<SocketAddrV4>,
    /// The exchange's name in FIX (its SenderCompID).
    pub comp_id: String,
    /// Address of the interface through which multicast groups are sent.
    pub interface: Option<Ipv4Addr>,
    /// What goes wrong on the lines.
    pub faults: Faults,
    /// A line that is silent for so long sends a heartbeat.
    pub heartbeat: Duration,
    /// Day file of all messages of the session. A file that is there must be empty, or an earlier run's of this session.
    pub truth: Option<PathBuf>,
}

impl Default for ExchangeConfig {
    fn default() -> Self {
        Self {
            directory: PathBuf::new(),
            seed: None,
            rate: 20_000,
            lines: Vec::new(),
            rerequest: None,
            fix: None,
            comp_id: "EXCHANGE".into(),
            interface: None,
            faults: Faults::BAD_DAY,
            heartbeat: Duration::from_secs(1),
            truth: None,
        }
    }
}

/// Why the exchange could not open or go on.
#[derive(Debug)]
pub enum ExchangeError {
    /// Its progress cannot be read or kept.
    Progress(ProgressError),
    /// A socket was refused.
    Socket {
        /// Its address.
        address: SocketAddrV4,
        /// What the system said.
        error: io::Error,
    },
    /// Nothing can be sent through an interface.
    Interface {
        /// Its address.
        address: Ipv4Addr,
        /// What the system said.
        error: io::Error,
    },
    /// The day file cannot be written.
    Truth {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The day file holds something else than this session's messages.
    ForeignTruth(PathBuf),
}

impl Display for ExchangeError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Progress(error) => error.fmt(f),
            Self::Socket { address, error } => {
                write!(f, "cannot use the address: {address}: {error}; give another one")
            }
            Self::Interface { address, error } => write!(
                f,
                "cannot send through the interface: {address}: {error}; give the address of an interface of this machine"
            ),
            Self::Truth { path, error } => {
                write!(f, "cannot write the day file: {}: {error}; give another one", path.display())
            }
            Self::ForeignTruth(path) => write!(
                f,
                "the day file holds something else than this session: {}; move it away, or give another one",
                path.display()
            ),
        }
    }
}

impl std::error::Error for ExchangeError {}

impl From<ProgressError> for ExchangeError {
    fn from(error: ProgressError) -> Self {
        Self::Progress(error)
    }
}

/// What the exchange did so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExchangeCounters {
    /// Messages sent in this run.
    pub messages: u64,
    /// Messages that are missing to the rate: the exchange was called too late, or held back, and does not make up for
    /// more than a moment.
    pub behind: u64,
    /// Messages whose packets were lost on every line.
    pub lost_everywhere: u64,
    /// What became of each line's packets.
    pub lines: Vec<LineCounters>,
    /// What happened on the drop copy.
    pub drop_copy: DropCopyServerCounters,
    /// Re-requests that were answered.
    pub answered: u64,
    /// Datagrams that asked for nothing there is: malformed, of another session, of messages to come.
    pub senseless: u64,
    /// Re-requests that would have cost more than one call may: the asker asks again.
    pub postponed: u64,
}

/// A simulated exchange. Whoever owns it calls [`Self::do_work`] often.
pub struct Exchange {
    session: SessionId,
    progress: Progress,
    file: ProgressFile,
    history: History,
    schedule: Option<Schedule>,
    lines: Vec<Line>,
    server: Option<UdpSocket>,
    drop_copy: Option<DropCopyServer>,
    clock: Clock,
    truth: Option<Truth>,
    config: ExchangeConfig,
    counters: ExchangeCounters,
    /// No message beyond this one is sent.
    held_at: u64,
    /// When the session ended, or a re-request came since.
    last_asked: Option<Instant>,
}

impl Exchange {
    /// Opens the sockets and the directory's session: the one that was left open, or the next one.
    ///
    /// # Errors
    /// See [`ExchangeError`].
    ///
    /// # Panics
    /// If the rate is 0.
    pub fn open(config: &ExchangeConfig) -> Result<Self, ExchangeError> {
        assert!(config.rate > 0, "at least one message a second");
        let clock = Clock::new();
        let today = Date::of(clock.now()).number();
        let Outside { lines, server, listener, truth } = Outside::open(config)?;
        let opened = ProgressFile::open(&config.directory, config.seed, today);
        let (file, progress) = opened.inspect_err(|_| truth.iter().for_each(Found::give_back))?;
        let Progress { seed, day: Day { session, .. }, sent, .. } = progress;
        let listener = config.fix.zip(listener);
        let mut exchange = Self {
            session: session_name(seed, session),
            history: History::new(seed, session, sent),
            schedule: None,
            lines: Vec::new(),
            server,
            drop_copy: listener
                .map(|(address, listener)| report(address, listener, config, &progress))
                .transpose()?,
            clock,
            truth: truth.map(|found| found.begin(|| Market::new(seed, session), sent)).transpose()?,
            config: config.clone(),
            counters: ExchangeCounters::default(),
            held_at: u64::MAX,
            last_asked: None,
            progress,
            file,
        };
        for (socket, &address) in lines.into_iter().zip(&config.lines) {
            exchange.push_line(socket, address);
        }
        Ok(exchange)
    }

    /// Sends one more line to `address`, from the next message on. For whoever must know the exchange's own addresses
    /// before there is anybody to send to.
    ///
    /// # Errors
    /// The socket is refused.
    pub fn add_line(&mut self, address: SocketAddrV4) -> Result<(), ExchangeError> {
        let socket = sender(address, &self.config)?;
        self.push_line(socket, address);
        Ok(())
    }

    fn push_line(&mut self, socket: UdpSocket, address: SocketAddrV4) {
        let Progress { seed, day, sent, .. } = &self.progress;
        let drawn = mix(&[*seed, u64::from(day.session), *sent, self.lines.len() as u64]);
        self.lines.push(Line::new(socket, address, &self.config, drawn, *sent));
    }

    /// The name of the session, as it is on the wire.
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// Number of messages sent in the session.
    pub fn sent(&self) -> u64 {
        self.progress.sent
    }

    /// Messages that are missing to the rate, as in [`ExchangeCounters::behind`].
    pub fn behind(&self) -> u64 {
        self.schedule.as_ref().map_or(0, Schedule::behind)
    }

    /// Seed of the market.
    pub fn seed(&self) -> u64 {
        self.progress.seed
    }

    /// Where re-requests are answered.
    pub fn rerequest(&self) -> Option<SocketAddrV4> {
        self.server.as_ref().and_then(|server| net::ipv4(server.local_addr().ok()?))
    }

    /// Where the FIX drop copy is served.
    pub fn fix(&self) -> Option<SocketAddrV4> {
        self.drop_copy.as_ref().and_then(|server| net::ipv4(server.address().ok()?))
    }

    /// What it did so far.
    pub fn counters(&self) -> ExchangeCounters {
        let lines = self.lines.iter().map(|line| line.network.counters).collect();
        let drop_copy = self.drop_copy.as_ref().map(DropCopyServer::counters).unwrap_or_default();
        ExchangeCounters { behind: self.behind(), lines, drop_copy, ..self.counters.clone() }
    }

    /// Sends what is due and answers requests; the first call begins the schedule. Returns how much there was to do.
    /// The work of one call is bounded.
    ///
    /// # Errors
    /// The progress or the day file cannot be written; nothing is sent that was not recorded.
    pub fn do_work(&mut self, now: Instant) -> Result<usize, ExchangeError> {
        let made = if self.progress.ended { 0 } else { self.make_due(now)? };
        let mut packets = 0;
        let &Progress { seed, sent, ended, .. } = &self.progress;
        for line in &mut self.lines {
            let lost = |number| self.config.faults.loses_everywhere(seed, number);
            packets += line.send(&self.session, &mut self.history, &lost);
            line.keep_alive(now, &self.session, sent + 1, ended);
        }
        let requests = self.answer(now);
        Ok(made as usize + packets + requests + self.report(now))
    }

    /// Sends no message beyond `number` until another one is named. Of what becomes due meanwhile all but a moment's is
    /// [left out](ExchangeCounters::behind). It goes on to say how far it is, and to answer.
    pub fn hold_at(&mut self, number: u64) {
        self.held_at = number;
    }

    /// Ends the session: from now on its end is told and re-requests are answered.
    ///
    /// # Errors
    /// The end cannot be recorded, or the day file cannot be completed.
    pub fn end(&mut self, now: Instant) -> Result<(), ExchangeError> {
        if self.progress.ended {
            return Ok(());
        }
        let ended = Progress { ended: true, ..self.progress.clone() };
        self.file.write(&ended)?;
        self.file.sync()?;
        self.progress = ended;
        self.last_asked = Some(now);
        self.truth.as_mut().map_or(Ok(()), Truth::finish)
    }

    /// How long it has been since the session ended, since anybody asked for anything, and since all fills were told to
    /// everybody who listens; `None` before the end.
    pub fn quiet_for(&self, now: Instant) -> Option<Duration> {
        self.last_asked.map(|asked| now.saturating_duration_since(asked))
    }

    /// How many fills of ours have happened, over all sessions.
    pub fn executions(&self) -> u64 {
        self.progress.fills()
    }

    /// The fills themselves, to be asked for by whoever reports them, on any thread.
    pub fn fills(&self) -> Fills {
        Fills::new(&self.progress)
    }

    /// Makes the messages that are due, after they have been recorded as sent.
    fn make_due(&mut self, now: Instant) -> Result<u64, ExchangeError> {
        let sent = self.progress.sent;
        let schedule = self.schedule.get_or_insert_with(|| Schedule::new(self.config.rate, now, sent));
        let count = schedule.due(now, sent).min(self.held_at.saturating_sub(sent));
        if count == 0 {
            return Ok(0);
        }
        self.progress.sent += count;
        if let Err(error) = self.file.write(&self.progress) {
            self.progress.sent = sent;
            return Err(error.into());
        }
        self.counters.messages += count;
        for number in sent + 1..=sent + count {
            let message = self.history.make();
            if let Some(truth) = &mut self.truth {
                truth.write(message.as_bytes())?;
            }
            self.counters.lost_everywhere +=
                u64::from(self.config.faults.loses_everywhere(self.progress.seed, number));
        }
        Ok(count)
    }

    /// Tells of fills on the drop copy.
    fn report(&mut self, now: Instant) -> usize {
        let fills = self.progress.fills();
        let Some(server) = &mut self.drop_copy else { return 0 };
        server.publish_up_to(fills);
        let work = server.do_work(self.clock.now());
        if server.delivered().is_some_and(|delivered| delivered < fills) {
            self.last_asked = self.last_asked.map(|_| now);
        }
        work
    }

    fn answer(&mut self, now: Instant) -> usize {
        let Some(server) = &self.server else { return 0 };
        let mut effort = History::ANY;
        let mut datagram = [0; 64];
        for taken in 0..REQUESTS {
            let Ok((length, asker)) = server.recv_from(&mut datagram) else { return taken };
            self.last_asked = self.last_asked.map(|_| now);
            let request = Request::parse(&datagram[..length]);
            let Some(request) = request.ok().filter(|(session, _)| *session == self.session).map(|(_, r)| r)
            else {
                self.counters.senseless += 1;
                continue;
            };
            if request.sequence > self.progress.sent {
                self.counters.senseless += 1;
                continue;
            }
            let mut packet = PacketWriter::new(PAYLOAD);
            packet.begin(&self.session, request.sequence);
            for number in request.sequence..request.sequence + u64::from(request.count) {
                match self.history.get(number, &mut effort) {
                    Some(message) if packet.push(message.as_bytes()) => {}
                    _ => break,
                }
            }
            // An answer that the socket refuses is lost like any other datagram: the asker asks again.
            match packet.count() {
                0 => self.counters.postponed += 1,
                _ => self.counters.answered += u64::from(server.send_to(packet.datagram(), asker).is_ok()),
            }
        }
        REQUESTS
    }
}

/// Ten characters: six that stand for the seed, four for the session's number.
pub(super) fn session_name(seed: u64, session: u32) -> SessionId {
    const DIGITS: &[u8; 36] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let (mut wire, mut left) = (*b"0000000000", mix(&[seed]));
    for byte in &mut wire[..6] {
        *byte = DIGITS[(left % 36) as usize];
        left /= 36;
    }
    let mut left = session as usize;
    for byte in wire[6..].iter_mut().rev() {
        *byte = DIGITS[left % 36];
        left /= 36;
    }
    session_id(wire)
}

/// What a configuration names outside the exchange's directory. It is opened first: where it is refused, nothing is left
/// in the directory.
struct Outside {
    /// The sockets of the lines, in their order.
    lines: Vec<UdpSocket>,
    server: Option<UdpSocket>,
    listener: Option<TcpListener>,
    truth: Option<Found>,
}

impl Outside {
    fn open(config: &ExchangeConfig) -> Result<Self, ExchangeError> {
        let lines = config.lines.iter().map(|&address| sender(address, config)).collect::<Result<_, _>>()?;
        let server = config.rerequest.map(serve).transpose()?;
        let listener = config.fix.map(listen).transpose()?;
        let truth = config.truth.as_deref().map(Found::open).transpose()?;
        if let Some(truth) = truth.as_ref().filter(|_| !ProgressFile::is_there(&config.directory)) {
            truth.must_be_empty()?;
        }
        Ok(Self { lines, server, listener, truth })
    }
}

fn sender(address: SocketAddrV4, config: &ExchangeConfig) -> Result<UdpSocket, ExchangeError> {
    net::sender(config.interface).map_err(|error| match config.interface {
        Some(address) => ExchangeError::Interface { address, error },
        None => ExchangeError::Socket { address, error },
    })
}

fn serve(address: SocketAddrV4) -> Result<UdpSocket, ExchangeError> {
    let open = || {
        let socket = UdpSocket::bind(address)?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    };
    open().map_err(|error| ExchangeError::Socket { address, error })
}

fn listen(address: SocketAddrV4) -> Result<TcpListener, ExchangeError> {
    TcpListener::bind(address).map_err(|error| ExchangeError::Socket { address, error })
}

fn report(
    address: SocketAddrV4,
    listener: TcpListener,
    config: &ExchangeConfig,
    progress: &Progress,
) -> Result<DropCopyServer, ExchangeError> {
    let path = config.directory.join(NUMBERS);
    let numbers = NumberFile::open(&path).map_err(|error| ProgressError::File { path, error })?;
    let mut fills = Fills::new(progress);
    let server =
        DropCopyServer::new(listener, &config.comp_id, numbers, move |number| fills.execution(number));
    let mut server = server.map_err(|error| ExchangeError::Socket { address, error })?;
    server.publish_up_to(progress.fills());
    Ok(server)
}
