//! Shared memory, huge pages, locked memory.

use super::{Finding, System, about};
use bus::memory::{ENOUGH, REMEDY};
use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Below this a kernel that counts rings as locked memory may refuse one.
const LEAST_LOCKED: u64 = 1 << 20;

/// Size and free bytes of the file system that holds `path`.
pub(super) fn room(path: &Path) -> io::Result<(u64, u64)> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: `statvfs` is a plain C structure for which zeros are valid; `path` ends with a zero and outlives the call.
    let (result, found) = unsafe {
        let mut found: libc::statvfs = std::mem::zeroed();
        (libc::statvfs(path.as_ptr(), &raw mut found), found)
    };
    match result {
        0 => {
            Ok((found.f_blocks.saturating_mul(found.f_frsize), found.f_bavail.saturating_mul(found.f_frsize)))
        }
        _ => Err(io::Error::last_os_error()),
    }
}

/// Room for the journals' memory.
pub(super) fn shared(root: &Path) -> Finding {
    match room(root) {
        Err(error) => Finding::warn(format!("{}: {error}", root.display()), REMEDY),
        Ok((size, free)) => {
            let finding = format!("{}: {} free of {}", root.display(), about(free), about(size));
            if free >= ENOUGH { Finding::ok(finding) } else { Finding::warn(finding, REMEDY) }
        }
    }
}

/// Huge pages for shared memory. Nothing needs them, so their absence is no warning.
pub(super) fn huge_pages(system: &System) -> Finding {
    let shared = system.text("sys/kernel/mm/transparent_hugepage/shmem_enabled").unwrap_or_default();
    let mode = shared.split(['[', ']']).nth(1).unwrap_or("absent").to_owned();
    let reserved = system.number("proc/sys/vm/nr_hugepages").unwrap_or(0);
    Finding::ok(format!(
        "transparent ones for shared memory: {mode}; reserved: {reserved}; this version needs none"
    ))
}

/// How much memory this user may lock.
pub(super) fn locked() -> Finding {
    match limit(libc::RLIMIT_MEMLOCK) {
        None => Finding::ok("unlimited"),
        Some(bytes) if bytes >= LEAST_LOCKED => {
            Finding::ok(format!("{} for all processes of this user", about(bytes)))
        }
        Some(bytes) => Finding::warn(
            format!(
                "{} for all processes of this user; kernels before 5.12 take io_uring from it",
                about(bytes)
            ),
            "raise the limit on locked memory to 8 MiB (ulimit -l 8192, LimitMEMLOCK=)",
        ),
    }
}

/// The limit that is in force; `None` where there is none.
pub(super) fn limit(resource: libc::__rlimit_resource_t) -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure is ours for the call.
    let result = unsafe { libc::getrlimit(resource, &raw mut limit) };
    assert_eq!(result, 0, "a known resource has a limit");
    (limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}
