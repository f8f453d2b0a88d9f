//! Slices of shared elements, copied as relaxed loads and stores of each would, at the speed of a plain copy.

#![expect(unsafe_code, reason = "copies memory that others may write")]

use std::{mem::MaybeUninit, ptr, sync::atomic::Ordering::Relaxed};

use super::{Atomic, AtomicElement};
use crate::os::copy;

/// # Panics
///
/// When the lengths differ.
#[inline]
pub(crate) fn load<T: AtomicElement>(from: &[Atomic<T>], into: &mut [T]) {
    // SAFETY: a `MaybeUninit<T>` is laid out as a `T`, and only valid `T`s are written.
    load_uninit(from, unsafe { &mut *(ptr::from_mut(into) as *mut [MaybeUninit<T>]) });
}

/// Fills all of `into`.
///
/// # Panics
///
/// When the lengths differ.
#[inline]
pub(crate) fn load_uninit<T: AtomicElement>(from: &[Atomic<T>], into: &mut [MaybeUninit<T>]) {
    assert_eq!(from.len(), into.len());
    if T::ANY_BITS {
        // SAFETY: both have `len` elements, which have the size of their representation; `into` is private.
        unsafe { copy::load::<T>(from.as_ptr().cast(), into.as_mut_ptr().cast(), into.len()) };
    } else {
        for (element, atomic) in into.iter_mut().zip(from) {
            element.write(atomic.load(Relaxed));
        }
    }
}

/// # Panics
///
/// When the lengths differ.
#[inline]
pub(crate) fn store<T: AtomicElement>(into: &[Atomic<T>], from: &[T]) {
    assert_eq!(from.len(), into.len());
    // SAFETY: both have `len` elements, which have the size of their representation (a `bool` is 0 or 1, which is one
    // of its); `into` is made of atomics, so it may be written through a shared reference.
    unsafe { copy::store::<T>(from.as_ptr(), into.as_ptr().cast_mut().cast(), from.len()) };
}

pub(crate) fn to_vec<T: AtomicElement>(from: &[Atomic<T>]) -> Vec<T> {
    let mut elements = Vec::with_capacity(from.len());
    load_uninit(from, &mut elements.spare_capacity_mut()[..from.len()]);
    // SAFETY: the first `len` elements were just filled.
    unsafe { elements.set_len(from.len()) };
    elements
}
