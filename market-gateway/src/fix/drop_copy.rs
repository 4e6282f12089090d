//! The agent that keeps a drop copy session alive and journals what it reports.

use bus::event::Time;

use super::{
    connection::{Connection, Opening},
    executions::{ExecutionCounters, Executions, Resume, Taken, Trades, TradesError},
    framing::{Framer, GarbledCounters},
    numbers::Numbers,
    reason::Reason,
    session::{Session, SessionConfig, SessionCounters, Verdict},
};

/// Messages dealt with in one duty cycle.
const BATCH: usize = 256;
/// Output beyond which nothing more is received: a peer that asks and does not read gets no further answers.
const OUTPUT_LIMIT: usize = 64 * 1024;

/// How the bytes of a connection have been used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flow {
    /// So many messages were dealt with, and all that is left is incomplete.
    Drained(usize),
    /// So many messages were dealt with; the rest waits for room in `trades`, for the peer to read, or for the next
    /// duty cycle.
    Waiting(usize),
}

/// The drop copy without its connection: bytes in, executions journalled, bytes out.
#[derive(Debug)]
pub struct Receiver<N> {
    session: Session<N>,
    executions: Executions,
    /// When the numbers last began again, as the executions were told.
    restarted: Time,
    framer: Framer,
}

impl<N: Numbers> Receiver<N> {
    /// Goes on where the journal ends: `resume` has observed its tail.
    pub fn new(config: SessionConfig, resume: Resume, numbers: N) -> Self {
        let restarted = numbers.reserved().restarted;
        let next_inbound = resume.next_inbound(restarted);
        Self {
            session: Session::new(config, next_inbound, numbers),
            executions: resume.into_executions(restarted),
            restarted,
            framer: Framer::default(),
        }
    }

    /// A connection is there: what is left of the last one is forgotten, and the Logon is written.
    ///
    /// # Errors
    /// Our numbers cannot be reserved; close the connection.
    pub fn start(&mut self, now: Time) -> Result<(), Reason> {
        self.framer.clear();
        self.session.start(now)
    }

    /// The session, to send its output and to let it know the time.
    pub fn session(&mut self) -> &mut Session<N> {
        &mut self.session
    }

    /// Where bytes from the peer go: fill [`Framer::room`], then [`process`](Self::process).
    pub fn framer(&mut self) -> &mut Framer {
        &mut self.framer
    }

    /// What became of the executions.
    pub fn executions(&self) -> &ExecutionCounters {
        self.executions.counters()
    }

    /// Deals with the messages that are whole, at most 256.
    ///
    /// # Errors
    /// The connection is to be closed, or `trades` is broken.
    pub fn process(&mut self, now: Time, trades: &mut impl Trades) -> Result<Flow, Stop> {
        for count in 0..BATCH {
            if self.session.output().len() > OUTPUT_LIMIT {
                return Ok(Flow::Waiting(count));
            }
            let Some(message) = self.framer.message() else { return Ok(Flow::Drained(count)) };
            if self.session.receive(now, &message)? == Verdict::Application {
                if self.restarted != self.session.restarted() {
                    self.restarted = self.session.restarted();
                    self.executions.begin_count();
                }
                match self.executions.take(&message, now, trades)? {
                    Taken::Done => self.session.accept(now),
                    Taken::Refused(defect) => self.session.reject(now, &message, defect)?,
                    Taken::Later => return Ok(Flow::Waiting(count)),
                }
            }
            let length = message.length();
            self.framer.consume(length);
        }
        Ok(Flow::Waiting(BATCH))
    }
}

/// Why receiving stops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// The connection is to be closed; the session goes on with the next one.
    Connection(Reason),
    /// `trades` takes nothing any more.
    Trades(TradesError),
}

impl From<Reason> for Stop {
    fn from(reason: Reason) -> Self {
        Self::Connection(reason)
    }
}

impl From<TradesError> for Stop {
    fn from(error: TradesError) -> Self {
        Self::Trades(error)
    }
}

/// All counters of a drop copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DropCopyCounters {
    /// Of the session.
    pub session: SessionCounters,
    /// Of the executions.
    pub executions: ExecutionCounters,
    /// Of what was no message.
    pub garbled: GarbledCounters,
}

/// A drop copy session on a TCP connection, driven by [`do_work`](Self::do_work).
#[derive(Debug)]
pub struct DropCopy<N, T> {
    receiver: Receiver<N>,
    connection: Connection,
    trades: T,
    finishing: bool,
    finished: bool,
    /// Why the connection ended last, until somebody asks.
    ended: Option<Reason>,
}

impl<N: Numbers, T: Trades> DropCopy<N, T> {
    /// A drop copy from `address` (`HOST:PORT`) into `trades`, whose tail `resume` has observed.
    pub fn new(address: String, config: SessionConfig, resume: Resume, numbers: N, trades: T) -> Self {
        Self {
            receiver: Receiver::new(config, resume, numbers),
            connection: Connection::new(address),
            trades,
            finishing: false,
            finished: false,
            ended: None,
        }
    }

    /// One duty cycle: connects, receives, journals, answers. Returns how many messages it dealt with. What the network
    /// and the peer do wrong is counted, [told](Self::take_ended) and mended by connecting again.
    ///
    /// # Errors
    /// `trades` takes nothing any more.
    pub fn do_work(&mut self, now: Time) -> Result<usize, TradesError> {
        if self.finished {
            return Ok(0);
        }
        let worked = match self.connection.poll(now) {
            Opening::Pending => {
                self.finished = self.finishing;
                return Ok(0);
            }
            Opening::Failed(reason) => Err(Stop::Connection(reason)),
            Opening::Opened => self.receiver.start(now).map(|()| 0).map_err(Stop::from),
            Opening::Open => self.receive(now),
        };
        match worked.and_then(|count| self.send(now).map(|()| count)) {
            Ok(count) => Ok(count),
            Err(Stop::Trades(error)) => Err(error),
            Err(Stop::Connection(reason)) => {
                self.close(now, reason);
                Ok(0)
            }
        }
    }

    fn receive(&mut self, now: Time) -> Result<usize, Stop> {
        // Messages that wait are dealt with before the socket is read again: back pressure is the peer's full window.
        let mut flow = self.receiver.process(now, &mut self.trades)?;
        let mut ended = Ok(0);
        if matches!(flow, Flow::Drained(_)) {
            ended = self.connection.read(self.receiver.framer().room());
            if let Ok(count) = ended {
                self.receiver.framer().filled(count);
                flow = self.receiver.process(now, &mut self.trades)?;
            }
        }
        self.receiver.session().tick(now)?;
        if self.receiver.session().is_active() {
            self.connection.settle();
        }
        ended?;
        let (Flow::Drained(count) | Flow::Waiting(count)) = flow;
        Ok(count)
    }

    fn send(&mut self, now: Time) -> Result<(), Stop> {
        if self.finishing
            && let Err(reason) = self.receiver.session().logout(now)
        {
            return Err(reason.into());
        }
        let session = self.receiver.session();
        let count = self.connection.write(session.output())?;
        session.sent(count);
        Ok(())
    }

    fn close(&mut self, now: Time, reason: Reason) {
        // The last words, such as why we log out, are worth one attempt; if they do not get through, so be it.
        let _ = self.connection.write(self.receiver.session().output());
        self.receiver.session().closed(&reason);
        self.connection.close(now);
        self.finished = self.finishing;
        self.ended = Some(reason);
    }

    /// Logs out; keep calling [`do_work`](Self::do_work) until [`is_finished`](Self::is_finished).
    pub fn finish(&mut self) {
        self.finishing = true;
    }

    /// Whether the session has ended after [`finish`](Self::finish).
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// Whether both sides are logged on.
    pub fn is_active(&mut self) -> bool {
        self.receiver.session().is_active()
    }

    /// Why the connection ended last, told once.
    pub fn take_ended(&mut self) -> Option<Reason> {
        self.ended.take()
    }

    /// What happened so far.
    pub fn counters(&mut self) -> DropCopyCounters {
        DropCopyCounters {
            session: self.receiver.session().counters(),
            executions: self.receiver.executions().clone(),
            garbled: self.receiver.framer().garbled(),
        }
    }

    /// Where the executions go.
    pub fn trades(&mut self) -> &mut T {
        &mut self.trades
    }
}
