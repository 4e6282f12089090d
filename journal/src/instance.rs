//! Where a bus directory keeps its shared memory: `ROOT/busbar-UID-INSTANCE/TOPIC/INDEX/`.
//!
//! INSTANCE stands for the bus directory's device and inode, UID for its owner, so that every process
//! finds the same place while a copied or restored directory gets another. Since inodes are used again,
//! the place also says, in its file `.owner`, which bus it belongs to: the random id in the bus
//! directory's file `bus.id`. Memory of another id is stale: the place is freed of it before use. A bus whose
//! place has changed fetches what it left at the old one.
//!
//! Writers hold the file `.lock` there, shared, as long as they live; who finds it free may remove what
//! nobody owns any more and what certainly holds no message that is not durable. Messages that may be nowhere
//! else stay until their bus comes back or an operator gives them up by name.

mod contents;
mod forgotten;
mod identity;
mod moved;
mod room;

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

pub use forgotten::{Forgotten, forgotten, sweep};
pub use identity::BusId;

use crate::error::remedy;
use crate::lock::{self, Kind};
use crate::readers;
use crate::regular;
use identity::{Owner, Place};
use moved::Settled;

/// Mode of the directories: the group reads.
const DIRECTORY_MODE: u32 = 0o750;
/// Mode of the files beside the topics.
const FILE_MODE: u32 = 0o640;
/// The file that live writers hold. Its name, as the owner's, is none that a topic can have.
const LOCK: &str = ".lock";
/// The file that says which bus the memory belongs to.
const OWNER: &str = ".owner";
/// How deep files lie in an instance: topic, index, file.
const DEPTH: usize = 3;
/// How often, and how far apart, an instance is tried that others are just making, emptying or removing.
const ATTEMPTS: usize = 250;
const PAUSE: Duration = Duration::from_millis(2);

/// Where shared memory is kept: the environment's `BUSBAR_SHM`, else `/dev/shm`.
#[must_use]
pub fn root() -> PathBuf {
    std::env::var_os("BUSBAR_SHM").filter(|root| !root.is_empty()).map_or("/dev/shm".into(), PathBuf::from)
}

/// The shared memory of one bus directory, by name: nothing is made before [`Instance::enter`].
#[derive(Clone, Debug)]
pub struct Instance {
    bus: PathBuf,
    place: Place,
    user: u32,
    directory: PathBuf,
}

impl Instance {
    /// The instance of the bus directory `bus` below [`root`].
    ///
    /// # Errors
    /// [`InstanceError::Io`] where the bus directory cannot be inspected.
    pub fn of(bus: &Path) -> Result<Self, InstanceError> {
        Self::below(&root(), bus)
    }

    /// The instance of the bus directory `bus` below `root`.
    ///
    /// # Errors
    /// As [`Instance::of`].
    pub fn below(root: &Path, bus: &Path) -> Result<Self, InstanceError> {
        let failed = |error| InstanceError::io("inspect", bus, error);
        let path = fs::canonicalize(bus).map_err(failed)?;
        let status = fs::metadata(&path).map_err(failed)?;
        if !status.is_dir() {
            return Err(failed(ErrorKind::NotADirectory.into()));
        }
        let place = Place::of(&status);
        let user = status.uid();
        let directory = root.join(instance_name(user, place.hash()));
        Ok(Self { bus: path, place, user, directory })
    }

    /// The instance's own directory, which may not exist.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where journal `index` of `topic` keeps its memory; may not exist.
    ///
    /// # Panics
    /// If `topic` is no plain file name or begins with a dot.
    #[must_use]
    pub fn topic_path(&self, topic: &str, index: u32) -> PathBuf {
        assert!(
            !topic.is_empty() && !topic.starts_with('.') && !topic.contains(['/', '\0']),
            "topic {topic:?}"
        );
        self.directory.join(topic).join(index.to_string())
    }

    /// Refuses to believe memory that a stranger put there, since any user may make a directory of this name. Writes nothing.
    ///
    /// # Errors
    /// As [`Instance::is_current`].
    pub fn check(&self) -> Result<(), InstanceError> {
        match self.check_user() {
            Err(error) if error.is_missing() => Ok(()),
            checked => checked,
        }
    }

    /// Whether the memory there belongs to this bus. Writes nothing.
    ///
    /// # Errors
    /// [`InstanceError::Foreign`] where somebody else's directory has the name; [`InstanceError::Io`]
    /// where it cannot be read. Missing memory is no error.
    pub fn is_current(&self) -> Result<bool, InstanceError> {
        self.check()?;
        let id = identity::read(&self.bus)
            .map_err(|error| InstanceError::io("read", &identity::path(&self.bus), error))?;
        let owner = Owner::read(&self.directory.join(OWNER));
        let owner = owner.map_err(|error| InstanceError::io("read", &self.directory, error))?;
        Ok(id.is_some() && owner.map(|owner| owner.id) == id)
    }

    /// Makes the instance where it is missing, or fetches what the bus left at another place; frees it of what
    /// another bus left; and holds it as a live writer. Gives the bus its id where it has none yet.
    ///
    /// # Errors
    /// [`InstanceError::Foreign`] where somebody else's directory has the name,
    /// [`InstanceError::InUse`] where live writers hold it for a bus that was at this place before,
    /// [`InstanceError::Io`] for the rest, a full disk or memory among it.
    pub fn enter(&self) -> Result<Occupancy, InstanceError> {
        // Writers come in one at a time: a second one must not begin anew while the first fetches.
        let (id, _turn) = identity::establish(&self.bus)
            .map_err(|error| InstanceError::io("identify", &identity::path(&self.bus), error))?;
        let failed = |error| InstanceError::io("use", &self.directory, error);
        let mut kind = Kind::Shared;
        for _ in 0..ATTEMPTS {
            if !self.directory.exists() {
                moved::fetch(self, id).map_err(failed)?;
            }
            self.make_directory()?;
            let Some(lock) = self.lock(kind).map_err(failed)? else {
                thread::sleep(PAUSE);
                continue;
            };
            match Owner::read(&self.directory.join(OWNER)).map_err(failed)? {
                Some(stale) if stale.id != id => {
                    if kind == Kind::Shared {
                        kind = Kind::Exclusive;
                        continue;
                    }
                    if matches!(moved::settle(self, &stale).map_err(failed)?, Settled::SetAside) {
                        continue;
                    }
                    self.claim(id).map_err(failed)?;
                }
                Some(owner) if owner == self.owner(id) => {}
                _ => self.claim(id).map_err(failed)?,
            }
            // From alone to shared nobody is in the way.
            lock::set(&lock, Kind::Shared).map_err(failed)?;
            return Ok(Occupancy { instance: self.clone(), id, lock });
        }
        Err(InstanceError::InUse { directory: self.directory.clone() })
    }

    fn owner(&self, id: BusId) -> Owner {
        Owner { id, place: self.place, bus: self.bus.clone() }
    }

    /// Says that the memory belongs to this bus, and where that is now.
    fn claim(&self, id: BusId) -> io::Result<()> {
        self.owner(id).write(&self.directory.join(OWNER))
    }

    fn make_directory(&self) -> Result<(), InstanceError> {
        match DirBuilder::new().mode(DIRECTORY_MODE).create(&self.directory) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                Err(InstanceError::io("make", &self.directory, error))
            }
            // Where another's sweep removed it just now, the lock will not be found, and we try again.
            _ => self.check(),
        }
    }

    fn check_user(&self) -> Result<(), InstanceError> {
        let status = fs::symlink_metadata(&self.directory)
            .map_err(|error| InstanceError::io("inspect", &self.directory, error))?;
        let trusted = [self.user, effective_user(), 0].contains(&status.uid());
        if !(trusted && status.is_dir()) {
            return Err(InstanceError::Foreign { directory: self.directory.clone(), user: status.uid() });
        }
        Ok(())
    }

    fn lock(&self, kind: Kind) -> io::Result<Option<File>> {
        lock_directory(&self.directory, kind)
    }
}

/// A live writer's hold on an instance. The last one to leave removes the instance if all memory in it
/// has been given up before; pages that readers show do not count.
#[derive(Debug)]
pub struct Occupancy {
    instance: Instance,
    id: BusId,
    lock: File,
}

impl Occupancy {
    /// The instance that is held.
    #[must_use]
    pub fn instance(&self) -> &Instance {
        &self.instance
    }

    /// The id of the bus.
    #[must_use]
    pub fn bus_id(&self) -> BusId {
        self.id
    }

    /// Makes the directory for journal `index` of `topic`, if need be.
    ///
    /// # Errors
    /// [`InstanceError::Io`].
    ///
    /// # Panics
    /// As [`Instance::topic_path`].
    pub fn make_topic(&self, topic: &str, index: u32) -> Result<PathBuf, InstanceError> {
        let path = self.instance.topic_path(topic, index);
        match DirBuilder::new().mode(DIRECTORY_MODE).recursive(true).create(&path) {
            Ok(()) => Ok(path),
            Err(error) => Err(InstanceError::io("make", &path, error)),
        }
    }
}

impl Drop for Occupancy {
    fn drop(&mut self) {
        let directory = &self.instance.directory;
        // What cannot be removed now is found by a later sweep.
        if matches!(lock::set(&self.lock, Kind::Exclusive), Ok(true))
            && matches!(lock::is_at(&self.lock, &directory.join(LOCK)), Ok(true))
            && files(directory).is_ok_and(|files| files.iter().all(|(path, _)| readers::is_page(path)))
        {
            let _ = remove(directory);
        }
    }
}

/// The name of an instance's directory.
fn instance_name(user: u32, number: u64) -> String {
    format!("busbar-{user}-{number:016x}")
}

/// Locks an instance directory without waiting; none where others are in the way or have just removed
/// it.
fn lock_directory(directory: &Path, kind: Kind) -> io::Result<Option<File>> {
    let path = directory.join(LOCK);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(FILE_MODE);
    let file = match regular::open_as(&mut options, libc::O_NOFOLLOW, &path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    Ok((lock::set(&file, kind)? && lock::is_at(&file, &path)?).then_some(file))
}

/// The files of an instance with their lengths, but for the lock and the owner.
fn files(directory: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
    let mut found = Vec::new();
    walk(directory, DEPTH, &mut |path, status| {
        if !status.is_dir() {
            found.push((path.to_owned(), status.len()));
        }
        Ok(())
    })?;
    found.retain(|(path, _)| ![directory.join(LOCK), directory.join(OWNER)].contains(path));
    Ok(found)
}

/// Removes all that is in an instance directory but the lock.
fn empty(directory: &Path) -> io::Result<()> {
    let lock = directory.join(LOCK);
    walk(directory, DEPTH, &mut |path, status| {
        ignore_missing(if status.is_dir() {
            fs::remove_dir(path)
        } else if path == lock {
            Ok(())
        } else {
            fs::remove_file(path)
        })
    })
}

/// Removes an instance directory, whose lock the caller holds alone: the lock last, so that whoever
/// waits for it sees that it is gone.
fn remove(directory: &Path) -> io::Result<()> {
    empty(directory)?;
    ignore_missing(fs::remove_file(directory.join(LOCK)))?;
    match fs::remove_dir(directory) {
        // Somebody has just made a new lock: then the directory is theirs.
        Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => Ok(()),
        removed => ignore_missing(removed),
    }
}

/// Visits what lies below a directory, contents before the directories that hold them, without following
/// links. What vanishes meanwhile is passed over.
fn walk(
    directory: &Path,
    depth: usize,
    visit: &mut dyn FnMut(&Path, &fs::Metadata) -> io::Result<()>,
) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        let status = match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            status => status?,
        };
        if status.is_dir() && depth > 0 {
            walk(&path, depth - 1, visit)?;
        }
        visit(&path, &status)?;
    }
    Ok(())
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn effective_user() -> u32 {
    // SAFETY: the call touches no memory and always succeeds.
    unsafe { libc::geteuid() }
}

/// Why the shared memory of a bus cannot be used.
#[derive(Debug)]
pub enum InstanceError {
    /// The name is taken by something that does not belong to the bus's owner, to us or to root.
    Foreign {
        /// The instance's directory.
        directory: PathBuf,
        /// Whose it is.
        user: u32,
    },
    /// Live writers hold the instance for another bus, one that was at the same place before.
    InUse {
        /// The instance's directory.
        directory: PathBuf,
    },
    /// The system refused something.
    Io {
        /// What was tried: `inspect`, `read`, `identify`, `make` or `use`.
        action: &'static str,
        /// What it was tried on.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

impl InstanceError {
    fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.into(), source }
    }

    fn is_missing(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == ErrorKind::NotFound)
    }
}

impl fmt::Display for InstanceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign { directory, user } => write!(
                f,
                "shared memory of user {user}, who does not own the bus: {}; have them remove it, make the bus directory \
                 theirs, or set BUSBAR_SHM to another place",
                directory.display()
            ),
            Self::InUse { directory } => write!(
                f,
                "shared memory in use by writers of a removed bus: {}; stop them",
                directory.display()
            ),
            Self::Io { action, path, source } => {
                write!(f, "cannot {action}: {}: {source}; {}", path.display(), remedy(source))
            }
        }
    }
}

impl std::error::Error for InstanceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
