//! What is measured: a small trait for each workload, what is done with it, and who takes part.

pub(crate) mod array;
pub(crate) mod barrier;
pub(crate) mod channel;
pub(crate) mod death;
pub(crate) mod lock;
pub(crate) mod manager;
pub(crate) mod pool;
pub(crate) mod process;
pub(crate) mod rwlock;
pub(crate) mod semaphore;

/// A busy loop that touches no shared memory.
#[inline]
pub(crate) fn busy(turns: u32) {
    for turn in 0..turns {
        std::hint::black_box(turn);
    }
}

/// The numbers of processes by which a workload is shown to scale.
pub(crate) const SCALE: [usize; 5] = [1, 2, 4, 8, 16];
