//! A lock between processes, for whatever its users agree on.

#![expect(unsafe_code, reason = "declares what lives in shared memory")]

use std::fmt;

use super::{
    constructors::plain_constructors,
    held::{Held, Owner, guard_poison, locking, release_held},
};
use crate::{
    Result,
    os::clock::Wait,
    raw::mutex::RawMutex,
    region::{Handle, Kind, Resident, resident_handle},
};

/// A mutual exclusion lock between threads and processes, which the death of its holder does not leave locked.
///
/// It guards nothing by itself; a [`Value`](crate::Value) or an [`Array`](crate::Array) brings its own. It is held by
/// a thread, and released when the guard is dropped there. A program that acquires in one thread and releases in
/// another takes a semaphore of 1.
///
/// # If a process dies
///
/// The next one to lock gets [`Error::Poisoned`](crate::Error::Poisoned) with the process id, and
/// [`recover`](Self::recover) takes the lock all the same. A panic of the holder poisons as well.
///
/// # Examples
///
/// ```
/// # fn main() -> shmkit::Result<()> {
/// use std::time::Duration;
/// use shmkit::Lock;
///
/// let lock = Lock::new()?;
/// let held = lock.lock()?;
/// assert!(lock.try_lock().unwrap_err().is_would_block());
/// drop(held);
/// let held = lock.lock_timeout(Duration::from_secs(1))?;
/// # drop(held);
///
/// let name = format!("shmkit-doc-lock-{}", std::process::id());
/// let lock = Lock::create(&name)?;
/// assert!(Lock::open(&name)?.is_same(&lock));
/// Lock::unlink(&name)?;
/// # Ok(())
/// # }
/// ```
pub struct Lock(Handle<LockCell>);

pub(crate) struct LockCell;

// SAFETY: the body is the lock alone.
unsafe impl Resident for LockCell {
    const KIND: Kind = Kind::Lock;
    type Head = RawMutex;
    type Element = ();
    type Stored = ();
}

impl Lock {
    plain_constructors!("lock");
    locking!(LockGuard<'_>);

    #[inline(always)]
    pub(crate) fn acquire(&self, wait: Wait) -> Result<LockGuard<'_>> {
        Held::lock(self.0.head(), wait).map(|held| LockGuard { held })
    }

    pub(crate) fn acquire_any(&self, wait: Wait) -> Result<LockGuard<'_>> {
        Held::recover(self.0.head(), wait).map(|held| LockGuard { held })
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
    pub(crate) fn regain(&self) -> Option<LockGuard<'_>> {
        let mutex = self.0.head();
        mutex.is_mine().then(|| LockGuard { held: Held::new(mutex) })
    }
}

resident_handle!(Lock, LockCell, "lock");

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mutex = self.0.head();
        f.debug_struct("Lock").field("owner", &Owner(mutex)).field("poisoned", &mutex.is_poisoned()).finish()
    }
}

/// A held [`Lock`]. Dropping it releases the lock.
///
/// Not `Send`: the lock belongs to the thread that took it.
#[must_use = "if unused the lock is released at once"]
pub struct LockGuard<'a> {
    held: Held<'a>,
}

impl LockGuard<'_> {
    guard_poison!();
}

release_held!(LockGuard<'_>);

impl fmt::Debug for LockGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockGuard").field("poison", &self.poison()).finish()
    }
}
