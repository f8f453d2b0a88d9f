//! Locks and their guards.

pub(crate) mod held;
mod lock;
mod rlock;

pub use self::{
    lock::{Lock, LockGuard},
    rlock::{RLock, RLockGuard},
};
