//! Places of a ring of two that are written and read where they are.

use std::{
    fmt,
    marker::PhantomData,
    ops::{Deref, DerefMut},
};

use bytemuck::Pod;

use super::{Consumer, End, Producer};
use crate::{
    Result,
    channel::forms::four_forms_mut,
    os::{
        clock::Wait,
        robust::{self, Generation},
    },
    raw::spsc::{Places, Side},
};

/// A place in an [`SpscRing`](super::SpscRing) that is reserved for a value, which arrives when it is
/// [published](Self::publish).
///
/// It has the bits of whatever was there before. Dropped without being published, it is the next one to be reserved again.
/// Forgotten, too, but then the thread that forgot it can [fork](crate::Process::fork) no more, nor can the process when
/// that thread has ended.
///
/// # Examples
///
/// ```
/// # fn main() -> shmkit::Result<()> {
/// use shmkit::Ring;
///
/// let (mut producer, mut consumer) = Ring::<[f64; 1024]>::spsc(4)?;
/// let mut frame = producer.reserve()?;
/// frame.fill(1.5);
/// frame.publish();
/// assert_eq!(consumer.pop_ref()?[1023], 1.5);
/// drop(producer.reserve()?);
/// assert!(consumer.try_pop().is_err());
/// # Ok(())
/// # }
/// ```
#[must_use = "if unused nothing arrives"]
pub struct SpscSlot<'a, T: Pod>(InPlace<'a, T>);

/// A value of an [`SpscRing`](super::SpscRing) that is read in place. Its place is free again when this is dropped.
/// Forgotten, it is the next value once more, but then the thread that forgot it can [fork](crate::Process::fork) no more,
/// nor can the process when that thread has ended.
///
/// # Examples
///
/// ```
/// # fn main() -> shmkit::Result<()> {
/// use shmkit::Ring;
///
/// let (mut producer, mut consumer) = Ring::spsc(1)?;
/// producer.push([1_u64; 64])?;
/// let value = consumer.pop_ref()?;
/// assert_eq!(value.iter().sum::<u64>(), 64);
/// assert!(producer.try_push([2; 64]).is_err());
/// drop(value);
/// producer.push([2; 64])?;
/// # Ok(())
/// # }
/// ```
#[must_use = "if unused the value is lost"]
pub struct SpscRef<'a, T: Pod>(InPlace<'a, T>);

/// The first of an end's places, lent out.
///
/// Invariant: `end` had the role, and the place, when this was made, in the process `of`. There it keeps both while it is
/// borrowed. Not `Send`, so that a fork knows of those that it would copy.
struct InPlace<'a, T: Pod> {
    end: &'a End<T>,
    places: Places,
    of: Generation,
    _not_send: PhantomData<*const ()>,
}

impl<'a, T: Pod> InPlace<'a, T> {
    fn new(end: &'a mut End<T>, places: Places) -> Result<Self> {
        // An end that has its role asks no thread who it is, and may have come here from another one.
        robust::this_thread()?;
        robust::lend();
        Ok(Self { of: end.taken_in, end, places, _not_send: PhantomData })
    }

    fn value(&self) -> *mut T {
        let [(place, _), _] = self.end.pointers(self.places, 1);
        place
    }

    /// Hands the place over to the other side. What a fork copied is not the child's to hand over.
    fn hand_over(&self, side: Side) {
        if self.of.is_this() {
            self.end.advance(side, self.places, 1);
        }
    }
}

impl<T: Pod> Drop for InPlace<'_, T> {
    fn drop(&mut self) {
        if self.of.is_this() {
            robust::take_back();
        }
    }
}

impl<T: Pod> Producer<T> {
    fn reserve_within(&mut self, wait: Wait) -> Result<SpscSlot<'_, T>> {
        let places = self.0.ready(Side::Producer, wait)?;
        InPlace::new(&mut self.0, places).map(SpscSlot)
    }

    four_forms_mut! {
        /// Reserves the next place, to write the value where it will be read, and waits until there is room.
        ///
        /// # Errors
        ///
        /// As [`push`](Self::push).
        ///
        /// # If a process dies
        ///
        /// A place that was reserved and not published is the next producer's.
        ///
        /// # Examples
        ///
        /// See [`SpscSlot`].
        reserve, try_reserve, reserve_timeout, reserve_deadline() -> SpscSlot<'_, T>: reserve_within
    }
}

impl<T: Pod> Consumer<T> {
    fn pop_ref_within(&mut self, wait: Wait) -> Result<SpscRef<'_, T>> {
        let places = self.0.ready(Side::Consumer, wait)?;
        InPlace::new(&mut self.0, places).map(SpscRef)
    }

    four_forms_mut! {
        /// Takes the next value without a copy, and waits until there is one.
        ///
        /// # Errors
        ///
        /// As [`pop`](Self::pop).
        ///
        /// # If a process dies
        ///
        /// What it was reading is the next consumer's to read again.
        ///
        /// # Examples
        ///
        /// See [`SpscRef`].
        pop_ref, try_pop_ref, pop_ref_timeout, pop_ref_deadline() -> SpscRef<'_, T>: pop_ref_within
    }
}

impl<T: Pod> SpscSlot<'_, T> {
    /// Lets the value arrive: also when the consumer has closed the ring meanwhile, though nobody may come for it.
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn publish(self) {
        self.0.hand_over(Side::Producer);
    }
}

impl<T: Pod> Deref for SpscSlot<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the invariant: the place is this end's, and nobody else uses it; any bits are a `T`.
        unsafe { &*self.0.value() }
    }
}

impl<T: Pod> DerefMut for SpscSlot<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`.
        unsafe { &mut *self.0.value() }
    }
}

impl<T: Pod> Deref for SpscRef<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the invariant: the place is this end's, and nobody writes it; any bits are a `T`.
        unsafe { &*self.0.value() }
    }
}

impl<T: Pod> Drop for SpscRef<'_, T> {
    fn drop(&mut self) {
        self.0.hand_over(Side::Consumer);
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for SpscSlot<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SpscSlot").field(&**self).finish()
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for SpscRef<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SpscRef").field(&**self).finish()
    }
}
