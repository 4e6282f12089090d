//! A dead journal that tests spoil, and what they then expect.
#![allow(dead_code, missing_docs, unreachable_pub)]

use std::sync::Arc;

use journal::{
    Gate, ReadError, Recovery, Start,
    layout::MarkSlot,
    storage::{Storage, simulated::SimulatedDisk},
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

    /// What a reader sees before any recovery, then what recovery finds, and what a reader sees afterwards.
    pub fn recover(&self) -> Then {
        let before = self.ground.read_all(Gate::Durable);
        let live = self.ground.open();
        let recovery = live.journal.recovery.clone();
        let next = live.journal.writer.next_sequence();
        live.close();
        let after = self.ground.read_all(Gate::Durable);
        Then { before, recovery, next, after }
    }
}

pub type Read = (Vec<(u64, Vec<u8>)>, Vec<ReadError>);

pub struct Then {
    pub before: Read,
    pub recovery: Recovery,
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
