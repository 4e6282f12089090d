//! The thread that writes a process's journals to disk: one engine, all journals, short naps when there is nothing. A
//! second one beside it, the helper, prepares their segments.

use std::{
    fmt, io,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, Sender, TryRecvError, channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crate::{
    helper::Helper, lock::OwnerLock, storage::Engine, waiters::sleep_precisely, write_out::WriteOut,
};

/// Rounds without work before the thread naps, and how long it naps then.
const BUSY_ROUNDS: u32 = 64;
const NAP_SHORT: Duration = Duration::from_micros(50);
const NAP_LONG: Duration = Duration::from_micros(250);
/// Nanoseconds between two upkeeps.
const UPKEEP: u64 = 5_000_000;
/// Naps after which they become long: about 100 ms.
const SHORT_NAPS: u32 = 2_000;

/// Makes the engine, on the thread that uses it.
pub type EngineMaker = Box<dyn FnOnce() -> Box<dyn Engine> + Send>;

enum Order {
    Add(u64, Box<WriteOut>, OwnerLock),
    Close(u64, Duration, Sender<io::Result<bool>>),
}

/// Handle of the write-out thread. Dropping it ends the thread once its journals are closed or abandoned.
#[derive(Debug)]
pub struct Service {
    orders: Option<Sender<Order>>,
    thread: Option<JoinHandle<()>>,
    /// Name of the engine that writes now.
    backend: Arc<Mutex<&'static str>>,
    next: u64,
}

impl fmt::Debug for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Order")
    }
}

/// Names a journal to its service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token(u64);

impl Service {
    /// Starts the thread; `setup` runs on it first (pinning), `upkeep` every few milliseconds. Returns when the engine
    /// is chosen.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        engine: EngineMaker,
        setup: impl FnOnce() + Send + 'static,
        upkeep: impl FnMut() + Send + 'static,
    ) -> io::Result<Self> {
        let (sender, receiver) = channel();
        let (chosen, choice) = channel();
        let backend = Arc::new(Mutex::new(""));
        let shown = Arc::clone(&backend);
        let thread = std::thread::Builder::new().name("write-out".into()).spawn(move || {
            setup();
            sleep_precisely();
            let helper = match Helper::start() {
                Ok(helper) => helper,
                Err(error) => {
                    let _ = chosen.send(Err(error));
                    return;
                }
            };
            let engine = engine();
            let (journals, start, upkeep) = (Vec::new(), Instant::now(), Box::new(upkeep));
            let mut this = Loop { engine, journals, helper, start, upkeep, shown: "", backend: shown };
            this.show_backend();
            let _ = chosen.send(Ok(()));
            this.run(&receiver);
        })?;
        // A thread that died while it chose has told why by its panic.
        choice.recv().map_err(|_| io::Error::other("the write-out thread ended at its start"))??;
        Ok(Self { orders: Some(sender), thread: Some(thread), backend, next: 0 })
    }

    /// Name of the engine that writes now.
    pub fn backend(&self) -> &'static str {
        *self.backend.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a journal to the thread, with its lock, which is held until the journal is closed or the service ends.
    pub fn add(&mut self, write_out: WriteOut, lock: OwnerLock) -> Token {
        let token = self.next;
        self.next += 1;
        write_out.show_backend(self.backend());
        self.order(Order::Add(token, Box::new(write_out), lock));
        Token(token)
    }

    /// Ends a journal cleanly once its writer has sealed it and it is durable to its end, which may take `limit`. The
    /// answer comes by the receiver. `Ok(false)`: it was not durable in time, or is poisoned; it stays in memory for its
    /// next owner.
    pub fn close(&self, token: Token, limit: Duration) -> Receiver<io::Result<bool>> {
        let (reply, answer) = channel();
        self.order(Order::Close(token.0, limit, reply));
        answer
    }

    fn order(&self, order: Order) {
        if let Some(orders) = &self.orders {
            // A thread that is gone has told why by its panic; its journals stay in memory for their next owner.
            let _ = orders.send(order);
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Kept {
    token: u64,
    write_out: Box<WriteOut>,
    /// Released after the write-out is gone.
    lock: OwnerLock,
    closing: Option<(Instant, Sender<io::Result<bool>>)>,
}

struct Loop {
    engine: Box<dyn Engine>,
    journals: Vec<Kept>,
    /// Behind the journals, which wait for it when they end.
    helper: Helper,
    start: Instant,
    upkeep: Box<dyn FnMut() + Send>,
    /// Name of the engine that was shown last, and where.
    shown: &'static str,
    backend: Arc<Mutex<&'static str>>,
}

impl Loop {
    /// Shows what writes now, if that has changed.
    fn show_backend(&mut self) {
        if self.shown == self.engine.name() {
            return;
        }
        self.shown = self.engine.name();
        *self.backend.lock().unwrap_or_else(PoisonError::into_inner) = self.shown;
        for kept in &self.journals {
            kept.write_out.show_backend(self.shown);
        }
    }

    fn run(mut self, orders: &Receiver<Order>) {
        let (mut idle, mut kept_up): (u32, u64) = (0, 0);
        loop {
            let now = self.now();
            if now - kept_up > UPKEEP {
                kept_up = now;
                (self.upkeep)();
                self.show_backend();
            }
            match orders.try_recv() {
                Ok(order) => self.take(order),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => break,
            }
            let work = self.round();
            idle = if work > 0 { 0 } else { idle.saturating_add(1) };
            self.rest(idle);
        }
        self.settle();
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn take(&mut self, order: Order) {
        match order {
            Order::Add(token, mut write_out, lock) => {
                write_out.assist(self.helper.hands());
                self.engine.hold(lock.raw_fd());
                self.journals.push(Kept { token, write_out, lock, closing: None });
            }
            Order::Close(token, limit, reply) => {
                match self.journals.iter_mut().find(|kept| kept.token == token) {
                    Some(kept) => kept.closing = Some((Instant::now() + limit, reply)),
                    None => {
                        let _ = reply.send(Ok(false));
                    }
                }
            }
        }
    }

    fn round(&mut self) -> usize {
        let now = self.now();
        let mut work = self.reap(None);
        // Each in turn is first: an engine with few places must not serve one journal only.
        let first = 1.min(self.journals.len());
        self.journals.rotate_left(first);
        for kept in &mut self.journals {
            work += kept.write_out.work(self.engine.as_mut(), kept.token, now);
        }
        self.end_closing();
        work
    }

    fn reap(&mut self, wait: Option<Duration>) -> usize {
        let mut count = 0;
        let mut wait = wait;
        while let Some(done) = self.engine.complete(wait.take()) {
            let now = self.now();
            if let Some(kept) = self.journals.iter_mut().find(|kept| kept.token == done.token) {
                kept.write_out.complete(done, now);
            }
            count += 1;
        }
        count
    }

    fn end_closing(&mut self) {
        let is_due = |kept: &mut Kept| {
            let late = kept.closing.as_ref().is_some_and(|(limit, _)| Instant::now() > *limit);
            // What is in flight keeps its memory, also when the journal is poisoned.
            let is_over = kept.write_out.is_drained() || late;
            kept.closing.is_some() && is_over && !kept.write_out.is_busy()
        };
        while let Some(index) = self.journals.iter_mut().position(is_due) {
            let kept = self.journals.swap_remove(index);
            let result = kept.write_out.close();
            self.engine.release(kept.lock.raw_fd());
            drop(kept.lock);
            if let Some((_, reply)) = kept.closing {
                let _ = reply.send(result);
            }
        }
    }

    fn rest(&mut self, idle: u32) {
        if idle == 0 {
            return;
        }
        if self.engine.in_flight() > 0 {
            self.reap(Some(NAP_SHORT));
        } else if idle < BUSY_ROUNDS {
            std::thread::yield_now();
        } else {
            std::thread::sleep(if idle < SHORT_NAPS { NAP_SHORT } else { NAP_LONG });
        }
    }

    /// Waits for what is in flight: its memory may not go before.
    fn settle(&mut self) {
        while self.engine.in_flight() > 0 {
            self.reap(Some(NAP_LONG));
        }
    }
}
