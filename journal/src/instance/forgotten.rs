//! Shared memory that nobody will come back for.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::contents::Contents;
use super::identity::{BusId, Owner};
use super::{LOCK, OWNER, effective_user, files, instance_name, lock_directory, remove};
use crate::lock::{self, Kind};

/// Memory of ours whose bus directory is gone, or that says nothing about one. It may be the last copy of messages: a bus
/// that was moved to another disk, or is not mounted now, comes back for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forgotten {
    /// The instance's directory.
    pub directory: PathBuf,
    /// Where its bus was; none where the instance does not say.
    pub bus: Option<PathBuf>,
    /// The id of its bus; none where the instance does not say.
    pub id: Option<BusId>,
    /// How many bytes of memory it holds.
    pub bytes: u64,
    /// Published messages in it that are not known to be durable.
    pub messages: u64,
    /// Files in it that make no sense to this version, and may hold messages.
    pub unknown: u64,
    /// When it was last used, in nanoseconds since the Unix epoch.
    pub last_used: u64,
    /// Whether live writers hold it, who work on a directory that was removed or moved.
    pub in_use: bool,
}

impl Forgotten {
    /// Judges one instance directory; none where its bus is there.
    fn judge(directory: &Path) -> io::Result<Option<Self>> {
        let owner = Owner::read(&directory.join(OWNER))?;
        if let Some(owner) = &owner
            && !owner.is_gone()?
        {
            return Ok(None);
        }
        let files = files(directory)?;
        let contents = Contents::of(directory)?;
        let changed = files.iter().filter_map(|(path, _)| changed(path)).max();
        Ok(Some(Self {
            directory: directory.into(),
            id: owner.as_ref().map(|owner| owner.id),
            bus: owner.map(|owner| owner.bus),
            bytes: files.iter().map(|(_, length)| length).sum(),
            messages: contents.messages,
            unknown: contents.unknown,
            last_used: contents.newest.max(changed.unwrap_or(0)),
            in_use: lock::is_held(&directory.join(LOCK))?,
        }))
    }

    /// Whether all that it holds is certainly durable, so that removing it loses nothing.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        self.messages == 0 && self.unknown == 0
    }

    /// Removes the memory if that loses nothing; false where it may, or where it is in use or no longer forgotten.
    ///
    /// # Errors
    /// Whatever the system answers.
    pub fn remove(&self) -> io::Result<bool> {
        Ok(self.remove_if(Self::is_durable)?.is_some())
    }

    /// Removes the memory whatever it holds, and answers what that was; none where it is in use or no longer forgotten.
    ///
    /// # Errors
    /// Whatever the system answers.
    pub fn discard(&self) -> io::Result<Option<Self>> {
        self.remove_if(|_| true)
    }

    fn remove_if(&self, may_go: impl Fn(&Self) -> bool) -> io::Result<Option<Self>> {
        let Some(_lock) = lock_directory(&self.directory, Kind::Exclusive)? else { return Ok(None) };
        // Between the first look and the lock a bus may have come to this place.
        match Self::judge(&self.directory)?.filter(may_go) {
            None => Ok(None),
            Some(found) => remove(&self.directory).map(|()| Some(Self { in_use: false, ..found })),
        }
    }
}

/// When a file was last changed, in nanoseconds since the Unix epoch.
fn changed(path: &Path) -> Option<u64> {
    let changed = fs::symlink_metadata(path).ok()?.modified().ok()?;
    u64::try_from(changed.duration_since(UNIX_EPOCH).ok()?.as_nanos()).ok()
}

/// The forgotten memory of this user below `root`.
///
/// # Errors
/// Whatever the system answers; a `root` that does not exist holds none.
pub fn forgotten(root: &Path) -> io::Result<Vec<Forgotten>> {
    let mut found = Vec::new();
    for directory in instances(root, effective_user())? {
        found.extend(Forgotten::judge(&directory)?);
    }
    Ok(found)
}

/// The directories of all instances of a user below `root` that we or the user made.
pub(super) fn instances(root: &Path, user: u32) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(root) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if !entry.file_name().to_str().is_some_and(|name| is_instance(name, user)) {
            continue;
        }
        match fs::symlink_metadata(entry.path()) {
            Ok(status) if status.is_dir() && [user, effective_user()].contains(&status.uid()) => {
                found.push(entry.path());
            }
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(found)
}

/// Removes the memory of this user below `root` whose bus directory is gone, that no writer holds, and that certainly
/// holds nothing that is not durable; answers how many instances that were. What cannot be proven stays.
///
/// # Errors
/// Whatever the system answers.
pub fn sweep(root: &Path) -> io::Result<usize> {
    let mut removed = 0;
    for instance in forgotten(root)? {
        if !instance.in_use && instance.is_durable() {
            removed += usize::from(instance.remove()?);
        }
    }
    Ok(removed)
}

/// Whether a name is one that [`instance_name`] gives.
fn is_instance(name: &str, user: u32) -> bool {
    let number = name.rsplit('-').next().and_then(|digits| u64::from_str_radix(digits, 16).ok());
    number.is_some_and(|number| name == instance_name(user, number))
}
