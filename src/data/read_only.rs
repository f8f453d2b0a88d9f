//! What can be read without being able to write: copies, taken while others may be writing.

#![expect(unsafe_code, reason = "copies memory that others may write")]

use std::{fmt, mem::MaybeUninit};

use bytemuck::Pod;

use super::{
    AtomicElement,
    cells::{ArrayCell, AtomicArrayCell, AtomicValueCell, RawArrayCell, ValueCell},
    copying,
    index::{check_span, out_of_range},
};
use crate::{
    Result,
    os::copy,
    region::{Handle, Place, ReadOnly, Resident},
};

/// A [`Value`](crate::Value) or [`AtomicValue`](crate::AtomicValue) in a mapping that cannot be written.
///
/// Without a lock others may write at any time: [`get`](Self::get) copies. Numbers are whole; of a larger type, each
/// aligned part of up to 8 bytes is.
///
/// # Examples
///
/// See [`Value::create`](crate::Value::create).
pub struct ReadOnlyValue<T>(Elements<T>);

/// An [`Array`](crate::Array), [`AtomicArray`](crate::AtomicArray) or [`RawArray`](crate::RawArray) in a mapping that
/// cannot be written.
///
/// Without a lock others may write at any time, so there are copies only. Each number in them is whole; of a larger
/// type, each aligned part of up to 8 bytes is. Of an array that [grows](crate::Array::growable) it has what was there
/// when it was opened.
///
/// # Examples
///
/// ```
/// # fn main() -> shmkit::Result<()> {
/// use shmkit::Array;
///
/// let name = format!("shmkit-doc-read-only-{}", std::process::id());
/// let field = Array::<f64>::create(&name, 100)?;
/// let view = Array::<f64>::open_read_only(&name)?;
/// field.set(3, 1.5)?;
/// assert_eq!(view.get(3)?, 1.5);
/// assert_eq!(view.to_vec().len(), 100);
/// Array::<f64>::unlink(&name)?;
/// # Ok(())
/// # }
/// ```
pub struct ReadOnlyArray<T>(Elements<T>);

/// Elements in a mapping that cannot be written, and how they become `T`s.
///
/// Invariant: `load` reads elements as they are stored in `place`, and fills all of the buffer that it is given with
/// valid `T`s; the part read must lie in `place`.
struct Elements<T> {
    place: ReadOnly,
    load: unsafe fn(*const u8, &mut [MaybeUninit<T>]),
}

impl<T: Copy> Elements<T> {
    fn plain<R: Resident<Stored = T>>(place: &Place) -> Result<Self>
    where
        T: Pod,
    {
        Ok(Self { place: Handle::<R>::open_read_only(place)?, load: load_plain::<T> })
    }

    fn atomic<R: Resident<Stored = T::Repr>>(place: &Place) -> Result<Self>
    where
        T: AtomicElement,
    {
        Ok(Self { place: Handle::<R>::open_read_only(place)?, load: load_atomic::<T> })
    }

    fn load(&self, at: usize, buffer: &mut [MaybeUninit<T>]) -> Result<()> {
        check_span(at, buffer.len(), self.place.len(), self.place.shape())?;
        // SAFETY: `at` is at most the number of elements, each of the size of a `T`.
        let from = unsafe { self.place.data().cast::<T>().add(at) };
        // SAFETY: the invariant: `buffer.len()` elements lie from there on, by the check above.
        unsafe { (self.load)(from.cast().as_ptr(), buffer) };
        Ok(())
    }

    fn one(&self, at: usize) -> Result<T> {
        let mut element = [MaybeUninit::uninit()];
        self.load(at, &mut element)?;
        // SAFETY: `load` filled it with a valid `T`.
        Ok(unsafe { element[0].assume_init() })
    }
}

/// # Safety
///
/// At `from` lie `buffer.len()` elements of plain data, mapped and aligned.
unsafe fn load_plain<T: Pod>(from: *const u8, buffer: &mut [MaybeUninit<T>]) {
    // SAFETY: promised by the caller; the buffer is private.
    unsafe { copy::load::<T>(from.cast(), buffer.as_mut_ptr().cast(), buffer.len()) };
}

/// # Safety
///
/// At `from` lie `buffer.len()` atomics, mapped and aligned.
unsafe fn load_atomic<T: AtomicElement>(from: *const u8, buffer: &mut [MaybeUninit<T>]) {
    // SAFETY: promised by the caller; they are only ever touched as atomics, or read.
    let atomics = unsafe { std::slice::from_raw_parts(from.cast(), buffer.len()) };
    copying::load_uninit(atomics, buffer);
}

impl<T: Copy> ReadOnlyValue<T> {
    pub(crate) fn from_value(place: &Place) -> Result<Self>
    where
        T: Pod,
    {
        Elements::plain::<ValueCell<T>>(place).map(Self)
    }

    pub(crate) fn from_atomic_value(place: &Place) -> Result<Self>
    where
        T: AtomicElement,
    {
        Elements::atomic::<AtomicValueCell<T>>(place).map(Self)
    }

    /// A copy of the value as it is now.
    ///
    /// # Examples
    ///
    /// See [`Value::create`](crate::Value::create).
    #[must_use]
    pub fn get(&self) -> T {
        self.0.one(0).expect("a value is one element")
    }
}

impl<T: Copy> ReadOnlyArray<T> {
    pub(crate) fn from_array(place: &Place) -> Result<Self>
    where
        T: Pod,
    {
        Elements::plain::<ArrayCell<T>>(place).map(Self)
    }

    pub(crate) fn from_raw_array(place: &Place) -> Result<Self>
    where
        T: Pod,
    {
        Elements::plain::<RawArrayCell<T>>(place).map(Self)
    }

    pub(crate) fn from_atomic_array(place: &Place) -> Result<Self>
    where
        T: AtomicElement,
    {
        Elements::atomic::<AtomicArrayCell<T>>(place).map(Self)
    }

    /// The number of elements.
    ///
    /// # Examples
    ///
    /// See the type.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.place.len()
    }

    /// Whether it has no elements.
    ///
    /// # Examples
    ///
    /// See the type.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The lengths of the dimensions.
    ///
    /// # Examples
    ///
    /// See the type.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        self.0.place.shape()
    }

    /// A copy of the element at `at`, in row-major order, as it is now.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`](crate::Error::OutOfRange).
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn get(&self, at: usize) -> Result<T> {
        if at >= self.len() {
            return Err(out_of_range(at.to_string(), self.shape()));
        }
        self.0.one(at)
    }

    /// Copies the elements from `at` on into `buffer`, as they are now.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`](crate::Error::OutOfRange).
    ///
    /// # Examples
    ///
    /// See [`AtomicArray`](crate::AtomicArray).
    pub fn load_into(&self, at: usize, buffer: &mut [T]) -> Result<()> {
        // SAFETY: a `MaybeUninit<T>` is laid out as a `T`, and `load` writes only valid `T`s.
        let buffer = unsafe { &mut *(std::ptr::from_mut(buffer) as *mut [MaybeUninit<T>]) };
        self.0.load(at, buffer)
    }

    /// A copy of all elements, as they are now.
    ///
    /// # Examples
    ///
    /// See the type.
    #[must_use]
    pub fn to_vec(&self) -> Vec<T> {
        let mut elements = Vec::with_capacity(self.len());
        let loaded = self.0.load(0, &mut elements.spare_capacity_mut()[..self.len()]);
        debug_assert!(loaded.is_ok(), "all elements lie in the array");
        // SAFETY: `load` filled the first `len` elements with valid `T`s.
        unsafe { elements.set_len(self.len()) };
        elements
    }
}

impl<T> fmt::Debug for ReadOnlyValue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadOnlyValue").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for ReadOnlyArray<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadOnlyArray").field("shape", &self.0.place.shape()).finish_non_exhaustive()
    }
}
