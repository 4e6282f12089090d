//! Input that was applied in part or not at all. Nothing of it is an error of the engine; all of it is counted.

/// Why a message was not applied as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Oddity {
    /// A change of an order that is not in any book: joined late, a gap, or hostile input.
    UnknownOrder,
    /// An order whose reference is already in a book; the first stays.
    DuplicateOrder,
    /// More was executed or taken away than was left; what was left counts.
    MoreThanLeft,
    /// A quantity of zero or less.
    InvalidQuantity,
    /// A side that is neither buy nor sell.
    UnknownSide,
    /// A sum of a book would leave its range; the message does not count.
    BookOverflow,
    /// More than [`MAX_ORDERS`](crate::MAX_ORDERS) resting orders.
    RefusedOrder,
    /// More than [`MAX_INSTRUMENTS`](crate::MAX_INSTRUMENTS) instruments.
    RefusedInstrument,
    /// A gap of no messages, or the end of one that is not open.
    UnknownGap,
    /// More than [`MAX_GAPS`](crate::MAX_GAPS) open gaps; the books stay stale until a new session.
    RefusedGap,
    /// A fill or correction without quantity or side.
    InvalidFill,
    /// A bust or correction of a fill that never was, or is void already.
    UnknownReference,
    /// A bust or correction of a fill that is no longer retained: the position keeps the fill and is flagged.
    ForgottenFill,
    /// A position would leave its range; it keeps its state and is flagged.
    PositionOverflow,
    /// More than [`MAX_POSITIONS`](crate::MAX_POSITIONS) positions.
    RefusedPosition,
    /// An execution report that the gateway withheld: positions may lack it.
    WithheldExecution,
    /// A limit of a kind that this engine does not know.
    UnknownLimit,
    /// More than [`MAX_SETTINGS`](crate::MAX_SETTINGS) limits or fees.
    RefusedSetting,
}

impl Oddity {
    /// All of them, in a fixed order.
    pub const ALL: [Self; 18] = [
        Self::UnknownOrder,
        Self::DuplicateOrder,
        Self::MoreThanLeft,
        Self::InvalidQuantity,
        Self::UnknownSide,
        Self::BookOverflow,
        Self::RefusedOrder,
        Self::RefusedInstrument,
        Self::UnknownGap,
        Self::RefusedGap,
        Self::InvalidFill,
        Self::UnknownReference,
        Self::ForgottenFill,
        Self::PositionOverflow,
        Self::RefusedPosition,
        Self::WithheldExecution,
        Self::UnknownLimit,
        Self::RefusedSetting,
    ];

    /// Its name in summaries, snake case.
    pub fn name(self) -> &'static str {
        match self {
            Self::UnknownOrder => "unknown_order",
            Self::DuplicateOrder => "duplicate_order",
            Self::MoreThanLeft => "more_than_left",
            Self::InvalidQuantity => "invalid_quantity",
            Self::UnknownSide => "unknown_side",
            Self::BookOverflow => "book_overflow",
            Self::RefusedOrder => "refused_order",
            Self::RefusedInstrument => "refused_instrument",
            Self::UnknownGap => "unknown_gap",
            Self::RefusedGap => "refused_gap",
            Self::InvalidFill => "invalid_fill",
            Self::UnknownReference => "unknown_reference",
            Self::ForgottenFill => "forgotten_fill",
            Self::PositionOverflow => "position_overflow",
            Self::RefusedPosition => "refused_position",
            Self::WithheldExecution => "withheld_execution",
            Self::UnknownLimit => "unknown_limit",
            Self::RefusedSetting => "refused_setting",
        }
    }
}

/// How often each [`Oddity`] was met since the state was created or restored. Not part of the state hash.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Oddities([u64; Oddity::ALL.len()]);

impl Oddities {
    #[cold]
    pub(crate) fn note(&mut self, oddity: Oddity) {
        self.0[oddity as usize] += 1;
    }

    /// How often `oddity` was met.
    pub fn count(&self, oddity: Oddity) -> u64 {
        self.0[oddity as usize]
    }

    /// Those that were met, with their counts.
    pub fn met(&self) -> impl Iterator<Item = (Oddity, u64)> + '_ {
        Oddity::ALL.into_iter().map(|oddity| (oddity, self.count(oddity))).filter(|&(_, count)| count > 0)
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            *count += more;
        }
    }
}
