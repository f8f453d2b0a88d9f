//! A condition variable between processes.

#![expect(unsafe_code, reason = "declares what lives in shared memory")]

use std::{
    fmt, thread,
    time::{Duration, Instant},
};

use super::{
    constructors::plain_constructors,
    held::{ForAWait, Release},
};
use crate::{
    Error, Result,
    os::clock::Wait,
    raw::{
        condvar::{Condvar as Raw, CondvarWords, LockId, Slot},
        mutex::RawMutex,
        waiting::SLICE,
    },
    region::{Handle, Kind, Resident, Shared, locate, resident_handle},
};

/// A place where threads of any processes that hold a lock wait until another one has changed what the lock guards.
///
/// A wait takes the guard of a [`Lock`](crate::Lock), [`RLock`](crate::RLock), [`Value`](crate::Value),
/// [`Array`](crate::Array) or [`RwLock`](crate::RwLock) (that writes), releases the lock, and has it again when it
/// returns. Between the release and the beginning of the wait nothing is missed. An `RLock` is released however often
/// it is held, and then held as often again. All who wait at a time must use the same lock.
///
/// Nothing is kept for later: a notification for which nobody waits does nothing. As with every condition variable, what
/// was notified may not be true any more when the waiter has the lock again: [`wait_while`](Self::wait_while) looks. For
/// the same reason there is no form that tries: it would always be told to wait.
///
/// [`MAX`](Self::MAX) threads can wait at a time.
///
/// # If a process dies
///
/// A waiter that dies is passed over. One that dies after it was notified, and before it holds the lock again, passes its
/// notification on to the oldest that was waiting when it was given, within milliseconds of the end of its process. So
/// no notification is lost that a living waiter could have had. One that is given while the receiver of another is
/// dying goes to the next in order.
///
/// One that dies in the middle of a notification has notified all, some or none of those it would have; who was notified
/// finds out within 100 ms. Who passes a notification on may be killed in the middle of it: then the next one passes it on
/// once more, and one more wakes than was notified. No wait should take its end for the truth of what it waits for:
/// [`wait_while`](Self::wait_while) looks.
///
/// A process that is stopped, and not dead, in the few steps in which it enters a wait or chooses whom to notify holds up
/// the others until it goes on or dies. One that is stopped anywhere else holds up nobody.
///
/// If all who would have notified are dead, a wait does not end: a condition does not know them.
///
/// A holder of the lock that dies poisons it, and then the waits with it return
/// [`Poisoned`](crate::Error::Poisoned): see [`wait`](Self::wait).
///
/// # Examples
///
/// ```standalone_crate
/// use shmkit::{Condvar, Process, Result, Value};
///
/// fn work(left: Value<u32>, changed: Condvar) -> Result<()> {
///     *left.lock()? -= 1;
///     changed.notify_all()?;
///     Ok(())
/// }
///
/// fn main() -> Result<()> {
///     shmkit::init();
///     let (left, changed) = (Value::new(2)?, Condvar::new()?);
///     let workers = [0, 1].map(|_| Process::spawn(work, (left.clone(), changed.clone())));
///     let mut guard = left.lock()?;
///     changed.wait_while(&mut guard, |left| **left > 0)?;
///     assert_eq!(*guard, 0);
///     drop(guard);
///     for worker in workers {
///         worker?.join()?;
///     }
///     Ok(())
/// }
/// ```
///
/// Programs that find each other by name:
///
/// ```
/// # fn main() -> shmkit::Result<()> {
/// use shmkit::Condvar;
///
/// let name = format!("shmkit-doc-condvar-{}", std::process::id());
/// let here = Condvar::create(&name)?;
/// assert!(Condvar::open(&name)?.is_same(&here));
/// assert_eq!(here.notify_all()?, 0);
/// Condvar::unlink(&name)?;
/// # Ok(())
/// # }
/// ```
pub struct Condvar(Handle<CondvarCell>);

pub(crate) struct CondvarCell;

/// The words and the slots.
#[repr(C)]
pub(crate) struct CondvarHead {
    words: CondvarWords,
    slots: [Slot; Condvar::MAX],
}

// SAFETY: `repr(C)`, of atomics only.
unsafe impl Shared for CondvarHead {}

// SAFETY: the body is the head alone, which begins with the lock of the table; zeroed it is a condition that nobody waits
// for.
unsafe impl Resident for CondvarCell {
    const KIND: Kind = Kind::Condvar;
    type Head = CondvarHead;
    type Element = ();
    type Stored = ();
}

/// A guard that a [`Condvar`] can wait with: the lock is released for the wait, and held again after it.
///
/// It is that of a [`Lock`](crate::LockGuard), [`RLock`](crate::RLockGuard), [`Value`](crate::ValueGuard),
/// [`Array`](crate::ArrayGuard), or of an [`RwLock`](crate::RwLockWriteGuard) that is written.
///
/// # Examples
///
/// ```
/// use shmkit::{Condvar, CondvarGuard, Result};
///
/// /// Waits for three notifications.
/// fn wait_thrice<G: CondvarGuard>(condition: &Condvar, guard: &mut G) -> Result<()> {
///     (0..3).try_for_each(|_| condition.wait(guard))
/// }
/// ```
pub trait CondvarGuard: Release {}

impl Condvar {
    /// The most threads that can wait at a time.
    pub const MAX: usize = 256;

    plain_constructors!("condition");

    /// The condition of this name in a region, or a new one.
    ///
    /// # Errors
    ///
    /// As [`new_in`](Self::new_in), and [`TypeMismatch`](crate::Error::TypeMismatch).
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// use shmkit::{Condvar, Region};
    ///
    /// let region = Region::anonymous(1 << 16)?;
    /// let first = Condvar::open_or_create_in(&region, "changed")?;
    /// assert!(Condvar::open_or_create_in(&region, "changed")?.is_same(&first));
    /// # Ok(())
    /// # }
    /// ```
    pub fn open_or_create_in(region: &crate::Region, name: &str) -> Result<Self> {
        Handle::open_or_create_in(region, name, crate::region::Dims::NONE, &|_| {}).map(Self)
    }

    /// Releases the lock, waits for a notification, and takes the lock again.
    ///
    /// The guard holds the lock when this returns, whatever it returns: to take it again is tried for ever. That a wait
    /// ended without an error says that it was notified (or, after a death, that another one was); what was waited for
    /// must be looked at.
    ///
    /// # Errors
    ///
    /// [`Poisoned`](crate::Error::Poisoned) when the lock was poisoned meanwhile or was before. Other than from `lock`
    /// it is held all the same, as from `recover`: the guard tells by whom, and can clear it. A notification has been
    /// used then.
    ///
    /// Before the wait has begun: [`InvalidArgument`](crate::Error::InvalidArgument) when others wait with another lock,
    /// and when this process does not hold the lock because a fork copied the guard;
    /// [`TooManyWaiters`](crate::Error::TooManyWaiters); [`TooManyLocks`](crate::Error::TooManyLocks) when this thread
    /// holds 1,000 locks; [`TooManyMembers`](crate::Error::TooManyMembers) when more processes use the region than it
    /// was made for.
    ///
    /// # If a process dies
    ///
    /// See the type.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// use shmkit::{Condvar, Value};
    ///
    /// let (ready, changed) = (Value::new(0_u8)?, Condvar::new()?);
    /// std::thread::scope(|scope| {
    ///     let mut guard = ready.lock()?;
    ///     scope.spawn(|| {
    ///         ready.set(1).unwrap();
    ///         changed.notify_one().unwrap();
    ///     });
    ///     while *guard == 0 {
    ///         changed.wait(&mut guard)?;
    ///     }
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn wait<G: CondvarGuard>(&self, guard: &mut G) -> Result<()> {
        self.wait_within(guard, Wait::Forever)
    }

    /// As [`wait`](Self::wait), for a notification within `timeout`. To take the lock again may last longer.
    ///
    /// # Errors
    ///
    /// [`TimedOut`](crate::Error::TimedOut); the lock is held all the same. Else as [`wait`](Self::wait).
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// use std::time::Duration;
    /// use shmkit::{Condvar, Lock};
    ///
    /// let (lock, changed) = (Lock::new()?, Condvar::new()?);
    /// let mut guard = lock.lock()?;
    /// assert!(changed.wait_timeout(&mut guard, Duration::from_millis(1)).unwrap_err().is_timed_out());
    /// # Ok(())
    /// # }
    /// ```
    pub fn wait_timeout<G: CondvarGuard>(&self, guard: &mut G, timeout: Duration) -> Result<()> {
        self.wait_within(guard, Wait::timeout(timeout))
    }

    /// As [`wait`](Self::wait), for a notification until `deadline`. To take the lock again may last longer.
    ///
    /// # Errors
    ///
    /// As [`wait_timeout`](Self::wait_timeout).
    ///
    /// # Examples
    ///
    /// See [`wait_timeout`](Self::wait_timeout).
    pub fn wait_deadline<G: CondvarGuard>(&self, guard: &mut G, deadline: Instant) -> Result<()> {
        self.wait_within(guard, Wait::deadline(deadline))
    }

    /// Waits as long as `condition` is true, which is asked before the first wait and after each.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn wait_while<G: CondvarGuard>(&self, guard: &mut G, condition: impl FnMut(&mut G) -> bool) -> Result<()> {
        self.wait_while_within(guard, condition, Wait::Forever)
    }

    /// As [`wait_while`](Self::wait_while), at most `timeout` in all, however many notifications come.
    ///
    /// # Errors
    ///
    /// [`TimedOut`](crate::Error::TimedOut) when the time is over and `condition` is still true; the lock is held all the
    /// same. Else as [`wait`](Self::wait).
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// use std::time::Duration;
    /// use shmkit::{Condvar, Value};
    ///
    /// let (left, changed) = (Value::new(1)?, Condvar::new()?);
    /// let mut guard = left.lock()?;
    /// let in_time = changed.wait_while_timeout(&mut guard, |left| **left > 0, Duration::from_millis(1));
    /// assert!(in_time.unwrap_err().is_timed_out());
    /// assert_eq!(*guard, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn wait_while_timeout<G: CondvarGuard>(
        &self,
        guard: &mut G,
        condition: impl FnMut(&mut G) -> bool,
        timeout: Duration,
    ) -> Result<()> {
        self.wait_while_within(guard, condition, Wait::timeout(timeout))
    }

    /// As [`wait_while`](Self::wait_while), until `deadline` at most, however many notifications come.
    ///
    /// # Errors
    ///
    /// As [`wait_while_timeout`](Self::wait_while_timeout).
    ///
    /// # Examples
    ///
    /// See [`wait_while_timeout`](Self::wait_while_timeout).
    pub fn wait_while_deadline<G: CondvarGuard>(
        &self,
        guard: &mut G,
        condition: impl FnMut(&mut G) -> bool,
        deadline: Instant,
    ) -> Result<()> {
        self.wait_while_within(guard, condition, Wait::deadline(deadline))
    }

    /// Notifies the one that has waited longest, if anybody waits. Returns how many it notified: 1 or 0.
    ///
    /// The caller may hold the lock or not. If it does not, and has not changed what is waited for under the lock, one
    /// that is about to wait may miss it.
    ///
    /// # Errors
    ///
    /// [`TooManyLocks`](crate::Error::TooManyLocks) when this thread holds 1,000 locks and somebody waits.
    ///
    /// # If a process dies
    ///
    /// See the type.
    ///
    /// # Examples
    ///
    /// See [`wait`](Self::wait).
    #[inline]
    pub fn notify_one(&self) -> Result<usize> {
        self.notify_n(1)
    }

    /// Notifies the `n` that have waited longest. Returns how many it notified: fewer if fewer wait.
    ///
    /// # Errors
    ///
    /// As [`notify_one`](Self::notify_one).
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let condition = shmkit::Condvar::new()?;
    /// assert_eq!(condition.notify_n(3)?, 0);
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn notify_n(&self, n: usize) -> Result<usize> {
        self.raw().notify(|| self.0.members(), n)
    }

    /// Notifies all who wait. Returns how many.
    ///
    /// # Errors
    ///
    /// As [`notify_one`](Self::notify_one).
    ///
    /// # Examples
    ///
    /// See the type.
    #[inline]
    pub fn notify_all(&self) -> Result<usize> {
        self.notify_n(usize::MAX)
    }

    /// How many wait at this moment and have not been notified, which may have changed when this returns.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](crate::Error::Corrupt).
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// assert_eq!(shmkit::Condvar::new()?.n_waiting()?, 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn n_waiting(&self) -> Result<usize> {
        Ok(self.raw().n_waiting(&self.0.members()?))
    }

    fn raw(&self) -> Raw<'_> {
        let head = self.0.head();
        Raw { words: &head.words, slots: &head.slots }
    }

    pub(crate) fn wait_within(&self, guard: &mut impl CondvarGuard, wait: Wait) -> Result<()> {
        if !guard.lock().0.is_mine() {
            return Err(Error::invalid_argument("the guard is a copy that a fork made: it holds nothing to release"));
        }
        let (raw, me, lives) = (self.raw(), self.0.member()?, self.0.members()?);
        let ticket = raw.enter(me, lock_id(guard.lock().0), &lives)?;
        let depth = guard.release(ForAWait(()));
        let outcome = raw.wait(me, ticket, &lives, wait);
        while guard.take_again(depth, ForAWait(())).is_err() {
            // Another thread of this process forgot its guard and ended, say. The guard must not be without its lock.
            thread::sleep(SLICE);
        }
        if outcome.is_ok() {
            raw.leave(ticket);
        }
        guard.poisoned().map_or(outcome, |poison| Err(poison.into()))
    }

    fn wait_while_within<G: CondvarGuard>(
        &self,
        guard: &mut G,
        mut condition: impl FnMut(&mut G) -> bool,
        wait: Wait,
    ) -> Result<()> {
        while condition(guard) {
            match self.wait_within(guard, wait) {
                // It may have come true without a notification, or with one that came too late.
                Err(Error::TimedOut) if !condition(guard) => return Ok(()),
                outcome => outcome?,
            }
        }
        Ok(())
    }
}

/// What tells the lock from all others, in every process.
fn lock_id(mutex: &RawMutex) -> LockId {
    let found = locate(std::ptr::from_ref(mutex).addr());
    found.map_or(LockId::default(), |(region, at)| [region.device, region.inode, at])
}

resident_handle!(Condvar, CondvarCell, "condition");

impl fmt::Debug for Condvar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condvar").field("waiting", &self.n_waiting().unwrap_or_default()).finish()
    }
}
