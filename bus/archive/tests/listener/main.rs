//! The listener as a client meets it, over a real bus.

mod answers;
mod client;
mod hostile;
mod reading;
