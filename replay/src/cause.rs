//! Effects and their causes.

use bus::event::schema::Schema;
use bus::event::{Cause, FieldKind};
use zerocopy::FromBytes;

/// An effect whose cause is in no journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    /// The effect's topic.
    pub topic: String,
    /// Its sequence.
    pub sequence: u64,
    /// The topic in which the cause should be; `None` where the effect names an input that its topic does not have.
    pub input: Option<String>,
    /// The sequence that the cause should have.
    pub cause: u64,
}

/// The cause of a message of a derived topic; `None` where no journalled message caused it.
pub(crate) fn cause_of(schema: &Schema, kind: u16, body: &[u8]) -> Option<Cause> {
    let first = schema.kind(kind)?.fields.first()?;
    let is_caused = first.kind == FieldKind::Cause && first.offset == 0 && !schema.inputs().is_empty();
    let (cause, _) = Cause::read_from_prefix(body).ok().filter(|_| is_caused)?;
    (cause.input != Cause::NONE).then_some(cause)
}

/// The effect as an orphan, if its cause does not lie below the end of its input.
pub(crate) fn orphan(
    topic: &str,
    schema: &Schema,
    sequence: u64,
    cause: Cause,
    end_of: impl FnOnce(&str) -> u64,
) -> Option<Orphan> {
    let input = schema.inputs().get(usize::from(cause.input));
    let is_there = input.is_some_and(|input| cause.sequence < end_of(input));
    (!is_there).then(|| Orphan {
        topic: topic.into(),
        sequence,
        input: input.cloned(),
        cause: cause.sequence,
    })
}
