//! A child as its parent sees it: its descriptor, its report and its end.

use std::{
    any::type_name,
    fmt, fs,
    io::{self, PipeReader, PipeWriter},
    mem,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    process,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use super::{
    family, lines,
    report::Report,
    status::{ExitStatus, State},
    stdio::{Pipes, Prepared},
};
use crate::{
    Error, Result,
    os::{
        clock::Wait,
        pidfd::{self, End},
        poll,
        socket::{self, Message as Packet},
    },
    region::ticket::{self, Message},
};

/// A child process.
#[derive(Debug)]
pub(super) struct Child {
    pid: u32,
    /// The process that started it: forks of that one have copies of this.
    starter: u32,
    name: String,
    daemon: bool,
    /// Whether it is this process's fork server, which users do not see.
    is_server: bool,
    sentinel: OwnedFd,
    socket: OwnedFd,
    progress: Mutex<Progress>,
    /// Its streams whose lines this process passes on.
    lines: Option<lines::Id>,
    /// This process's ends of its pipes, as long as nobody has taken them.
    pipes: Mutex<Pipes>,
    /// Whether a handle was joined.
    is_taken: AtomicBool,
}

/// What a child has reported, or why that could not be received.
type Received = Arc<io::Result<Packet>>;

/// What is known so far.
#[derive(Debug, Default)]
struct Progress {
    report: Option<Received>,
    /// The report was looked for.
    asked: bool,
    status: Option<ExitStatus>,
}

impl Child {
    /// A child that was started just now, and that this crate has not waited for; with its pidfd, if somebody has it.
    pub(super) fn new(
        pid: u32,
        pidfd: Option<OwnedFd>,
        name: String,
        daemon: bool,
        socket: OwnedFd,
        streams: Prepared,
    ) -> Result<Arc<Self>> {
        Self::add(pid, pidfd, name, daemon, false, socket, streams)
    }

    /// The fork server.
    pub(super) fn server(pid: u32, socket: OwnedFd) -> Result<Arc<Self>> {
        Self::add(pid, None, "forkserver".into(), true, true, socket, Prepared::default())
    }

    fn add(
        pid: u32,
        pidfd: Option<OwnedFd>,
        name: String,
        daemon: bool,
        is_server: bool,
        socket: OwnedFd,
        streams: Prepared,
    ) -> Result<Arc<Self>> {
        let cannot_be_watched = |error| {
            // No descriptors are left, say. What cannot be watched must not run.
            pidfd::kill_and_reap(pid);
            Error::os("pidfd_open", error)
        };
        let mut progress = Progress::default();
        let pidfd = match pidfd {
            None => pidfd::open(pid).map_err(cannot_be_watched)?,
            some => some,
        };
        let sentinel = match pidfd {
            Some(sentinel) => sentinel,
            // It has ended, and the kernel (SIGCHLD is ignored) or other code has taken it from the process table.
            None => {
                progress.status = Some(ExitStatus::Unknown);
                pidfd::of_the_ended().map_err(|error| Error::os("eventfd", error))?
            }
        };
        let Prepared { pipes, lines, .. } = streams;
        let child = Arc::new(Self {
            pid,
            starter: process::id(),
            name,
            daemon,
            is_server,
            sentinel,
            socket,
            progress: Mutex::new(progress),
            lines,
            pipes: Mutex::new(pipes),
            is_taken: false.into(),
        });
        family::add(&child);
        Ok(child)
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn is_daemon(&self) -> bool {
        self.daemon
    }

    pub(super) fn is_server(&self) -> bool {
        self.is_server
    }

    pub(super) fn sentinel(&self) -> &OwnedFd {
        &self.sentinel
    }

    pub(super) fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    pub(super) fn signal(&self, signal: i32) -> Result<()> {
        if self.is_over() {
            return Ok(());
        }
        pidfd::signal(&self.sentinel, signal).map_err(|error| Error::os("pidfd_send_signal", error))
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of the end, if it has come: from then on the child is no zombie.
    fn look_for_end(&self, progress: &mut Progress) -> Option<ExitStatus> {
        if progress.status.is_none()
            && let Ok(Some(end)) = pidfd::reap(&self.sentinel)
        {
            progress.status = Some(match end {
                End::Code(code) => ExitStatus::Code(code),
                End::Signal(signal) => ExitStatus::Signal(signal),
                End::Unknown => ExitStatus::Unknown,
            });
        }
        progress.status
    }

    pub(super) fn has_ended(&self) -> bool {
        self.status().is_some()
    }

    /// Whether its end was noted already: asks nobody.
    pub(super) fn is_over(&self) -> bool {
        self.progress().status.is_some()
    }

    pub(super) fn is_ours(&self) -> bool {
        self.starter == process::id()
    }

    pub(super) fn status(&self) -> Option<ExitStatus> {
        self.look_for_end(&mut self.progress())
    }

    /// Waits for the end. The report, if there was one, and how the child ended.
    ///
    /// Only the end is waited for: sending a report waits for nobody, so it is there by then if there is one. And whoever
    /// else holds the child's end of the socket (a fork of it, that still runs) can delay nothing.
    fn wait(&self, wait: Wait) -> Result<Option<(Option<Received>, ExitStatus)>> {
        if !self.is_ours() {
            let reason =
                format!("process {} was started by process {}, which alone can join it", self.pid, self.starter);
            return Err(Error::InvalidArgument { reason });
        }
        loop {
            if let Some(end) = self.end() {
                if let Some(lines) = self.lines {
                    lines::show_rest(lines, wait);
                }
                return Ok(Some(end));
            }
            if wait.is_over() {
                return Ok(None);
            }
            self.sleep_until_end(wait)?;
        }
    }

    /// Waits for the end. What the function has returned; `None` if the end has not come in time.
    fn join<T>(&self, wait: Wait, read: Read<T>) -> Result<Option<T>> {
        let Some((report, status)) = self.wait(wait)? else { return Ok(None) };
        family::forget(self);
        self.is_taken.store(true, Relaxed);
        match report.as_deref() {
            Some(Ok(packet)) => read(packet, self.pid).map(Some),
            Some(Err(error)) => {
                let error = io::Error::new(error.kind(), error.to_string());
                Err(Error::os(format!("receiving the result of process {}, which is lost", self.pid), error))
            }
            None => Err(Error::ChildDied { pid: self.pid, status: status.to_string() }),
        }
    }

    /// The same for ever. The child will not wait for input that nobody can write any more.
    fn join_without_input<T>(&self, read: Read<T>) -> Result<T> {
        drop(self.pipes().stdin.take());
        match self.join(Wait::Forever, read)? {
            Some(result) => Ok(result),
            None => unreachable!("a wait without end"),
        }
    }

    fn pipes(&self) -> MutexGuard<'_, Pipes> {
        self.pipes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes this process's ends of its pipes that nobody has taken: no one will.
    pub(super) fn close_pipes(&self) {
        drop(mem::take(&mut *self.pipes()));
    }

    /// The report and how it ended, if it has.
    fn end(&self) -> Option<(Option<Received>, ExitStatus)> {
        let mut progress = self.progress();
        let status = self.look_for_end(&mut progress)?;
        Some((self.report(&mut progress), status))
    }

    fn sleep_until_end(&self, wait: Wait) -> Result<bool> {
        poll::is_readable(&self.sentinel, wait).map_err(|error| Error::os("poll", error))
    }

    /// Waits for the end, and leaves the report where it is. The answer is whether it has come; `false` also if that
    /// cannot be waited for.
    pub(super) fn wait_for_end(&self, wait: Wait) -> bool {
        self.has_ended() || matches!(self.sleep_until_end(wait), Ok(true)) && self.has_ended()
    }

    /// The report of a child that has ended: taken from the socket once, and kept.
    fn report(&self, progress: &mut Progress) -> Option<Received> {
        if !mem::replace(&mut progress.asked, true) {
            progress.report = match socket::receive(&self.socket, false) {
                // Nothing, closed, or cut off by a death in the middle: there is no report.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock || socket::is_closed(&error) => None,
                // No descriptors are left for a long one, say.
                received => received.transpose().map(Arc::new),
            };
        }
        progress.report.clone()
    }

    /// The letter of `/proc/<pid>/stat`.
    fn state(&self) -> State {
        // While `progress` is locked nobody else waits for it, so that its id cannot become another's.
        let mut progress = self.progress();
        if self.look_for_end(&mut progress).is_some() {
            return State::Terminated;
        }
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        match stat.rsplit_once(") ").and_then(|(_, fields)| fields.chars().next()) {
            Some('R') => State::Running,
            Some('T' | 't') => State::Stopped,
            // The first thread has ended: all of them, or others run on. Or nothing can be seen of it.
            Some('Z' | 'X' | 'x') | None => match self.look_for_end(&mut progress) {
                None => State::Running,
                Some(_) => State::Terminated,
            },
            Some(_) => State::Blocked,
        }
    }
}

/// A process that runs a function, and that its starter waits for with [`join`](Self::join).
///
/// Dropping the handle does not end the process. It goes on, and its result is lost; the normal end of this process
/// [waits](super#the-end-of-a-parent) for it all the same.
///
/// # If a process dies
///
/// A child that dies before its function returns is [`Error::ChildDied`] from `join`, at once. When the parent dies, a
/// [daemon](super::Builder::daemon) dies too and any other child goes on.
///
/// # Examples
///
/// ```standalone_crate
/// use shmkit::{Process, Result, Value};
///
/// fn work(total: Value<u64>, n: u64) -> Result<u64> {
///     total.update(|x| x + n)
/// }
///
/// fn main() -> Result<()> {
///     shmkit::init();
///     let total = Value::new(40)?;
///     let child = Process::spawn(work, (total.clone(), 2))?;
///     assert_eq!(child.join()?, 42);
///     assert_eq!(total.get()?, 42);
///     Ok(())
/// }
/// ```
#[must_use = "the process goes on when the handle is dropped: join it, or keep it"]
pub struct Process<T> {
    child: Arc<Child>,
    read: Read<T>,
}

/// What finds the result in a report of the process with this id.
type Read<T> = fn(&Packet, u32) -> Result<T>;

impl<T: Message> Process<T> {
    pub(super) fn new(child: Arc<Child>) -> Self {
        Self { child, read: read_report::<T> }
    }
}

/// The result in a report; a new copy each time.
fn read_report<T: Message>(packet: &Packet, pid: u32) -> Result<T> {
    match ticket::decode::<Report<T>>(&packet.bytes, &packet.descriptors) {
        Ok(Report::Returned(value)) => Ok(value),
        Ok(Report::Failed(error)) => Err(error),
        Ok(Report::Panicked { message, location }) => Err(Error::Panicked { pid, message, location }),
        Err(Error::NotSendable { reason, .. }) => {
            Err(Error::NotSendable { type_name: type_name::<T>().into(), reason })
        }
        Err(error) => Err(error),
    }
}

impl<T> Process<T> {
    /// Waits until the process has ended, and returns what its function returned. May be called again.
    ///
    /// An end of its standard input that nobody has [taken](Self::take_stdin) is closed before: it will not wait for more.
    ///
    /// # Errors
    ///
    /// The error that the function returned: a [`shmkit::Error`](crate::Error) as it was, any other as
    /// [`Error::Failed`]. [`Error::Panicked`] when it panicked, [`Error::ChildDied`] when it ended without a report,
    /// [`Error::NotSendable`] when the value cannot travel, [`Error::Os`] when there was no descriptor or memory left for a
    /// long one, here or there. [`Error::InvalidArgument`] in a fork of the process that
    /// started it: only the starter can join.
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn join(&self) -> Result<T> {
        self.child.join_without_input(self.read)
    }

    /// As [`join`](Self::join), but waits at most `timeout`: `None` when the process has not ended by then.
    ///
    /// # Errors
    ///
    /// As [`join`](Self::join).
    ///
    /// # Examples
    ///
    /// ```standalone_crate
    /// use std::time::Duration;
    /// use shmkit::{Process, Result};
    ///
    /// fn main() -> Result<()> {
    ///     shmkit::init();
    ///     let child = Process::spawn(|| std::thread::sleep(Duration::from_secs(60)), ())?;
    ///     assert!(child.join_timeout(Duration::from_millis(10))?.is_none());
    ///     child.kill()?;
    ///     assert!(child.join().unwrap_err().to_string().ends_with("signal 9 (SIGKILL)"));
    ///     Ok(())
    /// }
    /// ```
    pub fn join_timeout(&self, timeout: Duration) -> Result<Option<T>> {
        self.child.join(Wait::timeout(timeout), self.read)
    }

    /// As [`join_timeout`](Self::join_timeout), until `deadline`.
    ///
    /// # Errors
    ///
    /// As [`join`](Self::join).
    ///
    /// # Examples
    ///
    /// See [`join_timeout`](Self::join_timeout).
    pub fn join_deadline(&self, deadline: Instant) -> Result<Option<T>> {
        self.child.join(Wait::deadline(deadline), self.read)
    }

    /// Waits for the end, and for nothing else: what the process has written may not have been passed on.
    pub(super) fn wait_for_end(&self, wait: Wait) -> bool {
        self.child.wait_for_end(wait)
    }

    /// What waits for the end, whatever becomes of this handle. The error is nobody's if that has been joined.
    pub(super) fn waiter(&self) -> impl Fn() -> Result<()> + use<T> {
        let (child, read) = (Arc::clone(&self.child), self.read);
        move || if child.is_taken.load(Relaxed) { Ok(()) } else { child.join_without_input(read).map(drop) }
    }

    /// Ends it in good order: asks it to end ([`terminate`](Self::terminate)), gives it time, and then ends it
    /// ([`kill`](Self::kill)). Returns how it ended; [`join`](Self::join) still has what it returned, if it did, and waits
    /// for its [lines](super::Builder::prefix_lines) to be passed on, which this does for as long as `grace` at most.
    ///
    /// # Errors
    ///
    /// [`Error::Os`]; [`Error::InvalidArgument`] as [`join`](Self::join).
    ///
    /// # Examples
    ///
    /// ```standalone_crate
    /// use std::time::Duration;
    /// use shmkit::{Process, Result, process::ExitStatus};
    ///
    /// fn main() -> Result<()> {
    ///     shmkit::init();
    ///     let child = Process::spawn(|| std::thread::sleep(Duration::from_secs(60)), ())?;
    ///     assert_eq!(child.shutdown(Duration::from_secs(10))?, ExitStatus::Signal(15));
    ///     Ok(())
    /// }
    /// ```
    pub fn shutdown(&self, grace: Duration) -> Result<ExitStatus> {
        self.terminate()?;
        if let Some((_, status)) = self.child.wait(Wait::timeout(grace))? {
            return Ok(status);
        }
        self.kill()?;
        loop {
            if let Some(status) = self.exit_status() {
                return Ok(status);
            }
            self.child.sleep_until_end(Wait::Forever)?;
        }
    }

    /// What goes to its standard input, once, if that is [piped](super::Stdio::piped). Dropping it ends that.
    ///
    /// # Examples
    ///
    /// See [`Stdio`](super::Stdio).
    pub fn take_stdin(&self) -> Option<PipeWriter> {
        self.child.pipes().stdin.take()
    }

    /// What comes from its standard output, once, if that is [piped](super::Stdio::piped).
    ///
    /// It ends when nobody can write into it any more: the process has ended, and all that have its streams from it.
    ///
    /// # Examples
    ///
    /// See [`Stdio`](super::Stdio).
    pub fn take_stdout(&self) -> Option<PipeReader> {
        self.child.pipes().stdout.take()
    }

    /// What comes from its standard errors, once, if they are [piped](super::Stdio::piped).
    ///
    /// # Examples
    ///
    /// ```standalone_crate
    /// use std::io::Read;
    /// use shmkit::{Process, process::Stdio};
    ///
    /// fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     shmkit::init();
    ///     let child = Process::builder(|| -> () { panic!("on purpose") }).stderr(Stdio::piped()).start()?;
    ///     let mut text = String::new();
    ///     child.take_stderr().unwrap().read_to_string(&mut text)?;
    ///     assert!(text.contains("on purpose"));
    ///     assert!(child.join().is_err());
    ///     Ok(())
    /// }
    /// ```
    pub fn take_stderr(&self) -> Option<PipeReader> {
        self.child.pipes().stderr.take()
    }

    /// The process id.
    ///
    /// # Examples
    ///
    /// See [`state`](Self::state).
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.pid
    }

    /// The name: the one that the [builder](super::Builder::name) was given, or a number.
    ///
    /// # Examples
    ///
    /// See [`state`](Self::state).
    #[must_use]
    pub fn name(&self) -> &str {
        &self.child.name
    }

    /// Whether it dies with this process.
    ///
    /// # Examples
    ///
    /// See [`Builder::daemon`](super::Builder::daemon).
    #[must_use]
    pub fn is_daemon(&self) -> bool {
        self.child.daemon
    }

    /// Whether it has not ended.
    ///
    /// # Examples
    ///
    /// See [`state`](Self::state).
    #[must_use]
    pub fn is_alive(&self) -> bool {
        !self.child.has_ended()
    }

    /// What it is doing now. While `/proc` cannot be read, a process that has not ended is taken to run.
    ///
    /// # Examples
    ///
    /// ```standalone_crate
    /// use shmkit::{Process, Result, process::State};
    ///
    /// fn main() -> Result<()> {
    ///     shmkit::init();
    ///     let child = Process::builder(|| {}).name("worker").start()?;
    ///     assert_ne!(child.pid(), std::process::id());
    ///     assert_eq!(child.name(), "worker");
    ///     child.join()?;
    ///     assert!(!child.is_alive());
    ///     assert_eq!(child.state(), State::Terminated);
    ///     assert!(child.exit_status().is_some_and(|status| status.success()));
    ///     Ok(())
    /// }
    /// ```
    #[must_use]
    pub fn state(&self) -> State {
        self.child.state()
    }

    /// How it ended; `None` while it has not.
    ///
    /// # Examples
    ///
    /// See [`state`](Self::state).
    #[must_use]
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.child.status()
    }

    /// Asks it to end (SIGTERM). Nothing happens if it has.
    ///
    /// # Errors
    ///
    /// [`Error::Os`].
    ///
    /// # Examples
    ///
    /// See [`join_timeout`](Self::join_timeout).
    pub fn terminate(&self) -> Result<()> {
        self.child.signal(libc::SIGTERM)
    }

    /// Ends it at once (SIGKILL). Nothing happens if it has ended.
    ///
    /// # Errors
    ///
    /// [`Error::Os`].
    ///
    /// # Examples
    ///
    /// See [`join_timeout`](Self::join_timeout).
    pub fn kill(&self) -> Result<()> {
        self.child.signal(libc::SIGKILL)
    }
}

/// The descriptor that becomes readable when the process has ended: a pidfd.
impl<T> AsFd for Process<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.child.sentinel.as_fd()
    }
}

impl<T> Drop for Process<T> {
    fn drop(&mut self) {
        self.child.close_pipes();
        if !self.child.is_ours() {
            // A fork's copy: the starter sees to it.
        } else if self.child.has_ended() {
            family::forget(&self.child);
        } else {
            family::abandon();
        }
    }
}

impl<T> fmt::Debug for Process<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("pid", &self.pid())
            .field("name", &self.name())
            .field("daemon", &self.is_daemon())
            .field("status", &self.exit_status())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{os::packet, process::report};

    #[test]
    fn one_that_ended_before_it_could_be_watched() {
        let mut program = process::Command::new("true").spawn().unwrap();
        program.wait().unwrap();
        let (ours, theirs) = packet::pair().unwrap();
        report::send(&theirs, &Report::Returned(7_u32));
        let child = Child::new(program.id(), None, "true".into(), false, ours, Prepared::default()).unwrap();
        let child = Process::<u32>::new(child);
        assert_eq!((child.is_alive(), child.exit_status()), (false, Some(ExitStatus::Unknown)));
        assert!(poll::is_readable(&child.child.sentinel, Wait::No).unwrap());
        child.terminate().unwrap();
        child.kill().unwrap();
        assert_eq!(child.join().unwrap(), 7);
    }
}
