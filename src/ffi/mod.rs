//! The C ABI: the functions of `include/shmkit.h`, which is generated from these files, comments included.
//!
//! One file for each kind of object. The names are those of C, and so are the comments: for C programmers.
//!
//! # What callers promise
//!
//! These functions are called from C, and by nothing in Rust. Each pointer is null or points to what its type and the
//! comment of the function say, for the length of the call: strings end with a NUL, buffers are as long as the argument
//! beside them says, results are variables of any contents. No thread closes a handle that another one is using. The
//! `SAFETY` comments call this *the contract*; it stands at the head of the header.
//!
//! # What they find
//!
//! Everything else is checked: see [`handle`] for handles, [`status::report`] for errors and panics. A guard of Rust is
//! forgotten by what locks, and regained by what unlocks, if the calling thread holds the lock.

#![expect(non_camel_case_types, reason = "the names of C")]
#![expect(unreachable_pub, reason = "reached from C, and by the tool that writes the header")]

mod array;
mod atomic;
mod atomic_array;
mod barrier;
mod bounded_semaphore;
mod claim;
mod condvar;
mod event;
mod handle;
mod lock;
mod place;
mod queue;
mod region;
mod ring;
mod rlock;
mod rwlock;
mod semaphore;
mod spsc;
mod status;
mod types;
mod value;
mod view;
mod wait;
