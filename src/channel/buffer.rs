//! Where each thread encodes messages to.

use std::cell::Cell;

thread_local! {
    /// Taken by whoever uses it.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A buffer of more bytes is not kept for the next message.
const KEPT: usize = 1 << 16;

/// An empty buffer. To be [kept](keep) after use.
#[inline]
pub(super) fn take() -> Vec<u8> {
    // A thread at its end has none to keep.
    BUFFER.try_with(Cell::take).unwrap_or_default()
}

#[inline]
pub(super) fn keep(mut buffer: Vec<u8>) {
    if buffer.capacity() <= KEPT {
        buffer.clear();
        let _ = BUFFER.try_with(|kept| kept.set(buffer));
    }
}
