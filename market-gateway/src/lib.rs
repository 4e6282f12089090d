//! Market gateways: from a venue's wire to the topics `market-data` and `trades`.
//!
//! ```text
//! net, captures ──▶ mold ──▶ arbiter ──▶ Normalise ──▶ Output
//!   datagrams     packets   messages      events       a topic
//!                             │  ▲
//!                    requests ▼  │ answers
//! ```
//!
//! [`Feed`](feed::Feed) joins these: packets of one or more redundant MoldUDP64 lines go in; the events of each message
//! come out, once, in the venue's order, with what is lost named by exact ranges. It does no input and reads no clock,
//! so sockets and captures take the same way. The journal it writes is also its memory: [`resume`] reads it back, and a
//! gateway that was killed goes on where it was.
//!
//! # A gateway of your own
//! Whoever has another payload on the same transport implements [`Normalise`], one function of which turns a message
//! into events; sessions, arbitration, re-requests, gaps, resuming and publishing are the library's. Its crate depends
//! on two of Busbar's, the second for the events that it defines:
//!
//! ```toml
//! market-gateway = { path = "busbar/market-gateway" }
//! bus = { path = "busbar/bus" }
//! ```
//! `examples/own_venue.rs` is a whole one that feeds packets by hand, into a topic of its choice. To run it on a live
//! feed, give the same [`Normalise`] to [`LiveGateway`](live::LiveGateway), which has the sockets, the re-requests and
//! snapshots, and writes the topic `market-data`, and `trades` and `session` where there is a drop copy. For another
//! topic drive a [`Feed`](feed::Feed) from a [`net::UdpSource`]. [`normalise::Itch`] is the one for NASDAQ ITCH 5.0.

pub mod arbiter;
pub mod feed;
pub mod fix;
pub mod itch;
pub mod live;
pub mod mold;
pub mod net;
pub mod normalise;
pub mod resume;
mod sessions;
pub mod simulate;
pub mod snapshot;

use bus::event::market::{Gap, Session};
use bus::event::{Message, PartOf, Time};
use bus::{PublishError, Publisher};

/// Turns a venue's messages into events.
///
/// The events of the topic must include [`Session`] and [`Gap`], which the library publishes itself.
pub trait Normalise {
    /// What the topic carries.
    type Event: Message;

    /// Another session begins: what was learned in the last one (books, instrument numbers) is void.
    fn begin(&mut self, session: &Session) {
        let _ = session;
    }

    /// Publishes what a message says. Called with every message once, in order; again only if `out` refused.
    ///
    /// The journal may have the message already: what is published then goes nowhere, and the call is only for what is
    /// to be learned from it.
    ///
    /// # Errors
    /// Those of `out`.
    fn message<O: Output<Self::Event>>(&mut self, message: Raw<'_>, out: &mut O) -> Result<(), O::Error>;

    /// What an event of the journal tells about its session; called with each, in order, before any message. What the
    /// messages to come need to have been learned is learned here too.
    fn recall(&mut self, event: <Self::Event as Message>::Ref<'_>) -> Recall;

    /// What was learned so far, for a [snapshot]; nothing, where messages explain themselves.
    fn save(&self) -> Vec<u8> {
        Vec::new()
    }

    /// Takes what [`Normalise::save`] gave, of this or an earlier version; `false` if it is not understood.
    fn restore(&mut self, saved: &[u8]) -> bool {
        saved.is_empty()
    }
}

/// A message as the venue sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Raw<'a> {
    /// The venue's number of it, from 1.
    pub sequence: u64,
    /// When it was received; 0 where that is not known, as in day files.
    pub receive_time: Time,
    /// The message.
    pub bytes: &'a [u8],
}

/// What an event tells about its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recall {
    /// The session begins or ended.
    Session(Session),
    /// A range is lost, or arrived after all.
    Gap(Gap),
    /// The venue's message of this number is journalled. Where a message made several events, the last of them.
    Message(u64),
    /// Nothing.
    Nothing,
}

/// Where events go.
pub trait Output<M: Message> {
    /// Why an event is refused.
    type Error;
    /// Takes an event.
    ///
    /// # Errors
    /// It is refused; it will be offered again.
    fn publish<E: PartOf<M>>(&mut self, event: &E) -> Result<(), Self::Error>;
}

impl<M: Message> Output<M> for Publisher<M> {
    type Error = PublishError;
    #[inline]
    fn publish<E: PartOf<M>>(&mut self, event: &E) -> Result<(), PublishError> {
        Publisher::publish(self, event).map(drop)
    }
}
