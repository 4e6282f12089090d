//! The bus: a directory of topics, each a journal with a schema.
//!
//! A topic's name is 1 to 64 of `a-z A-Z 0-9 . _ -`, does not begin with a dot and does not end with `.json`: `T.json` is
//! what Kafka consumers call the JSON view of a topic `T`.
//!
//! ```text
//! BUS/bus.id                      identity of the bus
//! BUS/bus.topics                  the topics that it has had, and their journals
//! BUS/TOPIC/schema.json           what the topic carries
//! BUS/TOPIC/0/                    its journal (see the crate `journal`)
//! /dev/shm/busbar-UID-INSTANCE/TOPIC/0/   the journal's live segments
//! ```

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use journal::{
    Cuts, Journal, OpenError, Options, Places, Retention, Service, Survey, Token,
    instance::{Instance, Occupancy},
    lock::Purpose,
    storage::DiskStorage,
};

use crate::{
    clock::Clock,
    config::{BusConfig, WhenFull},
    disk,
    error::BusError,
    event::{Message, schema::Schema},
    found::Found,
    memory,
    plan::{self, WRITE_OUT},
    program::{Size, note},
    publisher::Publisher,
    retention,
    subscriber::{Gate, Reader, Start, Subscriber, Watermarks},
    upstream::Upstream,
};

/// Largest memory budget that is taken unasked.
const MEMORY_MAX: u64 = 256 << 20;
/// A journal's share of the budget: a bus has about this many topics.
const SHARES: u64 = 4;
/// How long a publisher waits for another that is just ending.
const PATIENCE: Duration = Duration::from_millis(500);
/// Segments of a journal's share.
const SEGMENTS: u64 = 8;

/// A bus. Opening one writes nothing; clones share one write-out thread.
///
/// ```
/// # use bus::event::{Event, Price, Symbol};
/// use bus::{Bus, Gate, Start};
///
/// #[derive(Event, Clone, Copy, Debug, Default, PartialEq)]
/// #[repr(C)]
/// struct Quote { instrument: Symbol, bid: Price, ask: Price }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let directory = directory.path();
/// let bus = Bus::open(directory)?;
/// let mut quotes = bus.publisher::<Quote>("quotes")?;
/// quotes.publish(&Quote { bid: Price(1), ..Quote::default() })?;
///
/// let mut subscriber = Bus::open(directory)?.subscriber::<Quote>("quotes", Start::Oldest, Gate::Published)?;
/// assert_eq!(subscriber.wait()?.map(|quote| quote.bid), Some(Price(1)));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Bus {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    directory: PathBuf,
    config: BusConfig,
    /// What publishers of this process share; made by the first one.
    writing: Mutex<Option<Writing>>,
    /// What these found of their topics.
    found: Mutex<Found>,
}

#[derive(Debug)]
struct Writing {
    service: Service,
    /// Held as long as this process may write.
    occupancy: Occupancy,
    /// Bytes that were free on the disk before.
    free_before: Option<u64>,
}

impl Bus {
    /// The bus in a directory, which need not exist yet.
    ///
    /// # Errors
    /// None today; a later version may refuse formats that it does not know.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, BusError> {
        Self::with_config(directory, BusConfig::default())
    }

    /// The bus in a directory, with a configuration.
    ///
    /// # Errors
    /// As [`Bus::open`].
    pub fn with_config(directory: impl AsRef<Path>, config: BusConfig) -> Result<Self, BusError> {
        let directory = std::path::absolute(directory.as_ref()).map_err(|source| BusError::Io {
            what: "find",
            path: directory.as_ref().into(),
            source,
        })?;
        Ok(Self {
            shared: Arc::new(Shared {
                directory,
                config,
                writing: Mutex::default(),
                found: Mutex::default(),
            }),
        })
    }

    /// Its directory.
    pub fn directory(&self) -> &Path {
        &self.shared.directory
    }

    /// Its configuration.
    pub fn config(&self) -> &BusConfig {
        &self.shared.config
    }

    /// What this process writes journals to disk with now, `io_uring` or `pwritev2`, once it has had a publisher.
    pub fn disk_engine(&self) -> Option<&'static str> {
        let writing = self.shared.writing.lock().unwrap_or_else(PoisonError::into_inner);
        writing.as_ref().map(|held| held.service.backend())
    }

    /// How far a topic is.
    ///
    /// # Errors
    /// As [`Bus::reader`].
    pub fn watermarks(&self, topic: &str) -> Result<Watermarks, BusError> {
        Ok(self.reader(topic, Start::Oldest, Gate::Published)?.watermarks())
    }

    /// What there is of a topic, for people: who writes it, how far it is, its segments and its readers. Changes nothing.
    ///
    /// # Errors
    /// As [`Bus::reader`].
    pub fn survey(&self, topic: &str) -> Result<Survey, BusError> {
        self.schema(topic)?;
        let lock = self.topic_dir(topic).join("0").join(journal::LOCK);
        journal::survey(&self.places(topic)?, &lock).map_err(|source| self.unreadable(topic, source))
    }

    /// The one publisher of a topic, which it makes if need be.
    ///
    /// # Errors
    /// [`BusError::Name`] and [`BusError::ViewName`] where no topic may be called so; [`BusError::Journal`] with the
    /// holder's process id where the topic has a publisher; [`BusError::Schema`] where it carries other kinds.
    pub fn publisher<M: Message>(&self, topic: &str) -> Result<Publisher<M>, BusError> {
        self.derived_publisher(topic, &[])
    }

    /// The one publisher of a topic whose messages follow from those of `inputs`. Each message begins with its
    /// [`Cause`](crate::event::Cause) and becomes durable only after the message that caused it.
    ///
    /// # Errors
    /// As [`Bus::publisher`].
    pub fn derived_publisher<M: Message>(
        &self,
        topic: &str,
        inputs: &[&str],
    ) -> Result<Publisher<M>, BusError> {
        self.derive(topic, inputs, None)
    }

    /// As [`Bus::derived_publisher`], where the topic does not follow any more from what its inputs hold from the message
    /// `from` on: it is cut at the batch of that message. What was there is kept beside, and told by [`Bus::set_aside`].
    ///
    /// # Errors
    /// As [`Bus::publisher`].
    pub fn derived_publisher_cut<M: Message>(
        &self,
        topic: &str,
        inputs: &[&str],
        from: u64,
    ) -> Result<Publisher<M>, BusError> {
        self.derive(topic, inputs, Some(from))
    }

    fn derive<M: Message>(
        &self,
        topic: &str,
        inputs: &[&str],
        cut_from: Option<u64>,
    ) -> Result<Publisher<M>, BusError> {
        check_new_name(topic)?;
        let schema =
            Schema::of::<M>(inputs).map_err(|source| BusError::Schema { topic: topic.into(), source })?;
        self.fits_schema(topic, &schema)?;
        self.make_directory(&self.topic_dir(topic))?;
        self.recover_inputs(inputs);
        match self.open_publisher(topic, inputs, &schema, cut_from) {
            // A publisher of an input that was killed just now still had its lock when it was asked for.
            Err(BusError::Journal { source: OpenError::NotDurable { .. }, .. })
                if self.recover_inputs(inputs) > 0 =>
            {
                self.open_publisher(topic, inputs, &schema, cut_from)
            }
            opened => opened,
        }
    }

    fn open_publisher<M: Message>(
        &self,
        topic: &str,
        inputs: &[&str],
        schema: &Schema,
        cut_from: Option<u64>,
    ) -> Result<Publisher<M>, BusError> {
        let clock = Clock::new();
        let mut writing = self.writing()?;
        let Some(held) = writing.as_mut() else { unreachable!("`writing` has made it") };
        held.occupancy.make_topic(topic, 0).map_err(BusError::Memory)?;
        let places = self.places(topic)?;
        let options = Options { cut_from, ..self.options(topic, inputs, clock.now().0)? };
        let (segment, before) = (segment_size(&places, &options), held.free_before);
        self.check_memory(topic, segment, &held.occupancy)?;
        self.note_retention(topic, Size(segment));
        let opened = journal::open(&places, options);
        let Journal { writer, write_out, lock, recovery } =
            opened.map_err(|source| self.refused(topic, segment, before, source))?;
        self.note_recovery(topic, &recovery);
        // A topic in the making has neither schema nor messages.
        let has_lost_schema = writer.next_sequence() > 0 && !self.topic_dir(topic).join(SCHEMA).exists();
        self.settle_schema(topic, schema)?;
        self.note_journal(topic);
        if has_lost_schema {
            self.note_lost_schema(topic);
        }
        let token = held.service.add(write_out, lock);
        drop(writing);
        let policy = self.shared.config.topics.get(topic).and_then(|config| config.when_full);
        let waits = policy == Some(WhenFull::Wait);
        Ok(Publisher::new(self.clone(), topic, inputs, writer, token, clock, waits, recovery))
    }

    /// What a publisher is refused with. Of a new topic no journal is left: who may not look into it would have to take the
    /// topic for one that lost its schema.
    fn refused(&self, topic: &str, segment: u64, before: Option<u64>, source: OpenError) -> BusError {
        let refusal = disk::refusal(self, topic, segment, before, source);
        // Fails where anything is in it.
        let _ = fs::remove_dir(self.topic_dir(topic).join("0"));
        refusal
    }

    /// A subscriber of a topic, from any process.
    ///
    /// # Errors
    /// [`BusError::Missing`] where there is no such topic yet, [`BusError::Schema`] where it carries other kinds.
    pub fn subscriber<M: Message>(
        &self,
        topic: &str,
        start: Start,
        gate: Gate,
    ) -> Result<Subscriber<M>, BusError> {
        let reader = self.reader(topic, start, gate)?;
        let wanted =
            Schema::of::<M>(&[]).map_err(|source| BusError::Schema { topic: topic.into(), source })?;
        reader.schema().serves(&wanted).map_err(|source| BusError::Schema { topic: topic.into(), source })?;
        Ok(Subscriber::new(reader))
    }

    /// A reader of any topic, which knows its messages by their schema only.
    ///
    /// # Errors
    /// As [`Bus::subscriber`].
    pub fn reader(&self, topic: &str, start: Start, gate: Gate) -> Result<Reader, BusError> {
        let schema = self.schema(topic)?;
        let reader = journal::Reader::open(self.places(topic)?, start, gate)
            .map_err(|source| self.unreadable(topic, source))?;
        Ok(Reader::new(reader, schema))
    }

    /// What a reader is refused with. Where the journal should lie, and whether it ever did, is known only here.
    pub(crate) fn unreadable(&self, topic: &str, source: OpenError) -> BusError {
        let source = match source {
            OpenError::Missing { .. } if self.has_had_journal(topic) => {
                return BusError::JournalGone { topic: topic.into(), bus: self.directory().into() };
            }
            OpenError::Missing { .. } => OpenError::Missing { path: self.topic_dir(topic).join("0") },
            source => source,
        };
        BusError::Journal { topic: topic.into(), source }
    }

    /// Completes on disk what a dead publisher of a topic left in shared memory, if the topic has no publisher now.
    /// Says whether it did.
    ///
    /// # Errors
    /// The journal cannot be recovered.
    pub fn finish_dead(&self, topic: &str) -> Result<bool, BusError> {
        if !self.places(topic)?.memory_dir.exists() {
            return Ok(false);
        }
        self.recover(topic)
    }

    /// Recovers a topic that has no publisher now, and ends it cleanly. False if it has one.
    pub(crate) fn recover(&self, topic: &str) -> Result<bool, BusError> {
        let mut writing = self.writing()?;
        let Some(held) = writing.as_mut() else { unreachable!("`writing` has made it") };
        held.occupancy.make_topic(topic, 0).map_err(BusError::Memory)?;
        let places = self.places(topic)?;
        // Only a glance, for the opening decides: what it would read of other topics before is not little.
        if journal::lock::is_held(&self.topic_dir(topic).join("0").join(journal::LOCK)).unwrap_or(false) {
            return Ok(false);
        }
        let inputs: Vec<String> = self.schema(topic)?.inputs().to_vec();
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let options = self.options(topic, &inputs, Clock::new().now().0)?;
        let options = Options { purpose: Purpose::Complete, patience: Duration::ZERO, ..options };
        let (segment, before) = (segment_size(&places, &options), held.free_before);
        match journal::open(&places, options) {
            Ok(Journal { writer, write_out, lock, recovery }) => {
                self.note_recovery(topic, &recovery);
                let token = held.service.add(write_out, lock);
                writer.close();
                // Ordered before the others go on: a publisher of theirs keeps them out while it waits for this lock.
                let answer = held.service.close(token, Duration::from_secs(5));
                drop(writing);
                let _ = answer.recv();
                Ok(true)
            }
            Err(OpenError::Held { .. }) => Ok(false),
            Err(source) => Err(disk::refusal(self, topic, segment, before, source)),
        }
    }

    /// Ends a journal that its writer has sealed. False: it was not durable in time.
    pub(crate) fn close_journal(&self, token: Token, limit: Duration) -> bool {
        let answer = {
            let writing = self.shared.writing.lock().unwrap_or_else(PoisonError::into_inner);
            writing.as_ref().map(|held| held.service.close(token, limit))
        };
        answer.is_some_and(|answer| answer.recv().is_ok_and(|result| matches!(result, Ok(true))))
    }

    /// Declares that `keeper` needs the messages of a topic from `sequence` on, and no longer those below. Retention holds
    /// it, whichever process publishes the topic, now or later, and until it is declared anew or
    /// [released](Bus::release), whether or not the keeper's program runs; how far it holds says
    /// [`WhenFull`]. For one process a name.
    ///
    /// It is durable when this returns, and costs the publisher nothing.
    ///
    /// # Errors
    /// [`BusError::Missing`] where there is no such topic yet, [`BusError::Name`] where the keeper's name could not be a
    /// topic's, [`BusError::Io`] where this user may not write in the topic's directory or the disk is full.
    pub fn keep_from(&self, topic: &str, keeper: &str, sequence: u64) -> Result<(), BusError> {
        let storage = self.keepers(topic, keeper)?;
        journal::keep_from(&storage, keeper, sequence).map_err(|source| self.not_kept(topic, source))
    }

    /// Takes back what `keeper` declared to need of a topic, if it did.
    ///
    /// # Errors
    /// As [`Bus::keep_from`].
    pub fn release(&self, topic: &str, keeper: &str) -> Result<(), BusError> {
        let storage = self.keepers(topic, keeper)?;
        journal::release(&storage, keeper).map_err(|source| self.not_kept(topic, source))
    }

    fn keepers(&self, topic: &str, keeper: &str) -> Result<DiskStorage, BusError> {
        self.schema(topic)?;
        check_name(keeper)?;
        Ok(DiskStorage::new(self.topic_dir(topic).join("0")))
    }

    fn not_kept(&self, topic: &str, source: io::Error) -> BusError {
        BusError::Io { what: "declare what is needed in", path: self.topic_dir(topic).join("0"), source }
    }

    /// What its publishers found.
    pub(crate) fn found(&self) -> MutexGuard<'_, Found> {
        self.shared.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn topic_dir(&self, topic: &str) -> PathBuf {
        self.shared.directory.join(topic)
    }

    pub(crate) fn places(&self, topic: &str) -> Result<Places, BusError> {
        let instance = Instance::of(&self.shared.directory).map_err(BusError::Memory)?;
        instance.check().map_err(BusError::Memory)?;
        let memory_dir = instance.topic_path(topic, 0);
        Ok(Places { storage: Arc::new(DiskStorage::new(self.topic_dir(topic).join("0"))), memory_dir })
    }

    /// The write-out thread and the hold on shared memory, made on first use.
    fn writing(&self) -> Result<MutexGuard<'_, Option<Writing>>, BusError> {
        let mut writing = self.shared.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if writing.is_none() {
            self.make_directory(&self.shared.directory)?;
            let instance = Instance::of(&self.shared.directory).map_err(BusError::Memory)?;
            let occupancy = instance.enter().map_err(BusError::Memory)?;
            // What others forgot is swept on the way; should that fail, nothing of ours depends on it.
            let _ = journal::instance::sweep(&journal::instance::root());
            let clock = Clock::new();
            let core = self.shared.config.cores.get(WRITE_OUT.name()).and_then(|placement| placement.core);
            let service = Service::start(
                journal::fastest_engine(&self.shared.directory),
                move || take_core(core),
                move || clock.resync(),
            )
            .map_err(|source| BusError::Io {
                what: "start a thread for",
                path: self.shared.directory.clone(),
                source,
            })?;
            let free_before = journal::storage::space(&self.shared.directory).ok().map(|space| space.free);
            *writing = Some(Writing { service, occupancy, free_before });
        }
        Ok(writing)
    }

    fn make_directory(&self, path: &Path) -> Result<(), BusError> {
        fs::create_dir_all(path).map_err(|source| BusError::Io { what: "make", path: path.into(), source })
    }

    fn options(&self, topic: &str, inputs: &[&str], now: u64) -> Result<Options, BusError> {
        let config = &self.shared.config;
        let shared =
            journal::storage::space(&journal::instance::root()).map_or(MEMORY_MAX, |space| space.total);
        let memory = config.memory.map_or((shared / 4).min(MEMORY_MAX), |size| size.0) / SHARES;
        let topic_config = config.topics.get(topic).copied().unwrap_or_default();
        // What is in memory is on disk soon: a topic may not have more of it than it may keep.
        let memory = topic_config.retention.map_or(memory, |size| memory.min(size.0));
        let (least, most) = (journal::layout::SEGMENT_MIN as u64, journal::layout::SEGMENT_MAX as u64);
        let wanted = config.segment.map_or(memory / SEGMENTS, |size| size.0).clamp(least, most);
        let segment_size = if wanted.is_power_of_two() { wanted } else { wanted.next_power_of_two() / 2 };
        let retention = topic_config.retention.map(|size| Retention {
            bytes: size.0,
            cuts: match topic_config.when_full {
                None | Some(WhenFull::Refuse) => Cuts::Nothing,
                Some(WhenFull::Wait) => Cuts::Released,
                Some(WhenFull::Expire) => Cuts::Oldest,
            },
        });
        let inputs = inputs
            .iter()
            .map(|input| Ok(Box::new(Upstream::new(self.places(input)?)) as Box<dyn journal::Input>))
            .collect::<Result<_, BusError>>()?;
        Ok(Options {
            segment_size: segment_size as usize,
            memory_budget: memory as usize,
            retention,
            inputs,
            proven: self.proven(topic),
            cut_from: None,
            lock: self.topic_dir(topic).join("0").join(journal::LOCK),
            now,
            purpose: Purpose::Publish,
            patience: PATIENCE,
        })
    }

    /// Refuses what could not go on from its first segment.
    fn check_memory(&self, topic: &str, segment: u64, occupancy: &Occupancy) -> Result<(), BusError> {
        let failed = |source| BusError::Io { what: "look into", path: journal::instance::root(), source };
        memory::check(self, topic, occupancy.least_room(topic, 0, segment).map_err(failed)?)
    }

    /// Says where a topic's retention is not what it can hold.
    fn note_retention(&self, topic: &str, segment: Size) {
        let Some(retention) = self.shared.config.topics.get(topic).and_then(|config| config.retention) else {
            return;
        };
        let disk = journal::storage::space(self.directory()).map_or(u64::MAX, |space| space.total);
        retention::doubt(topic, retention, segment, Size(disk)).iter().for_each(|doubt| note(doubt));
    }

    /// Whether the schema of a topic says all that `schema` does.
    fn fits_schema(&self, topic: &str, schema: &Schema) -> Result<bool, BusError> {
        let different = |source| BusError::Schema { topic: topic.into(), source };
        match self.schema(topic) {
            Ok(old) if old.serves(schema).is_ok() && old.inputs() == schema.inputs() => Ok(true),
            Ok(old) => {
                old.goes_on_as(schema).map_err(different)?;
                Ok(false)
            }
            Err(BusError::Missing { .. } | BusError::SchemaGone { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Writes the schema of a topic, unless the topic's own says as much. For the holder of the topic's lock.
    fn settle_schema(&self, topic: &str, schema: &Schema) -> Result<(), BusError> {
        if self.fits_schema(topic, schema)? {
            return Ok(());
        }
        let path = self.topic_dir(topic).join(SCHEMA);
        write_durably(&path, schema.to_json().as_bytes()).map_err(|source| BusError::Io {
            what: "write",
            path,
            source,
        })
    }
}

/// Bytes of a segment. A journal that is there keeps its size.
fn segment_size(places: &Places, options: &Options) -> u64 {
    journal::segment_size(places.storage.as_ref()).unwrap_or(options.segment_size as u64)
}

/// Pins the write-out, if it has a core.
fn take_core(core: Option<usize>) {
    if let Some(core) = core.filter(|core| !plan::pin(*core)) {
        note(&format!("cannot pin {}: core {core} is not available; it runs on any", WRITE_OUT.name()));
    }
}

/// File of a topic's schema.
pub(crate) const SCHEMA: &str = "schema.json";

/// Replaces a file whole: after a crash it is the old one or the new one.
pub(crate) fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    fs::write(&fresh, bytes)?;
    fs::File::open(&fresh)?.sync_all()?;
    fs::rename(&fresh, path)?;
    let parent = path.parent().unwrap_or(Path::new("."));
    fs::File::open(parent)?.sync_all()?;
    fs::File::open(parent.parent().unwrap_or(parent))?.sync_all()
}

/// What the names end with under which Kafka consumers read topics as JSON: the view `T.json` of each topic `T`.
pub const JSON_VIEW: &str = ".json";

pub(crate) fn is_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    (1..=64).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(plain)
}

pub(crate) fn check_name(topic: &str) -> Result<(), BusError> {
    if is_name(topic) { Ok(()) } else { Err(BusError::Name { topic: topic.into() }) }
}

/// Refuses what no new topic may be called. One that is there is read whatever its name.
pub(crate) fn check_new_name(topic: &str) -> Result<(), BusError> {
    check_name(topic)?;
    if topic.ends_with(JSON_VIEW) { Err(BusError::ViewName { topic: topic.into() }) } else { Ok(()) }
}
