//! An array in shared memory, with its lock.

#![expect(unsafe_code, reason = "reaches the elements under the array's lock")]

use std::{
    fmt,
    ops::{Deref, DerefMut, Index, IndexMut, Range},
    ptr::NonNull,
    slice,
};

use bytemuck::Pod;

use super::{
    ArrayIndex,
    cells::ArrayCell,
    claim::split,
    index::{check_span, out_of_range},
    shape::{dims, growing},
};
use crate::{
    Poison, Result,
    os::{clock::Wait, copy},
    raw::mutex::{Hold, Use},
    region::{Handle, Intent, Place, Region, resident_handle},
    sync::{
        CondvarGuard,
        held::{ForAWait, Held, LockOf, Owner, Release, give_back, locking},
    },
};

/// An array of plain data in shared memory, of one to eight dimensions, with one lock.
///
/// The guard of the lock is a slice. Elements lie in row-major order. Several processes can work on different parts at
/// the same time: see [`claim_mut`](Self::claim_mut).
///
/// One that was made to [grow](Self::growable) can become longer while others have it.
///
/// # If a process dies
///
/// One that dies while it holds the lock poisons it: see [`Poison`](crate::Poison).
///
/// # Examples
///
/// ```
/// # fn main() -> shmkit::Result<()> {
/// use shmkit::Array;
///
/// let array = Array::from_iter(0..10)?;
/// for x in array.lock()?.iter_mut() {
///     *x = -*x;
/// }
/// assert_eq!(array.get(9)?, -9);
///
/// let grid = Array::<f64>::zeros([3, 4])?;
/// grid.lock()?[[2, 3]] = 1.0;
/// assert_eq!(grid.to_vec()?[11], 1.0);
/// # Ok(())
/// # }
/// ```
pub struct Array<T: Pod>(Handle<ArrayCell<T>>);

/// The constructors that all kinds of arrays have, and what they know of their shape.
macro_rules! array_constructors {
    ($t:ident, $read_only:ident) => {
        /// Zeros, in shared memory of their own.
        ///
        /// # Errors
        ///
        /// [`InvalidSize`](crate::Error::InvalidSize) when the size overflows or there are no, or more than 8,
        /// dimensions; else as [`Region::anonymous`](crate::Region::anonymous).
        ///
        /// # Examples
        ///
        /// See the type.
        pub fn zeros(shape: impl crate::Shape) -> crate::Result<Self> {
            crate::region::Handle::new(crate::data::shape::dims(&shape)?, &|_| {}).map(Self)
        }

        /// Zeros in a region, under a name or (`None`) without one.
        ///
        /// # Errors
        ///
        /// As [`zeros`](Self::zeros), and [`AlreadyExists`](crate::Error::AlreadyExists),
        /// [`RegionFull`](crate::Error::RegionFull), [`InvalidName`](crate::Error::InvalidName),
        /// [`ReadOnly`](crate::Error::ReadOnly).
        ///
        /// # Examples
        ///
        /// See [`Region`](crate::Region).
        pub fn zeros_in<'n>(
            region: &crate::Region,
            name: impl Into<Option<&'n str>>,
            shape: impl crate::Shape,
        ) -> crate::Result<Self> {
            crate::region::Handle::new_in(region, name.into(), crate::data::shape::dims(&shape)?, &|_| {}).map(Self)
        }

        /// The array of this name in a region, or zeros.
        ///
        /// # Errors
        ///
        /// As [`zeros_in`](Self::zeros_in), and [`TypeMismatch`](crate::Error::TypeMismatch) when it has another type
        /// or shape.
        ///
        /// # Examples
        ///
        /// See [`Value::open_or_create_in`](crate::Value::open_or_create_in).
        pub fn open_or_create_in(region: &crate::Region, name: &str, shape: impl crate::Shape) -> crate::Result<Self> {
            crate::region::Handle::open_or_create_in(region, name, crate::data::shape::dims(&shape)?, &|_| {}).map(Self)
        }

        /// Zeros that other programs find by name or file.
        ///
        /// # Errors
        ///
        /// As [`Region::create`](crate::Region::create), and [`InvalidSize`](crate::Error::InvalidSize).
        ///
        /// # Examples
        ///
        /// ```
        /// # fn main() -> shmkit::Result<()> {
        /// use shmkit::Array;
        ///
        /// let name = format!("shmkit-doc-array-{}", std::process::id());
        /// let field = Array::<f64>::create(&name, [10, 10])?;
        /// assert_eq!(Array::<f64>::open(&name)?.shape(), [10, 10]);
        /// assert!(Array::<f32>::open(&name).is_err());
        /// Array::<f64>::unlink(&name)?;
        /// # Ok(())
        /// # }
        /// ```
        pub fn create(at: impl Into<crate::region::Place>, shape: impl crate::Shape) -> crate::Result<Self> {
            let (intent, dims) = (crate::region::Intent::Create, crate::data::shape::dims(&shape)?);
            crate::region::Handle::at_place(&at.into(), intent, dims, &|_| {}).map(Self)
        }

        /// The array at this name or file, or zeros: also where a creator died on the way.
        ///
        /// # Errors
        ///
        /// As [`create`](Self::create) and [`open`](Self::open); [`TypeMismatch`](crate::Error::TypeMismatch) when the
        /// array has another type or shape.
        ///
        /// # Examples
        ///
        /// See [`create`](Self::create).
        pub fn open_or_create(at: impl Into<crate::region::Place>, shape: impl crate::Shape) -> crate::Result<Self> {
            let (intent, dims) = (crate::region::Intent::OpenOrCreate, crate::data::shape::dims(&shape)?);
            crate::region::Handle::at_place(&at.into(), intent, dims, &|_| {}).map(Self)
        }

        /// The array at this name or file, for reading only.
        ///
        /// # Errors
        ///
        /// As [`open`](Self::open).
        ///
        /// # Examples
        ///
        /// See [`ReadOnlyArray`](crate::ReadOnlyArray).
        pub fn open_read_only(at: impl Into<crate::region::Place>) -> crate::Result<crate::ReadOnlyArray<$t>> {
            crate::ReadOnlyArray::$read_only(&at.into())
        }

        /// Says on which memory nodes the pages of these elements are to be from now on: those that have no others. For
        /// slabs of a large array whose processes run on different nodes.
        ///
        /// # Errors
        ///
        /// [`OutOfRange`](crate::Error::OutOfRange), and as [`Region::place`](crate::Region::place).
        ///
        /// # Examples
        ///
        /// ```
        /// # fn main() -> shmkit::Result<()> {
        /// use shmkit::{Array, Error, region::Numa};
        ///
        /// let field = Array::<f64>::zeros([1024, 1024])?;
        /// match field.place(0..512 * 1024, Numa::Bind(0)).and_then(|()| field.nodes(0..512 * 1024)) {
        ///     Ok(nodes) => assert_eq!(nodes.len(), 512 * 1024 * 8 / 4096 + 1),
        ///     Err(Error::Unsupported { reason }) => println!("{reason}"),
        ///     Err(error) => return Err(error),
        /// }
        /// # Ok(())
        /// # }
        /// ```
        pub fn place(&self, elements: std::ops::Range<usize>, numa: crate::region::Numa) -> crate::Result<()> {
            self.0.place(crate::data::index::check_range(elements, self.len())?, numa)
        }

        /// The memory node of each page that these elements have a part of, `None` for those that this process has not
        /// touched.
        ///
        /// # Errors
        ///
        /// [`OutOfRange`](crate::Error::OutOfRange), and as [`Region::nodes`](crate::Region::nodes).
        ///
        /// # Examples
        ///
        /// See [`place`](Self::place).
        pub fn nodes(&self, elements: std::ops::Range<usize>) -> crate::Result<Vec<Option<usize>>> {
            self.0.nodes(crate::data::index::check_range(elements, self.len())?)
        }

        /// The number of elements.
        ///
        /// # Examples
        ///
        /// See [`Shape`](crate::Shape).
        #[must_use]
        pub fn len(&self) -> usize {
            self.0.len_now()
        }

        /// Whether it has no elements.
        ///
        /// # Examples
        ///
        /// ```
        /// # fn main() -> shmkit::Result<()> {
        /// assert!(shmkit::Array::<u8>::zeros(0)?.is_empty());
        /// # Ok(())
        /// # }
        /// ```
        #[must_use]
        pub fn is_empty(&self) -> bool {
            self.len() == 0
        }

        /// The lengths of the dimensions. Of an array that grows each answer is kept as long as the handle.
        ///
        /// # Examples
        ///
        /// See [`Shape`](crate::Shape).
        #[must_use]
        pub fn shape(&self) -> &[usize] {
            self.0.shape()
        }
    };
}
pub(crate) use array_constructors;

impl<T: Pod> Array<T> {
    array_constructors!(T, from_array);

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
    /// assert_eq!(shmkit::Array::from_slice(&[1, 2, 3])?.to_vec()?, [1, 2, 3]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_slice(elements: &[T]) -> Result<Self> {
        Handle::new(dims(&elements.len())?, &|fresh| copy_in(fresh.data, elements)).map(Self)
    }

    /// The items of an iterator, in one dimension, in shared memory of their own.
    ///
    /// # Errors
    ///
    /// As [`zeros`](Self::zeros).
    ///
    /// # Examples
    ///
    /// See the type.
    #[expect(clippy::should_implement_trait, reason = "the trait cannot fail, and memory can")]
    pub fn from_iter(items: impl IntoIterator<Item = T>) -> Result<Self> {
        Self::from_slice(&items.into_iter().collect::<Vec<_>>())
    }

    /// A copy of `elements`, in one dimension, in a region.
    ///
    /// # Errors
    ///
    /// As [`zeros_in`](Self::zeros_in).
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let region = shmkit::Region::anonymous(4096)?;
    /// assert_eq!(shmkit::Array::from_slice_in(&region, "a", &[1, 2, 3])?.to_vec()?, [1, 2, 3]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_slice_in<'n>(region: &Region, name: impl Into<Option<&'n str>>, elements: &[T]) -> Result<Self> {
        Handle::new_in(region, name.into(), dims(&elements.len())?, &|fresh| copy_in(fresh.data, elements)).map(Self)
    }

    /// A copy of `elements`, in one dimension, that other programs find by name or file.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create).
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// use shmkit::Array;
    ///
    /// let name = format!("shmkit-doc-array-from-{}", std::process::id());
    /// let array = Array::create_from_slice(&name, &[1, 2, 3])?;
    /// assert_eq!(Array::<i32>::open(&name)?.to_vec()?, [1, 2, 3]);
    /// Array::<i32>::unlink(&name)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn create_from_slice(at: impl Into<Place>, elements: &[T]) -> Result<Self> {
        let dims = dims(&elements.len())?;
        Handle::at_place(&at.into(), Intent::Create, dims, &|fresh| copy_in(fresh.data, elements)).map(Self)
    }

    /// Zeros that can become more: the array can [grow](Self::extend_from_slice) at its end, up to `most` rows
    /// (elements, if it has one dimension), and a few more where they are smaller than 8 bytes, of which its room is a
    /// multiple. It has addresses for all of them from the start, and memory for those that there are.
    ///
    /// # Errors
    ///
    /// As [`zeros`](Self::zeros); [`InvalidSize`](crate::Error::InvalidSize) when `most` is 0 or less than there are
    /// rows, or when a row has no bytes.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let log = shmkit::Array::<u64>::growable(0, 1 << 30)?;
    /// let other = log.clone();
    /// log.extend_from_slice(&[1, 2, 3])?;
    /// log.push(4)?;
    /// assert_eq!((other.len(), other.to_vec()?), (4, vec![1, 2, 3, 4]));
    /// # Ok(())
    /// # }
    /// ```
    pub fn growable(shape: impl crate::Shape, most: usize) -> Result<Self> {
        Handle::new(growing(&shape, most)?, &|_| {}).map(Self)
    }

    /// As [`growable`](Self::growable), in a region, which grows with the array if it can. The room for `most` rows is
    /// the array's, whether there are so many or not; what is made after it gets room when the region has grown past
    /// it. A region has memory from its beginning up to some end: when an array grows that was made after this one, all of
    /// this one's room gets memory too, unless the region is [sparse](crate::region::RegionOptions::sparse).
    ///
    /// # Errors
    ///
    /// As [`growable`](Self::growable) and [`zeros_in`](Self::zeros_in).
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// use shmkit::{Array, Region};
    ///
    /// let region = Region::options().size(1 << 16).max_size(1 << 30).create()?;
    /// let steps = Array::<[f64; 4]>::growable_in(&region, "steps", 0, 1 << 20)?;
    /// steps.extend_from_slice(&vec![[0.5; 4]; 10_000])?;
    /// assert_eq!(Array::<[f64; 4]>::open_in(&region, "steps")?.len(), 10_000);
    /// assert!(region.size() > 10_000 * 32);
    /// # Ok(())
    /// # }
    /// ```
    pub fn growable_in<'n>(
        region: &Region,
        name: impl Into<Option<&'n str>>,
        shape: impl crate::Shape,
        most: usize,
    ) -> Result<Self> {
        Handle::new_in(region, name.into(), growing(&shape, most)?, &|_| {}).map(Self)
    }

    /// As [`growable`](Self::growable), for other programs to find by name or file.
    ///
    /// # Errors
    ///
    /// As [`growable`](Self::growable) and [`create`](Self::create).
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// use shmkit::Array;
    ///
    /// let name = format!("shmkit-doc-growable-{}", std::process::id());
    /// let rows = Array::<f32>::create_growable(&name, [0, 3], 1000)?;
    /// rows.extend_from_slice(&[1.0, 2.0, 3.0])?;
    /// assert_eq!(Array::<f32>::open(&name)?.shape(), [1, 3]);
    /// Array::<f32>::unlink(&name)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn create_growable(at: impl Into<Place>, shape: impl crate::Shape, most: usize) -> Result<Self> {
        Handle::at_place(&at.into(), Intent::Create, growing(&shape, most)?, &|_| {}).map(Self)
    }

    /// Zeros whose memory comes by [`commit`](Self::commit), from whoever is to work with it.
    #[cfg(feature = "mpi")]
    pub(crate) fn zeros_without_memory(shape: &impl crate::Shape) -> Result<Self> {
        Handle::new_without_memory(dims(shape)?).map(Self)
    }

    /// Reserves the memory of these elements on the calling thread's node.
    #[cfg(feature = "mpi")]
    pub(crate) fn commit(&self, elements: Range<usize>) -> Result<()> {
        self.0.commit(elements)
    }

    /// Appends a copy of `elements`, which are whole rows, to an array that was made to [grow](Self::growable).
    ///
    /// Nothing moves: pointers, claims and handles stay what they are, here and in every other process, and see the old
    /// length or the new one, with all of its elements. It waits for whoever has the lock, and not for claims; who would
    /// claim a part waits until the copy is made. To take the lock another way, or to do more under it, use [the
    /// guard's](ArrayGuard::extend_from_slice).
    ///
    /// # Errors
    ///
    /// [`RegionFull`](crate::Error::RegionFull) when there would be more than the array was made for,
    /// [`OutOfMemory`](crate::Error::OutOfMemory), [`InvalidArgument`](crate::Error::InvalidArgument) when these are no
    /// whole rows or the array does not grow, and as [`lock`](Self::lock).
    ///
    /// # If a process dies
    ///
    /// One that dies meanwhile leaves the old length or the new one, and no poison: what it had written behind the end
    /// is overwritten by the next.
    ///
    /// # Examples
    ///
    /// See [`growable`](Self::growable).
    pub fn extend_from_slice(&self, elements: &[T]) -> Result<()> {
        let _held = self.hold_to_grow(Wait::Forever)?;
        self.append(elements)
    }

    /// Appends one element to an array of one dimension, or to rows of one element.
    ///
    /// # Errors
    ///
    /// As [`extend_from_slice`](Self::extend_from_slice).
    ///
    /// # If a process dies
    ///
    /// As [`extend_from_slice`](Self::extend_from_slice).
    ///
    /// # Examples
    ///
    /// See [`growable`](Self::growable).
    pub fn push(&self, element: T) -> Result<()> {
        self.extend_from_slice(slice::from_ref(&element))
    }

    /// Appends zeros until there are `rows` rows (elements, if it has one dimension). If there are as many already,
    /// nothing happens: an array never shrinks.
    ///
    /// # Errors
    ///
    /// As [`extend_from_slice`](Self::extend_from_slice).
    ///
    /// # If a process dies
    ///
    /// As [`extend_from_slice`](Self::extend_from_slice).
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let grid = shmkit::Array::<f64>::growable([1, 4], 100)?;
    /// let mut first = grid.claim_rows_mut(..)?;
    /// grid.grow(50)?;
    /// first.fill(1.0);
    /// assert_eq!((grid.shape(), grid.capacity()), (&[50, 4][..], 400));
    /// # Ok(())
    /// # }
    /// ```
    pub fn grow(&self, rows: usize) -> Result<()> {
        let _held = self.hold_to_grow(Wait::Forever)?;
        self.append_zeros(rows)
    }

    /// The most elements that it can have: as many as it has, unless it was made to [grow](Self::growable).
    ///
    /// # Examples
    ///
    /// See [`grow`](Self::grow).
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.0.most()
    }

    /// The array's lock, held for bookkeeping: a death meanwhile does not poison.
    pub(crate) fn hold_to_grow(&self, wait: Wait) -> Result<Hold<'_>> {
        let mutex = &self.0.head().mutex;
        mutex.lock(Use::Table, wait)?;
        if mutex.is_poisoned() {
            return Err(give_back(mutex));
        }
        Ok(Hold(mutex))
    }

    /// For the holder of the lock.
    fn append(&self, elements: &[T]) -> Result<()> {
        self.0.append(elements.len(), |place| {
            // SAFETY: the place is for so many elements; who looks there before the length says so (a reader of an
            // image) does it atomically. A `Pod` has no padding.
            unsafe { copy::store(elements.as_ptr(), place.cast().as_ptr(), elements.len()) };
        })
    }

    /// For the holder of the lock.
    fn append_zeros(&self, rows: usize) -> Result<()> {
        let (len, row) = (self.0.len_now(), self.0.others().iter().product::<usize>());
        let wanted = rows.checked_mul(row).ok_or_else(|| crate::Error::invalid_size(format!("{rows} rows")))?;
        let Some(more) = wanted.checked_sub(len).filter(|more| *more > 0) else { return Ok(()) };
        self.0.append(more, |place| {
            // Not zero where somebody died who was about to append.
            // SAFETY: the place is for so many elements, which nobody sees yet.
            unsafe { place.cast::<T>().write_bytes(0, more) };
        })
    }

    locking!(ArrayGuard<'_, T>);

    /// A copy of one element, taken under the lock.
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock), and [`OutOfRange`](crate::Error::OutOfRange).
    ///
    /// # Examples
    ///
    /// See [`ArrayIndex`].
    pub fn get(&self, at: impl ArrayIndex<T, Output = T>) -> Result<T> {
        let index = at.describe();
        let guard = self.lock()?;
        at.get(&guard, self.0.index_shape()).copied().ok_or_else(|| out_of_range(index, &self.0.lengths_of(guard.len)))
    }

    /// Replaces one element, under the lock.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let array = shmkit::Array::<u8>::zeros([2, 2])?;
    /// array.set([1, 0], 5)?;
    /// assert_eq!(array.update(2, |x| x + 1)?, 6);
    /// # Ok(())
    /// # }
    /// ```
    pub fn set(&self, at: impl ArrayIndex<T, Output = T>, value: T) -> Result<()> {
        self.update(at, |_| value).map(drop)
    }

    /// Replaces one element by `change` of it, under the lock, and returns the new one.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    ///
    /// # Panics
    ///
    /// Where `change` does; the lock is then poisoned.
    ///
    /// # Examples
    ///
    /// See [`set`](Self::set).
    pub fn update(&self, at: impl ArrayIndex<T, Output = T>, change: impl FnOnce(T) -> T) -> Result<T> {
        let index = at.describe();
        let mut guard = self.lock()?;
        let len = guard.len;
        let element = at.get_mut(&mut guard, self.0.index_shape());
        let element = element.ok_or_else(|| out_of_range(index, &self.0.lengths_of(len)))?;
        *element = change(*element);
        Ok(*element)
    }

    /// A copy of all elements, taken under the lock.
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock).
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn to_vec(&self) -> Result<Vec<T>> {
        self.lock().map(|guard| guard.to_vec())
    }

    /// Copies the elements from `at` on into `buffer`, under the lock.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let array = shmkit::Array::from_iter(0..10)?;
    /// let mut middle = [0; 3];
    /// array.load_into(4, &mut middle)?;
    /// assert_eq!(middle, [4, 5, 6]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn load_into(&self, at: usize, buffer: &mut [T]) -> Result<()> {
        self.check_span(at, buffer.len())?;
        buffer.copy_from_slice(&self.lock()?[at..at + buffer.len()]);
        Ok(())
    }

    /// Copies `elements` over those from `at` on, under the lock.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let array = shmkit::Array::<u8>::zeros(4)?;
    /// array.store_from(1, &[7, 8])?;
    /// assert_eq!(array.to_vec()?, [0, 7, 8, 0]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn store_from(&self, at: usize, elements: &[T]) -> Result<()> {
        self.check_span(at, elements.len())?;
        self.lock()?[at..at + elements.len()].copy_from_slice(elements);
        Ok(())
    }

    fn check_span(&self, at: usize, count: usize) -> Result<()> {
        let len = self.len();
        check_span(at, count, len, || self.0.lengths_of(len))
    }

    #[inline(always)]
    pub(crate) fn acquire(&self, wait: Wait) -> Result<ArrayGuard<'_, T>> {
        let words = self.0.head();
        let held = Held::lock(&words.mutex, wait)?;
        // One branch for both: each costs a tenth of the whole.
        let mut len = self.0.len();
        if words.is_busy() | self.0.grows() {
            len = self.look_around(wait)?;
        }
        Ok(ArrayGuard { held, array: self, data: self.0.data().cast(), len })
    }

    /// Waits for claims, if there are any, and tells how long the array is then. For whoever has the lock.
    #[cold]
    fn look_around(&self, wait: Wait) -> Result<usize> {
        if self.0.head().is_busy() {
            self.exclude_claims(false, wait)?;
        }
        Ok(self.0.len_now())
    }

    pub(crate) fn acquire_any(&self, wait: Wait) -> Result<ArrayGuard<'_, T>> {
        let words = self.0.head();
        let held = Held::recover(&words.mutex, wait)?;
        if words.is_busy() {
            self.exclude_claims(true, wait)?;
        }
        Ok(self.guard(held))
    }

    /// Waits until all claims on parts have ended, for whoever has the lock. It may be lost where this fails.
    #[cold]
    fn exclude_claims(&self, recover: bool, wait: Wait) -> Result<()> {
        let Some(claims) = self.0.known_claims()? else { return Ok(()) };
        claims.exclude_all(wait)?;
        match claims.poison_in(&(0..u64::MAX)) {
            Some(poison) if !recover => Err(poison.into()),
            _ => Ok(()),
        }
    }

    #[inline]
    fn guard<'a>(&'a self, held: Held<'a>) -> ArrayGuard<'a, T> {
        ArrayGuard { held, array: self, data: self.0.data().cast(), len: self.0.len_now() }
    }

    /// Releases the lock, of which this thread forgot the guard. `false` if it does not hold it.
    #[cfg(feature = "capi")]
    #[inline]
    pub(crate) fn unlock(&self) -> bool {
        self.0.head().mutex.unlock_if_mine()
    }

    /// The guard that this thread forgot, if it holds the lock.
    #[cfg(feature = "capi")]
    #[inline]
    pub(crate) fn regain(&self) -> Option<ArrayGuard<'_, T>> {
        let mutex = &self.0.head().mutex;
        mutex.is_mine().then(|| self.guard(Held::new(mutex)))
    }

    pub(crate) fn handle(&self) -> &Handle<ArrayCell<T>> {
        &self.0
    }
}

fn copy_in<T: Pod>(data: NonNull<u8>, elements: &[T]) {
    // SAFETY: the initialiser is given the data part of a body for these many `T`, aligned, seen by nobody else.
    let place = unsafe { slice::from_raw_parts_mut(data.cast::<T>().as_ptr(), elements.len()) };
    place.copy_from_slice(elements);
}

resident_handle!(Array<T: Pod>, ArrayCell<T>, "array");

impl<T: Pod> fmt::Debug for Array<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mutex = &self.0.head().mutex;
        f.debug_struct("Array")
            .field("shape", &self.shape())
            .field("owner", &Owner(mutex))
            .field("poisoned", &mutex.is_poisoned())
            .finish()
    }
}

/// A locked [`Array`]: a slice of its elements. Dropping it releases the lock.
///
/// It is indexed as [`ArrayIndex`] says. Not `Send`: the lock belongs to the thread that took it.
#[must_use = "if unused the lock is released at once"]
pub struct ArrayGuard<'a, T: Pod> {
    held: Held<'a>,
    array: &'a Array<T>,
    /// Invariant: the `len` elements of the lock in `held`, which keeps all others out.
    data: NonNull<T>,
    len: usize,
}

impl<T: Pod> ArrayGuard<'_, T> {
    /// What poisoned the array, or a [part](Array::claim_mut) of it, if anything did and nobody has repaired it yet.
    ///
    /// # Examples
    ///
    /// See [`Poison`](crate::Poison).
    #[must_use]
    pub fn poison(&self) -> Option<Poison> {
        if !self.array.0.head().is_busy() {
            return self.held.poison();
        }
        let claims = self.array.0.known_claims().ok()??;
        claims.poison_in(&(0..u64::MAX))
    }

    /// Declares the array to be whole again, all its parts.
    ///
    /// # Examples
    ///
    /// See [`Poison`](crate::Poison).
    pub fn clear_poison(&mut self) {
        self.held.clear_poison();
        // A guard that a fork copied has no say.
        if self.array.0.head().mutex.is_mine()
            && let Ok(Some(claims)) = self.array.0.known_claims()
        {
            claims.clear_all_poison();
        }
    }

    /// Divides the array into `parts` of nearly as many rows each (elements, if it has one dimension), for threads.
    ///
    /// # Panics
    ///
    /// With 0 parts.
    ///
    /// # Examples
    ///
    /// See [`ClaimMut::split_mut`](crate::ClaimMut::split_mut).
    pub fn split_mut(&mut self, parts: usize) -> impl ExactSizeIterator<Item = &mut [T]> {
        let rows = self.array.0.rows_of(self.len);
        split(self, rows, parts)
    }

    /// The lengths of the dimensions. Of an array that grows, and has more than one, each answer is kept as long as the
    /// array's handle.
    ///
    /// # Examples
    ///
    /// See [`Shape`](crate::Shape).
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        self.array.0.shape_of(&self.len)
    }

    /// Appends a copy of `elements`, which are whole rows, to an array that was made to [grow](Array::growable). The
    /// guard has them too from then on.
    ///
    /// # Errors
    ///
    /// As [`Array::extend_from_slice`].
    ///
    /// # If a process dies
    ///
    /// As whenever it dies with the lock: the array is poisoned. Its length is the old one or the new one.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let log = shmkit::Array::<u8>::growable(0, 1000)?;
    /// let mut guard = log.try_lock()?;
    /// guard.extend_from_slice(b"two ")?;
    /// guard.extend_from_slice(b"parts")?;
    /// assert_eq!(&guard[..], b"two parts");
    /// # Ok(())
    /// # }
    /// ```
    pub fn extend_from_slice(&mut self, elements: &[T]) -> Result<()> {
        if !self.array.0.head().mutex.is_mine() {
            // A fork's copy of the guard.
            return Err(crate::Error::invalid_argument("the lock is not this process's"));
        }
        self.array.append(elements)?;
        self.len = self.array.0.len_now();
        Ok(())
    }

    /// The elements whose first index is `i`: one element of an array of one dimension, else a row, plane or block.
    ///
    /// # Panics
    ///
    /// When there is no such row.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let grid = shmkit::Array::<u8>::zeros([3, 4])?;
    /// let mut cells = grid.lock()?;
    /// cells.row_mut(1).fill(7);
    /// assert_eq!(cells.row(1), [7; 4]);
    /// assert_eq!(cells.row(2), [0; 4]);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn row(&self, i: usize) -> &[T] {
        let row = self.row_of(i);
        &(**self)[row]
    }

    /// As [`row`](Self::row), to be changed.
    ///
    /// # Panics
    ///
    /// When there is no such row.
    ///
    /// # Examples
    ///
    /// See [`row`](Self::row).
    pub fn row_mut(&mut self, i: usize) -> &mut [T] {
        let row = self.row_of(i);
        &mut (**self)[row]
    }

    fn row_of(&self, i: usize) -> Range<usize> {
        let array = &self.array.0;
        row_of(i, array.rows_of(self.len), self.len, || array.lengths_of(self.len))
    }
}

/// The elements of row `i` of `rows`, which have `len` elements in this shape.
pub(super) fn row_of<S: fmt::Debug>(i: usize, rows: usize, len: usize, shape: impl FnOnce() -> S) -> Range<usize> {
    assert!(i < rows, "row {i} of an array of shape {:?}", shape());
    let row = len / rows;
    i * row..(i + 1) * row
}

impl<T: Pod> Release for ArrayGuard<'_, T> {
    fn lock(&self) -> LockOf<'_> {
        self.held.lock()
    }

    fn release(&mut self, wait: ForAWait) -> u32 {
        self.held.release(wait)
    }

    fn take_again(&mut self, depth: u32, wait: ForAWait) -> Result<()> {
        self.held.take_again(depth, wait)?;
        // Others may have claimed parts meanwhile. If that fails the lock has been released.
        if let Ok(Some(claims)) = self.array.0.known_claims()
            && claims.words.is_busy()
        {
            claims.exclude_all(Wait::Forever)?;
        }
        // It may have grown meanwhile, also while it waited for a claim.
        self.len = self.array.0.len_now();
        Ok(())
    }

    fn poisoned(&self) -> Option<Poison> {
        self.poison()
    }
}

impl<T: Pod> CondvarGuard for ArrayGuard<'_, T> {}

impl<T: Pod> Deref for ArrayGuard<'_, T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: the invariant: the lock is held, so nobody writes; any bits are a `T`; `len` of them lie there.
        unsafe { slice::from_raw_parts(self.data.as_ptr(), self.len) }
    }
}

#[cfg(feature = "ndarray")]
impl<T: Pod> ArrayGuard<'_, T> {
    /// The elements and their shape.
    pub(super) fn parts_mut(&mut self) -> (&mut [T], &[usize]) {
        // SAFETY: as in `deref_mut`.
        let elements = unsafe { slice::from_raw_parts_mut(self.data.as_ptr(), self.len) };
        (elements, self.array.0.shape_of(&self.len))
    }
}

impl<T: Pod> DerefMut for ArrayGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: the invariant: the lock is held, so nobody else reads or writes; `len` elements lie there.
        unsafe { slice::from_raw_parts_mut(self.data.as_ptr(), self.len) }
    }
}

impl<T: Pod, I: ArrayIndex<T>> Index<I> for ArrayGuard<'_, T> {
    type Output = I::Output;

    #[inline]
    fn index(&self, at: I) -> &I::Output {
        match at.get(self, self.array.0.index_shape()) {
            Some(part) => part,
            None => outside(&self.array.0.lengths_of(self.len)),
        }
    }
}

impl<T: Pod, I: ArrayIndex<T>> IndexMut<I> for ArrayGuard<'_, T> {
    #[inline]
    fn index_mut(&mut self, at: I) -> &mut I::Output {
        let (array, len) = (self.array, self.len);
        match at.get_mut(self, array.0.index_shape()) {
            Some(part) => part,
            None => outside(&array.0.lengths_of(len)),
        }
    }
}

#[cold]
#[track_caller]
pub(super) fn outside(shape: &[usize]) -> ! {
    panic!("index out of range for an array of shape {shape:?}")
}

impl<T: Pod + fmt::Debug> fmt::Debug for ArrayGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArrayGuard")
            .field("shape", &self.shape())
            .field("elements", &&**self)
            .field("poison", &self.poison())
            .finish()
    }
}
