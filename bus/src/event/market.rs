//! What a market says: the normalised kinds of the topic `market-data`.
//!
//! `venue_sequence` is the venue's own message number (MoldUDP64 counts from 1; day files are counted alike). Times of
//! the venue are exact to its nanosecond. `instrument` is blank in messages about the whole market.

use super::{Bytes, Code, Event, Price, Quantity, Side, Symbol, Text, Time};

/// All kinds of the topic `market-data`.
#[derive(Event)]
pub enum MarketEvent {
    /// See [`Session`].
    Session(Session),
    /// See [`Instrument`].
    Instrument(Instrument),
    /// See [`SystemEvent`].
    SystemEvent(SystemEvent),
    /// See [`TradingStatus`].
    TradingStatus(TradingStatus),
    /// See [`AddOrder`].
    AddOrder(AddOrder),
    /// See [`ExecuteOrder`].
    ExecuteOrder(ExecuteOrder),
    /// See [`ExecuteOrderAtPrice`].
    ExecuteOrderAtPrice(ExecuteOrderAtPrice),
    /// See [`ReduceOrder`].
    ReduceOrder(ReduceOrder),
    /// See [`DeleteOrder`].
    DeleteOrder(DeleteOrder),
    /// See [`ReplaceOrder`].
    ReplaceOrder(ReplaceOrder),
    /// See [`Trade`].
    Trade(Trade),
    /// See [`CrossTrade`].
    CrossTrade(CrossTrade),
    /// See [`BrokenTrade`].
    BrokenTrade(BrokenTrade),
    /// See [`Gap`].
    Gap(Gap),
    /// See [`VenueMessage`].
    VenueMessage(VenueMessage),
}

/// A venue session begins (`state` `S`) or has ended (`E`). At a begin all books are empty.
#[derive(Event, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[event(kind = 1)]
#[repr(C)]
pub struct Session {
    /// Midnight of the session's date, or 0.
    pub exchange_time: Time,
    /// When it was received.
    pub receive_time: Time,
    /// First message number of the session, from 1; where another session came between, the number at which this one is
    /// taken up again, and its books are stale. At the end, the number after its last message.
    pub venue_sequence: u64,
    /// Identity of the session.
    pub session: Text<16>,
    /// Date as the number YYYYMMDD.
    pub date: u32,
    /// `S` start, `E` end.
    pub state: Code,
    /// Zero.
    pub _pad: [u8; 3],
}

/// An instrument and its static data.
#[derive(Event, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[event(kind = 2)]
#[repr(C)]
pub struct Instrument {
    /// Venue time.
    pub exchange_time: Time,
    /// When it was received.
    pub receive_time: Time,
    /// Venue message number.
    pub venue_sequence: u64,
    /// Symbol.
    pub instrument: Symbol,
    /// The venue's number for the instrument within the session.
    pub locate: u32,
    /// Units of a round lot.
    pub round_lot: u32,
    /// Market category, as the venue writes it.
    pub category: Code,
    /// Financial status, as the venue writes it.
    pub status: Code,
    /// Zero.
    pub _pad: [u8; 6],
}

/// An event of the whole market, such as start and end of hours.
#[derive(Event, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[event(kind = 3)]
#[repr(C)]
pub struct SystemEvent {
    /// Venue time.
    pub exchange_time: Time,
    /// When it was received.
    pub receive_time: Time,
    /// Venue message number.
    pub venue_sequence: u64,
    /// ITCH 5.0 event code: `O S Q M E C`.
    pub code: Code,
    /// Zero.
    pub _pad: [u8; 7],
}

/// Trading of an instrument is halted, paused, quoting only, or goes on. Books are kept through halts.
#[derive(Event, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[event(kind = 4)]
#[repr(C)]
pub struct TradingStatus {
    /// Venue time.
    pub exchange_time: Time,
    /// When it was received.
    pub receive_time: Time,
    /// Venue message number.
    pub venue_sequence: u64,
    /// Symbol.
    pub instrument: Symbol,
    /// `H` halted, `P` paused, `Q` quotation only, `T` trading; operational halts: `h` halted, `t` trading.
    pub state: Code,
    /// Market of an operational halt, else 0.
    pub market: Code,
    /// Reason, as the venue writes it.
    pub reason: Text<4>,
    /// Zero.
    pub _pad: [u8; 2],
}

/// A new order rests in the book.
#[derive(Event, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[event(kind = 5)]
#[repr(C)]
pub struct AddOrder {
    /// Venue time.
    pub exchange_time: Time,
    /// When it was received.
    pub receive_time: Time,
    /// Venue message number.
    pub venue_sequence: u64,
    /// Symbol.
    pub instrument: Symbol,
    /// The venue's reference of the order, unique within the session.
    pub order: u64,
    /// Limit price.
    pub price: Price,
    /// Displayed quantity.
    pub quantity: Quantity,
    /// Side.
    pub side: Side,
    /// Zero.
    pub _pad: [u8; 3],
    /// Market participant, blank if not attributed.
    pub participant: Text<4>,
}

/// A resting order trades at its own price.
#[derive(Event, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[event(kind = 6)]
#[repr(C)]
pub struct ExecuteOrder {
    /// Venue time.
    pub exchange_time: Time,
    /// When it was received.
    pub receive_time: Time,
    /// Venue message number.
    pub venue_sequence: u64,
    /// Symbol.
    pub instrument: Symbol,
    /// The resting order.
    pub order: u64,
    /// The venue's number of the match.
    pub match_number: u64,
    /// Executed quantity.
    pub quantity: Quantity,
}

/// A resting order trades at a price of its own message.
#[derive(Event, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[event(kind = 7)]
#[repr(C)]
pub struct ExecuteOrderAtPrice {
    /// Venue time.
    pub exchange_time: Time,
    /// When it was received.
    pub receive_time: Time,
    /// Venue message number.
    pub venue_sequence: u64,
    /// Symbol.
    pub instrument: Symbol,
    /// The resting order.
    pub order: u64,
    /// The venue's number of the match.
    pub match_number: u64,
    /// Executed quantity.
    pub quantity: Quantity,
    /// Price of the execution.
    pub price: Price,
    /// `Y` counts as volume, `N` does not (it is reported again in a cross).
    pub printable: Code,
    /// Zero.
    pub _pad: [u8; 7],
}

/// A resting order becomes smaller and keeps its priority.
#[derive(Event, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[event(kind = 8)]
#[repr(C)]
pub struct ReduceOrder {
    /// Venue time.
    pub exchange_time: Time,
    /// When it was received.
    pub receive_time: Time,
    /// Venue message number.
    pub venue_sequence: u64,
    /// Symbol.
    pub instrument: Symbol,
    /// The resting order.
    pub order: u64,
    /// Quantity taken away.
    pub quantity: Quantity,
}

/// A resting order leaves the book.
#[derive(Event, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[event(kind = 9)]
#[repr(C)]
pub struct DeleteOrder {
    /// Venue time.
    pub exchange_time: Time,
    /// When it was received.
    pub receive_time: Time,
    /// Venue message number.
    pub venue_sequence: u64,
    /// Symbol.
    pub instrument: Symbol,
    /// The resting order.
    pub order: u64,
}

/// A resting order is replaced by a new one of the same side, behind the queue of its price.
#[derive(Event, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[event(kind = 10)]
#[repr(C)]
pub struct ReplaceOrder {
    /// Venue time.
    pub exchange_time: Time,
    /// When it was received.
    pub receive_time: Time,
    /// Venue message number.
    pub venue_sequence: u64,
    /// Symbol.
    pub instrument: Symbol,
    /// The order that leaves.
    pub order: u64,
    /// The order that takes its place.
    pub new_order: u64,
    /// New displayed quantity.
    pub quantity: Quantity,
    /// New limit price.
    pub price: Price,
}

/// A trade with an order that was not displayed. It does not touch the book.
#[derive(Event, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[event(kind = 11)]
#[repr(C)]
pub struct Trade {
    /// Venue time.
    pub exchange_time: Time,
    /// When it was received.
    pub receive_time: Time,
    /// Venue message number.
    pub venue_sequence: u64,
    /// Symbol.
    pub instrument: Symbol,
    /// The venue's number of the match.
    pub match_number: u64,
    /// Price.
    pub price: Price,
    /// Quantity.
    pub quantity: Quantity,
    /// As the venue writes it; NASDAQ says `B` always.
    pub side: Side,
    /// Zero.
    pub _pad: [u8; 7],
}

/// An auction's trade.
#[derive(Event, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[event(kind = 12)]
#[repr(C)]
pub struct CrossTrade {
    /// Venue time.
    pub exchange_time: Time,
    /// When it was received.
    pub receive_time: Time,
    /// Venue message number.
    pub venue_sequence: u64,
    /// Symbol.
    pub instrument: Symbol,
    /// The venue's number of the match.
    pub match_number: u64,
    /// Price.
    pub price: Price,
    /// Quantity.
    pub quantity: Quantity,
    /// `O` opening, `C` closing, `H` halt or IPO, `I` intraday.
    pub cross: Code,
    /// Zero.
    pub _pad: [u8; 7],
}

/// A trade that the venue declared void.
#[derive(Event, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[event(kind = 13)]
#[repr(C)]
pub struct BrokenTrade {
    /// Venue time.
    pub exchange_time: Time,
    /// When it was received.
    pub receive_time: Time,
    /// Venue message number.
    pub venue_sequence: u64,
    /// Symbol.
    pub instrument: Symbol,
    /// The match that is void.
    pub match_number: u64,
}

/// Messages lost before they reached the journal (`state` `O` open), or a lost range that arrived after all (`C`
/// closed: its messages stand between the two in the journal), or the end of an open gap that the venue never sent (`W`
/// withdrawn: what told of it, a forged or damaged packet, was refuted by the lines; what is journalled of it and behind
/// it stays, and counts as the messages of these numbers). An open gap makes every book of the session stale.
#[derive(Event, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[event(kind = 14)]
#[repr(C)]
pub struct Gap {
    /// 0: a gap has no venue time.
    pub exchange_time: Time,
    /// When it was declared.
    pub receive_time: Time,
    /// First lost venue message number.
    pub venue_sequence: u64,
    /// Number of messages.
    pub count: u64,
    /// `network` (both lines and the re-request server lost it) or `local` (refused here for lack of room).
    pub cause: Text<8>,
    /// `O` open, `C` closed, `W` withdrawn.
    pub state: Code,
    /// Zero.
    pub _pad: [u8; 7],
}

/// A venue message without a normalised form, as it came.
#[derive(Event, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[event(kind = 15)]
#[repr(C)]
pub struct VenueMessage {
    /// Venue time.
    pub exchange_time: Time,
    /// When it was received.
    pub receive_time: Time,
    /// Venue message number.
    pub venue_sequence: u64,
    /// Symbol, blank for the whole market.
    pub instrument: Symbol,
    /// Type letter.
    pub message: Code,
    /// Bytes of `payload` that count; more than 62 only where the message was longer and is cut.
    pub length: u8,
    /// The message, type letter included.
    pub payload: Bytes<62>,
}
