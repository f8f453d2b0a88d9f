//! Locks with their guards, and semaphores.

pub(crate) mod held;
mod lock;
mod rlock;
mod semaphore;

pub use self::{
    lock::{Lock, LockGuard},
    rlock::{RLock, RLockGuard},
    semaphore::Semaphore,
};
