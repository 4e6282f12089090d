//! A topic's schema: which kinds it carries and how their bytes are read. It lies beside the journal as
//! `schema.json`, so that any program can print any topic, and it is checked when a subscriber attaches.

use super::json::Columns;
use super::{FieldInfo, FieldKind, KindInfo, Message};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::fmt;

/// Version of the file's form.
const FORMAT: u64 = 1;
/// Largest schema file that is read or written, in bytes. It also bounds the numbers of kinds and fields.
const MAX_FILE: usize = 4 << 20;
/// Largest body of a message, in bytes: what the journal allows.
const MAX_BODY: usize = 16 << 20;
/// Longest name, in bytes.
const MAX_NAME: usize = 128;
/// Kinds above are the journal's own.
const MAX_KIND: u16 = 65_279;

/// What a topic carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema {
    inputs: Vec<String>,
    /// In order of their numbers.
    kinds: Vec<Kind>,
}

/// One kind of message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kind {
    /// Number in the frame header.
    pub kind: u16,
    /// Name in JSON.
    pub name: String,
    /// Bytes of the body.
    pub size: usize,
    /// Its fields in order of offset.
    pub fields: Vec<SchemaField>,
    /// Layout hash: two kinds with equal hashes have the same number, name and fields.
    ///
    /// 64-bit FNV-1a over: kind (u16), name, size (u64), number of fields (u64), then for each field its name,
    /// its [`FieldKind`] (u8), offset (u64) and size (u64). Integers are little-endian, a name is its length (u64)
    /// and its bytes.
    pub hash: u64,
    pub(super) columns: Columns,
}

/// One field of a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaField {
    /// Name in JSON; padding begins with `_`.
    pub name: String,
    /// How its bytes are read.
    pub kind: FieldKind,
    /// Bytes from the start of the body.
    pub offset: usize,
    /// Bytes.
    pub size: usize,
}

impl Schema {
    /// The schema of a message type in a topic derived from `inputs` (none for a topic that is not derived).
    ///
    /// # Errors
    /// [`SchemaError::Invalid`] where a type exceeds what a schema can say: names over 128 bytes, a body over 16 MiB.
    pub fn of<M: Message>(inputs: &[&str]) -> Result<Self, SchemaError> {
        let kinds = M::KINDS.iter().map(Kind::of).collect::<Result<_, _>>()?;
        let schema = Self::checked(inputs.iter().map(ToString::to_string).collect(), kinds)?;
        match schema.to_json().len() {
            0..=MAX_FILE => Ok(schema),
            _ => Err(SchemaError::invalid("the schema", "is longer than 4 MiB")),
        }
    }

    /// Reads the file form.
    ///
    /// # Errors
    /// Whatever is not exactly a schema of this version is refused.
    pub fn parse(file: &[u8]) -> Result<Self, SchemaError> {
        if file.len() > MAX_FILE {
            return Err(SchemaError::invalid("the file", "is longer than 4 MiB"));
        }
        let unreadable = |error: serde_json::Error| SchemaError::Unreadable(error.to_string());
        let Version { format } = serde_json::from_slice(file).map_err(unreadable)?;
        if format != FORMAT {
            return Err(SchemaError::Format(format));
        }
        let raw: RawSchema = serde_json::from_slice(file).map_err(unreadable)?;
        let kinds = raw.kinds.into_iter().map(Kind::from_raw).collect::<Result<_, _>>()?;
        Self::checked(raw.inputs, kinds)
    }

    /// The file form: one JSON object, ended by a line end.
    pub fn to_json(&self) -> String {
        let raw = RawSchema {
            format: FORMAT,
            inputs: self.inputs.clone(),
            kinds: self.kinds.iter().map(Kind::to_raw).collect(),
        };
        serde_json::to_string_pretty(&raw).expect("names and numbers are JSON") + "\n"
    }

    /// The topics whose messages cause those of this one, in the order of `Cause::input`; none if it is not derived.
    pub fn inputs(&self) -> &[String] {
        &self.inputs
    }

    /// The kinds in order of their numbers.
    pub fn kinds(&self) -> &[Kind] {
        &self.kinds
    }

    /// The kind with this number.
    pub fn kind(&self, kind: u16) -> Option<&Kind> {
        self.kinds
            .binary_search_by_key(&kind, |found| found.kind)
            .ok()
            .and_then(|index| self.kinds.get(index))
    }

    /// Whether who expects `wanted` can read this topic: all its kinds are here, each with the same layout.
    ///
    /// # Errors
    /// [`SchemaError::Different`] names the first difference.
    pub fn serves(&self, wanted: &Self) -> Result<(), SchemaError> {
        wanted.kinds.iter().try_for_each(|kind| match self.kind(kind.kind) {
            Some(found) if found.hash == kind.hash => Ok(()),
            Some(found) => Err(found.difference(kind)),
            None => {
                let what = format!("the topic has no kind {} ('{}')", kind.kind, kind.name);
                Err(SchemaError::Different { kind: kind.name.clone(), what })
            }
        })
    }

    /// Whether a publisher of `wanted` can go on with this topic: it has all its kinds, each with the same layout, maybe
    /// more, and derives it from the same topics.
    ///
    /// # Errors
    /// [`SchemaError::Different`] names the first difference.
    pub fn goes_on_as(&self, wanted: &Self) -> Result<(), SchemaError> {
        self.kinds.iter().try_for_each(|kind| match wanted.kind(kind.kind) {
            Some(new) if new.hash == kind.hash => Ok(()),
            Some(new) => Err(kind.difference(new)),
            None => {
                let what = format!("the topic has kind {}, which the publisher has not", kind.kind);
                Err(SchemaError::Different { kind: kind.name.clone(), what })
            }
        })?;
        self.same_inputs(wanted)
    }

    /// Whether this topic is derived from the topics that are `wanted`, in the same order, on which causes depend.
    ///
    /// # Errors
    /// [`SchemaError::Different`] names both lists.
    pub fn same_inputs(&self, wanted: &Self) -> Result<(), SchemaError> {
        if self.inputs == wanted.inputs {
            return Ok(());
        }
        let what = format!("the topic is derived from {:?}, not from {:?}", self.inputs, wanted.inputs);
        Err(SchemaError::Different { kind: "inputs".into(), what })
    }

    fn checked(inputs: Vec<String>, mut kinds: Vec<Kind>) -> Result<Self, SchemaError> {
        if inputs.len() >= usize::from(super::Cause::NONE) || inputs.iter().any(|name| !is_name(name)) {
            return Err(SchemaError::invalid("inputs", "are not at most 65,534 names of 1 to 128 bytes"));
        }
        kinds.sort_by_key(|kind| kind.kind);
        match kinds.windows(2).find(|pair| pair[0].kind == pair[1].kind) {
            Some(pair) => Err(SchemaError::invalid(&pair[0].name, "has the number of another kind")),
            None => Ok(Self { inputs, kinds }),
        }
    }
}

impl Kind {
    fn of(info: &KindInfo) -> Result<Self, SchemaError> {
        let fields = info.fields.iter().map(SchemaField::of).collect();
        Self::checked(info.kind, info.name.to_owned(), info.size, fields)
    }

    fn checked(kind: u16, name: String, size: usize, fields: Vec<SchemaField>) -> Result<Self, SchemaError> {
        if !(1..=MAX_KIND).contains(&kind) {
            return Err(SchemaError::invalid(&name, "has a number outside 1 to 65279"));
        }
        if !is_name(&name) {
            return Err(SchemaError::invalid("a kind", "has a name that is not 1 to 128 bytes"));
        }
        if size > MAX_BODY {
            return Err(SchemaError::invalid(&name, "is larger than 16 MiB"));
        }
        let mut end = 0;
        let mut names = HashSet::new();
        for field in &fields {
            end =
                field.end_after(end, size).map_err(|what| SchemaError::invalid_field(&name, field, what))?;
            if !names.insert(&field.name) {
                return Err(SchemaError::invalid_field(&name, field, "stands there twice"));
            }
        }
        let columns = Columns::new(&name, &fields);
        let hash = layout_hash(kind, &name, size, &fields);
        Ok(Self { kind, name, size, fields, hash, columns })
    }

    fn from_raw(raw: RawKind) -> Result<Self, SchemaError> {
        let fields = raw.fields.into_iter().map(SchemaField::from_raw).collect::<Result<_, _>>()?;
        let kind = Self::checked(raw.kind, raw.name, raw.size, fields)?;
        match raw.hash == format!("{:016x}", kind.hash) {
            true => Ok(kind),
            false => {
                Err(SchemaError::invalid(&kind.name, "does not have the layout hash that the file says"))
            }
        }
    }

    fn to_raw(&self) -> RawKind {
        RawKind {
            kind: self.kind,
            name: self.name.clone(),
            size: self.size,
            hash: format!("{:016x}", self.hash),
            fields: self.fields.iter().map(SchemaField::to_raw).collect(),
        }
    }

    /// How this kind of a topic differs from the `wanted` one.
    fn difference(&self, wanted: &Self) -> SchemaError {
        let differing = self.fields.iter().zip(&wanted.fields).find(|(found, wanted)| found != wanted);
        let what = match differing {
            Some((found, wanted)) => format!("the topic has the field {found} where {wanted} is expected"),
            None if self.name != wanted.name => format!("the topic calls kind {} '{}'", self.kind, self.name),
            None => format!(
                "the topic has {} fields in {} bytes where {} in {} are expected",
                self.fields.len(),
                self.size,
                wanted.fields.len(),
                wanted.size
            ),
        };
        SchemaError::Different { kind: wanted.name.clone(), what }
    }
}

impl SchemaField {
    fn of(info: &FieldInfo) -> Self {
        let FieldInfo { name, kind, offset, size } = *info;
        // A field may be called as a word of the language.
        Self { name: name.trim_start_matches("r#").to_owned(), kind, offset, size }
    }

    fn from_raw(raw: RawField) -> Result<Self, SchemaError> {
        let RawField { name, kind, offset, size } = raw;
        match NAMES.iter().find(|(_, word)| *word == kind) {
            Some((kind, _)) => Ok(Self { name, kind: *kind, offset, size }),
            None => Err(SchemaError::FieldType { field: name, found: kind }),
        }
    }

    fn to_raw(&self) -> RawField {
        let kind = name_of(self.kind).to_owned();
        RawField { name: self.name.clone(), kind, offset: self.offset, size: self.size }
    }

    /// Where the field ends, if it begins at `start` or later and lies in a body of `size` bytes.
    fn end_after(&self, start: usize, size: usize) -> Result<usize, &'static str> {
        let is_identifier = self.name.chars().all(|c| c.is_alphanumeric() || c == '_');
        if !is_name(&self.name) || !is_identifier {
            return Err("has a name that is not 1 to 128 bytes of letters, digits and _");
        }
        let is_size = match self.kind {
            FieldKind::Unsigned => matches!(self.size, 1 | 2 | 4 | 8),
            FieldKind::Signed => matches!(self.size, 1 | 2 | 4 | 8 | 16),
            FieldKind::Time | FieldKind::Price | FieldKind::Quantity => self.size == 8,
            FieldKind::Money | FieldKind::Cause => self.size == 16,
            FieldKind::Side | FieldKind::Code => self.size == 1,
            FieldKind::Text | FieldKind::Bytes => true,
        };
        if !is_size {
            return Err("has a size that its type cannot have");
        }
        match self.offset.checked_add(self.size) {
            Some(end) if self.offset >= start && end <= size => Ok(end),
            _ => Err("does not lie behind the field before it and inside the body"),
        }
    }
}

impl fmt::Display for SchemaField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}' ({} of {} bytes at {})", self.name, name_of(self.kind), self.size, self.offset)
    }
}

fn is_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len())
}

/// The words of the file for the types of fields.
const NAMES: [(FieldKind, &str); 11] = [
    (FieldKind::Unsigned, "unsigned"),
    (FieldKind::Signed, "signed"),
    (FieldKind::Time, "time"),
    (FieldKind::Price, "price"),
    (FieldKind::Quantity, "quantity"),
    (FieldKind::Money, "money"),
    (FieldKind::Text, "text"),
    (FieldKind::Bytes, "bytes"),
    (FieldKind::Side, "side"),
    (FieldKind::Code, "code"),
    (FieldKind::Cause, "cause"),
];

fn name_of(kind: FieldKind) -> &'static str {
    NAMES.iter().find(|(found, _)| *found == kind).map_or("", |(_, name)| name)
}

/// See [`Kind::hash`]. FNV-1a: <http://www.isthe.com/chongo/tech/comp/fnv/>.
fn layout_hash(kind: u16, name: &str, size: usize, fields: &[SchemaField]) -> u64 {
    let mut bytes = kind.to_le_bytes().to_vec();
    let push_number = |bytes: &mut Vec<u8>, number: usize| bytes.extend((number as u64).to_le_bytes());
    let push_name = |bytes: &mut Vec<u8>, name: &str| {
        push_number(bytes, name.len());
        bytes.extend(name.as_bytes());
    };
    push_name(&mut bytes, name);
    push_number(&mut bytes, size);
    push_number(&mut bytes, fields.len());
    for field in fields {
        push_name(&mut bytes, &field.name);
        bytes.push(field.kind as u8);
        push_number(&mut bytes, field.offset);
        push_number(&mut bytes, field.size);
    }
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The one member that every version of the file has.
#[derive(Deserialize)]
struct Version {
    format: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSchema {
    format: u64,
    inputs: Vec<String>,
    kinds: Vec<RawKind>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKind {
    kind: u16,
    name: String,
    size: usize,
    hash: String,
    fields: Vec<RawField>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawField {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    offset: usize,
    size: usize,
}

/// Why a schema was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SchemaError {
    /// The file is not the JSON of a schema; the parser's words.
    Unreadable(String),
    /// The file has another format version than 1.
    Format(u64),
    /// A field has a type that this version does not know.
    FieldType {
        /// Name of the field.
        field: String,
        /// The type's name.
        found: String,
    },
    /// The schema says what cannot be.
    Invalid {
        /// Where: a kind, with its field if it is about one.
        place: String,
        /// What is wrong there.
        what: &'static str,
    },
    /// The topic carries other kinds than expected.
    Different {
        /// Name of the expected kind.
        kind: String,
        /// The difference.
        what: String,
    },
}

impl SchemaError {
    fn invalid(place: &str, what: &'static str) -> Self {
        Self::Invalid { place: place.to_owned(), what }
    }
    fn invalid_field(kind: &str, field: &SchemaField, what: &'static str) -> Self {
        Self::Invalid { place: format!("{kind}.{}", field.name), what }
    }
}

impl fmt::Display for SchemaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(reason) => {
                write!(f, "unreadable schema: {reason}; restore the file from a copy")
            }
            Self::Format(found) => {
                write!(
                    f,
                    "unknown schema format: {found}; this version reads format {FORMAT}, use the one that wrote it"
                )
            }
            Self::FieldType { field, found } => {
                write!(f, "unknown field type: {field} is '{found}'; use the version of Busbar that wrote it")
            }
            Self::Invalid { place, what } => {
                write!(f, "invalid schema: {place} {what}; restore the file or mend the type")
            }
            Self::Different { kind, what } => {
                write!(f, "different schema: {kind}: {what}; use the types that the topic was written with")
            }
        }
    }
}

impl std::error::Error for SchemaError {}

#[cfg(test)]
#[path = "schema_tests.rs"]
mod tests;
