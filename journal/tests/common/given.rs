//! A dead journal that tests spoil, and what they then expect.
#![allow(dead_code, missing_docs, unreachable_pub)]

use std::sync::Arc;

use journal::{
    Gate, Options, Proof, ReadError, Recovery, Start,
    layout::MarkSlot,
    storage::{PwriteEngine, Storage, simulated::SimulatedDisk},
};
use zerocopy::IntoBytes;

use super::{Ground, Live, SEGMENT, assert_messages, message, read_file, segment_name, write_file};

/// A journal on a disk that tests can spoil.
pub struct Given {
    pub disk: SimulatedDisk,
    pub ground: Ground,
}

impl Given {
    pub fn new() -> Self {
        let disk = SimulatedDisk::new();
        let ground = Ground::on(Arc::new(disk.clone()));
        Self { disk, ground }
    }

    /// A journal of so many messages that its writer has closed.
    pub fn closed(count: u64) -> Self {
        let given = Self::new();
        let mut live = given.ground.open();
        publish(&mut live, 0..count);
        live.close();
        given
    }

    /// A journal whose writer was killed after so many messages: they are in memory, and `settled` of them on disk.
    pub fn killed(count: u64, settled: u64) -> Self {
        let given = Self::new();
        let mut live = given.ground.open();
        publish(&mut live, 0..settled);
        if settled > 0 {
            live.settle();
        }
        publish(&mut live, settled..count);
        live.die();
        given
    }

    /// A journal of so many messages, all durable and proven by the mark, whose machine lost its power.
    pub fn without_power(count: u64) -> Self {
        let given = Self::killed(count, count);
        given.ground.lose_memory();
        assert_eq!(given.mark().sequence, count, "the mark proves all");
        given
    }

    /// The newest segment, and the sequence of its first message, of a journal of so many messages.
    pub fn newest(&self, count: u64) -> (u64, u64) {
        let positions = self.positions();
        assert_eq!(positions.len() as u64, count);
        let newest = positions[positions.len() - 1] / SEGMENT as u64;
        let first = positions.partition_point(|position| *position < newest * SEGMENT as u64);
        assert!(newest > 0, "there are others before it");
        (newest, first as u64)
    }

    /// A dead journal of `first` messages that the mark proves, and `then` more that are on disk but unproven.
    pub fn with_tail(first: u64, then: u64) -> Self {
        let given = Self::new();
        let mut live = given.ground.open();
        publish(&mut live, 0..first);
        live.settle();
        let mark = given.read("mark");
        publish(&mut live, first..first + then);
        live.settle();
        assert_eq!(live.writer().durable(), first + then);
        live.die();
        given.ground.lose_memory();
        given.write("mark", &mark);
        given
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        read_file(&self.disk, name)
    }

    pub fn write(&self, name: &str, bytes: &[u8]) {
        write_file(&self.disk, name, bytes);
    }

    pub fn names(&self) -> Vec<String> {
        self.disk.names().unwrap()
    }

    pub fn flip(&self, position: u64) {
        let name = segment_name(position / SEGMENT as u64);
        let before = self.read(&name);
        self.disk.tamper(&name, position % SEGMENT as u64, |byte| *byte ^= 0x10);
        assert_ne!(before, self.read(&name), "the fault fired");
    }

    /// Rewrites both slots of the mark.
    pub fn change_mark(&self, change: impl Fn(&mut MarkSlot)) {
        let mut bytes = self.read("mark");
        let mut changed = 0;
        for block in bytes.chunks_mut(4096) {
            if let Some(mut slot) = MarkSlot::read(block) {
                change(&mut slot);
                block[..128].copy_from_slice(slot.sealed().as_bytes());
                changed += 1;
            }
        }
        assert!(changed > 0, "the fault fired");
        self.write("mark", &bytes);
    }

    pub fn mark(&self) -> MarkSlot {
        let bytes = self.read("mark");
        bytes.chunks(4096).filter_map(MarkSlot::read).max_by_key(|slot| slot.turn).unwrap()
    }

    /// Positions of all messages.
    pub fn positions(&self) -> Vec<u64> {
        let mut reader = self.ground.reader(Start::Oldest, Gate::Published);
        let mut positions = Vec::new();
        while let Some(frame) = reader.poll().unwrap() {
            positions.push(frame.position);
        }
        positions
    }

    /// Opens it where effects prove this.
    pub fn open_with(&self, proven: &[Proof]) -> Live {
        let options = Options { proven: proven.into(), ..self.ground.options() };
        self.ground.open_with(options, Box::new(PwriteEngine::new())).unwrap()
    }

    /// What a reader sees before any recovery, then what recovery finds, and what a reader sees afterwards.
    pub fn recover(&self) -> Then {
        self.recover_with(&[])
    }

    /// The same, where effects of the messages prove this.
    pub fn recover_with(&self, proven: &[Proof]) -> Then {
        let before = self.ground.read_all(Gate::Durable);
        let live = self.open_with(proven);
        let epoch = live.journal.writer.epoch();
        let recovery = live.journal.recovery.clone();
        let next = live.journal.writer.next_sequence();
        live.close();
        // Whatever was torn: only what had been durable and was cut all the same is told for good.
        assert_eq!(journal::set_aside(&self.ground.places).unwrap(), []);
        let after = self.ground.read_all(Gate::Durable);
        Then { before, recovery, epoch, next, after }
    }
}

pub type Read = (Vec<(u64, Vec<u8>)>, Vec<ReadError>);

pub struct Then {
    pub before: Read,
    pub recovery: Recovery,
    pub epoch: u32,
    pub next: u64,
    pub after: Read,
}

impl Then {
    /// The journal is a prefix of `count` messages without damage.
    pub fn is_prefix(&self, count: u64) {
        assert_eq!(self.next, count);
        assert_eq!(self.recovery.damage, []);
        for (messages, faults) in [&self.before, &self.after] {
            assert_messages(messages, count);
            assert_eq!(*faults, []);
        }
    }

    /// The one fault that a reader meets afterwards: its positions and sequences.
    pub fn told(&self) -> (u64, u64, (u64, u64)) {
        let faults = &self.after.1;
        let [ReadError::Damage { from, to, sequences, .. }] = faults[..] else { panic!("{faults:?}") };
        (from, to, sequences)
    }

    /// All but one range of sequences is there, and the range is reported, also by recovery if the newest segment is
    /// concerned. Answers the damaged positions.
    pub fn lacks(&self, lost: std::ops::Range<u64>, count: u64) -> (u64, u64) {
        assert_eq!(self.next, count);
        let expected: Vec<_> = (0..count).filter(|n| !lost.contains(n)).map(|n| (n, message(n))).collect();
        let mut positions = Vec::new();
        for (messages, faults) in [&self.before, &self.after] {
            assert!(*messages == expected, "{} of {}", messages.len(), expected.len());
            let [ReadError::Damage { from, to, sequences, .. }] = faults[..] else { panic!("{faults:?}") };
            assert_eq!(sequences, (lost.start, lost.end));
            positions.push((from, to));
        }
        assert_eq!(positions[0], positions[1]);
        positions[0]
    }
}

pub fn publish(live: &mut Live, messages: std::ops::Range<u64>) {
    for n in messages {
        assert_eq!(live.publish(&message(n)), n);
    }
}
