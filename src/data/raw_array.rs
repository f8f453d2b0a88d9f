//! An array in shared memory without a lock.

#![expect(unsafe_code, reason = "hands out slices on the caller's word")]

use std::{fmt, slice};

use bytemuck::Pod;

use super::{array::array_constructors, cells::RawArrayCell};
use crate::region::{Handle, resident_handle};

/// An array of plain data in shared memory whose users arrange among themselves who touches what.
///
/// # If a process dies
///
/// Nobody is told, and nothing is held: whatever it was writing stays as it is.
///
/// # Examples
///
/// ```
/// # fn main() -> shmkit::Result<()> {
/// let array = shmkit::RawArray::<f32>::zeros(1024)?;
/// // SAFETY: nobody else knows of the array.
/// let slice = unsafe { array.as_mut_slice() };
/// slice.fill(1.0);
/// assert_eq!(slice.iter().sum::<f32>(), 1024.0);
/// # Ok(())
/// # }
/// ```
pub struct RawArray<T: Pod>(Handle<RawArrayCell<T>>);

impl<T: Pod> RawArray<T> {
    array_constructors!(T, from_raw_array);

    /// As `Array::zeros_without_memory`.
    #[cfg(feature = "mpi")]
    pub(crate) fn zeros_without_memory(shape: &impl crate::Shape) -> crate::Result<Self> {
        Handle::new_without_memory(super::shape::dims(shape)?).map(Self)
    }

    /// As `Array::commit`.
    #[cfg(feature = "mpi")]
    pub(crate) fn commit(&self, elements: std::ops::Range<usize>) -> crate::Result<()> {
        self.0.commit(elements)
    }

    /// The elements.
    ///
    /// # Safety
    ///
    /// While the slice lives, nobody in any process writes to the elements.
    ///
    /// # Examples
    ///
    /// See the type.
    #[must_use]
    pub unsafe fn as_slice(&self) -> &[T] {
        // SAFETY: the handle's `len` elements lie there, any bits are a `T`, and the caller keeps writers away.
        unsafe { slice::from_raw_parts(self.as_ptr(), self.len()) }
    }

    /// The elements, to be changed.
    ///
    /// # Safety
    ///
    /// While the slice lives, nobody else in any process, this one included, reads or writes the elements.
    ///
    /// # Examples
    ///
    /// See the type.
    #[must_use]
    #[expect(clippy::mut_from_ref, reason = "exclusiveness across processes is the caller's promise, not the borrow's")]
    pub unsafe fn as_mut_slice(&self) -> &mut [T] {
        // SAFETY: as in `as_slice`, and the caller keeps readers away too.
        unsafe { slice::from_raw_parts_mut(self.as_mut_ptr(), self.len()) }
    }

    /// The first element. Valid while the handle, or a clone of it, lives.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let array = shmkit::RawArray::<u64>::zeros(100)?;
    /// assert!(array.as_ptr().is_aligned());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn as_ptr(&self) -> *const T {
        self.as_mut_ptr()
    }

    /// The first element, to be changed. Valid while the handle, or a clone of it, lives.
    ///
    /// # Examples
    ///
    /// See [`as_ptr`](Self::as_ptr).
    #[must_use]
    pub fn as_mut_ptr(&self) -> *mut T {
        self.0.data().cast().as_ptr()
    }
}

resident_handle!(RawArray<T: Pod>, RawArrayCell<T>, "array");

impl<T: Pod> fmt::Debug for RawArray<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawArray").field("shape", &self.shape()).finish_non_exhaustive()
    }
}
