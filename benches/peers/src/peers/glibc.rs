//! glibc's own between processes: mutexes, plain and robust, conditions, reader-writer locks, barriers.

#![expect(unsafe_code, reason = "calls glibc")]

use std::{
    cell::UnsafeCell,
    mem::MaybeUninit,
    sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
};

use crate::{
    shared::{Shareable, Shared},
    workloads::{barrier::Meeting, lock::Locker, rwlock::ReadWrite, semaphore::Signal},
};

/// What glibc makes in zeroed memory that processes share; its functions take it by address.
#[repr(transparent)]
struct Made<T>(UnsafeCell<T>);

// SAFETY: locks, conditions and barriers are for sharing.
unsafe impl<T> Sync for Made<T> {}
// SAFETY: initialised before all else; with the attribute they work across processes, and nothing need be dropped.
unsafe impl<T> Shareable for Made<T> {}

impl<T> Made<T> {
    fn get(&self) -> *mut T {
        self.0.get()
    }
}

#[inline]
fn check(errno: libc::c_int) {
    assert_eq!(errno, 0, "{}", std::io::Error::from_raw_os_error(errno));
}

fn init_mutex(mutex: *mut libc::pthread_mutex_t, is_robust: bool) {
    let mut attributes = MaybeUninit::uninit();
    // SAFETY: initialises what it is given.
    check(unsafe { libc::pthread_mutexattr_init(attributes.as_mut_ptr()) });
    // SAFETY: initialised above.
    check(unsafe { libc::pthread_mutexattr_setpshared(attributes.as_mut_ptr(), libc::PTHREAD_PROCESS_SHARED) });
    let kind = if is_robust { libc::PTHREAD_MUTEX_ROBUST } else { libc::PTHREAD_MUTEX_STALLED };
    // SAFETY: as above.
    check(unsafe { libc::pthread_mutexattr_setrobust(attributes.as_mut_ptr(), kind) });
    // SAFETY: the mutex's memory is not in use yet; the attributes are initialised.
    check(unsafe { libc::pthread_mutex_init(mutex, attributes.as_ptr()) });
}

/// A `PTHREAD_PROCESS_SHARED` mutex, robust or not.
pub(crate) struct Mutex<const ROBUST: bool>(Shared<Made<libc::pthread_mutex_t>>);

impl<const ROBUST: bool> Locker for Mutex<ROBUST> {
    fn new() -> Result<Self, String> {
        let mutex = Shared::<Made<libc::pthread_mutex_t>>::zeroed();
        init_mutex(mutex.get(), ROBUST);
        Ok(Self(mutex))
    }

    #[inline]
    fn locked<R>(&self, work: impl FnOnce() -> R) -> R {
        // SAFETY: initialised.
        check(unsafe { libc::pthread_mutex_lock(self.0.get()) });
        let result = work();
        // SAFETY: this thread holds it.
        check(unsafe { libc::pthread_mutex_unlock(self.0.get()) });
        result
    }

    fn after_death(&self) -> Result<bool, String> {
        // SAFETY: initialised.
        let errno = unsafe { libc::pthread_mutex_lock(self.0.get()) };
        let has_died = errno == libc::EOWNERDEAD;
        if has_died {
            // SAFETY: this thread holds it.
            check(unsafe { libc::pthread_mutex_consistent(self.0.get()) });
        } else {
            check(errno);
        }
        // SAFETY: this thread holds it.
        check(unsafe { libc::pthread_mutex_unlock(self.0.get()) });
        Ok(has_died)
    }
}

/// A condition variable, with a count under a mutex.
pub(crate) struct Condition(Shared<Counted>);

#[repr(C)]
struct Counted {
    mutex: Made<libc::pthread_mutex_t>,
    changed: Made<libc::pthread_cond_t>,
    /// Used under the mutex.
    permits: AtomicU32,
}

// SAFETY: as of its parts.
unsafe impl Shareable for Counted {}

impl Signal for Condition {
    fn new(permits: u32) -> Result<Self, String> {
        let counted = Shared::<Counted>::zeroed();
        init_mutex(counted.mutex.get(), false);
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: initialises what it is given.
        check(unsafe { libc::pthread_condattr_init(attributes.as_mut_ptr()) });
        // SAFETY: initialised above.
        check(unsafe { libc::pthread_condattr_setpshared(attributes.as_mut_ptr(), libc::PTHREAD_PROCESS_SHARED) });
        // SAFETY: the memory is not in use yet; the attributes are initialised.
        check(unsafe { libc::pthread_cond_init(counted.changed.get(), attributes.as_ptr()) });
        counted.permits.store(permits, Relaxed);
        Ok(Self(counted))
    }

    fn acquire(&self) {
        // SAFETY: initialised.
        check(unsafe { libc::pthread_mutex_lock(self.0.mutex.get()) });
        while self.0.permits.load(Relaxed) == 0 {
            // SAFETY: both initialised, and the mutex is held by this thread.
            check(unsafe { libc::pthread_cond_wait(self.0.changed.get(), self.0.mutex.get()) });
        }
        self.0.permits.store(self.0.permits.load(Relaxed) - 1, Relaxed);
        // SAFETY: this thread holds it.
        check(unsafe { libc::pthread_mutex_unlock(self.0.mutex.get()) });
    }

    fn release(&self) {
        // SAFETY: initialised.
        check(unsafe { libc::pthread_mutex_lock(self.0.mutex.get()) });
        self.0.permits.store(self.0.permits.load(Relaxed) + 1, Relaxed);
        // SAFETY: this thread holds it.
        check(unsafe { libc::pthread_mutex_unlock(self.0.mutex.get()) });
        // SAFETY: initialised.
        check(unsafe { libc::pthread_cond_signal(self.0.changed.get()) });
    }
}

/// A reader-writer lock, and the numbers under it.
pub(crate) struct RwLock(Shared<Guarded>);

#[repr(C)]
struct Guarded {
    lock: Made<libc::pthread_rwlock_t>,
    numbers: [AtomicU64; 2],
}

// SAFETY: as of its parts.
unsafe impl Shareable for Guarded {}

impl RwLock {
    #[inline]
    fn unlock(&self) {
        // SAFETY: this thread holds it.
        check(unsafe { libc::pthread_rwlock_unlock(self.0.lock.get()) });
    }
}

/// Adds 1 to both, one after the other, without an atomic addition.
#[inline]
pub(crate) fn bump(numbers: &[AtomicU64; 2], between: impl FnOnce()) {
    numbers[0].store(numbers[0].load(Relaxed) + 1, Relaxed);
    between();
    numbers[1].store(numbers[1].load(Relaxed) + 1, Relaxed);
}

impl ReadWrite for RwLock {
    fn new() -> Result<Self, String> {
        let guarded = Shared::<Guarded>::zeroed();
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: initialises what it is given.
        check(unsafe { libc::pthread_rwlockattr_init(attributes.as_mut_ptr()) });
        // SAFETY: initialised above.
        check(unsafe { libc::pthread_rwlockattr_setpshared(attributes.as_mut_ptr(), libc::PTHREAD_PROCESS_SHARED) });
        // SAFETY: the memory is not in use yet; the attributes are initialised.
        check(unsafe { libc::pthread_rwlock_init(guarded.lock.get(), attributes.as_ptr()) });
        Ok(Self(guarded))
    }

    #[inline]
    fn read(&self, during: impl FnOnce()) -> [u64; 2] {
        // SAFETY: initialised.
        check(unsafe { libc::pthread_rwlock_rdlock(self.0.lock.get()) });
        during();
        let numbers = self.0.numbers.each_ref().map(|number| number.load(Relaxed));
        self.unlock();
        numbers
    }

    #[inline]
    fn write(&self, between: impl FnOnce()) {
        // SAFETY: initialised.
        check(unsafe { libc::pthread_rwlock_wrlock(self.0.lock.get()) });
        bump(&self.0.numbers, between);
        self.unlock();
    }
}

/// A `PTHREAD_PROCESS_SHARED` barrier.
pub(crate) struct Barrier(Shared<Made<libc::pthread_barrier_t>>);

impl Meeting for Barrier {
    fn new(parties: u32) -> Result<Self, String> {
        let barrier = Shared::<Made<libc::pthread_barrier_t>>::zeroed();
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: initialises what it is given.
        check(unsafe { libc::pthread_barrierattr_init(attributes.as_mut_ptr()) });
        // SAFETY: initialised above.
        check(unsafe { libc::pthread_barrierattr_setpshared(attributes.as_mut_ptr(), libc::PTHREAD_PROCESS_SHARED) });
        // SAFETY: the memory is not in use yet; the attributes are initialised.
        check(unsafe { libc::pthread_barrier_init(barrier.get(), attributes.as_ptr(), parties) });
        Ok(Self(barrier))
    }

    fn wait(&self) -> Result<(), String> {
        // SAFETY: initialised.
        let leader = unsafe { libc::pthread_barrier_wait(self.0.get()) };
        assert!(leader == 0 || leader == libc::PTHREAD_BARRIER_SERIAL_THREAD);
        Ok(())
    }
}
