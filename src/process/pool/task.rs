//! A task on its way.

use std::{fmt, marker::PhantomData, sync::Arc};

use super::{
    job::{Job, Part},
    shared::Shared,
};
use crate::{
    Error, Result,
    channel::four_forms,
    os::clock::Wait,
    region::ticket::{Message, Route},
};

/// A task that was [submitted](super::Pool::submit) to a pool. Dropping it loses the result, not the task.
///
/// # If a process dies
///
/// A worker that dies with the task is its error ([`ChildDied`](crate::Error::ChildDied)), unless the pool was told to
/// [try again](super::OnDeath).
///
/// # Examples
///
/// ```standalone_crate
/// use shmkit::{Pool, Result};
///
/// fn square(x: u64) -> u64 {
///     x * x
/// }
///
/// fn main() -> Result<()> {
///     shmkit::init();
///     let pool = Pool::new(2)?;
///     let tasks = [1, 2, 3].map(|x| pool.submit(square, (x,)));
///     let squares = tasks.into_iter().map(|task| task?.get()).collect::<Result<Vec<_>>>()?;
///     assert_eq!(squares, [1, 4, 9]);
///     Ok(())
/// }
/// ```
#[must_use = "the task is done all the same, but its result is lost, and so is its error"]
pub struct Task<T> {
    shared: Arc<Shared>,
    job: Arc<Job>,
    read: fn(Part, Route) -> Result<T>,
    _value: PhantomData<fn() -> T>,
}

impl<T: Message> Task<T> {
    pub(super) fn new(shared: Arc<Shared>, job: Arc<Job>, read: fn(Part, Route) -> Result<T>) -> Self {
        Self { shared, job, read, _value: PhantomData }
    }

    #[inline]
    fn get_within(&self, wait: Wait) -> Result<T> {
        self.shared.check_owner()?;
        let _attendance = self.shared.attend();
        let mut time_is_over = false;
        loop {
            let seen = self.shared.changes();
            self.shared.step(None);
            if let Some(part) = self.job.take_one()? {
                return (self.read)(part, self.shared.route);
            }
            if time_is_over {
                return Err(if wait == Wait::No { Error::WouldBlock } else { Error::TimedOut });
            }
            time_is_over = !self.shared.wait_for_answer(seen, wait);
        }
    }

    four_forms! {
        /// Waits until the task is done, and takes its result.
        ///
        /// # Errors
        ///
        /// The error that the function returned, or [`Panicked`](crate::Error::Panicked);
        /// [`ChildDied`](crate::Error::ChildDied) when its worker died; [`NotSendable`](crate::Error::NotSendable) when
        /// the value cannot travel; [`PoolClosed`](crate::Error::PoolClosed) when the pool was terminated before;
        /// [`InvalidArgument`](crate::Error::InvalidArgument) when the result was taken before, and in a fork of the
        /// process whose pool it is.
        ///
        /// # If a process dies
        ///
        /// See the type.
        ///
        /// # Examples
        ///
        /// See the type.
        get, try_get, get_timeout, get_deadline() -> T: get_within
    }

    /// Whether the task is done.
    ///
    /// # Examples
    ///
    /// ```standalone_crate
    /// # fn main() -> shmkit::Result<()> {
    /// shmkit::init();
    /// let pool = shmkit::Pool::new(1)?;
    /// let task = pool.submit(|| 42_u32, ())?;
    /// while !task.is_ready() {
    ///     std::thread::yield_now();
    /// }
    /// assert_eq!(task.try_get()?, 42);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn is_ready(&self) -> bool {
        if self.shared.is_ours() {
            self.shared.step(None);
        }
        self.job.has_parts()
    }

    /// Has a function be called with the result, by a thread of the pool's own, instead of [`get`](Self::get).
    ///
    /// It should be quick: those of other tasks wait for it. If it panics, that is printed, and all else goes on. Under
    /// [`Fork`](crate::StartMethod::Fork) no process can be forked while it runs. The thread blocks all signals but
    /// those of faults (SIGSEGV and the like).
    ///
    /// It is given an error where [`get`](Self::get) returns one: when the pool was terminated, when the result was
    /// taken before, and in a fork of the process whose pool it is. When the pool has no thread any more, because it was
    /// terminated, or none could be started, the function is called by the thread that takes the result in, or by this
    /// one.
    ///
    /// # Examples
    ///
    /// ```standalone_crate
    /// use std::sync::mpsc::channel;
    ///
    /// fn length(text: String) -> usize {
    ///     text.len()
    /// }
    ///
    /// # fn main() -> shmkit::Result<()> {
    /// shmkit::init();
    /// let pool = shmkit::Pool::new(2)?;
    /// let (sender, receiver) = channel();
    /// for word in ["one", "three"] {
    ///     let sender = sender.clone();
    ///     pool.submit(length, (word.to_owned(),))?.on_ready(move |length| sender.send(length).unwrap());
    /// }
    /// assert_eq!(receiver.recv().unwrap()? + receiver.recv().unwrap()?, 8);
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_ready(self, callback: impl FnOnce(Result<T>) + Send + 'static) {
        if let Err(error) = self.shared.check_owner() {
            return callback(Err(error));
        }
        let (read, route) = (self.read, self.shared.route);
        self.shared.expect_callback();
        let ready = self.job.call_back(Box::new(move |part| callback(read(part, route))));
        self.shared.call_back(ready.into_iter().collect());
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        if !self.job.was_taken() && self.shared.is_ours() && !self.job.has_parts() {
            self.job.leave();
            self.shared.want_helper();
        }
    }
}

impl<T> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").field("is_ready", &self.job.has_parts()).finish_non_exhaustive()
    }
}
