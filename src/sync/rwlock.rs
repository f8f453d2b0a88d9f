//! A value that many read or one writes.

#![expect(unsafe_code, reason = "reaches the value under its lock")]

use std::{
    cell::{Cell, RefCell},
    fmt,
    marker::PhantomData,
    mem,
    ops::{Deref, DerefMut},
    ptr::{self, NonNull},
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
struct Reads;

type Entry = (usize, Option<MemberId>);

const NO_READ: Entry = (0, None);

thread_local! {
    /// Nearly always the only one. Apart from the others, for nothing need be dropped: so it is reached by one instruction.
    static FIRST_READ: Cell<Entry> = const { Cell::new(NO_READ) };
    static OTHER_READS: RefCell<Vec<Entry>> = const { RefCell::new(Vec::new()) };
}

impl Reads {
    #[inline(always)]
    fn add(entry: Entry) {
        if FIRST_READ.get().0 == NO_READ.0 { FIRST_READ.set(entry) } else { Self::add_another(entry) }
    }

    #[inline(always)]
    fn remove(entry: Entry) {
        if FIRST_READ.get() == entry { FIRST_READ.set(NO_READ) } else { Self::remove_another(entry) }
    }

    #[cold]
    fn add_another(entry: Entry) {
        let _ = OTHER_READS.try_with(|reads| reads.borrow_mut().push(entry));
    }

    #[cold]
    fn remove_another(entry: Entry) {
        let _ = OTHER_READS.try_with(|reads| {
            let mut reads = reads.borrow_mut();
            if let Some(at) = reads.iter().rposition(|one| *one == entry) {
                reads.swap_remove(at);
            }
        });
    }

    fn has(entry: Entry) -> bool {
        FIRST_READ.get() == entry || OTHER_READS.try_with(|reads| reads.borrow().contains(&entry)).unwrap_or(false)
    }
}

impl<T: Pod> RwLock<T> {
    valued_constructors!("read-write lock", initialise);

    /// How this thread's reads of the lock are noted, for the member that it is one of.
    #[inline(always)]
    fn entry(&self, member: Option<MemberId>) -> Entry {
        (ptr::from_ref(self.0.head()).addr(), member)
    }

    /// Inlined into the user's code, as [`Held::lock`] is, and for the same reason.
    #[inline(always)]
    pub(crate) fn read_within(&self, wait: Wait) -> Result<RwLockReadGuard<'_, T>> {
        let member = self.0.member()?;
        let again = || Reads::has(self.entry(Some(member)));
        let reading = self.0.head().read(member, again, || self.0.members(), wait)?;
        Ok(RwLockReadGuard::new(self, reading))
    }

    #[inline]
    pub(crate) fn write_within(&self, wait: Wait, poisoned: bool) -> Result<RwLockWriteGuard<'_, T>> {
        let words = self.0.head();
        // A writer needs to be no member, but for `downgrade`, which then cannot fail.
        let member = self.0.member()?;
        let reads = Reads::has(self.entry(Some(member))) && words.is_read_by(member);
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
    pub(crate) fn end_put_away(&self, PutAway(reading): PutAway) -> bool {
        self.end_read(reading)
    }

    #[inline(always)]
    fn end_read(&self, reading: Reading) -> bool {
        let member = reading.member();
        Reads::remove(self.entry(member));
        // One that a fork copied is not the child's.
        let is_mine = self.0.known_member() == member;
        if is_mine {
            robust::take_back();
            self.0.head().end_read(reading);
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
    #[inline(always)]
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
    #[inline(always)]
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
    /// Invariant: while it stands, nobody writes the value.
    reading: Reading,
    _not_send: PhantomData<*const ()>,
}

impl<'a, T: Pod> RwLockReadGuard<'a, T> {
    #[inline(always)]
    fn new(lock: &'a RwLock<T>, reading: Reading) -> Self {
        Reads::add(lock.entry(reading.member()));
        robust::lend();
        Self { lock, reading, _not_send: PhantomData }
    }
}

/// What is left of the guard of a read that goes on.
#[cfg(feature = "capi")]
pub(crate) struct PutAway(Reading);

#[cfg(feature = "capi")]
impl<T: Pod> RwLockReadGuard<'_, T> {
    /// Leaves the read going on. See [`RwLock::end_put_away`].
    #[inline]
    pub(crate) fn put_away(self) -> PutAway {
        let put_away = PutAway(self.reading);
        mem::forget(self);
        put_away
    }
}

impl<T: Pod> Deref for RwLockReadGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the data of the handle is a `T`, of which any bits are one; nobody writes it, by the invariant.
        unsafe { self.lock.0.data().cast().as_ref() }
    }
}

impl<T: Pod> Drop for RwLockReadGuard<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        self.lock.end_read(self.reading);
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
        RwLockReadGuard::new(lock, lock.0.head().downgrade(member, lock.0.members().ok().as_ref()))
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
