//! Many atomics in shared memory.

#![expect(unsafe_code, reason = "reaches the atomics in their mapping")]

use std::{fmt, ops::Deref, slice};

use super::{Atomic, AtomicElement, array::array_constructors, cells::AtomicArrayCell, copying, index::check_span};
use crate::{
    Result,
    region::{Handle, resident_handle},
};

/// An array of numbers or `bool`s in shared memory that needs no lock: a slice of [`Atomic`]s by `Deref`.
///
/// Elements lie in row-major order. Slices of them go in and out at the speed of a plain copy with
/// [`load_into`](Self::load_into) and [`store_from`](Self::store_from).
///
/// # If a process dies
///
/// Every operation on one element has happened, or has not. A slice may be stored in part.
///
/// # Examples
///
/// ```
/// # fn main() -> shmkit::Result<()> {
/// use std::sync::atomic::Ordering::Relaxed;
/// use shmkit::AtomicArray;
///
/// let weights = AtomicArray::<f32>::zeros([16, 4])?;
/// weights.store_from(8, &[0.5, 0.25])?;
/// weights[9].fetch_add(1.0, Relaxed);
/// let mut row = [0.0; 4];
/// weights.load_into(8, &mut row)?;
/// assert_eq!(row, [0.5, 1.25, 0.0, 0.0]);
/// # Ok(())
/// # }
/// ```
pub struct AtomicArray<T: AtomicElement>(Handle<AtomicArrayCell<T>>);

impl<T: AtomicElement> AtomicArray<T> {
    array_constructors!(T, from_atomic_array);

    /// A copy of `elements`, in one dimension, in shared memory of its own.
    ///
    /// # Errors
    ///
    /// As [`zeros`](Self::zeros).
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// assert_eq!(shmkit::AtomicArray::from_slice(&[true, false])?.to_vec(), [true, false]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_slice(elements: &[T]) -> Result<Self> {
        let array = Self::zeros(elements.len())?;
        array.store_from(0, elements)?;
        Ok(array)
    }

    /// Loads the elements from `at` on into `buffer`, as relaxed loads of each would, at the speed of a plain copy.
    ///
    /// Each element is one that was stored; together they need not have been there at one moment.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`](crate::Error::OutOfRange).
    ///
    /// # Examples
    ///
    /// See the type.
    #[inline]
    pub fn load_into(&self, at: usize, buffer: &mut [T]) -> Result<()> {
        check_span(at, buffer.len(), self.len(), || self.shape())?;
        copying::load(&self[at..at + buffer.len()], buffer);
        Ok(())
    }

    /// Stores `elements` over those from `at` on, as relaxed stores of each would, at the speed of a plain copy.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`](crate::Error::OutOfRange).
    ///
    /// # Examples
    ///
    /// See the type.
    #[inline]
    pub fn store_from(&self, at: usize, elements: &[T]) -> Result<()> {
        check_span(at, elements.len(), self.len(), || self.shape())?;
        copying::store(&self[at..at + elements.len()], elements);
        Ok(())
    }

    /// The elements, each loaded as by [`load_into`](Self::load_into).
    ///
    /// # Examples
    ///
    /// See [`from_slice`](Self::from_slice).
    #[must_use]
    pub fn to_vec(&self) -> Vec<T> {
        copying::to_vec(self)
    }
}

impl<T: AtomicElement> Deref for AtomicArray<T> {
    type Target = [Atomic<T>];

    #[inline]
    fn deref(&self) -> &[Atomic<T>] {
        // SAFETY: the handle's body is `len` atomics of this type, for which any bits are valid; they are only ever
        // touched as atomics, and stay mapped while the handle lives.
        unsafe { slice::from_raw_parts(self.0.data().cast().as_ptr(), self.0.len()) }
    }
}

resident_handle!(AtomicArray<T: AtomicElement>, AtomicArrayCell<T>, "array");

impl<T: AtomicElement> fmt::Debug for AtomicArray<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AtomicArray").field("shape", &self.shape()).finish_non_exhaustive()
    }
}
