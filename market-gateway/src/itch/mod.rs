//! NASDAQ TotalView-ITCH 5.0: every message, read and written where it lies.
//!
//! Numbers are big-endian and unaligned; prices are `u32` (or, in [`CircuitBreakerLevels`], `u64`) with 4 (8) implied
//! decimals. The table below is the picture of each message: letter, name, bytes, then the offset of each field. Sizes
//! and offsets are checked when it is compiled. Source: *Nasdaq TotalView-ITCH 5.0*, with the additions of 2023 (`O`).
//!
//! ```
//! use market_gateway::itch::{Head, Message, OrderDelete};
//! use zerocopy::IntoBytes;
//!
//! let delete = OrderDelete { head: Head::new(OrderDelete::LETTER, 7, 34_200_000_000_000), order: 42.into() };
//! match Message::decode(delete.as_bytes()).expect("a whole message") {
//!     Message::OrderDelete(read) => assert_eq!(read.order.get(), 42),
//!     other => panic!("{other:?}"),
//! }
//! ```

pub mod day_file;

use std::fmt;

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Nanoseconds since midnight, 48 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Timestamp {
    high: U16,
    low: U32,
}

impl Timestamp {
    /// The lower 48 bits of `nanoseconds`.
    #[expect(clippy::cast_possible_truncation, reason = "the two parts are cut from the number on purpose")]
    pub fn new(nanoseconds: u64) -> Self {
        Self { high: U16::new((nanoseconds >> 32) as u16), low: U32::new(nanoseconds as u32) }
    }
    /// Nanoseconds since midnight.
    pub fn get(self) -> u64 {
        u64::from(self.high.get()) << 32 | u64::from(self.low.get())
    }
}

/// The first 11 bytes of every message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Head {
    /// Which message: the letter of its type.
    pub letter: u8,
    /// The venue's number of the instrument within the session; 0 for the whole market.
    pub locate: U16,
    /// The venue's internal tracking number.
    pub tracking: U16,
    /// When the venue made the message.
    pub timestamp: Timestamp,
}

impl Head {
    /// A head with tracking number 0, `nanoseconds` after midnight.
    pub fn new(letter: u8, locate: u16, nanoseconds: u64) -> Self {
        Self {
            letter,
            locate: U16::new(locate),
            tracking: U16::new(0),
            timestamp: Timestamp::new(nanoseconds),
        }
    }
}

/// Why bytes are not a message of ITCH 5.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItchError {
    /// There is not even a type letter.
    Empty,
    /// No message has this letter.
    UnknownType(u8),
    /// The message of this letter has another length.
    WrongLength {
        /// Letter of the type.
        letter: u8,
        /// Bytes there are.
        length: usize,
        /// Bytes that the type has.
        expected: usize,
    },
}

impl fmt::Display for ItchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "an empty message"),
            Self::UnknownType(letter) => write!(f, "unknown message type `{}`", letter.escape_ascii()),
            Self::WrongLength { letter, length, expected } => {
                write!(f, "a message `{}` of {length} bytes instead of {expected}", letter.escape_ascii())
            }
        }
    }
}

impl std::error::Error for ItchError {}

macro_rules! layouts {
    ($(
        $(#[$doc:meta])*
        $letter:literal $name:ident $size:literal { $( $(#[$field_doc:meta])* $offset:literal $field:ident: $type:ty, )* }
    )*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
            #[repr(C)]
            pub struct $name {
                /// Letter, locate, tracking number and time.
                pub head: Head,
                $( $(#[$field_doc])* pub $field: $type, )*
            }
            impl $name {
                /// Letter of the type.
                pub const LETTER: u8 = $letter;
            }
            const _: () = {
                assert!(size_of::<$name>() == $size);
                $( assert!(std::mem::offset_of!($name, $field) == $offset); )*
            };
        )*

        /// A message of any type, borrowed from the bytes it came in.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Message<'a> {
            $( $(#[$doc])* $name(&'a $name), )*
        }

        impl<'a> Message<'a> {
            /// The message that `bytes` are, no more and no less.
            ///
            /// # Errors
            /// An unknown type letter, or a length that is not the type's own.
            #[inline]
            pub fn decode(bytes: &'a [u8]) -> Result<Self, ItchError> {
                let &letter = bytes.first().ok_or(ItchError::Empty)?;
                match letter {
                    $( $letter => $name::ref_from_bytes(bytes).map(Message::$name).map_err(|_| {
                        ItchError::WrongLength { letter, length: bytes.len(), expected: $size }
                    }), )*
                    _ => Err(ItchError::UnknownType(letter)),
                }
            }

            /// Letter, locate, tracking number and time.
            #[inline]
            pub fn head(&self) -> &'a Head {
                match self { $( Message::$name(message) => &message.head, )* }
            }
        }

        /// Bytes of the message of a letter, or `None` for an unknown one.
        pub const fn length(letter: u8) -> Option<usize> {
            match letter {
                $( $letter => Some($size), )*
                _ => None,
            }
        }

        /// The letters of all types.
        pub const LETTERS: &[u8] = &[$($letter),*];
    };
}

layouts! {
    /// `S` A moment of the whole market's day.
    b'S' SystemEvent 12 {
        /// `O` start of messages, `S` start of system hours, `Q` of market hours; `M` end of market hours, `E` of
        /// system hours, `C` of messages.
        11 code: u8,
    }
    /// `R` An instrument and its static data; binds the locate number to the symbol.
    b'R' StockDirectory 39 {
        /// Symbol.
        11 stock: [u8; 8],
        /// Market category.
        19 category: u8,
        /// Financial status.
        20 status: u8,
        /// Shares of a round lot.
        21 round_lot: U32,
        /// `Y` if only round lots may be entered.
        25 round_lots_only: u8,
        /// Classification of the issue.
        26 classification: u8,
        /// Sub-type of the issue.
        27 sub_type: [u8; 2],
        /// `P` production, `T` test.
        29 authenticity: u8,
        /// Short sale threshold.
        30 short_sale_threshold: u8,
        /// Whether it is a new issue.
        31 ipo: u8,
        /// Tier of limit up, limit down.
        32 luld_tier: u8,
        /// Whether it is an exchange-traded product.
        33 etp: u8,
        /// Leverage of the product.
        34 etp_leverage: U32,
        /// Whether the product is inverse.
        38 inverse: u8,
    }
    /// `H` Trading of an instrument is halted, paused, quoting only, or goes on.
    b'H' TradingAction 25 {
        /// Symbol.
        11 stock: [u8; 8],
        /// `H` halted, `P` paused, `Q` quotation only, `T` trading.
        19 state: u8,
        /// Reserved.
        20 reserved: u8,
        /// Reason.
        21 reason: [u8; 4],
    }
    /// `h` An operational halt of one market centre begins or ends.
    b'h' OperationalHalt 21 {
        /// Symbol.
        11 stock: [u8; 8],
        /// Market centre: `Q` NASDAQ, `B` BX, `X` PSX.
        19 market: u8,
        /// `H` halted, `T` lifted.
        20 action: u8,
    }
    /// `Y` Short sale price test restriction.
    b'Y' ShortSaleRestriction 20 {
        /// Symbol.
        11 stock: [u8; 8],
        /// `0` none, `1` in effect, `2` remains.
        19 action: u8,
    }
    /// `L` The position of a market participant in an instrument.
    b'L' ParticipantPosition 26 {
        /// Market participant.
        11 participant: [u8; 4],
        /// Symbol.
        15 stock: [u8; 8],
        /// Whether it is a primary market maker.
        23 primary: u8,
        /// Mode of the market maker.
        24 mode: u8,
        /// State of the participant.
        25 state: u8,
    }
    /// `V` The levels of the market-wide circuit breaker, prices with 8 decimals.
    b'V' CircuitBreakerLevels 35 {
        /// Level 1.
        11 level_1: U64,
        /// Level 2.
        19 level_2: U64,
        /// Level 3.
        27 level_3: U64,
    }
    /// `W` A level of the market-wide circuit breaker was breached.
    b'W' CircuitBreakerBreach 12 {
        /// `1`, `2` or `3`.
        11 level: u8,
    }
    /// `K` When and at what price quoting of a new issue begins.
    b'K' IpoQuoting 28 {
        /// Symbol.
        11 stock: [u8; 8],
        /// Seconds since midnight.
        19 release_time: U32,
        /// `A` anticipated, `C` cancelled or postponed.
        23 qualifier: u8,
        /// Price.
        24 price: U32,
    }
    /// `J` The price collar of an auction after a limit-up, limit-down pause.
    b'J' AuctionCollar 35 {
        /// Symbol.
        11 stock: [u8; 8],
        /// Reference price.
        19 reference_price: U32,
        /// Upper price.
        23 upper_price: U32,
        /// Lower price.
        27 lower_price: U32,
        /// Number of extensions.
        31 extensions: U32,
    }
    /// `A` An order rests in the book, without attribution.
    b'A' AddOrder 36 {
        /// Reference of the order, unique in the session.
        11 order: U64,
        /// `B` or `S`.
        19 side: u8,
        /// Displayed shares.
        20 shares: U32,
        /// Symbol.
        24 stock: [u8; 8],
        /// Price.
        32 price: U32,
    }
    /// `F` An order rests in the book, attributed to a participant.
    b'F' AttributedOrder 40 {
        /// Reference of the order, unique in the session.
        11 order: U64,
        /// `B` or `S`.
        19 side: u8,
        /// Displayed shares.
        20 shares: U32,
        /// Symbol.
        24 stock: [u8; 8],
        /// Price.
        32 price: U32,
        /// Market participant.
        36 participant: [u8; 4],
    }
    /// `E` A resting order trades at its own price.
    b'E' OrderExecuted 31 {
        /// Reference of the order.
        11 order: U64,
        /// Shares executed.
        19 shares: U32,
        /// Number of the match.
        23 match_number: U64,
    }
    /// `C` A resting order trades at another price than its own.
    b'C' OrderExecutedAtPrice 36 {
        /// Reference of the order.
        11 order: U64,
        /// Shares executed.
        19 shares: U32,
        /// Number of the match.
        23 match_number: U64,
        /// `Y` counts as volume, `N` does not.
        31 printable: u8,
        /// Price of the execution.
        32 price: U32,
    }
    /// `X` A resting order becomes smaller.
    b'X' OrderCancel 23 {
        /// Reference of the order.
        11 order: U64,
        /// Shares taken away.
        19 shares: U32,
    }
    /// `D` A resting order leaves the book.
    b'D' OrderDelete 19 {
        /// Reference of the order.
        11 order: U64,
    }
    /// `U` A resting order is replaced; side, symbol and participant are those of the old one.
    b'U' OrderReplace 35 {
        /// Reference of the order that leaves.
        11 order: U64,
        /// Reference of the order that takes its place.
        19 new_order: U64,
        /// Displayed shares.
        27 shares: U32,
        /// Price.
        31 price: U32,
    }
    /// `P` A trade with an order that was not displayed.
    b'P' NonCrossTrade 44 {
        /// Reference of the order: 0.
        11 order: U64,
        /// `B` always.
        19 side: u8,
        /// Shares.
        20 shares: U32,
        /// Symbol.
        24 stock: [u8; 8],
        /// Price.
        32 price: U32,
        /// Number of the match.
        36 match_number: U64,
    }
    /// `Q` The trade of an auction.
    b'Q' CrossTrade 40 {
        /// Shares.
        11 shares: U64,
        /// Symbol.
        19 stock: [u8; 8],
        /// Price.
        27 price: U32,
        /// Number of the match.
        31 match_number: U64,
        /// `O` opening, `C` closing, `H` halt or IPO, `I` intraday.
        39 cross: u8,
    }
    /// `B` A trade is declared void.
    b'B' BrokenTrade 19 {
        /// Number of the match.
        11 match_number: U64,
    }
    /// `I` Net order imbalance before an auction.
    b'I' Imbalance 50 {
        /// Shares paired at the reference price.
        11 paired_shares: U64,
        /// Shares of the imbalance.
        19 imbalance_shares: U64,
        /// `B`, `S`, `N` none, `O` not enough orders, `P` paused.
        27 direction: u8,
        /// Symbol.
        28 stock: [u8; 8],
        /// Far price.
        36 far_price: U32,
        /// Near price.
        40 near_price: U32,
        /// Reference price.
        44 reference_price: U32,
        /// Which auction.
        48 cross: u8,
        /// How far the near price is from the reference price.
        49 price_variation: u8,
    }
    /// `N` Retail price improvement indicator.
    b'N' RetailInterest 20 {
        /// Symbol.
        11 stock: [u8; 8],
        /// `B`, `S`, `A` both, `N` none.
        19 interest: u8,
    }
    /// `O` Direct listing with capital raise: price range and state of the opening.
    b'O' DirectListing 48 {
        /// Symbol.
        11 stock: [u8; 8],
        /// `Y` if it may be released for trading.
        19 open_eligibility: u8,
        /// Lowest price allowed.
        20 lowest_price: U32,
        /// Highest price allowed.
        24 highest_price: U32,
        /// Near execution price.
        28 near_price: U32,
        /// Time of the near execution price.
        32 near_time: U64,
        /// Lower collar.
        40 lower_collar: U32,
        /// Upper collar.
        44 upper_collar: U32,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_type_decodes_from_its_own_length_only() {
        for &letter in LETTERS {
            let expected = length(letter).expect("a listed letter");
            for bytes in 1..80 {
                let mut message = vec![0; bytes];
                message[0] = letter;
                match Message::decode(&message) {
                    Ok(decoded) => {
                        assert_eq!(bytes, expected);
                        assert_eq!(decoded.head().letter, letter);
                    }
                    Err(error) => {
                        assert_ne!(bytes, expected);
                        assert_eq!(error, ItchError::WrongLength { letter, length: bytes, expected });
                    }
                }
            }
        }
        assert_eq!(LETTERS.len(), 23);
    }

    #[test]
    fn strangers_are_typed() {
        assert_eq!(Message::decode(b""), Err(ItchError::Empty));
        assert_eq!(Message::decode(b"Z1234567890"), Err(ItchError::UnknownType(b'Z')));
    }

    #[test]
    fn a_real_add_order_reads_as_the_venue_meant_it() {
        let bytes = b"A\x00\x01\x00\x00*\x91\xb1\xf0\x13;\x00\x00\x00\x00\x00\x00\x00\x01B\x00\x00\x00\x02ESH4    \x02\xdcD\xf0";
        let Ok(Message::AddOrder(order)) = Message::decode(bytes) else { panic!("no add order") };
        assert_eq!(order.head.locate.get(), 1);
        assert_eq!(order.head.timestamp.get(), 46_805_243_925_307);
        assert_eq!((order.order.get(), order.side, order.shares.get()), (1, b'B', 2));
        assert_eq!((&order.stock, order.price.get()), (b"ESH4    ", 47_990_000));
    }

    proptest! {
        #[test]
        fn decoding_never_panics_and_gives_back_the_same_bytes(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(Message::AttributedOrder(order)) = Message::decode(&bytes) {
                prop_assert_eq!(order.as_bytes(), &bytes[..]);
            }
        }

        #[test]
        fn timestamps_keep_48_bits(nanoseconds in 0u64..1 << 48) {
            prop_assert_eq!(Timestamp::new(nanoseconds).get(), nanoseconds);
        }
    }
}
