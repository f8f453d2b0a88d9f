//! What a pool and its workers tell each other by plain words: see the [module](super).

#![expect(unsafe_code, reason = "declares the words a type that may be looked at in foreign bytes")]

use std::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release, SeqCst},
    compiler_fence,
};

use crate::{
    Error, Result,
    raw::{gate::Gate, lives::MemberId, points::point},
    region::{Dims, Handle, Kind, Region, Resident, Shared},
};

/// The most workers of a pool.
pub(super) const MOST_WORKERS: usize = 1024;

/// The words that all have in common. A pair of cache lines for each, since processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct PoolWords {
    /// How often something has changed that callers may wait for.
    changes: Line<AtomicU64>,
    /// Where callers wait for that.
    pub(super) callers: Line<Gate>,
    /// Where the pool's own thread waits for it.
    pub(super) helper: Line<Gate>,
}

/// The words of one worker.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct WorkerWords {
    /// The chunk that it works on in the upper half, and how many of its tasks were begun in the lower one.
    begun: Line<AtomicU64>,
    life: Line<Life>,
}

#[derive(Debug, Default)]
#[repr(C)]
struct Life {
    /// By what the kernel's mark of its death is found. 0: it has not come so far.
    member: AtomicU32,
    /// Whether its initialiser has returned.
    ready: AtomicU32,
}

#[derive(Debug, Default)]
#[repr(C, align(128))]
pub(super) struct Line<T>(pub(super) T);

const _: () = assert!(size_of::<PoolWords>() == 384 && size_of::<WorkerWords>() == 256);

// SAFETY: `repr(C)`, of atomics only.
unsafe impl Shared for PoolWords {}

// SAFETY: as above.
unsafe impl Shared for WorkerWords {}

/// A pool as an object of a region.
pub(super) struct PoolCell;

// SAFETY: the body is the words of the pool and those of each worker; zeroed ones are a pool that has done nothing yet.
unsafe impl Resident for PoolCell {
    const KIND: Kind = Kind::Pool;
    type Head = PoolWords;
    type Element = WorkerWords;
    type Stored = WorkerWords;

    fn check(dims: Dims) -> Result<()> {
        match dims.as_slice() {
            [1..=MOST_WORKERS] => Ok(()),
            other => {
                Err(Error::invalid_argument(format!("a pool of {other:?} workers; 1 to {MOST_WORKERS} are possible")))
            }
        }
    }
}

pub(super) type Words = Handle<PoolCell>;

pub(super) fn create(region: &Region, workers: usize) -> Result<Words> {
    let dims = Dims::new(&[workers])?;
    Handle::new_in(region, None, dims, &|_| {})
}

impl PoolWords {
    /// How often something has changed so far.
    pub(super) fn changes(&self) -> u64 {
        self.changes.0.load(SeqCst)
    }

    /// Tells those who wait that something has changed.
    pub(super) fn tell(&self) {
        point();
        self.changes.0.fetch_add(1, SeqCst);
        self.callers.0.notify(u32::MAX);
        self.helper.0.notify(1);
    }
}

impl WorkerWords {
    /// Puts on record that the worker has begun so many tasks of a chunk, before it does anything of the last of them.
    #[inline(always)]
    pub(super) fn begin(&self, chunk: u32, tasks: u32) {
        point();
        // Relaxed, and a barrier for the compiler alone: who reads it does so when the process has ended, and finds all
        // that it has stored.
        self.begun.0.store(u64::from(chunk) << 32 | u64::from(tasks), Relaxed);
        compiler_fence(SeqCst);
    }

    /// How many tasks of a chunk a dead worker has begun.
    pub(super) fn begun(&self, chunk: u32) -> u32 {
        let begun = self.begun.0.load(Acquire);
        if (begun >> 32) as u32 == chunk { begun as u32 } else { 0 }
    }

    /// For a new worker: by the dispatcher, whose death ends them all.
    pub(super) fn reset(&self) {
        self.begun.0.store(0, Relaxed);
        self.life.0.member.store(0, Relaxed);
        self.life.0.ready.store(0, Release);
    }

    /// In the worker: by what its death can be seen.
    pub(super) fn enter(&self, me: MemberId) {
        point();
        self.life.0.member.store(me.to_bits(), Release);
    }

    pub(super) fn member(&self) -> Option<MemberId> {
        MemberId::from_bits(self.life.0.member.load(Acquire))
    }

    pub(super) fn set_ready(&self) {
        point();
        self.life.0.ready.store(1, Release);
    }

    pub(super) fn is_ready(&self) -> bool {
        self.life.0.ready.load(Acquire) != 0
    }
}
