//! Shared-memory values, arrays, locks and processes that survive the death of any process.
//!
//! # Data
//!
//! * [`Value`], one value of plain data, with a lock.
//! * [`Array`], an array of one to eight dimensions, with a lock.
//! * [`AtomicValue`], one atomic number or `bool`.
//! * [`AtomicArray`], an array of [`Atomic`]s.
//! * [`RawArray`], an array without a lock: unsafe slices.
//! * [`ReadOnlyValue`] and [`ReadOnlyArray`], through a mapping that cannot be written.
//!
//! # Locks
//!
//! * [`Lock`], for whatever its users agree on.
//! * [`RLock`], which its holder may take again.
//! * [`RwLock`], a value that many read or one writes.
//! * [`Poison`], what is known of a death or panic under a lock.
//!
//! # Signals
//!
//! * [`Semaphore`], a count of permits that anybody gives and takes.
//! * [`BoundedSemaphore`], permits with owners, which come back when an owner dies.
//! * [`Barrier`], parties that wait for each other.
//! * [`Event`], a flag that others wait for.
//! * [`Condvar`], where holders of a lock wait for a change of what it guards.
//!
//! # Channels
//!
//! * [`Ring`], a bounded queue of plain data, without a lock.
//! * [`SpscRing`], the same for one [`Producer`] and one [`Consumer`].
//! * [`Queue`], a bounded queue of objects of any size, or of tickets for shared memory.
//! * [`pipe`], connections between two processes, requests and their answers, and waiting for several at a time.
//!
//! # Memory
//!
//! * [`Region`], memory that many objects share: anonymous, named, or a file.
//! * [`region::Place`], a name or a file.
//! * [`region::layout`], what lies where, for programs without this crate.
//!
//! # Processes
//!
//! * [`init`], which stands first in `main`.
//! * [`Process`], a function that another process runs.
//! * [`StartMethod`], by a fresh start of the program, by a fork, or by a fork of a small server.
//! * [`Pool`], processes that run tasks, one after the other; [`pool`], the rest of it.
//! * [`process`], the rest: the builder, children, parent, processors.
//! * [`init_in_tests!`], for test programs that start processes.
//!
//! # Managers
//!
//! * [`Manager`], a server of lists, dicts and namespaces of mixed values, and of everything else by name.
//! * [`service!`], which describes structs of the program's own in it.
//! * [`manager`], the rest of it.
//!
//! # Features
//!
//! * `ndarray`: guards, claims and raw arrays as views of the `ndarray` crate.
//! * `mpi`: the module `mpi`, memory that the ranks of an MPI program share inside a node.
//!
//! # What it is not
//!
//! * Not for data with pointers: no `String`, `Vec` or reference lives in shared memory, and no `bool`, `enum` or tuple,
//!   which have invalid bits or no fixed layout. [`Value`] and [`Array`] take what is [`bytemuck::Pod`].
//! * Not a boundary of trust: processes of the same user that share memory can harm each other. What is read from a
//!   region is checked, but a named one can be truncated (see [`region`]).
//! * Not past one machine, nor past one pid namespace. Between machines there are messages (feature `mpi`).
//! * Not portable yet: 64-bit Linux with glibc.
//!
//! A death loses what the dead process had not written, or had taken out of a channel, and may leave the data half
//! changed that it held a lock on: the next one to lock is told. It never loses anything else.
//!
//! # Examples
//!
//! ```standalone_crate
//! use shmkit::{Array, Process, Result, Value};
//!
//! fn f(n: Value<f64>, a: Array<i32>) -> Result<()> {
//!     *n.lock()? = 3.1415927;
//!     for x in a.lock()?.iter_mut() {
//!         *x = -*x;
//!     }
//!     Ok(())
//! }
//!
//! fn main() -> Result<()> {
//!     shmkit::init(); // becomes the child here, in a child
//!
//!     let num = Value::new(0.0)?;
//!     let arr = Array::from_iter(0..4)?;
//!     Process::spawn(f, (num.clone(), arr.clone()))?.join()?;
//!     assert_eq!(num.get()?, 3.1415927);
//!     assert_eq!(arr.to_vec()?, [0, -1, -2, -3]);
//!     Ok(())
//! }
//! ```

pub use bytemuck;
pub use shared_memory;

pub use crate::error::{Error, Poison, Result};
#[cfg(not(loom))]
pub use crate::{
    channel::{
        Consumer, Producer, Queue, QueueIter, QueueOptions, Ring, RingRef, RingSlot, SpscRef, SpscRing, SpscSlot, pipe,
    },
    data::{
        Array, ArrayGuard, ArrayIndex, Atomic, AtomicArray, AtomicBits, AtomicElement, AtomicNumber, AtomicValue,
        Claim, ClaimMut, RawArray, ReadOnlyArray, ReadOnlyValue, Shape, Value, ValueGuard,
    },
    manager::Manager,
    process::{
        Process, StartMethod, init,
        pool::{self, Pool},
    },
    region::Region,
    sync::{
        Barrier, BarrierWaitResult, BoundedSemaphore, Condvar, CondvarGuard, Event, Lock, LockGuard, Permit, RLock,
        RLockGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, Semaphore,
    },
};

#[cfg(not(loom))]
mod channel;
#[cfg(not(loom))]
mod data;
mod error;
#[cfg(all(feature = "capi", not(loom)))]
mod ffi;
#[cfg(not(loom))]
pub mod manager;
#[cfg(all(feature = "mpi", not(loom)))]
pub mod mpi;
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
    pub use crate::{
        os::{files::without_nameless_files, futex::without_waitv},
        raw::points::{arm, arm_to_stop},
    };
}

/// The program in the README, as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
