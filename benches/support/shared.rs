//! Zeroed memory that forked processes share, made without the crate that is measured.

#![expect(unsafe_code, reason = "maps memory")]

use std::{ops::Deref, ptr, ptr::NonNull};

/// What may lie there.
///
/// # Safety
///
/// Zeroed memory is a valid one, that needs no drop and works across processes.
pub(crate) unsafe trait Shareable: Sync {}

// SAFETY: zero is a value of each, and they are the same in every process.
unsafe impl Shareable for std::sync::atomic::AtomicU64 {}

/// A `T` in a mapping of its own.
pub(crate) struct Shared<T>(NonNull<T>);

// SAFETY: it hands out shared references to a `Sync` type and nothing else.
unsafe impl<T: Shareable> Sync for Shared<T> {}

impl<T: Shareable> Shared<T> {
    pub(crate) fn zeroed() -> Self {
        const { assert!(align_of::<T>() <= 4096) };
        // SAFETY: a new mapping, where the kernel wants it.
        let memory = unsafe {
            libc::mmap(
                ptr::null_mut(),
                size_of::<T>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        assert_ne!(memory, libc::MAP_FAILED, "{}", std::io::Error::last_os_error());
        Self(NonNull::new(memory.cast()).expect("mapped"))
    }
}

impl<T: Shareable> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: mapped while `self` lives, aligned to a page, zeroed at first, which is a valid `T`.
        unsafe { self.0.as_ref() }
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping of `zeroed`, of which no references are left.
        unsafe { libc::munmap(self.0.as_ptr().cast(), size_of::<T>()) };
    }
}
