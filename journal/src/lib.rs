//! The single-writer journal: born in shared memory, durable on disk, read in place by any process.
//!
//! [`open`] wins the lock, recovers and gives two halves: a [`Writer`] for the publishing thread, which claims, fills in
//! place and commits, and a [`WriteOut`] for the thread that writes to disk ([`Service`] runs it). A [`Reader`] in any
//! process follows at its own [`Gate`]. The format is `layout.rs`; what survives what is `recovery.rs`.

#[cfg(not(target_os = "linux"))]
compile_error!(
    "Busbar runs on Linux only: it needs O_DIRECT, OFD locks, futexes on shared mappings and io_uring"
);

mod checksum;
mod choice;
mod control;
mod disk_copy;
mod error;
mod helper;
mod in_flight;
pub mod instance;
mod journal;
mod keepers;
pub mod layout;
mod listing;
pub mod lock;
mod mark;
pub mod memory;
mod names;
mod prepare;
mod progress;
mod protocol;
mod reader;
mod readers;
mod recovery;
pub mod regular;
mod retention;
mod scan;
mod segment;
mod service;
pub mod storage;
mod supply;
mod survey;
mod waiters;
mod write_out;
mod writer;

pub use choice::fastest_engine;
pub use control::{Control, State};
pub use error::{OpenError, PublishError, ReadError, Room, remedy};
pub use journal::{Journal, LOCK, Options, open};
pub use keepers::{Keeper, keep_from, release};
pub use mark::{identity, is_unrecovered, segment_size};
pub use progress::Input;
pub use reader::{Frame, Gate, Places, Reader, Start, Watermarks};
pub use readers::ReaderStatus;
pub use recovery::{Proof, Recovery, SetAside, last_cause, set_aside};
pub use retention::{Cuts, Retention};
pub use service::{EngineMaker, Service, Token};
pub use survey::{Owner, SegmentStatus, Survey, survey};
pub use write_out::WriteOut;
pub use writer::{Batch, Claim, Writer};
