//! Configuration: one TOML file for all programs, each part with a type of its own, unknown keys refused.
//!
//! The parts are [`BusConfig`], [`RiskConfig`] and the gateway's, which its crate defines. Each program reads them all and
//! refuses the file for a fault in any of them: what it means is the same for all.

mod file;
mod risk;
mod value;

pub use file::{ConfigError, Place, load};
pub use risk::{FeeConfig, LimitConfig, RiskConfig};
pub use value::{number, some_number, some_written, written};

use crate::plan::PlacementConfig;
use crate::program::Size;
use crate::retention::LEAST_SEGMENTS;
use crate::topic::check_new_name;
use journal::layout::{SEGMENT_MAX, SEGMENT_MIN};
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;

/// The least retention that a topic can keep to: that of one with the smallest segments.
const LEAST_RETENTION: Size = Size(LEAST_SEGMENTS * SEGMENT_MIN as u64);

/// The part `[bus]` of a configuration.
///
/// ```toml
/// [bus]
/// memory = "256MiB"                       # shared memory of all journals together
/// segment = "4MiB"                        # size of a segment of a new journal
///
/// [bus.topics.market-data]
/// retention = "1GiB"                      # disk that the topic may take
/// when_full = "expire"                    # or "refuse", or "wait"
///
/// [bus.cores]
/// gateway = { core = 3, wait = "spin" }   # or "yield", or "park"
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub struct BusConfig {
    /// Shared memory of all journals of the bus together; else the smaller of 256 MiB and a quarter of what there is.
    pub memory: Option<Size>,
    /// Size of a segment of a journal that is created: a power of two from 1 MiB to 16 MiB.
    #[serde(deserialize_with = "segment")]
    pub segment: Option<Size>,
    /// What differs for a topic, by its name.
    #[serde(deserialize_with = "topics")]
    pub topics: BTreeMap<String, TopicConfig>,
    /// What differs from the automatic core plan, by role. The bus itself heeds the core of `write-out`, the thread that
    /// writes to disk; the roles of programs are theirs to heed.
    pub cores: BTreeMap<String, PlacementConfig>,
}

impl BusConfig {
    /// A note for each topic that is set here and is not among the `published` ones of this program, where its settings
    /// count for nothing: misspelt, or meant for another program.
    pub fn notes_of_others(&self, published: &[&str]) -> impl Iterator<Item = String> {
        let others = self.topics.keys().filter(|topic| !published.contains(&topic.as_str()));
        others.map(|topic| {
            format!("settings of topic '{topic}' count in the process that publishes it: give it the same --config")
        })
    }
}

/// What a configuration says about one topic, which counts in the process that publishes it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub struct TopicConfig {
    /// Disk that the topic may take, but for some small files; three segments at least, and 3 MiB where it comes from a
    /// file. Without it the topic keeps all. Where the oldest messages expire, those that a
    /// [keeper](crate::Bus::keep_from) needs may take as much again.
    #[serde(deserialize_with = "retention")]
    pub retention: Option<Size>,
    /// What happens when that is taken, or the disk or shared memory is full; else `refuse`. `expire` needs a retention.
    pub when_full: Option<WhenFull>,
}

/// What a topic does when it has taken the disk that it may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WhenFull {
    /// `publish` waits for room. The oldest messages go as soon as no [keeper](crate::Bus::keep_from) needs them: its
    /// keepers hold up the topic, and one without a keeper waits until somebody makes room.
    Wait,
    /// `publish` is refused.
    Refuse,
    /// The oldest messages go; a subscriber that still needed them is told by
    /// [`ReadError::Retired`](crate::ReadError::Retired). Those that a [keeper](crate::Bus::keep_from) needs stay while the
    /// topic takes no more than twice its retention; beyond that they go too, which `bus status` counts: a reader never
    /// holds up the topic. A full disk or full shared memory refuses.
    Expire,
}

fn segment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Size>, D::Error> {
    let size = Size::deserialize(deserializer)?;
    let range = Size(SEGMENT_MIN as u64)..=Size(SEGMENT_MAX as u64);
    if size.0.is_power_of_two() && range.contains(&size) {
        return Ok(Some(size));
    }
    let (least, most) = (range.start(), range.end());
    Err(Error::custom(format_args!("\"{size}\" where a power of two from {least} to {most} is expected")))
}

fn retention<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Size>, D::Error> {
    let size = Size::deserialize(deserializer)?;
    if size >= LEAST_RETENTION {
        return Ok(Some(size));
    }
    Err(Error::custom(format_args!(
        "\"{size}\" where {LEAST_RETENTION} or more is expected, {LEAST_SEGMENTS} of the smallest segments"
    )))
}

fn topics<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, TopicConfig>, D::Error> {
    let topics = BTreeMap::<TopicName, Consistent>::deserialize(deserializer)?;
    Ok(topics.into_iter().map(|(TopicName(name), Consistent(config))| (name, config)).collect())
}

/// A name that a topic can have.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct TopicName(String);

impl<'de> Deserialize<'de> for TopicName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        check_new_name(&name).map_err(Error::custom)?;
        Ok(Self(name))
    }
}

/// What a topic is told, without contradiction.
struct Consistent(TopicConfig);

impl<'de> Deserialize<'de> for Consistent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let config = TopicConfig::deserialize(deserializer)?;
        if config.when_full == Some(WhenFull::Expire) && config.retention.is_none() {
            return Err(Error::custom(
                "when_full = \"expire\" without a retention expires nothing: give one",
            ));
        }
        Ok(Self(config))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait::WaitStrategy;
    use std::fs;
    use std::path::Path;

    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct File {
        bus: BusConfig,
        #[serde(rename = "risk")]
        _risk: RiskConfig,
    }

    fn read(text: &str) -> Result<BusConfig, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("busbar.toml");
        fs::write(&path, text).unwrap();
        let place = path.display().to_string();
        load::<File>(&path).map(|file| file.bus).map_err(|error| error.to_string().replace(&place, "FILE"))
    }

    #[test]
    fn all_keys_are_read() {
        let config = read(concat!(
            "[bus]\nmemory = \"64MiB\"\nsegment = \"1MiB\"\n",
            "[bus.topics.market-data]\nretention = \"1GiB\"\nwhen_full = \"expire\"\n",
            "[bus.cores]\ngateway = { core = 3, wait = \"spin\" }\n",
        ))
        .unwrap();
        assert_eq!((config.memory, config.segment), (Some(Size(64 << 20)), Some(Size(1 << 20))));
        let topic = config.topics["market-data"];
        assert_eq!((topic.retention, topic.when_full), (Some(Size(1 << 30)), Some(WhenFull::Expire)));
        let placement = config.cores["gateway"];
        assert_eq!((placement.core, placement.wait), (Some(3), Some(WaitStrategy::Spin)));
        assert_eq!(read("").unwrap(), BusConfig::default());
    }

    #[test]
    fn topics_of_other_programs_are_noted() {
        let config = read("[bus.topics.risk]\n[bus.topics.market-data]\n[bus.topics.nope]\n").unwrap();
        let notes = Vec::from_iter(config.notes_of_others(&["risk", "trades"]));
        assert_eq!(
            notes,
            ["market-data", "nope"].map(|topic| format!(
                "settings of topic '{topic}' count in the process that publishes it: give it the same --config"
            ))
        );
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place_and_key() {
        for (text, want) in [
            ("[bus]\nmemroy = \"1GiB\"", ":2:1: bus: unknown field `memroy`, expected one of `memory`, "),
            ("\n\n[bus]\nmemory = \"1GB\"", ":4:10: bus.memory: \"1GB\" where a size such as 4096, 64MiB"),
            ("[bus]\nmemory = 5", ":2:10: bus.memory: invalid type: integer `5`, expected a size such as "),
            ("bus = 5", ":1:7: bus: invalid type: integer `5`, expected a table"),
            ("[bus.topics.t]\nwhen_full = \"drop\"", ":2:13: bus.topics.t.when_full: unknown variant `drop`"),
            ("[bus]\nsegment = \"3MiB\"", ":2:11: bus.segment: \"3MiB\" where a power of two from 1MiB"),
            ("[bus]\nsegment = \"1KiB\"", ":2:11: bus.segment: \"1KiB\" where a power of two"),
            ("[bus.topics.t]\n[bus.topics.\"../t\"]", ":2:13: bus.topics: not a topic name: '../t'"),
            (
                "[bus.topics.\"t.json\"]",
                ":1:13: bus.topics: not a topic name: 't.json'; Kafka consumers read",
            ),
            (
                "[bus.topics.s]\n[bus.topics.t]\nwhen_full = \"expire\"",
                ":2:1: bus.topics.t: when_full = \"expire\" without",
            ),
            (
                "[bus.topics.t]\nretention = \"1KiB\"",
                ":2:13: bus.topics.t.retention: \"1KiB\" where 3MiB or more",
            ),
            (
                "[bus.topics.t]\nretention = \"99999999TiB\"",
                ":2:13: bus.topics.t.retention: \"99999999TiB\" where",
            ),
            (
                "[bus.cores.t]\ncore = -1",
                ":2:8: bus.cores.t.core: invalid value: integer `-1`, expected a whole",
            ),
            ("[bus.cores.t]\nwait = \"sleep\"", ":2:8: bus.cores.t.wait: unknown variant `sleep`"),
            ("[other]", ":1:2: unknown field `other`, expected `bus` or `risk`"),
            ("[bus", ":1:5: "),
            ("[risk]\nlimit = 3", ":2:1: risk: unknown field `limit`, expected one of `limits`, `fees`"),
            (
                "[risk]\nlimits = 3",
                ":2:10: risk.limits: invalid type: integer `3`, expected tables in double",
            ),
            (
                "[[risk.limits]]\nposition = -1",
                ":2:12: risk.limits.position: invalid value: integer `-1`, expected ",
            ),
            (
                "[[risk.limits]]\nposition = \"10\"",
                ":2:12: risk.limits.position: invalid type: string \"10\", expected a whole number, 0 or more",
            ),
            ("\n[[risk.limits]]\naccount = \"A\"", ":2:1: risk.limits: missing field `position`"),
            (
                "[[risk.fees]]\naccount = \"a much too long account\"",
                ":2:11: risk.fees.account: \"a much too long account\" where 1 to 16 ASCII characters",
            ),
            (
                "[[risk.fees]]\nper_unit = 0.5",
                ":2:12: risk.fees.per_unit: invalid type: floating point `0.5`, expected a price such as 4807.5, with at \
                 most nine digits after the point in quotes",
            ),
            (
                "[[risk.limits]]\nposition = 1\n[[risk.limits]]\naccount = \"A\"\nposition = 1\n[[risk.limits]]\nposition = 2",
                ":6:1: risk.limits: entries 1 and 3 are both for every account and every instrument: leave one of them",
            ),
            (
                "[[risk.fees]]\ninstrument = \"AAPL\"\n[[risk.fees]]\ninstrument = \"AAPL\"",
                ":3:1: risk.fees: entries 1 and 2 are both for every account and instrument AAPL: leave one of them",
            ),
        ] {
            let (error, want) = (read(text).unwrap_err(), format!("wrong configuration: FILE{want}"));
            assert!(error.starts_with(&want) && error.ends_with("; mend that line"), "{error}\nnot {want}");
        }
        let missing = load::<File>(Path::new("/nowhere/busbar.toml")).unwrap_err().to_string();
        assert!(missing.starts_with("cannot read the configuration: /nowhere/busbar.toml: "), "{missing}");
    }
}
