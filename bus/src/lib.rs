//! Busbar: typed topics over single-writer journals, shared by all processes of a machine.
//!
//! A *bus* is a directory. A *topic* in it is a journal with a schema: messages in one order, numbered from 0 by their
//! *sequence*. It has one *publisher*, and any number of *subscribers* in any process, who read each message where the
//! publisher wrote it: in shared memory first, later on disk. There is no daemon: who opens the directory is on the bus.
//! A topic's name is 1 to 64 letters, digits, `.`, `_` and `-`, neither begins with `.` nor ends with `.json`, as the views
//! do that Kafka consumers read.
//!
//! # Publish and subscribe
//! ```
//! use bus::{Bus, Gate, Start, event::{Event, Price, Symbol}};
//!
//! #[derive(Event, Clone, Copy, Debug, Default)]
//! #[repr(C)]
//! struct Quote {
//!     instrument: Symbol,
//!     bid: Price,
//!     ask: Price,
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let dir = directory.path();
//! let bus = Bus::open(dir)?;
//! let mut quotes = bus.publisher::<Quote>("quotes")?;
//! quotes.publish(&Quote { bid: Price(99), ask: Price(101), ..Quote::default() })?;
//! # quotes.close()?;
//!
//! // In any process:
//! let mut quotes = Bus::open(dir)?.subscriber::<Quote>("quotes", Start::Oldest, Gate::Published)?;
//! while let Some(quote) = quotes.wait()? {
//!     println!("{} / {}", quote.bid, quote.ask); // a &Quote in the journal itself
//! }
//! # Ok(()) }
//! ```
//! [`Subscriber::wait`] sleeps where there is nothing and ends with `None` when the publisher has closed the topic and
//! all was delivered; [`Subscriber::poll`] never waits, and [`Subscriber::is_closed`] says whether its publisher has
//! ended; [`Subscriber::poll_delivery`] also tells sequence, time and epoch. A subscriber that comes before the topic
//! exists gets an error for which [`BusError::is_missing`] holds, and may try again later. The programs `quotes_publish`
//! and `quotes_subscribe` in `examples/` are this, in two processes.
//!
//! # Message types
//! A message is a `#[repr(C)]` struct without padding whose fields are numbers or the types of [`event`], such as
//! [`Price`](event::Price); the derive checks that when it is compiled. A topic of several kinds is an enum of such
//! structs, each with a number of its own. Subscribers get the enum's borrowed form, whose name ends in `Ref`:
//! ```
//! use bus::{Bus, Gate, Start, event::{Event, Price, Quantity, Symbol}};
//!
//! #[derive(Event, Clone, Copy, Debug, Default)]
//! #[event(kind = 1)]
//! #[repr(C)]
//! struct Trade { instrument: Symbol, price: Price, size: Quantity }
//!
//! #[derive(Event, Clone, Copy, Debug, Default)]
//! #[event(kind = 2)]
//! #[repr(C)]
//! struct Halt { instrument: Symbol, reason: u32, _pad: [u8; 4] }
//!
//! #[derive(Event)]
//! enum Tape { Trade(Trade), Halt(Halt) }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! let bus = Bus::open(directory.path())?;
//! let mut tape = bus.publisher::<Tape>("tape")?;
//!
//! // Copied in.
//! tape.publish(&Trade { price: Price(42), ..Trade::default() })?;
//!
//! // Or filled where readers will see it; dropped without `commit`, it never was. What is there at first is arbitrary.
//! let mut halt = tape.claim::<Halt>()?;
//! *halt = Halt { reason: 7, ..Halt::default() };
//! assert_eq!(halt.commit(), 1);
//!
//! // Or several that become visible together and survive together or not at all.
//! let mut batch = tape.batch();
//! batch.push(&Halt::default())?;
//! batch.push(&Trade::default())?;
//! assert_eq!(batch.commit(), 2); // the sequence of the first
//!
//! let mut reader = bus.subscriber::<Tape>("tape", Start::Sequence(1), Gate::Published)?;
//! match reader.wait()? {
//!     Some(TapeRef::Halt(halt)) => assert_eq!(halt.reason, 7),
//!     _ => unreachable!("sequence 1 is the halt"),
//! }
//! # Ok(()) }
//! ```
//! The schema lies beside the journal, so that any program can print any message (`replay dump`). A subscriber or
//! publisher whose types differ from it is refused ([`BusError::Schema`]); a later publisher may add kinds.
//!
//! # Gates: what survives what
//! | | readable | survives |
//! | --- | --- | --- |
//! | [`Gate::Published`] | as soon as `publish` returns, in nanoseconds | the death of any process |
//! | [`Gate::Durable`] | when it is on disk | power loss |
//!
//! Each subscriber picks its gate. What may leave the machine waits for `Durable`. [`Publisher::flush`] waits until all is
//! durable; [`Publisher::close`] and dropping the publisher also mark the topic as closed and leave nothing in shared
//! memory. A publisher that was killed is simply opened again, in a new *epoch*: it completes what is in shared memory,
//! and subscribers go on without noticing. After a power loss a subscriber at `Published` that had read more than the disk
//! held gets [`ReadError::Regressed`] once; at `Durable` it never does.
//!
//! # Derived topics
//! The messages of a derived topic are effects of messages in other topics. Each begins with a [`Cause`](event::Cause),
//! which names its input by its place in the list, and becomes durable only after that message: no effect is on disk
//! without its cause.
//! ```
//! use bus::{Bus, event::{Cause, Event}};
//!
//! #[derive(Event, Clone, Copy, Debug, Default)]
//! #[repr(C)]
//! struct Order { account: u64 }
//!
//! #[derive(Event, Clone, Copy, Debug)]
//! #[repr(C)]
//! struct Alert { cause: Cause, account: u64, _pad: [u8; 8] }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! let bus = Bus::open(directory.path())?;
//! let mut orders = bus.publisher::<Order>("orders")?;
//! let mut alerts = bus.derived_publisher::<Alert>("alerts", &["orders"])?;
//! let sequence = orders.publish(&Order { account: 5 })?;
//! let cause = Cause { sequence, epoch: orders.epoch(), input: 0, index: 0 };
//! alerts.publish(&Alert { cause, account: 5, _pad: [0; 8] })?;
//! alerts.flush()?; // the order is durable now, too
//! # assert_eq!(orders.durable(), 1);
//! # Ok(()) }
//! ```
//! After a crash it goes on where its own journal ends: the last cause in it says which input comes next. Its effects on
//! disk prove the same of its inputs: what they name and an input lacks was durable and is reported as lost, and the input's
//! next publisher begins behind it ([`Recovery::damage`]). What an input cannot have had, by its own evidence, is not
//! believed ([`Recovery::unbelieved`]); no derived topic keeps its input from being opened.
//!
//! # Errors
//! Opening gives [`BusError`], publishing [`PublishError`], reading [`ReadError`]; each says what happened, where, and
//! what to do. A second publisher of a topic is refused with the process id of the first. A fault is read once and the
//! next call goes on behind it: [`ReadError::Retired`] (retention was faster), [`ReadError::Damage`] (the exact range),
//! [`ReadError::Regressed`]. After [`PublishError::NoRoom`] publishing goes on once there is room; after
//! [`PublishError::Poisoned`] the disk has failed, and the publisher is to be opened anew once it is mended.
//!
//! # Retention, memory, cores
//! A [`BusConfig`](config::BusConfig), from the part `[bus]` of a TOML file or made in the program, says how much
//! shared memory the bus may take, how large the journals' segments are, how much disk each topic may take and what
//! happens beyond that ([`WhenFull`](config::WhenFull)). Without it a topic keeps everything. A program that needs a
//! topic's past after a restart, as the risk engine does from its last snapshot on, declares it by [`Bus::keep_from`].
//! ```
//! use bus::{Bus, config::{BusConfig, TopicConfig, WhenFull}, program::Size};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let dir = directory.path();
//! let keep = TopicConfig { retention: Some(Size(64 << 20)), when_full: Some(WhenFull::Expire) };
//! let config = BusConfig { topics: [("quotes".to_owned(), keep)].into(), ..BusConfig::default() };
//! let bus = Bus::with_config(dir, config)?;
//! # Ok(()) }
//! ```
//! All journals of a process share one thread that writes to disk, made with the first publisher; it may run where the
//! thread that made it may, so pin yours later. Where threads run and how they wait is the [core plan](plan) of a
//! program, in which one that publishes gives that thread its place ([`WRITE_OUT`](plan::WRITE_OUT)); an [agent] is a duty
//! cycle that runs where the plan says:
//! ```
//! use bus::plan::{Plan, Role, WRITE_OUT, available_cores};
//!
//! let plan = Plan::automatic(&[Role::hot("strategy"), WRITE_OUT], available_cores());
//! println!("{}", plan.describe()); // core plan for 2 cores: strategy on core 1 (spin), write-out on core 0 (park)
//! plan.make_way().into_iter().for_each(|done| println!("{done}")); // beside spinners, for the kernel's disk threads
//! ```
//!
//! # Seen from outside
//! `bus status` and [`Bus::survey`] tell watermarks, segments, counters and every reader with its lag; `bus doctor` what
//! the machine lacks; `replay verify` proves a journal's order and integrity.

extern crate self as bus;

pub mod agent;
pub mod clock;
pub mod config;
mod directory;
mod disk;
mod error;
pub mod event;
mod evidence;
mod found;
mod known;
pub mod machine;
pub mod memory;
pub mod plan;
pub mod program;
mod publisher;
mod retention;
mod subscriber;
mod topic;
mod upstream;
pub mod wait;

pub use directory::SCHEMA_GONE;
pub use error::BusError;
pub use evidence::effects_cut;
pub use found::{mark_lost, schema_lost};
pub use journal::regular;
pub use journal::{
    Keeper, OpenError, Owner, Proof, ReaderStatus, Recovery, Room, SegmentStatus, SetAside, Survey,
};
pub use known::{TOPIC_GONE, TOPIC_REPLACED};
pub use publisher::{Batch, Claim, PublishError, Publisher};
pub use subscriber::{Delivery, Frame, Gate, ReadError, Reader, Start, Subscriber, Watermarks};
pub use topic::{Bus, JSON_VIEW};
