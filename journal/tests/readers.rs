//! Given a journal with these readers, expect that a survey tells them.
#![allow(missing_docs)]

mod common;

use common::{Ground, SEGMENT, message, read_rest};
use journal::{Gate, Owner, Start, Survey};

fn survey(ground: &Ground) -> Survey {
    journal::survey(&ground.places, &ground.disk.join(journal::LOCK)).unwrap()
}

#[test]
fn readers_are_told_with_their_place_and_gate() {
    let ground = Ground::new();
    let mut live = ground.open();
    for n in 0..100 {
        live.publish(&message(n));
    }
    let mut quick = ground.reader(Start::Oldest, Gate::Published);
    let mut slow = ground.reader(Start::Sequence(30), Gate::Durable);
    assert_eq!(survey(&ground).readers, [], "who has read nothing yet follows nothing");
    read_rest(&mut quick);
    live.settle();
    slow.poll().unwrap().unwrap();
    let told: Vec<_> = survey(&ground).readers.iter().map(|r| (r.gate, r.sequence)).collect();
    assert_eq!(told, [(Gate::Published, 100), (Gate::Durable, 31)]);
    drop(quick);
    assert_eq!(survey(&ground).readers.len(), 1);
}

#[test]
fn a_clean_end_leaves_no_memory_behind_a_live_reader_which_is_told_again_later() {
    let ground = Ground::new();
    let mut live = ground.open();
    live.publish(&message(0));
    let mut reader = ground.reader(Start::Oldest, Gate::Published);
    read_rest(&mut reader);
    live.close();
    assert!(!ground.memory.exists());
    let mut live = ground.open();
    live.publish(&message(1));
    let mut seen = 0;
    for _ in 0..100_000 {
        seen += usize::from(reader.poll().unwrap().is_some());
        std::thread::yield_now();
    }
    assert_eq!(seen, 1, "the reader goes on in the new epoch");
    let told: Vec<_> = survey(&ground).readers.iter().map(|r| r.sequence).collect();
    assert_eq!(told, [2]);
}

#[test]
fn pages_of_dead_readers_go_when_the_journal_is_opened() {
    let ground = Ground::new();
    let mut live = ground.open();
    live.publish(&message(0));
    let mut reader = ground.reader(Start::Oldest, Gate::Published);
    read_rest(&mut reader);
    live.die();
    let page = |entry: std::fs::DirEntry| {
        entry.file_name().to_string_lossy().starts_with("reader-").then(|| entry.path())
    };
    let pages = || std::fs::read_dir(&ground.memory).unwrap().flatten().filter_map(page).collect::<Vec<_>>();
    let dead = ground.memory.join("reader-1-0");
    std::fs::copy(&pages()[0], &dead).unwrap();
    assert_eq!((survey(&ground).readers.len(), survey(&ground).owner), (1, Owner::Nobody));
    let _live = ground.open();
    assert!(!dead.exists());
    assert_eq!(pages().len(), 1, "a live reader keeps its page through a change of owner");
}

#[test]
fn a_survey_needs_neither_memory_nor_writer_and_changes_nothing() {
    let ground = Ground::new();
    let mut live = ground.open();
    let mut count = 0;
    while survey(&ground).segments.len() < 3 {
        (0..1_000).for_each(|_| {
            live.publish(&message(count));
            count += 1;
        });
    }
    let told = survey(&ground);
    assert!(matches!(told.owner, Owner::Live(Some(_))) && told.control.is_some());
    assert!(told.memory_bytes >= SEGMENT as u64 && told.disk_bytes >= 3 * SEGMENT as u64);
    live.close();
    let before = std::fs::read_dir(&ground.disk).unwrap().count();
    let told = survey(&ground);
    assert_eq!((told.owner, told.mark.clean, told.memory_bytes), (Owner::Nobody, 1, 0));
    assert_eq!((told.watermarks.first, told.watermarks.durable), (0, count));
    assert!(told.control.is_none() && told.missing.is_empty() && told.segments.iter().all(|s| s.on_disk));
    assert_eq!(std::fs::read_dir(&ground.disk).unwrap().count(), before);
    assert!(!ground.memory.exists());
    let second = told.segments[1];
    std::fs::remove_file(ground.disk.join(format!("{:016x}.segment", second.number))).unwrap();
    assert_eq!(survey(&ground).missing, [(second.number, second.number + 1)]);
}
