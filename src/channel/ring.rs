//! A ring of slots for plain data.

#![expect(unsafe_code, reason = "reaches the values in their slots")]

use std::{
    cell::UnsafeCell,
    fmt,
    marker::PhantomData,
    ops::{Deref, DerefMut},
    sync::atomic::AtomicU64,
};

use bytemuck::Pod;

use super::{check_capacity, forms::four_forms};
use crate::{
    Result,
    os::{clock::Wait, robust},
    raw::{
        lives::MemberId,
        ring::{Claimed, MOST_SLOTS, Ring as Raw, RingWords, Slot},
    },
    region::{Dims, Handle, Kind, Resident, Shared, resident_handle},
    sync::constructors::counted_constructors,
};

/// A bounded queue of plain data in shared memory, for any number of producers and consumers, without a lock.
///
/// Values come out in the order in which their producers got their places, so each producer's own come in its order.
/// With [`reserve`](Self::reserve) and [`pop_ref`](Self::pop_ref) values are written and read in place.
///
/// A reservation that is neither published nor dropped, and a producer that is stopped while it has one, hold up the
/// consumers that come to its place. A reader that keeps its [`RingRef`] holds up the producers that come to its place a
/// round later.
///
/// # If a process dies
///
/// What it published arrives. A place that it had reserved and not published is passed over. A value that it had taken,
/// and was perhaps still reading, is lost with it: each value is delivered once at most. With [`pop`](Self::pop) and
/// [`pop_ref`](Self::pop_ref) that is one value for each thread. [`pop_slice`](Self::pop_slice) takes one value after the
/// other, so who dies in it loses all that it had taken so far, up to the whole slice; the rest is there for others. An
/// [`SpscRing`](crate::SpscRing) keeps what its consumer was taking. Who waits for a place that the
/// dead one had goes on as soon as its whole process has ended, or within 100 ms of that if it began to wait before the
/// dead one got the place.
///
/// # Examples
///
/// ```standalone_crate
/// use bytemuck::{Pod, Zeroable};
/// use shmkit::{Error, Process, Result, Ring};
///
/// #[derive(Clone, Copy, Pod, Zeroable)]
/// #[repr(C)]
/// struct Sample {
///     at: u64,
///     value: f64,
/// }
///
/// fn measure(ring: Ring<Sample>) -> Result<()> {
///     (0..1000).try_for_each(|at| ring.push(Sample { at, value: at as f64 / 2.0 }))?;
///     ring.close();
///     Ok(())
/// }
///
/// fn main() -> Result<()> {
///     shmkit::init();
///     let ring = Ring::with_capacity(64)?;
///     let source = Process::spawn(measure, (ring.clone(),))?;
///     let mut sum = 0.0;
///     loop {
///         match ring.pop() {
///             Ok(sample) => sum += sample.value,
///             Err(Error::Closed) => break,
///             Err(error) => return Err(error),
///         }
///     }
///     assert_eq!(sum, 249_750.0);
///     source.join()
/// }
/// ```
///
/// Waiting, or not, and many at a time:
///
/// ```
/// # fn main() -> shmkit::Result<()> {
/// use std::time::Duration;
/// use shmkit::Ring;
///
/// let ring = Ring::with_capacity(4)?;
/// assert!(ring.try_pop().unwrap_err().is_would_block());
/// assert_eq!(ring.push_slice(&[1, 2, 3, 4, 5])?, 4);
/// assert!(ring.try_push(5).unwrap_err().is_would_block());
/// assert!(ring.push_timeout(5, Duration::from_millis(1)).unwrap_err().is_timed_out());
/// let mut some = [0; 3];
/// assert_eq!(ring.pop_slice(&mut some)?, 3);
/// assert_eq!((some, ring.len(), ring.pop()?), ([1, 2, 3], 1, 4));
/// # Ok(())
/// # }
/// ```
///
/// Between programs that find each other by name:
///
/// ```
/// # fn main() -> shmkit::Result<()> {
/// use shmkit::Ring;
///
/// let name = format!("shmkit-doc-ring-{}", std::process::id());
/// let here = Ring::<u32>::create(&name, 16)?;
/// Ring::<u32>::open(&name)?.push(7)?;
/// assert_eq!(here.pop()?, 7);
/// Ring::<u32>::unlink(&name)?;
/// # Ok(())
/// # }
/// ```
pub struct Ring<T: Pod>(Handle<RingCell<T>>);

pub(crate) struct RingCell<T>(PhantomData<T>);

/// A slot: whose turn it is, and the value.
#[repr(C)]
pub(crate) struct Place<T> {
    state: AtomicU64,
    value: UnsafeCell<T>,
}

impl<T> Slot for Place<T> {
    #[inline]
    fn state(&self) -> &AtomicU64 {
        &self.state
    }
}

// SAFETY: `repr(C)`, of atomics only.
unsafe impl Shared for RingWords {}

// SAFETY: `repr(C)`, an atomic and a cell of plain data, which nobody touches but the one who has claimed the slot.
unsafe impl<T: Pod> Shared for Place<T> {}

// SAFETY: the body is the words and the slots; zeroed ones are an empty ring.
unsafe impl<T: Pod> Resident for RingCell<T> {
    const KIND: Kind = Kind::Ring;
    type Head = RingWords;
    type Element = T;
    type Stored = Place<T>;
    /// Values of several sizes are stored in as many bytes.
    const VALUE_SIZE: usize = size_of::<T>();

    fn check(dims: Dims) -> Result<()> {
        check_capacity(dims)
    }
}

impl<T: Pod> Ring<T> {
    /// The most values that a ring can have room for.
    pub const MAX: usize = MOST_SLOTS;

    counted_constructors!("ring", capacity, "values", with_capacity, with_capacity_in);

    fn dims(capacity: usize) -> Result<Dims> {
        let dims = Dims::new(&[capacity])?;
        RingCell::<T>::check(dims)?;
        Ok(dims)
    }

    #[inline]
    fn raw(&self) -> Raw<'_, &[Place<T>]> {
        Raw { words: self.0.head(), slots: self.0.elements() }
    }

    #[inline]
    fn claim_room(&self, wait: Wait) -> Result<(MemberId, Claimed)> {
        let me = self.0.member()?;
        Ok((me, self.raw().claim_room(me, || self.0.members(), wait)?))
    }

    #[inline]
    fn claim_value(&self, wait: Wait) -> Result<(MemberId, Claimed)> {
        let me = self.0.member()?;
        Ok((me, self.raw().claim_value(me, || self.0.members(), wait)?))
    }

    /// The place for the value of a slot.
    #[inline]
    fn value(&self, claimed: Claimed) -> *mut T {
        self.0.elements()[claimed.at].value.get()
    }

    #[inline]
    fn write(&self, claimed: Claimed, value: T) {
        // SAFETY: the slot is claimed, so nobody else reads or writes its value; it lies in the mapping, aligned.
        unsafe { self.value(claimed).write(value) };
        self.raw().publish(claimed);
    }

    #[inline]
    fn read(&self, claimed: Claimed) -> T {
        // SAFETY: the slot is claimed, so nobody else writes its value; it lies in the mapping, aligned, and any bits are
        // a `T`.
        let value = unsafe { self.value(claimed).read() };
        self.raw().free(claimed);
        value
    }

    #[inline]
    fn push_within(&self, value: T, wait: Wait) -> Result<()> {
        let (_, claimed) = self.claim_room(wait)?;
        self.write(claimed, value);
        self.raw().notify_values(1);
        Ok(())
    }

    #[inline]
    fn pop_within(&self, wait: Wait) -> Result<T> {
        let (_, claimed) = self.claim_value(wait)?;
        let value = self.read(claimed);
        self.raw().notify_room(1);
        Ok(value)
    }

    fn push_slice_within(&self, values: &[T], wait: Wait) -> Result<usize> {
        let Some((first, others)) = values.split_first() else { return Ok(0) };
        let (_, claimed) = self.claim_room(wait)?;
        self.write(claimed, *first);
        let mut count = 1;
        for value in others {
            // Whatever the reason is, what is in is in.
            let Ok((_, claimed)) = self.claim_room(Wait::No) else { break };
            self.write(claimed, *value);
            count += 1;
        }
        self.raw().notify_values(count);
        Ok(count as usize)
    }

    fn pop_slice_within(&self, values: &mut [T], wait: Wait) -> Result<usize> {
        let Some((first, others)) = values.split_first_mut() else { return Ok(0) };
        let (_, claimed) = self.claim_value(wait)?;
        *first = self.read(claimed);
        let mut count = 1;
        for value in others {
            let Ok((_, claimed)) = self.claim_value(Wait::No) else { break };
            *value = self.read(claimed);
            count += 1;
        }
        self.raw().notify_room(count);
        Ok(count as usize)
    }

    fn reserve_within(&self, wait: Wait) -> Result<RingSlot<'_, T>> {
        let (owner, claimed) = self.claim_room(wait)?;
        Ok(RingSlot { place: InPlace::new(self, owner, claimed), published: false })
    }

    fn pop_ref_within(&self, wait: Wait) -> Result<RingRef<'_, T>> {
        let (owner, claimed) = self.claim_value(wait)?;
        Ok(RingRef(InPlace::new(self, owner, claimed)))
    }

    four_forms! {
        /// Puts a value in, and waits until there is room.
        ///
        /// # Errors
        ///
        /// [`Closed`](crate::Error::Closed); [`TooManyMembers`](crate::Error::TooManyMembers) when more processes use
        /// the region than it was made for; [`ReadOnly`](crate::Error::ReadOnly);
        /// [`Corrupt`](crate::Error::Corrupt).
        ///
        /// # If a process dies
        ///
        /// See the type.
        ///
        /// # Examples
        ///
        /// See the type.
        push, try_push, push_timeout, push_deadline(value: T) -> (): push_within
    }

    four_forms! {
        /// Takes the next value, and waits until there is one.
        ///
        /// # Errors
        ///
        /// As [`push`](Self::push); [`Closed`](crate::Error::Closed) when nothing is left besides.
        ///
        /// # If a process dies
        ///
        /// See the type.
        ///
        /// # Examples
        ///
        /// See the type.
        pop, try_pop, pop_timeout, pop_deadline() -> T: pop_within
    }

    four_forms! {
        /// Puts in as many of the values, from the first on, as there is room for, and waits until there is room for one.
        /// Returns how many. Others' values may come between.
        ///
        /// # Errors
        ///
        /// As [`push`](Self::push); none has been put in then.
        ///
        /// # Examples
        ///
        /// See the type.
        push_slice, try_push_slice, push_slice_timeout, push_slice_deadline(values: &[T]) -> usize: push_slice_within
    }

    four_forms! {
        /// Takes as many values as there are, and as `values` has room for, and waits until there is one. Returns how
        /// many.
        ///
        /// # Errors
        ///
        /// As [`pop`](Self::pop); none has been taken then.
        ///
        /// # If a process dies
        ///
        /// All that it had taken so far is lost with it, the whole slice at most.
        ///
        /// # Examples
        ///
        /// See the type.
        pop_slice, try_pop_slice, pop_slice_timeout, pop_slice_deadline(values: &mut [T]) -> usize: pop_slice_within
    }

    four_forms! {
        /// Reserves the next place, to write the value where it will be read, and waits until there is room.
        ///
        /// # Errors
        ///
        /// As [`push`](Self::push).
        ///
        /// # Examples
        ///
        /// See [`RingSlot`].
        reserve, try_reserve, reserve_timeout, reserve_deadline() -> RingSlot<'_, T>: reserve_within
    }

    four_forms! {
        /// Takes the next value without a copy, and waits until there is one.
        ///
        /// # Errors
        ///
        /// As [`pop`](Self::pop).
        ///
        /// # Examples
        ///
        /// See [`RingRef`].
        pop_ref, try_pop_ref, pop_ref_timeout, pop_ref_deadline() -> RingRef<'_, T>: pop_ref_within
    }

    /// Lets nobody put anything in from now on. What is in can still be taken, and what was reserved be published. Closing
    /// again does nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// use shmkit::{Error, Ring};
    ///
    /// let ring = Ring::with_capacity(2)?;
    /// ring.push(1)?;
    /// ring.close();
    /// assert!(matches!(ring.push(2), Err(Error::Closed)));
    /// assert_eq!(ring.pop()?, 1);
    /// assert!(matches!(ring.pop(), Err(Error::Closed)));
    /// # Ok(())
    /// # }
    /// ```
    pub fn close(&self) {
        self.raw().close();
    }

    /// Whether it is [closed](Self::close).
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// assert!(!shmkit::Ring::<u8>::with_capacity(1)?.is_closed());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.raw().is_closed()
    }

    /// The number of values, of places that are reserved, and of those behind them that were given up: none of these is
    /// room. It may be another one at once.
    ///
    /// # Examples
    ///
    /// See the type.
    #[must_use]
    pub fn len(&self) -> usize {
        self.raw().len()
    }

    /// Whether there is nothing in it, not even reserved.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let ring = shmkit::Ring::<u8>::with_capacity(1)?;
    /// assert!(ring.is_empty() && !ring.is_full());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there is room for nothing more.
    ///
    /// # Examples
    ///
    /// See [`is_empty`](Self::is_empty).
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.len() == self.capacity()
    }

    /// The number of values that it has room for.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// assert_eq!(shmkit::Ring::<u8>::with_capacity(3)?.capacity(), 3);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.0.len()
    }
}

resident_handle!(Ring<T: Pod>, RingCell<T>, "ring");

impl<T: Pod> fmt::Debug for Ring<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring")
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .field("is_closed", &self.is_closed())
            .finish()
    }
}

/// A place in a [`Ring`] that is reserved for a value, which arrives when it is [published](Self::publish).
///
/// It has the bits of whatever was there before. Dropped without being published, it is passed over: it is room again at
/// once, or when what is before it has been taken.
///
/// # Examples
///
/// ```
/// # fn main() -> shmkit::Result<()> {
/// use shmkit::Ring;
///
/// let ring = Ring::<[f64; 1024]>::with_capacity(4)?;
/// let mut frame = ring.reserve()?;
/// frame.fill(1.5);
/// frame.publish();
/// assert_eq!(ring.pop_ref()?[1023], 1.5);
/// drop(ring.reserve()?);
/// assert!(ring.try_pop().is_err());
/// # Ok(())
/// # }
/// ```
#[must_use = "if unused the place is given up at once"]
pub struct RingSlot<'a, T: Pod> {
    /// Claimed to write.
    place: InPlace<'a, T>,
    published: bool,
}

impl<T: Pod> RingSlot<'_, T> {
    /// Lets the value arrive.
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn publish(mut self) {
        let InPlace { ring, claimed, .. } = self.place;
        self.published = true;
        if self.place.is_ours() {
            ring.raw().publish(claimed);
            ring.raw().notify_values(1);
        }
    }
}

impl<T: Pod> Deref for RingSlot<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the invariant: nobody else uses the place; any bits are a `T`.
        unsafe { &*self.place.value() }
    }
}

impl<T: Pod> DerefMut for RingSlot<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`.
        unsafe { &mut *self.place.value() }
    }
}

impl<T: Pod> Drop for RingSlot<'_, T> {
    fn drop(&mut self) {
        if !self.published && self.place.is_ours() {
            self.place.ring.raw().give_up(self.place.owner, self.place.claimed);
        }
    }
}

/// A value of a [`Ring`] that is read in place. Its place is free again when this is dropped.
///
/// # Examples
///
/// ```
/// # fn main() -> shmkit::Result<()> {
/// use shmkit::Ring;
///
/// let ring = Ring::with_capacity(1)?;
/// ring.push([1_u64; 64])?;
/// let value = ring.pop_ref()?;
/// assert_eq!(value.iter().sum::<u64>(), 64);
/// assert!(ring.try_push([2; 64]).is_err());
/// drop(value);
/// ring.push([2; 64])?;
/// # Ok(())
/// # }
/// ```
#[must_use = "if unused the value is lost"]
pub struct RingRef<'a, T: Pod>(InPlace<'a, T>);

impl<T: Pod> Deref for RingRef<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the invariant: nobody writes the place; any bits are a `T`.
        unsafe { &*self.0.value() }
    }
}

impl<T: Pod> Drop for RingRef<'_, T> {
    fn drop(&mut self) {
        if self.0.is_ours() {
            self.0.ring.raw().free(self.0.claimed);
            self.0.ring.raw().notify_room(1);
        }
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for RingSlot<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RingSlot").field(&**self).finish()
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for RingRef<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RingRef").field(&**self).finish()
    }
}

/// A place that a guard lends out.
///
/// Invariant: `owner` has it, and nobody else uses it as long as that process is this one. Not `Send`, so that a fork
/// knows of those that it would copy.
struct InPlace<'a, T: Pod> {
    ring: &'a Ring<T>,
    owner: MemberId,
    claimed: Claimed,
    _not_send: PhantomData<*const ()>,
}

impl<'a, T: Pod> InPlace<'a, T> {
    fn new(ring: &'a Ring<T>, owner: MemberId, claimed: Claimed) -> Self {
        robust::lend();
        Self { ring, owner, claimed, _not_send: PhantomData }
    }

    fn value(&self) -> *mut T {
        self.ring.value(self.claimed)
    }

    /// Whether this process is the owner: what a fork copied is not the child's.
    fn is_ours(&self) -> bool {
        self.ring.0.known_member() == Some(self.owner)
    }
}

impl<T: Pod> Drop for InPlace<'_, T> {
    fn drop(&mut self) {
        if self.is_ours() {
            robust::take_back();
        }
    }
}
