//! Reading a configuration file.

use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use std::{fmt, io};

use crate::regular;

/// Largest file that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// Reads a configuration file into `T`, which refuses unknown keys by `#[serde(deny_unknown_fields)]`.
///
/// # Errors
/// The file cannot be read, is not TOML, or does not say what `T` holds; with the place, the key and what is expected.
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
    let file = regular::read(path, MAX_FILE).map_err(|source| match source.kind() {
        io::ErrorKind::FileTooLarge => ConfigError::TooLong { path: path.to_owned() },
        _ => unreadable(source),
    })?;
    let no_text = |_| unreadable(io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"));
    let text = String::from_utf8(file).map_err(no_text)?;
    toml::from_str(&text).map_err(|error| {
        let at = error.span().map(|span| Place::of(&text, span.start));
        ConfigError::Wrong { path: path.to_owned(), at, reason: reason(error) }
    })
}

/// What is wrong, behind the key.
fn reason(mut error: toml::de::Error) -> String {
    // Where it has the input, its text draws that and leaves out the key.
    error.set_input(None);
    let (text, message) = (error.to_string(), error.message());
    let rest = text.strip_prefix(message).map_or("", str::trim);
    match rest.strip_prefix("in `").and_then(|rest| rest.strip_suffix('`')) {
        Some(key) => format!("{key}: {message}"),
        None => message.to_owned(),
    }
}

/// A place in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The line, counted from 1.
    pub line: usize,
    /// The character in it, counted from 1.
    pub column: usize,
}

impl Place {
    /// The place of a byte of `text`.
    fn of(text: &str, byte: usize) -> Self {
        let before = text.get(..byte).unwrap_or(text);
        let line = before.rsplit('\n').next().unwrap_or(before);
        Self { line: 1 + before.matches('\n').count(), column: 1 + line.chars().count() }
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
    },
    /// The file does not say what is expected.
    Wrong {
        /// The file.
        path: PathBuf,
        /// Where, if that is known.
        at: Option<Place>,
        /// The key, what is wrong with it, and what is expected.
        reason: String,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, source } => {
                write!(f, "cannot read the configuration: {}: {source}; name a readable file", path.display())
            }
            Self::TooLong { path } => {
                write!(
                    f,
                    "configuration too long: {}; {MAX_FILE} bytes are allowed; shorten it",
                    path.display()
                )
            }
            Self::Wrong { path, at, reason } => {
                let at = at.map_or_else(String::new, |Place { line, column }| format!(":{line}:{column}"));
                write!(f, "wrong configuration: {}{at}: {reason}; mend that line", path.display())
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
