//! Heap memory that `O_DIRECT` accepts.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use super::BLOCK;

/// Zeroed bytes on the heap, aligned to [`BLOCK`].
pub struct AlignedBuffer {
    bytes: NonNull<u8>,
    length: usize,
}

impl AlignedBuffer {
    /// Zeros, `length` bytes of them, rounded up to whole blocks (at least one).
    ///
    /// # Panics
    /// If the length is beyond half the address space.
    #[must_use]
    pub fn zeroed(length: usize) -> Self {
        let layout = Self::layout(length.max(1).next_multiple_of(BLOCK));
        // SAFETY: the layout's size is at least one block, so not zero.
        let bytes = unsafe { alloc_zeroed(layout) };
        let Some(bytes) = NonNull::new(bytes) else { handle_alloc_error(layout) };
        Self { bytes, length: layout.size() }
    }

    fn layout(length: usize) -> Layout {
        Layout::from_size_align(length, BLOCK).expect("a buffer within the address space")
    }
}

impl Drop for AlignedBuffer {
    fn drop(&mut self) {
        // SAFETY: allocated in `zeroed` with this very layout, and freed only here.
        unsafe { dealloc(self.bytes.as_ptr(), Self::layout(self.length)) }
    }
}

impl Deref for AlignedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the allocation is `length` initialised bytes, borrowed as long as `self`.
        unsafe { std::slice::from_raw_parts(self.bytes.as_ptr(), self.length) }
    }
}

impl DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `&mut self` makes the borrow the only one.
        unsafe { std::slice::from_raw_parts_mut(self.bytes.as_ptr(), self.length) }
    }
}

// SAFETY: the buffer owns its allocation alone; access follows the borrow of the buffer.
unsafe impl Send for AlignedBuffer {}
// SAFETY: as above; `&AlignedBuffer` gives out only shared slices.
unsafe impl Sync for AlignedBuffer {}

impl fmt::Debug for AlignedBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AlignedBuffer({} bytes)", self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_zeroed_and_whole_blocks() {
        for (asked, got) in [(0, BLOCK), (1, BLOCK), (BLOCK, BLOCK), (BLOCK + 1, 2 * BLOCK)] {
            let mut buffer = AlignedBuffer::zeroed(asked);
            assert_eq!(buffer.len(), got);
            assert!(buffer.as_ptr().addr().is_multiple_of(BLOCK));
            assert!(buffer.iter().all(|byte| *byte == 0));
            buffer[got - 1] = 7;
            assert_eq!(buffer[got - 1], 7);
        }
    }
}
