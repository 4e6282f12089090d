use std::time::Duration;

use super::super::{AlignedBuffer, BLOCK, Engine, Write};
use super::*;

fn block(byte: u8) -> AlignedBuffer {
    let mut block = AlignedBuffer::zeroed(BLOCK);
    block.fill(byte);
    block
}

/// A disk with a durable file `log` of zeros.
fn disk(blocks: usize) -> (SimulatedDisk, Arc<dyn DiskFile>) {
    let disk = SimulatedDisk::new();
    disk.make_directory().expect("made");
    let file = disk.create("log", (blocks * BLOCK) as u64).expect("created");
    file.sync().expect("synced");
    disk.sync().expect("synced");
    (disk, file)
}

fn read(disk: &SimulatedDisk, name: &str) -> Vec<u8> {
    let file = disk.open(name, Access::Read).expect("opened");
    let mut bytes = vec![0; usize::try_from(file.length().expect("powered")).expect("small")];
    file.read_at(&mut bytes, 0).expect("read");
    bytes
}

fn add(sum: &mut Fired, fired: Fired) {
    sum.kept_sectors += fired.kept_sectors;
    sum.dropped_sectors += fired.dropped_sectors;
    sum.torn_writes += fired.torn_writes;
    sum.torn_sectors += fired.torn_sectors;
    sum.lost_names += fired.lost_names;
}

#[test]
fn durable_bytes_survive_and_volatile_ones_may_not() {
    let (disk, file) = disk(3);
    file.write_durable_at(&block(1), 0).expect("written");
    file.write_at(&block(2), BLOCK as u64).expect("written");
    file.sync().expect("synced");
    file.write_at(&block(3), 2 * BLOCK as u64).expect("written");
    assert_eq!(read(&disk, "log")[2 * BLOCK], 3);
    disk.cut();
    assert!(is_power_cut(&file.sync().expect_err("dark")));
    let mut sum = Fired::default();
    for seed in 0..64 {
        let found = disk.after_cut(seed);
        let bytes = read(&found, "log");
        assert!(bytes[..BLOCK].iter().all(|byte| *byte == 1));
        assert!(bytes[BLOCK..2 * BLOCK].iter().all(|byte| *byte == 2));
        assert!(bytes[2 * BLOCK..].iter().all(|byte| *byte == 0 || *byte == 3));
        assert_eq!(bytes, read(&disk.after_cut(seed), "log"), "the same seed, the same disk");
        add(&mut sum, found.fired());
    }
    assert!(sum.kept_sectors > 0 && sum.dropped_sectors > 0, "{sum:?}");
    assert!(sum.torn_writes > 0 && sum.torn_sectors > 0, "{sum:?}");
}

#[test]
fn a_durable_write_is_not_undone_by_an_earlier_volatile_one() {
    let (disk, file) = disk(1);
    file.write_at(&block(1), 0).expect("written");
    file.write_durable_at(&block(2), 0).expect("written");
    disk.cut();
    for seed in 0..32 {
        assert!(read(&disk.after_cut(seed), "log").iter().all(|byte| *byte == 2));
    }
}

#[test]
fn names_are_durable_with_their_directory_only() {
    let (disk, file) = disk(1);
    file.write_durable_at(&block(1), 0).expect("written");
    disk.create("new", 0).expect("created").sync().expect("synced");
    disk.rename("log", "renamed").expect("renamed");
    disk.cut();
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..64 {
        let found = disk.after_cut(seed);
        let names = found.names().expect("powered");
        let log = names.iter().find(|name| *name != "new").expect("one of its names");
        assert_eq!(read(&found, log), vec![1; BLOCK]);
        seen.insert(names);
    }
    assert_eq!(seen.len(), 4, "new or not, renamed or not: {seen:?}");
}

#[test]
fn a_cut_fails_its_operation_and_all_after_it() {
    let (disk, file) = disk(1);
    disk.cut_at(disk.operations() + 1);
    file.write_durable_at(&block(1), 0).expect("before the cut");
    assert!(is_power_cut(&file.write_durable_at(&block(2), 0).expect_err("during it")));
    assert!(is_power_cut(&disk.names().expect_err("after it")));
    let found: std::collections::BTreeSet<_> =
        (0..64).flat_map(|seed| read(&disk.after_cut(seed), "log")).collect();
    assert_eq!(Vec::from_iter(found), [1, 2]);
}

#[test]
fn failures_fire_and_are_counted() {
    let (disk, file) = disk(2);
    disk.fail_every(2, Some(Failure::NoSpace));
    let results: Vec<_> = (0..4).map(|_| file.write_at(&block(1), 0).map_err(|error| error.kind())).collect();
    assert_eq!(results.iter().filter(|result| **result == Err(ErrorKind::StorageFull)).count(), 2);
    for _ in 0..4 {
        file.sync().expect("takes no space");
    }
    assert_eq!(disk.fired().failures, 2);
    disk.fail_every(1, Some(Failure::Io));
    file.write_at(&block(7), 0).expect_err("failed");
    disk.fail_every(1, None);
    file.sync().expect("synced");
    disk.cut();
    let found: std::collections::BTreeSet<_> =
        (0..64).map(|seed| read(&disk.after_cut(seed), "log")[0]).collect();
    assert_eq!(Vec::from_iter(found), [1, 7], "no sync vouches for a write that failed");
}

#[test]
fn a_second_sync_does_not_mend_the_first() {
    let (disk, file) = disk(1);
    file.write_at(&block(1), 0).expect("written");
    disk.fail_every(1, Some(Failure::Io));
    file.sync().expect_err("failed");
    disk.fail_every(1, None);
    file.sync().expect("says nothing");
    disk.cut();
    assert!((0..32).any(|seed| read(&disk.after_cut(seed), "log").contains(&0)));
}

#[test]
fn a_full_disk_refuses_and_resumes() {
    let (disk, file) = disk(1);
    disk.limit_space(2 * BLOCK as u64);
    assert_eq!(disk.free_space().expect("powered"), BLOCK as u64);
    let full = disk.create("more", 2 * BLOCK as u64).expect_err("full");
    assert_eq!(full.kind(), ErrorKind::StorageFull);
    assert_eq!(disk.names().expect("powered"), ["log"]);
    file.write_at(&block(1), 2 * BLOCK as u64).expect_err("full");
    disk.limit_space(1 << 20);
    disk.create("more", 2 * BLOCK as u64).expect("room");
}

/// Writes each block of the log durably, several in flight, until the power fails; answers the blocks
/// that were acknowledged.
fn write_all(disk: &SimulatedDisk, file: &Arc<dyn DiskFile>, blocks: &[AlignedBuffer]) -> Vec<u64> {
    let mut engine = disk.engine(4, 11);
    let mut acknowledged = Vec::new();
    let mut take = |engine: &mut SimulatedEngine| {
        let done = engine.complete(Some(Duration::ZERO)).expect("in flight");
        acknowledged.extend(done.result.is_ok().then_some(done.token));
    };
    for (token, bytes) in (0..).zip(blocks) {
        if engine.in_flight() == engine.depth() {
            take(&mut engine);
        }
        let file = Arc::clone(file);
        let write = Write { file, bytes: bytes.as_ptr(), length: BLOCK, offset: token * BLOCK as u64, token };
        // SAFETY: the blocks outlive the engine.
        unsafe { engine.submit(write) }.expect("always taken");
    }
    while engine.in_flight() > 0 {
        take(&mut engine);
    }
    acknowledged
}

/// Cuts a run of the engine at each of its operations; answers how many acknowledged blocks were lost.
fn lost_blocks(lie: Option<Lie>) -> usize {
    let blocks: Vec<_> = (1..=12).map(block).collect();
    let count = {
        let (disk, file) = disk(blocks.len());
        write_all(&disk, &file, &blocks);
        disk.operations()
    };
    let mut lost = 0;
    for operation in 4..count {
        let (disk, file) = disk(blocks.len());
        disk.lie(lie);
        disk.cut_at(operation);
        let acknowledged = write_all(&disk, &file, &blocks);
        for seed in 0..8 {
            let bytes = read(&disk.after_cut(seed), "log");
            let is_lost = |block: &&u64| {
                let from = usize::try_from(**block).expect("small") * BLOCK;
                bytes[from..from + BLOCK] != blocks[from / BLOCK][..]
            };
            lost += acknowledged.iter().filter(is_lost).count();
        }
    }
    lost
}

#[test]
fn what_the_engine_acknowledged_survives_a_cut_at_any_operation() {
    assert_eq!(lost_blocks(None), 0);
}

#[test]
fn a_disk_that_acknowledges_too_early_is_caught() {
    assert!(lost_blocks(Some(Lie::Writes)) > 100);
}

#[test]
fn other_lies_are_caught_too() {
    for lie in [Lie::Syncs, Lie::Names] {
        let disk = SimulatedDisk::new();
        disk.make_directory().expect("made");
        disk.lie(Some(lie));
        let file = disk.create("log", BLOCK as u64).expect("created");
        file.write_at(&block(1), 0).expect("written");
        file.sync().expect("claims to");
        disk.sync().expect("claims to");
        disk.cut();
        let lost = (0..32).filter(|seed| {
            let found = disk.after_cut(*seed);
            found.names().expect("powered").is_empty() || read(&found, "log") != vec![1; BLOCK]
        });
        assert!(lost.count() > 4);
    }
}

#[test]
#[should_panic(expected = "changed in flight")]
fn memory_that_changes_in_flight_is_caught() {
    let (disk, file) = disk(1);
    let mut engine = disk.engine(1, 0);
    let mut bytes = block(1);
    let write = Write { file, bytes: bytes.as_mut_ptr(), length: BLOCK, offset: 0, token: 0 };
    // SAFETY: the memory stays mapped; that it changes is what the engine must notice, and nobody else
    // looks at it meanwhile.
    unsafe { engine.submit(write) }.expect("taken");
    bytes[9] = 2;
    engine.complete(Some(Duration::ZERO));
}

#[test]
fn rot_is_durable() {
    let (disk, _file) = disk(1);
    disk.tamper("log", 100, |byte| *byte ^= 4);
    disk.cut();
    assert_eq!(read(&disk.after_cut(0), "log")[100], 4);
}

/// One step of a random run on a file of [`BLOCKS`] blocks.
#[derive(Clone, Copy, Debug)]
enum Step {
    Write { at: usize, blocks: usize },
    WriteDurable { at: usize, blocks: usize },
    Sync,
}

const BLOCKS: usize = 4;

fn steps() -> impl proptest::strategy::Strategy<Value = Vec<Step>> {
    use proptest::prelude::*;
    let place = || (0..BLOCKS).prop_flat_map(|at| (Just(at), 1..=BLOCKS - at));
    let step = prop_oneof![
        3 => place().prop_map(|(at, blocks)| Step::Write { at, blocks }),
        2 => place().prop_map(|(at, blocks)| Step::WriteDurable { at, blocks }),
        1 => Just(Step::Sync),
    ];
    proptest::collection::vec(step, 1..20)
}

proptest::proptest! {
    /// After a cut each byte is one that its block may still have: what was durable last, or anything
    /// written since.
    #[test]
    fn a_cut_leaves_only_what_may_be_left(steps in steps(), cut in 0_u64..24, seed in 0_u64..1000) {
        let (disk, file) = disk(BLOCKS);
        disk.cut_at(disk.operations() + cut);
        let mut allowed = vec![vec![0_u8]; BLOCKS];
        for (byte, step) in (1_u8..).zip(steps) {
            let write = |at: usize, blocks: usize, durable: bool| {
                let mut bytes = AlignedBuffer::zeroed(blocks * BLOCK);
                bytes.fill(byte);
                let offset = (at * BLOCK) as u64;
                if durable { file.write_durable_at(&bytes, offset) } else { file.write_at(&bytes, offset) }
            };
            let (place, done, durable) = match step {
                Step::Write { at, blocks } => (at..at + blocks, write(at, blocks, false), false),
                Step::WriteDurable { at, blocks } => (at..at + blocks, write(at, blocks, true), true),
                Step::Sync => (0..0, file.sync(), true),
            };
            for block in &mut allowed[place.clone()] {
                block.push(byte);
            }
            match done {
                Err(error) => {
                    assert!(is_power_cut(&error));
                    break;
                }
                Ok(()) if durable => {
                    let synced = if place.is_empty() { 0..BLOCKS } else { place };
                    for block in &mut allowed[synced] {
                        block.drain(..block.len() - 1);
                    }
                }
                Ok(()) => {}
            }
        }
        disk.cut();
        let found = read(&disk.after_cut(seed), "log");
        proptest::prop_assert_eq!(found.len(), BLOCKS * BLOCK);
        for (block, allowed) in found.chunks(BLOCK).zip(&allowed) {
            proptest::prop_assert!(block.iter().all(|byte| allowed.contains(byte)), "{:?}", allowed);
        }
    }
}
