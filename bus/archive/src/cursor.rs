//! Where a connection is in each topic that it reads, so that the next fetch goes on without a search.

use crate::batch::Batches;
use crate::told::Told;
use crate::topics::{Source, Topic, leader_epoch, offset, read_error};
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
#[derive(Debug)]
pub(crate) struct Cursors<'a> {
    places: HashMap<String, Cursor>,
    pub(crate) told: Told<'a>,
}

impl<'a> Cursors<'a> {
    pub(crate) fn new(told: Told<'a>) -> Self {
        Self { places: HashMap::new(), told }
    }

    /// Gives all readers back.
    pub(crate) fn clear(&mut self) {
        self.places.clear();
    }

    /// Notes an error that the client is told: its reader is given back, and where the message is lost the client is led
    /// past it when it asks again.
    pub(crate) fn tell(&mut self, name: &str, offset: i64, error: ResponseError) {
        self.forget(name);
        if error == ResponseError::CorruptMessage {
            self.told.tell(name, offset);
        }
    }

    /// The place at `offset` of a topic: the one from the last fetch if the client goes on there, else a new one.
    pub(crate) fn at(
        &mut self,
        name: &str,
        source: &Source,
        offset: i64,
    ) -> Result<&mut Cursor, ResponseError> {
        let is_there = self.places.get(name).is_some_and(|cursor| cursor.next == offset);
        if !is_there {
            self.forget(name);
            if self.places.len() >= MOST_CURSORS {
                self.clear();
            }
            self.places.insert(name.to_owned(), Cursor::open(source, offset, false)?);
        }
        self.places.get_mut(name).ok_or(ResponseError::UnknownServerError)
    }

    /// A place at `offset` that leads past the lost messages there, after it met them, if the client knows of them.
    pub(crate) fn past(
        &mut self,
        name: &str,
        source: &Source,
        offset: i64,
    ) -> Result<Option<&mut Cursor>, ResponseError> {
        let is_first = offset <= source.topic.recent_marks().first;
        let knows = if is_first { self.told.was_told(name, offset) } else { self.told.knows(name, offset) };
        if !knows {
            return Ok(None);
        }
        self.places.insert(name.to_owned(), Cursor::open(source, offset, true)?);
        Ok(self.places.get_mut(name))
    }

    /// Gives one reader back, after an error.
    pub(crate) fn forget(&mut self, name: &str) {
        self.places.remove(name);
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
    /// Whether the client knows that the message at that offset is lost, and is led past it.
    is_told: bool,
    /// The error at that offset, if it was met behind good messages; the reader reports it once.
    error: Option<ResponseError>,
    /// How messages of the epoch that was last met become records.
    view: Option<(u32, Arc<View>)>,
}

/// What a fetch took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Filled {
    /// The offset that comes next.
    pub(crate) next: i64,
    /// Records appended.
    pub(crate) records: usize,
    /// Whether there was more than fitted.
    pub(crate) is_full: bool,
    /// Lost messages before the first record.
    pub(crate) passed_over: usize,
}

enum Step {
    Taken,
    Full,
    End,
}

impl Cursor {
    fn open(source: &Source, offset: i64, is_told: bool) -> Result<Self, ResponseError> {
        let marks = source.topic.marks();
        if !(marks.first..=marks.durable).contains(&offset) {
            return Err(ResponseError::OffsetOutOfRange);
        }
        let reader = source.topic.reader(offset)?;
        Ok(Self { reader, next: offset, held: None, is_told, error: None, view: None })
    }

    /// Adds what is durable, as far as it fits. An error behind good messages waits for the next fetch.
    pub(crate) fn fill(
        &mut self,
        source: &Source,
        mut batches: Batches<'_>,
    ) -> Result<Filled, ResponseError> {
        let asked = self.next;
        let is_full = loop {
            match self.step(source, &mut batches) {
                Ok(Step::Taken) => {}
                Ok(Step::Full) => break true,
                Ok(Step::End) => break false,
                Err(error) if batches.is_empty() => return Err(error),
                Err(error) => {
                    self.error = Some(error);
                    break false;
                }
            }
        };
        let records = batches.finish();
        let passed_over = usize::try_from(self.next - asked).unwrap_or(0) - records;
        Ok(Filled { next: self.next, records, is_full, passed_over })
    }

    fn step(&mut self, source: &Source, batches: &mut Batches<'_>) -> Result<Step, ResponseError> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        let held = self.held.take();
        let frame = match &held {
            Some(held) => held.frame(),
            None => match next_frame(&mut self.reader, &source.topic, self.next, self.is_told)? {
                Some(frame) => frame,
                None => return Ok(self.step_over(batches)),
            },
        };
        let view = view_of(&mut self.view, source, frame.epoch);
        let epoch = leader_epoch(frame.epoch);
        if !view.record(source.form, &frame, |record| batches.push(epoch, record)) {
            self.held = Some(Held::of(&frame));
            return Ok(Step::Full);
        }
        self.next = offset(frame.sequence) + 1;
        self.is_told = false;
        Ok(Step::Taken)
    }
}

impl Cursor {
    /// Leads who was told of lost messages past them where nothing follows yet: a client goes on behind the last offset
    /// of a batch, be it empty.
    fn step_over(&mut self, batches: &mut Batches<'_>) -> Step {
        let behind = offset(self.reader.next_sequence());
        if !self.is_told || behind <= self.next {
            return Step::End;
        }
        if !batches.skip(self.next, behind) {
            return Step::Full;
        }
        self.next = behind;
        self.is_told = false;
        Step::Taken
    }
}

/// The message at the offset `next`, if it is there. What is missing before it is no concern of the consumer's; a
/// message that is itself missing is an error, and only who was told of it is given the next one that is there.
fn next_frame<'a>(
    reader: &'a mut Reader,
    topic: &Topic,
    next: i64,
    is_told: bool,
) -> Result<Option<Frame<'a>>, ResponseError> {
    loop {
        match reader.has_next() {
            Ok(_) => break,
            Err(ReadError::Damage { sequences: (_, end), .. }) if offset(end) <= next => {}
            Err(error) => {
                if let ReadError::Damage { sequences: (first, end), .. } = error {
                    topic.note_lost(offset(first).max(next), offset(end));
                }
                let error = read_error(&error);
                if !is_told || error != ResponseError::CorruptMessage {
                    return Err(error);
                }
            }
        }
    }
    match reader.poll() {
        Ok(Some(frame)) if is_told && offset(frame.sequence) > next => Ok(Some(frame)),
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
