//! How large the file system under a path is, on disk or in memory.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A file system's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// All of it, in bytes.
    pub total: u64,
    /// What an ordinary user may still take, in bytes.
    pub free: u64,
}

/// The size of the file system that `path` lies on.
///
/// # Errors
/// `NotFound`, or whatever the system answers.
pub fn space(path: &Path) -> io::Result<Space> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: a plain C structure of integers, for which all zeros is a value.
    let mut status: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: `path` ends in a nul byte and `status` is a `statvfs` to be written to.
    if unsafe { libc::statvfs(path.as_ptr(), &raw mut status) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Space {
        total: status.f_blocks.saturating_mul(status.f_frsize),
        free: status.f_bavail.saturating_mul(status.f_frsize),
    })
}
