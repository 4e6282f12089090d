//! How a message of a journal looks to a consumer: key, timestamp, headers and value.

use crate::batch::Record;
use bus::Frame;
use bus::event::json::{FrameInfo, write_object};
use bus::event::{FieldKind, Kind, Schema, Time};
use std::collections::HashMap;
use std::fmt::Write;
use std::ops::Range;

/// The form of a record's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// The event's bytes as they lie in the journal.
    Raw,
    /// The JSON object that `replay dump` prints.
    Json,
}

/// How the messages of one topic become records.
#[derive(Debug)]
pub(crate) struct View {
    schema: Schema,
    kinds: HashMap<u16, Columns>,
}

/// Where to look in the body of one kind.
#[derive(Debug)]
struct Columns {
    /// Name and layout hash: the value of the header `schema`.
    schema: String,
    size: usize,
    instrument: Option<Range<usize>>,
    exchange_time: Option<usize>,
}

impl View {
    pub(crate) fn new(schema: Schema) -> Self {
        let kinds = schema.kinds().iter().map(|kind| (kind.kind, Columns::of(kind))).collect();
        Self { schema, kinds }
    }

    /// Milliseconds since the Unix epoch: the venue's time, or where there is none the time of publishing.
    pub(crate) fn timestamp(&self, frame: &Frame<'_>) -> i64 {
        let time = match self.exchange_time(frame) {
            Time(0) => frame.publish_time,
            time => time,
        };
        i64::try_from(time.0 / 1_000_000).unwrap_or(i64::MAX)
    }

    /// Hands the record of a message to `take`.
    pub(crate) fn record<T>(&self, form: Form, frame: &Frame<'_>, take: impl FnOnce(&Record<'_>) -> T) -> T {
        let columns = self.columns(frame);
        let unknown = columns.is_none().then(|| format!("kind_{}", frame.kind));
        let schema =
            columns.map_or_else(|| unknown.as_deref().unwrap_or_default(), |columns| &columns.schema);
        let numbers = Numbers::of([
            frame.sequence,
            self.exchange_time(frame).0,
            frame.publish_time.0,
            u64::from(frame.epoch),
        ]);
        let [sequence, exchange_time, publish_time, epoch] = numbers.texts();
        let headers: [(&str, &[u8]); 5] = [
            ("schema", schema.as_bytes()),
            ("sequence", sequence),
            ("exchange_time_ns", exchange_time),
            ("publish_time_ns", publish_time),
            ("epoch", epoch),
        ];
        let mut json = String::new();
        let value = match form {
            Form::Raw => frame.body,
            Form::Json => {
                write_object(&mut json, &self.schema, &info(frame), frame.body);
                json.as_bytes()
            }
        };
        let key = columns.and_then(|columns| columns.key(frame.body));
        take(&Record {
            offset: frame.sequence,
            timestamp: self.timestamp(frame),
            key,
            value,
            headers: &headers,
        })
    }

    /// What is known of a message's kind; `None` if the schema does not describe such a body.
    fn columns(&self, frame: &Frame<'_>) -> Option<&Columns> {
        self.kinds.get(&frame.kind).filter(|columns| columns.size == frame.body.len())
    }

    /// The venue's time, 0 where the message has none.
    fn exchange_time(&self, frame: &Frame<'_>) -> Time {
        let bytes =
            self.columns(frame).and_then(|columns| frame.body.get(columns.exchange_time?..)?.first_chunk());
        Time(bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes)))
    }
}

impl Columns {
    fn of(kind: &Kind) -> Self {
        let find = |name, of| kind.fields.iter().find(|field| field.name == name && field.kind == of);
        Self {
            schema: format!("{}:{:016x}", kind.name, kind.hash),
            size: kind.size,
            instrument: find("instrument", FieldKind::Text)
                .map(|field| field.offset..field.offset + field.size),
            exchange_time: find("exchange_time", FieldKind::Time).map(|field| field.offset),
        }
    }

    /// The instrument's symbol without its padding, if the message is about one.
    fn key<'a>(&self, body: &'a [u8]) -> Option<&'a [u8]> {
        let symbol = body.get(self.instrument.clone()?)?;
        let last = symbol.iter().rposition(|byte| !matches!(byte, b' ' | 0))?;
        symbol.get(..=last)
    }
}

fn info(frame: &Frame<'_>) -> FrameInfo {
    let Frame { sequence, kind, publish_time, epoch, .. } = *frame;
    FrameInfo { sequence, kind, publish_time, epoch }
}

/// Numbers as decimal digits, one after the other.
struct Numbers {
    digits: String,
    ends: [usize; 4],
}

impl Numbers {
    fn of(numbers: [u64; 4]) -> Self {
        let mut digits = String::with_capacity(80);
        let ends = numbers.map(|number| {
            write!(digits, "{number}").expect("a string takes what is written");
            digits.len()
        });
        Self { digits, ends }
    }

    fn texts(&self) -> [&[u8]; 4] {
        let mut start = 0;
        self.ends.map(|end| {
            let text = &self.digits.as_bytes()[start..end];
            start = end;
            text
        })
    }
}
