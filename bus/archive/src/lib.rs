//! The Kafka side of the bus: a read-only listener on the journals themselves, so that any Kafka consumer that assigns
//! its partitions reads the bus without a broker.
//!
//! ```text
//!                      ┌ listener ──── accepts, one thread a connection, bounded
//!                      │ activity ──── who gives way where all connections are taken
//!  Kafka consumer ── TCP │ connection ── frames, time limits
//!                      │ guard ─────── refuses counts that lie, before the codec decodes
//!                      │ requests ──── one module a request
//!                      │ cursor ────── where each connection is ── bus::Reader, gate durable
//!                      └ view, batch ─ message → record → record batch
//! ```
//!
//! | Kafka | Bus |
//! | --- | --- |
//! | topic `T`, partition 0 | topic `T`; a record's value is the event's bytes |
//! | topic `T.json`, partition 0 | the same messages at the same offsets; a value is the object that `replay dump` prints |
//! | offset | sequence |
//! | high watermark, last stable offset | `durable`: what is not durable is not shown |
//! | log start offset | the first message that retention has left |
//! | leader epoch | epoch of the writer |
//! | key | the instrument's symbol without padding; null where a message concerns none |
//! | timestamp (create time, ms) | the venue's time; the time of publishing where there is none |
//! | headers | `schema` (`name:layout hash`), `sequence`, `exchange_time_ns`, `publish_time_ns`, `epoch`, all as text |
//!
//! Nothing can be written (`TOPIC_AUTHORIZATION_FAILED`), and consumer groups can neither be joined nor keep offsets
//! (`GROUP_AUTHORIZATION_FAILED`): consumers assign partition 0 themselves. Nobody is authenticated: listen on loopback, or where all that
//! can connect may read everything.
//!
//! A message that the journal has lost is refused once (`CORRUPT_MESSAGE`, and never is there a jump without it). A
//! consumer that then asks again for the same offset is led past all that is lost there: it is given the next message that
//! is there, as on a compacted topic, or an empty batch that ends where the journal goes on. A consumer that ended at the
//! error, as kcat does, and begins again at that offset, from the same host with the same `client.id` within ten minutes,
//! counts as the same one, for one time; not at the log start offset, where anybody may begin. Whoever comes there by
//! reading, or is given the first message behind, is never led past what it was not told. What was durable stays below the high watermark, lost or not. The lost offsets are noted
//! ([`Server::lost`]) and counted. Most clients hand the error to their user; one that hides it shows the loss as a step in
//! the offsets only.
//!
//! A consumer whose offset retention has removed, and one that asks for an offset beyond the high watermark, gets
//! `OFFSET_OUT_OF_RANGE` and acts as its `auto.offset.reset` says: `earliest` goes on at the log start offset, `latest` at
//! the high watermark and so passes over all between, `none` (`error` in librdkafka) hands the error to its user. Either
//! way the step shows in the offsets.
//!
//! Clients are strangers: at most 64 connections, of which the one that is silent longest, one that never asked before
//! all others, gives way to a new one after two seconds without a request, requests of a megabyte, answers of four, 32
//! readers a connection, and time limits for whatever is sent, taken or left idle. Whoever breaks the protocol is closed
//! and counted.

mod activity;
mod batch;
mod connection;
mod counters;
mod cursor;
mod guard;
mod listener;
mod requests;
mod times;
mod told;
mod topics;
mod view;

pub use counters::{Counts, Requests};
pub use listener::{MOST_CONNECTIONS, ServeError, Server};
pub use topics::Lost;
