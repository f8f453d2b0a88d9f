//! Checked access to the bytes of a mapping.
//!
//! Whatever lies in a region may be wrong, and may change while it is looked at. So nothing is reached by a plain
//! reference to the bytes: a place is an offset, checked for bounds and alignment, and what lies there is atomics.

#![expect(unsafe_code, reason = "turns checked offsets into references")]

use std::{marker::PhantomData, ptr::NonNull};

use crate::{Error, Result};

/// Types that may be looked at in any bytes that any process may change at any time.
///
/// # Safety
///
/// `#[repr(C)]` or `#[repr(transparent)]`, of atomics only (or cells that nobody touches without a lock): every bit
/// pattern is a value, and a reference promises nothing about the contents.
pub(crate) unsafe trait Shared {}

// SAFETY: an atomic.
unsafe impl Shared for std::sync::atomic::AtomicU8 {}
// SAFETY: an atomic.
unsafe impl Shared for std::sync::atomic::AtomicU64 {}
// SAFETY: atomics.
unsafe impl Shared for [std::sync::atomic::AtomicU64; 2] {}
// SAFETY: atomics in `repr(C)`.
unsafe impl Shared for crate::raw::mutex::RawMutex {}
// SAFETY: atomics in `repr(C)`.
unsafe impl Shared for crate::raw::claims::ClaimWords {}
// SAFETY: atomics in `repr(C)`.
unsafe impl Shared for crate::raw::claims::PoisonList {}
// SAFETY: atomics in `repr(C)`.
unsafe impl Shared for crate::raw::claims::ClaimSlot {}
// SAFETY: nothing at all.
unsafe impl Shared for [u8; 0] {}

/// A mapped stretch of memory, of which every access is checked.
///
/// Invariant: `base` is the start of `len` mapped bytes that stay so for `'a`; `base` is aligned to a page.
#[derive(Clone, Copy)]
pub(crate) struct Memory<'a> {
    base: NonNull<u8>,
    len: u64,
    _mapped: PhantomData<&'a [u8]>,
}

impl<'a> Memory<'a> {
    /// # Safety
    ///
    /// The invariant of the type.
    #[inline]
    pub(crate) unsafe fn new(base: NonNull<u8>, len: usize) -> Self {
        Self { base, len: len as u64, _mapped: PhantomData }
    }

    pub(crate) fn len(self) -> u64 {
        self.len
    }

    /// Where a pointer into it leads.
    pub(super) fn offset_of(self, place: NonNull<u8>) -> u64 {
        (place.addr().get() - self.base.addr().get()) as u64
    }

    /// A pointer to `size` bytes at `offset`.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] when they do not lie in the region or are not aligned to `align`, a power of two up to 4096.
    #[inline]
    pub(crate) fn bytes(self, offset: u64, size: u64, align: u64) -> Result<NonNull<u8>> {
        self.find(offset, size, align).ok_or_else(|| self.no_such(offset, size, align))
    }

    #[inline]
    fn find(self, offset: u64, size: u64, align: u64) -> Option<NonNull<u8>> {
        if offset.checked_add(size)? > self.len || offset & (align - 1) != 0 {
            return None;
        }
        // SAFETY: `offset` is at most `len`, so the sum stays in, or at the end of, the mapping.
        Some(unsafe { self.base.add(offset as usize) })
    }

    #[cold]
    fn no_such(self, offset: u64, size: u64, align: u64) -> Error {
        if offset & (align - 1) != 0 {
            return Error::corrupt(format!("offset {offset} is not a multiple of {align}"));
        }
        Error::corrupt(format!("{size} bytes at {offset} do not fit in {} bytes", self.len))
    }

    /// What lies at `offset`.
    pub(crate) fn at<T: Shared>(self, offset: u64) -> Result<&'a T> {
        self.get(offset).ok_or_else(|| self.no_such(offset, size_of::<T>() as u64, align_of::<T>() as u64))
    }

    /// The same without a reason why not, where time counts.
    #[inline]
    pub(crate) fn get<T: Shared>(self, offset: u64) -> Option<&'a T> {
        let place = self.find(offset, size_of::<T>() as u64, align_of::<T>() as u64)?.cast::<T>();
        // SAFETY: `find` checked bounds and alignment; `Shared` makes any contents valid and any change allowed; the
        // memory stays mapped for `'a`.
        Some(unsafe { place.as_ref() })
    }

    /// `count` of them from `offset` on.
    pub(crate) fn slice<T: Shared>(self, offset: u64, count: u64) -> Result<&'a [T]> {
        self.get_slice(offset, count)
            .ok_or_else(|| self.no_such(offset, count.saturating_mul(size_of::<T>() as u64), align_of::<T>() as u64))
    }

    /// The same without a reason why not.
    #[inline]
    pub(crate) fn get_slice<T: Shared>(self, offset: u64, count: u64) -> Option<&'a [T]> {
        let size = count.checked_mul(size_of::<T>() as u64)?;
        let place = self.find(offset, size, align_of::<T>() as u64)?.cast::<T>();
        // SAFETY: as in `get`, for each of `count` elements.
        Some(unsafe { std::slice::from_raw_parts(place.as_ptr(), count as usize) })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    use super::*;

    #[test]
    fn nothing_outside_is_reached() {
        #[repr(align(4096))]
        struct Page([AtomicU64; 4]);
        let page = Page([const { AtomicU64::new(7) }; 4]);
        // SAFETY: `page` is 32 bytes, aligned, and outlives `memory`.
        let memory = unsafe { Memory::new(NonNull::from(&page).cast(), 32) };
        assert_eq!(memory.at::<AtomicU64>(24).unwrap().load(Relaxed), 7);
        for (offset, size, align) in [(25, 8, 1), (32, 1, 1), (u64::MAX, 1, 1), (4, u64::MAX, 1), (12, 8, 8)] {
            assert!(memory.bytes(offset, size, align).is_err(), "{offset} {size} {align}");
        }
        assert!(memory.bytes(32, 0, 8).is_ok());
        assert!(memory.slice::<AtomicU64>(8, u64::MAX / 4).is_err());
        assert_eq!(memory.slice::<AtomicU64>(8, 3).unwrap().len(), page.0.len() - 1);
    }
}
