//! Messages of a derived journal that had been durable and were cut all the same, told for good.
//!
//! An effect gets its checksum only once its cause is durable. So whole batches of valid frames at the beginning of what a
//! cut has kept beside prove that their causes were durable, and that the input which lacked them is not what it was: an
//! older copy of itself, or another bus's. Effects that never became durable, whose causes went with shared memory, have no
//! checksums; and where a torn tail begins, no whole batch stands. Neither is told here. Nothing else needs to be kept: the
//! bytes say which messages they were, and the SEAL in their place when they were cut.

use std::collections::BTreeMap;

use super::decide;
use crate::{
    checksum::Salt,
    disk_copy,
    error::OpenError,
    layout::{FIRST_FRAME, FLAG_MORE, MarkSlot, Seal, SegmentHeader, VERSION},
    mark, names,
    reader::Places,
    scan::{Evidence, scan, valid_frame},
    segment::Segment,
    storage::{Access, AlignedBuffer, Storage},
};

/// Messages that were cut although they had been durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    /// First sequence, and the one behind the last. Others may have these sequences now.
    pub sequences: (u64, u64),
    /// Where they were: first position, and the one behind the last.
    pub positions: (u64, u64),
    /// Epoch that wrote them.
    pub epoch: u32,
    /// When they were cut, in nanoseconds since the Unix epoch; `None` where that is not known.
    pub time: Option<u64>,
    /// The first and the last of the files in the journal's directory that keep them.
    pub files: (String, String),
}

/// What is kept beside a journal of messages that had been durable, oldest first. None once somebody has taken those files
/// away, or retention has.
///
/// # Errors
/// The directory cannot be read, or nothing is told by the files that can, and some cannot.
pub fn set_aside(places: &Places) -> Result<Vec<SetAside>, OpenError> {
    let beside = kept(places.storage.as_ref())?;
    if beside.is_empty() {
        return Ok(Vec::new());
    }
    let Some(mark) = mark::load(places.storage.as_ref())? else { return Ok(Vec::new()) };
    match told(places, &mark, &beside) {
        (found, Some(error)) if found.is_empty() => Err(error),
        (found, _) => Ok(found),
    }
}

/// The positions at which files begin that keep bytes beside, in order.
pub(super) fn kept(storage: &dyn Storage) -> Result<Vec<u64>, OpenError> {
    let names = storage.names().map_err(OpenError::io("list the segments", "."))?;
    Ok(names.iter().filter_map(|name| names::torn_position(name)).collect())
}

/// What the files that begin at these positions tell, and why one of them could not be read.
pub(super) fn told(places: &Places, mark: &MarkSlot, beside: &[u64]) -> (Vec<SetAside>, Option<OpenError>) {
    let (mut found, mut known, mut unread) = (Vec::<SetAside>::new(), Known::default(), None);
    for position in beside.iter().copied() {
        let kept = read(places, mark, position, &mut known).unwrap_or_else(|error| {
            unread.get_or_insert(error);
            None
        });
        let Some(kept) = kept else { continue };
        let (end, next) = whole_batches(&kept, &mut known);
        if next == kept.sequence {
            continue;
        }
        let (epoch, time, name) = (kept.header.epoch, known.cut_behind(&kept), names::torn(position));
        // One cut takes the rest of a segment, and all segments behind it.
        let is_rest = |last: &&mut SetAside| {
            last.epoch == epoch && last.time == time && last.sequences.1 == kept.sequence
        };
        match found.last_mut().filter(is_rest) {
            Some(last) => (last.sequences.1, last.positions.1, last.files.1) = (next, end, name),
            None => found.push(SetAside {
                sequences: (kept.sequence, next),
                positions: (position, end),
                epoch,
                time,
                files: (name.clone(), name),
            }),
        }
    }
    (found, unread)
}

/// What earlier files of the same journal have told.
#[derive(Default)]
struct Known {
    /// Of the last segment that was kept beside whole.
    header: Option<SegmentHeader>,
    /// By their positions, the SEALs of cuts that a later cut has kept beside too.
    seals: BTreeMap<u64, Seal>,
    /// When cuts were made, by their positions in order.
    times: Vec<u64>,
}

impl Known {
    /// When these bytes were cut: at the nearest cut before them that was made after they were.
    fn cut_behind(&self, kept: &Kept) -> Option<u64> {
        self.times.iter().rev().copied().find(|time| *time > kept.header.time)
    }
}

/// A file that was kept beside, in its old place.
struct Kept {
    segment: Segment,
    header: SegmentHeader,
    /// Where its first frame stands.
    at: usize,
    /// Sequence of its first message.
    sequence: u64,
}

/// Reads what is kept from `position` on; `None` where nothing says which messages it would begin with.
fn read(
    places: &Places,
    mark: &MarkSlot,
    position: u64,
    known: &mut Known,
) -> Result<Option<Kept>, OpenError> {
    let size = u64::from(mark.segment_size);
    let (number, name) = (position / size, names::torn(position));
    let at = usize::try_from(position % size).expect("less than the size of a segment");
    let mut buffer = AlignedBuffer::zeroed(mark.segment_size as usize);
    let file = places.storage.open(&name, Access::Read);
    file.and_then(|file| file.read_at(&mut buffer[at..], 0)).map_err(OpenError::io("read", &name))?;
    let segment = Segment::copied(buffer, number);
    if at == 0 {
        known.header = segment.header(&mark.journal).filter(|header| header.version == VERSION);
        let kept = known.header.map(|header| (header, header.sequence));
        return Ok(kept.map(|(header, sequence)| Kept { segment, header, at: FIRST_FRAME, sequence }));
    }
    let left = disk_copy::load(places.storage.as_ref(), mark, number, Access::Read)
        .map_err(|error| OpenError::Damaged { what: error.to_string() })?;
    let header = left.as_ref().map(|(_, header)| *header);
    let header = header.or(known.header.filter(|header| header.number == number));
    let seal = left.and_then(|(left, header)| sealed_at(&left, &header, mark, at));
    let Some((header, seal)) = header.zip(seal.or(known.seals.get(&position).copied())) else {
        return Ok(None);
    };
    known.times.push(seal.time);
    Ok(Some(Kept { segment, header, at, sequence: seal.sequence }))
}

/// What ends what is left of a segment, if that stands at this offset.
fn sealed_at(left: &Segment, header: &SegmentHeader, mark: &MarkSlot, at: usize) -> Option<Seal> {
    let evidence = Evidence::of(mark);
    let kept = decide(left, header, &scan(left, header, evidence), evidence);
    let (last, _, word) = kept.frames(left, header.sequence).last()?;
    left.seal(last, word).filter(|_| last == at)
}

/// Where the whole batches end with which a file begins, and the sequence there.
fn whole_batches(kept: &Kept, known: &mut Known) -> (u64, u64) {
    let Kept { segment, header, at, sequence } = kept;
    let salt = Salt::new(&header.journal, header.epoch);
    let (mut at, mut sequence) = (*at, *sequence);
    let mut end = (at, sequence);
    while let Some(word) = valid_frame(salt, segment, at) {
        if let Some(seal) = segment.seal(at, word) {
            known.seals.insert(segment.position(at), seal);
            break;
        }
        at += word.stride();
        sequence += u64::from(word.is_user());
        if word.flags & FLAG_MORE == 0 {
            end = (at, sequence);
        }
    }
    (segment.position(end.0), end.1)
}
