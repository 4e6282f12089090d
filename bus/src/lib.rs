//! Busbar: what users hold. Typed topics over single-writer journals.

extern crate self as bus;

pub mod agent;
pub mod clock;
pub mod config;
mod error;
pub mod event;
pub mod machine;
pub mod plan;
pub mod program;
mod publisher;
mod subscriber;
mod topic;
mod upstream;
pub mod wait;

pub use error::BusError;
pub use journal::{Owner, ReaderStatus, SegmentStatus, Survey};
pub use publisher::{Batch, Claim, PublishError, Publisher};
pub use subscriber::{Delivery, Frame, Gate, ReadError, Reader, Start, Subscriber, Watermarks};
pub use topic::Bus;
