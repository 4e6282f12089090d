//! The kernel, io_uring, and what it allows a process.

use super::memory::limit;
use super::{Finding, System, about};

/// From this version on io_uring receives from the network as the gateway wants it.
const NETWORK_RING: (u32, u32) = (6, 1);
/// Room for a burst of 9,000 packets of a line.
const LEAST_BUFFER: u64 = 4 << 20;
/// Files of a bus with a dozen topics and as many readers, generously.
const LEAST_FILES: u64 = 1024;

/// The kernel's version.
pub(super) fn release(system: &System) -> Finding {
    let release = system.text("proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version >= NETWORK_RING {
        return Finding::ok(format!("Linux {release}"));
    }
    Finding::warn(
        format!("Linux {release}: network input goes through recvmmsg instead of io_uring"),
        "use Linux 6.1 or newer",
    )
}

/// Whether this process may use io_uring.
pub(super) fn io_uring() -> Finding {
    match journal::storage::probe() {
        Ok(()) => Finding::ok("usable"),
        Err(refused) => {
            let text = refused.to_string();
            let (finding, remedy) = text.split_once("; ").unwrap_or((&text, "see the kernel's log"));
            Finding::warn(
                format!("{finding}; the journal uses pwritev2 and the gateway recvmmsg instead"),
                remedy,
            )
        }
    }
}

/// How much a socket may hold before the kernel drops packets.
pub(super) fn socket_buffers(system: &System) -> Finding {
    match system.number("proc/sys/net/core/rmem_max") {
        None => Finding::ok("the kernel does not show their limit"),
        Some(bytes) if bytes >= LEAST_BUFFER => Finding::ok(format!("up to {}", about(bytes))),
        Some(bytes) => Finding::warn(
            format!("up to {}: a burst of market data may overflow them", about(bytes)),
            format!("sysctl net.core.rmem_max={}", LEAST_BUFFER * 4),
        ),
    }
}

/// How many files a process may open.
pub(super) fn open_files() -> Finding {
    match limit(libc::RLIMIT_NOFILE) {
        None => Finding::ok("unlimited"),
        Some(files) if files >= LEAST_FILES => Finding::ok(format!("{files} a process")),
        Some(files) => Finding::warn(
            format!("{files} a process"),
            format!("raise the limit to {LEAST_FILES} (ulimit -n, LimitNOFILE=)"),
        ),
    }
}
