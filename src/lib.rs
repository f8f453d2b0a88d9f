//! Typed values, arrays and locks in memory that processes share, and the processes to work on it.
//!
//! # Data
//!
//! - [`Value`]: one value of plain data, with a lock.
//! - [`Array`]: an array of plain data in one to eight dimensions, with a lock.
//! - [`AtomicValue`], [`AtomicArray`]: numbers and `bool` that need no lock.
//! - [`RawArray`]: an array without a lock, for those who arrange themselves.
//!
//! # Synchronisation
//!
//! - [`Lock`]: a mutual exclusion lock that a death does not leave locked.
//! - [`RLock`]: the same, for a holder that takes it again.
//!
//! # Memory
//!
//! - [`Region`]: a stretch of shared memory, for one object or for thousands; without a name, with one, or in a file.
//!
//! # Processes
//!
//! - [`init`]: makes a program able to start processes; in tests, [`init_in_tests!`].
//! - [`Process`]: a function in another process, and its result.
//! - [`process`](mod@process): builders, start methods, the family.
//!
//! # When a process dies
//!
//! No process that dies, at any instruction, by any signal, can hang, corrupt or leak what the others share. Each type says
//! under *If a process dies* what that means for it. What it was changing when it died may be half changed: then the
//! next one to lock is told ([`Error::Poisoned`]), and can repair it.
//!
//! # What it is not
//!
//! Shared memory holds plain data ([`bytemuck::Pod`]): no references, no `String`, no `bool` or `enum`, whose bits can be
//! wrong. It ends at the machine. And it protects from deaths and mistakes, not from malice: processes of the same
//! user are trusted with the links of the kernel's lock lists, and can truncate what has a name.
//!
//! # Examples
//!
//! ```standalone_crate
//! use shmkit::{Array, Process, Result, Value};
//!
//! fn scale(by: Value<f64>, samples: Array<f64>) -> Result<f64> {
//!     let by = by.get()?;
//!     let mut samples = samples.lock()?;
//!     samples.iter_mut().for_each(|x| *x *= by);
//!     Ok(samples.iter().sum())
//! }
//!
//! fn main() -> Result<()> {
//!     shmkit::init();
//!     let by = Value::new(2.0)?;
//!     let samples = Array::from_slice(&[1.0, 2.0, 3.0])?;
//!     let child = Process::spawn(scale, (by, samples.clone()))?;
//!     assert_eq!(child.join()?, 12.0);
//!     assert_eq!(samples.to_vec()?, [2.0, 4.0, 6.0]);
//!     Ok(())
//! }
//! ```

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

/// The programs of the README, so that they stay true.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
