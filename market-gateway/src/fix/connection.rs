//! The TCP connection of an initiator: connects in the background, never waits, comes back after a growing pause.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    sync::mpsc::{Receiver, TryRecvError, sync_channel},
    thread,
    time::Duration,
};

use bus::event::Time;

use super::reason::Reason;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What [`Connection::poll`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opening {
    /// Not connected yet.
    Pending,
    /// Connected since the last call.
    Opened,
    /// Connected.
    Open,
    /// Could not connect: [close](Connection::close), and it is tried again after a pause.
    Failed(Reason),
}

#[derive(Debug)]
enum Link {
    Down { until: Time },
    Connecting(Receiver<io::Result<TcpStream>>),
    Up(TcpStream),
}

/// A connection to one address.
#[derive(Debug)]
pub struct Connection {
    address: String,
    link: Link,
    pause: Duration,
}

impl Connection {
    /// A connection to `address` (`HOST:PORT`), made by the first [`poll`](Self::poll).
    pub fn new(address: String) -> Self {
        Self { address, link: Link::Down { until: Time(0) }, pause: FIRST_PAUSE }
    }

    /// Connects where there is no connection and the pause is over.
    pub fn poll(&mut self, now: Time) -> Opening {
        match &self.link {
            Link::Up(_) => Opening::Open,
            Link::Down { until } if now < *until => Opening::Pending,
            Link::Down { .. } => match connect(self.address.clone()) {
                Ok(answer) => {
                    self.link = Link::Connecting(answer);
                    Opening::Pending
                }
                Err(error) => Opening::Failed(self.failure(&error)),
            },
            Link::Connecting(answer) => match answer.try_recv() {
                Err(TryRecvError::Empty) => Opening::Pending,
                Err(TryRecvError::Disconnected) => {
                    Opening::Failed(self.failure(&io::Error::other("connecting was abandoned")))
                }
                Ok(Err(error)) => Opening::Failed(self.failure(&error)),
                Ok(Ok(stream)) => {
                    self.link = Link::Up(stream);
                    Opening::Opened
                }
            },
        }
    }

    fn failure(&self, error: &io::Error) -> Reason {
        Reason::Io(format!("{}: {error}", self.address))
    }

    /// The peer has proven to be the right one: the next pause is short again.
    pub fn settle(&mut self) {
        self.pause = FIRST_PAUSE;
    }

    /// Closes, and pauses before the next attempt, twice as long each time up to 30 seconds.
    pub fn close(&mut self, now: Time) {
        let pause = u64::try_from(self.pause.as_nanos()).unwrap_or(u64::MAX);
        self.link = Link::Down { until: Time(now.0.saturating_add(pause)) };
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    /// Reads into `room` what has arrived, and returns how much that was.
    ///
    /// # Errors
    /// The peer has closed, or the connection has failed.
    pub fn read(&mut self, room: &mut [u8]) -> Result<usize, Reason> {
        let Link::Up(stream) = &mut self.link else { return Ok(0) };
        if room.is_empty() {
            return Ok(0);
        }
        match stream.read(room) {
            Ok(0) => Err(Reason::PeerClosed),
            Ok(count) => Ok(count),
            Err(error) if is_temporary(&error) => Ok(0),
            Err(error) => Err(self.failure(&error)),
        }
    }

    /// Sends what the connection takes of `bytes` now, and returns how much that was.
    ///
    /// # Errors
    /// The peer has closed, or the connection has failed.
    pub fn write(&mut self, bytes: &[u8]) -> Result<usize, Reason> {
        let Link::Up(stream) = &mut self.link else { return Ok(0) };
        if bytes.is_empty() {
            return Ok(0);
        }
        match stream.write(bytes) {
            Ok(count) => Ok(count),
            Err(error) if is_temporary(&error) => Ok(0),
            Err(error) => Err(self.failure(&error)),
        }
    }
}

/// Whether a non-blocking call is simply to be made again.
pub(crate) fn is_temporary(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// Connects on a thread of its own: looking up a name and connecting may take seconds, and the caller must not wait.
fn connect(address: String) -> io::Result<Receiver<io::Result<TcpStream>>> {
    let (sender, receiver) = sync_channel(1);
    thread::Builder::new().name("fix-connect".to_owned()).spawn(move || {
        // Nobody waits any more where sending fails; the stream closes then.
        let _ = sender.send(open(&address));
    })?;
    Ok(receiver)
}

fn open(address: &str) -> io::Result<TcpStream> {
    let mut failure = io::Error::new(ErrorKind::NotFound, "no such address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(stream) => {
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => failure = error,
        }
    }
    Err(failure)
}
