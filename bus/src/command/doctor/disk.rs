//! The disk that the bus directory lies on, or will lie on. Nothing stays there that was not there before.

use super::memory::room;
use super::{Finding, about};
use journal::storage::{AlignedBuffer, BLOCK};
use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

/// Below this a demo fills the disk within minutes.
const LEAST_ROOM: u64 = 1 << 30;
/// Synced writes whose median is told.
const WRITES: usize = 15;

/// File systems whose contents do not survive power loss.
const VOLATILE: [&str; 2] = ["tmpfs", "ramfs"];

/// File system, room, direct writes and their time.
pub(super) fn check(bus: &Path) -> Finding {
    let Some(place) = bus.ancestors().map(nonempty).find(|above| above.is_dir()) else {
        return Finding::warn(
            format!("{}: no directory above it", bus.display()),
            "name another one with --bus",
        );
    };
    match examine(place) {
        Ok(finding) => finding,
        Err(error) => Finding::warn(
            format!("{}: {error}", place.display()),
            "name a directory that can be read with --bus",
        ),
    }
}

/// A relative path ends above in the current directory.
fn nonempty(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

fn examine(place: &Path) -> io::Result<Finding> {
    let name = file_system(place)?;
    let (_, free) = room(place)?;
    let finding = format!("{} on {name}, {} free", place.display(), about(free));
    if VOLATILE.contains(&name.as_str()) {
        let finding = format!("{finding}: what is durable there does not survive power loss");
        return Ok(Finding::warn(finding, "name a directory on a disk with --bus"));
    }
    if free < LEAST_ROOM {
        return Ok(Finding::warn(finding, "make room, or lower the retention of the topics"));
    }
    Ok(match synced_write(place, libc::O_DIRECT) {
        Ok(time) => Finding::ok(format!("{finding}, direct; a synced write takes {} µs", time.as_micros())),
        Err(_) => match synced_write(place, 0) {
            Ok(time) => Finding::warn(
                format!("{finding}; no direct writes; a synced write takes {} µs", time.as_micros()),
                "use a local ext4 or xfs; elsewhere the page cache doubles the memory and its write-back the tails",
            ),
            Err(error) => {
                Finding::warn(format!("{finding}; cannot write: {error}"), "a writer needs another directory")
            }
        },
    })
}

/// The median time of durable writes to a file without a name, which goes when it is closed.
fn synced_write(place: &Path, flags: libc::c_int) -> io::Result<Duration> {
    let flags = flags | libc::O_TMPFILE | libc::O_DSYNC;
    let file = OpenOptions::new().write(true).mode(0o600).custom_flags(flags).open(place)?;
    let block = AlignedBuffer::zeroed(BLOCK);
    // The first write finds the space; the others are overwrites, as the journal's are.
    timed_write(&file, &block)?;
    let mut times = (0..WRITES).map(|_| timed_write(&file, &block)).collect::<io::Result<Vec<_>>>()?;
    times.sort();
    Ok(times[WRITES / 2])
}

fn timed_write(file: &File, block: &[u8]) -> io::Result<Duration> {
    let begin = Instant::now();
    file.write_all_at(block, 0)?;
    Ok(begin.elapsed())
}

/// The name of the file system, or its number where it has none here.
fn file_system(place: &Path) -> io::Result<String> {
    let path = CString::new(place.as_os_str().as_bytes())?;
    // SAFETY: `statfs` is a plain C structure for which zeros are valid; `path` ends with a zero and outlives the call.
    let (result, found) = unsafe {
        let mut found: libc::statfs = std::mem::zeroed();
        (libc::statfs(path.as_ptr(), &raw mut found), found)
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // Numbers as in linux/magic.h.
    Ok(match found.f_type {
        0xef53 => "ext4".into(),
        0x5846_5342 => "xfs".into(),
        0x9123_683e => "btrfs".into(),
        0x2fc1_2fc1 => "zfs".into(),
        0x794c_7630 => "overlayfs".into(),
        0x0102_1994 => "tmpfs".into(),
        0x8584_58f6 => "ramfs".into(),
        0x6969 => "nfs".into(),
        0x0102_1997 => "9p".into(),
        0x6573_5546 => "fuse".into(),
        number => format!("file system {number:#x}"),
    })
}
