//! placeholder

pub mod lock;
pub mod memory;
pub mod storage;
