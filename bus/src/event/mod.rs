//! Events: fixed-layout messages that are read where they lie.
//!
//! An event is a `#[repr(C)]` struct of [`Field`]s without padding. Its bytes in the publisher's memory, in the
//! shared segment and on disk are the same, little-endian. `#[derive(Event)]` on a struct proves the layout at
//! compile time; on an enum of such structs it names the kinds that one topic carries.
//!
//! ```
//! use bus::event::{Event, Price, Quantity, Symbol};
//!
//! #[derive(Event, Clone, Copy, Debug)]
//! #[repr(C)]
//! struct Quote {
//!     instrument: Symbol,
//!     bid: Price,
//!     ask: Price,
//!     size: Quantity,
//! }
//! assert_eq!(Quote::INFO.name, "quote");
//! assert_eq!(Quote::INFO.size, 32);
//! ```

pub mod decimal;
mod field;
pub mod json;
pub mod market;
pub mod risk;
pub mod schema;
pub mod trade;

pub use bus_derive::Event;
pub use field::{Bytes, Cause, Code, Field, FieldKind, Money, Price, Quantity, Side, Symbol, Text, Time};
pub use json::FrameInfo;
pub use schema::{Kind, Schema, SchemaError, SchemaField};

#[cfg(target_endian = "big")]
compile_error!("Busbar's formats are little-endian and used in place; big-endian machines are not supported");

/// A fixed-layout message.
///
/// # Safety
/// The type must be `#[repr(C)]`, consist of [`Field`]s only and have no padding, so that any bytes of its size
/// are a valid value and all its bytes are initialised. `#[derive(Event)]` checks this.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an event",
    note = "put `#[derive(Event, Clone, Copy)] #[repr(C)]` on the struct"
)]
pub unsafe trait Event: Copy + Send + Sync + 'static {
    /// Kind, name, size and fields.
    const INFO: KindInfo;
    /// The number that tells this kind from the others of its topic, 1 to 65,279.
    const KIND: u16 = Self::INFO.kind;
}

/// All that one topic carries: an event struct, or an enum of them.
pub trait Message: 'static {
    /// What a subscriber receives: `&'a T`, or the borrowed form of the enum.
    type Ref<'a>: Copy;
    /// The kinds of the topic.
    const KINDS: &'static [KindInfo];
    /// The message of a frame, or `None` for a kind or a length that is not of this topic.
    fn decode(kind: u16, body: &[u8]) -> Option<Self::Ref<'_>>;
}

/// An event that may be published to a topic of `M`.
#[diagnostic::on_unimplemented(message = "`{Self}` is not a kind of message of `{M}`")]
pub trait PartOf<M: Message>: Event {}

/// The description of an event kind, from which any program can print it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KindInfo {
    /// Number in the frame header.
    pub kind: u16,
    /// Name in JSON, snake case.
    pub name: &'static str,
    /// Bytes of the body.
    pub size: usize,
    /// Fields in order of offset.
    pub fields: &'static [FieldInfo],
}

/// One field of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldInfo {
    /// Name in JSON; fields whose name begins with `_` are padding and not printed.
    pub name: &'static str,
    /// How its bytes are read.
    pub kind: FieldKind,
    /// Bytes from the start of the body.
    pub offset: usize,
    /// Bytes.
    pub size: usize,
}

/// The event in `body`, or `None` if the length or the alignment is not that of `E`.
#[inline]
pub fn from_bytes<E: Event>(body: &[u8]) -> Option<&E> {
    let aligned = body.as_ptr().addr().is_multiple_of(align_of::<E>());
    // SAFETY: `Event` promises that any bytes of its size are a valid `E`; size and alignment are checked here, and
    // the reference lives no longer than `body`.
    (body.len() == size_of::<E>() && aligned).then(|| unsafe { &*body.as_ptr().cast::<E>() })
}

/// The bytes of an event.
#[inline]
pub fn as_bytes<E: Event>(event: &E) -> &[u8] {
    // SAFETY: `Event` promises that there is no padding, so all `size_of::<E>()` bytes are initialised.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(event).cast::<u8>(), size_of::<E>()) }
}

/// The event in `body`, for writing in place; `None` if the length or the alignment is not that of `E`.
#[inline]
pub fn from_bytes_mut<E: Event>(body: &mut [u8]) -> Option<&mut E> {
    let aligned = body.as_ptr().addr().is_multiple_of(align_of::<E>());
    // SAFETY: as in `from_bytes`; the borrow of `body` is exclusive, and any value written is bytes without padding.
    (body.len() == size_of::<E>() && aligned).then(|| unsafe { &mut *body.as_mut_ptr().cast::<E>() })
}

/// Fails to compile if two kinds of a topic share a number. Used by the derive.
#[doc(hidden)]
pub const fn assert_distinct(kinds: &[KindInfo]) {
    let mut i = 0;
    while i < kinds.len() {
        let mut j = i + 1;
        while j < kinds.len() {
            assert!(
                kinds[i].kind != kinds[j].kind,
                "two kinds of a topic have the same number: give each its own by #[event(kind = N)]"
            );
            j += 1;
        }
        i += 1;
    }
}
