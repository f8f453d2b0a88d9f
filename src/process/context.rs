//! A start method, and what is made with it.

use super::{Builder, Message, Outcome, Process, StartMethod, Target};
use crate::{
    Barrier, BoundedSemaphore, Condvar, Event, Lock, Pool, Queue, RLock, Result, Semaphore,
    process::scope::{Scope, scope_with},
};

/// A start method that does not depend on the [program's](super::set_start_method): for libraries, which should not choose
/// that for their users.
///
/// What starts processes is bound to the method: [`spawn`](Self::spawn), [`builder`](Self::builder), [`scope`](Self::scope)
/// and [`pool`](Self::pool). Locks, events and queues can be made here too, so that one context is all that need be passed on;
/// handles of shared memory work with every method, so these are what their own constructors make. What is made in more ways
/// than one (values, arrays, rings, pipes) is made by its type alone, and what the program has once
/// ([`forkserver::preload`](super::forkserver::preload)) belongs to no context.
///
/// # Examples
///
/// ```standalone_crate
/// use shmkit::{Queue, Result, process::{Context, all_start_methods}};
///
/// fn work(queue: Queue<u32>, n: u32) -> Result<()> {
///     queue.put(&(n * n))
/// }
///
/// fn main() -> Result<()> {
///     shmkit::init();
///     for method in all_start_methods() {
///         let context = Context::new(method);
///         let queue = context.queue()?;
///         let child = context.spawn(work, (queue.clone(), 7))?;
///         assert_eq!(queue.get()?, 49);
///         child.join()?;
///     }
///     Ok(())
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Context {
    method: StartMethod,
}

macro_rules! makes {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $type:ty),*) -> $object:ty;)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        ///
        /// As the constructor of the type.
        ///
        /// # Examples
        ///
        /// See the type.
        pub fn $name(&self, $($arg: $type),*) -> Result<$object> {
            <$object>::new($($arg),*)
        }
    )*};
}

impl Context {
    /// A context of this method.
    ///
    /// # Examples
    ///
    /// See the type.
    #[must_use]
    pub const fn new(method: StartMethod) -> Self {
        Self { method }
    }

    /// Its method.
    ///
    /// # Examples
    ///
    /// ```
    /// use shmkit::{StartMethod, process::Context};
    ///
    /// assert_eq!(Context::new(StartMethod::Fork).start_method(), StartMethod::Fork);
    /// ```
    #[must_use]
    pub const fn start_method(&self) -> StartMethod {
        self.method
    }

    /// A process to be started step by step.
    ///
    /// # Examples
    ///
    /// See [`Builder`].
    pub fn builder<F>(&self, target: F) -> Builder<F> {
        Process::builder(target).start_method(self.method)
    }

    /// Starts `target(args)` in a new process.
    ///
    /// # Errors
    ///
    /// As [`Process::spawn`].
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn spawn<F, A>(&self, target: F, args: A) -> Result<Process<<F::Outcome as Outcome>::Output>>
    where
        F: Target<A>,
        A: Message,
    {
        self.builder(target).args(args).start()
    }

    /// As [`scope`](super::scope), where [`Scope::spawn`] starts by this method.
    ///
    /// # Errors
    ///
    /// As [`scope`](super::scope).
    ///
    /// # Examples
    ///
    /// See [`scope`](super::scope).
    pub fn scope<R>(&self, run: impl FnOnce(&Scope) -> R) -> Result<R> {
        scope_with(Some(self.method), run)
    }

    /// A pool of so many workers, started by this method.
    ///
    /// # Errors
    ///
    /// As [`Pool::new`].
    ///
    /// # Examples
    ///
    /// ```standalone_crate
    /// use shmkit::{Result, StartMethod, process::Context};
    ///
    /// fn main() -> Result<()> {
    ///     shmkit::init();
    ///     let pool = Context::new(StartMethod::ForkServer).pool(2)?;
    ///     assert_eq!(pool.map(|x: u32| x * x, 1..=3)?, [1, 4, 9]);
    ///     Ok(())
    /// }
    /// ```
    pub fn pool(&self, workers: usize) -> Result<Pool> {
        self.pool_builder().workers(workers).start()
    }

    /// A pool to be made step by step.
    ///
    /// # Examples
    ///
    /// See [`pool::Builder`](super::pool::Builder).
    pub fn pool_builder(&self) -> super::pool::Builder {
        Pool::builder().start_method(self.method)
    }

    /// A queue of objects.
    ///
    /// # Errors
    ///
    /// As [`Queue::new`].
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn queue<T: Message>(&self) -> Result<Queue<T>> {
        Queue::new()
    }

    makes! {
        /// A lock.
        lock() -> Lock;
        /// A lock that its holder may take again.
        rlock() -> RLock;
        /// A flag that others wait for.
        event() -> Event;
        /// A condition that holders of a lock wait for.
        condvar() -> Condvar;
        /// A count of permits.
        semaphore(permits: usize) -> Semaphore;
        /// Permits with owners.
        bounded_semaphore(permits: usize) -> BoundedSemaphore;
        /// Parties that wait for each other.
        barrier(parties: usize) -> Barrier;
    }
}
