//! placeholder

pub mod instance;
pub mod lock;
pub mod memory;
pub mod storage;
