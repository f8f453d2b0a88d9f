//! Claims on parts of an array: slices that are checked to be disjoint across threads and processes.

#![expect(unsafe_code, reason = "reaches the elements under a claim")]

use std::{
    fmt,
    marker::PhantomData,
    mem,
    ops::{Bound, Deref, DerefMut, Index, IndexMut, Range, RangeBounds},
    ptr::NonNull,
    slice,
};

use bytemuck::Pod;

use super::{
    Array, ArrayIndex,
    array::{outside, row_of},
    index::out_of_range,
};
use crate::{
    Error, Poison, Result,
    os::clock::Wait,
    raw::claims::{ClaimSlot, Mode},
    sync::held::{PanickingBefore, poison_by_panic},
};

/// The four forms of one way to claim: `acquire(range, wait)` with its range from `span`.
macro_rules! four_forms {
    (
        $(#[$doc:meta])*
        $forever:ident, $try:ident, $timeout:ident, $deadline:ident -> $guard:ty: $span:ident, $acquire:expr
    ) => {
        $(#[$doc])*
        #[inline(always)]
        pub fn $forever(&self, range: impl RangeBounds<usize>) -> Result<$guard> {
            $acquire(self, self.$span(&range)?, Wait::Forever)
        }

        #[doc = concat!("As [`", stringify!($forever), "`](Self::", stringify!($forever), "), if nobody is in the way.")]
        ///
        /// # Errors
        ///
        /// [`WouldBlock`](Error::WouldBlock) when somebody is, also this thread itself; else the same.
        ///
        /// # Examples
        ///
        /// See [`Claim`].
        #[inline(always)]
        pub fn $try(&self, range: impl RangeBounds<usize>) -> Result<$guard> {
            $acquire(self, self.$span(&range)?, Wait::No)
        }

        #[doc = concat!("As [`", stringify!($forever), "`](Self::", stringify!($forever), "), waiting at most `timeout`.")]
        ///
        /// # Errors
        ///
        /// [`TimedOut`](Error::TimedOut); else the same.
        ///
        /// # Examples
        ///
        /// See [`Claim`].
        pub fn $timeout(&self, range: impl RangeBounds<usize>, timeout: std::time::Duration) -> Result<$guard> {
            $acquire(self, self.$span(&range)?, Wait::timeout(timeout))
        }

        #[doc = concat!("As [`", stringify!($forever), "`](Self::", stringify!($forever), "), until `deadline` at most.")]
        ///
        /// # Errors
        ///
        /// [`TimedOut`](Error::TimedOut); else the same.
        ///
        /// # Examples
        ///
        /// See [`Claim`].
        pub fn $deadline(&self, range: impl RangeBounds<usize>, deadline: std::time::Instant) -> Result<$guard> {
            $acquire(self, self.$span(&range)?, Wait::deadline(deadline))
        }
    };
}

impl<T: Pod> Array<T> {
    four_forms! {
        /// Claims a range of the elements to read them, and waits until nobody changes any of them.
        ///
        /// # Errors
        ///
        /// [`OutOfRange`](Error::OutOfRange). [`Poisoned`](Error::Poisoned), with the range, when somebody died or
        /// panicked while changing one of these elements: they are then not claimed, and
        /// [`recover_claim_mut`](Self::recover_claim_mut) is the way on. [`WouldDeadlock`](Error::WouldDeadlock) when
        /// this thread itself is in the way, with a claim or with the lock. [`TooManyClaims`](Error::TooManyClaims).
        /// [`RegionFull`](Error::RegionFull) when the region has no room for the table of claims, which the first claim
        /// makes (8 KiB; 64 KiB for arrays of a mebibyte or more), and [`OutOfMemory`](Error::OutOfMemory) when there is no
        /// memory for it.
        ///
        /// # If a process dies
        ///
        /// Its claims are free as soon as the whole process has ended; those to change elements poison them.
        ///
        /// A process that is stopped, and not dead, in the few steps in which it enters a claim holds up all who claim any
        /// part of this array, until it goes on or dies. Those who have a time limit are told in time, and those who do not
        /// wait at all after a second at most.
        ///
        /// # Examples
        ///
        /// See [`Claim`].
        claim, try_claim, claim_timeout, claim_deadline -> Claim<'_, T>: span, Self::read_part
    }

    four_forms! {
        /// Claims a range of the elements to change them, and waits until nobody has any of them.
        ///
        /// # Errors
        ///
        /// As [`claim`](Self::claim).
        ///
        /// # If a process dies
        ///
        /// As [`claim`](Self::claim).
        ///
        /// # Examples
        ///
        /// See [`ClaimMut`].
        claim_mut, try_claim_mut, claim_mut_timeout, claim_mut_deadline -> ClaimMut<'_, T>: span, Self::change_part
    }

    four_forms! {
        /// Claims rows to read them: elements whose first index lies in the range.
        ///
        /// # Errors
        ///
        /// As [`claim`](Self::claim).
        ///
        /// # If a process dies
        ///
        /// As [`claim`](Self::claim).
        ///
        /// # Examples
        ///
        /// See [`Claim`].
        claim_rows, try_claim_rows, claim_rows_timeout, claim_rows_deadline -> Claim<'_, T>: row_span, Self::read_part
    }

    four_forms! {
        /// Claims rows to change them: elements whose first index lies in the range.
        ///
        /// # Errors
        ///
        /// As [`claim`](Self::claim).
        ///
        /// # If a process dies
        ///
        /// As [`claim`](Self::claim).
        ///
        /// # Examples
        ///
        /// See [`ClaimMut`].
        claim_rows_mut, try_claim_rows_mut, claim_rows_mut_timeout, claim_rows_mut_deadline
            -> ClaimMut<'_, T>: row_span, Self::change_part
    }

    four_forms! {
        /// Claims a range of the elements to change them, poisoned or not: the claim tells, and can
        /// [clear](ClaimMut::clear_poison) it after the repair.
        ///
        /// # Errors
        ///
        /// As [`claim`](Self::claim), but never `Poisoned`.
        ///
        /// # If a process dies
        ///
        /// As [`claim`](Self::claim).
        ///
        /// # Examples
        ///
        /// See [`ClaimMut::clear_poison`].
        recover_claim_mut, try_recover_claim_mut, recover_claim_mut_timeout, recover_claim_mut_deadline
            -> ClaimMut<'_, T>: span, Self::repair_part
    }

    /// The elements of these rows: those whose first index lies in the range.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`](Error::OutOfRange).
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let grid = shmkit::Array::<f64>::zeros([10, 4])?;
    /// assert_eq!(grid.row_range(2..5)?, 8..20);
    /// assert!(grid.row_range(9..11).is_err());
    /// # Ok(())
    /// # }
    /// ```
    pub fn row_range(&self, rows: impl RangeBounds<usize>) -> Result<Range<usize>> {
        self.row_span(&rows).map(|part| part.range())
    }

    /// The share of `rank` when the elements are divided among `size`: the shares touch, and differ by one element at
    /// most.
    ///
    /// # Errors
    ///
    /// [`InvalidArgument`](Error::InvalidArgument) unless `rank` is less than `size`.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let array = shmkit::Array::<u8>::zeros(10)?;
    /// assert_eq!([array.chunk_for(0, 3)?, array.chunk_for(1, 3)?, array.chunk_for(2, 3)?], [0..4, 4..7, 7..10]);
    /// assert!(array.chunk_for(3, 3).is_err());
    /// # Ok(())
    /// # }
    /// ```
    pub fn chunk_for(&self, rank: usize, size: usize) -> Result<Range<usize>> {
        share(self.len(), rank, size)
    }

    /// The share of `rank` when the rows are divided among `size`, as [`chunk_for`](Self::chunk_for) divides elements.
    ///
    /// # Errors
    ///
    /// As [`chunk_for`](Self::chunk_for).
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let grid = shmkit::Array::<f64>::zeros([100, 4])?;
    /// let mut mine = grid.claim_rows_mut(grid.rows_for(1, 3)?)?;
    /// assert_eq!((mine.range(), mine.shape()), (34 * 4..67 * 4, &[33, 4][..]));
    /// # Ok(())
    /// # }
    /// ```
    pub fn rows_for(&self, rank: usize, size: usize) -> Result<Range<usize>> {
        share(self.handle().rows_now(), rank, size)
    }

    #[inline(always)]
    fn span(&self, range: &impl RangeBounds<usize>) -> Result<Part> {
        let range = within(range, self.len()).ok_or_else(|| self.no_such(range))?;
        Ok(Part { start: range.start, len: range.len(), rows: None })
    }

    fn row_span(&self, rows: &impl RangeBounds<usize>) -> Result<Part> {
        let range = within(rows, self.handle().rows_now()).ok_or_else(|| self.no_such(rows))?;
        let others = self.handle().others();
        // May wrap where there are no rows, and the whole has no elements.
        let row = others.iter().fold(1_usize, |product, length| product.wrapping_mul(*length));
        let rows = (!others.is_empty()).then(|| [&[range.len()], others].concat().into());
        Ok(Part { start: range.start.wrapping_mul(row), len: range.len().wrapping_mul(row), rows })
    }

    #[cold]
    fn no_such(&self, range: &impl RangeBounds<usize>) -> Error {
        let start = match range.start_bound() {
            Bound::Included(start) => start.to_string(),
            Bound::Excluded(before) => format!("{before} + 1"),
            Bound::Unbounded => String::new(),
        };
        let end = match range.end_bound() {
            Bound::Included(last) => format!("={last}"),
            Bound::Excluded(end) => end.to_string(),
            Bound::Unbounded => String::new(),
        };
        out_of_range(format!("{start}..{end}"), self.shape())
    }

    #[inline(always)]
    fn read_part(&self, part: Part, wait: Wait) -> Result<Claim<'_, T>> {
        self.acquire_part(part, Mode::Read, wait).map(Claim)
    }

    #[inline(always)]
    fn change_part(&self, part: Part, wait: Wait) -> Result<ClaimMut<'_, T>> {
        self.acquire_part(part, Mode::Change, wait).map(ClaimMut::new)
    }

    fn repair_part(&self, part: Part, wait: Wait) -> Result<ClaimMut<'_, T>> {
        let slot = self.handle().claim(&part.wide(), Mode::Change, true, wait)?;
        Ok(ClaimMut::new(self.claimed(part, slot)))
    }

    #[inline(always)]
    fn acquire_part(&self, part: Part, mode: Mode, wait: Wait) -> Result<Claimed<'_, T>> {
        let Range { start, end } = part.wide();
        let slot = match self.handle().claim_uncontended(start, end, mode) {
            None => self.handle().claim(&part.wide(), mode, false, wait)?,
            slot => slot,
        };
        Ok(self.claimed(part, slot))
    }

    /// The part that is claimed by `slot`.
    #[inline(always)]
    fn claimed<'a>(&'a self, part: Part, slot: Option<&'a ClaimSlot>) -> Claimed<'a, T> {
        // SAFETY: the range lies in the array, checked when the part was made.
        let data = unsafe { self.handle().data().cast::<T>().add(part.start) };
        Claimed { array: self, slot, data, part, _not_send: PhantomData }
    }
}

/// Elements of an array that are to be claimed, or are.
struct Part {
    start: usize,
    len: usize,
    /// The shape that they have, if they are rows of more than one dimension.
    rows: Option<Box<[usize]>>,
}

impl Part {
    #[inline]
    fn range(&self) -> Range<usize> {
        self.start..self.start + self.len
    }

    #[inline]
    fn wide(&self) -> Range<u64> {
        self.start as u64..(self.start + self.len) as u64
    }

    #[inline]
    fn shape(&self) -> &[usize] {
        self.rows.as_deref().unwrap_or(slice::from_ref(&self.len))
    }
}

/// The range as numbers, if it lies in `0..len`.
fn within(range: &impl RangeBounds<usize>, len: usize) -> Option<Range<usize>> {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(before) => before.checked_add(1)?,
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last.checked_add(1)?,
        Bound::Excluded(end) => *end,
        Bound::Unbounded => len,
    };
    (start <= end && end <= len).then_some(start..end)
}

/// The part of `rank` of `0..len` when `size` divide it.
fn share(len: usize, rank: usize, size: usize) -> Result<Range<usize>> {
    if rank >= size {
        return Err(Error::invalid_argument(format!("rank {rank} of {size}")));
    }
    let (each, more) = (len / size, len % size);
    let start = rank * each + rank.min(more);
    Ok(start..start + each + usize::from(rank < more))
}

/// Divides rows of `row` elements into parts of nearly as many rows each.
pub(super) fn split<T>(mut rest: &mut [T], rows: usize, parts: usize) -> impl ExactSizeIterator<Item = &mut [T]> {
    assert!(parts > 0, "an array cannot be split into no parts");
    let row = rest.len().checked_div(rows).unwrap_or(0);
    (0..parts).map(move |rank| {
        let rows = share(rows, rank, parts).map_or(0, |rows| rows.len());
        let (part, tail) = mem::take(&mut rest).split_at_mut(rows * row);
        rest = tail;
        part
    })
}

/// A claim, of whichever mode.
///
/// Invariant: while `slot` is held by this thread nobody else changes the elements of `part`, and nobody else reads them
/// either if it is held to change them. They begin at `data`.
struct Claimed<'a, T: Pod> {
    array: &'a Array<T>,
    /// `None` for a claim of nothing.
    slot: Option<&'a ClaimSlot>,
    data: NonNull<T>,
    part: Part,
    _not_send: PhantomData<*const ()>,
}

impl<T: Pod> Claimed<'_, T> {
    #[inline]
    fn elements(&self) -> &[T] {
        // SAFETY: the invariant: so many elements lie there, any bits are a `T`, and nobody else writes.
        unsafe { slice::from_raw_parts(self.data.as_ptr(), self.part.len) }
    }
}

impl<T: Pod> Drop for Claimed<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            slot.mutex.unlock();
        }
    }
}

/// A part of an [`Array`] that is claimed to be read: a slice of its elements. Dropping it ends the claim.
///
/// Others may read the same elements meanwhile; nobody changes them, under a claim of their own or the array's lock. It
/// is indexed as [`ArrayIndex`] says, from the beginning of the claim. Not `Send`: the claim belongs to the thread that
/// made it; slices of it can be lent to others.
///
/// # Waiting
///
/// There is no order among those who wait: a steady stream of readers can keep one who would change the elements
/// waiting. Two who each hold a claim and wait for the other's wait for ever, as with locks: claim in the same order,
/// or all at once.
///
/// # Examples
///
/// ```
/// # fn main() -> shmkit::Result<()> {
/// use std::time::Duration;
/// use shmkit::Array;
///
/// let array = Array::from_iter(0..100)?;
/// let low = array.claim(..50)?;
/// let middle = array.claim(25..75)?;
/// assert_eq!(low[25..], middle[..25]);
/// let high = array.claim_mut(75..)?;
///
/// let elsewhere = std::thread::scope(|s| s.spawn(|| array.try_claim_mut(74..76).map(drop)).join().unwrap());
/// assert!(elsewhere.unwrap_err().is_would_block());
/// let elsewhere = || array.claim_mut_timeout(74..76, Duration::from_millis(1)).map(drop);
/// assert!(std::thread::scope(|s| s.spawn(elsewhere).join().unwrap()).unwrap_err().is_timed_out());
/// // This thread would wait for itself.
/// assert!(matches!(array.claim(70..80), Err(shmkit::Error::WouldDeadlock)));
/// # Ok(())
/// # }
/// ```
#[must_use = "if unused the claim ends at once"]
pub struct Claim<'a, T: Pod>(Claimed<'a, T>);

/// A part of an [`Array`] that is claimed to be changed: a slice of its elements. Dropping it ends the claim.
///
/// Nobody else has any of these elements, in any process, neither under a claim nor under the array's lock. It is indexed
/// as [`ArrayIndex`] says, from the beginning of the claim. Not `Send`: the claim belongs to the thread that made it;
/// slices of it can be lent to others.
///
/// # If a process dies
///
/// The elements are poisoned: see [`Array::claim`]. A panic of the claim's thread poisons as well.
///
/// # Examples
///
/// Each process changes its own rows, at the same time:
///
/// ```
/// # fn main() -> shmkit::Result<()> {
/// use shmkit::Array;
///
/// let grid = Array::<f64>::zeros([8, 3])?;
/// std::thread::scope(|s| {
///     for rank in 0..2 {
///         let grid = &grid;
///         s.spawn(move || -> shmkit::Result<()> {
///             let mut rows = grid.claim_rows_mut(grid.rows_for(rank, 2)?)?;
///             rows.fill(1.0 + rank as f64);
///             rows[[0, 2]] = 9.0;
///             Ok(())
///         });
///     }
/// });
/// let all = grid.lock()?;
/// assert_eq!(all.row(0), [1.0, 1.0, 9.0]);
/// assert_eq!(all.row(7), [2.0, 2.0, 2.0]);
/// # Ok(())
/// # }
/// ```
#[must_use = "if unused the claim ends at once"]
pub struct ClaimMut<'a, T: Pod> {
    claimed: Claimed<'a, T>,
    before: PanickingBefore,
}

/// What both kinds of claims know of themselves; `$claimed` is the [`Claimed`] of `self`.
macro_rules! part_of_array {
    ($claim:ident, |$self:ident| $claimed:expr) => {
        impl<T: Pod> $claim<'_, T> {
            /// The elements of the array that are claimed.
            ///
            /// # Examples
            ///
            /// See [`Array::rows_for`].
            #[must_use]
            pub fn range(&self) -> Range<usize> {
                let $self = self;
                $claimed.part.range()
            }

            /// The lengths of the dimensions of what is claimed: as the array's if rows were, else one.
            ///
            /// # Examples
            ///
            /// See [`Array::rows_for`].
            #[must_use]
            pub fn shape(&self) -> &[usize] {
                let $self = self;
                $claimed.part.shape()
            }

            /// The row `i` of the claim, counted from its beginning: one element of an array of one dimension.
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
            /// grid.claim_rows_mut(1..)?.row_mut(0).fill(7);
            /// assert_eq!(grid.claim_rows(..)?.row(1), [7; 4]);
            /// # Ok(())
            /// # }
            /// ```
            #[must_use]
            pub fn row(&self, i: usize) -> &[T] {
                let row = row_of(i, self.len(), self.shape());
                &(**self)[row]
            }
        }

        impl<T: Pod> Deref for $claim<'_, T> {
            type Target = [T];

            #[inline]
            fn deref(&self) -> &[T] {
                let $self = self;
                $claimed.elements()
            }
        }

        impl<T: Pod, I: ArrayIndex<T>> Index<I> for $claim<'_, T> {
            type Output = I::Output;

            #[inline]
            fn index(&self, at: I) -> &I::Output {
                match at.get(self, self.shape()) {
                    Some(part) => part,
                    None => outside(self.shape()),
                }
            }
        }
    };
}

part_of_array!(Claim, |this| this.0);
part_of_array!(ClaimMut, |this| this.claimed);

impl<'a, T: Pod> ClaimMut<'a, T> {
    fn new(claimed: Claimed<'a, T>) -> Self {
        Self { claimed, before: PanickingBefore::now() }
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
    #[must_use]
    pub fn row_mut(&mut self, i: usize) -> &mut [T] {
        let row = row_of(i, self.len(), self.shape());
        &mut (**self)[row]
    }

    /// Divides the claim into `parts` of nearly as many rows each (elements, if it has one dimension), for threads.
    ///
    /// # Panics
    ///
    /// With 0 parts.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let array = shmkit::Array::<u32>::zeros(10)?;
    /// let mut claim = array.claim_mut(2..)?;
    /// std::thread::scope(|s| {
    ///     for (i, part) in claim.split_mut(3).enumerate() {
    ///         s.spawn(move || part.fill(1 + i as u32));
    ///     }
    /// });
    /// drop(claim);
    /// assert_eq!(array.to_vec()?, [0, 0, 1, 1, 1, 2, 2, 2, 3, 3]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn split_mut(&mut self, parts: usize) -> impl ExactSizeIterator<Item = &mut [T]> {
        let rows = self.shape()[0];
        split(self, rows, parts)
    }

    /// What poisoned some of these elements, if anything did and nobody has repaired them yet: the process and the
    /// elements of the array, perhaps more than are claimed.
    ///
    /// # Examples
    ///
    /// See [`clear_poison`](Self::clear_poison).
    #[must_use]
    pub fn poison(&self) -> Option<Poison> {
        let claims = self.claimed.array.handle().known_claims().ok()??;
        claims.poison_now(&self.claimed.part.wide())
    }

    /// Declares the claimed elements to be whole again.
    ///
    /// Of a poisoned range that the claim is only the middle of all stays poisoned if there are eight others already.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// use shmkit::{Array, Error};
    ///
    /// let array = Array::<u32>::zeros(100)?;
    /// std::thread::scope(|s| {
    ///     s.spawn(|| {
    ///         let _claim = array.claim_mut(20..30).unwrap();
    ///         std::panic::resume_unwind(Box::new("half way"));
    ///     })
    ///     .join()
    ///     .unwrap_err()
    /// });
    /// assert!(array.claim(..20).is_ok());
    /// let Err(Error::Poisoned { range: Some(range), .. }) = array.claim(..25) else { panic!() };
    /// assert_eq!(range, 20..30);
    ///
    /// let mut claim = array.recover_claim_mut(range)?;
    /// claim.fill(0);
    /// claim.clear_poison();
    /// assert!(claim.poison().is_none());
    /// # Ok(())
    /// # }
    /// ```
    pub fn clear_poison(&mut self) {
        // A claim that a fork copied has no say.
        let is_mine = self.claimed.slot.is_some_and(|slot| slot.mutex.is_mine());
        if is_mine && let Ok(Some(claims)) = self.claimed.array.handle().known_claims() {
            // It fails only if this thread has no room for one lock more; then the elements stay poisoned.
            let _ = claims.clear_poison(&self.claimed.part.wide());
        }
    }
}

impl<T: Pod> Drop for ClaimMut<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if let Some(slot) = self.claimed.slot.filter(|_| std::thread::panicking()) {
            poison_by_panic(&slot.mutex, self.before);
        }
    }
}

#[cfg(feature = "ndarray")]
impl<T: Pod> ClaimMut<'_, T> {
    /// The elements and their shape.
    pub(super) fn parts_mut(&mut self) -> (&mut [T], &[usize]) {
        let Claimed { data, part, .. } = &self.claimed;
        // SAFETY: as in `deref_mut`.
        let elements = unsafe { slice::from_raw_parts_mut(data.as_ptr(), part.len) };
        (elements, part.shape())
    }
}

impl<T: Pod> DerefMut for ClaimMut<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        let Claimed { data, part, .. } = &self.claimed;
        // SAFETY: the invariant: so many elements lie there, and nobody else reads or writes.
        unsafe { slice::from_raw_parts_mut(data.as_ptr(), part.len) }
    }
}

impl<T: Pod, I: ArrayIndex<T>> IndexMut<I> for ClaimMut<'_, T> {
    #[inline]
    fn index_mut(&mut self, at: I) -> &mut I::Output {
        let Claimed { data, part, .. } = &self.claimed;
        // SAFETY: as in `deref_mut`.
        let elements = unsafe { slice::from_raw_parts_mut(data.as_ptr(), part.len) };
        match at.get_mut(elements, part.shape()) {
            Some(found) => found,
            None => outside(part.shape()),
        }
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for Claim<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim").field("range", &self.range()).field("elements", &&**self).finish()
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for ClaimMut<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClaimMut")
            .field("range", &self.range())
            .field("elements", &&**self)
            .field("poison", &self.poison())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_cover_all_and_touch() {
        for (len, size) in [(0, 1), (0, 4), (3, 5), (10, 3), (1_000_003, 64)] {
            let shares: Vec<_> = (0..size).map(|rank| share(len, rank, size).unwrap()).collect();
            assert_eq!((shares[0].start, shares[size - 1].end), (0, len));
            assert!(shares.windows(2).all(|pair| pair[0].end == pair[1].start && pair[0].len() - pair[1].len() <= 1));
        }
        assert!(share(10, 0, 0).is_err());
    }

    #[test]
    fn ranges_end_within() {
        assert_eq!(within(&(..), 5), Some(0..5));
        assert_eq!(within(&(2..=4), 5), Some(2..5));
        assert_eq!(within(&(5..), 5), Some(5..5));
        #[expect(clippy::reversed_empty_ranges, reason = "as users may give it")]
        let backwards = 3..2;
        assert_eq!(within(&backwards, 5), None);
        assert_eq!(within(&(0..6), 5), None);
        assert_eq!(within(&(0..=usize::MAX), 5), None);
        assert_eq!(within(&(Bound::Excluded(usize::MAX), Bound::Unbounded), 5), None);
    }

    #[test]
    fn parts_divide_whole_rows() {
        let mut data = [0_u8; 15];
        let lens: Vec<_> = split(&mut data, 5, 2).map(|part| part.len()).collect();
        assert_eq!(lens, [9, 6]);
        assert_eq!(split(&mut [0_u8; 0], 0, 3).len(), 3);
    }
}
