//! What happened to our own orders: the kinds of the topic `trades`, as a drop copy reports them.
//!
//! An execution is known by session, trade date and `execution` (FIX ExecID, tag 17) and is journalled once.
//! Identifiers longer than their field keep their first 15 bytes, then `~` and 16 hexadecimal digits of their hash.

use super::{Code, Event, Price, Quantity, Side, Symbol, Text, Time};

/// All kinds of the topic `trades`.
#[derive(Event)]
pub enum TradeEvent {
    /// See [`Fill`].
    Fill(Fill),
    /// See [`OrderUpdate`].
    OrderUpdate(OrderUpdate),
    /// See [`FillCorrection`].
    FillCorrection(FillCorrection),
    /// See [`FillBust`].
    FillBust(FillBust),
    /// See [`Withheld`].
    Withheld(Withheld),
}

/// An execution of one of our orders.
#[derive(Event, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[event(kind = 1)]
#[repr(C)]
pub struct Fill {
    /// Transaction time (tag 60).
    pub exchange_time: Time,
    /// When it was received.
    pub receive_time: Time,
    /// Message number in the FIX session (tag 34).
    pub venue_sequence: u64,
    /// Symbol (55).
    pub instrument: Symbol,
    /// Price of this fill (31).
    pub price: Price,
    /// Quantity of this fill (32).
    pub quantity: Quantity,
    /// Quantity still open (151).
    pub leaves: Quantity,
    /// Trade date (75) as the number YYYYMMDD.
    pub trade_date: u32,
    /// Side (54).
    pub side: Side,
    /// Liquidity (851): `1` added, `2` removed, 0 not given.
    pub liquidity: Code,
    /// Zero.
    pub _pad: [u8; 2],
    /// Account (1).
    pub account: Text<16>,
    /// ExecID (17).
    pub execution: Text<32>,
    /// OrderID (37).
    pub order: Text<32>,
    /// ClOrdID (11).
    pub client_order: Text<32>,
}

/// A change of one of our orders other than a fill.
#[derive(Event, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[event(kind = 2)]
#[repr(C)]
pub struct OrderUpdate {
    /// Transaction time (60).
    pub exchange_time: Time,
    /// When it was received.
    pub receive_time: Time,
    /// Message number in the FIX session (34).
    pub venue_sequence: u64,
    /// Symbol (55).
    pub instrument: Symbol,
    /// Limit price (44), 0 if not given.
    pub price: Price,
    /// Order quantity (38).
    pub quantity: Quantity,
    /// Quantity filled (14).
    pub filled: Quantity,
    /// Quantity still open (151).
    pub leaves: Quantity,
    /// Trade date (75) as the number YYYYMMDD.
    pub trade_date: u32,
    /// Side (54).
    pub side: Side,
    /// ExecType (150), as FIX 4.4 writes it.
    pub execution_type: Code,
    /// OrdStatus (39).
    pub status: Code,
    /// Zero.
    pub _pad: u8,
    /// Account (1).
    pub account: Text<16>,
    /// ExecID (17).
    pub execution: Text<32>,
    /// OrderID (37).
    pub order: Text<32>,
    /// ClOrdID (11).
    pub client_order: Text<32>,
    /// OrigClOrdID (41), blank if not given.
    pub original_client_order: Text<32>,
}

/// An earlier fill is replaced by other terms (ExecType `G`).
#[derive(Event, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[event(kind = 3)]
#[repr(C)]
pub struct FillCorrection {
    /// Transaction time (tag 60).
    pub exchange_time: Time,
    /// When it was received.
    pub receive_time: Time,
    /// Message number in the FIX session (tag 34).
    pub venue_sequence: u64,
    /// Symbol (55).
    pub instrument: Symbol,
    /// Price of this fill (31).
    pub price: Price,
    /// Quantity of this fill (32).
    pub quantity: Quantity,
    /// Quantity still open (151).
    pub leaves: Quantity,
    /// Trade date (75) as the number YYYYMMDD.
    pub trade_date: u32,
    /// Side (54).
    pub side: Side,
    /// Liquidity (851): `1` added, `2` removed, 0 not given.
    pub liquidity: Code,
    /// Zero.
    pub _pad: [u8; 2],
    /// Account (1).
    pub account: Text<16>,
    /// ExecID (17).
    pub execution: Text<32>,
    /// OrderID (37).
    pub order: Text<32>,
    /// ClOrdID (11).
    pub client_order: Text<32>,
    /// ExecID of the fill that it replaces (19).
    pub reference: Text<32>,
}

/// An earlier fill is void (ExecType `H`).
#[derive(Event, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[event(kind = 4)]
#[repr(C)]
pub struct FillBust {
    /// Transaction time (60).
    pub exchange_time: Time,
    /// When it was received.
    pub receive_time: Time,
    /// Message number in the FIX session (34).
    pub venue_sequence: u64,
    /// Symbol (55).
    pub instrument: Symbol,
    /// Trade date (75) as the number YYYYMMDD.
    pub trade_date: u32,
    /// Zero.
    pub _pad: [u8; 4],
    /// Account (1).
    pub account: Text<16>,
    /// ExecID of this message (17).
    pub execution: Text<32>,
    /// ExecID of the fill that is void (19).
    pub reference: Text<32>,
}

/// An execution report that came and is not among the events of the other kinds: it cannot be kept as what it reports, or
/// may be a repetition. What it says is given as far as it can be kept, and zero or blank otherwise. It changes nothing; a
/// report that the venue sends in its place is journalled as what it is.
#[derive(Event, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[event(kind = 5)]
#[repr(C)]
pub struct Withheld {
    /// Transaction time (60).
    pub exchange_time: Time,
    /// When it was received.
    pub receive_time: Time,
    /// Message number in the FIX session (34).
    pub venue_sequence: u64,
    /// Symbol (55).
    pub instrument: Symbol,
    /// Trade date (75) as the number YYYYMMDD, or what counts in its place.
    pub trade_date: u32,
    /// Tag of the field at fault; 0 for a possible repetition, and where the fault is in no known field.
    pub tag: u32,
    /// ExecType (150).
    pub execution_type: Code,
    /// Why: [`MISSING`](Self::MISSING), [`VALUE`](Self::VALUE) or [`REPETITION`](Self::REPETITION).
    pub cause: Code,
    /// Zero.
    pub _pad: [u8; 6],
    /// Account (1).
    pub account: Text<16>,
    /// ExecID (17).
    pub execution: Text<32>,
    /// OrderID (37).
    pub order: Text<32>,
    /// ClOrdID (11).
    pub client_order: Text<32>,
}

impl Withheld {
    /// A field that is needed is not there.
    pub const MISSING: Code = Code(b'M');
    /// A value cannot be kept exactly, or is none.
    pub const VALUE: Code = Code(b'V');
    /// It may be journalled already: its number proves nothing, and it is beyond memory.
    pub const REPETITION: Code = Code(b'R');
}
