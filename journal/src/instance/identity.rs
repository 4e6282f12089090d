//! What a bus directory is known by: its place, and an id that no other has.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirEntryExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process;
use std::thread;

use super::{ATTEMPTS, FILE_MODE, PAUSE};
use crate::lock::{self, Kind};
use crate::regular;

/// The file in the bus directory that holds its id, in hex.
const FILE: &str = "bus.id";
/// Longest owner file that is read: a path and two lines.
const MAX_OWNER: u64 = 8192;

/// The id of a bus directory: 16 random bytes, given by its first writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BusId([u8; 16]);

impl BusId {
    /// The bytes.
    #[must_use]
    pub fn bytes(self) -> [u8; 16] {
        self.0
    }

    fn random() -> io::Result<Self> {
        let mut bytes = [0; 16];
        File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        Ok(Self(bytes))
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?.trim_end();
        let plain = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        plain.then(|| u128::from_str_radix(text, 16).ok()).flatten().map(|id| Self(id.to_be_bytes()))
    }
}

impl fmt::Display for BusId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// The file that holds the id.
pub(super) fn path(bus: &Path) -> PathBuf {
    bus.join(FILE)
}

/// The id of the bus directory `bus`; none before its first writer.
pub(super) fn read(bus: &Path) -> io::Result<Option<BusId>> {
    match regular::open(&path(bus)) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        file => read_from(&file?),
    }
}

fn read_from(file: &File) -> io::Result<Option<BusId>> {
    let mut text = [0; 40];
    let length = file.read_at(&mut text, 0)?;
    Ok(BusId::parse(&text[..length]))
}

/// The id of the bus directory, which gets one, durably, where it has none; and the turn of the caller: as long as it
/// keeps the file, no other writer comes in. What a power cut left half written is none: nobody has gone by it.
pub(super) fn establish(bus: &Path) -> io::Result<(BusId, File)> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(FILE_MODE);
    let file = regular::open_as(&mut options, libc::O_NOFOLLOW, &path(bus))?;
    for _ in 0..ATTEMPTS {
        if !lock::set(&file, Kind::Exclusive)? {
            thread::sleep(PAUSE);
            continue;
        }
        if let Some(id) = read_from(&file)? {
            return Ok((id, file));
        }
        let id = BusId::random()?;
        let text = format!("{id}\n");
        file.write_all_at(text.as_bytes(), 0)?;
        file.set_len(text.len() as u64)?;
        file.sync_all()?;
        File::open(bus)?.sync_all()?;
        return Ok((id, file));
    }
    Err(ErrorKind::ResourceBusy.into())
}

/// Where a directory is: what a copy or a restored one does not share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    device: u64,
    inode: u64,
}

impl Place {
    pub(super) fn of(status: &fs::Metadata) -> Self {
        Self { device: status.dev(), inode: status.ino() }
    }

    /// 64 bits that differ for different places, the same in every build of this program: the finisher
    /// of SplitMix64 over both numbers.
    pub(super) fn hash(self) -> u64 {
        fn mix(value: u64) -> u64 {
            let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            value ^ (value >> 31)
        }
        mix(mix(self.device.wrapping_add(0x9e37_79b9_7f4a_7c15)) ^ self.inode)
    }
}

/// What an instance says about the bus that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) id: BusId,
    pub(super) place: Place,
    pub(super) bus: PathBuf,
}

impl Owner {
    /// The owner that the file `path` names; none where there is no such file or no sense in it.
    pub(super) fn read(path: &Path) -> io::Result<Option<Self>> {
        let file = match OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(path)
        {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let mut text = Vec::new();
        file.take(MAX_OWNER).read_to_end(&mut text)?;
        Ok(Self::parse(&text))
    }

    /// Writes the owner file, in one step for those who look.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let thread = thread::current().id();
        let draft = path.with_extension(format!("{}.{thread:?}", process::id()));
        let Self { id, place: Place { device, inode }, bus } = self;
        let mut text = format!("id {id}\nplace {device}:{inode}\nbus ").into_bytes();
        text.extend_from_slice(bus.as_os_str().as_bytes());
        fs::write(&draft, text)?;
        fs::rename(&draft, path)
    }

    /// Whether the bus directory is neither where it was nor, renamed, beside that. One that cannot be seen for another
    /// reason, an unmounted parent without permission say, counts as there.
    pub(super) fn is_gone(&self) -> io::Result<bool> {
        match fs::metadata(&self.bus) {
            Ok(status) if self.is_at(&self.bus, &status) => Ok(false),
            Ok(_) => Ok(!self.is_beside()),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                Ok(!self.is_beside())
            }
            Err(_) => Ok(false),
        }
    }

    /// Whether this is the bus directory: its place, and no other id in it.
    fn is_at(&self, path: &Path, status: &fs::Metadata) -> bool {
        let is_place = status.is_dir() && Place::of(status) == self.place;
        is_place && !read(path).is_ok_and(|id| id.is_some_and(|id| id != self.id))
    }

    /// Whether the bus directory is there under another name.
    fn is_beside(&self) -> bool {
        let Some(entries) = self.bus.parent().and_then(|parent| fs::read_dir(parent).ok()) else {
            return false;
        };
        let mut named = entries.flatten().filter(|entry| entry.ino() == self.place.inode);
        named.any(|entry| entry.metadata().is_ok_and(|status| self.is_at(&entry.path(), &status)))
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let mut lines = text.splitn(3, |byte| *byte == b'\n');
        let mut field = |name: &[u8]| lines.next()?.strip_prefix(name);
        let id = BusId::parse(field(b"id ")?)?;
        let (device, inode) = std::str::from_utf8(field(b"place ")?).ok()?.split_once(':')?;
        let place = Place { device: device.parse().ok()?, inode: inode.parse().ok()? };
        let bus = OsString::from_vec(field(b"bus ")?.to_vec()).into();
        Some(Self { id, place, bus })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_survive_any_path_and_nonsense_is_none() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("owner");
        assert_eq!(Owner::read(&path).expect("missing"), None);
        let bus = PathBuf::from(OsString::from_vec(b"/a\nb/\xff \"".to_vec()));
        let owner = Owner { id: BusId([7; 16]), place: Place { device: 1, inode: u64::MAX }, bus };
        owner.write(&path).expect("written");
        assert_eq!(Owner::read(&path).expect("read"), Some(owner));
        for text in ["", "id", "id 00\nplace 1:2\nbus /", "id +0000000000000000000000000000007\n"] {
            assert_eq!(Owner::parse(text.as_bytes()), None);
        }
    }

    #[test]
    fn an_id_is_given_once_and_mended_after_a_cut() {
        let directory = tempfile::tempdir().expect("a directory");
        let bus = directory.path();
        assert_eq!(read(bus).expect("none"), None);
        let ids: Vec<_> = std::thread::scope(|scope| {
            let first: Vec<_> = (0..8).map(|_| scope.spawn(|| establish(bus).expect("an id").0)).collect();
            first.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        assert!(ids.iter().all(|id| *id == ids[0]));
        assert_eq!(read(bus).expect("there"), Some(ids[0]));
        for torn in [&b""[..], b"0123", &[0; 33], &[b'x'; 100]] {
            fs::write(bus.join(FILE), torn).expect("written");
            assert_eq!(read(bus).expect("none"), None);
            let (id, _turn) = establish(bus).expect("mended");
            assert_eq!(read(bus).expect("there"), Some(id));
        }
    }
}
