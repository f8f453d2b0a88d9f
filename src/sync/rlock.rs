//! A lock that its holder may take again.

#![expect(unsafe_code, reason = "declares what lives in shared memory")]

use std::{
    fmt,
    marker::PhantomData,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    thread,
};

use super::{
    CondvarGuard,
    constructors::plain_constructors,
    held::{ForAWait, LockOf, Owner, PanickingBefore, Release, locking, poison_by_panic},
};
use crate::{
    Error, Poison, Result,
    os::clock::Wait,
    raw::{
        mutex::{RawMutex, Use},
        points::point,
    },
    region::{Handle, Kind, Resident, Shared, resident_handle},
};

/// A lock between threads and processes that the thread which holds it may take again.
///
/// Each `lock` has its guard; the lock is free when the last of them is dropped.
///
/// # If a process dies
///
/// As [`Lock`](crate::Lock): however deep it was held, the next one to lock is told once.
///
/// # Examples
///
/// ```
/// # fn main() -> shmkit::Result<()> {
/// let lock = shmkit::RLock::new()?;
/// let outer = lock.lock()?;
/// let inner = lock.lock()?;
/// drop(outer);
/// assert!(std::thread::scope(|s| s.spawn(|| lock.try_lock().is_err()).join()).unwrap());
/// drop(inner);
/// assert!(std::thread::scope(|s| s.spawn(|| lock.try_lock().is_ok()).join()).unwrap());
/// # Ok(())
/// # }
/// ```
pub struct RLock(Handle<RLockCell>);

/// The words of the lock. `depth` is read and written by the holder alone; who takes the lock from a dead one sets it.
#[repr(C)]
pub(crate) struct RLockHead {
    mutex: RawMutex,
    depth: AtomicU32,
    reserved: AtomicU32,
}

// SAFETY: `repr(C)`, of atomics only.
unsafe impl Shared for RLockHead {}

pub(crate) struct RLockCell;

// SAFETY: the body is the head alone, which begins with the lock.
unsafe impl Resident for RLockCell {
    const KIND: Kind = Kind::RLock;
    type Head = RLockHead;
    type Element = ();
    type Stored = ();
}

impl RLock {
    plain_constructors!("lock");
    locking!(RLockGuard<'_>);

    #[inline]
    pub(crate) fn acquire(&self, wait: Wait) -> Result<RLockGuard<'_>> {
        let guard = self.acquire_any(wait)?;
        if self.0.head().mutex.is_poisoned() { Err(refuse(&guard)) } else { Ok(guard) }
    }

    #[inline]
    pub(crate) fn acquire_any(&self, wait: Wait) -> Result<RLockGuard<'_>> {
        let head = self.0.head();
        if head.mutex.is_mine() {
            let deeper = head.depth.load(Relaxed).checked_add(1);
            let deeper = deeper.ok_or_else(|| Error::invalid_argument("the lock is held 2^32 times"))?;
            point();
            head.depth.store(deeper, Relaxed);
        } else {
            head.mutex.lock(Use::Data, wait)?;
            point();
            head.depth.store(1, Relaxed);
        }
        Ok(RLockGuard { head, before: PanickingBefore::now(), _not_send: PhantomData })
    }

    /// A guard that this thread forgot, if it holds the lock.
    #[cfg(feature = "capi")]
    #[inline]
    pub(crate) fn regain(&self) -> Option<RLockGuard<'_>> {
        let head = self.0.head();
        head.mutex.is_mine().then(|| RLockGuard { head, before: PanickingBefore::now(), _not_send: PhantomData })
    }
}

resident_handle!(RLock, RLockCell, "lock");

impl fmt::Debug for RLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = self.0.head();
        f.debug_struct("RLock")
            .field("owner", &Owner(&head.mutex))
            .field("depth", &if head.mutex.holder().0 == 0 { 0 } else { head.depth.load(Relaxed) })
            .field("poisoned", &head.mutex.is_poisoned())
            .finish()
    }
}

/// One of the times that this thread holds an [`RLock`].
///
/// Not `Send`: the lock belongs to the thread that took it.
#[must_use = "if unused the lock is released at once"]
pub struct RLockGuard<'a> {
    head: &'a RLockHead,
    before: PanickingBefore,
    _not_send: PhantomData<*const ()>,
}

impl RLockGuard<'_> {
    /// What poisoned the lock, if anything did and nobody has repaired it yet.
    ///
    /// # Examples
    ///
    /// See [`Poison`].
    #[must_use]
    pub fn poison(&self) -> Option<Poison> {
        self.head.mutex.is_poisoned().then(|| Poison { pid: self.head.mutex.culprit(), range: None })
    }

    /// Declares what the lock guards to be whole again.
    ///
    /// # Examples
    ///
    /// See [`Poison`].
    pub fn clear_poison(&mut self) {
        if self.head.mutex.is_mine() {
            self.head.mutex.clear_poison();
        }
    }
}

impl Release for RLockGuard<'_> {
    fn lock(&self) -> LockOf<'_> {
        LockOf(&self.head.mutex)
    }

    fn release(&mut self, _: ForAWait) -> u32 {
        let depth = self.head.depth.load(Relaxed);
        self.head.mutex.unlock();
        depth
    }

    fn take_again(&mut self, depth: u32, _: ForAWait) -> Result<()> {
        self.head.mutex.lock(Use::Data, Wait::Forever)?;
        point();
        self.head.depth.store(depth, Relaxed);
        Ok(())
    }
}

impl CondvarGuard for RLockGuard<'_> {}

/// What a caller is told who did not ask to recover.
#[cold]
fn refuse(guard: &RLockGuard<'_>) -> Error {
    guard.poison().map_or(Error::WouldBlock, Error::from)
}

impl Drop for RLockGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        // A guard that a fork copied is not the child's.
        if !self.head.mutex.is_mine() {
            return;
        }
        if thread::panicking() {
            poison_by_panic(&self.head.mutex, self.before);
        }
        match self.head.depth.load(Relaxed) {
            0 | 1 => self.head.mutex.unlock(),
            depth => {
                point();
                self.head.depth.store(depth - 1, Relaxed);
            }
        }
    }
}

impl fmt::Debug for RLockGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RLockGuard").field("poison", &self.poison()).finish()
    }
}
