//! Shared-memory values, arrays, locks and processes that survive the death of any process.

pub use bytemuck;

pub use crate::error::{Error, Poison, Result};
#[cfg(not(loom))]
pub use crate::{
    data::{
        Array, ArrayGuard, ArrayIndex, Atomic, AtomicArray, AtomicBits, AtomicElement, AtomicNumber, AtomicValue,
        RawArray, ReadOnlyArray, ReadOnlyValue, Shape, Value, ValueGuard,
    },
    process::{Process, StartMethod, init},
    region::Region,
    sync::{Lock, LockGuard, RLock, RLockGuard},
};

#[cfg(not(loom))]
mod data;
mod error;
#[cfg_attr(loom, allow(dead_code))]
mod os;
#[cfg(not(loom))]
pub mod process;
#[cfg_attr(loom, allow(dead_code))]
mod raw;
#[cfg(not(loom))]
pub mod region;
#[cfg(not(loom))]
mod sync;

/// What the crate's own tests pull: see `raw/points.rs`.
#[cfg(all(feature = "death-points", not(loom)))]
#[doc(hidden)]
pub mod test_hooks {
    pub use crate::{os::files::without_nameless_files, raw::points::arm};
}
