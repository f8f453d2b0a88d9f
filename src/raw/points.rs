//! Places where a test can end the process, or stop it: before each store to shared memory.
//!
//! Without the feature `death-points` (which is for this crate's own tests) a point is nothing at all. With it,
//! [`arm`] makes the `n`th point that the process passes from then on send it SIGKILL, so that a test that counts `n`
//! up until the operation survives has died at every one of them. [`arm_to_stop`] does so with SIGSTOP.

#[cfg(feature = "death-points")]
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

#[cfg(feature = "death-points")]
use rustix::process::{Signal, getpid, kill_process};

#[cfg(feature = "death-points")]
static LEFT: AtomicU32 = AtomicU32::new(0);

#[cfg(feature = "death-points")]
static STOPS: AtomicBool = AtomicBool::new(false);

/// Dies at the `n`th point from now; 0 disarms.
#[cfg(feature = "death-points")]
pub fn arm(n: u32) {
    STOPS.store(false, Relaxed);
    LEFT.store(n, Relaxed);
}

/// Stops at the `n`th point from now; 0 disarms.
#[cfg(feature = "death-points")]
pub fn arm_to_stop(n: u32) {
    STOPS.store(true, Relaxed);
    LEFT.store(n, Relaxed);
}

/// The next store to shared memory may be the one that does not happen.
#[inline(always)]
pub(crate) fn point() {
    #[cfg(loom)]
    super::sys::point();
    #[cfg(feature = "death-points")]
    if LEFT.load(Relaxed) != 0 && LEFT.fetch_sub(1, Relaxed) == 1 {
        if STOPS.load(Relaxed) {
            let _ = kill_process(getpid(), Signal::STOP);
            return;
        }
        let _ = kill_process(getpid(), Signal::KILL);
        loop {
            std::hint::spin_loop();
        }
    }
}
