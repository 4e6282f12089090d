//! FIX 4.4 drop copy: our executions from the wire to the topic `trades`, each exactly once.
//!
//! Bytes become messages in [`framing`], messages become fields in [`message`] and values in [`value`]. The
//! [`session`] is a state machine without I/O; [`execution_report`] turns a message into an event, [`executions`]
//! lets each identity through once and keeps a trace of what it withholds, and [`drop_copy`] is the agent that ties them
//! to a [`connection`]. A message log takes the same way from [`log`].
//!
//! Nothing of the session is stored but the outbound [`numbers`]: the next inbound number is the last journalled
//! report's plus one, and whatever the venue sent after it is asked for again. On a bus all of that is in [`topics`].

pub mod connection;
pub mod drop_copy;
pub mod execution_report;
pub mod executions;
pub mod framing;
pub mod log;
pub mod message;
pub mod numbers;
pub mod reason;
mod resend;
pub mod session;
pub mod topics;
mod traces;
pub mod value;
pub mod writer;
