//! Configuration: one TOML file for all programs, each part with a type of its own, unknown keys refused.

use crate::plan::PlacementConfig;
use crate::program::{Size, Value};
use crate::topic::check_name;
use journal::layout::{SEGMENT_MAX, SEGMENT_MIN};
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

/// Largest file that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;

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
#[serde(deny_unknown_fields, default)]
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
#[serde(deny_unknown_fields, default)]
pub struct TopicConfig {
    /// Disk that the topic may take, but for some small files; three segments at least. Without it the topic keeps all.
    /// Where the oldest messages expire, those that a [keeper](crate::Bus::keep_from) needs may take as much again.
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

fn topics<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, TopicConfig>, D::Error> {
    let topics = BTreeMap::<String, TopicConfig>::deserialize(deserializer)?;
    for (topic, config) in &topics {
        check_name(topic).map_err(Error::custom)?;
        if config.when_full == Some(WhenFull::Expire) && config.retention.is_none() {
            return Err(Error::custom(format_args!(
                "topics.{topic}: 'expire' without a retention expires nothing"
            )));
        }
    }
    Ok(topics)
}

/// Reads a configuration file into `T`, which refuses unknown keys by `#[serde(deny_unknown_fields)]`.
///
/// # Errors
/// The file cannot be read, is not TOML, or does not say what `T` holds; with the line.
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
    let size = fs::metadata(path).map_err(unreadable)?.len();
    if size > MAX_FILE {
        return Err(ConfigError::TooLong { path: path.to_owned(), size });
    }
    let text = fs::read_to_string(path).map_err(unreadable)?;
    toml::from_str(&text).map_err(|error| {
        let line =
            error.span().map(|span| 1 + text.bytes().take(span.start).filter(|byte| *byte == b'\n').count());
        ConfigError::Wrong { path: path.to_owned(), line, reason: error.message().to_owned() }
    })
}

/// Deserialises what people write in configurations as on command lines, such as `"10s"`, from a string. For
/// `#[serde(deserialize_with = "bus::config::written")]`.
pub fn written<'de, T: Value, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    let text = String::deserialize(deserializer)?;
    T::parse(&text).ok_or_else(|| Error::custom(format_args!("\"{text}\" where {} is expected", T::EXPECTED)))
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        written(deserializer)
    }
}

/// Why a configuration was refused.
#[derive(Debug)]
pub enum ConfigError {
    /// The file cannot be read.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file is longer than a mebibyte.
    TooLong {
        /// The file.
        path: PathBuf,
        /// Its bytes.
        size: u64,
    },
    /// The file does not say what is expected.
    Wrong {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1, where it is known.
        line: Option<usize>,
        /// What is wrong, with the key.
        reason: String,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, source } => {
                write!(f, "cannot read the configuration: {}: {source}; name a readable file", path.display())
            }
            Self::TooLong { path, size } => {
                write!(
                    f,
                    "configuration too long: {} has {size} bytes; {MAX_FILE} are allowed",
                    path.display()
                )
            }
            Self::Wrong { path, line, reason } => {
                let line = line.map_or_else(String::new, |line| format!(":{line}"));
                write!(f, "wrong configuration: {}{line}: {reason}; mend that line", path.display())
            }
        }
    }
}

impl std::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable { source, .. } => Some(source),
            Self::TooLong { .. } | Self::Wrong { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait::WaitStrategy;

    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct File {
        bus: BusConfig,
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
    fn what_is_wrong_is_named_with_its_line() {
        for (text, want) in [
            ("[bus]\nmemroy = \"1GiB\"", "wrong configuration: FILE:2: unknown field `memroy`"),
            (
                "\n\n[bus]\nmemory = \"1GB\"",
                "wrong configuration: FILE:4: \"1GB\" where a size such as 4096, 64MiB",
            ),
            ("[bus.topics.t]\nwhen_full = \"drop\"", "wrong configuration: FILE:2: unknown variant `drop`"),
            (
                "[bus]\nsegment = \"3MiB\"",
                "wrong configuration: FILE:2: \"3MiB\" where a power of two from 1MiB",
            ),
            ("[bus]\nsegment = \"1KiB\"", "wrong configuration: FILE:2: \"1KiB\" where a power of two"),
            ("[bus.topics.\"../t\"]", "wrong configuration: FILE:1: not a topic name: '../t'"),
            (
                "[bus.topics.t]\nwhen_full = \"expire\"",
                "wrong configuration: FILE:1: topics.t: 'expire' without",
            ),
            ("[bus.cores.t]\ncore = -1", "wrong configuration: FILE:2: "),
            ("[other]", "wrong configuration: FILE:1: unknown field `other`"),
            ("[bus", "wrong configuration: FILE:1: "),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.starts_with(want) && error.ends_with("; mend that line"), "{error}");
        }
        let missing = load::<File>(Path::new("/nowhere/busbar.toml")).unwrap_err().to_string();
        assert!(missing.starts_with("cannot read the configuration: /nowhere/busbar.toml: "), "{missing}");
    }
}
