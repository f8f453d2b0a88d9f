//! What a process is doing, and how it ended.

use std::fmt;

/// How a process ended.
///
/// # Examples
///
/// ```
/// use shmkit::process::ExitStatus;
///
/// assert_eq!(ExitStatus::Signal(9).to_string(), "signal 9 (SIGKILL)");
/// assert_eq!(ExitStatus::Code(3).to_string(), "exit code 3");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExitStatus {
    /// It exited with this code: 0 after a value, 1 after an error, 101 after a panic.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
    /// Something else in this program has waited for it, or ignores SIGCHLD, and took the answer.
    Unknown,
}

impl ExitStatus {
    /// Whether it exited with code 0.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(shmkit::process::ExitStatus::Code(0).success());
    /// ```
    #[must_use]
    pub fn success(self) -> bool {
        self == Self::Code(0)
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => match SIGNALS.iter().find(|(number, _)| *number == signal) {
                Some((_, name)) => write!(f, "signal {signal} ({name})"),
                None => write!(f, "signal {signal}"),
            },
            Self::Unknown => f.write_str("an exit status that was taken by other code"),
        }
    }
}

const SIGNALS: [(i32, &str); 12] = [
    (libc::SIGHUP, "SIGHUP"),
    (libc::SIGINT, "SIGINT"),
    (libc::SIGQUIT, "SIGQUIT"),
    (libc::SIGILL, "SIGILL"),
    (libc::SIGTRAP, "SIGTRAP"),
    (libc::SIGABRT, "SIGABRT"),
    (libc::SIGBUS, "SIGBUS"),
    (libc::SIGFPE, "SIGFPE"),
    (libc::SIGKILL, "SIGKILL"),
    (libc::SIGSEGV, "SIGSEGV"),
    (libc::SIGPIPE, "SIGPIPE"),
    (libc::SIGTERM, "SIGTERM"),
];

/// What a process is doing.
///
/// # Examples
///
/// See [`Process::state`](super::Process::state).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// It runs, or waits for a processor.
    Running,
    /// It waits for something.
    Blocked,
    /// A signal or a debugger has stopped it.
    Stopped,
    /// It has ended.
    Terminated,
}
