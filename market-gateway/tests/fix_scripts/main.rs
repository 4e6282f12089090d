//! The FIX session against a scripted peer: each fault once, and a counter that proves that it happened.

mod memory;
mod messages;
mod numbers;
mod random;
mod script;
mod withheld;
