//! Processes that run a function of this program, and what becomes of them.
//!
//! A child is a fresh start of the same executable ([`StartMethod::Spawn`], the default) or a copy of this process
//! ([`StartMethod::Fork`]). Its function is a plain `fn`; its arguments are sent, handles of shared memory among them;
//! its value, error or panic comes back through [`Process::join`].
//!
//! The process ends when its function returns, whatever other threads it has started: join them first.
//!
//! Signals that a terminal sends (Ctrl-C) reach the children too: they are in the same process group.

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

mod builder;
mod child;
mod family;
mod init;
pub mod pool;
mod report;
mod target;

pub use self::{
    builder::Builder,
    child::{ExitStatus, Process, State},
    family::{ActiveChild, Current, Parent, active_children, current, parent},
    init::init,
    target::{Outcome, Target},
};
pub use crate::region::ticket::Message;
#[doc(hidden)]
pub use init::init_before_main;

use crate::{Error, Result};

/// How a process is started.
///
/// # Examples
///
/// See [`Builder`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StartMethod {
    /// A fresh start of the same executable: nothing is inherited but the standard streams and what is sent.
    Spawn,
    /// A copy of this process: faster, and refused while this process has other threads or this thread holds locks.
    ///
    /// The child has the arguments themselves, moved and never encoded: it meets no error of an encoding, and a handle
    /// among them is the one that was given.
    Fork,
}

/// The start method of the program, as a number: 0 is unset.
static METHOD: AtomicU8 = AtomicU8::new(0);

/// Sets the start method of the program, once.
///
/// # Errors
///
/// [`Error::InvalidArgument`] when another one was set.
///
/// # Examples
///
/// ```standalone_crate
/// use shmkit::process::{StartMethod, set_start_method, start_method};
///
/// # fn main() -> shmkit::Result<()> {
/// assert_eq!(start_method(), StartMethod::Spawn);
/// set_start_method(StartMethod::Fork)?;
/// assert_eq!(start_method(), StartMethod::Fork);
/// assert!(set_start_method(StartMethod::Spawn).is_err());
/// # Ok(())
/// # }
/// ```
pub fn set_start_method(method: StartMethod) -> Result<()> {
    let number = match method {
        StartMethod::Spawn => 1,
        StartMethod::Fork => 2,
    };
    match METHOD.compare_exchange(0, number, Relaxed, Relaxed) {
        Err(set) if set != number => Err(Error::invalid_argument("the start method was set already")),
        _ => Ok(()),
    }
}

/// The start method of the program: [`StartMethod::Spawn`] if none was set.
///
/// # Examples
///
/// See [`set_start_method`].
#[must_use]
pub fn start_method() -> StartMethod {
    match METHOD.load(Relaxed) {
        2 => StartMethod::Fork,
        _ => StartMethod::Spawn,
    }
}

/// The processors that this process may use: at least 1.
///
/// # Examples
///
/// ```
/// assert!(shmkit::process::cpu_count() >= 1);
/// ```
#[must_use]
pub fn cpu_count() -> usize {
    crate::os::affinity::cpu_count()
}
