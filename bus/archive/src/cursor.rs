//! Where a connection is in each topic that it reads, so that the next fetch goes on without a search.

use crate::batch::Batches;
use crate::topics::{Source, leader_epoch, offset, read_error};
use crate::view::View;
use bus::event::Time;
use bus::{Frame, ReadError, Reader};
use kafka_protocol::ResponseError;
use std::collections::HashMap;
use std::sync::Arc;

/// Places that one connection keeps. A reader may hold a segment, so that this bounds a connection's memory. Beyond,
/// all are given up and taken anew.
const MOST_CURSORS: usize = 32;

/// The places of a connection, by the topic's name as the client writes it.
#[derive(Debug, Default)]
pub(crate) struct Cursors(HashMap<String, Cursor>);

impl Cursors {
    /// Gives all readers back.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// The place at `offset` of a topic: the one from the last fetch if the client goes on there, else a new one.
    pub(crate) fn at(
        &mut self,
        name: &str,
        source: &Source,
        offset: i64,
    ) -> Result<&mut Cursor, ResponseError> {
        let is_there = self.0.get(name).is_some_and(|cursor| cursor.next == offset);
        if !is_there {
            self.forget(name);
            if self.0.len() >= MOST_CURSORS {
                self.clear();
            }
            self.0.insert(name.to_owned(), Cursor::open(source, offset)?);
        }
        self.0.get_mut(name).ok_or(ResponseError::UnknownServerError)
    }

    /// Gives one reader back, after an error.
    pub(crate) fn forget(&mut self, name: &str) {
        self.0.remove(name);
    }
}

/// A place in a topic.
#[derive(Debug)]
pub(crate) struct Cursor {
    reader: Reader,
    /// The offset that comes next.
    next: i64,
    /// The message at that offset, if it was read and did not fit.
    held: Option<Held>,
    /// The error at that offset, if it was met behind good messages; the reader reports it once.
    error: Option<ResponseError>,
    /// How messages of the epoch that was last met become records.
    view: Option<(u32, Arc<View>)>,
}

/// What a fetch took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Filled {
    /// Records appended.
    pub(crate) records: usize,
    /// Whether there was more than fitted.
    pub(crate) is_full: bool,
}

enum Step {
    Taken,
    Full,
    End,
}

impl Cursor {
    fn open(source: &Source, offset: i64) -> Result<Self, ResponseError> {
        let marks = source.topic.marks();
        if !(marks.first..=marks.durable).contains(&offset) {
            return Err(ResponseError::OffsetOutOfRange);
        }
        Ok(Self { reader: source.topic.reader(offset)?, next: offset, held: None, error: None, view: None })
    }

    /// The offset that comes next.
    pub(crate) fn next(&self) -> i64 {
        self.next
    }

    /// Adds what is durable, as far as it fits. An error behind good messages waits for the next fetch.
    pub(crate) fn fill(
        &mut self,
        source: &Source,
        mut batches: Batches<'_>,
    ) -> Result<Filled, ResponseError> {
        let is_full = loop {
            match self.step(source, &mut batches) {
                Ok(Step::Taken) => {}
                Ok(Step::Full) => break true,
                Ok(Step::End) => break false,
                Err(error) if batches.records() == 0 => return Err(error),
                Err(error) => {
                    self.error = Some(error);
                    break false;
                }
            }
        };
        Ok(Filled { records: batches.finish(), is_full })
    }

    fn step(&mut self, source: &Source, batches: &mut Batches<'_>) -> Result<Step, ResponseError> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        let held = self.held.take();
        let frame = match &held {
            Some(held) => held.frame(),
            None => match next_frame(&mut self.reader, self.next)? {
                Some(frame) => frame,
                None => return Ok(Step::End),
            },
        };
        let view = view_of(&mut self.view, source, frame.epoch);
        let epoch = leader_epoch(frame.epoch);
        if !view.record(source.form, &frame, |record| batches.push(epoch, record)) {
            self.held = Some(Held::of(&frame));
            return Ok(Step::Full);
        }
        self.next = offset(frame.sequence) + 1;
        Ok(Step::Taken)
    }
}

/// The message at the offset `next`, if it is there. What is missing before it is no concern of the consumer's; a
/// message that is itself missing is an error, never a jump.
fn next_frame(reader: &mut Reader, next: i64) -> Result<Option<Frame<'_>>, ResponseError> {
    loop {
        match reader.has_next() {
            Ok(_) => break,
            Err(ReadError::Damage { sequences: (_, end), .. }) if offset(end) <= next => {}
            Err(error) => return Err(read_error(&error)),
        }
    }
    match reader.poll() {
        Ok(Some(frame)) if offset(frame.sequence) != next => Err(ResponseError::CorruptMessage),
        Ok(frame) => Ok(frame),
        Err(error) => Err(read_error(&error)),
    }
}

/// The view for an epoch, kept as long as the epoch lasts.
fn view_of<'a>(kept: &'a mut Option<(u32, Arc<View>)>, source: &Source, epoch: u32) -> &'a View {
    if kept.as_ref().is_none_or(|(of, _)| *of != epoch) {
        *kept = None;
    }
    &kept.get_or_insert_with(|| (epoch, source.topic.view(epoch))).1
}

/// A message kept beyond the next poll of its reader.
#[derive(Debug)]
struct Held {
    sequence: u64,
    kind: u16,
    publish_time: Time,
    epoch: u32,
    position: u64,
    batch_end: bool,
    body: Vec<u8>,
}

impl Held {
    fn of(frame: &Frame<'_>) -> Self {
        let Frame { sequence, kind, publish_time, epoch, position, batch_end, body } = *frame;
        Self { sequence, kind, publish_time, epoch, position, batch_end, body: body.to_vec() }
    }

    fn frame(&self) -> Frame<'_> {
        let Self { sequence, kind, publish_time, epoch, position, batch_end, ref body } = *self;
        Frame { sequence, kind, publish_time, epoch, position, batch_end, body }
    }
}
