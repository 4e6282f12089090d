//! Shared memory that nobody will come back for.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::identity::{self, Owner, Place};
use super::{LOCK, OWNER, effective_user, files, lock_directory, remove};
use crate::lock::{self, Kind};

/// Memory of ours whose bus directory is gone, or that says nothing about one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forgotten {
    /// The instance's directory.
    pub directory: PathBuf,
    /// Where its bus was; none where the instance does not say.
    pub bus: Option<PathBuf>,
    /// How many bytes of memory it holds.
    pub bytes: u64,
    /// Whether live writers hold it, who work on a removed directory.
    pub in_use: bool,
}

impl Forgotten {
    /// Judges one instance directory; none where its bus is there.
    fn judge(directory: &Path) -> io::Result<Option<Self>> {
        let owner = Owner::read(&directory.join(OWNER))?;
        if let Some(owner) = &owner
            && !is_gone(owner)?
        {
            return Ok(None);
        }
        Ok(Some(Self {
            directory: directory.into(),
            bus: owner.map(|owner| owner.bus),
            bytes: files(directory)?.iter().map(|(_, length)| length).sum(),
            in_use: lock::is_held(&directory.join(LOCK))?,
        }))
    }

    /// Removes the memory; false where it is in use, or no longer forgotten.
    ///
    /// # Errors
    /// Whatever the system answers.
    pub fn remove(&self) -> io::Result<bool> {
        let Some(_lock) = lock_directory(&self.directory, Kind::Exclusive)? else { return Ok(false) };
        // Between the first look and the lock a new bus may have come to this place.
        if Self::judge(&self.directory)?.is_none() {
            return Ok(false);
        }
        remove(&self.directory).map(|()| true)
    }
}

/// The forgotten memory of this user below `root`.
///
/// # Errors
/// Whatever the system answers; a `root` that does not exist holds none.
pub fn forgotten(root: &Path) -> io::Result<Vec<Forgotten>> {
    let user = effective_user();
    let prefix = format!("busbar-{user}-");
    let entries = match fs::read_dir(root) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let instance = entry.file_name().into_string().ok();
        let instance = instance.as_deref().and_then(|name| name.strip_prefix(&prefix));
        if !instance.is_some_and(is_instance) {
            continue;
        }
        match fs::symlink_metadata(entry.path()) {
            Ok(status) if status.is_dir() && status.uid() == user => {
                found.extend(Forgotten::judge(&entry.path())?);
            }
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(found)
}

/// Removes the memory of this user below `root` whose bus directory is gone and that no writer holds;
/// answers how many instances that were. What does not say whose it is stays, unless it is empty.
///
/// # Errors
/// Whatever the system answers.
pub fn sweep(root: &Path) -> io::Result<usize> {
    let mut removed = 0;
    for instance in forgotten(root)? {
        if !instance.in_use && (instance.bus.is_some() || instance.bytes == 0) {
            removed += usize::from(instance.remove()?);
        }
    }
    Ok(removed)
}

fn is_instance(name: &str) -> bool {
    name.len() == 16 && name.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// Whether the bus directory is no longer where it was. One that cannot be seen for another reason, an
/// unmounted parent without permission say, counts as there.
fn is_gone(owner: &Owner) -> io::Result<bool> {
    match fs::metadata(&owner.bus) {
        Ok(status) if status.is_dir() && Place::of(&status) == owner.place => {
            Ok(identity::read(&owner.bus).is_ok_and(|id| id.is_some_and(|id| id != owner.id)))
        }
        Ok(_) => Ok(true),
        Err(error) => Ok(matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)),
    }
}
