//! A ring of slots for plain data with one producer and one consumer.

#![expect(unsafe_code, reason = "reaches the values in their slots")]

mod in_place;

use std::{
    cell::UnsafeCell,
    fmt,
    marker::PhantomData,
    ptr,
    sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
};

use bytemuck::Pod;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use self::in_place::{SpscRef, SpscSlot};
use super::{Ring, check_capacity, forms::four_forms_mut};
use crate::{
    Result,
    os::{clock::Wait, membarrier::Light, prefetch, robust::Generation},
    raw::{
        lives::MemberId,
        ring::MOST_SLOTS,
        spsc::{Places, Side, Spsc, SpscWords},
        waiting::{Linger, Patience},
    },
    region::{Dims, Handle, Kind, Resident, Shared, resident_handle},
    sync::constructors::counted_constructors,
};

/// A bounded queue of plain data in shared memory, for one producer and one consumer: the fastest way from one process
/// to another.
///
/// This is the handle, of which there may be many; [`producer`](Self::producer) and [`consumer`](Self::consumer) are
/// its two ends, and [`Ring::spsc`] makes all at once. An end takes its role when it is first used, and keeps it until
/// it is dropped, or its process dies. Only one at a time has a role, in all processes; another one gets
/// [`RoleTaken`](crate::Error::RoleTaken): at once where it does not wait, else when it has been taken for a second, in which
/// it may be on its way to this process.
///
/// # If a process dies
///
/// What its [`Producer`] published arrives, and what its [`Consumer`] had not counted as taken stays. Values count as taken,
/// all at once, when [`pop`](Consumer::pop) or [`pop_slice`](Consumer::pop_slice) has copied them, and when the guard of
/// [`pop_ref`](Consumer::pop_ref) is dropped. So who dies before that loses nothing: its successor gets the same values,
/// also one that the dead one had looked at in its place. Who dies after that, before it returns or later, has had them.
///
/// Another end, in any process, can take the role of a dead one, as soon as the whole process of that has ended, and goes
/// on where it was.
///
/// # Examples
///
/// ```standalone_crate
/// use shmkit::{Error, Process, Producer, Result, Ring};
///
/// fn count(mut numbers: Producer<u64>) -> Result<()> {
///     (1..=100_000).try_for_each(|number| numbers.push(number))?;
///     numbers.close()
/// }
///
/// fn main() -> Result<()> {
///     shmkit::init();
///     let (producer, mut consumer) = Ring::spsc(1024)?;
///     let child = Process::spawn(count, (producer,))?;
///     let (mut sum, mut some) = (0, [0; 64]);
///     loop {
///         match consumer.pop_slice(&mut some) {
///             Ok(count) => sum += some[..count].iter().sum::<u64>(),
///             Err(Error::Closed) => break,
///             Err(error) => return Err(error),
///         }
///     }
///     assert_eq!(sum, 5_000_050_000);
///     child.join()
/// }
/// ```
///
/// Between programs that find each other by name:
///
/// ```
/// # fn main() -> shmkit::Result<()> {
/// use shmkit::SpscRing;
///
/// let name = format!("shmkit-doc-spsc-{}", std::process::id());
/// let mut producer = SpscRing::<f32>::create(&name, 16)?.producer();
/// let mut consumer = SpscRing::<f32>::open(&name)?.consumer();
/// producer.push(0.5)?;
/// assert_eq!(consumer.pop()?, 0.5);
/// SpscRing::<f32>::unlink(&name)?;
/// # Ok(())
/// # }
/// ```
pub struct SpscRing<T: Pod>(Handle<SpscCell<T>>);

pub(crate) struct SpscCell<T>(PhantomData<T>);

/// A place for a value.
#[repr(transparent)]
pub(crate) struct Place<T>(UnsafeCell<T>);

// SAFETY: `repr(C)`, of atomics only.
unsafe impl Shared for SpscWords {}

// SAFETY: a cell of plain data, which nobody touches but the end whose place it is.
unsafe impl<T: Pod> Shared for Place<T> {}

// SAFETY: the body is the words and the places; zeroed ones are an empty ring.
unsafe impl<T: Pod> Resident for SpscCell<T> {
    const KIND: Kind = Kind::SpscRing;
    type Head = SpscWords;
    type Element = T;
    type Stored = Place<T>;

    fn check(dims: Dims) -> Result<()> {
        check_capacity(dims)
    }
}

impl<T: Pod> SpscRing<T> {
    /// The most values that a ring can have room for.
    pub const MAX: usize = MOST_SLOTS;

    counted_constructors!("ring", capacity, "values", with_capacity, with_capacity_in);

    fn dims(capacity: usize) -> Result<Dims> {
        let dims = Dims::new(&[capacity])?;
        SpscCell::<T>::check(dims)?;
        Ok(dims)
    }

    /// The end where values go in.
    ///
    /// # Examples
    ///
    /// See the type.
    #[must_use]
    pub fn producer(&self) -> Producer<T> {
        Producer(End::new(self.clone()))
    }

    /// The end where values come out.
    ///
    /// # Examples
    ///
    /// See the type.
    #[must_use]
    pub fn consumer(&self) -> Consumer<T> {
        Consumer(End::new(self.clone()))
    }

    /// The number of values in it. It may be another one at once.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let ring = shmkit::SpscRing::with_capacity(4)?;
    /// ring.producer().push_slice(&[1, 2, 3])?;
    /// assert_eq!((ring.len(), ring.capacity(), ring.is_empty()), (3, 4, false));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn len(&self) -> usize {
        self.side(Side::Consumer).len() as usize
    }

    /// Whether there is nothing in it.
    ///
    /// # Examples
    ///
    /// See [`len`](Self::len).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of values that it has room for.
    ///
    /// # Examples
    ///
    /// See [`len`](Self::len).
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.0.len()
    }

    #[inline]
    fn side(&self, side: Side) -> Spsc<'_> {
        Spsc { words: self.0.head(), side, capacity: self.0.len() as u64 }
    }
}

resident_handle!(SpscRing<T: Pod>, SpscCell<T>, "ring");

impl<T: Pod> fmt::Debug for SpscRing<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpscRing").field("len", &self.len()).field("capacity", &self.capacity()).finish()
    }
}

impl<T: Pod> Ring<T> {
    /// Both ends of a new ring for one producer and one consumer, see [`SpscRing`].
    ///
    /// # Errors
    ///
    /// As [`with_capacity`](Self::with_capacity).
    ///
    /// # Examples
    ///
    /// See [`SpscRing`].
    pub fn spsc(capacity: usize) -> Result<(Producer<T>, Consumer<T>)> {
        let ring = SpscRing::with_capacity(capacity)?;
        Ok((ring.producer(), ring.consumer()))
    }
}

/// The end of an [`SpscRing`] where values go in. It takes the role when it is first used.
///
/// It can be sent to a process as an argument: the copy there has not been used yet. This one has its role, if it was used,
/// until it is dropped, which is when the start returns; the copy waits for that.
///
/// # Examples
///
/// See [`SpscRing`].
pub struct Producer<T: Pod>(End<T>);

/// The end of an [`SpscRing`] where values come out. It takes the role when it is first used.
///
/// It can be sent to a process as an argument: the copy there has not been used yet. This one has its role, if it was used,
/// until it is dropped, which is when the start returns; the copy waits for that.
///
/// # Examples
///
/// See [`SpscRing`].
pub struct Consumer<T: Pod>(End<T>);

/// No counter is this.
const UNKNOWN: u64 = u64::MAX;

/// What one end keeps for itself.
struct End<T: Pod> {
    ring: SpscRing<T>,
    /// Who took the role, and by which number.
    role: Option<(MemberId, u32)>,
    /// The process in which it did: after a fork this end is a copy, and has no role.
    taken_in: Generation,
    light: Light,
    /// The other side's counter, when it was last looked at.
    theirs: u64,
    /// A copy of its own counter, or [`UNKNOWN`]: see [`learn`](Self::learn).
    mine: AtomicU64,
    patience: Patience,
    linger: Linger,
}

impl<T: Pod> End<T> {
    fn new(ring: SpscRing<T>) -> Self {
        Self {
            ring,
            role: None,
            taken_in: Generation::NONE,
            light: Light::NONE,
            theirs: 0,
            mine: AtomicU64::new(UNKNOWN),
            patience: Patience::default(),
            linger: Linger::default(),
        }
    }

    /// The places that are known to be this end's: none if it has not the role, or if the ring is closed.
    ///
    /// Few stores, here and in what is inlined around it: see [`raw::spsc`](crate::raw::spsc).
    #[inline(always)]
    fn known(&self, side: Side) -> Option<Places> {
        let raw = self.ring.side(side);
        if !self.taken_in.is_this() || side == Side::Producer && raw.is_closed() {
            return None;
        }
        let mine = match self.mine.load(Relaxed) {
            UNKNOWN => raw.position(),
            mine => mine,
        };
        raw.places_from(mine, self.theirs).filter(|places| places.count > 0)
    }

    /// Takes note of the other side's counter, and of its own if the other is at its heels: then that looks at the counter all
    /// the time, and its line is more there than here. If it is not, the line is here, and a copy costs a store for each message.
    #[inline]
    fn learn(&mut self, side: Side, theirs: u64) {
        self.theirs = theirs;
        let raw = self.ring.side(side);
        let is_followed =
            side == Side::Producer && raw.places(theirs).is_some_and(|places| places.count + 1 >= self.ring.capacity());
        self.mine.store(if is_followed { raw.position() } else { UNKNOWN }, Relaxed);
    }

    /// The places that come while this end spins. Out of the way of who has not to wait.
    #[cold]
    #[inline(never)]
    fn catch(&mut self, side: Side, wait: Wait) -> bool {
        if wait == Wait::No || !self.taken_in.is_this() {
            return false;
        }
        let caught = self.ring.side(side).catch(&self.patience, &self.linger);
        caught.inspect(|theirs| self.learn(side, *theirs)).is_some()
    }

    /// The places that are this end's, at least one, where none is known: takes the role, and waits.
    #[cold]
    fn find(&mut self, side: Side, wait: Wait) -> Result<()> {
        if !self.taken_in.is_this() {
            self.take_role(side, wait)?;
        }
        let theirs = self.ring.side(side).wait(&self.patience, &self.linger, wait)?;
        self.learn(side, theirs);
        Ok(())
    }

    /// The places that are this end's, at least one.
    #[inline(always)]
    fn ready(&mut self, side: Side, wait: Wait) -> Result<Places> {
        loop {
            if let Some(places) = self.known(side) {
                return Ok(places);
            }
            if !self.catch(side, wait) {
                self.find(side, wait)?;
            }
        }
    }

    /// The places that are this end's, at least one: `wanted` if there are so many, whether that was known or not.
    #[inline]
    fn ready_for(&mut self, side: Side, wanted: usize, wait: Wait) -> Result<Places> {
        match self.known(side) {
            Some(places) if places.count < wanted && places.count < self.ring.capacity() => {
                let raw = self.ring.side(side);
                let theirs = raw.look();
                let now = raw.checked_places(theirs)?;
                if now.count < places.count {
                    return Ok(places);
                }
                self.learn(side, theirs);
                Ok(now)
            }
            Some(places) => Ok(places),
            // That looks at the counter in any case.
            None => self.ready(side, wait),
        }
    }

    #[cold]
    fn take_role(&mut self, side: Side, wait: Wait) -> Result<()> {
        static NUMBERS: AtomicU32 = AtomicU32::new(1);
        let me = self.ring.0.member()?;
        self.role = None;
        let number = NUMBERS.fetch_add(1, Relaxed);
        let members = self.ring.0.members()?;
        let raw = self.ring.side(side);
        raw.take_role(me, number, &members, wait)?;
        self.light = Light::register();
        self.theirs = raw.nothing_known();
        self.mine.store(UNKNOWN, Relaxed);
        self.role = Some((me, number));
        self.taken_in = Generation::this()?;
        Ok(())
    }

    /// The first `count` of `places`, which are [`ready`](Self::ready): up to the end, and from the beginning on.
    #[inline(always)]
    fn pointers(&self, places: Places, count: usize) -> [(*mut T, usize); 2] {
        let all = self.ring.0.elements();
        let first = count.min(all.len() - places.at);
        let start = all.as_ptr().cast::<T>().cast_mut();
        // SAFETY: `at` is less than the number of places.
        let here = unsafe { start.add(places.at) };
        [(here, first), (start, count - first)]
    }

    /// Has the processor take a place from the other core that is to be written soon, if it is known to be this end's: so
    /// the next messages are on their way while this one is at work. Reading ones ahead has not helped.
    #[inline(always)]
    fn look_ahead(&self, places: Places) {
        const BYTES: usize = 512;
        let ahead = BYTES / size_of::<T>().clamp(1, BYTES);
        if places.count > ahead {
            let at = places.at + ahead;
            let at = if at >= self.ring.capacity() { at - self.ring.capacity() } else { at };
            prefetch::to_write(self.ring.0.elements().as_ptr().wrapping_add(at));
        }
    }

    /// Hands `count` places over to the other side.
    #[inline(always)]
    fn advance(&self, side: Side, places: Places, count: usize) {
        let next = self.ring.side(side).advance(places, count, self.light);
        if self.mine.load(Relaxed) != UNKNOWN {
            self.mine.store(next, Relaxed);
        }
    }

    fn leave(&mut self, side: Side) {
        if let Some((owner, number)) = self.role.take()
            && self.taken_in.is_this()
        {
            self.ring.side(side).leave_role(owner, number);
        }
    }

    fn close(&mut self, side: Side) -> Result<()> {
        if !self.taken_in.is_this() {
            self.take_role(side, Wait::Forever)?;
        }
        self.ring.side(side).close(self.light);
        Ok(())
    }
}

impl<T: Pod> Producer<T> {
    #[inline(always)]
    fn push_within(&mut self, value: T, wait: Wait) -> Result<()> {
        let places = self.0.ready(Side::Producer, wait)?;
        self.0.look_ahead(places);
        let [(place, _), _] = self.0.pointers(places, 1);
        // SAFETY: the place is this end's alone, in the mapping, aligned.
        unsafe { place.write(value) };
        self.0.advance(Side::Producer, places, 1);
        Ok(())
    }

    #[inline]
    fn push_slice_within(&mut self, values: &[T], wait: Wait) -> Result<usize> {
        if values.is_empty() {
            return Ok(0);
        }
        let places = self.0.ready_for(Side::Producer, values.len(), wait)?;
        let count = places.count.min(values.len());
        let [(here, first), (start, rest)] = self.0.pointers(places, count);
        // SAFETY: so many places from there on are this end's alone, so `values` lies elsewhere: in a place of this ring
        // only if the other end has lent that out, whose it then is.
        unsafe { ptr::copy_nonoverlapping(values.as_ptr(), here, first) };
        let values = &values[first..];
        // SAFETY: as above.
        unsafe { ptr::copy_nonoverlapping(values.as_ptr(), start, rest) };
        self.0.advance(Side::Producer, places, count);
        Ok(count)
    }

    four_forms_mut! {
        /// Puts a value in, and waits until there is room.
        ///
        /// # Errors
        ///
        /// [`RoleTaken`](crate::Error::RoleTaken) when another one is the producer; [`Closed`](crate::Error::Closed);
        /// [`TooManyMembers`](crate::Error::TooManyMembers), [`ReadOnly`](crate::Error::ReadOnly),
        /// [`Corrupt`](crate::Error::Corrupt).
        ///
        /// # If a process dies
        ///
        /// The consumer's death makes no room: another consumer does.
        ///
        /// # Examples
        ///
        /// See [`SpscRing`].
        push, try_push, push_timeout, push_deadline(value: T) -> (): push_within
    }

    four_forms_mut! {
        /// Puts in as many of the values, from the first on, as there is room for, and waits until there is room for one.
        /// Returns how many.
        ///
        /// # Errors
        ///
        /// As [`push`](Self::push).
        ///
        /// # Examples
        ///
        /// See [`SpscRing::len`].
        push_slice, try_push_slice, push_slice_timeout, push_slice_deadline(values: &[T]) -> usize: push_slice_within
    }

    /// Nothing more will come: the consumer gets what is in, and then [`Closed`](crate::Error::Closed).
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push) when the role was not taken yet.
    ///
    /// # Examples
    ///
    /// See [`SpscRing`].
    pub fn close(&mut self) -> Result<()> {
        self.0.close(Side::Producer)
    }
}

impl<T: Pod> Consumer<T> {
    #[inline(always)]
    fn pop_within(&mut self, wait: Wait) -> Result<T> {
        let places = self.0.ready(Side::Consumer, wait)?;
        let [(place, _), _] = self.0.pointers(places, 1);
        // SAFETY: the place is this end's alone, in the mapping, aligned; any bits are a `T`.
        let value = unsafe { place.read() };
        self.0.advance(Side::Consumer, places, 1);
        Ok(value)
    }

    #[inline]
    fn pop_slice_within(&mut self, values: &mut [T], wait: Wait) -> Result<usize> {
        if values.is_empty() {
            return Ok(0);
        }
        let places = self.0.ready_for(Side::Consumer, values.len(), wait)?;
        let count = places.count.min(values.len());
        let [(here, first), (start, rest)] = self.0.pointers(places, count);
        // SAFETY: so many places from there on are this end's alone, any bits are a `T`, and `values` lies elsewhere, as in
        // `push_slice_within`.
        unsafe { ptr::copy_nonoverlapping(here, values.as_mut_ptr(), first) };
        let values = &mut values[first..];
        // SAFETY: as above.
        unsafe { ptr::copy_nonoverlapping(start, values.as_mut_ptr(), rest) };
        self.0.advance(Side::Consumer, places, count);
        Ok(count)
    }

    four_forms_mut! {
        /// Takes the next value, and waits until there is one.
        ///
        /// # Errors
        ///
        /// [`RoleTaken`](crate::Error::RoleTaken) when another one is the consumer; [`Closed`](crate::Error::Closed)
        /// when nothing is left besides; else as [`Producer::push`].
        ///
        /// # If a process dies
        ///
        /// The producer's death is no end: another one can take the role. What it published arrives.
        ///
        /// # Examples
        ///
        /// See [`SpscRing`].
        pop, try_pop, pop_timeout, pop_deadline() -> T: pop_within
    }

    four_forms_mut! {
        /// Takes as many values as there are, and as `values` has room for, and waits until there is one. Returns how
        /// many.
        ///
        /// # Errors
        ///
        /// As [`pop`](Self::pop).
        ///
        /// # If a process dies
        ///
        /// It has taken all that it returns, or none of it.
        ///
        /// # Examples
        ///
        /// See [`SpscRing`].
        pop_slice, try_pop_slice, pop_slice_timeout, pop_slice_deadline(values: &mut [T]) -> usize: pop_slice_within
    }

    /// Takes no more: the producer gets [`Closed`](crate::Error::Closed). What is in can still be taken, and what the producer
    /// is just putting in may come even after `Closed`.
    ///
    /// # Errors
    ///
    /// As [`pop`](Self::pop) when the role was not taken yet.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// use shmkit::{Error, Ring};
    ///
    /// let (mut producer, mut consumer) = Ring::spsc(2)?;
    /// consumer.close()?;
    /// assert!(matches!(producer.push(1_u8), Err(Error::Closed)));
    /// # Ok(())
    /// # }
    /// ```
    pub fn close(&mut self) -> Result<()> {
        self.0.close(Side::Consumer)
    }
}

/// What both ends share: the ring, and how they travel.
macro_rules! end_of_ring {
    ($end:ident, $side:expr) => {
        impl<T: Pod> $end<T> {
            /// The ring that this is an end of.
            ///
            /// # Examples
            ///
            /// ```
            /// # fn main() -> shmkit::Result<()> {
            /// let (producer, consumer) = shmkit::Ring::<u8>::spsc(2)?;
            /// assert!(producer.ring().is_same(consumer.ring()));
            /// # Ok(())
            /// # }
            /// ```
            #[must_use]
            pub fn ring(&self) -> &SpscRing<T> {
                &self.0.ring
            }
        }

        /// For whoever knows at run time only what the values are.
        #[cfg(feature = "capi")]
        impl<T: Pod> $end<T> {
            /// As many places as are this end's, and one at least; it looks for more of them than it knows if `wanted` is more.
            #[inline(always)]
            pub(crate) fn places(&mut self, wanted: usize, wait: Wait) -> Result<Places> {
                if wanted == 1 { self.0.ready($side, wait) } else { self.0.ready_for($side, wanted, wait) }
            }

            /// Hands the first `count` of these places over.
            #[inline(always)]
            pub(crate) fn hand_over(&mut self, places: Places, count: usize) {
                self.0.advance($side, places, count);
            }

            pub(crate) fn handle(&self) -> &Handle<SpscCell<T>> {
                &self.0.ring.0
            }
        }

        impl<T: Pod> Drop for $end<T> {
            fn drop(&mut self) {
                self.0.leave($side);
            }
        }

        impl<T: Pod> Serialize for $end<T> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.0.ring.serialize(serializer)
            }
        }

        impl<'de, T: Pod> Deserialize<'de> for $end<T> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                SpscRing::deserialize(deserializer).map(|ring| Self(End::new(ring)))
            }
        }

        impl<T: Pod> fmt::Debug for $end<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($end)).field("ring", &self.0.ring).finish_non_exhaustive()
            }
        }
    };
}

end_of_ring!(Producer, Side::Producer);
end_of_ring!(Consumer, Side::Consumer);
