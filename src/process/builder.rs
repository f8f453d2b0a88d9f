//! How a process is started.

#![expect(unsafe_code, reason = "forks")]

use std::{
    collections::BTreeMap,
    env,
    ffi::{OsStr, OsString},
    io::Write,
    mem,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::atomic::Ordering::Relaxed,
};

use super::{
    StartMethod,
    child::{Child, Process},
    family::{self, Origin},
    forkserver,
    init::{self, Bootstrap, Errand},
    lines,
    pin::{self, Pin},
    pool, report,
    stdio::{Prepared, Stdio, Streams},
    target::{Outcome, Target},
};
use crate::{
    Error, Result,
    os::{
        ends,
        executable::Executable,
        identity::{self, Stamp},
        packet, robust, socket, start, threads,
    },
    region::ticket::{self, Belongings, Message, Seat},
};

/// A process that is about to be started. From [`Process::builder`].
///
/// # Examples
///
/// ```standalone_crate
/// use shmkit::{Process, Result, process::StartMethod};
///
/// fn greeting(who: String) -> String {
///     format!("hello {who} from {}", shmkit::process::current().name())
/// }
///
/// fn main() -> Result<()> {
///     shmkit::init();
///     for method in [StartMethod::Spawn, StartMethod::ForkServer, StartMethod::Fork] {
///         let child = Process::builder(greeting)
///             .args(("world".to_owned(),))
///             .name("w7")
///             .daemon(true)
///             .start_method(method)
///             .pin_to_cpu(0)
///             .env("OMP_NUM_THREADS", "1")
///             .current_dir("/")
///             .start()?;
///         assert_eq!(child.join()?, "hello world from w7");
///     }
///     Ok(())
/// }
/// ```
#[derive(Debug, Clone)]
#[must_use = "nothing runs before `start`"]
pub struct Builder<F, A = ()> {
    target: F,
    args: A,
    plan: Plan,
}

/// All but the function and its arguments.
#[derive(Debug, Clone, Default)]
struct Plan {
    name: Option<String>,
    daemon: Option<bool>,
    may_have_children: Option<bool>,
    method: Option<StartMethod>,
    pin: Option<Pin>,
    environment: BTreeMap<OsString, Option<OsString>>,
    directory: Option<PathBuf>,
    streams: Streams,
    with_threads: bool,
}

impl Process<()> {
    /// Starts `target(args)` in a new process, by the [start method](super::set_start_method) of the program.
    ///
    /// The arguments are encoded and sent by `Spawn` and `ForkServer`, and moved as they are by `Fork`; either way the
    /// caller's are gone when this returns.
    ///
    /// # Errors
    ///
    /// [`Error::NotInitialised`] without [`init`](crate::init) in `main`, [`Error::ChildOfDaemon`] in a daemon that
    /// [may not](Builder::may_have_children) have children, [`Error::NotSendable`] for an argument that cannot travel,
    /// [`Error::Os`] when no more processes or descriptors can be had; under `Fork` as
    /// [`fork`](Self::fork). By `ForkServer` also what [`preload`](super::forkserver::preload) says, and
    /// [`Error::ForkServerDied`].
    ///
    /// # If a process dies
    ///
    /// A child that dies before it has reported is an error of [`join`](Process::join) at once. This one's death is told
    /// to its children by [`parent`](super::parent); daemons die with it.
    ///
    /// # Examples
    ///
    /// See [`Process`].
    pub fn spawn<F, A>(target: F, args: A) -> Result<Process<<F::Outcome as Outcome>::Output>>
    where
        F: Target<A>,
        A: Message,
    {
        Self::builder(target).args(args).start()
    }

    /// Starts `run` in a copy of this process. It may borrow and capture anything: it is never sent.
    ///
    /// The child has copies of all private memory, and shares all shared memory.
    ///
    /// # Errors
    ///
    /// [`Error::ForkRefused`] while the calling thread holds a lock of this crate (its guard would be copied), or while
    /// this process has other threads (whatever they hold would be held for ever in the child). [`Error::ChildOfDaemon`],
    /// [`Error::Os`].
    ///
    /// # Examples
    ///
    /// ```standalone_crate
    /// use shmkit::{Process, Result};
    ///
    /// fn main() -> Result<()> {
    ///     shmkit::init();
    ///     let table = vec![1, 2, 3];
    ///     let child = Process::fork(|| table.iter().sum::<i32>())?;
    ///     assert_eq!(child.join()?, 6);
    ///     Ok(())
    /// }
    /// ```
    pub fn fork<R: Outcome>(run: impl FnOnce() -> R) -> Result<Process<R::Output>> {
        Plan::default().fork(Belongings::default(), run)
    }

    /// A process to be started step by step.
    ///
    /// # Examples
    ///
    /// See [`Builder`].
    pub fn builder<F>(target: F) -> Builder<F> {
        Builder { target, args: (), plan: Plan::default() }
    }
}

impl<F, A> Builder<F, A> {
    /// The arguments of the function: a tuple, `(a, b)`, `(a,)` or `()`.
    pub fn args<B>(self, args: B) -> Builder<F, B> {
        Builder { target: self.target, args, plan: self.plan }
    }

    /// The name of the process, for its own and others' eyes.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.plan.name = Some(name.into());
        self
    }

    /// Whether it dies when this process has ended, by whatever cause. By default it does if this one does.
    ///
    /// Of others the normal end of this process [waits](super#the-end-of-a-parent) for their end.
    pub fn daemon(mut self, daemon: bool) -> Self {
        self.plan.daemon = Some(daemon);
        self
    }

    /// Whether it may start processes although it is a daemon. By default it may if this one is a daemon that may.
    /// Processes that are no daemons may in any case.
    ///
    /// Its children are daemons too unless they are told otherwise, and die after it. One that is [none](Self::daemon) is
    /// left behind when it is killed, which is how daemons end most often.
    ///
    /// ```standalone_crate
    /// use shmkit::{Error, Process, Result};
    ///
    /// fn nested() -> Result<u32> {
    ///     Process::spawn(|| 42_u32, ())?.join()
    /// }
    ///
    /// fn main() -> Result<()> {
    ///     shmkit::init();
    ///     let daemon = Process::builder(nested).daemon(true);
    ///     assert!(matches!(daemon.clone().start()?.join(), Err(Error::ChildOfDaemon { .. })));
    ///     assert_eq!(daemon.may_have_children(true).start()?.join()?, 42);
    ///     Ok(())
    /// }
    /// ```
    pub fn may_have_children(mut self, may: bool) -> Self {
        self.plan.may_have_children = Some(may);
        self
    }

    /// How it is started. By default as the [program](super::set_start_method) says.
    pub fn start_method(mut self, method: StartMethod) -> Self {
        self.plan.method = Some(method);
        self
    }

    /// Binds it to one processor.
    pub fn pin_to_cpu(mut self, cpu: usize) -> Self {
        self.plan.pin = Some(Pin::Cpus(vec![cpu]));
        self
    }

    /// Has it run on these processors only.
    ///
    /// # Errors
    ///
    /// Those of [`Pin::cpus`] come from [`start`](Self::start).
    ///
    /// # Examples
    ///
    /// ```standalone_crate
    /// use shmkit::{Process, Result, process::{Pin, cpu_count}};
    ///
    /// fn main() -> Result<()> {
    ///     shmkit::init();
    ///     let workers: Vec<_> = (0..4)
    ///         .map(|rank| Process::builder(cpu_count).pin(Pin::Scatter(rank)).start())
    ///         .collect::<Result<_>>()?;
    ///     for worker in workers {
    ///         assert_eq!(worker.join()?, 1);
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn pin(mut self, pin: Pin) -> Self {
        self.plan.pin = Some(pin);
        self
    }

    /// Sets an environment variable for it.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.plan.environment.insert(name.as_ref().into(), Some(value.as_ref().into()));
        self
    }

    /// Takes an environment variable from it.
    pub fn env_remove(mut self, name: impl AsRef<OsStr>) -> Self {
        self.plan.environment.insert(name.as_ref().into(), None);
        self
    }

    /// The directory that it works in. By default this process's.
    pub fn current_dir(mut self, directory: impl AsRef<Path>) -> Self {
        self.plan.directory = Some(directory.as_ref().into());
        self
    }

    /// Where its standard input comes from. By default from where this process's comes.
    ///
    /// A fork has what this process has read ahead in its own [`stdin`](std::io::stdin), and reads that first.
    pub fn stdin(mut self, stdin: impl Into<Stdio>) -> Self {
        self.plan.streams.all[0] = stdin.into();
        self
    }

    /// Where its standard output goes. By default to where this process's goes.
    pub fn stdout(mut self, stdout: impl Into<Stdio>) -> Self {
        self.plan.streams.all[1] = stdout.into();
        self
    }

    /// Where its standard errors go, the text of a panic among them. By default to where this process's go.
    pub fn stderr(mut self, stderr: impl Into<Stdio>) -> Self {
        self.plan.streams.all[2] = stderr.into();
        self
    }

    /// Puts its name before each line that it, and what it starts, writes to its output and its errors: `w7: hello`.
    ///
    /// Lines are passed on whole: none stands in the middle of another child's. What is
    /// [piped](Stdio::piped) stays as it is.
    ///
    /// When [`join`](Process::join) returns, all that the child had written before its end has been passed on, a last line
    /// without an end too; and so it is before this process ends normally. A line is cut after 1 MiB. The child waits while
    /// nobody reads what it writes, and so does `join`.
    ///
    /// # If a process dies
    ///
    /// Nothing is lost that a dead child had written. When this process dies, what it had not passed on yet is lost, and
    /// children that go on and write are told of a broken pipe, by which `println!` panics.
    ///
    /// # Examples
    ///
    /// ```standalone_crate
    /// use std::io::{self, Read};
    /// use shmkit::{Process, process};
    ///
    /// fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     shmkit::init();
    ///     // For the eye, leave `stdout` away: the lines are this program's own then.
    ///     let (mut from, into) = io::pipe()?;
    ///     let builder = Process::builder(|| println!("hello")).stdout(into).prefix_lines(true);
    ///     process::scope(|s| ["one", "two"].map(|name| s.start(builder.clone().name(name))))?;
    ///     drop(builder);
    ///     let mut text = String::new();
    ///     from.read_to_string(&mut text)?;
    ///     assert!(text == "one: hello\ntwo: hello\n" || text == "two: hello\none: hello\n");
    ///     Ok(())
    /// }
    /// ```
    pub fn prefix_lines(mut self, prefix: bool) -> Self {
        self.plan.streams.prefix_lines = prefix;
        self
    }

    /// Lets [`StartMethod::Fork`] go ahead while this process has other threads.
    ///
    /// # Safety
    ///
    /// The child has only the thread that forked. Whatever the others held at that moment, in any library, stays locked
    /// for ever in the child, so the function may only use what cannot have been held: async-signal-safe functions, by
    /// the letter of POSIX; with glibc, memory allocation too.
    pub unsafe fn allow_fork_with_threads(mut self) -> Self {
        self.plan.with_threads = true;
        self
    }

    /// Starts the process.
    ///
    /// # Errors
    ///
    /// As [`Process::spawn`].
    pub fn start(self) -> Result<Process<<F::Outcome as Outcome>::Output>>
    where
        F: Target<A>,
        A: Message,
    {
        const {
            assert!(
                size_of::<F>() == 0,
                "a process runs a plain `fn` or a closure that captures nothing: give it arguments, or use Process::fork"
            )
        };
        let Self { target, args, plan } = self;
        match plan.method.unwrap_or_else(super::start_method) {
            method @ (StartMethod::Spawn | StartMethod::ForkServer) => plan.send::<F, A>(method, &args),
            // Nothing travels: the child has a copy of the arguments as it has of all else.
            StartMethod::Fork => plan.fork(ticket::belongings_of(&args), move || target.call(args)),
        }
    }
}

impl Plan {
    /// Who the child is.
    ///
    /// # Errors
    ///
    /// [`Error::ChildOfDaemon`] if this process may have no children.
    fn origin(&mut self) -> Result<Origin> {
        let me = family::current();
        if !me.may_have_children() {
            return Err(Error::ChildOfDaemon { name: me.name().into() });
        }
        Ok(Origin {
            name: self.name.take().unwrap_or_else(family::next_name),
            daemon: self.daemon.unwrap_or(me.is_daemon()),
            // This one may, so it has been asked for if it is a daemon.
            may_have_children: self.may_have_children.unwrap_or(me.is_daemon()),
            parent: init::own_stamp(),
            parent_name: me.name().into(),
        })
    }

    /// Starts a process that receives what it is to do: a fresh one, or one that the fork server makes.
    fn send<F: Target<A>, A: Message>(
        mut self,
        method: StartMethod,
        args: &A,
    ) -> Result<Process<<F::Outcome as Outcome>::Output>> {
        init::check_initialised()?;
        self.check_environment()?;
        let origin = self.origin()?;
        let args = ticket::encode(args)?;
        let message = Errand::Function(Bootstrap {
            build: Executable::this().identity().into(),
            trampoline: init::place_of::<F, A>()?,
            parent: origin.parent.to_bits(),
            parent_name: origin.parent_name,
            name: origin.name.clone(),
            daemon: origin.daemon,
            may_have_children: origin.may_have_children,
            cpus: self.cpus()?,
            method: super::METHOD.load(Relaxed),
            preloads: forkserver::preloads(),
        })
        .before(&args.bytes)?;
        let streams = self.streams.prepare(&origin.name)?;
        let (ours, theirs) = socket_pair()?;
        // Before the start: what cannot be sent starts nothing.
        socket::send(&ours, &message, &args.descriptors).map_err(|error| Error::os("sending the arguments", error))?;
        let (pid, pidfd) = if method == StartMethod::ForkServer {
            let started = forkserver::start(&forkserver::Order {
                socket: &theirs,
                environment: &self.environment,
                directory: self.open_directory()?,
                streams: streams.all(),
            })?;
            (started.pid, started.pidfd)
        } else {
            let pid = start::fresh(start::Fresh {
                arguments: env::args_os().collect(),
                environment: environment(&self.environment),
                directory: self.directory.as_deref(),
                streams: streams.changed(),
                socket: &theirs,
            })
            .map_err(|error| Error::os("starting a process", error))?;
            (pid, None)
        };
        expect(&args.seats, pid);
        let child = Child::new(pid, pidfd, origin.name, origin.daemon, ours, streams)?;
        Ok(Process::new(child))
    }

    /// The processors that the child may run on; none for those of this process.
    fn cpus(&self) -> Result<Vec<usize>> {
        self.pin.as_ref().map_or_else(|| Ok(Vec::new()), Pin::cpus)
    }

    fn open_directory(&self) -> Result<Option<OwnedFd>> {
        let directory = self.directory.as_deref().map(start::directory).transpose();
        directory.map_err(|error| Error::os("opening the directory to work in", error))
    }

    fn check_environment(&self) -> Result<()> {
        let unfit =
            |(name, value): &(&OsString, &Option<OsString>)| !is_variable(name, value.as_deref().unwrap_or_default());
        match self.environment.iter().find(unfit) {
            None => Ok(()),
            Some((name, _)) => {
                Err(Error::invalid_argument(format!("the environment variable {name:?}: empty, or has = or NUL")))
            }
        }
    }

    fn fork<R: Outcome>(mut self, belongings: Belongings, run: impl FnOnce() -> R) -> Result<Process<R::Output>> {
        let refused = |reason: String| Err(Error::ForkRefused { reason });
        let held = robust::held();
        if held > 0 {
            return refused(format!("this thread holds {held} locks or places, whose guards would be copied"));
        }
        self.check_threads()?;
        // After the threads were counted: those that ended have added theirs.
        let left = robust::left_behind();
        if left > 0 {
            return refused(format!(
                "threads that have ended kept {left} locks or places, whose guards would be copied"
            ));
        }
        self.check_environment()?;
        let origin = self.origin()?;
        let streams = mem::take(&mut self.streams).prepare(&origin.name)?;
        let (ours, theirs) = socket_pair()?;
        let directory = self.open_directory()?;
        // What stands in the buffer would be written twice.
        let _ = std::io::stdout().flush();
        let still = (pool::still(), forkserver::still(), family::still(), ends::still(), lines::still());
        // A thread that was parked a moment ago may run a callback by now. No more can begin one.
        self.check_threads()?;
        // SAFETY: there are no other threads but parked ones, which hold nothing now, or the caller has promised.
        let forked = unsafe { start::fork() };
        drop(still);
        let forked = forked.map_err(|error| Error::os("fork", error))?;
        match forked {
            Some(pid) => {
                expect(&belongings.seats, pid);
                let child = Child::new(pid, None, origin.name, origin.daemon, ours, streams)?;
                Ok(Process::new(child))
            }
            None => {
                drop(ours);
                self.run_in_fork(origin, directory, streams, &theirs, belongings, run)
            }
        }
    }

    /// Refuses to fork beside threads that may hold anything.
    fn check_threads(&self) -> Result<()> {
        if self.with_threads {
            return Ok(());
        }
        match threads::others().map_err(|error| Error::os("counting threads", error))? {
            0 => Ok(()),
            others => Err(Error::ForkRefused {
                reason: format!("this process has {others} other threads (StartMethod::Spawn works)"),
            }),
        }
    }

    /// The life of a forked child.
    fn run_in_fork<R: Outcome>(
        self,
        origin: Origin,
        directory: Option<OwnedFd>,
        streams: Prepared,
        socket: &OwnedFd,
        belongings: Belongings,
        run: impl FnOnce() -> R,
    ) -> ! {
        // No panic gets past `report::run`. If one did, it would go on in what is the parent's.
        let _guard = start::ExitOnUnwind;
        let code = report::run(socket, || {
            streams.take_over()?;
            self.settle(&origin, directory)?;
            family::set_origin(origin);
            belongings.arrived()?;
            run().into_result()
        });
        family::see_off();
        start::exit_now(code)
    }

    fn settle(&self, origin: &Origin, directory: Option<OwnedFd>) -> Result<()> {
        for (name, value) in &self.environment {
            match value {
                // SAFETY: the child of a fork has one thread.
                Some(value) => unsafe { env::set_var(name, value) },
                // SAFETY: as above.
                None => unsafe { env::remove_var(name) },
            }
        }
        if let Some(directory) = directory {
            start::enter(&directory).map_err(|error| Error::os("changing to the directory to work in", error))?;
        }
        let cpus = self.cpus()?;
        if !cpus.is_empty() {
            pin::pin_to(&cpus)?;
        }
        if origin.daemon {
            family::die_with(origin.parent)?;
        }
        Ok(())
    }
}

/// Whether this can stand in an environment: a name that the C library cannot represent would set another variable, or panic
/// in the child.
pub(super) fn is_variable(name: &OsStr, value: &OsStr) -> bool {
    let (name, value) = (name.as_encoded_bytes(), value.as_encoded_bytes());
    !(name.is_empty() || name.contains(&b'=') || name.contains(&0) || value.contains(&0))
}

/// This process's environment with the changes and the marker: `NAME=value` each.
pub(super) fn environment(changes: &BTreeMap<OsString, Option<OsString>>) -> Vec<OsString> {
    let kept = env::vars_os().filter(|(name, _)| !changes.contains_key(name) && name != init::MARKER);
    let changed = changes.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?)));
    let marker = (init::MARKER.into(), env!("CARGO_PKG_VERSION").into());
    kept.chain(changed)
        .chain([marker])
        .map(|(mut entry, value)| {
            entry.push("=");
            entry.push(value);
            entry
        })
        .collect()
}

/// Puts the new process on record where it counts from now on: it may die before it has done so itself.
fn expect(seats: &[Box<dyn Seat>], pid: u32) {
    if !seats.is_empty() {
        let child = Stamp::new(pid, identity::start_time(pid).unwrap_or(0));
        seats.iter().for_each(|seat| seat.expect(child));
    }
}

fn socket_pair() -> Result<(OwnedFd, OwnedFd)> {
    packet::pair().map_err(|error| Error::os("socketpair", error))
}
