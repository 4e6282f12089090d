//! Guards the codec against counts that lie.
//!
//! The codec reserves what an array's count says before it reads the elements, so a few hostile bytes could ask for
//! hundreds of gigabytes. Each request is therefore walked first: every element that is counted must be there, and
//! there may not be more than [`MOST_ELEMENTS`] in all.

use kafka_protocol::messages::ApiKey;

/// Array elements and tagged fields of one request. A consumer of this listener asks for a few dozen topics at most.
const MOST_ELEMENTS: usize = 1024;

/// Whether the body of a request is complete and bounded, so that the codec may decode it.
pub(crate) fn is_sound(api: ApiKey, version: i16, body: &[u8]) -> bool {
    let walk = |flexible_from| Walk { rest: body, flexible: version >= flexible_from, elements: 0 };
    match api {
        ApiKey::ApiVersions => api_versions(walk(3), version),
        ApiKey::Metadata => metadata(walk(9), version),
        ApiKey::Fetch => fetch(walk(12), version),
        ApiKey::ListOffsets => list_offsets(walk(6), version),
        ApiKey::Produce => produce(walk(9)),
        ApiKey::OffsetForLeaderEpoch => leader_epoch(walk(4), version),
        ApiKey::FindCoordinator => find_coordinator(walk(3), version),
        ApiKey::JoinGroup => join_group(walk(6), version),
        ApiKey::OffsetCommit => offset_commit(walk(8), version),
        ApiKey::OffsetFetch => offset_fetch(walk(6), version),
        _ => None,
    }
    .is_some()
}

fn api_versions(mut walk: Walk<'_>, version: i16) -> Option<()> {
    if version >= 3 {
        walk.string()?;
        walk.string()?;
    }
    walk.tags()
}

fn metadata(mut walk: Walk<'_>, version: i16) -> Option<()> {
    walk.array(|topic| topic.string().and_then(|()| topic.tags()))?;
    walk.skip(usize::from(version >= 4) + if version >= 8 { 2 } else { 0 })?;
    walk.tags()
}

fn fetch(mut walk: Walk<'_>, version: i16) -> Option<()> {
    walk.skip(17 + if version >= 7 { 8 } else { 0 })?;
    let epochs = if version >= 9 { 4 } else { 0 } + if version >= 12 { 4 } else { 0 };
    let partition = 16 + epochs + if version >= 5 { 8 } else { 0 };
    walk.topics(partition)?;
    if version >= 7 {
        walk.partition_numbers()?;
    }
    if version >= 11 {
        walk.string()?;
    }
    walk.tags()
}

fn list_offsets(mut walk: Walk<'_>, version: i16) -> Option<()> {
    walk.skip(if version >= 2 { 5 } else { 4 })?;
    walk.topics(if version >= 4 { 16 } else { 12 })?;
    walk.tags()
}

fn produce(mut walk: Walk<'_>) -> Option<()> {
    walk.string()?;
    walk.skip(6)?;
    walk.array(|topic| {
        topic.string()?;
        topic.array(|partition| {
            partition.skip(4)?;
            partition.bytes()?;
            partition.tags()
        })?;
        topic.tags()
    })?;
    walk.tags()
}

fn leader_epoch(mut walk: Walk<'_>, version: i16) -> Option<()> {
    walk.skip(if version >= 3 { 4 } else { 0 })?;
    walk.topics(12)?;
    walk.tags()
}

fn find_coordinator(mut walk: Walk<'_>, version: i16) -> Option<()> {
    walk.string()?;
    walk.skip(usize::from(version >= 1))
}

fn join_group(mut walk: Walk<'_>, version: i16) -> Option<()> {
    walk.string()?;
    walk.skip(if version >= 1 { 8 } else { 4 })?;
    walk.string()?;
    walk.string()?;
    walk.array(|protocol| protocol.string().and_then(|()| protocol.bytes()))
}

fn offset_commit(mut walk: Walk<'_>, version: i16) -> Option<()> {
    walk.string()?;
    walk.skip(4)?;
    walk.string()?;
    if version >= 7 {
        walk.string()?;
    }
    walk.skip(if version <= 4 { 8 } else { 0 })?;
    walk.array(|topic| {
        topic.string()?;
        topic.array(|partition| {
            partition.skip(if version >= 6 { 16 } else { 12 })?;
            partition.string()
        })
    })
}

fn offset_fetch(mut walk: Walk<'_>, version: i16) -> Option<()> {
    walk.string()?;
    walk.partition_numbers()?;
    walk.skip(usize::from(version >= 7))?;
    walk.tags()
}

/// A place in a request. `None` from any step: the request is cut short or counts too much.
struct Walk<'a> {
    rest: &'a [u8],
    /// Whether strings and arrays have varint counts and structures end in tagged fields.
    flexible: bool,
    elements: usize,
}

impl Walk<'_> {
    fn skip(&mut self, bytes: usize) -> Option<()> {
        self.rest = self.rest.get(bytes..)?;
        Some(())
    }

    /// Topics with a name and partitions of a fixed size: what most requests consist of.
    fn topics(&mut self, partition: usize) -> Option<()> {
        self.array(|topic| {
            topic.string()?;
            topic.array(|each| each.skip(partition).and_then(|()| each.tags()))?;
            topic.tags()
        })
    }

    /// Topics with a name and bare partition numbers.
    fn partition_numbers(&mut self) -> Option<()> {
        self.array(|topic| {
            topic.string()?;
            topic.array(|number| number.skip(4))?;
            topic.tags()
        })
    }

    /// Each element takes at least one byte, so that the loop is bounded by what is there.
    fn array(&mut self, element: impl Fn(&mut Self) -> Option<()>) -> Option<()> {
        let count = if self.flexible {
            self.varint()?.saturating_sub(1)
        } else {
            self.int32()?.max(0).cast_unsigned()
        };
        for _ in 0..count {
            self.count_element()?;
            element(self)?;
        }
        Some(())
    }

    fn string(&mut self) -> Option<()> {
        if self.flexible {
            return self.bytes();
        }
        let (length, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        self.skip(usize::try_from(i16::from_be_bytes(*length)).unwrap_or(0))
    }

    fn bytes(&mut self) -> Option<()> {
        let length = if self.flexible {
            self.varint()?.saturating_sub(1)
        } else {
            self.int32()?.max(0).cast_unsigned()
        };
        self.skip(length as usize)
    }

    fn tags(&mut self) -> Option<()> {
        let count = if self.flexible { self.varint()? } else { 0 };
        for _ in 0..count {
            self.count_element()?;
            self.varint()?;
            let length = self.varint()?;
            self.skip(length as usize)?;
        }
        Some(())
    }

    fn count_element(&mut self) -> Option<()> {
        self.elements += 1;
        (self.elements <= MOST_ELEMENTS).then_some(())
    }

    fn int32(&mut self) -> Option<i32> {
        let (value, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(i32::from_be_bytes(*value))
    }

    /// At most five bytes, and what does not fit into 32 bits is dropped, as the codec does.
    fn varint(&mut self) -> Option<u32> {
        let mut value = 0;
        for shift in [0, 7, 14, 21, 28] {
            let (&byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        Some(value)
    }
}
