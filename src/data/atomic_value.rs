//! One atomic in shared memory.

#![expect(unsafe_code, reason = "reaches the atomic in its mapping")]

use std::{fmt, ops::Deref, ptr::NonNull};

use super::{Atomic, AtomicElement, ReadOnlyValue, cells::AtomicValueCell};
use crate::{
    Result,
    region::{Handle, Place, resident_handle},
    sync::constructors::valued_constructors,
};

/// A number or `bool` in shared memory that needs no lock.
///
/// It is an [`Atomic`] by `Deref`.
///
/// # If a process dies
///
/// Every operation has happened, or has not.
///
/// # Examples
///
/// ```
/// # fn main() -> shmkit::Result<()> {
/// use std::sync::atomic::Ordering::Relaxed;
/// use shmkit::AtomicValue;
///
/// let hits = AtomicValue::new(0_u64)?;
/// hits.fetch_add(2, Relaxed);
/// assert_eq!(hits.load(Relaxed), 2);
/// # Ok(())
/// # }
/// ```
///
/// Between programs that find each other by name:
///
/// ```
/// # fn main() -> shmkit::Result<()> {
/// use std::sync::atomic::Ordering::Relaxed;
/// use shmkit::AtomicValue;
///
/// let name = format!("shmkit-doc-atomic-{}", std::process::id());
/// let ready = AtomicValue::create(&name, false)?;
/// ready.store(true, Relaxed);
/// assert!(AtomicValue::<bool>::open(&name)?.load(Relaxed));
/// assert!(AtomicValue::<bool>::open_read_only(&name)?.get());
/// AtomicValue::<bool>::unlink(&name)?;
/// # Ok(())
/// # }
/// ```
pub struct AtomicValue<T: AtomicElement>(Handle<AtomicValueCell<T>>);

impl<T: AtomicElement> AtomicValue<T> {
    valued_constructors!("atomic value", write);

    /// The one at this name or file, for reading only.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    ///
    /// # Examples
    ///
    /// See [`create`](Self::create).
    pub fn open_read_only(at: impl Into<Place>) -> Result<ReadOnlyValue<T>> {
        ReadOnlyValue::from_atomic_value(&at.into())
    }
}

fn write<T: AtomicElement>(data: NonNull<u8>, value: T) {
    // SAFETY: the initialiser is given the data part of a body for an `Atomic<T>`, aligned, seen by nobody else.
    unsafe { data.cast::<Atomic<T>>().write(Atomic::new(value)) };
}

impl<T: AtomicElement> Deref for AtomicValue<T> {
    type Target = Atomic<T>;

    #[inline]
    fn deref(&self) -> &Atomic<T> {
        // SAFETY: the handle's body is an atomic of this type, for which any bits are valid; it is only ever touched
        // as an atomic, and stays mapped while the handle lives.
        unsafe { self.0.data().cast().as_ref() }
    }
}

resident_handle!(AtomicValue<T: AtomicElement>, AtomicValueCell<T>, "atomic value");

impl<T: AtomicElement> fmt::Debug for AtomicValue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AtomicValue").field(&**self).finish()
    }
}
