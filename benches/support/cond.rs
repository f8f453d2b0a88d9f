//! glibc's condition variable and mutex between processes.

#![expect(unsafe_code, reason = "calls glibc")]

use std::{cell::UnsafeCell, mem::MaybeUninit, time::Duration};

use crate::shared::{Shareable, Shared};

/// Whose turn it is, with a `PTHREAD_PROCESS_SHARED` condition variable and mutex.
#[repr(C)]
pub(crate) struct Turn {
    mutex: UnsafeCell<libc::pthread_mutex_t>,
    changed: UnsafeCell<libc::pthread_cond_t>,
    turn: UnsafeCell<usize>,
}

// SAFETY: mutex and condition are for sharing, their functions take them by address; the turn is used under the mutex.
unsafe impl Sync for Turn {}
// SAFETY: initialised before all else; with that attribute they work across processes.
unsafe impl Shareable for Turn {}

impl Turn {
    pub(crate) fn shared() -> Shared<Self> {
        let turn = Shared::<Self>::zeroed();
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: initialises what it is given.
        check(unsafe { libc::pthread_mutexattr_init(attributes.as_mut_ptr()) });
        // SAFETY: initialised above.
        check(unsafe { libc::pthread_mutexattr_setpshared(attributes.as_mut_ptr(), libc::PTHREAD_PROCESS_SHARED) });
        // SAFETY: the memory is not in use yet; the attributes are initialised.
        check(unsafe { libc::pthread_mutex_init(turn.mutex.get(), attributes.as_ptr()) });
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: initialises what it is given.
        check(unsafe { libc::pthread_condattr_init(attributes.as_mut_ptr()) });
        // SAFETY: initialised above.
        check(unsafe { libc::pthread_condattr_setpshared(attributes.as_mut_ptr(), libc::PTHREAD_PROCESS_SHARED) });
        // SAFETY: the memory is not in use yet; the attributes are initialised.
        check(unsafe { libc::pthread_cond_init(turn.changed.get(), attributes.as_ptr()) });
        turn
    }

    /// Waits until it is `mine`, and makes it `next`. `false` when it took longer than `timeout`.
    pub(crate) fn pass(&self, mine: usize, next: usize, timeout: Duration) -> bool {
        let mut until = MaybeUninit::<libc::timespec>::uninit();
        // SAFETY: writes what it is given.
        check(unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, until.as_mut_ptr()) });
        // SAFETY: written above.
        let mut until = unsafe { until.assume_init() };
        until.tv_nsec += i64::from(timeout.subsec_nanos());
        until.tv_sec += timeout.as_secs() as i64 + until.tv_nsec / 1_000_000_000;
        until.tv_nsec %= 1_000_000_000;
        // SAFETY: initialised, and nobody dies while holding it.
        check(unsafe { libc::pthread_mutex_lock(self.mutex.get()) });
        // SAFETY: here and below: the mutex is held.
        while unsafe { *self.turn.get() } != mine {
            // SAFETY: initialised, and the mutex is held by this thread; the time outlives the call.
            match unsafe { libc::pthread_cond_timedwait(self.changed.get(), self.mutex.get(), &raw const until) } {
                0 => {}
                error => {
                    assert_eq!(error, libc::ETIMEDOUT);
                    // SAFETY: held by this thread.
                    check(unsafe { libc::pthread_mutex_unlock(self.mutex.get()) });
                    return false;
                }
            }
        }
        // SAFETY: the mutex is held.
        unsafe { *self.turn.get() = next };
        // SAFETY: held by this thread.
        check(unsafe { libc::pthread_mutex_unlock(self.mutex.get()) });
        // SAFETY: initialised.
        check(unsafe { libc::pthread_cond_signal(self.changed.get()) });
        true
    }
}

fn check(error: i32) {
    assert_eq!(error, 0);
}
