//! The provided-buffer ring: memory that the kernel fills with packets and we give back.
//!
//! The kernel takes buffers from a ring of 16-byte entries that both sides see; we own its tail. The crate `io-uring`
//! describes an entry and no more, so the memory, the tail and the proof that a buffer has one owner at a time are
//! here, and every `unsafe` of the buffers with them.

use std::io;
use std::ops::Deref;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

/// The kernel's limit of entries in one ring.
pub(super) const MOST_BUFFERS: u16 = 1 << 15;
/// The only buffer group of a ring.
pub(super) const GROUP: u16 = 0;

/// Anonymous memory, page-aligned, in place before use, unmapped at the end.
struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

impl Mapping {
    fn new(length: usize) -> io::Result<Self> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE;
        // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no memory of ours.
        let start = unsafe { libc::mmap(ptr::null_mut(), length, access, kind, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, length })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is the one that `new` mapped; nothing of it is used after its owner is dropped.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

/// Buffers of equal size, each either lent to the kernel or taken by us.
pub(super) struct BufferRing {
    entries: Mapping,
    data: Mapping,
    count: u16,
    size: usize,
    /// Entries ever offered, modulo 2^16. The kernel sees it only after [`Self::publish`].
    tail: u16,
}

// SAFETY: the mappings belong to this value alone and any thread may unmap them; shared access gives no access to them.
unsafe impl Send for BufferRing {}

impl BufferRing {
    /// A ring of `count` buffers (a power of two) of `size` bytes, all of them offered.
    pub(super) fn new(count: u16, size: usize) -> io::Result<Self> {
        assert!(
            count.is_power_of_two() && count <= MOST_BUFFERS,
            "the number of buffers is a power of two up to 32,768"
        );
        assert!(
            size > 0 && u32::try_from(size).is_ok(),
            "the kernel counts the bytes of a buffer in 32 bits"
        );
        let entries = Mapping::new(usize::from(count) * size_of::<BufRingEntry>())?;
        let data = Mapping::new(usize::from(count) * size)?;
        let mut ring = Self { entries, data, count, size, tail: 0 };
        for id in 0..count {
            ring.offer(id);
        }
        ring.publish();
        Ok(ring)
    }

    /// Makes the buffers known to a ring as group [`GROUP`].
    ///
    /// # Safety
    /// `self` must live until that ring is closed.
    pub(super) unsafe fn register(&self, submitter: &Submitter<'_>) -> io::Result<()> {
        let address = self.entries.start.as_ptr().addr() as u64;
        // SAFETY: the entries are page-aligned, `count` of them are mapped, and the caller keeps them.
        unsafe { submitter.register_buf_ring_with_flags(address, self.count, GROUP, 0) }
    }

    /// The first `length` bytes (at most all) of buffer `id`; when the result is dropped, the buffer is offered again.
    /// `None` if there is no such buffer.
    ///
    /// # Safety
    /// `id` must come from a completion of this group, each completion used once: then the kernel has let go of the
    /// buffer and nobody else has it.
    pub(super) unsafe fn take(&mut self, id: u16, length: usize) -> Option<Taken<'_>> {
        (id < self.count).then(|| Taken { length: length.min(self.size), ring: self, id })
    }

    /// Shows the kernel what was offered since the last call.
    pub(super) fn publish(&mut self) {
        let first = self.entries.start.as_ptr().cast::<BufRingEntry>();
        // SAFETY: `first` is the initialised first entry, in whose reserved field the tail lies, aligned for a `u16`,
        // as long as `entries` lives; both sides access it atomically only.
        let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(first).cast_mut()) };
        // ORDERING: the kernel's acquire load of the tail when it selects a buffer; the entries are written before.
        tail.store(self.tail, Ordering::Release);
    }

    fn offer(&mut self, id: u16) {
        let slot = usize::from(self.tail & (self.count - 1));
        let address = self.data.start.as_ptr().addr() + usize::from(id) * self.size;
        // SAFETY: `slot` is below `count`, so the entry is mapped, and it lies beyond the published tail, where the
        // kernel does not look. Single fields are written because the first entry's last field is the tail itself.
        let entry = unsafe { &mut *self.entries.start.as_ptr().cast::<BufRingEntry>().add(slot) };
        entry.set_addr(address as u64);
        entry.set_len(self.size as u32);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
    }
}

/// A buffer that the kernel has filled; offered again when dropped.
pub(super) struct Taken<'a> {
    ring: &'a mut BufferRing,
    id: u16,
    length: usize,
}

impl Deref for Taken<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `take` checked `id` and `length`; its caller vouches that the kernel has let go of the buffer until
        // it is offered again, which the drop of `self` does. The mapping was zeroed by the kernel.
        unsafe {
            let start = self.ring.data.start.as_ptr().add(usize::from(self.id) * self.ring.size);
            slice::from_raw_parts(start, self.length)
        }
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.ring.offer(self.id);
    }
}
