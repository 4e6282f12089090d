//! What there is of a journal, for people: found out from outside, changing nothing, whether or not it has a writer.

use std::{
    collections::BTreeMap,
    fs, io,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use crate::{
    control::Control,
    disk_copy::{self, LoadError},
    error::OpenError,
    keepers::{self, Keeper},
    layout::MarkSlot,
    lock::{self, Holder},
    mark, names,
    reader::{Gate, Places, Reader, Start, Watermarks},
    readers::{self, ReaderStatus},
    storage::Access,
};

/// How long the lock of a process that is gone is expected to be free.
const LAST_MOMENTS: Duration = Duration::from_millis(200);
/// Between two looks meanwhile.
const STEP: Duration = Duration::from_millis(2);

/// Who may write a journal now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// Nobody.
    Nobody,
    /// A live process, by its own account.
    Live(Option<Holder>),
    /// This user may not ask.
    Unknown,
}

/// A segment that holds messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentStatus {
    /// Its number.
    pub number: u64,
    /// Sequence of its first message.
    pub sequence: u64,
    /// Epoch that wrote it.
    pub epoch: u32,
    /// Whether it is in shared memory.
    pub in_memory: bool,
    /// Whether it has a file on disk, which may not be complete while it is in memory too.
    pub on_disk: bool,
}

/// What there is of a journal.
#[derive(Debug)]
pub struct Survey {
    /// Who writes it.
    pub owner: Owner,
    /// The newest evidence on disk.
    pub mark: MarkSlot,
    /// The journal that the mark's file is of, where it is not this one, as [`Reader::foreign_mark`] says.
    pub foreign_mark: Option<String>,
    /// The epoch that began without a mark, and the sequence at which it did, as [`Reader::began_unmarked`] says.
    pub began_unmarked: Option<(u32, u64)>,
    /// The control page, where the journal has shared memory.
    pub control: Option<Control>,
    /// How far it is.
    pub watermarks: Watermarks,
    /// The oldest sequence that retention has left, as [`Reader::begins`] says.
    pub begins: u64,
    /// Its segments, oldest first.
    pub segments: Vec<SegmentStatus>,
    /// Segments that held messages and are not there: first number, and the one behind the last.
    pub missing: Vec<(u64, u64)>,
    /// Those of the missing whose file is there, but whose header is none of this journal.
    pub headless: Vec<u64>,
    /// Those of the missing whose file the system refuses to read, and why.
    pub refused: Vec<(u64, io::Error)>,
    /// Segments whose file on disk is shorter than what was written to it.
    pub shortened: Vec<u64>,
    /// Bytes of its files in shared memory, those of segments made ready among them.
    pub memory_bytes: u64,
    /// Bytes of its files on disk, those of segments made ready among them.
    pub disk_bytes: u64,
    /// Who reads it and shows it.
    pub readers: Vec<ReaderStatus>,
    /// Who needs its past.
    pub keepers: Vec<Keeper>,
}

/// Looks a journal over. `lock` is its lock file.
///
/// # Errors
/// As [`Reader::open`].
pub fn survey(places: &Places, lock: &Path) -> Result<Survey, OpenError> {
    let mut reader = Reader::open(places.clone(), Start::Oldest, Gate::Published)?;
    let memory = memory_files(&places.memory_dir);
    let failed = |error| OpenError::Io { what: "list the segments", path: names::MARK.into(), error };
    let unlisted = |error: LoadError| failed(io::Error::other(error.to_string()));
    let disk = disk_files(places).map_err(failed)?;
    let keepers = keepers::list(places.storage.as_ref()).map_err(failed)?;
    let mut segments = Vec::new();
    for header in reader.headers().map_err(unlisted)? {
        segments.push(SegmentStatus {
            number: header.number,
            sequence: header.sequence,
            epoch: header.epoch,
            in_memory: memory.contains_key(&names::segment(header.number)),
            on_disk: disk.contains_key(&names::segment(header.number)),
        });
    }
    let mark = mark::read(places.storage.as_ref(), &places.memory_dir)?;
    let control = Control::attach_current(&places.memory_dir.join(Control::NAME), &mark);
    let readers = if control.is_some() { readers::list(&places.memory_dir) } else { Vec::new() };
    let missing = reader.missing().map_err(unlisted)?;
    let (mut headless, mut refused) = (Vec::new(), Vec::new());
    for number in there_of(places, &missing).map_err(failed)? {
        match disk_copy::header(places.storage.as_ref(), &reader.journal(), number) {
            Err(error) => refused.push((number, error)),
            Ok(None) => headless.push(number),
            // It came meanwhile.
            Ok(Some(_)) => {}
        }
    }
    Ok(Survey {
        owner: owner(lock),
        watermarks: reader.watermarks(),
        begins: reader.begins(),
        mark,
        foreign_mark: reader.foreign_mark(),
        began_unmarked: reader.began_unmarked(),
        missing,
        headless,
        refused,
        shortened: shortened(&mut reader, &segments, &disk),
        segments,
        memory_bytes: memory.values().sum(),
        disk_bytes: disk.values().sum(),
        control,
        readers,
        keepers,
    })
}

fn owner(lock: &Path) -> Owner {
    settled(LAST_MOMENTS, || match lock::is_held(lock) {
        Ok(true) => Owner::Live(lock::holder(lock)),
        Ok(false) => Owner::Nobody,
        Err(_) => Owner::Unknown,
    })
}

/// The owner, for whom that is waited a little if no such process runs: the system is just taking it apart. One that
/// still has the lock then runs where its process is not seen, as in another container.
fn settled(patience: Duration, look: impl Fn() -> Owner) -> Owner {
    let began = Instant::now();
    loop {
        match look() {
            Owner::Live(Some(holder)) if holder.is_gone() && began.elapsed() < patience => {
                thread::sleep(STEP)
            }
            owner => return owner,
        }
    }
}

/// Names and lengths of the files in the journal's memory.
fn memory_files(directory: &Path) -> BTreeMap<String, u64> {
    let Ok(entries) = fs::read_dir(directory) else { return BTreeMap::new() };
    let files = entries.flatten().filter_map(|entry| {
        let length = entry.metadata().ok().filter(fs::Metadata::is_file)?.len();
        Some((entry.file_name().into_string().ok()?, length))
    });
    files.collect()
}

/// Names and lengths of the journal's files on disk. What goes meanwhile is passed over.
fn disk_files(places: &Places) -> io::Result<BTreeMap<String, u64>> {
    let mut files = BTreeMap::new();
    for name in places.storage.names()? {
        let file = places.storage.open(&name, Access::Read);
        if let Ok(length) = file.and_then(|file| file.length()) {
            files.insert(name, length);
        }
    }
    Ok(files)
}

/// The segments of missing ranges whose file is there all the same.
fn there_of(places: &Places, missing: &[(u64, u64)]) -> io::Result<Vec<u64>> {
    if missing.is_empty() {
        return Ok(Vec::new());
    }
    let names = places.storage.names()?;
    let numbers = names.iter().filter_map(|name| names::segment_number(name));
    Ok(numbers.filter(|number| missing.iter().any(|(from, to)| (*from..*to).contains(number))).collect())
}

/// Segments that lost their end with that of their file. One that was sealed early gave room back, but never its SEAL.
fn shortened(reader: &mut Reader, segments: &[SegmentStatus], disk: &BTreeMap<String, u64>) -> Vec<u64> {
    let on_disk = segments.iter().filter(|segment| segment.on_disk && !segment.in_memory);
    let numbers = on_disk.map(|segment| segment.number);
    let is_short = |number| disk[&names::segment(number)] < reader.segment_size();
    let short: Vec<u64> = numbers.filter(|number| is_short(*number)).collect();
    short.into_iter().filter(|number| !reader.is_sealed(*number)).collect()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::lock::Purpose;

    #[test]
    fn the_lock_of_a_process_that_is_just_gone_is_not_its_owner() {
        let (boot, program, purpose) = (String::new(), "gone".into(), Purpose::Publish);
        let gone = Holder { process: u32::MAX, boot, start: 1, program, purpose };
        let looks = Cell::new(0);
        let look = || {
            looks.set(looks.get() + 1);
            if looks.get() < 3 { Owner::Live(Some(gone.clone())) } else { Owner::Nobody }
        };
        assert_eq!(settled(Duration::MAX, look), Owner::Nobody);
        let elsewhere = || Owner::Live(Some(gone.clone()));
        assert_eq!(settled(Duration::from_millis(1), elsewhere), elsewhere(), "it runs where it is not seen");
    }
}
