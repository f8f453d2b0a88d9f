//! glibc's semaphore between processes.

#![expect(unsafe_code, reason = "calls glibc")]

use std::{cell::UnsafeCell, io, mem::MaybeUninit, time::Duration};

use crate::shared::{Shareable, Shared};

/// A process-shared `sem_t`.
#[repr(transparent)]
pub(crate) struct Sem(UnsafeCell<libc::sem_t>);

// SAFETY: a semaphore is for sharing; its functions take it by address.
unsafe impl Sync for Sem {}
// SAFETY: `sem_init` is called before all else; with `pshared` it works across processes.
unsafe impl Shareable for Sem {}

impl Sem {
    pub(crate) fn shared(value: u32) -> Shared<Self> {
        let sem = Shared::<Self>::zeroed();
        // SAFETY: the memory is not in use yet.
        assert_eq!(unsafe { libc::sem_init(sem.0.get(), 1, value) }, 0);
        sem
    }

    #[inline]
    pub(crate) fn wait(&self) {
        // SAFETY: initialised.
        while unsafe { libc::sem_wait(self.0.get()) } != 0 {}
    }

    /// `false` when it took longer.
    pub(crate) fn wait_timeout(&self, timeout: Duration) -> bool {
        let mut until = MaybeUninit::<libc::timespec>::uninit();
        // SAFETY: writes what it is given.
        assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, until.as_mut_ptr()) }, 0);
        // SAFETY: written above.
        let mut until = unsafe { until.assume_init() };
        until.tv_nsec += i64::from(timeout.subsec_nanos());
        until.tv_sec += timeout.as_secs() as i64 + until.tv_nsec / 1_000_000_000;
        until.tv_nsec %= 1_000_000_000;
        loop {
            // SAFETY: initialised; the time outlives the call.
            if unsafe { libc::sem_timedwait(self.0.get(), &raw const until) } == 0 {
                return true;
            }
            match io::Error::last_os_error().raw_os_error() {
                Some(libc::EINTR) => {}
                error => {
                    assert_eq!(error, Some(libc::ETIMEDOUT));
                    return false;
                }
            }
        }
    }

    #[inline]
    pub(crate) fn post(&self) {
        // SAFETY: initialised.
        assert_eq!(unsafe { libc::sem_post(self.0.get()) }, 0);
    }
}
