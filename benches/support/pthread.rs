//! glibc's mutex between processes, robust or not.

#![expect(unsafe_code, reason = "calls glibc")]

use std::{
    cell::UnsafeCell,
    mem::MaybeUninit,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use crate::shared::{Shareable, Shared};

/// A `PTHREAD_PROCESS_SHARED` mutex.
#[repr(transparent)]
pub(crate) struct Pthread(UnsafeCell<libc::pthread_mutex_t>);

// SAFETY: a mutex is for sharing; its functions take it by address.
unsafe impl Sync for Pthread {}
// SAFETY: `init` is called before all else; with that attribute it works across processes.
unsafe impl Shareable for Pthread {}

impl Pthread {
    pub(crate) fn shared(robust: bool) -> Shared<Self> {
        let mutex = Shared::<Self>::zeroed();
        mutex.init(robust);
        mutex
    }

    fn init(&self, robust: bool) {
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: initialises what it is given.
        check(unsafe { libc::pthread_mutexattr_init(attributes.as_mut_ptr()) });
        // SAFETY: initialised above.
        check(unsafe { libc::pthread_mutexattr_setpshared(attributes.as_mut_ptr(), libc::PTHREAD_PROCESS_SHARED) });
        let kind = if robust { libc::PTHREAD_MUTEX_ROBUST } else { libc::PTHREAD_MUTEX_STALLED };
        // SAFETY: as above.
        check(unsafe { libc::pthread_mutexattr_setrobust(attributes.as_mut_ptr(), kind) });
        // SAFETY: the mutex's memory is not in use yet; the attributes are initialised.
        check(unsafe { libc::pthread_mutex_init(self.0.get(), attributes.as_ptr()) });
    }

    #[inline]
    pub(crate) fn lock(&self) {
        // SAFETY: initialised, and nobody dies while holding it.
        check(unsafe { libc::pthread_mutex_lock(self.0.get()) });
    }

    #[inline]
    pub(crate) fn unlock(&self) {
        // SAFETY: this thread holds it.
        check(unsafe { libc::pthread_mutex_unlock(self.0.get()) });
    }
}

/// A mutex and the counter that it guards, side by side.
#[repr(C)]
pub(crate) struct Guarded {
    mutex: Pthread,
    counter: AtomicU64,
}

// SAFETY: as of its parts.
unsafe impl Shareable for Guarded {}

impl Guarded {
    pub(crate) fn shared(robust: bool) -> Shared<Self> {
        let guarded = Shared::<Self>::zeroed();
        guarded.mutex.init(robust);
        guarded
    }

    #[inline]
    pub(crate) fn increment(&self) {
        self.mutex.lock();
        // Not an atomic addition: the lock is to keep the others out.
        self.counter.store(self.counter.load(Relaxed) + 1, Relaxed);
        self.mutex.unlock();
    }

    pub(crate) fn count(&self) -> u64 {
        self.counter.load(Relaxed)
    }
}

#[inline]
fn check(errno: libc::c_int) {
    assert_eq!(errno, 0);
}
