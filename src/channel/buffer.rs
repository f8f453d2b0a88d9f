//! Where each thread encodes messages to.

use std::cell::Cell;

thread_local! {
    /// Taken by whoever uses it.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A buffer of more bytes is not kept for the next message. As much as a queue holds that was not asked for another size.
const KEPT: usize = (1 << 20) + PAGE;

const PAGE: usize = 4096;

/// Makes room for so many bytes in an empty buffer.
///
/// What a message is decoded to is often allocated right behind the buffer. With whole pages for it, that would lie a few
/// bytes further in its page than the message, which makes `memcpy` slow: see [`append`](crate::os::copy::append).
#[inline]
pub(super) fn reserve(buffer: &mut Vec<u8>, count: usize) {
    if count < PAGE / 2 {
        buffer.reserve(count);
    } else if buffer.capacity() < count {
        buffer.reserve_exact(count.next_multiple_of(PAGE) + PAGE / 2);
    }
}

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
