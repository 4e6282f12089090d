//! placeholder

pub mod memory;
pub mod storage;
