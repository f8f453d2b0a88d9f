//! One atomic in shared memory.

#![expect(unsafe_code, reason = "reaches the atomic in its mapping")]

use std::{fmt, ops::Deref, ptr::NonNull};

use super::{Atomic, AtomicElement, ReadOnlyValue, cells::AtomicValueCell};
use crate::{
    Result,
    region::{Dims, Handle, Intent, Place, Region, resident_handle},
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
pub struct AtomicValue<T: AtomicElement>(Handle<AtomicValueCell<T>>);

impl<T: AtomicElement> AtomicValue<T> {
    /// A new one in shared memory of its own.
    ///
    /// # Errors
    ///
    /// As [`Region::anonymous`].
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn new(value: T) -> Result<Self> {
        Handle::new(Dims::NONE, &|fresh| write(fresh.data, value)).map(Self)
    }

    /// A new one in a region, under a name or (`None`) without one.
    ///
    /// # Errors
    ///
    /// [`AlreadyExists`](crate::Error::AlreadyExists), [`RegionFull`](crate::Error::RegionFull),
    /// [`InvalidName`](crate::Error::InvalidName), [`ReadOnly`](crate::Error::ReadOnly).
    ///
    /// # Examples
    ///
    /// See [`Region`].
    pub fn new_in<'n>(region: &Region, name: impl Into<Option<&'n str>>, value: T) -> Result<Self> {
        Handle::new_in(region, name.into(), Dims::NONE, &|fresh| write(fresh.data, value)).map(Self)
    }

    /// The one of this name in a region, or a new one.
    ///
    /// # Errors
    ///
    /// As [`new_in`](Self::new_in), and [`TypeMismatch`](crate::Error::TypeMismatch).
    ///
    /// # Examples
    ///
    /// See [`Value::open_or_create_in`](crate::Value::open_or_create_in).
    pub fn open_or_create_in(region: &Region, name: &str, value: T) -> Result<Self> {
        Handle::open_or_create_in(region, name, Dims::NONE, &|fresh| write(fresh.data, value)).map(Self)
    }

    /// A new one that other programs find by name or file.
    ///
    /// # Errors
    ///
    /// As [`Region::create`].
    ///
    /// # Examples
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
    pub fn create(at: impl Into<Place>, value: T) -> Result<Self> {
        Handle::at_place(&at.into(), Intent::Create, Dims::NONE, &|fresh| write(fresh.data, value)).map(Self)
    }

    /// The one at this name or file, or a new one: also where a creator died on the way.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create) and [`open`](Self::open).
    ///
    /// # Examples
    ///
    /// See [`create`](Self::create).
    pub fn open_or_create(at: impl Into<Place>, value: T) -> Result<Self> {
        Handle::at_place(&at.into(), Intent::OpenOrCreate, Dims::NONE, &|fresh| write(fresh.data, value)).map(Self)
    }

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
