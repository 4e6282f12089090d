//! Memory whose bus is no longer at the place that gives the memory its name.
//!
//! A bus directory that was moved to another disk, or whose disk was mounted anew, has another place; and a place is
//! given to another directory when it is free. In both cases a killed writer's memory may hold messages that are nowhere
//! else: its bus gets it back, and nobody else loses it.

use std::fs;
use std::io::{self, ErrorKind};

use super::contents::Contents;
use super::identity::{BusId, Owner};
use super::{Instance, OWNER, empty, forgotten, instance_name, lock_directory};
use crate::lock::Kind;

/// Names that are tried for memory that is set aside.
const NAMES: u64 = 16;

/// Brings memory that the bus left at another place to its place now, which has none. It must be nobody else's: the bus is
/// not there any more, no writer holds the memory, and its journals go on where those of the bus directory end.
pub(super) fn fetch(instance: &Instance, id: BusId) -> io::Result<()> {
    let Some(root) = instance.directory.parent() else { return Ok(()) };
    for directory in forgotten::instances(root, instance.user)? {
        // Others' memory that cannot be read is no reason to stay away.
        let owner = Owner::read(&directory.join(OWNER)).ok().flatten();
        let Some(owner) = owner.filter(|owner| owner.id == id && directory != instance.directory) else {
            continue;
        };
        if !owner.is_gone()? {
            continue;
        }
        let Some(_lock) = lock_directory(&directory, Kind::Exclusive)? else { continue };
        let contents = Contents::of(&directory)?;
        if contents.messages > 0 && contents.fits(&instance.bus) {
            return fs::rename(&directory, &instance.directory);
        }
    }
    Ok(())
}

/// What becomes of memory that the bus finds at its place with another bus's id, held alone by the caller.
pub(super) enum Settled {
    /// It is the bus's own all the same: only the id was lost.
    Kept,
    /// All of it is durable: it is gone.
    Emptied,
    /// It may be the last copy: it has another name now, and the place is free.
    SetAside,
}

/// Frees the place of a bus from the memory of the bus `stale`.
pub(super) fn settle(instance: &Instance, stale: &Owner) -> io::Result<Settled> {
    let contents = Contents::of(&instance.directory)?;
    if contents.is_durable() {
        return empty(&instance.directory).map(|()| Settled::Emptied);
    }
    if contents.fits(&instance.bus) {
        return Ok(Settled::Kept);
    }
    set_aside(instance, stale.id)?;
    Ok(Settled::SetAside)
}

/// Renames an instance after its bus, since its place is another's now.
fn set_aside(instance: &Instance, id: BusId) -> io::Result<()> {
    let number = u128::from_be_bytes(id.bytes()) as u64;
    for number in (0..NAMES).map(|n| number.wrapping_add(n)) {
        let aside = instance.directory.with_file_name(instance_name(instance.user, number));
        match fs::rename(&instance.directory, aside) {
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {}
            renamed => return renamed,
        }
    }
    Err(ErrorKind::AlreadyExists.into())
}
