//! How a pool is made.

use std::fmt;

use super::{
    super::{Process, StartMethod, Stdio, init, stdio::Streams, target::Target},
    Pool,
    crew::{Crew, Rules, Start},
    parcel::{Letter, ROOM},
    shared::Shared,
    words::{self, MOST_WORKERS},
    worker::{Place, serve},
};
use crate::{Error, Queue, Region, Result, process, region::ticket::Message};

/// What becomes of the tasks that a worker had begun when it died. Those that it had not begun are given to others in any
/// case.
///
/// # Examples
///
/// See [`Builder`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnDeath {
    /// They fail, with [`Error::ChildDied`]: none is ever begun twice.
    #[default]
    Fail,
    /// They are begun anew, each as often as this at most. Then they fail.
    ///
    /// For tasks that do no harm when they are done half, or twice.
    Retry(u32),
}

/// A pool that is about to be started. From [`Pool::builder`].
///
/// The workers' standard streams are this process's, unless the builder [says](Self::stdout) where they lead.
///
/// # Examples
///
/// ```standalone_crate
/// use std::cell::Cell;
/// use shmkit::{Pool, Result, pool::OnDeath, process::StartMethod};
///
/// thread_local! {
///     static FACTOR: Cell<u64> = const { Cell::new(0) };
/// }
///
/// fn prepare(factor: u64) {
///     FACTOR.set(factor);
/// }
///
/// fn scaled(x: u64) -> u64 {
///     x * FACTOR.get()
/// }
///
/// fn main() -> Result<()> {
///     shmkit::init();
///     let pool = Pool::builder()
///         .workers(2)
///         .start_method(StartMethod::Spawn)
///         .initialiser(prepare, (10,))
///         .max_tasks_per_child(1000)
///         .on_death(OnDeath::Retry(3))
///         .start()?;
///     assert_eq!(pool.map(scaled, 1..=3)?, [10, 20, 30]);
///     Ok(())
/// }
/// ```
#[must_use = "nothing runs before `start`"]
pub struct Builder {
    workers: Option<usize>,
    method: Option<StartMethod>,
    cpus: Vec<usize>,
    may_have_children: Option<bool>,
    streams: Streams,
    max_tasks: Option<u64>,
    on_death: OnDeath,
    prepare: Box<dyn Fn(Settings) -> Start>,
}

/// What every worker is started with.
#[derive(Debug, Clone)]
struct Settings {
    method: StartMethod,
    cpus: Vec<usize>,
    may_have_children: Option<bool>,
    streams: Streams,
}

impl Default for Builder {
    fn default() -> Self {
        let builder = Self {
            workers: None,
            method: None,
            cpus: Vec::new(),
            may_have_children: None,
            streams: Streams::default(),
            max_tasks: None,
            on_death: OnDeath::Fail,
            prepare: Box::new(|_| Box::new(|_| Err(Error::PoolClosed))),
        };
        builder.initialiser(|| {}, ())
    }
}

impl Builder {
    /// The number of workers. By default one for each processor that this process may use.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// How the workers are started. By default as the [program](process::set_start_method) says.
    pub fn start_method(mut self, method: StartMethod) -> Self {
        self.method = Some(method);
        self
    }

    /// A function that every worker runs once, before its first task. If it fails or panics in one of them, the pool is
    /// of no use: its error is that of every task.
    pub fn initialiser<F, A>(mut self, function: F, args: A) -> Self
    where
        F: Target<A>,
        A: Message + Clone + Send + Sync,
    {
        // It is found by its type: there is only one value, which has no size.
        let _ = function;
        self.prepare = Box::new(move |settings| {
            let args = args.clone();
            Box::new(move |place: Place| {
                let at = place.at;
                let [stdin, stdout, stderr] = settings.streams.all.clone();
                let mut builder = Process::builder(serve::<F, A>)
                    .args((place, args.clone()))
                    .name(format!("pool-worker-{}", at + 1))
                    .daemon(true)
                    .start_method(settings.method)
                    .stdin(stdin)
                    .stdout(stdout)
                    .stderr(stderr)
                    .prefix_lines(settings.streams.prefix_lines);
                if let Some(may) = settings.may_have_children {
                    builder = builder.may_have_children(may);
                }
                if !settings.cpus.is_empty() {
                    builder = builder.pin_to_cpu(settings.cpus[at % settings.cpus.len()]);
                }
                builder.start()
            })
        });
        self
    }

    /// Whether tasks may start processes and pools of their own. By default they may not, for workers are daemons, unless
    /// this process is a daemon that may.
    ///
    /// ```standalone_crate
    /// use shmkit::{Pool, Result};
    ///
    /// fn square(x: u64) -> u64 {
    ///     x * x
    /// }
    ///
    /// fn sum_of_squares(to: u64) -> Result<u64> {
    ///     Ok(Pool::new(1)?.map(square, 1..=to)?.into_iter().sum())
    /// }
    ///
    /// fn main() -> Result<()> {
    ///     shmkit::init();
    ///     let pool = Pool::builder().workers(1).may_have_children(true).start()?;
    ///     assert_eq!(pool.apply(sum_of_squares, (3,))?, 14);
    ///     Ok(())
    /// }
    /// ```
    pub fn may_have_children(mut self, may: bool) -> Self {
        self.may_have_children = Some(may);
        self
    }

    /// Replaces each worker when it has done so many tasks, or a few less: for functions that leak.
    pub fn max_tasks_per_child(mut self, tasks: u64) -> Self {
        self.max_tasks = Some(tasks);
        self
    }

    /// Binds each worker to one of these processors, in turn.
    pub fn pin_to_cpus(mut self, cpus: impl IntoIterator<Item = usize>) -> Self {
        self.cpus = cpus.into_iter().collect();
        self
    }

    /// Where the workers' standard input comes from. By default from where this process's comes.
    ///
    /// Of a file that all have, each line is somebody's. Not [piped](Stdio::piped), nor are the others: it would be one
    /// pipe for each worker that there ever is. `io::pipe()` makes one for all.
    pub fn stdin(mut self, stdin: impl Into<Stdio>) -> Self {
        self.streams.all[0] = stdin.into();
        self
    }

    /// Where their standard output goes. By default to where this process's goes.
    pub fn stdout(mut self, stdout: impl Into<Stdio>) -> Self {
        self.streams.all[1] = stdout.into();
        self
    }

    /// Where their standard errors go, the text of a panic among them. By default to where this process's go.
    pub fn stderr(mut self, stderr: impl Into<Stdio>) -> Self {
        self.streams.all[2] = stderr.into();
        self
    }

    /// Puts the worker's name before each line of its output and its errors: `pool-worker-1: hello`. As
    /// [`prefix_lines`](super::super::Builder::prefix_lines) of a process, but for this: what the pool returns does not wait
    /// for the lines that were written meanwhile. They are passed on before this process ends normally.
    ///
    /// # Examples
    ///
    /// ```standalone_crate
    /// use std::io::{self, Read};
    /// use shmkit::Pool;
    ///
    /// fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     shmkit::init();
    ///     let (mut from, into) = io::pipe()?;
    ///     let pool = Pool::builder().workers(1).stdout(into).prefix_lines(true).start()?;
    ///     pool.apply(|| println!("hello"), ())?;
    ///     pool.close();
    ///     pool.join()?;
    ///     drop(pool);
    ///     let mut text = String::new();
    ///     from.read_to_string(&mut text)?;
    ///     assert_eq!(text, "pool-worker-1: hello\n");
    ///     Ok(())
    /// }
    /// ```
    pub fn prefix_lines(mut self, prefix: bool) -> Self {
        self.streams.prefix_lines = prefix;
        self
    }

    /// What becomes of the tasks of a worker that died. By default they fail.
    pub fn on_death(mut self, on_death: OnDeath) -> Self {
        self.on_death = on_death;
        self
    }

    /// Starts the workers.
    ///
    /// # Errors
    ///
    /// [`InvalidArgument`](Error::InvalidArgument) for 0 workers, 0 tasks or a [piped](Stdio::piped) stream; else as
    /// [`Process::spawn`](crate::Process::spawn): then those that were started already are ended.
    pub fn start(self) -> Result<Pool> {
        let workers = self.workers.unwrap_or_else(process::cpu_count);
        if !(1..=MOST_WORKERS).contains(&workers) {
            let reason = format!("a pool of {workers} workers; 1 to {MOST_WORKERS} are possible");
            return Err(Error::InvalidArgument { reason });
        }
        if self.max_tasks == Some(0) {
            return Err(Error::invalid_argument("workers for 0 tasks each; at least 1"));
        }
        if self.streams.all.iter().any(Stdio::is_piped) {
            return Err(Error::invalid_argument("a piped stream of workers, whose other end nobody could take"));
        }
        init::check_initialised()?;
        let method = self.method.unwrap_or_else(process::start_method);
        let rules = Rules {
            on_death: self.on_death,
            most_tasks: self.max_tasks,
            start: (self.prepare)(Settings {
                method,
                cpus: self.cpus,
                may_have_children: self.may_have_children,
                streams: self.streams,
            }),
            forks: method == StartMethod::Fork,
        };
        let (words, places) = places(workers)?;
        let route = places[0].orders.route();
        let crew = Crew::start(places, &rules)?;
        Ok(Pool { shared: Shared::new(words, route, rules, crew) })
    }
}

/// A place for each worker, all in one region: a process is a member of it once, whatever it uses of it.
fn places(workers: usize) -> Result<(words::Words, Vec<Place>)> {
    let members = 2 * workers + 16;
    let objects = workers * (2 * (ROOM + (8 << 10)) + 512) + members * 64 + (16 << 10);
    // The table of names takes up to a 32nd of a region, 512 KiB at most.
    let size = objects + (objects / 16).min(512 << 10);
    let region = Region::options().size(size).members(members).create()?;
    let words = words::create(&region, workers)?;
    words.member()?;
    let queue = || Queue::<Letter>::options().capacity(ROOM).waits_alone(true).create_in(&region, None);
    let places =
        (0..workers).map(|at| Ok(Place { words: words.clone(), at, orders: queue()?, reports: queue()?, after: 0 }));
    Ok((words.clone(), places.collect::<Result<_>>()?))
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("workers", &self.workers)
            .field("method", &self.method)
            .field("cpus", &self.cpus)
            .field("may_have_children", &self.may_have_children)
            .field("streams", &self.streams)
            .field("max_tasks", &self.max_tasks)
            .field("on_death", &self.on_death)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_any_number_of_workers() {
        for workers in (1..=20).chain([31, 32, 33, 63, 64, 65, 127, 128, 129]) {
            let (_, places) = places(workers).unwrap_or_else(|error| panic!("{workers} workers: {error}"));
            assert_eq!(places.len(), workers);
        }
    }
}
