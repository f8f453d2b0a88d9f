//! An allocator that tells how much was asked for: for tests in which nothing that is read may cost much memory.

#![allow(unsafe_code, reason = "implements an allocator")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

/// The system's allocator.
struct Measuring;

thread_local! {
    static MOST: Cell<usize> = const { Cell::new(0) };
}

#[global_allocator]
static ALLOCATOR: Measuring = Measuring;

// SAFETY: hands every request on as it is.
unsafe impl GlobalAlloc for Measuring {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        MOST.set(MOST.get().max(layout.size()));
        // SAFETY: the caller's promises are those of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above, and the memory is `System`'s.
        unsafe { System.dealloc(memory, layout) }
    }
}

/// The most bytes that this thread has asked for at a time, since the last time that this was asked.
pub(crate) fn most_at_a_time() -> usize {
    MOST.replace(0)
}
