//! A semaphore whose permits have owners.

#![expect(unsafe_code, reason = "declares what lives in shared memory")]

use std::{
    fmt, mem,
    sync::atomic::AtomicU64,
    time::{Duration, Instant},
};

use super::constructors::counted_constructors;
use crate::{
    Error, Result,
    os::clock::Wait,
    raw::{gate::Gate, lives::MemberId, permits::Permits},
    region::{Dims, Handle, Kind, Resident, resident_handle},
};

/// A number of permits, each of which one process has at a time.
///
/// A [`Permit`] is given back when it is dropped. Any thread of the process may drop it. No more permits can be given
/// back than were taken.
///
/// # If a process dies
///
/// Its permits are given back, as soon as the whole process has ended. They guard nothing that could be half changed,
/// so nobody is told.
///
/// # Examples
///
/// ```
/// # fn main() -> shmkit::Result<()> {
/// use shmkit::BoundedSemaphore;
///
/// let licences = BoundedSemaphore::new(2)?;
/// let first = licences.acquire()?;
/// let second = licences.acquire()?;
/// assert!(licences.try_acquire().unwrap_err().is_would_block());
/// drop(first);
/// assert_eq!(licences.available()?, 1);
/// # drop(second);
/// # Ok(())
/// # }
/// ```
///
/// Between programs that find each other by name:
///
/// ```
/// # fn main() -> shmkit::Result<()> {
/// use shmkit::BoundedSemaphore;
///
/// let name = format!("shmkit-doc-bounded-{}", std::process::id());
/// let here = BoundedSemaphore::create(&name, 4)?;
/// let there = BoundedSemaphore::open(&name)?;
/// let permit = there.acquire()?;
/// assert_eq!((here.available()?, here.permits()), (3, 4));
/// # drop(permit);
/// BoundedSemaphore::unlink(&name)?;
/// # Ok(())
/// # }
/// ```
pub struct BoundedSemaphore(Handle<BoundedCell>);

pub(crate) struct BoundedCell;

/// What the records are on file as.
pub(crate) struct Owner;

// SAFETY: `repr(C)`, of atomics only.
unsafe impl crate::region::Shared for Gate {}

// SAFETY: the body is the gate and a word for each permit; zeroed ones are free.
unsafe impl Resident for BoundedCell {
    const KIND: Kind = Kind::BoundedSemaphore;
    type Head = Gate;
    type Element = Owner;
    type Stored = AtomicU64;

    fn check(dims: Dims) -> Result<()> {
        match dims.as_slice() {
            [1..=BoundedSemaphore::MAX] => Ok(()),
            other => Err(Error::invalid_argument(format!(
                "a semaphore of {other:?} permits; 1 to {} are possible",
                BoundedSemaphore::MAX
            ))),
        }
    }
}

impl BoundedSemaphore {
    /// The most permits.
    pub const MAX: usize = 65_536;

    counted_constructors!("semaphore", permits, "permits");

    fn dims(permits: usize) -> Result<Dims> {
        let dims = Dims::new(&[permits])?;
        BoundedCell::check(dims)?;
        Ok(dims)
    }

    #[inline]
    fn raw(&self) -> Permits<'_> {
        Permits { gate: self.0.head(), records: self.0.elements() }
    }

    #[inline]
    pub(crate) fn take(&self, wait: Wait) -> Result<Permit<'_>> {
        let owner = self.0.member()?;
        let at = self.raw().acquire(owner, || self.0.members(), wait)?;
        Ok(Permit { semaphore: self, owner, at })
    }

    /// Takes a permit, and waits for one as long as it takes.
    ///
    /// # Errors
    ///
    /// [`TooManyMembers`](crate::Error::TooManyMembers) when more processes use the region than it was made for,
    /// [`ReadOnly`](crate::Error::ReadOnly).
    ///
    /// # If a process dies
    ///
    /// An owner's death wakes those who wait. A waiter's death costs nobody anything.
    ///
    /// # Examples
    ///
    /// See the type.
    #[inline]
    pub fn acquire(&self) -> Result<Permit<'_>> {
        self.take(Wait::Forever)
    }

    /// Takes a permit if there is one.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](crate::Error::WouldBlock); else as [`acquire`](Self::acquire).
    ///
    /// # Examples
    ///
    /// See the type.
    #[inline]
    pub fn try_acquire(&self) -> Result<Permit<'_>> {
        self.take(Wait::No)
    }

    /// Takes a permit, and waits at most `timeout` for one.
    ///
    /// # Errors
    ///
    /// [`TimedOut`](crate::Error::TimedOut); else as [`acquire`](Self::acquire).
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// use std::time::Duration;
    ///
    /// let semaphore = shmkit::BoundedSemaphore::new(1)?;
    /// let permit = semaphore.acquire_timeout(Duration::from_secs(1))?;
    /// assert!(semaphore.acquire_timeout(Duration::from_millis(1)).unwrap_err().is_timed_out());
    /// # drop(permit);
    /// # Ok(())
    /// # }
    /// ```
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<Permit<'_>> {
        self.take(Wait::timeout(timeout))
    }

    /// Takes a permit, and waits for one until `deadline` at most.
    ///
    /// # Errors
    ///
    /// [`TimedOut`](crate::Error::TimedOut); else as [`acquire`](Self::acquire).
    ///
    /// # Examples
    ///
    /// See [`acquire_timeout`](Self::acquire_timeout).
    pub fn acquire_deadline(&self, deadline: Instant) -> Result<Permit<'_>> {
        self.take(Wait::deadline(deadline))
    }

    /// Gives back a permit that was [detached](Permit::detach): one of this process, or else one of another.
    ///
    /// # Errors
    ///
    /// [`InvalidArgument`](crate::Error::InvalidArgument) when no permit is detached, and nothing has changed then:
    /// of several who release at once only as many succeed as there are such permits.
    ///
    /// # If a process dies
    ///
    /// One that dies in here has given a permit back or has not; if it has, who waits finds it within 100 ms.
    ///
    /// # Examples
    ///
    /// See [`Permit::detach`].
    pub fn release(&self) -> Result<()> {
        if self.raw().release_detached(self.0.member()?, &self.0.members()?) {
            Ok(())
        } else {
            Err(Error::invalid_argument("released more often than acquired: no permit is detached"))
        }
    }

    /// The number of permits that could be taken now; those of the dead are among them.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](crate::Error::Corrupt).
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn available(&self) -> Result<usize> {
        Ok(self.raw().available(&self.0.members()?))
    }

    /// The number of permits that there are.
    ///
    /// # Examples
    ///
    /// See the type.
    #[must_use]
    pub fn permits(&self) -> usize {
        self.0.len()
    }
}

resident_handle!(BoundedSemaphore, BoundedCell, "semaphore");

impl fmt::Debug for BoundedSemaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoundedSemaphore")
            .field("available", &self.available().ok())
            .field("permits", &self.permits())
            .finish()
    }
}

/// A permit of a [`BoundedSemaphore`], given back when this is dropped.
#[must_use = "if unused the permit is given back at once"]
pub struct Permit<'a> {
    semaphore: &'a BoundedSemaphore,
    owner: MemberId,
    at: usize,
}

impl Permit<'_> {
    /// Keeps the permit without a guard: [`BoundedSemaphore::release`] gives it back, in any process, and so does the
    /// end of this one.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let semaphore = shmkit::BoundedSemaphore::new(2)?;
    /// semaphore.acquire()?.detach();
    /// assert_eq!(semaphore.available()?, 1);
    /// semaphore.release()?;
    /// assert_eq!(semaphore.available()?, 2);
    /// assert!(semaphore.release().is_err());
    /// # Ok(())
    /// # }
    /// ```
    pub fn detach(self) {
        if self.is_ours() {
            self.semaphore.raw().detach(self.owner, self.at);
            mem::forget(self);
        }
    }

    /// Whether this process took the permit: a copy that a fork made is not the child's.
    fn is_ours(&self) -> bool {
        self.semaphore.0.known_member() == Some(self.owner)
    }
}

impl Drop for Permit<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.is_ours() {
            self.semaphore.raw().release(self.owner, self.at);
        }
    }
}

impl fmt::Debug for Permit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("at", &self.at).finish_non_exhaustive()
    }
}
