//! The topics of the bus under the names that consumers see: each topic `T`, and its view `T.json`.

use crate::times::Times;
use crate::view::{Form, View};
use bus::{Bus, BusError, Frame, Gate, JSON_VIEW, ReadError, Reader, Start};
use kafka_protocol::ResponseError;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How old the watermarks of a topic without a publisher may be where that does no harm: they take a walk over its
/// newest segment, and hardly ever change.
const RECENT: Duration = Duration::from_millis(200);
/// Lost ranges that are remembered of a topic.
const MOST_LOST: usize = 1024;

/// Messages of a topic that the journal has lost, as a consumer met them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lost {
    /// The topic.
    pub topic: String,
    /// First offset.
    pub from: i64,
    /// The offset behind the last: where consumers go on.
    pub to: i64,
}

/// All topics. A topic is looked for on the bus until it is found, so that new ones appear by themselves.
#[derive(Debug)]
pub(crate) struct Topics {
    bus: Bus,
    known: Mutex<BTreeMap<String, Arc<Topic>>>,
}

/// What a consumer's topic name stands for.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) topic: Arc<Topic>,
    pub(crate) form: Form,
}

/// A topic of the bus.
#[derive(Debug)]
pub(crate) struct Topic {
    name: String,
    bus: Bus,
    ends: Mutex<Ends>,
    /// The view, and the epoch that it was made for: a new publisher may bring new kinds.
    view: Mutex<(u32, Arc<View>)>,
    times: Mutex<Times>,
    /// Lost ranges that consumers met: the first offset of each by the one behind its last.
    lost: Mutex<BTreeMap<i64, i64>>,
}

/// A reader that never reads, but knows how far the topic is.
#[derive(Debug)]
struct Ends {
    reader: Reader,
    walked: Option<(Instant, Marks)>,
    /// Where the topic begins with this floor.
    begins: Option<(u64, i64)>,
}

/// A topic's watermarks in Kafka's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Marks {
    /// Log start offset.
    pub(crate) first: i64,
    /// High watermark and last stable offset.
    pub(crate) durable: i64,
    /// Leader epoch.
    pub(crate) epoch: i32,
}

impl Topics {
    pub(crate) fn new(bus: Bus) -> Self {
        Self { bus, known: Mutex::default() }
    }

    /// All names in order, views included.
    pub(crate) fn names(&self) -> Result<Vec<String>, BusError> {
        let topics = self.bus.topics()?;
        Ok(topics.into_iter().flat_map(|name| [name.clone(), name + JSON_VIEW]).collect())
    }

    /// What a partition of a name stands for; every topic has one partition, 0.
    pub(crate) fn find_partition(&self, name: &str, partition: i32) -> Result<Source, ResponseError> {
        if partition == 0 { self.find(name) } else { Err(ResponseError::UnknownTopicOrPartition) }
    }

    /// What a name stands for.
    pub(crate) fn find(&self, name: &str) -> Result<Source, ResponseError> {
        if let Some(topic) = self.topic(name)? {
            return Ok(Source { topic, form: Form::Raw });
        }
        let viewed = name.strip_suffix(JSON_VIEW).map(|name| self.topic(name)).transpose()?.flatten();
        viewed.map(|topic| Source { topic, form: Form::Json }).ok_or(ResponseError::UnknownTopicOrPartition)
    }

    /// What consumers met and was lost.
    pub(crate) fn lost(&self) -> Vec<Lost> {
        let known = lock(&self.known);
        let of = |topic: &Topic| {
            let lost = lock(&topic.lost);
            let lost = lost.iter().map(|(to, from)| Lost { topic: topic.name.clone(), from: *from, to: *to });
            lost.collect::<Vec<_>>()
        };
        known.values().flat_map(|topic| of(topic)).collect()
    }

    fn topic(&self, name: &str) -> Result<Option<Arc<Topic>>, ResponseError> {
        let mut known = lock(&self.known);
        if let Some(topic) = known.get(name) {
            return Ok(Some(Arc::clone(topic)));
        }
        // Names from the network are only compared, never made into paths.
        if !self.bus.topics().map_err(|_| bus_error())?.iter().any(|topic| topic == name) {
            return Ok(None);
        }
        let topic = Arc::new(Topic::open(&self.bus, name).map_err(|_| bus_error())?);
        known.insert(name.to_owned(), Arc::clone(&topic));
        Ok(Some(topic))
    }
}

impl Topic {
    fn open(bus: &Bus, name: &str) -> Result<Self, BusError> {
        let reader = bus.reader(name, Start::Oldest, Gate::Durable)?;
        let view = Arc::new(View::new(reader.schema().clone()));
        Ok(Self {
            name: name.to_owned(),
            bus: bus.clone(),
            ends: Mutex::new(Ends { reader, walked: None, begins: None }),
            view: Mutex::new((0, view)),
            times: Mutex::default(),
            lost: Mutex::default(),
        })
    }

    /// Where the topic begins and how far it is durable.
    pub(crate) fn marks(&self) -> Marks {
        let mut ends = lock(&self.ends);
        ends.by_publisher().unwrap_or_else(|| ends.by_walk())
    }

    /// The same, a little older maybe.
    pub(crate) fn recent_marks(&self) -> Marks {
        let mut ends = lock(&self.ends);
        let walked = ends.walked.filter(|(at, _)| at.elapsed() < RECENT).map(|(_, marks)| marks);
        ends.by_publisher().or(walked).unwrap_or_else(|| ends.by_walk())
    }

    /// A reader of what is durable, from an offset on.
    pub(crate) fn reader(&self, offset: i64) -> Result<Reader, ResponseError> {
        let start = Start::Sequence(u64::try_from(offset).map_err(|_| ResponseError::OffsetOutOfRange)?);
        self.bus.reader(&self.name, start, Gate::Durable).map_err(|_| bus_error())
    }

    /// The offset behind the last message of an epoch, read or lost, where there is proof of it.
    pub(crate) fn end_of(&self, epoch: i32) -> Option<i64> {
        let epoch = u32::try_from(epoch).ok()?;
        lock(&self.ends).reader.end_of(epoch).map(offset)
    }

    /// How messages up to an epoch become records.
    pub(crate) fn view(&self, epoch: u32) -> Arc<View> {
        let mut view = lock(&self.view);
        if view.0 < epoch {
            // A schema that cannot be read now leaves the old one, which still fits the old kinds.
            let fresh = self.bus.schema(&self.name).map(|schema| Arc::new(View::new(schema)));
            *view = (epoch, fresh.unwrap_or_else(|_| Arc::clone(&view.1)));
        }
        Arc::clone(&view.1)
    }

    /// Notes messages that a consumer asked for and that are lost.
    pub(crate) fn note_lost(&self, from: i64, to: i64) {
        let mut lost = lock(&self.lost);
        if lost.len() < MOST_LOST || lost.contains_key(&to) {
            let first = lost.entry(to).or_insert(from);
            *first = from.min(*first);
        }
    }

    /// The index of its times, for one lookup at a time.
    pub(crate) fn times(&self) -> MutexGuard<'_, Times> {
        lock(&self.times)
    }
}

impl Ends {
    /// What the publisher says, living or dead; `None` where none left its word.
    fn by_publisher(&mut self) -> Option<Marks> {
        let control = self.reader.control().filter(|control| control.is_linked())?;
        let (floor, _) = control.floor();
        let (durable, epoch) = (offset(control.durable_sequence()), leader_epoch(control.epoch()));
        // The publisher names the first message that can be read, and what was not retired is not passed over.
        let known = self.begins.filter(|(of, _)| *of == floor);
        let (_, first) = known.unwrap_or_else(|| (floor, offset(self.reader.begins())));
        self.begins = Some((floor, first));
        Some(Marks { first, durable, epoch })
    }

    fn by_walk(&mut self) -> Marks {
        let marks = self.reader.watermarks();
        let marks = Marks {
            first: offset(self.reader.begins()),
            durable: offset(marks.durable),
            epoch: leader_epoch(marks.epoch),
        };
        self.walked = Some((Instant::now(), marks));
        marks
    }
}

/// The next message of a reader that is looking for something: damage and what has retired are passed over.
pub(crate) fn next_readable(reader: &mut Reader) -> Result<Option<Frame<'_>>, ResponseError> {
    loop {
        match reader.has_next() {
            Ok(_) => return reader.poll().map_err(|error| read_error(&error)),
            Err(ReadError::Damage { .. } | ReadError::Retired { .. }) => {}
            Err(error) => return Err(read_error(&error)),
        }
    }
}

/// A sequence as an offset.
pub(crate) fn offset(sequence: u64) -> i64 {
    i64::try_from(sequence).unwrap_or(i64::MAX)
}

/// An epoch as a leader epoch.
pub(crate) fn leader_epoch(epoch: u32) -> i32 {
    i32::try_from(epoch).unwrap_or(i32::MAX)
}

/// The bus could not be read: clients look for the topic again and go on when it can.
fn bus_error() -> ResponseError {
    ResponseError::KafkaStorageError
}

/// What a consumer learns of a reader's error.
pub(crate) fn read_error(error: &ReadError) -> ResponseError {
    match error {
        ReadError::Retired { .. } => ResponseError::OffsetOutOfRange,
        ReadError::Damage { .. } => ResponseError::CorruptMessage,
        ReadError::Regressed { .. } | ReadError::Failed(_) => bus_error(),
    }
}

/// What a panicking holder leaves behind is whole in every use here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
