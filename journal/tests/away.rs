//! Given a live journal of which a segment cannot be found or opened for a moment, expect that no message is called lost and
//! none waits; given that it is gone for good, expect that this is told once.
#![allow(missing_docs)]

mod common;

use std::{
    fs, io,
    os::unix::fs::FileExt,
    path::PathBuf,
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use common::{
    Ground, Live, SEGMENT, assert_messages,
    hooked::{Asked, Hook, Hooked, hooked},
    message, read_rest, segment_name,
};
use journal::{
    Gate, Places, ReadError, Reader, Start,
    storage::{DiskStorage, Storage},
};

const ROLE: &str = "JOURNAL_TEST_ROLE";

/// Publishes without the write-out until a message goes into segment `number`. Answers how many there are then.
fn publish_into(ground: &Ground, live: &mut Live, mut count: u64, number: u64) -> u64 {
    let segment = fs::File::open(ground.memory.join(segment_name(number))).unwrap();
    let is_begun = || {
        let mut magic = [0; 8];
        segment.read_exact_at(&mut magic, 0).unwrap();
        magic != [0; 8]
    };
    while !is_begun() {
        live.journal.writer.append(1, 0, &message(count), || 0).expect("segments are ready");
        count += 1;
    }
    count
}

/// A live journal whose write-out rests: some messages are durable, and those behind fill its segments 0 and 1 and begin
/// the third.
fn given(ground: &Ground) -> (Live, u64) {
    let mut live = ground.open();
    for n in 0..100 {
        live.publish(&message(n));
    }
    live.settle();
    let count = publish_into(ground, &mut live, 100, 2);
    (live, count)
}

/// The file of a segment in memory, which is put aside and comes back.
struct Away(PathBuf);

impl Away {
    fn put(ground: &Ground, number: u64) -> Self {
        let away = Self(ground.memory.join(segment_name(number)));
        fs::rename(&away.0, away.0.with_extension("aside")).unwrap();
        away
    }
    fn come_back(&self) {
        fs::rename(self.0.with_extension("aside"), &self.0).unwrap();
    }
}

/// A hook that brings a file back when the names are listed for the `look`th time, and whether it has.
fn brings_back(away: Away, look: u32) -> (Hook, Arc<AtomicBool>) {
    let came = Arc::new(AtomicBool::new(false));
    let (mut looks, told) = (0, Arc::clone(&came));
    let hook = move |asked: Asked<'_>| {
        looks += u32::from(matches!(asked, Asked::Names));
        if looks == look && !told.swap(true, Ordering::Relaxed) {
            away.come_back();
        }
        Ok(())
    };
    (Box::new(hook), came)
}

/// A hook that refuses to list the names the `look`th time, and whether it has.
fn refuses(look: u32) -> (Hook, Arc<AtomicBool>) {
    let refused = Arc::new(AtomicBool::new(false));
    let (mut looks, told) = (0, Arc::clone(&refused));
    let hook = move |asked: Asked<'_>| {
        looks += u32::from(matches!(asked, Asked::Names));
        let is_due = looks == look && !told.swap(true, Ordering::Relaxed);
        if is_due { Err(io::Error::from_raw_os_error(libc::EMFILE)) } else { Ok(()) }
    };
    (Box::new(hook), refused)
}

/// Swaps the hook of places.
#[derive(Clone, Default)]
struct Later(Arc<Mutex<Option<Hook>>>);

impl Later {
    fn hook(&self) -> Hook {
        let this = self.clone();
        Box::new(move |asked| this.0.lock().unwrap().as_mut().map_or(Ok(()), |hook| hook(asked)))
    }
    fn set(&self, hook: Hook) {
        *self.0.lock().unwrap() = Some(hook);
    }
}

#[test]
fn a_segment_that_is_away_for_a_moment_is_read() {
    let ground = Ground::new();
    let (_live, count) = given(&ground);
    for number in [0, 1] {
        let later = Later::default();
        let places = hooked(&ground, later.hook());
        let mut reader = Reader::open(places, Start::Oldest, Gate::Published).unwrap();
        let (hook, came) = brings_back(Away::put(&ground, number), 2);
        later.set(hook);
        let (messages, faults) = read_rest(&mut reader);
        assert!(came.load(Ordering::Relaxed), "it came back while the reader looked");
        assert_eq!(faults, [], "segment {number}");
        assert_messages(&messages, count);
    }
}

#[test]
fn a_segment_that_is_gone_for_good_is_told_once() {
    let ground = Ground::new();
    let (_live, count) = given(&ground);
    let firsts: Vec<u64> = {
        let survey = journal::survey(&ground.places, &ground.disk.join(journal::LOCK)).unwrap();
        survey.segments.iter().map(|segment| segment.sequence).collect()
    };
    assert_eq!(firsts.len(), 3);
    let mut reader = ground.reader(Start::Oldest, Gate::Published);
    let away = Away::put(&ground, 1);
    let (messages, faults) = read_rest(&mut reader);
    let [ReadError::Damage { from, to, sequences, refused: None }] = faults[..] else { panic!("{faults:?}") };
    assert_eq!((from, to), (SEGMENT as u64, 2 * SEGMENT as u64));
    assert_eq!(sequences, (firsts[1], firsts[2]));
    assert_eq!(messages.len() as u64, count - (firsts[2] - firsts[1]));
    // What the system refuses is told as that.
    fs::create_dir(&away.0).unwrap();
    let (_, faults) = ground.read_all(Gate::Published);
    let [ReadError::Damage { sequences, refused: Some(why), .. }] = &faults[..] else { panic!("{faults:?}") };
    assert_eq!(*sequences, (firsts[1], firsts[2]));
    assert!(why.contains("shared memory") && why.contains(&segment_name(1)), "{why}");
}

#[test]
fn a_beginning_that_is_away_for_a_moment_is_no_damage() {
    let ground = Ground::new();
    let (_live, count) = given(&ground);
    // Its file on disk too: the young journal has it in memory only.
    let twin = ground.disk.join(segment_name(0));
    fs::rename(&twin, twin.with_extension("aside")).unwrap();
    // The mark is held against the names first.
    let (hook, came) = brings_back(Away::put(&ground, 0), 3);
    let mut reader = Reader::open(hooked(&ground, hook), Start::Oldest, Gate::Published).unwrap();
    assert!(came.load(Ordering::Relaxed), "it came back while the reader looked");
    let (messages, faults) = read_rest(&mut reader);
    assert_eq!(faults, []);
    assert_messages(&messages, count);
}

#[test]
fn a_newest_segment_that_is_away_for_a_moment_takes_no_sequence_back() {
    let ground = Ground::new();
    let (_live, count) = given(&ground);
    // The mark is held against the names first, then a segment is looked for, then the end.
    for (is_away, look) in [(true, 4), (false, 2), (false, 3)] {
        let (hook, fired) = if is_away { brings_back(Away::put(&ground, 2), look) } else { refuses(look) };
        let mut reader =
            Reader::open(hooked(&ground, hook), Start::Sequence(count), Gate::Published).unwrap();
        assert!(fired.load(Ordering::Relaxed), "the fault fired");
        assert_eq!(read_rest(&mut reader), (vec![], vec![]), "look {look}");
        assert_eq!(reader.next_sequence(), count);
    }
}

#[test]
fn who_reads_the_disk_meanwhile_goes_on_in_memory() {
    for is_left in [false, true] {
        let ground = Ground::new();
        let mut live = ground.open();
        for n in 0..100 {
            live.publish(&message(n));
        }
        live.settle();
        let later = Later::default();
        let mut reader = Reader::open(hooked(&ground, later.hook()), Start::Oldest, Gate::Published).unwrap();
        let away = Away::put(&ground, 0);
        let (mut messages, faults) = read_rest(&mut reader);
        assert_eq!(faults, []);
        assert_messages(&messages, 100);
        let mut came = None;
        let count = if is_left {
            let count = publish_into(&ground, &mut live, 100, 1);
            let (hook, told) = brings_back(away, 2);
            later.set(hook);
            came = Some(told);
            count
        } else {
            live.journal.writer.append(1, 0, &message(100), || 0).unwrap();
            away.come_back();
            101
        };
        let (rest, faults) = read_rest(&mut reader);
        assert_eq!(faults, []);
        messages.extend(rest);
        assert_messages(&messages, count);
        assert!(came.is_none_or(|came| came.load(Ordering::Relaxed)), "it came back while the reader looked");
    }
}

/// Sets how many descriptors this process may have.
fn limit_descriptors(most: libc::rlim_t) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is an `rlimit` to be written to, then read.
    let set = unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        limit.rlim_cur = most.min(limit.rlim_max);
        libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit)
    };
    assert_eq!(set, 0);
}

/// A process of its own, in which descriptors run out for memory but not for the disk.
#[test]
fn process() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let (disk, memory) = role.split_once(' ').unwrap();
    let below: Arc<dyn Storage> = Arc::new(DiskStorage::new(disk));
    let shortages = Arc::new(AtomicU32::new(0));
    let (later, counted) = (Later::default(), Arc::clone(&shortages));
    let storage = Arc::new(Hooked::new(below, later.hook()));
    let places = Places { storage, memory_dir: memory.into() };
    let mut reader = Reader::open(places, Start::Oldest, Gate::Published).unwrap();
    reader.poll().unwrap().unwrap();
    // What is opened behind the mark is segments' memory; the disk is next.
    later.set(Box::new(move |asked| {
        let is_mark = matches!(asked, Asked::Open("mark"));
        limit_descriptors(if is_mark { 0 } else { 1_000 });
        counted.fetch_add(u32::from(is_mark), Ordering::Relaxed);
        Ok(())
    }));
    limit_descriptors(0);
    let (mut count, mut failed, mut empty) = (1, 0, 0);
    while empty < 3_000 {
        match reader.poll() {
            Ok(Some(frame)) => {
                assert_eq!((frame.sequence, frame.body), (count, &message(count)[..]));
                count += 1;
            }
            Ok(None) => empty += 1,
            Err(ReadError::Failed(why)) => {
                assert!(why.contains("Too many open files"), "{why}");
                failed += 1;
                // Somebody gives some back in the end.
                limit_descriptors(if failed < 5 { 0 } else { 1_000 });
            }
            Err(error) => panic!("{error}"),
        }
    }
    println!("read {count} failed {failed} shortages {}", shortages.load(Ordering::Relaxed));
}

#[test]
fn what_lacks_descriptors_is_no_loss() {
    let ground = Ground::new();
    let (_live, count) = given(&ground);
    let role = format!("{} {}", ground.disk.display(), ground.memory.display());
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["process", "--exact", "--nocapture"])
        .env(ROLE, role)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    assert!(told.contains(&format!("read {count} failed 5")), "{told}");
}
