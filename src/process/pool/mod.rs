//! A pool of processes that run tasks, and that may die.
//!
//! How it works, and what the death of a worker at any instant means, stands in the `README.md` beside this file.

mod builder;
mod crew;
mod job;
mod parcel;
mod plain;
mod results;
mod shared;
mod task;
mod words;
mod work;
mod worker;

use std::{fmt, panic::resume_unwind, sync::Arc};

use bytemuck::Pod;

pub(super) use self::shared::still;
pub use self::{
    builder::{Builder, OnDeath},
    task::Task,
};
use self::{
    crew::Phase,
    job::{Chunk, Chunking, InOrder, Job, SharedState, Source},
    parcel::Payload,
    results::Results,
    shared::Shared,
    work::{Into, Single, Tuple, With, Work, place_of},
};
use super::target::{Outcome, Target};
use crate::{
    Array, Error, Result,
    region::ticket::{Message, Writer},
};

/// Processes that run functions for this one, again and again.
///
/// A function is a plain `fn` or a closure that captures nothing, as for [`Process`](crate::Process); its arguments and
/// its value travel through shared memory, and handles of shared memory may be among them. All methods take `&self`:
/// several threads can use a pool at a time.
///
/// Dropping the pool ends the workers at once, as [`terminate`](Self::terminate) does.
///
/// # If a process dies
///
/// A worker may die at any instant, by any cause: another one takes its place, and the pool goes on. The tasks that the
/// dead one had begun and not reported fail with [`ChildDied`](Error::ChildDied), or are begun anew, as
/// [`on_death`](Builder::on_death) says: each task has exactly one outcome, and none is begun twice unless asked for. A
/// worker that has many small tasks reports every two milliseconds at least, so a death costs what was done in these.
/// Tasks that it had not begun are done by others. The workers die with this process.
///
/// # Examples
///
/// ```standalone_crate
/// use shmkit::{Pool, Result};
///
/// fn is_prime(n: u64) -> bool {
///     n > 1 && (2..).take_while(|d| d * d <= n).all(|d| n % d != 0)
/// }
///
/// fn main() -> Result<()> {
///     shmkit::init();
///     let pool = Pool::new(2)?;
///     let primes = pool.map(is_prime, 1..100)?.into_iter().filter(|is| *is).count();
///     assert_eq!(primes, 25);
///     assert!(pool.apply(is_prime, (1_000_003,))?);
///     Ok(())
/// }
/// ```
pub struct Pool {
    shared: Arc<Shared>,
}

impl Pool {
    /// A pool of so many workers.
    ///
    /// # Errors
    ///
    /// As [`Builder::start`].
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn new(workers: usize) -> Result<Self> {
        Self::builder().workers(workers).start()
    }

    /// A pool to be made step by step.
    ///
    /// # Examples
    ///
    /// See [`Builder`].
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Runs `function(args)` in a worker and waits for its value.
    ///
    /// # Errors
    ///
    /// As [`submit`](Self::submit) and [`Task::get`].
    ///
    /// # If a process dies
    ///
    /// See the type.
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn apply<F, A>(&self, function: F, args: A) -> Result<<F::Outcome as Outcome>::Output>
    where
        F: Target<A>,
        A: Message,
    {
        self.submit(function, args)?.get()
    }

    /// Has a worker run `function(args)`, and does not wait for it.
    ///
    /// # Errors
    ///
    /// [`NotSendable`](Error::NotSendable) for arguments that cannot travel; [`PoolClosed`](Error::PoolClosed) after
    /// [`close`](Self::close) or [`terminate`](Self::terminate); the error of the
    /// [initialiser](Builder::initialiser), if it failed; [`InvalidArgument`](Error::InvalidArgument) in a fork of the
    /// process whose pool it is; [`Os`](Error::Os) when too many files are open: a task with more than 64 KiB of
    /// arguments holds a descriptor while it waits.
    ///
    /// # If a process dies
    ///
    /// See the type.
    ///
    /// # Examples
    ///
    /// See [`Task`].
    pub fn submit<F, A>(&self, _function: F, args: A) -> Result<Task<<F::Outcome as Outcome>::Output>>
    where
        F: Target<A>,
        A: Message,
    {
        let work = place_of::<Tuple<F, A>>()?;
        self.shared.check_owner()?;
        let mut writer = Writer::new(self.shared.route);
        writer.write(&args)?;
        drop(args);
        let payload = Payload::new(false, writer.finish())?;
        let job = Arc::new(Job::default());
        let chunk = Chunk { job: Arc::clone(&job), work, first: 0, from: 0, to: 1, payload, deaths: 0 };
        let crew = self.shared.open()?;
        if self.shared.take_on(crew, chunk) {
            self.shared.want_helper();
        }
        Ok(Task::new(Arc::clone(&self.shared), job, |part, route| {
            let mut result = None;
            part.each::<Tuple<F, A>>(route, |one| result = Some(one));
            result.unwrap_or_else(|| Err(Error::corrupt("a part of no task")))
        }))
    }

    /// Runs `function` for each item, and gives the values in the order of the items.
    ///
    /// Items are taken from the iterator while workers have room for more, and travel in chunks: as many in one as take a
    /// worker about a millisecond.
    ///
    /// # Errors
    ///
    /// The first error in the order of the items, after all of them are done: see [`Task::get`] for what it may be, and
    /// [`submit`](Self::submit).
    ///
    /// # Panics
    ///
    /// With what the iterator panics with, after all items before that are done.
    ///
    /// # If a process dies
    ///
    /// See the type.
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn map<F, X, I>(&self, _function: F, items: I) -> Result<Vec<<F::Outcome as Outcome>::Output>>
    where
        F: Target<(X,)>,
        X: Message,
        I: IntoIterator<Item = X>,
    {
        self.run::<Single<F, X>, _>(items, Job::default(), Chunking::Automatic)
    }

    /// As [`map`](Self::map), with `size` items in a chunk (fewer if these are large).
    ///
    /// # Errors
    ///
    /// As [`map`](Self::map), and [`InvalidArgument`](Error::InvalidArgument) for chunks of 0 items.
    ///
    /// # Panics
    ///
    /// As [`map`](Self::map).
    ///
    /// # Examples
    ///
    /// ```standalone_crate
    /// # fn main() -> shmkit::Result<()> {
    /// shmkit::init();
    /// let pool = shmkit::Pool::new(2)?;
    /// assert_eq!(pool.map_chunked(|x: i32| -x, 0..4, 2)?, [0, -1, -2, -3]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn map_chunked<F, X, I>(
        &self,
        _function: F,
        items: I,
        size: usize,
    ) -> Result<Vec<<F::Outcome as Outcome>::Output>>
    where
        F: Target<(X,)>,
        X: Message,
        I: IntoIterator<Item = X>,
    {
        if size == 0 {
            return Err(Error::invalid_argument("chunks of 0 items"));
        }
        self.run::<Single<F, X>, _>(items, Job::default(), Chunking::Fixed(size))
    }

    /// As [`map`](Self::map), for functions of several arguments: each item is a tuple of them.
    ///
    /// # Errors
    ///
    /// As [`map`](Self::map).
    ///
    /// # Panics
    ///
    /// As [`map`](Self::map).
    ///
    /// # Examples
    ///
    /// ```standalone_crate
    /// fn power(base: u64, exponent: u32) -> u64 {
    ///     base.pow(exponent)
    /// }
    ///
    /// # fn main() -> shmkit::Result<()> {
    /// shmkit::init();
    /// let pool = shmkit::Pool::new(2)?;
    /// assert_eq!(pool.map_tuples(power, [(2, 10), (3, 2)])?, [1024, 9]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn map_tuples<F, A, I>(&self, _function: F, items: I) -> Result<Vec<<F::Outcome as Outcome>::Output>>
    where
        F: Target<A>,
        A: Message,
        I: IntoIterator<Item = A>,
    {
        self.run::<Tuple<F, A>, _>(items, Job::default(), Chunking::Automatic)
    }

    /// As [`map`](Self::map), with a state that all tasks share: it is encoded once, sent to each worker once, and lent to
    /// each task.
    ///
    /// # Errors
    ///
    /// As [`map`](Self::map).
    ///
    /// # Panics
    ///
    /// As [`map`](Self::map).
    ///
    /// # Examples
    ///
    /// ```standalone_crate
    /// fn nearest(points: &Vec<f64>, x: f64) -> f64 {
    ///     let by_distance = |a: &&f64, b: &&f64| (*a - x).abs().total_cmp(&(*b - x).abs());
    ///     *points.iter().min_by(by_distance).unwrap()
    /// }
    ///
    /// # fn main() -> shmkit::Result<()> {
    /// shmkit::init();
    /// let pool = shmkit::Pool::new(2)?;
    /// let points = vec![0.0, 1.0, 5.0];
    /// assert_eq!(pool.map_with(&points, nearest, [0.7, 9.0])?, [1.0, 5.0]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn map_with<S, F, X, R, I>(&self, state: &S, _function: F, items: I) -> Result<Vec<R::Output>>
    where
        S: Message,
        F: Fn(&S, X) -> R + Copy + Send + Sync + 'static,
        X: Message,
        R: Outcome + 'static,
        I: IntoIterator<Item = X>,
    {
        self.run_with::<With<F, S, X, R>, _>(state, items)
    }

    /// Runs `function` for each item, and has the workers write the values into `array`, each at the number of its item.
    ///
    /// The workers [claim](Array::claim_mut) the elements that they write; whoever holds the array's lock or a claim on
    /// it meanwhile keeps them waiting.
    ///
    /// # Errors
    ///
    /// As [`map`](Self::map): the elements of other items are written all the same.
    /// [`OutOfRange`](Error::OutOfRange) for an item that the array has no element for.
    ///
    /// # Panics
    ///
    /// As [`map`](Self::map).
    ///
    /// # If a process dies
    ///
    /// See the type. Elements of tasks that failed with a worker may be written or not; if it died in the middle of
    /// writing them, they are [poisoned](Error::Poisoned), until they are written by a task that is begun anew.
    ///
    /// # Examples
    ///
    /// ```standalone_crate
    /// fn root(x: u32) -> f64 {
    ///     f64::from(x).sqrt()
    /// }
    ///
    /// # fn main() -> shmkit::Result<()> {
    /// shmkit::init();
    /// let pool = shmkit::Pool::new(2)?;
    /// let roots = shmkit::Array::<f64>::zeros(100)?;
    /// pool.map_into(&roots, root, 0..100)?;
    /// assert_eq!(roots.get(81)?, 9.0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn map_into<T, F, X, I>(&self, array: &Array<T>, _function: F, items: I) -> Result<()>
    where
        T: Pod + Message,
        F: Target<(X,)>,
        F::Outcome: Outcome<Output = T>,
        X: Message,
        I: IntoIterator<Item = X>,
    {
        self.run_with::<Into<F, X, T>, _>(array, items).map(drop)
    }

    /// Runs `function` for each item, and gives the results one by one in the order of the items, while others are still
    /// being made.
    ///
    /// Nothing is done before the first is asked for. Items are taken from the iterator while somebody waits for a result
    /// and workers have room for more. For a function of several arguments, give a closure that takes a tuple.
    ///
    /// # Errors
    ///
    /// As [`submit`](Self::submit); each result may be an error of its own, see [`Task::get`].
    ///
    /// # Panics
    ///
    /// The iterator that it gives panics with what `items` panics with, in the place of the item that was not made.
    ///
    /// # If a process dies
    ///
    /// See the type.
    ///
    /// # Examples
    ///
    /// ```standalone_crate
    /// # fn main() -> shmkit::Result<()> {
    /// shmkit::init();
    /// let pool = shmkit::Pool::new(2)?;
    /// let first = pool.imap(|x: u64| x * x, 1..)?.map(Result::unwrap).find(|square| *square > 1000);
    /// assert_eq!(first, Some(1024));
    /// let powers = pool.imap(|(base, exponent): (u64, u32)| base.pow(exponent), [(2, 10), (3, 2)])?;
    /// assert_eq!(powers.collect::<shmkit::Result<Vec<_>>>()?, [1024, 9]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn imap<F, X, I>(
        &self,
        _function: F,
        items: I,
    ) -> Result<impl Iterator<Item = Result<<F::Outcome as Outcome>::Output>> + use<'_, F, X, I>>
    where
        F: Target<(X,)>,
        X: Message,
        I: IntoIterator<Item = X>,
    {
        self.results::<Single<F, X>, _>(items, None, true)
    }

    /// As [`imap`](Self::imap), with a state that all tasks share, as [`map_with`](Self::map_with) has it.
    ///
    /// # Errors
    ///
    /// As [`imap`](Self::imap).
    ///
    /// # Panics
    ///
    /// As [`imap`](Self::imap).
    ///
    /// # Examples
    ///
    /// ```standalone_crate
    /// # fn main() -> shmkit::Result<()> {
    /// shmkit::init();
    /// let pool = shmkit::Pool::new(2)?;
    /// let words = vec!["zero".to_owned(), "one".to_owned(), "two".to_owned()];
    /// let mut named = pool.imap_with(&words, |words: &Vec<String>, x: usize| words[x].clone(), [2, 0])?;
    /// assert_eq!(named.next().unwrap()?, "two");
    /// # Ok(())
    /// # }
    /// ```
    pub fn imap_with<S, F, X, R, I>(
        &self,
        state: &S,
        _function: F,
        items: I,
    ) -> Result<impl Iterator<Item = Result<R::Output>> + use<'_, S, F, X, R, I>>
    where
        S: Message,
        F: Fn(&S, X) -> R + Copy + Send + Sync + 'static,
        X: Message,
        R: Outcome + 'static,
        I: IntoIterator<Item = X>,
    {
        let state = SharedState::new(state, self.shared.route)?;
        self.results::<With<F, S, X, R>, _>(items, Some(state), true)
    }

    /// As [`imap`](Self::imap), in the order in which the results come.
    ///
    /// # Errors
    ///
    /// As [`imap`](Self::imap).
    ///
    /// # Panics
    ///
    /// As [`imap`](Self::imap), when all other results were given.
    ///
    /// # Examples
    ///
    /// ```standalone_crate
    /// # fn main() -> shmkit::Result<()> {
    /// shmkit::init();
    /// let pool = shmkit::Pool::new(2)?;
    /// let sum: u64 = pool.imap_unordered(|x: u64| x * x, 1..=10)?.sum::<shmkit::Result<_>>()?;
    /// assert_eq!(sum, 385);
    /// # Ok(())
    /// # }
    /// ```
    pub fn imap_unordered<F, X, I>(
        &self,
        _function: F,
        items: I,
    ) -> Result<impl Iterator<Item = Result<<F::Outcome as Outcome>::Output>> + use<'_, F, X, I>>
    where
        F: Target<(X,)>,
        X: Message,
        I: IntoIterator<Item = X>,
    {
        self.results::<Single<F, X>, _>(items, None, false)
    }

    fn results<W: Work, I: IntoIterator<Item = W::Item>>(
        &self,
        items: I,
        state: Option<SharedState>,
        is_ordered: bool,
    ) -> Result<Results<'_, W, I::IntoIter>> {
        let work = place_of::<W>()?;
        drop(self.shared.open()?);
        let job = Job::with(state);
        let source = Source::new(items.into_iter(), job, work, Chunking::Automatic, self.shared.terms());
        Ok(Results::new(&self.shared, source, is_ordered))
    }

    fn run_with<W: Work, I: IntoIterator<Item = W::Item>>(&self, state: &W::State, items: I) -> Result<Vec<W::Output>> {
        self.shared.check_owner()?;
        let state = SharedState::new(state, self.shared.route)?;
        self.run::<W, _>(items, Job::with(Some(state)), Chunking::Automatic)
    }

    /// Runs all tasks of a job, and waits for them.
    fn run<W: Work, I: IntoIterator<Item = W::Item>>(
        &self,
        items: I,
        job: Job,
        chunking: Chunking,
    ) -> Result<Vec<W::Output>> {
        let work = place_of::<W>()?;
        let shared = &self.shared;
        shared.open()?.calls += 1;
        let _call = Call(shared);
        let _attendance = shared.attend();
        let mut source = Source::<W, _>::new(items.into_iter(), job, work, chunking, shared.terms());
        let _state = InUse { shared, job: Arc::clone(&source.job) };
        let (mut parts, mut outputs, mut error) = (InOrder::default(), Vec::new(), None);
        if !W::IN_PLACE {
            outputs.reserve(source.at_least().min(MOST_RESERVED));
        }
        let mut offer = source.next_chunk();
        loop {
            let seen = shared.changes();
            offer = shared.step(offer);
            let was_given = offer.is_none();
            if was_given {
                // The next one is made while the workers have this one.
                offer = source.next_chunk();
            }
            source.job.take_parts().into_iter().for_each(|part| parts.put(part));
            while let Some(part) = parts.next() {
                part.collect::<W>(shared.route, &mut outputs, &mut error);
            }
            if source.has_ended && offer.is_none() && parts.count() == source.taken {
                break;
            }
            if !(was_given && offer.is_some()) {
                shared.wait_for_change(seen);
            }
        }
        match (source.panic.take(), error) {
            (Some(panic), _) => resume_unwind(panic),
            (None, Some(error)) => Err(error),
            (None, None) => Ok(outputs),
        }
    }

    /// The process ids of the workers: those of now, which may die, or have done their share, and be replaced.
    ///
    /// # Examples
    ///
    /// ```standalone_crate
    /// # fn main() -> shmkit::Result<()> {
    /// shmkit::init();
    /// let pool = shmkit::Pool::new(2)?;
    /// let by = pool.apply(std::process::id, ())?;
    /// assert!(pool.pids().contains(&by) && by != std::process::id());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        if !self.shared.is_ours() {
            return Vec::new();
        }
        self.shared.step(None);
        self.shared.crew().pids()
    }

    /// The number of workers.
    ///
    /// # Examples
    ///
    /// ```standalone_crate
    /// # fn main() -> shmkit::Result<()> {
    /// shmkit::init();
    /// assert_eq!(shmkit::Pool::new(3)?.workers(), 3);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn workers(&self) -> usize {
        self.shared.terms().workers
    }

    /// Takes no more tasks; what was submitted is done.
    ///
    /// # Examples
    ///
    /// See [`join`](Self::join).
    pub fn close(&self) {
        if self.shared.is_ours() {
            let mut crew = self.shared.crew();
            if crew.phase == Phase::Open {
                crew.phase = Phase::Closed;
            }
        }
    }

    /// Waits until all that was submitted is done and the workers have ended.
    ///
    /// # Errors
    ///
    /// [`InvalidArgument`](Error::InvalidArgument) before [`close`](Self::close) or [`terminate`](Self::terminate), and in
    /// a fork of the process whose pool it is.
    ///
    /// # Examples
    ///
    /// ```standalone_crate
    /// # fn main() -> shmkit::Result<()> {
    /// shmkit::init();
    /// let pool = shmkit::Pool::new(2)?;
    /// let task = pool.submit(|| 42_u32, ())?;
    /// pool.close();
    /// pool.join()?;
    /// assert_eq!(task.try_get()?, 42);
    /// assert!(matches!(pool.apply(|| 1_u8, ()), Err(shmkit::Error::PoolClosed)));
    /// # Ok(())
    /// # }
    /// ```
    pub fn join(&self) -> Result<()> {
        self.shared.check_owner()?;
        let _attendance = self.shared.attend();
        loop {
            let seen = self.shared.changes();
            self.shared.step(None);
            {
                let mut crew = self.shared.crew();
                if crew.phase == Phase::Open {
                    return Err(Error::invalid_argument("a pool is closed or terminated before it is joined"));
                }
                if crew.is_idle() && crew.calls == 0 {
                    crew.dismiss();
                    if crew.has_ended() {
                        return Ok(());
                    }
                }
            }
            self.shared.wait_for_change(seen);
        }
    }

    /// Ends the workers at once (SIGKILL), whatever they do. Tasks that are not done fail with
    /// [`PoolClosed`](Error::PoolClosed).
    ///
    /// # Examples
    ///
    /// ```standalone_crate
    /// use std::{thread, time::Duration};
    ///
    /// # fn main() -> shmkit::Result<()> {
    /// shmkit::init();
    /// let pool = shmkit::Pool::new(1)?;
    /// let task = pool.submit(|| thread::sleep(Duration::from_secs(3600)), ())?;
    /// pool.terminate();
    /// assert!(matches!(task.get(), Err(shmkit::Error::PoolClosed)));
    /// # Ok(())
    /// # }
    /// ```
    pub fn terminate(&self) {
        if self.shared.is_ours() {
            self.shared.terminate();
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.terminate();
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("workers", &self.workers()).finish_non_exhaustive()
    }
}

/// Values that room is made for before there are any, whatever an iterator promises.
const MOST_RESERVED: usize = 1 << 24;

/// A call that gives out chunks.
struct Call<'a>(&'a Shared);

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.0.crew().calls -= 1;
        self.0.tell();
    }
}

/// The state of a job, which workers may know: they are to forget it when nobody needs it any more.
struct InUse<'a> {
    shared: &'a Shared,
    job: Arc<Job>,
}

impl Drop for InUse<'_> {
    fn drop(&mut self) {
        if let Some(state) = &self.job.state
            && self.shared.is_ours()
        {
            self.shared.crew().forget(state);
        }
    }
}
