//! One value in shared memory, with its lock.

#![expect(unsafe_code, reason = "reaches the value under its lock")]

use std::{
    fmt,
    ops::{Deref, DerefMut},
    ptr::NonNull,
};

use bytemuck::Pod;

use super::{ReadOnlyValue, cells::ValueCell};
use crate::{
    Result,
    os::clock::Wait,
    region::{Handle, Place, resident_handle},
    sync::{
        constructors::valued_constructors,
        held::{Held, Owner, guard_poison, locking, release_held},
    },
};

/// A value of plain data in shared memory, with a lock of its own.
///
/// `T` is anything that is [`Pod`]: numbers, arrays of them, `#[repr(C)]` structs of them. What may not live in shared
/// memory (references, `String`, `bool` and enums, which have invalid bits) does not compile.
///
/// Clones, and copies sent to other processes, are the same value.
///
/// # If a process dies
///
/// One that dies while it holds the lock poisons it: see [`Poison`](crate::Poison).
///
/// # Examples
///
/// ```
/// # fn main() -> shmkit::Result<()> {
/// use shmkit::Value;
///
/// let total = Value::new(0.0)?;
/// *total.lock()? += 1.5;
/// total.update(|x| x * 2.0)?;
/// assert_eq!(total.get()?, 3.0);
/// # Ok(())
/// # }
/// ```
///
/// Between programs that find each other by name:
///
/// ```
/// # fn main() -> shmkit::Result<()> {
/// use shmkit::Value;
///
/// let name = format!("shmkit-doc-value-{}", std::process::id());
/// let value = Value::create(&name, 7_u32)?;
/// assert_eq!(Value::<u32>::open(&name)?.get()?, 7);
/// assert!(Value::<i64>::open(&name).is_err());
/// assert_eq!(Value::<u32>::open_read_only(&name)?.get(), 7);
/// Value::<u32>::unlink(&name)?;
/// # Ok(())
/// # }
/// ```
pub struct Value<T: Pod>(Handle<ValueCell<T>>);

impl<T: Pod> Value<T> {
    valued_constructors!("value", write);

    /// The value at this name or file, for reading only.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    ///
    /// # Examples
    ///
    /// See [`create`](Self::create).
    pub fn open_read_only(at: impl Into<Place>) -> Result<ReadOnlyValue<T>> {
        ReadOnlyValue::from_value(&at.into())
    }

    locking!(ValueGuard<'_, T>);

    /// A copy of the value, taken under the lock.
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock).
    ///
    /// # Examples
    ///
    /// See the type.
    #[inline]
    pub fn get(&self) -> Result<T> {
        self.lock().map(|guard| *guard)
    }

    /// Replaces the value, under the lock.
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock).
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let value = shmkit::Value::new(1)?;
    /// value.set(2)?;
    /// assert_eq!(value.get()?, 2);
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn set(&self, value: T) -> Result<()> {
        *self.lock()? = value;
        Ok(())
    }

    /// Replaces the value by `change` of it, under the lock, and returns the new one.
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock).
    ///
    /// # Panics
    ///
    /// Where `change` does; the lock is then poisoned.
    ///
    /// # Examples
    ///
    /// See the type.
    #[inline]
    pub fn update(&self, change: impl FnOnce(T) -> T) -> Result<T> {
        let mut guard = self.lock()?;
        *guard = change(*guard);
        Ok(*guard)
    }

    #[inline(always)]
    pub(crate) fn acquire(&self, wait: Wait) -> Result<ValueGuard<'_, T>> {
        Held::lock(self.0.head(), wait).map(|held| ValueGuard { held, value: self.0.data().cast() })
    }

    pub(crate) fn acquire_any(&self, wait: Wait) -> Result<ValueGuard<'_, T>> {
        Held::recover(self.0.head(), wait).map(|held| ValueGuard { held, value: self.0.data().cast() })
    }

    /// Releases the lock, of which this thread forgot the guard. `false` if it does not hold it.
    #[cfg(feature = "capi")]
    #[inline]
    pub(crate) fn unlock(&self) -> bool {
        self.0.head().unlock_if_mine()
    }

    /// The guard that this thread forgot, if it holds the lock.
    #[cfg(feature = "capi")]
    #[inline]
    pub(crate) fn regain(&self) -> Option<ValueGuard<'_, T>> {
        let mutex = self.0.head();
        mutex.is_mine().then(|| ValueGuard { held: Held::new(mutex), value: self.0.data().cast() })
    }

    /// Where the value lies.
    #[cfg(feature = "capi")]
    #[inline]
    pub(crate) fn data(&self) -> NonNull<u8> {
        self.0.data()
    }
}

fn write<T: Pod>(data: NonNull<u8>, value: T) {
    // SAFETY: the initialiser is given the data part of a body for a `T`: large and aligned enough, seen by nobody else.
    unsafe { data.cast::<T>().write(value) };
}

resident_handle!(Value<T: Pod>, ValueCell<T>, "value");

impl<T: Pod> fmt::Debug for Value<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mutex = self.0.head();
        f.debug_struct("Value").field("owner", &Owner(mutex)).field("poisoned", &mutex.is_poisoned()).finish()
    }
}

/// A locked [`Value`]. Dropping it releases the lock.
///
/// Not `Send`: the lock belongs to the thread that took it.
#[must_use = "if unused the lock is released at once"]
pub struct ValueGuard<'a, T> {
    held: Held<'a>,
    /// Invariant: the value of the lock in `held`, which keeps all others out.
    value: NonNull<T>,
}

impl<T: Pod> ValueGuard<'_, T> {
    guard_poison!();
}

release_held!(ValueGuard<'_, T>, T: Pod);

impl<T: Pod> Deref for ValueGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the invariant: the lock is held, so nobody writes; any bits are a `T`.
        unsafe { self.value.as_ref() }
    }
}

impl<T: Pod> DerefMut for ValueGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the invariant: the lock is held, so nobody else reads or writes.
        unsafe { self.value.as_mut() }
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for ValueGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ValueGuard").field("value", &**self).field("poison", &self.poison()).finish()
    }
}
