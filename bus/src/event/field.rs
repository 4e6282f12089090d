//! The types that fields of events may have. Each is valid for any bytes and prints itself in one JSON form.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// How the bytes of a field are read and printed. The numbers are part of a topic's schema on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum FieldKind {
    /// Unsigned little-endian integer of 1, 2, 4 or 8 bytes.
    Unsigned = 1,
    /// Signed little-endian integer of 1, 2, 4, 8 or 16 bytes.
    Signed = 2,
    /// [`Time`].
    Time = 3,
    /// [`Price`].
    Price = 4,
    /// [`Quantity`].
    Quantity = 5,
    /// [`Money`].
    Money = 6,
    /// [`Text`].
    Text = 7,
    /// [`Bytes`] or `[u8; N]`.
    Bytes = 8,
    /// [`Side`].
    Side = 9,
    /// [`Code`].
    Code = 10,
    /// [`Cause`].
    Cause = 11,
}

/// A type that may stand in an event: plain bytes of fixed size, any of which is a valid value.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a field of an event",
    note = "fields are integers of fixed size, `[u8; N]`, or types of `bus::event`: `Price` for decimals, `Text` for \
            text, `u8` for a flag"
)]
pub trait Field: FromBytes + IntoBytes + Immutable + KnownLayout + Copy + Send + Sync + 'static {
    /// How it is printed.
    const KIND: FieldKind;
}

macro_rules! fields {
    ($($kind:ident: $($type:ty),*;)*) => { $($(impl Field for $type { const KIND: FieldKind = FieldKind::$kind; })*)* };
}
fields! {
    Unsigned: u8, u16, u32, u64;
    Signed: i8, i16, i32, i64, i128;
    Time: Time;
    Price: Price;
    Quantity: Quantity;
    Money: Money;
    Side: Side;
    Code: Code;
    Cause: Cause;
}
impl<const N: usize> Field for Text<N> {
    const KIND: FieldKind = FieldKind::Text;
}
impl<const N: usize> Field for Bytes<N> {
    const KIND: FieldKind = FieldKind::Bytes;
}
impl<const N: usize> Field for [u8; N] {
    const KIND: FieldKind = FieldKind::Bytes;
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
        )]
        #[repr(transparent)]
        pub struct $name(pub $inner);
    };
}

number! {
    /// Nanoseconds since the Unix epoch; 0 is "not known".
    Time(u64)
}
number! {
    /// A price in units of 1e-9 of the currency.
    Price(i64)
}
number! {
    /// A quantity in the instrument's lot scale (shares or contracts, unless the instrument says otherwise).
    Quantity(i64)
}
number! {
    /// An amount of money in units of 1e-9 of the currency: price × quantity, exactly.
    Money(i128)
}
number! {
    /// Side of an order: `B` buy, `S` sell; anything else is unknown.
    Side(u8)
}
number! {
    /// One ASCII character with a meaning that its field explains; 0 is "not given".
    Code(u8)
}

impl Price {
    /// Units in one whole of the currency.
    pub const SCALE: i64 = 1_000_000_000;
    /// Exact value of `quantity` at this price.
    pub fn times(self, quantity: Quantity) -> Money {
        Money(i128::from(self.0) * i128::from(quantity.0))
    }
}

impl Side {
    /// A buy order.
    pub const BUY: Self = Self(b'B');
    /// A sell order.
    pub const SELL: Self = Self(b'S');
    /// 1 for buy, −1 for sell, 0 for unknown.
    pub fn sign(self) -> i64 {
        match self {
            Self::BUY => 1,
            Self::SELL => -1,
            _ => 0,
        }
    }
}

/// ASCII text of at most `N` bytes, padded with spaces or zeros at the end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct Text<const N: usize>(pub [u8; N]);

/// An instrument's symbol, as the venue writes it, padded with spaces.
pub type Symbol = Text<8>;

impl<const N: usize> Text<N> {
    /// The text, padded with spaces; `None` if it is longer than `N` bytes.
    pub fn new(text: &str) -> Option<Self> {
        let mut bytes = [b' '; N];
        bytes.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        Some(Self(bytes))
    }
    /// Its bytes without the padding.
    pub fn trimmed(&self) -> &[u8] {
        let end = self.0.iter().rposition(|b| !matches!(b, b' ' | 0)).map_or(0, |last| last + 1);
        &self.0[..end]
    }
    /// Whether nothing but padding is in it.
    pub fn is_blank(&self) -> bool {
        self.trimmed().is_empty()
    }
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Self([b' '; N])
    }
}

impl<const N: usize> std::fmt::Display for Text<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&String::from_utf8_lossy(self.trimmed()))
    }
}

impl<const N: usize> std::fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(self.trimmed()))
    }
}

/// `N` opaque bytes, printed as hexadecimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct Bytes<const N: usize>(pub [u8; N]);

impl<const N: usize> Default for Bytes<N> {
    fn default() -> Self {
        Self([0; N])
    }
}

/// The message that an effect follows from. Every event of a derived topic begins with it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Cause {
    /// Sequence of the causing message in its journal.
    pub sequence: u64,
    /// Epoch of the causing message.
    pub epoch: u32,
    /// Which input: index in the topic's list of inputs; [`Cause::NONE`] for an act without cause in a journal.
    pub input: u16,
    /// Position of this effect among the effects of its cause, from 0.
    pub index: u16,
}

impl Cause {
    /// `input` of an event that no journalled message caused, such as a configuration.
    pub const NONE: u16 = u16::MAX;
}
