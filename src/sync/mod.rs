//! What processes and threads wait for.

mod barrier;
mod bounded_semaphore;
mod constructors;
pub(crate) mod held;
mod lock;
mod rlock;
pub(crate) mod rwlock;

pub use self::{
    barrier::{Barrier, BarrierWaitResult},
    bounded_semaphore::{BoundedSemaphore, Permit},
    lock::{Lock, LockGuard},
    rlock::{RLock, RLockGuard},
    rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard},
};
