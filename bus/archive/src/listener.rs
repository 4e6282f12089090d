//! The server: one thread takes connections, one thread serves each.

use crate::activity::Activity;
use crate::connection::{self, Shared};
use crate::counters::Counts;
use crate::topics::Lost;
use bus::Bus;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Connections served at once. Where all are taken, the one that is silent longest gives way to a new one, or the new
/// one is closed as none is silent; both are counted.
pub const MOST_CONNECTIONS: usize = 64;

/// How often the accepting thread looks for connections and for the stop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// A running listener. Dropping it stops it.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

/// Why the listener could not start.
#[derive(Debug)]
pub enum ServeError {
    /// The address could not be bound.
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// The system gave no thread.
    Thread(io::Error),
}

impl std::fmt::Display for ServeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bind { address, source } => {
                write!(
                    f,
                    "cannot listen: {address}: {source}; choose a free address of this machine, or port 0"
                )
            }
            Self::Thread(source) => {
                write!(f, "cannot start a thread: listener: {source}; raise the limit of threads")
            }
        }
    }
}

impl std::error::Error for ServeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Bind { source, .. } | Self::Thread(source) => Some(source),
        }
    }
}

impl Server {
    /// Serves the topics of `bus` on `listen`, read-only; port 0 takes a free one. Nobody is asked who they are, so an
    /// address other than loopback opens the bus to whoever reaches it.
    ///
    /// # Errors
    /// [`ServeError`] if the address cannot be bound or no thread can be started.
    pub fn start(bus: Bus, listen: SocketAddr) -> Result<Self, ServeError> {
        let bind = |source| ServeError::Bind { address: listen, source };
        let listener = TcpListener::bind(listen).map_err(bind)?;
        listener.set_nonblocking(true).map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        let shared = Arc::new(Shared::new(bus));
        let for_thread = Arc::clone(&shared);
        let acceptor = thread::Builder::new()
            .name("kafka-accept".to_owned())
            .spawn(move || accept(&listener, &for_thread))
            .map_err(ServeError::Thread)?;
        Ok(Self { address, shared, acceptor: Some(acceptor) })
    }

    /// The address that it listens on, with the port that was taken.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has done so far.
    pub fn counts(&self) -> Counts {
        self.shared.counters.snapshot()
    }

    /// What consumers asked for so far and the journals have lost.
    pub fn lost(&self) -> Vec<Lost> {
        self.shared.topics.lost()
    }

    /// Closes all connections and ends all threads; returns the final counts.
    pub fn stop(mut self) -> Counts {
        self.end();
        self.counts()
    }

    fn end(&mut self) {
        self.shared.stop.request();
        if let Some(acceptor) = self.acceptor.take() {
            // A panic of the acceptor was printed where it happened; there is nothing left to stop.
            let _ = acceptor.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

/// A connection being served.
struct Slot {
    stream: TcpStream,
    thread: JoinHandle<()>,
    activity: Arc<Activity>,
}

impl Slot {
    /// Ends its thread, if that waits for the client.
    fn disconnect(&self) {
        // An error means that the peer closed first, which is as good.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    fn join(self) {
        // A panic of a connection was printed where it happened and concerned that connection alone.
        let _ = self.thread.join();
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut slots: Vec<Slot> = Vec::new();
    while !shared.stop.requested() {
        slots.retain(|slot| !slot.thread.is_finished());
        match listener.accept() {
            Ok(_) if slots.len() >= MOST_CONNECTIONS && !make_room(&mut slots, shared) => {
                shared.counters.turned_away.add(1);
            }
            Ok((stream, _)) => match serve(stream, shared) {
                Some(slot) => slots.push(slot),
                None => shared.counters.turned_away.add(1),
            },
            // Nobody there, or a passing shortage of descriptors: both are over after a pause.
            Err(_) => thread::sleep(ACCEPT_PAUSE),
        }
    }
    slots.iter().for_each(Slot::disconnect);
    slots.into_iter().for_each(Slot::join);
}

/// Ends the connection that is silent longest; false where none is silent long enough.
fn make_room(slots: &mut Vec<Slot>, shared: &Shared) -> bool {
    let silent = slots.iter().enumerate().filter_map(|(at, slot)| Some((slot.activity.silence()?, at)));
    let Some((_, at)) = silent.min().filter(|(_, at)| slots[*at].activity.give_way()) else { return false };
    let slot = slots.swap_remove(at);
    slot.disconnect();
    // It waits for its client only, since what that asks after giving way is not answered: this takes no time.
    slot.join();
    shared.counters.gave_way.add(1);
    true
}

/// Starts the thread of a connection; `None` where the system refuses, which closes the connection.
fn serve(stream: TcpStream, shared: &Arc<Shared>) -> Option<Slot> {
    let activity = Arc::new(Activity::new());
    let for_thread = (Arc::clone(shared), Arc::clone(&activity));
    let own = stream.try_clone().ok()?;
    let thread = thread::Builder::new()
        .name("kafka-client".to_owned())
        .spawn(move || connection::serve(own, &for_thread.0, &for_thread.1))
        .ok()?;
    shared.counters.connections.add(1);
    Some(Slot { stream, thread, activity })
}
