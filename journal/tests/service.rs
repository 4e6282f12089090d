//! Given one service that writes several journals, expect that each is served as if it were alone.
#![allow(missing_docs)]

mod common;

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{TryRecvError, channel},
    },
    time::{Duration, Instant},
};

use common::{
    Ground, assert_messages, message, segment_name,
    watched::{Act, Watched},
};
use journal::{
    Gate, Journal, PublishError, Service, Token, Writer,
    storage::{
        Completion, Engine, PwriteEngine, Write,
        simulated::{Failure, SimulatedDisk},
    },
};

/// Longer than anything here takes; reaching it fails the test.
const PATIENCE: Duration = Duration::from_secs(60);

/// What an engine did, and whether it may give completions.
#[derive(Debug, Default)]
struct Desk {
    /// The journals of the writes, by their order.
    tokens: Mutex<Vec<u64>>,
    holds: AtomicBool,
    polls: AtomicU64,
}

/// An engine of one write at a time, with a desk beside it.
#[derive(Debug)]
struct Observed {
    below: PwriteEngine,
    desk: Arc<Desk>,
}

impl Engine for Observed {
    fn name(&self) -> &'static str {
        "observed"
    }
    fn depth(&self) -> usize {
        self.below.depth()
    }
    unsafe fn submit(&mut self, write: Write) -> io::Result<()> {
        self.desk.tokens.lock().unwrap().push(write.token);
        // SAFETY: as the caller promised.
        unsafe { self.below.submit(write) }
    }
    fn complete(&mut self, wait: Option<Duration>) -> Option<Completion> {
        self.desk.polls.fetch_add(1, Ordering::SeqCst);
        if self.desk.holds.load(Ordering::SeqCst) { None } else { self.below.complete(wait) }
    }
    fn in_flight(&self) -> usize {
        self.below.in_flight()
    }
}

fn add(service: &mut Service, ground: &Ground) -> (Writer, Token) {
    let Journal { writer, write_out, lock, .. } = journal::open(&ground.places, ground.options()).unwrap();
    (writer, service.add(write_out, lock))
}

fn publish(writer: &mut Writer, body: &[u8]) {
    let start = Instant::now();
    while let Err(error) = writer.append(1, 0, body, || 0) {
        assert_eq!(error, PublishError::Full);
        assert!(start.elapsed() < PATIENCE, "no room is made");
        std::thread::yield_now();
    }
}

fn wait_until_durable(writer: &Writer, sequence: u64) {
    let start = Instant::now();
    while writer.durable() < sequence {
        assert!(start.elapsed() < PATIENCE, "message {} is starved", sequence - 1);
        std::thread::yield_now();
    }
}

fn close(service: &Service, writer: Writer, token: Token) -> bool {
    writer.close();
    service.close(token, PATIENCE).recv().unwrap().unwrap()
}

#[test]
fn completions_in_any_order_find_their_journals() {
    const JOURNALS: usize = 3;
    for seed in 0..5 {
        let disks = [(); JOURNALS].map(|()| SimulatedDisk::new());
        let grounds = disks.each_ref().map(|disk| Ground::on(Arc::new(disk.clone())));
        let engine = disks[0].clone();
        let start = Service::start(Box::new(move || Box::new(engine.engine(4, seed))), || (), || ());
        let mut service = start.unwrap();
        let mut open = grounds.each_ref().map(|ground| add(&mut service, ground));
        // Each journal has its own count of messages, so that none can pass for another.
        let count = |index: usize| 2_000 * (index as u64 + 1);
        for n in 0..count(JOURNALS - 1) {
            for (index, (writer, _)) in open.iter_mut().enumerate() {
                if n < count(index) {
                    publish(writer, &message(n));
                }
            }
        }
        for (index, (writer, _)) in open.iter().enumerate() {
            wait_until_durable(writer, count(index));
        }
        for (index, (writer, token)) in open.into_iter().enumerate() {
            assert!(close(&service, writer, token), "journal {index}");
        }
        for (index, ground) in grounds.iter().enumerate() {
            let (messages, faults) = ground.read_all(Gate::Durable);
            assert!(faults.is_empty(), "journal {index}: {faults:?}");
            assert_messages(&messages, count(index));
        }
    }
}

#[test]
fn a_busy_journal_leaves_its_turn_to_others() {
    let grounds = [Ground::new(), Ground::new()];
    let desk = Arc::new(Desk::default());
    let engine = Observed { below: PwriteEngine::new(), desk: Arc::clone(&desk) };
    // The thread stops at its upkeep when it is asked to, and goes on when it is told.
    let (ask, asked) = channel::<()>();
    let (stopped, stops) = channel();
    let (tell, told) = channel::<()>();
    let upkeep = move || {
        if asked.try_recv().is_ok() {
            stopped.send(()).unwrap();
            told.recv().unwrap();
        }
    };
    let mut service = Service::start(Box::new(move || Box::new(engine)), || (), upkeep).unwrap();
    let [busy, quiet] = grounds.each_ref().map(|ground| add(&mut service, ground));
    let ((mut busy, busy_token), (mut quiet, quiet_token)) = (busy, quiet);
    for writer in [&mut busy, &mut quiet] {
        publish(writer, &message(0));
        wait_until_durable(writer, 1);
    }
    ask.send(()).unwrap();
    stops.recv().unwrap();
    let body = vec![7; 100_000];
    (0..8).for_each(|_| publish(&mut busy, &body));
    publish(&mut quiet, &message(1));
    desk.tokens.lock().unwrap().clear();
    tell.send(()).unwrap();
    wait_until_durable(&busy, 9);
    wait_until_durable(&quiet, 2);
    let tokens = desk.tokens.lock().unwrap().clone();
    assert!(tokens.len() > 4, "what is busy takes several writes: {tokens:?}");
    assert_ne!(tokens[0], tokens[1], "each has its turn: {tokens:?}");
    for (writer, token) in [(busy, busy_token), (quiet, quiet_token)] {
        assert!(close(&service, writer, token));
    }
    assert!(grounds.iter().all(|ground| !ground.memory.exists()));
}

#[test]
fn a_journal_is_not_given_up_while_a_write_of_it_is_in_flight() {
    let ground = Ground::new();
    let desk = Arc::new(Desk::default());
    let engine = Observed { below: PwriteEngine::new(), desk: Arc::clone(&desk) };
    let mut service = Service::start(Box::new(move || Box::new(engine)), || (), || ()).unwrap();
    let (mut writer, token) = add(&mut service, &ground);
    desk.holds.store(true, Ordering::SeqCst);
    publish(&mut writer, &message(0));
    let start = Instant::now();
    while desk.tokens.lock().unwrap().is_empty() {
        assert!(start.elapsed() < PATIENCE, "nothing is written");
        std::thread::yield_now();
    }
    writer.close();
    // It is too late at once, and the thread has been round often since.
    let answer = service.close(token, Duration::ZERO);
    let polls = desk.polls.load(Ordering::SeqCst);
    while desk.polls.load(Ordering::SeqCst) < polls + 200 {
        assert!(start.elapsed() < PATIENCE, "the thread hangs");
        std::thread::yield_now();
    }
    let (early, is_held) = (answer.try_recv(), journal::lock::is_held(&ground.options().lock));
    desk.holds.store(false, Ordering::SeqCst);
    assert_eq!(early.unwrap_err(), TryRecvError::Empty);
    assert!(is_held.unwrap(), "the lock outlives the write");
    answer.recv().unwrap().unwrap();
    assert!(!journal::lock::is_held(&ground.options().lock).unwrap());
    assert_eq!(ground.open().writer().next_sequence(), 1);
}

#[test]
fn a_journal_that_waits_for_its_helper_to_end_holds_up_no_other() {
    let (mut slow, quick) = (Ground::new(), Ground::new());
    // Whoever makes a segment ahead for the slow one stops until it is told to go on.
    let (stopped, stops) = channel();
    let (tell, told) = channel::<()>();
    let told = Mutex::new(told);
    let watch = move |act: Act<'_>| {
        if matches!(act, Act::Created(name) if name == segment_name(1)) {
            stopped.send(()).unwrap();
            told.lock().unwrap().recv().unwrap();
        }
    };
    let below = Arc::clone(&slow.places.storage);
    slow.places.storage = Arc::new(Watched { below, watch: Arc::new(watch) });
    let mut service = Service::start(Box::new(|| Box::new(PwriteEngine::new())), || (), || ()).unwrap();
    let (mut other, other_token) = add(&mut service, &quick);
    publish(&mut other, &message(0));
    wait_until_durable(&other, 1);
    let (mut writer, token) = add(&mut service, &slow);
    publish(&mut writer, &message(0));
    wait_until_durable(&writer, 1);
    stops.recv().unwrap();
    writer.close();
    let answer = service.close(token, PATIENCE);
    for n in 1..100 {
        publish(&mut other, &message(n));
        wait_until_durable(&other, n + 1);
    }
    assert_eq!(answer.try_recv().unwrap_err(), TryRecvError::Empty, "its helper is at it");
    assert!(journal::lock::is_held(&slow.options().lock).unwrap(), "the lock outlives what the helper does");
    tell.send(()).unwrap();
    assert!(answer.recv().unwrap().unwrap());
    assert!(!slow.memory.exists());
    assert!(close(&service, other, other_token));
}

#[test]
fn a_journal_whose_disk_fails_is_poisoned_alone() {
    let disks = [SimulatedDisk::new(), SimulatedDisk::new()];
    let grounds = disks.each_ref().map(|disk| Ground::on(Arc::new(disk.clone())));
    let mut service = Service::start(Box::new(|| Box::new(PwriteEngine::new())), || (), || ()).unwrap();
    let [failing, sound] = grounds.each_ref().map(|ground| add(&mut service, ground));
    let ((mut failing, failing_token), (mut sound, sound_token)) = (failing, sound);
    publish(&mut failing, &message(0));
    wait_until_durable(&failing, 1);
    disks[0].fail_every(1, Some(Failure::Io));
    let mut refused = 1;
    let start = Instant::now();
    let error = loop {
        assert!(start.elapsed() < PATIENCE, "the failure goes unnoticed");
        match failing.append(1, 0, &message(refused), || 0) {
            Ok(_) => refused += 1,
            Err(PublishError::Full) => std::thread::yield_now(),
            Err(error) => break error,
        }
    };
    assert_eq!(error, PublishError::Poisoned(libc::EIO));
    assert!(disks[0].fired().failures > 0);
    for n in 0..5_000 {
        publish(&mut sound, &message(n));
    }
    wait_until_durable(&sound, 5_000);
    assert!(!close(&service, failing, failing_token), "what is not durable stays in memory");
    assert!(close(&service, sound, sound_token));
    drop(service);
    assert_messages(&grounds[1].read_all(Gate::Durable).0, 5_000);
    disks[0].fail_every(1, None);
    assert_eq!(grounds[0].open().writer().next_sequence(), refused, "nothing published is lost");
}

#[test]
fn a_poisoned_journal_is_closed_without_harm_to_what_is_in_flight() {
    for seed in 0..20 {
        let disk = SimulatedDisk::new();
        let ground = Ground::on(Arc::new(disk.clone()));
        let engine = disk.clone();
        let start = Service::start(Box::new(move || Box::new(engine.engine(4, seed))), || (), || ());
        let mut service = start.unwrap();
        let (mut writer, token) = add(&mut service, &ground);
        let mut n = 0;
        while n < 500 && writer.append(1, 0, &message(n), || 0).is_ok() {
            n += 1;
        }
        disk.fail_every(1 + seed % 3, Some(Failure::Io));
        writer.append(1, 0, &message(n), || 0).ok();
        writer.close();
        let closed = service.close(token, Duration::from_secs(5)).recv().unwrap();
        disk.fail_every(1, None);
        if !matches!(closed, Ok(true)) {
            let live = ground.open();
            assert!(live.journal.writer.next_sequence() >= n, "the memory was kept");
        }
    }
}
