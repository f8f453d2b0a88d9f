//! Every system call of the crate: nothing above this floor talks to the kernel itself.
//!
//! Interrupted calls (`EINTR`) are retried here with the time that is left, and nobody above sees them.

#[cfg(not(all(target_os = "linux", target_pointer_width = "64", target_env = "gnu")))]
compile_error!("shmkit needs 64-bit Linux with glibc for now (see the README, Platforms)");

pub(crate) mod affinity;
pub(crate) mod clock;
pub(crate) mod copy;
pub(crate) mod courier;
pub(crate) mod ends;
pub(crate) mod executable;
pub(crate) mod files;
pub(crate) mod futex;
pub(crate) mod identity;
pub(crate) mod interrupts;
pub(crate) mod marks;
pub(crate) mod meeting;
pub(crate) mod membarrier;
pub(crate) mod memory;
pub(crate) mod numa;
pub(crate) mod own;
pub(crate) mod packet;
pub(crate) mod pages;
pub(crate) mod pidfd;
pub(crate) mod pipe;
pub(crate) mod poll;
pub(crate) mod prefetch;
pub(crate) mod robust;
pub(crate) mod sibling;
pub(crate) mod socket;
pub(crate) mod start;
pub(crate) mod streams;
pub(crate) mod threads;
pub(crate) mod topology;
pub(crate) mod watch;
