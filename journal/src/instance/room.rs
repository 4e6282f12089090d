//! How much shared memory the journals of a bus cannot do without.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use super::{Occupancy, files};
use crate::layout::BLOCK;
use crate::names;

/// A journal rolls from its segment to the next one, so it needs both at once.
const SEGMENTS: u64 = 2;
/// The pages that its owner shares with readers.
const PAGES: u64 = 2 * BLOCK as u64;

impl Occupancy {
    /// Bytes that the journals which are there need at least, together with journal `index` of `topic`, whose segments
    /// have `segment_size` bytes.
    ///
    /// # Errors
    /// Whatever the system answers.
    ///
    /// # Panics
    /// As [`Instance::topic_path`](super::Instance::topic_path).
    pub fn least_room(&self, topic: &str, index: u32, segment_size: u64) -> io::Result<u64> {
        let mut sizes: BTreeMap<PathBuf, u64> = BTreeMap::new();
        for (path, length) in files(self.instance.directory())? {
            let is_segment =
                path.file_name().and_then(|name| name.to_str()).and_then(names::segment_number).is_some();
            if let Some(journal) = path.parent().filter(|_| is_segment) {
                let size = sizes.entry(journal.to_owned()).or_default();
                *size = length.max(*size);
            }
        }
        sizes.insert(self.instance.topic_path(topic, index), segment_size);
        let least = |size: &u64| size.saturating_mul(SEGMENTS).saturating_add(PAGES);
        Ok(sizes.values().map(least).fold(0, u64::saturating_add))
    }
}
