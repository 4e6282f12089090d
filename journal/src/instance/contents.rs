//! What the memory of an instance holds that no disk is known to hold.
//!
//! Within one boot the control page of a journal says what of it is durable: the write-out moves `durable` only when the
//! disk has answered, and a new owner shows its epoch only when all that the one before left is durable. What it does
//! not vouch for counts as being nowhere else, and a file that makes no sense may hold anything.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::{OWNER, files};
use crate::control::Control;
use crate::layout::{FIRST_FRAME, FLAG_MORE, SEGMENT_MAX, SEGMENT_MIN, SegmentHeader, VERSION};
use crate::segment::Segment;
use crate::storage::{AlignedBuffer, DiskStorage};
use crate::waiters::Waiters;
use crate::{mark, names, readers};

/// What is in an instance. Taken while writers live it is a glance that may be wrong a moment later.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// Published messages that are not known to be durable.
    pub(super) messages: u64,
    /// Files that make no sense to this version.
    pub(super) unknown: u64,
    /// When the newest message was published, in nanoseconds since the Unix epoch; 0 where there is none.
    pub(super) newest: u64,
    journals: Vec<Left>,
}

/// The segments that a writer left of one journal.
#[derive(Debug)]
struct Left {
    /// `TOPIC/INDEX`.
    place: PathBuf,
    /// The header of the first one.
    first: SegmentHeader,
}

impl Contents {
    /// Looks at all files of an instance.
    pub(super) fn of(directory: &Path) -> io::Result<Self> {
        let mut contents = Self::default();
        let mut journals: BTreeMap<PathBuf, Vec<(PathBuf, SegmentHeader)>> = BTreeMap::new();
        for (path, length) in files(directory)? {
            match glance(directory, &path, length)? {
                Glance::Nothing => {}
                Glance::Unknown => contents.unknown += 1,
                Glance::Entered(header) => {
                    let place = path.parent().unwrap_or(directory).to_owned();
                    journals.entry(place).or_default().push((path, header));
                }
            }
        }
        for (place, segments) in journals {
            contents.add(directory, &place, &segments)?;
        }
        Ok(contents)
    }

    /// Whether all of it is certainly on disk, or was.
    pub(super) fn is_durable(&self) -> bool {
        self.messages == 0 && self.unknown == 0
    }

    /// Whether all journals go on exactly where those of the bus directory `bus` end, so that they are its own: the same
    /// life of the same journal, of which the disk has all that is not here.
    pub(super) fn fits(&self, bus: &Path) -> bool {
        let is_own = |left: &Left| {
            let storage = DiskStorage::new(bus.join(&left.place));
            let SegmentHeader { journal, epoch, number, segment_size, .. } = left.first;
            mark::load(&storage).is_ok_and(|mark| {
                mark.is_some_and(|mark| {
                    (mark.journal, mark.epoch, mark.segment_size) == (journal, epoch, segment_size)
                        && mark.durable >= number * u64::from(segment_size)
                })
            })
        };
        self.unknown == 0 && !self.journals.is_empty() && self.journals.iter().all(is_own)
    }

    fn add(
        &mut self,
        directory: &Path,
        place: &Path,
        segments: &[(PathBuf, SegmentHeader)],
    ) -> io::Result<()> {
        let Some((_, newest)) = segments.iter().max_by_key(|(_, header)| header.epoch) else { return Ok(()) };
        let (journal, epoch) = (newest.journal, newest.epoch);
        let control = Control::attach(&place.join(Control::NAME), &journal);
        let shown = control.as_ref().map_or(0, Control::epoch);
        self.unknown += segments.iter().filter(|(_, header)| header.journal != journal).count() as u64;
        if shown > epoch {
            return Ok(());
        }
        let durable = control.filter(|_| shown == epoch).map_or(0, |control| control.durable_sequence());
        let live = segments.iter().filter(|(_, header)| (header.journal, header.epoch) == (journal, epoch));
        for (path, header) in live.clone() {
            self.count(path, header, durable)?;
        }
        let first = live.map(|(_, header)| *header).min_by_key(|header| header.number);
        let place = place.strip_prefix(directory).unwrap_or(place).to_owned();
        self.journals.extend(first.map(|first| Left { place, first }));
        Ok(())
    }

    /// Counts the messages of a segment from the sequence `durable` on, as far as recovery would keep them.
    fn count(&mut self, path: &Path, header: &SegmentHeader, durable: u64) -> io::Result<()> {
        let mut bytes = AlignedBuffer::zeroed(header.segment_size as usize);
        if read(path, &mut bytes)? < bytes.len() {
            self.unknown += 1;
            return Ok(());
        }
        let segment = Segment::copied(bytes, header.number);
        let (mut at, mut sequence, mut batch, mut time) = (FIRST_FRAME, header.sequence, 0, header.time);
        while let Some(frame) = segment.frame(at) {
            let Ok(word) = frame else {
                self.unknown += 1;
                break;
            };
            if segment.seal(at, word).is_some() {
                break;
            }
            time = segment.anchor(at, word).map_or(time, |anchor| anchor.time);
            batch += u64::from(word.is_user());
            if word.flags & FLAG_MORE == 0 {
                self.messages += (sequence + batch).saturating_sub(durable.max(sequence));
                sequence += batch;
                batch = 0;
                self.newest = self.newest.max(time.saturating_add(segment.delta(at).into()));
            }
            at += word.stride();
        }
        Ok(())
    }
}

/// What a file is, by its name, its length and its first bytes.
enum Glance {
    /// It holds no message.
    Nothing,
    /// A segment that a writer entered.
    Entered(SegmentHeader),
    Unknown,
}

fn glance(directory: &Path, path: &Path, length: u64) -> io::Result<Glance> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let is_draft = path.parent() == Some(directory) && name.starts_with(OWNER);
    let holds_none = names::is_spare(name) || [Control::NAME, Waiters::NAME].contains(&name);
    if length == 0 || is_draft || readers::is_page(path) || holds_none {
        return Ok(Glance::Nothing);
    }
    let is_size =
        |size: u64| size.is_power_of_two() && (SEGMENT_MIN as u64..=SEGMENT_MAX as u64).contains(&size);
    let Some(number) = names::segment_number(name).filter(|_| is_size(length)) else {
        return Ok(Glance::Unknown);
    };
    let mut bytes = [0; FIRST_FRAME + size_of::<u64>()];
    read(path, &mut bytes)?;
    Ok(match SegmentHeader::read(&bytes) {
        Some(header) => {
            let is_ours = (header.version, header.number) == (VERSION, number);
            let is_ours = is_ours && u64::from(header.segment_size) == length;
            if is_ours { Glance::Entered(header) } else { Glance::Unknown }
        }
        // Made ready, or half entered: the first frame comes behind the header.
        None if bytes[FIRST_FRAME..].iter().all(|byte| *byte == 0) => Glance::Nothing,
        None => Glance::Unknown,
    })
}

/// Reads the first bytes of a file; how many. A file that has just gone has none.
fn read(path: &Path, bytes: &mut [u8]) -> io::Result<usize> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path);
    let file = match file {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
        file => file?,
    };
    let mut length = 0;
    while length < bytes.len() {
        match file.read_at(&mut bytes[length..], length as u64) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}
