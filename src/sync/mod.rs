//! What processes and threads wait for.

mod barrier;
mod bounded_semaphore;
mod condvar;
pub(crate) mod constructors;
mod event;
pub(crate) mod held;
mod lock;
mod rlock;
pub(crate) mod rwlock;
mod semaphore;

#[cfg(feature = "capi")]
pub(crate) use self::{
    barrier::BarrierCell,
    bounded_semaphore::BoundedCell,
    condvar::CondvarCell,
    lock::LockCell,
    rlock::RLockCell,
    rwlock::{PutAway, RwLockCell},
};
pub use self::{
    barrier::{Barrier, BarrierWaitResult},
    bounded_semaphore::{BoundedSemaphore, Permit},
    condvar::{Condvar, CondvarGuard},
    event::Event,
    lock::{Lock, LockGuard},
    rlock::{RLock, RLockGuard},
    rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard},
    semaphore::Semaphore,
};
