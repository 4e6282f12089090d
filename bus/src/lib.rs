//! Busbar: what users hold. Typed topics over single-writer journals.

extern crate self as bus;

pub mod event;
pub mod program;
