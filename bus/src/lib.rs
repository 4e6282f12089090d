//! Busbar: what users hold. Typed topics over single-writer journals.

extern crate self as bus;

pub mod agent;
pub mod clock;
pub mod config;
pub mod event;
pub mod machine;
pub mod plan;
pub mod program;
pub mod wait;
