//! The listener as a client meets it, over a real bus.

mod answers;
mod client;
mod ends;
mod faults;
mod hostile;
mod program;
mod reading;
