//! Given a subscriber that sleeps, expect that it is woken with the message, or behind the last of several.
#![allow(missing_docs)]

mod common;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use common::{Ground, message, read_rest};
use journal::{Gate, Start};

/// The word that a sleeper sets and its waker takes back, at the beginning of the waiters' page.
struct Sleeper(PathBuf);

impl Sleeper {
    fn fall_asleep(&self) {
        File::options().write(true).open(&self.0).unwrap().write_all_at(&1_u32.to_le_bytes(), 0).unwrap();
    }

    fn is_woken(&self) -> bool {
        fs::read(&self.0).unwrap()[..4] == [0; 4]
    }
}

#[test]
fn a_sleeper_is_woken_with_each_message_unless_the_writer_holds_that() {
    let ground = Ground::new();
    let mut live = ground.open();
    let mut reader = ground.reader(Start::Oldest, Gate::Published);
    let sleeper = Sleeper(ground.memory.join("waiters"));
    sleeper.fall_asleep();
    live.publish(&message(0));
    assert!(sleeper.is_woken());

    sleeper.fall_asleep();
    live.writer().hold_wakes();
    live.publish(&message(1));
    let mut batch = live.writer().batch(1);
    batch.append(1, 0, &message(2)).unwrap();
    batch.commit();
    assert!(!sleeper.is_woken());
    assert_eq!(read_rest(&mut reader).0.len(), 3, "who polls sees them at once");
    live.writer().wake();
    assert!(sleeper.is_woken());

    sleeper.fall_asleep();
    live.publish(&message(3));
    assert!(sleeper.is_woken(), "with each message again");
    live.close();
}
