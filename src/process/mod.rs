//! Processes that run a function of this program, and what becomes of them.
//!
//! A child is a fresh start of the same executable ([`StartMethod::Spawn`], the default), a copy of this process
//! ([`StartMethod::Fork`]), or a copy of a small process that was made to be copied ([`StartMethod::ForkServer`]). Its
//! function is a plain `fn`; its arguments are sent, handles of shared memory among them; its value, error or panic comes
//! back through [`Process::join`].
//!
//! # The life of a process
//!
//! | state | | goes to |
//! | --- | --- | --- |
//! | new | a [`Builder`]: nothing runs, there is no process | running, by [`start`](Builder::start) |
//! | [`Running`](State::Running) | it runs, or could | blocked, stopped, terminated |
//! | [`Blocked`](State::Blocked) | it waits for something | running, stopped; terminated by a signal |
//! | [`Stopped`](State::Stopped) | by SIGSTOP, Ctrl-Z or a debugger | running, by SIGCONT; terminated by [`kill`](Process::kill) |
//! | [`Terminated`](State::Terminated) | it has ended, and [`exit_status`](Process::exit_status) says how | |
//!
//! [`terminate`](Process::terminate) asks it to end, [`kill`](Process::kill) ends it, [`shutdown`](Process::shutdown) does
//! the one after the other; [`join`](Process::join) waits. All that a [`scope`] has started have ended when it ends. The
//! example `life_cycle` shows every state and every way to the next.
//!
//! | it ends by | [`join`](Process::join) gives | [`exit_status`](Process::exit_status) is |
//! | --- | --- | --- |
//! | returning a value | the value | exit code 0 |
//! | returning an error | the error | exit code 1 |
//! | a panic | [`Error::Panicked`] | exit code 101 |
//! | [`std::process::exit`] | [`Error::ChildDied`] | that exit code |
//! | a signal: `terminate`, `kill`, a fault, Ctrl-C | [`Error::ChildDied`] | that signal |
//!
//! The process ends when its function returns, whatever other threads it has started: join them first. Its own children
//! are seen off then.
//!
//! # The end of a parent
//!
//! | a parent's end | its *daemons* | its other children |
//! | --- | --- | --- |
//! | normal: `main` or its function returns, panics, or calls [`std::process::exit`] | are asked to end (SIGTERM) | are waited for |
//! | any other: a signal, `abort`, `_exit` | are killed | go on; [`parent`] tells them |
//!
//! At a normal end daemons are asked first, then the others are waited for, and then daemons that are still there have a
//! second before they are killed. It makes no difference whether handles are there still or were dropped. Other threads run
//! on meanwhile, and children that they start are waited for too.
//!
//! A child that is blocked or stopped is waited for as well, and one that does not end before this process has ended is
//! waited for for ever: do not let it wait for [`parent`], for the other end of a connection that is open here, or at a
//! barrier that this process belongs to. Locks are no danger: a thread that ends the process while it holds one waits for no
//! child, and the next holder finds the lock poisoned. Nor are [pipes](Stdio::piped): this process's ends are closed before
//! the wait, as when the handles are dropped, so that inputs end and whoever writes is told that nobody reads. But ends that
//! were [taken](Process::take_stdin) are their takers': close them first.
//!
//! A daemon may not have children, for it is often killed, and they could be left behind:
//! [`Builder::may_have_children`] lets it. A process that is to outlive its parent's normal end is no child: start a
//! [`Command`](std::process::Command).
//!
//! Its standard streams are this process's, unless the builder [says](Builder::stdout) where they lead; its lines can have
//! [its name](Builder::prefix_lines) before them.
//!
//! Signals that a terminal sends (Ctrl-C) reach the children too: they are in the same process group.

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

mod builder;
mod child;
mod context;
mod family;
pub mod forkserver;
mod init;
mod lines;
mod pin;
pub mod pool;
mod report;
mod scope;
mod status;
mod stdio;
mod target;

pub use self::{
    builder::Builder,
    child::Process,
    context::Context,
    family::{ActiveChild, Current, Parent, active_children, current, parent},
    init::init,
    pin::{Pin, pin},
    scope::{Scope, ScopedProcess, scope},
    status::{ExitStatus, State},
    stdio::Stdio,
    target::{Outcome, Target},
};
pub use crate::region::ticket::Message;
#[doc(hidden)]
pub use init::init_before_main;

pub(crate) use self::{init::instance, report::caught};

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
    /// A copy of a small process that was started afresh for this purpose: nearly as fast as a fork of that, whatever this
    /// process has in memory and however many threads. See [`forkserver`].
    ForkServer,
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
    let number = number_of(method);
    match METHOD.compare_exchange(0, number, Relaxed, Relaxed) {
        Err(set) if set != number => Err(Error::invalid_argument("the start method was set already")),
        _ => Ok(()),
    }
}

/// Sets the start method of the program, whether one was set or not.
///
/// For the program itself. A library leaves the choice to its users, and takes a [`Context`] where it needs one method.
///
/// # Examples
///
/// ```standalone_crate
/// use shmkit::process::{StartMethod, force_start_method, set_start_method, start_method};
///
/// # fn main() -> shmkit::Result<()> {
/// set_start_method(StartMethod::Fork)?;
/// force_start_method(StartMethod::ForkServer);
/// assert_eq!(start_method(), StartMethod::ForkServer);
/// # Ok(())
/// # }
/// ```
pub fn force_start_method(method: StartMethod) {
    METHOD.store(number_of(method), Relaxed);
}

fn number_of(method: StartMethod) -> u8 {
    match method {
        StartMethod::Spawn => 1,
        StartMethod::Fork => 2,
        StartMethod::ForkServer => 3,
    }
}

/// Every start method that there is here, the default one first.
///
/// # Examples
///
/// ```
/// use shmkit::process::{StartMethod, all_start_methods};
///
/// assert_eq!(all_start_methods()[0], StartMethod::Spawn);
/// ```
#[must_use]
pub const fn all_start_methods() -> [StartMethod; 3] {
    [StartMethod::Spawn, StartMethod::Fork, StartMethod::ForkServer]
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
        3 => StartMethod::ForkServer,
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
