//! Processes that do not outlive a block.

use std::{
    cell::RefCell,
    fmt, mem,
    ops::Deref,
    os::fd::{AsFd, BorrowedFd},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    process::id,
    thread,
};

use super::{Builder, Message, Outcome, Process, StartMethod, Target};
use crate::{Error, Result};

/// Where the processes of a [`scope`] are started.
///
/// # Examples
///
/// See [`scope`].
#[must_use]
pub struct Scope {
    method: Option<StartMethod>,
    /// Who waits. A fork has a copy of this, for which nobody does.
    pid: u32,
    /// For each process: waits for it, and gives its error if nobody has taken what it returned.
    ends: RefCell<Vec<End>>,
}

type End = Box<dyn Fn() -> Result<()>>;

/// Runs `run`, and then waits for all processes that it has started in the [`Scope`], also after a panic or an early return.
///
/// # Errors
///
/// The error of the first process that failed and that nobody has [joined](Process::join).
///
/// # If a process dies
///
/// Those that the scope has started are waited for all the same. If this one dies, its daemons die with it and others go
/// on, as ever.
///
/// # Examples
///
/// ```standalone_crate
/// use shmkit::{Array, Result, process};
///
/// fn fill(a: Array<u32>, i: usize) -> Result<()> {
///     a.set(i, i as u32 + 1)
/// }
///
/// fn main() -> Result<()> {
///     shmkit::init();
///     let a = Array::zeros(3)?;
///     process::scope(|s| -> Result<()> {
///         for i in 0..3 {
///             s.spawn(fill, (a.clone(), i))?;
///         }
///         Ok(())
///     })??;
///     assert_eq!(a.to_vec()?, [1, 2, 3]);
///     // The error of a child that nobody joins is not lost.
///     assert!(process::scope(|s| s.spawn(fill, (a.clone(), 9)).map(drop)).is_err());
///     Ok(())
/// }
/// ```
pub fn scope<R>(run: impl FnOnce(&Scope) -> R) -> Result<R> {
    scope_with(None, run)
}

pub(super) fn scope_with<R>(method: Option<StartMethod>, run: impl FnOnce(&Scope) -> R) -> Result<R> {
    let scope = Scope { method, pid: id(), ends: RefCell::default() };
    let result = run(&scope);
    match scope.wait() {
        Ok(ends) => ends.map(|()| result),
        Err(panic) => resume_unwind(panic),
    }
}

impl Scope {
    /// Starts `target(args)` in a new process.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    ///
    /// # Examples
    ///
    /// See [`scope`].
    pub fn spawn<F, A>(&self, target: F, args: A) -> Result<ScopedProcess<<F::Outcome as Outcome>::Output>>
    where
        F: Target<A>,
        A: Message,
    {
        let builder = Process::builder(target).args(args);
        self.start(match self.method {
            Some(method) => builder.start_method(method),
            None => builder,
        })
    }

    /// Starts a process that was prepared with a [builder](Process::builder).
    ///
    /// # Errors
    ///
    /// As [`Builder::start`]. [`Error::InvalidArgument`] in a fork of the process that has opened the scope.
    ///
    /// # Examples
    ///
    /// See [`scope`].
    pub fn start<F, A>(&self, builder: Builder<F, A>) -> Result<ScopedProcess<<F::Outcome as Outcome>::Output>>
    where
        F: Target<A>,
        A: Message,
    {
        self.see_that_it_is_ours()?;
        builder.start().map(|process| self.keep(process))
    }

    /// Starts `run` in a copy of this process. It may borrow.
    ///
    /// # Errors
    ///
    /// As [`Process::fork`]. [`Error::InvalidArgument`] in a fork of the process that has opened the scope.
    ///
    /// # Examples
    ///
    /// ```standalone_crate
    /// fn main() -> shmkit::Result<()> {
    ///     shmkit::init();
    ///     let numbers = vec![1, 2, 3];
    ///     let sum = shmkit::process::scope(|s| s.fork(|| numbers.iter().sum::<i32>())?.join())??;
    ///     assert_eq!(sum, 6);
    ///     Ok(())
    /// }
    /// ```
    pub fn fork<R: Outcome>(&self, run: impl FnOnce() -> R) -> Result<ScopedProcess<R::Output>> {
        self.see_that_it_is_ours()?;
        Process::fork(run).map(|process| self.keep(process))
    }

    fn see_that_it_is_ours(&self) -> Result<()> {
        if self.pid == id() {
            return Ok(());
        }
        Err(Error::invalid_argument("the scope is its parent's: open one in the fork"))
    }

    fn keep<T: 'static>(&self, process: Process<T>) -> ScopedProcess<T> {
        self.ends.borrow_mut().push(Box::new(process.waiter()));
        ScopedProcess(process)
    }

    /// Waits for all of them, also after one that failed, or whose result cannot even be read without a panic.
    fn wait(&self) -> thread::Result<Result<()>> {
        let (mut first, mut panicked) = (Ok(()), None);
        for end in self.ends.take() {
            match catch_unwind(AssertUnwindSafe(end)) {
                Ok(result) => first = first.and(result),
                Err(panic) if panicked.is_none() => panicked = Some(panic),
                // It may panic at its end, too.
                Err(panic) => mem::forget(panic),
            }
        }
        panicked.map_or(Ok(first), Err)
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        // After a panic; else nobody is left.
        if let Err(panic) = self.wait() {
            mem::forget(panic);
        }
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("processes", &self.ends.borrow().len()).finish_non_exhaustive()
    }
}

/// A [`Process`] that a [`scope`] waits for: the handle may be dropped.
///
/// # Examples
///
/// ```standalone_crate
/// use shmkit::{Result, process};
///
/// fn main() -> Result<()> {
///     shmkit::init();
///     let answer = process::scope(|s| -> Result<u32> {
///         s.spawn(|| println!("nobody joins this one but the scope"), ())?;
///         s.spawn(|| 42_u32, ())?.join()
///     })??;
///     assert_eq!(answer, 42);
///     Ok(())
/// }
/// ```
pub struct ScopedProcess<T>(Process<T>);

impl<T> Deref for ScopedProcess<T> {
    type Target = Process<T>;

    fn deref(&self) -> &Process<T> {
        &self.0
    }
}

impl<T> AsFd for ScopedProcess<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl<T> fmt::Debug for ScopedProcess<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
