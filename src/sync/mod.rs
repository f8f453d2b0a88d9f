//! Locks with their guards, semaphores and events.

mod event;
pub(crate) mod held;
mod lock;
mod rlock;
mod semaphore;

pub use self::{
    event::Event,
    lock::{Lock, LockGuard},
    rlock::{RLock, RLockGuard},
    semaphore::Semaphore,
};
