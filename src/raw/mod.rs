//! The algorithms on plain words, in memory that somebody else mapped.
//!
//! Nothing here knows of regions or handles. Atomics, the futex and the robust list come from `sys`, where the model
//! checker puts its own.

pub(crate) mod barrier;
pub(crate) mod claims;
pub(crate) mod condvar;
pub(crate) mod crowd;
pub(crate) mod event;
pub(crate) mod gate;
pub(crate) mod init;
pub(crate) mod lives;
pub(crate) mod mutex;
pub(crate) mod permits;
pub(crate) mod points;
pub(crate) mod queue;
pub(crate) mod ring;
pub(crate) mod rwlock;
pub(crate) mod semaphore;
pub(crate) mod spsc;
mod sys;
pub(crate) mod waiting;
