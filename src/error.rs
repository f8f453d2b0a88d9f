//! The one error type of the crate, and what is known of a death.
//!
//! Variants are the caller's choices: each asks for another action. Errors carry no guard and no borrow, so that `?`
//! works under any error type of the user's, and they can be sent between processes without losing their variant.

use std::{fmt, io, ops::Range};

use serde::{Deserialize, Serialize};

/// The result of every fallible operation of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong.
///
/// # Examples
///
/// ```
/// # fn main() -> shmkit::Result<()> {
/// let lock = shmkit::Lock::new()?;
/// let held = lock.lock()?;
/// assert!(lock.try_lock().unwrap_err().is_would_block());
/// # drop(held);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Error {
    /// A process died, or a thread panicked, while it held the lock; the lock is not held by the caller now.
    ///
    /// `recover()` takes the lock all the same, so that the data can be repaired.
    #[error("poisoned: {} {}", Died(*.pid), Where(.range))]
    Poisoned {
        /// The process that died, where the kernel or its own record still told.
        pid: Option<u32>,
        /// The elements it was changing, where that is known; `None` means all of them.
        range: Option<Range<usize>>,
    },

    /// A `try_` operation could not go on at once.
    #[error("would block")]
    WouldBlock,

    /// The time-out or deadline passed.
    #[error("timed out")]
    TimedOut,

    /// The calling thread holds this lock already, or a thread of this process forgot its guard and ended: waiting
    /// would never end.
    #[error("this thread holds the lock already, or a thread of this process ended without releasing it")]
    WouldDeadlock,

    /// The calling thread holds as many locks as the kernel could release for it if it died.
    #[error("this thread holds {limit} locks already, the most that can be recovered if it dies")]
    TooManyLocks {
        /// The number of locks that one thread can hold.
        limit: usize,
    },

    /// As many parts of the array are claimed as its table has room for.
    #[error("{limit} parts of the array are claimed already, the most that its table has room for")]
    TooManyClaims {
        /// The number of claims that there can be at a time.
        limit: usize,
    },

    /// As many processes use what needs members in this region as it has slots for.
    #[error(
        "{limit} processes are members of the region already, the most that it was made for (RegionOptions::members)"
    )]
    TooManyMembers {
        /// The number of slots.
        limit: usize,
    },

    /// As many threads wait for the condition as it has places for.
    #[error("{limit} threads wait for the condition already, the most that can")]
    TooManyWaiters {
        /// The number of places.
        limit: usize,
    },

    /// A party of the barrier died or left, ran out of time, failed in the action, or the barrier was aborted or reset:
    /// nobody passes until it is [reset](crate::Barrier::reset).
    #[error("the barrier is broken{}", By(.pid))]
    BarrierBroken {
        /// The process that died or left, where that was the cause.
        pid: Option<u32>,
    },

    /// The channel is closed, and nothing is left in it for those who take out.
    #[error("the channel is closed")]
    Closed,

    /// Nobody else has the queue any more, so nothing will come, and nobody take anything out.
    #[error("every other process that had the queue is gone")]
    Disconnected,

    /// Processes died before they declared done what they had taken from a queue.
    #[error("{tasks} tasks were lost with the processes that had taken them")]
    TasksLost {
        /// How many. They are not done, until somebody declares them so.
        tasks: usize,
    },

    /// A message is longer than the channel has room for.
    #[error("a message of {size} bytes where there is room for {limit}")]
    TooLarge {
        /// Bytes of the message.
        size: u64,
        /// Bytes that a message can have at most.
        limit: u64,
    },

    /// A message is longer than the buffer that it was to be received in.
    #[error("a message of {} bytes for a buffer of {room}", message.len())]
    BufferTooShort {
        /// The message, so that it is not lost.
        message: Vec<u8>,
        /// Bytes of the buffer.
        room: usize,
    },

    /// The process that took a request died or dropped it, so that nobody will answer; or nobody took it any more.
    #[error("nobody will answer the request")]
    NoReply,

    /// Another one is the producer, or the consumer, of a ring that has room for one.
    #[error("this end of the ring is taken{}", Whose(.pid))]
    RoleTaken {
        /// Its process, which may be this one.
        pid: Option<u32>,
    },

    /// A region, file or object of this name exists.
    #[error("{name:?} exists already")]
    AlreadyExists {
        /// The name or path asked for.
        name: String,
    },

    /// No region, file or object has this name.
    #[error("{name:?} does not exist")]
    NotFound {
        /// The name or path asked for.
        name: String,
    },

    /// The region is being made, or its maker died on the way: `open_or_create` finishes it.
    #[error("{name:?} is not ready: its creator is still at work, or died")]
    NotReady {
        /// The name or path asked for.
        name: String,
    },

    /// The name cannot be the name of a region or object.
    #[error("invalid name {name:?}: {reason}")]
    InvalidName {
        /// The name given.
        name: String,
        /// What is wrong with it.
        reason: String,
    },

    /// What was found is not a region of this crate.
    #[error("not a region of shmkit: {reason}")]
    NotARegion {
        /// What gave it away.
        reason: String,
    },

    /// The region was made by this crate, or the message came through a channel of it, but the contents contradict
    /// themselves.
    #[error("corrupt contents: {reason}")]
    Corrupt {
        /// What is wrong, and how.
        reason: String,
    },

    /// The region has a layout of another version of this crate.
    #[error("the region has layout version {found}, this program knows version {expected}")]
    VersionMismatch {
        /// The version of this program.
        expected: u32,
        /// The version in the region.
        found: u32,
    },

    /// The region was made by a program with another byte order or pointer width.
    #[error("the region was made on another kind of machine: {reason}")]
    OtherPlatform {
        /// What differs.
        reason: String,
    },

    /// The region belongs to another user, or others may write to it.
    #[error("{name:?} is not safe to open: {reason}")]
    WrongOwner {
        /// The name or path asked for.
        name: String,
        /// Whose it is, or which permission is too wide.
        reason: String,
    },

    /// The region's locks belong to another process-id namespace (another container, say).
    #[error("the region belongs to another pid namespace ({found}, this process is in {expected})")]
    OtherPidNamespace {
        /// The inode of this process's namespace.
        expected: u64,
        /// The inode of the creator's namespace.
        found: u64,
    },

    /// The object has another kind, type or shape.
    #[error("type mismatch: expected {expected}, found {found}")]
    TypeMismatch {
        /// What the caller asked for.
        expected: String,
        /// What is on record.
        found: String,
    },

    /// A size or shape cannot be represented, or does not fit the data.
    #[error("invalid size: {reason}")]
    InvalidSize {
        /// What is wrong with it, with the numbers.
        reason: String,
    },

    /// An index lies outside the array.
    #[error("index {index} is out of range for shape {shape}")]
    OutOfRange {
        /// The index or range, as it was given.
        index: String,
        /// The shape of the array.
        shape: String,
    },

    /// A dict of a manager has no such key, or a namespace no such attribute.
    #[error("no key {key}")]
    KeyNotFound {
        /// The key, as Python would show it.
        key: String,
    },

    /// A list of a manager has no such value.
    #[error("no value {value}")]
    ValueNotFound {
        /// The value, as Python would show it.
        value: String,
    },

    /// A list of a manager has no such place.
    #[error("index {index} is out of range for a list of {len}")]
    IndexOutOfRange {
        /// The index, as it was given.
        index: i64,
        /// The length of the list.
        len: usize,
    },

    /// Keys came or went while the dict was iterated.
    #[error("the dict has changed while it was iterated")]
    ChangedMeanwhile,

    /// The server of the manager has ended, or was shut down.
    #[error("the manager's server is gone")]
    ManagerGone,

    /// The region has no room for the object.
    #[error("the region is full: need {needed} bytes, {left} left")]
    RegionFull {
        /// The bytes the object takes.
        needed: u64,
        /// The bytes that are left.
        left: u64,
    },

    /// The machine, its shared-memory file system or a memory limit has no room for the region or message.
    #[error("not enough memory: need {needed} bytes, {left} left {place}")]
    OutOfMemory {
        /// The bytes it takes.
        needed: u64,
        /// The bytes that are left.
        left: u64,
        /// Where.
        place: String,
    },

    /// The region was opened read-only.
    #[error("the region is read-only")]
    ReadOnly,

    /// The machine, kernel or file system lacks what was asked for.
    #[error("not supported: {reason}")]
    Unsupported {
        /// What is missing.
        reason: String,
    },

    /// An argument has no meaning.
    #[error("invalid argument: {reason}")]
    InvalidArgument {
        /// What is wrong with it.
        reason: String,
    },

    /// A value could not be sent to, or read in, another process.
    #[error("{type_name} cannot travel: {reason}")]
    NotSendable {
        /// The type of the value.
        type_name: String,
        /// Why it cannot.
        reason: String,
    },

    /// `shmkit::init()` has not run in this program's `main`.
    #[error(
        "shmkit::init() has not been called: add `shmkit::init();` as the first line of `main` \
         (in tests: `shmkit::init_in_tests!();` once at the top of the file), or the child would run `main` again"
    )]
    NotInitialised,

    /// This process is a daemon, which starts no processes unless that was asked for.
    #[error(
        "process {name} is a daemon and may not start processes, for they could be left behind: \
         if it is to, start it with `Process::builder(..).may_have_children(true)`"
    )]
    ChildOfDaemon {
        /// The name of the daemon.
        name: String,
    },

    /// Forking now would copy what must not be copied.
    #[error("fork refused: {reason}")]
    ForkRefused {
        /// What is in the way.
        reason: String,
    },

    /// The server that starts processes died, and so did those that replaced it.
    #[error("the fork server died before it could start the process, and so did those that replaced it: {status}")]
    ForkServerDied {
        /// How the last one ended, for example `exit code 1`.
        status: String,
    },

    /// The child runs another executable than its parent.
    #[error("the child runs another executable than its parent: {reason}")]
    OtherExecutable {
        /// How that was seen.
        reason: String,
    },

    /// A child ended before it reported a result.
    #[error("process {pid} died before it reported a result: {status}")]
    ChildDied {
        /// The child.
        pid: u32,
        /// How it ended, for example `signal 9 (SIGKILL)`.
        status: String,
    },

    /// The child's function panicked.
    #[error("process {pid} panicked at {location}: {message}")]
    Panicked {
        /// The child.
        pid: u32,
        /// The panic message.
        message: String,
        /// File, line and column.
        location: String,
    },

    /// The pool takes no more tasks, or was ended before this one was done.
    #[error("the pool is closed")]
    PoolClosed,

    /// The child's function returned an error of the user's own type.
    #[error("{message}")]
    Failed {
        /// The error, as `{:#}` shows it.
        message: String,
    },

    /// The operating system refused.
    #[error("{operation} failed")]
    Os {
        /// What was tried.
        operation: String,
        /// Why it was refused.
        #[source]
        #[serde(with = "os_error")]
        source: io::Error,
    },
}

impl Error {
    /// Tells whether a `try_` operation could not go on at once.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(shmkit::Error::WouldBlock.is_would_block());
    /// ```
    #[must_use]
    pub fn is_would_block(&self) -> bool {
        matches!(self, Self::WouldBlock)
    }

    /// Tells whether a time-out or deadline passed.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(shmkit::Error::TimedOut.is_timed_out());
    /// ```
    #[must_use]
    pub fn is_timed_out(&self) -> bool {
        matches!(self, Self::TimedOut)
    }

    /// Tells whether a lock was found poisoned, so that `recover()` is the way on.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(shmkit::Error::Poisoned { pid: Some(7), range: None }.is_poisoned());
    /// ```
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        matches!(self, Self::Poisoned { .. })
    }

    /// Wraps what the operating system said about `operation`.
    pub(crate) fn os(operation: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::Os { operation: operation.into(), source: source.into() }
    }

    pub(crate) fn corrupt(reason: impl Into<String>) -> Self {
        Self::Corrupt { reason: reason.into() }
    }

    pub(crate) fn unsupported(reason: impl Into<String>) -> Self {
        Self::Unsupported { reason: reason.into() }
    }

    pub(crate) fn invalid_argument(reason: impl Into<String>) -> Self {
        Self::InvalidArgument { reason: reason.into() }
    }

    pub(crate) fn invalid_size(reason: impl Into<String>) -> Self {
        Self::InvalidSize { reason: reason.into() }
    }
}

/// What poisoned a lock: the death of the process that held it, or a panic of the thread that held it.
///
/// # Examples
///
/// ```
/// # fn main() -> shmkit::Result<()> {
/// let value = shmkit::Value::new(1)?;
/// let mut guard = value.recover()?;
/// if let Some(death) = guard.poison() {
///     eprintln!("{death}");
///     *guard = 0;
///     guard.clear_poison();
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Poison {
    /// The process that died or panicked, where that is known.
    pub pid: Option<u32>,
    /// The elements it was changing, where that is known; `None` means all of them.
    pub range: Option<Range<usize>>,
}

impl fmt::Display for Poison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", Died(self.pid), Where(&self.range))
    }
}

impl From<Poison> for Error {
    fn from(Poison { pid, range }: Poison) -> Self {
        Self::Poisoned { pid, range }
    }
}

struct Whose<'a>(&'a Option<u32>);

impl fmt::Display for Whose<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |pid| write!(f, " by process {pid}"))
    }
}

struct Died(Option<u32>);

impl fmt::Display for Died {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(pid) => write!(f, "process {pid} died or panicked"),
            None => f.write_str("a process died or panicked"),
        }
    }
}

struct By<'a>(&'a Option<u32>);

impl fmt::Display for By<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(pid) => write!(f, ": process {pid} died or left"),
            None => Ok(()),
        }
    }
}

struct Where<'a>(&'a Option<Range<usize>>);

impl fmt::Display for Where<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(range) => write!(f, "while it was changing elements {} to {}", range.start, range.end),
            None => f.write_str("while it held the lock"),
        }
    }
}

/// `io::Error` through serde: its number where it has one, else its text.
mod os_error {
    use std::io;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    enum Wire {
        Number(i32),
        Text(String),
    }

    pub(super) fn serialize<S: Serializer>(error: &io::Error, serializer: S) -> Result<S::Ok, S::Error> {
        match error.raw_os_error() {
            Some(number) => Wire::Number(number),
            None => Wire::Text(error.to_string()),
        }
        .serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<io::Error, D::Error> {
        Ok(match Wire::deserialize(deserializer)? {
            Wire::Number(number) => io::Error::from_raw_os_error(number),
            Wire::Text(text) => io::Error::other(text),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_survive_the_wire() {
        let sent = Error::os("mmap", io::Error::from_raw_os_error(12));
        let bytes = postcard::to_stdvec(&sent).unwrap();
        let Error::Os { operation, source } = postcard::from_bytes(&bytes).unwrap() else { panic!("another variant") };
        assert_eq!((operation.as_str(), source.raw_os_error()), ("mmap", Some(12)));
    }

    #[test]
    fn works_under_boxed_errors() {
        fn assert<T: std::error::Error + Send + Sync + 'static>() {}
        assert::<Error>();
    }

    #[test]
    fn poison_says_who_and_where() {
        let text = Error::Poisoned { pid: Some(7), range: Some(3..9) }.to_string();
        assert_eq!(text, "poisoned: process 7 died or panicked while it was changing elements 3 to 9");
    }
}
