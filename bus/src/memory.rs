//! Shared memory that a bus needs, and what there is of it.

use crate::{error::BusError, program::Size, topic::Bus};
use journal::{
    instance,
    memory::{Headroom, headroom},
    storage::space,
};

/// Shared memory with which journals have small segments and all the room that they want. With less, publishing may be
/// refused while the disk catches up.
pub const ENOUGH: u64 = 64 << 20;

/// What helps where there is too little.
pub const REMEDY: &str =
    "mount a tmpfs of 256MiB or more there (a container: --shm-size=256m), or set BUSBAR_SHM to one";

impl Bus {
    /// What programs that publish say at their start where the machine has little shared memory; nothing where it has
    /// enough.
    pub fn scanty_memory(&self) -> Option<String> {
        let root = instance::root();
        let total = space(&root).ok()?.total;
        (total < ENOUGH).then(|| {
            format!(
                "little shared memory: {} has {}, so publishing may be refused while the disk catches up; {REMEDY}",
                root.display(),
                Size(total)
            )
        })
    }
}

/// Refuses a publisher of `topic` where the journals of the bus, its own among them, need more than there can be.
pub(crate) fn check(bus: &Bus, topic: &str, needed: u64) -> Result<(), BusError> {
    let too_little = |place: String, given: u64, remedy: String| BusError::TooLittleMemory {
        topic: topic.into(),
        place,
        given,
        needed,
        remedy,
    };
    if let Some(budget) = bus.config().memory.filter(|budget| budget.0 < needed) {
        let remedy = "raise it, or set a smaller `segment` under [bus] before the topics are made".into();
        return Err(too_little("the key 'memory' of [bus]".into(), budget.0, remedy));
    }
    let root = instance::root();
    // What cannot be asked refuses by itself.
    if let Some(found) = space(&root).ok().filter(|found| found.total < needed) {
        return Err(too_little(root.display().to_string(), found.total, REMEDY.into()));
    }
    // There, what is used beyond the limit is no error, but a kill.
    match headroom().filter(|headroom| headroom.limit < needed) {
        Some(Headroom { limit_file, limit, .. }) => {
            let remedy =
                "raise that memory limit (a container: --memory), or set a smaller `segment` under [bus] before \
                 the topics are made"
                    .into();
            Err(too_little(limit_file.display().to_string(), limit, remedy))
        }
        None => Ok(()),
    }
}
