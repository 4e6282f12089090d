//! One client: frames in, answers out, one at a time and in order, as Kafka does.

use crate::activity::Activity;
use crate::counters::Counters;
use crate::cursor::Cursors;
use crate::requests::{self, Answer};
use crate::told::{Departed, Told};
use crate::topics::Topics;
use bus::Bus;
use bus::program::Stop;
use bytes::Bytes;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Largest request. A consumer's are a few hundred bytes; a producer with its defaults sends up to 1 MiB of records
/// and should learn that it is refused.
const LARGEST_REQUEST: usize = (1 << 20) + (1 << 14);
/// Memory of a request grows with what arrives, not with what its length promises.
const READ_STEP: usize = 64 << 10;
/// How often a waiting read or write looks at the stop and at its time limit.
const TICK: Duration = Duration::from_millis(200);
/// A client that asks for nothing this long gives its readers back, and with them the segments that they hold.
const READERS_KEPT: Duration = Duration::from_secs(10);
/// A client that asks for nothing this long is closed; Kafka's `connections.max.idle.ms`.
const LONGEST_IDLE: Duration = Duration::from_secs(600);
/// A request must arrive, and an answer be taken, within this time.
const LONGEST_TRANSFER: Duration = Duration::from_secs(60);

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) topics: Topics,
    pub(crate) counters: Counters,
    pub(crate) departed: Departed,
    pub(crate) stop: Stop,
}

impl Shared {
    pub(crate) fn new(bus: Bus) -> Self {
        let (counters, departed) = (Counters::default(), Departed::default());
        Self { topics: Topics::new(bus), counters, departed, stop: Stop::new() }
    }
}

/// A connection as the requests see it.
#[derive(Debug)]
pub(crate) struct Session<'a> {
    pub(crate) shared: &'a Shared,
    /// Where the client reached us: what Metadata tells it to connect to.
    pub(crate) address: SocketAddr,
    pub(crate) cursors: Cursors<'a>,
}

/// Why a connection ends.
enum End {
    /// The client left, was too slow or idle, or the listener stops.
    Closed,
    /// The client sent what no client may send.
    Malformed,
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        Self::Closed
    }
}

/// Serves a client until either side ends.
pub(crate) fn serve(stream: TcpStream, shared: &Shared, activity: &Activity) {
    if let Err(End::Malformed) = converse(stream, shared, activity) {
        shared.counters.malformed.add(1);
    }
}

fn converse(mut stream: TcpStream, shared: &Shared, activity: &Activity) -> Result<(), End> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TICK))?;
    stream.set_write_timeout(Some(TICK))?;
    let told = Told::new(&shared.departed, stream.peer_addr()?.ip());
    let mut session = Session { shared, address: stream.local_addr()?, cursors: Cursors::new(told) };
    loop {
        let request = read_request(&mut stream, &mut session)?;
        if !activity.ask() {
            return Ok(());
        }
        match requests::answer(request, &mut session).ok_or(End::Malformed)? {
            Answer::Send(bytes) => write_answer(&mut stream, &bytes, &shared.stop, activity)?,
            Answer::Close => return Ok(()),
        }
    }
}

/// The next frame without its length.
fn read_request(stream: &mut TcpStream, session: &mut Session<'_>) -> Result<Bytes, End> {
    let length = read_length(stream, session)?;
    let mut request = Vec::with_capacity(length.min(READ_STEP));
    let deadline = Instant::now() + LONGEST_TRANSFER;
    while request.len() < length {
        let start = request.len();
        request.resize(length.min(start + READ_STEP), 0);
        let read = read_some(stream, &mut request[start..], &session.shared.stop)?;
        request.truncate(start + read);
        if Instant::now() > deadline {
            return Err(End::Closed);
        }
    }
    Ok(request.into())
}

/// Waits for a request and returns its length.
fn read_length(stream: &mut TcpStream, session: &mut Session<'_>) -> Result<usize, End> {
    let mut bytes = [0; 4];
    let mut filled = 0;
    let since = Instant::now();
    while filled < bytes.len() {
        filled += read_some(stream, &mut bytes[filled..], &session.shared.stop)?;
        let waited = since.elapsed();
        if waited > READERS_KEPT {
            session.cursors.clear();
        }
        if waited > LONGEST_IDLE {
            return Err(End::Closed);
        }
    }
    usize::try_from(i32::from_be_bytes(bytes))
        .ok()
        .filter(|length| *length <= LARGEST_REQUEST)
        .ok_or(End::Malformed)
}

/// Bytes read within a tick, maybe none.
fn read_some(stream: &mut TcpStream, buffer: &mut [u8], stop: &Stop) -> Result<usize, End> {
    match stream.read(buffer) {
        Ok(0) => Err(End::Closed),
        Ok(read) => Ok(read),
        Err(error) if is_passing(&error) && !stop.requested() => Ok(0),
        Err(_) => Err(End::Closed),
    }
}

fn write_answer(stream: &mut TcpStream, bytes: &[u8], stop: &Stop, activity: &Activity) -> Result<(), End> {
    let deadline = Instant::now() + LONGEST_TRANSFER;
    let mut written = 0;
    activity.hand_over();
    while written < bytes.len() {
        match stream.write(&bytes[written..]) {
            Ok(count) => {
                written += count;
                activity.hand_over();
            }
            Err(error) if is_passing(&error) && !stop.requested() => {}
            Err(_) => return Err(End::Closed),
        }
        if Instant::now() > deadline {
            return Err(End::Closed);
        }
    }
    Ok(())
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
