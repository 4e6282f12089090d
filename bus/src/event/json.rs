//! Any event as one JSON object, from its schema. `replay dump` and the Kafka views print this and nothing else.
//!
//! `sequence`, `type`, `exchange_time`, `receive_time`, `publish_time` and `epoch` come first, then the other fields
//! in the order of their layout. Times are integer nanoseconds, 0 where not known; an event without the first two
//! times has 0 there. Prices and money are decimal strings, integers are integers of full width, text is a string
//! without its padding (bytes beyond ASCII as `\u00XX`), bytes are hexadecimal, a side is `buy`, `sell` or `unknown`,
//! a code is a string of one character or empty. A field with one of the six leading names is called `event.NAME`.
//! A message that the schema does not describe has its bytes as the hexadecimal field `body`.

use super::decimal::{push_decimal, push_u64};
use super::schema::{Schema, SchemaField};
use super::{FieldKind, Side, Time};
use std::ops::Range;

/// What a frame says about the message in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameInfo {
    /// Number of the message in its journal.
    pub sequence: u64,
    /// Kind of the message.
    pub kind: u16,
    /// When it was published.
    pub publish_time: Time,
    /// The writer's life in which it was published.
    pub epoch: u32,
}

/// The members that every object begins with.
const LEADING: [&str; 6] = ["sequence", "type", "exchange_time", "receive_time", "publish_time", "epoch"];

/// How the bodies of one kind are printed, prepared once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Columns {
    /// `,"type":"NAME","exchange_time":`
    head: String,
    exchange_time: Range<usize>,
    receive_time: Range<usize>,
    others: Vec<Column>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Column {
    /// `,"NAME":`
    label: String,
    kind: FieldKind,
    bytes: Range<usize>,
}

impl Columns {
    pub(super) fn new(name: &str, fields: &[SchemaField]) -> Self {
        let is_time = |field: &SchemaField, name: &str| field.name == name && field.kind == FieldKind::Time;
        let bytes = |field: &SchemaField| field.offset..field.offset.saturating_add(field.size);
        let time = |name: &str| fields.iter().find(|field| is_time(field, name)).map_or(0..0, bytes);
        let is_other = |field: &&SchemaField| {
            !field.name.starts_with('_')
                && !is_time(field, "exchange_time")
                && !is_time(field, "receive_time")
        };
        let column =
            |field: &SchemaField| Column { label: label(&field.name), kind: field.kind, bytes: bytes(field) };
        Self {
            head: head(name),
            exchange_time: time("exchange_time"),
            receive_time: time("receive_time"),
            others: fields.iter().filter(is_other).map(column).collect(),
        }
    }
}

fn head(name: &str) -> String {
    let name = serde_json::to_string(name).expect("a string is JSON");
    format!(",\"type\":{name},\"exchange_time\":")
}

fn label(name: &str) -> String {
    if LEADING.contains(&name) { format!(",\"event.{name}\":") } else { format!(",\"{name}\":") }
}

/// Appends the JSON object of a message, without a line end.
pub fn write_object(out: &mut String, schema: &Schema, frame: &FrameInfo, body: &[u8]) {
    out.push_str("{\"sequence\":");
    push_u64(out, frame.sequence);
    match schema.kind(frame.kind).filter(|kind| kind.size == body.len()) {
        Some(kind) => {
            let columns = &kind.columns;
            out.push_str(&columns.head);
            push_u64(out, unsigned(part(body, &columns.exchange_time)));
            push_times(out, unsigned(part(body, &columns.receive_time)), frame);
            for column in &columns.others {
                out.push_str(&column.label);
                push_field(out, schema, column.kind, part(body, &column.bytes));
            }
        }
        None => {
            out.push_str(&head(
                &schema.kind(frame.kind).map_or_else(|| format!("kind_{}", frame.kind), |k| k.name.clone()),
            ));
            push_u64(out, 0);
            push_times(out, 0, frame);
            out.push_str(",\"body\":");
            push_hexadecimal(out, body);
        }
    }
    out.push('}');
}

/// The receive time and what stands in the frame.
fn push_times(out: &mut String, receive_time: u64, frame: &FrameInfo) {
    out.push_str(",\"receive_time\":");
    push_u64(out, receive_time);
    out.push_str(",\"publish_time\":");
    push_u64(out, frame.publish_time.0);
    out.push_str(",\"epoch\":");
    push_u64(out, u64::from(frame.epoch));
}

fn push_field(out: &mut String, schema: &Schema, kind: FieldKind, bytes: &[u8]) {
    match kind {
        FieldKind::Unsigned | FieldKind::Time => push_u64(out, unsigned(bytes)),
        FieldKind::Signed | FieldKind::Quantity => push_signed(out, signed(bytes)),
        FieldKind::Price | FieldKind::Money => {
            out.push('"');
            push_decimal(out, signed(bytes));
            out.push('"');
        }
        FieldKind::Text => {
            let end = bytes.iter().rposition(|byte| !matches!(byte, b' ' | 0)).map_or(0, |last| last + 1);
            push_text(out, &bytes[..end]);
        }
        FieldKind::Bytes => push_hexadecimal(out, bytes),
        FieldKind::Side => out.push_str(match Side(unsigned(bytes) as u8) {
            Side::BUY => "\"buy\"",
            Side::SELL => "\"sell\"",
            _ => "\"unknown\"",
        }),
        FieldKind::Code => push_text(out, if bytes == [0] { &[] } else { bytes }),
        FieldKind::Cause => push_cause(out, schema, bytes),
    }
}

/// `{"topic","epoch","sequence","index"}`; the topic is null where there is no cause or no such input.
fn push_cause(out: &mut String, schema: &Schema, bytes: &[u8]) {
    out.push_str("{\"topic\":");
    match schema.inputs().get(unsigned(part(bytes, &(12..14))) as usize) {
        Some(name) => push_text(out, name.as_bytes()),
        None => out.push_str("null"),
    }
    for (label, place) in [(",\"epoch\":", 8..12), (",\"sequence\":", 0..8), (",\"index\":", 14..16)] {
        out.push_str(label);
        push_u64(out, unsigned(part(bytes, &place)));
    }
    out.push('}');
}

fn part<'a>(body: &'a [u8], bytes: &Range<usize>) -> &'a [u8] {
    body.get(bytes.clone()).unwrap_or(&[])
}

/// The little-endian integer in at most 8 bytes.
fn unsigned(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// The little-endian integer in at most 16 bytes, with the sign of the last.
fn signed(bytes: &[u8]) -> i128 {
    let is_negative = bytes.last().is_some_and(|byte| *byte >= 0x80);
    bytes.iter().take(16).rev().fold(-i128::from(is_negative), |value, byte| value << 8 | i128::from(*byte))
}

fn push_signed(out: &mut String, value: i128) {
    if value < 0 {
        out.push('-');
    }
    match u64::try_from(value.unsigned_abs()) {
        Ok(size) => push_u64(out, size),
        Err(_) => out.push_str(&value.unsigned_abs().to_string()),
    }
}

const HEXADECIMAL: &[u8; 16] = b"0123456789abcdef";

fn push_hexadecimal(out: &mut String, bytes: &[u8]) {
    out.reserve(2 * bytes.len() + 2);
    out.push('"');
    bytes.iter().for_each(|byte| push_two_digits(out, *byte));
    out.push('"');
}

fn push_two_digits(out: &mut String, byte: u8) {
    out.push(char::from(HEXADECIMAL[usize::from(byte >> 4)]));
    out.push(char::from(HEXADECIMAL[usize::from(byte & 15)]));
}

/// A string; quotes, backslashes and whatever is not printable ASCII are escaped byte by byte.
fn push_text(out: &mut String, bytes: &[u8]) {
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
    out.push('"');
    match str::from_utf8(bytes) {
        Ok(text) if bytes.iter().all(is_plain) => out.push_str(text),
        _ => bytes.iter().for_each(|byte| match byte {
            b'"' | b'\\' => out.extend(['\\', char::from(*byte)]),
            byte if is_plain(byte) => out.push(char::from(*byte)),
            byte => {
                out.push_str("\\u00");
                push_two_digits(out, *byte);
            }
        }),
    }
    out.push('"');
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
