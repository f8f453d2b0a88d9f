//! A value that many read or one writes.

#![expect(unsafe_code, reason = "reaches the value under its lock")]

use std::{
    cell::{Cell, RefCell},
    fmt,
    marker::PhantomData,
    mem,
    ops::{Deref, DerefMut},
    ptr::NonNull,
    time::{Duration, Instant},
};

use bytemuck::Pod;

use super::{
    CondvarGuard,
    constructors::valued_constructors,
    held::{ForAWait, Held, LockOf, Owner, Release, give_back, guard_poison},
};
use crate::{
    Result,
    os::{clock::Wait, robust},
    raw::{
        lives::MemberId,
        rwlock::{Reading, RwWords},
    },
    region::{Handle, Kind, Resident, Shared, resident_handle},
};

#[cfg(feature = "capi")]
use crate::raw::mutex::Use;

/// A value of plain data in shared memory that many may read at a time, or one may write.
///
/// A writer that waits lets no new readers in, so it is not starved; a thread that reads already may read again.
///
/// # If a process dies
///
/// One that dies while it writes poisons the lock: see [`Poison`](crate::Poison). One that dies while it reads, or waits,
/// is struck out as soon as the whole process has ended, and nobody is told: it cannot have changed anything.
///
/// # Examples
///
/// ```
/// # fn main() -> shmkit::Result<()> {
/// use shmkit::RwLock;
///
/// let limits = RwLock::new([1.0, 2.0])?;
/// {
///     let (one, another) = (limits.read()?, limits.read()?);
///     assert_eq!(one[0] + another[1], 3.0);
///     assert!(limits.try_write().unwrap_err().is_would_block());
/// }
/// limits.write()?[0] = 5.0;
/// let now = limits.write()?.downgrade();
/// assert_eq!(now[0], 5.0);
/// # Ok(())
/// # }
/// ```
///
/// Between programs that find each other by name:
///
/// ```
/// # fn main() -> shmkit::Result<()> {
/// use shmkit::RwLock;
///
/// let name = format!("shmkit-doc-rwlock-{}", std::process::id());
/// let here = RwLock::create(&name, 7_u32)?;
/// let there = RwLock::<u32>::open(&name)?;
/// *there.write()? += 1;
/// assert_eq!(*here.read()?, 8);
/// RwLock::<u32>::unlink(&name)?;
/// # Ok(())
/// # }
/// ```
pub struct RwLock<T: Pod>(Handle<RwLockCell<T>>);

pub(crate) struct RwLockCell<T>(PhantomData<T>);

// SAFETY: `repr(C)`, of atomics only.
unsafe impl Shared for RwWords {}

// SAFETY: the words, which begin with the lock, then the element: plain data.
unsafe impl<T: Pod> Resident for RwLockCell<T> {
    const KIND: Kind = Kind::RwLock;
    type Head = RwWords;
    type Element = T;
    type Stored = T;
}

/// The locks of which this thread has read guards, by address and member: a hint that soundness does not rest on. A guard
/// that was forgotten stays, though another lock may have the address by now; and at the end of a thread there may be
/// guards when these are gone.
struct Reads {
    /// Nearly always the only one.
    first: Cell<Option<(usize, MemberId)>>,
    others: RefCell<Vec<(usize, MemberId)>>,
}

thread_local! {
    static READS: Reads = const { Reads { first: Cell::new(None), others: RefCell::new(Vec::new()) } };
}

impl Reads {
    #[inline]
    fn add(entry: (usize, MemberId)) {
        let _ = READS.try_with(|reads| match reads.first.get() {
            None => reads.first.set(Some(entry)),
            Some(_) => reads.others.borrow_mut().push(entry),
        });
    }

    #[inline]
    fn remove(entry: (usize, MemberId)) {
        let _ = READS.try_with(|reads| {
            if reads.first.get() == Some(entry) {
                return reads.first.set(None);
            }
            let mut others = reads.others.borrow_mut();
            if let Some(at) = others.iter().rposition(|one| *one == entry) {
                others.swap_remove(at);
            }
        });
    }

    fn has(entry: (usize, MemberId)) -> bool {
        READS
            .try_with(|reads| reads.first.get() == Some(entry) || reads.others.borrow().contains(&entry))
            .unwrap_or(false)
    }
}

impl<T: Pod> RwLock<T> {
    valued_constructors!("read-write lock", initialise);

    #[inline]
    pub(crate) fn read_within(&self, wait: Wait) -> Result<RwLockReadGuard<'_, T>> {
        let (words, member) = (self.0.head(), self.0.member()?);
        let again = || Reads::has((std::ptr::from_ref(words).addr(), member));
        let reading = words.read(member, again, || self.0.members(), wait)?;
        Ok(RwLockReadGuard::new(self, member, reading))
    }

    #[inline]
    pub(crate) fn write_within(&self, wait: Wait, poisoned: bool) -> Result<RwLockWriteGuard<'_, T>> {
        let words = self.0.head();
        // A writer needs to be no member, but for `downgrade`, which then cannot fail.
        let entry = (std::ptr::from_ref(words).addr(), self.0.member()?);
        let reads = Reads::has(entry) && words.is_read_by(entry.1);
        words.write(reads, || self.0.members(), wait)?;
        if !poisoned && words.mutex.is_poisoned() {
            return Err(give_back(&words.mutex));
        }
        Ok(RwLockWriteGuard { lock: self, held: Held::new(&words.mutex), value: self.0.data().cast() })
    }

    /// The guard of a write that this thread forgot, if it writes.
    #[cfg(feature = "capi")]
    #[inline]
    pub(crate) fn regain_write(&self) -> Option<RwLockWriteGuard<'_, T>> {
        let mutex = &self.0.head().mutex;
        let writes = mutex.is_mine() && mutex.is_held_for(Use::Data);
        writes.then(|| RwLockWriteGuard { lock: self, held: Held::new(mutex), value: self.0.data().cast() })
    }

    /// Ends a read that was put away, which must be one of this lock, in this thread. `false` if it is one of a process of
    /// which this is a fork.
    #[cfg(feature = "capi")]
    #[inline]
    pub(crate) fn end_put_away(&self, PutAway(member, reading): PutAway) -> bool {
        self.end_read(member, reading)
    }

    #[inline(always)]
    fn end_read(&self, member: MemberId, reading: Reading) -> bool {
        Reads::remove((std::ptr::from_ref(self.0.head()).addr(), member));
        // One that a fork copied is not the child's.
        let is_mine = self.0.known_member() == Some(member);
        if is_mine {
            robust::take_back();
            self.0.head().end_read(member, reading);
        }
        is_mine
    }

    /// Where the value lies.
    #[cfg(feature = "capi")]
    #[inline]
    pub(crate) fn data(&self) -> NonNull<u8> {
        self.0.data()
    }

    /// Waits until nobody writes, and keeps writers out.
    ///
    /// # Errors
    ///
    /// [`Poisoned`](crate::Error::Poisoned) when a writer died or panicked: [`recover`](Self::recover) is the way on.
    /// [`WouldDeadlock`](crate::Error::WouldDeadlock) when this thread writes.
    /// [`TooManyMembers`](crate::Error::TooManyMembers) when more processes use the region than it was made for.
    ///
    /// # If a process dies
    ///
    /// See the type.
    ///
    /// # Examples
    ///
    /// See the type.
    #[inline]
    pub fn read(&self) -> Result<RwLockReadGuard<'_, T>> {
        self.read_within(Wait::Forever)
    }

    /// Reads, if nobody writes or waits to.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](crate::Error::WouldBlock); else as [`read`](Self::read).
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn try_read(&self) -> Result<RwLockReadGuard<'_, T>> {
        self.read_within(Wait::No)
    }

    /// As [`read`](Self::read), waiting at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`TimedOut`](crate::Error::TimedOut); else as [`read`](Self::read).
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn read_timeout(&self, timeout: Duration) -> Result<RwLockReadGuard<'_, T>> {
        self.read_within(Wait::timeout(timeout))
    }

    /// As [`read`](Self::read), waiting until `deadline` at most.
    ///
    /// # Errors
    ///
    /// [`TimedOut`](crate::Error::TimedOut); else as [`read`](Self::read).
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn read_deadline(&self, deadline: Instant) -> Result<RwLockReadGuard<'_, T>> {
        self.read_within(Wait::deadline(deadline))
    }

    /// Waits until nobody else reads or writes, and keeps everybody out.
    ///
    /// # Errors
    ///
    /// [`Poisoned`](crate::Error::Poisoned) when a writer died or panicked: [`recover`](Self::recover) is the way on.
    /// [`WouldDeadlock`](crate::Error::WouldDeadlock) when this thread reads or writes.
    /// [`TooManyLocks`](crate::Error::TooManyLocks) when this thread holds 1,000 others.
    ///
    /// # If a process dies
    ///
    /// See the type.
    ///
    /// # Examples
    ///
    /// See the type.
    #[inline]
    pub fn write(&self) -> Result<RwLockWriteGuard<'_, T>> {
        self.write_within(Wait::Forever, false)
    }

    /// Writes, if nobody else reads or writes.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](crate::Error::WouldBlock); else as [`write`](Self::write).
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn try_write(&self) -> Result<RwLockWriteGuard<'_, T>> {
        self.write_within(Wait::No, false)
    }

    /// As [`write`](Self::write), waiting at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`TimedOut`](crate::Error::TimedOut); else as [`write`](Self::write).
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn write_timeout(&self, timeout: Duration) -> Result<RwLockWriteGuard<'_, T>> {
        self.write_within(Wait::timeout(timeout), false)
    }

    /// As [`write`](Self::write), waiting until `deadline` at most.
    ///
    /// # Errors
    ///
    /// [`TimedOut`](crate::Error::TimedOut); else as [`write`](Self::write).
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn write_deadline(&self, deadline: Instant) -> Result<RwLockWriteGuard<'_, T>> {
        self.write_within(Wait::deadline(deadline), false)
    }

    /// Writes, poisoned or not: the guard tells, and can [clear](crate::Poison) it after the repair.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write), but never `Poisoned`.
    ///
    /// # Examples
    ///
    /// See [`Poison`](crate::Poison).
    pub fn recover(&self) -> Result<RwLockWriteGuard<'_, T>> {
        self.write_within(Wait::Forever, true)
    }

    /// As [`recover`](Self::recover), if nobody else reads or writes.
    ///
    /// # Errors
    ///
    /// As [`try_write`](Self::try_write), but never `Poisoned`.
    ///
    /// # Examples
    ///
    /// See [`Poison`](crate::Poison).
    pub fn try_recover(&self) -> Result<RwLockWriteGuard<'_, T>> {
        self.write_within(Wait::No, true)
    }

    /// As [`recover`](Self::recover), waiting at most `timeout`.
    ///
    /// # Errors
    ///
    /// As [`write_timeout`](Self::write_timeout), but never `Poisoned`.
    ///
    /// # Examples
    ///
    /// See [`Poison`](crate::Poison).
    pub fn recover_timeout(&self, timeout: Duration) -> Result<RwLockWriteGuard<'_, T>> {
        self.write_within(Wait::timeout(timeout), true)
    }

    /// As [`recover`](Self::recover), waiting until `deadline` at most.
    ///
    /// # Errors
    ///
    /// As [`write_deadline`](Self::write_deadline), but never `Poisoned`.
    ///
    /// # Examples
    ///
    /// See [`Poison`](crate::Poison).
    pub fn recover_deadline(&self, deadline: Instant) -> Result<RwLockWriteGuard<'_, T>> {
        self.write_within(Wait::deadline(deadline), true)
    }
}

fn initialise<T: Pod>(data: NonNull<u8>, value: T) {
    // SAFETY: the initialiser is given the data part of a body for a `T`: large and aligned enough, seen by nobody else.
    unsafe { data.cast::<T>().write(value) };
}

resident_handle!(RwLock<T: Pod>, RwLockCell<T>, "value");

impl<T: Pod> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = self.0.head();
        f.debug_struct("RwLock")
            .field("writer", &Owner(&words.mutex))
            .field("readers", &words.readers())
            .field("poisoned", &words.mutex.is_poisoned())
            .finish()
    }
}

/// An [`RwLock`] that is read. Dropping it ends the read.
///
/// Not `Send`: a thread that reads may read again, and is told that it cannot write.
#[must_use = "if unused the read ends at once"]
pub struct RwLockReadGuard<'a, T: Pod> {
    lock: &'a RwLock<T>,
    member: MemberId,
    reading: Reading,
    /// Invariant: while `reading` stands, nobody writes the value.
    value: NonNull<T>,
    _not_send: PhantomData<*const ()>,
}

impl<'a, T: Pod> RwLockReadGuard<'a, T> {
    #[inline]
    fn new(lock: &'a RwLock<T>, member: MemberId, reading: Reading) -> Self {
        Reads::add((std::ptr::from_ref(lock.0.head()).addr(), member));
        robust::lend();
        Self { lock, member, reading, value: lock.0.data().cast(), _not_send: PhantomData }
    }
}

/// What is left of the guard of a read that goes on.
#[cfg(feature = "capi")]
pub(crate) struct PutAway(MemberId, Reading);

#[cfg(feature = "capi")]
impl<T: Pod> RwLockReadGuard<'_, T> {
    /// Leaves the read going on. See [`RwLock::end_put_away`].
    #[inline]
    pub(crate) fn put_away(self) -> PutAway {
        let put_away = PutAway(self.member, self.reading);
        mem::forget(self);
        put_away
    }
}

impl<T: Pod> Deref for RwLockReadGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the invariant: nobody writes; any bits are a `T`.
        unsafe { self.value.as_ref() }
    }
}

impl<T: Pod> Drop for RwLockReadGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.end_read(self.member, self.reading);
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for RwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RwLockReadGuard").field("value", &**self).finish_non_exhaustive()
    }
}

/// An [`RwLock`] that is written. Dropping it lets the others in.
///
/// Not `Send`: the lock belongs to the thread that took it.
#[must_use = "if unused the lock is released at once"]
pub struct RwLockWriteGuard<'a, T: Pod> {
    lock: &'a RwLock<T>,
    held: Held<'a>,
    /// Invariant: the value of the lock in `held`, which keeps all others out.
    value: NonNull<T>,
}

impl<'a, T: Pod> RwLockWriteGuard<'a, T> {
    guard_poison!();

    /// Lets other readers in, and keeps writers out: nobody writes in between.
    ///
    /// # Panics
    ///
    /// In a child that a fork gave a copy of the guard: it holds nothing.
    ///
    /// # Examples
    ///
    /// See [`RwLock`].
    pub fn downgrade(self) -> RwLockReadGuard<'a, T> {
        let lock = self.lock;
        let member = lock.0.known_member().filter(|_| lock.0.head().mutex.is_mine());
        let member = member.expect("a copy that a fork made of a guard holds nothing");
        // The guard's drop is not run: its lock passes to the read, or is released there.
        mem::forget(self);
        RwLockReadGuard::new(lock, member, lock.0.head().downgrade(member, lock.0.members().ok().as_ref()))
    }
}

impl<T: Pod> Release for RwLockWriteGuard<'_, T> {
    fn lock(&self) -> LockOf<'_> {
        Release::lock(&self.held)
    }

    fn release(&mut self, wait: ForAWait) -> u32 {
        self.held.release(wait)
    }

    fn take_again(&mut self, _: u32, _: ForAWait) -> Result<()> {
        self.lock.0.head().write(false, || self.lock.0.members(), Wait::Forever)
    }
}

impl<T: Pod> CondvarGuard for RwLockWriteGuard<'_, T> {}

impl<T: Pod> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the invariant: the lock is held and nobody reads, so nobody writes; any bits are a `T`.
        unsafe { self.value.as_ref() }
    }
}

impl<T: Pod> DerefMut for RwLockWriteGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the invariant: the lock is held and nobody reads, so nobody else reads or writes.
        unsafe { self.value.as_mut() }
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for RwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RwLockWriteGuard").field("value", &**self).field("poison", &self.poison()).finish()
    }
}
