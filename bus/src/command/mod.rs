//! The commands of `bus`.

pub(crate) mod doctor;
