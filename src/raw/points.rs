//! Places where a test can end the process: before each store to shared memory.
//!
//! Without the feature `death-points` (which is for this crate's own tests) a point is nothing at all. With it,
//! [`arm`] makes the `n`th point that the process passes from then on send it SIGKILL, so that a test that counts `n`
//! up until the operation survives has died at every one of them.

#[cfg(feature = "death-points")]
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

#[cfg(feature = "death-points")]
static LEFT: AtomicU32 = AtomicU32::new(0);

/// Dies at the `n`th point from now; 0 disarms.
#[cfg(feature = "death-points")]
pub fn arm(n: u32) {
    LEFT.store(n, Relaxed);
}

/// The next store to shared memory may be the one that does not happen.
#[inline(always)]
pub(crate) fn point() {
    #[cfg(loom)]
    super::sys::point();
    #[cfg(feature = "death-points")]
    if LEFT.load(Relaxed) != 0 && LEFT.fetch_sub(1, Relaxed) == 1 {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        loop {
            std::hint::spin_loop();
        }
    }
}
