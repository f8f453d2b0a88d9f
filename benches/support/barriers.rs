//! Barriers to compare with: glibc's between processes, and one that only spins.

#![expect(unsafe_code, reason = "calls glibc")]

use std::{
    cell::UnsafeCell,
    hint::spin_loop,
    mem::MaybeUninit,
    sync::atomic::{
        AtomicU32,
        Ordering::{AcqRel, Acquire, Relaxed, Release},
    },
};

use crate::shared::{Shareable, Shared};

/// A `PTHREAD_PROCESS_SHARED` barrier.
#[repr(transparent)]
pub(crate) struct Pthread(UnsafeCell<libc::pthread_barrier_t>);

// SAFETY: a barrier is for sharing; its functions take it by address.
unsafe impl Sync for Pthread {}
// SAFETY: initialised before all else; with that attribute it works across processes.
unsafe impl Shareable for Pthread {}

impl Pthread {
    pub(crate) fn shared(parties: u32) -> Shared<Self> {
        let barrier = Shared::<Self>::zeroed();
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: initialises what it is given.
        assert_eq!(unsafe { libc::pthread_barrierattr_init(attributes.as_mut_ptr()) }, 0);
        let shared = libc::PTHREAD_PROCESS_SHARED;
        // SAFETY: initialised above.
        assert_eq!(unsafe { libc::pthread_barrierattr_setpshared(attributes.as_mut_ptr(), shared) }, 0);
        // SAFETY: the memory is not in use yet; the attributes are initialised.
        assert_eq!(unsafe { libc::pthread_barrier_init(barrier.0.get(), attributes.as_ptr(), parties) }, 0);
        barrier
    }

    pub(crate) fn wait(&self) {
        // SAFETY: initialised.
        let leader = unsafe { libc::pthread_barrier_wait(self.0.get()) };
        assert!(leader == 0 || leader == libc::PTHREAD_BARRIER_SERIAL_THREAD);
    }
}

/// What one writes by hand: a count, and a round that all spin on.
#[repr(C)]
pub(crate) struct Spinning {
    count: AtomicU32,
    round: AtomicU32,
}

// SAFETY: atomics, for which zero is valid.
unsafe impl Shareable for Spinning {}

impl Spinning {
    pub(crate) fn shared() -> Shared<Self> {
        Shared::zeroed()
    }

    #[inline]
    pub(crate) fn wait(&self, parties: u32) {
        let round = self.round.load(Relaxed);
        if self.count.fetch_add(1, AcqRel) + 1 == parties {
            self.count.store(0, Relaxed);
            self.round.store(round.wrapping_add(1), Release);
        } else {
            while self.round.load(Acquire) == round {
                spin_loop();
            }
        }
    }
}
