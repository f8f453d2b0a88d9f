//! A lock that is held, and the four forms in which every lock is taken: once for all kinds of guards.

use std::{fmt, marker::PhantomData, thread};

use crate::{
    Error, Poison, Result,
    os::{clock::Wait, robust},
    raw::mutex::{RawMutex, Use},
};

/// A lock that this thread holds for the user's data, released when this is dropped.
///
/// Not `Send`: the lock is on the list of the thread that took it.
pub(crate) struct Held<'a> {
    mutex: &'a RawMutex,
    before: PanickingBefore,
    _not_send: PhantomData<*const ()>,
}

/// Whether a panic was under way when the lock was taken: that one does not poison.
///
/// A word, so that a guard has no padding: copies of padding made an uncontended lock five times slower.
#[derive(Clone, Copy)]
pub(crate) struct PanickingBefore(usize);

impl PanickingBefore {
    #[inline]
    pub(crate) fn now() -> Self {
        Self(usize::from(thread::panicking()))
    }
}

impl<'a> Held<'a> {
    /// Takes the lock; a poisoned one is an error, and is then not held.
    ///
    /// The common case is inlined into the user's code, through all callers: a function would return the guard through
    /// memory, which costs a tenth of the whole.
    #[inline(always)]
    pub(crate) fn lock(mutex: &'a RawMutex, wait: Wait) -> Result<Self> {
        if !mutex.lock_uncontended(Use::Data) {
            Self::lock_contended(mutex, wait)
        } else if mutex.is_poisoned() {
            Err(give_back(mutex))
        } else {
            Ok(Self::new(mutex))
        }
    }

    #[cold]
    fn lock_contended(mutex: &'a RawMutex, wait: Wait) -> Result<Self> {
        mutex.lock_contended(Use::Data, wait)?;
        if mutex.is_poisoned() { Err(give_back(mutex)) } else { Ok(Self::new(mutex)) }
    }

    /// Takes the lock, poisoned or not.
    #[inline]
    pub(crate) fn recover(mutex: &'a RawMutex, wait: Wait) -> Result<Self> {
        mutex.lock(Use::Data, wait)?;
        Ok(Self::new(mutex))
    }

    /// For whoever has taken the lock already, for the data.
    #[inline]
    pub(crate) fn new(mutex: &'a RawMutex) -> Self {
        Self { mutex, before: PanickingBefore::now(), _not_send: PhantomData }
    }

    pub(crate) fn poison(&self) -> Option<Poison> {
        self.mutex.is_poisoned().then(|| Poison { pid: self.mutex.culprit(), range: None })
    }

    pub(crate) fn clear_poison(&self) {
        // A guard that a fork copied has no say.
        if self.mutex.is_mine() {
            self.mutex.clear_poison();
        }
    }
}

/// Releases a lock that was found poisoned, and says by whom.
#[cold]
pub(crate) fn give_back(mutex: &RawMutex) -> Error {
    let pid = mutex.culprit();
    mutex.unlock();
    Error::Poisoned { pid, range: None }
}

impl Drop for Held<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        if thread::panicking() {
            poison_by_panic(self.mutex, self.before);
        }
        self.mutex.unlock();
    }
}

/// Poisons, if the panic began while the lock was held.
#[cold]
pub(crate) fn poison_by_panic(mutex: &RawMutex, before: PanickingBefore) {
    if before.0 == 0
        && let Ok(me) = robust::this_thread()
        && mutex.is_held_by_thread(me)
    {
        mutex.poison(me.stamp());
    }
}

/// The lock of a guard, which users cannot reach.
pub struct LockOf<'a>(pub(crate) &'a RawMutex);

/// What only a [`Condvar`](crate::Condvar) has: users can name the methods of [`Release`], through the bound of a guard,
/// and a guard without its lock would let two in.
pub struct ForAWait(pub(super) ());

/// A guard whose lock can be released for a wait, and is held again after it.
pub trait Release {
    /// The lock, where the region has it.
    fn lock(&self) -> LockOf<'_>;

    /// What of that which it guards somebody left half changed.
    fn poisoned(&self) -> Option<Poison> {
        let LockOf(mutex) = self.lock();
        mutex.is_poisoned().then(|| Poison { pid: mutex.culprit(), range: None })
    }

    /// Releases the lock, however often it is held. Returns how often that was.
    fn release(&mut self, _: ForAWait) -> u32;

    /// Takes the lock again, as often as `depth` says, poisoned or not.
    ///
    /// # Errors
    ///
    /// Those of [`RawMutex::lock`]; then it is not held.
    fn take_again(&mut self, depth: u32, _: ForAWait) -> Result<()>;
}

impl Release for Held<'_> {
    fn lock(&self) -> LockOf<'_> {
        LockOf(self.mutex)
    }

    fn release(&mut self, _: ForAWait) -> u32 {
        self.mutex.unlock();
        1
    }

    fn take_again(&mut self, _: u32, _: ForAWait) -> Result<()> {
        self.mutex.lock(Use::Data, Wait::Forever).map(drop)
    }
}

/// For a guard of which all that is held is in its field `held`.
macro_rules! release_held {
    ($guard:ty $(, $t:ident: $bound:path)?) => {
        impl$(<$t: $bound>)? crate::sync::held::Release for $guard {
            fn lock(&self) -> crate::sync::held::LockOf<'_> {
                crate::sync::held::Release::lock(&self.held)
            }

            fn release(&mut self, wait: crate::sync::held::ForAWait) -> u32 {
                self.held.release(wait)
            }

            fn take_again(&mut self, depth: u32, wait: crate::sync::held::ForAWait) -> crate::Result<()> {
                self.held.take_again(depth, wait)
            }
        }

        impl$(<$t: $bound>)? crate::sync::CondvarGuard for $guard {}
    };
}
pub(crate) use release_held;

/// Who holds a lock, for `Debug`.
pub(crate) struct Owner<'a>(pub(crate) &'a RawMutex);

impl fmt::Debug for Owner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.holder() {
            (0, _) => f.write_str("none"),
            _ if self.0.is_mine() => f.write_str("this thread"),
            (_, Some(pid)) if pid == std::process::id() => f.write_str("another thread"),
            (_, Some(pid)) => write!(f, "process {pid}"),
            (tid, None) => write!(f, "thread {tid}"),
        }
    }
}

/// The eight ways to take a lock, for a type with `acquire` and `acquire_any` (poisoned or not), which take a [`Wait`].
macro_rules! locking {
    ($guard:ty) => {
        /// Takes the lock, and waits for it as long as it takes.
        ///
        /// # Errors
        ///
        /// [`Poisoned`](crate::Error::Poisoned) when a holder died or panicked: the lock is then not held, and
        /// [`recover`](Self::recover) is the way on. [`WouldDeadlock`](crate::Error::WouldDeadlock) when this thread
        /// holds it already. [`TooManyLocks`](crate::Error::TooManyLocks) when this thread holds 1,000 others.
        ///
        /// # If a process dies
        ///
        /// A holder's death gives the lock to a waiter at once, as soon as the whole process has ended. A waiter's
        /// death costs nobody anything.
        ///
        /// # Examples
        ///
        /// See the type.
        #[inline(always)]
        pub fn lock(&self) -> crate::Result<$guard> {
            self.acquire(crate::os::clock::Wait::Forever)
        }

        /// Takes the lock if it is free.
        ///
        /// # Errors
        ///
        /// [`WouldBlock`](crate::Error::WouldBlock) when it is held, by this thread too; else as [`lock`](Self::lock).
        ///
        /// # Examples
        ///
        /// See the type.
        #[inline(always)]
        pub fn try_lock(&self) -> crate::Result<$guard> {
            self.acquire(crate::os::clock::Wait::No)
        }

        /// Takes the lock, and waits at most `timeout` for it.
        ///
        /// # Errors
        ///
        /// [`TimedOut`](crate::Error::TimedOut); else as [`lock`](Self::lock).
        ///
        /// # Examples
        ///
        /// See the type.
        pub fn lock_timeout(&self, timeout: std::time::Duration) -> crate::Result<$guard> {
            self.acquire(crate::os::clock::Wait::timeout(timeout))
        }

        /// Takes the lock, and waits for it until `deadline` at most.
        ///
        /// # Errors
        ///
        /// [`TimedOut`](crate::Error::TimedOut); else as [`lock`](Self::lock).
        ///
        /// # Examples
        ///
        /// See the type.
        pub fn lock_deadline(&self, deadline: std::time::Instant) -> crate::Result<$guard> {
            self.acquire(crate::os::clock::Wait::deadline(deadline))
        }

        /// Takes the lock, poisoned or not: the guard tells, and can [clear](crate::Poison) it after the repair.
        ///
        /// # Errors
        ///
        /// As [`lock`](Self::lock), but never `Poisoned`.
        ///
        /// # Examples
        ///
        /// See [`Poison`](crate::Poison).
        pub fn recover(&self) -> crate::Result<$guard> {
            self.acquire_any(crate::os::clock::Wait::Forever)
        }

        /// As [`recover`](Self::recover), if the lock is free.
        ///
        /// # Errors
        ///
        /// As [`try_lock`](Self::try_lock), but never `Poisoned`.
        ///
        /// # Examples
        ///
        /// See [`Poison`](crate::Poison).
        pub fn try_recover(&self) -> crate::Result<$guard> {
            self.acquire_any(crate::os::clock::Wait::No)
        }

        /// As [`recover`](Self::recover), waiting at most `timeout`.
        ///
        /// # Errors
        ///
        /// As [`lock_timeout`](Self::lock_timeout), but never `Poisoned`.
        ///
        /// # Examples
        ///
        /// See [`Poison`](crate::Poison).
        pub fn recover_timeout(&self, timeout: std::time::Duration) -> crate::Result<$guard> {
            self.acquire_any(crate::os::clock::Wait::timeout(timeout))
        }

        /// As [`recover`](Self::recover), waiting until `deadline` at most.
        ///
        /// # Errors
        ///
        /// As [`lock_deadline`](Self::lock_deadline), but never `Poisoned`.
        ///
        /// # Examples
        ///
        /// See [`Poison`](crate::Poison).
        pub fn recover_deadline(&self, deadline: std::time::Instant) -> crate::Result<$guard> {
            self.acquire_any(crate::os::clock::Wait::deadline(deadline))
        }
    };
}
pub(crate) use locking;

/// What every guard can say of the health of its lock.
macro_rules! guard_poison {
    () => {
        /// What poisoned the lock, if anything did and nobody has repaired it yet.
        ///
        /// # Examples
        ///
        /// See [`Poison`](crate::Poison).
        #[must_use]
        pub fn poison(&self) -> Option<crate::Poison> {
            self.held.poison()
        }

        /// Declares what the lock guards to be whole again.
        ///
        /// # Examples
        ///
        /// See [`Poison`](crate::Poison).
        pub fn clear_poison(&mut self) {
            self.held.clear_poison();
        }
    };
}
pub(crate) use guard_poison;
