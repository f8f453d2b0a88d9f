//! What each function returns, and what is known of the last failure.

#![expect(unsafe_code, reason = "exports functions, and writes through pointers of C")]

use std::{
    any::Any,
    cell::RefCell,
    ffi::{CString, c_char},
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    ptr,
};

use crate::{Error, Poison};

/// What every function returns: `SHMKIT_OK`, which is 0, or what went wrong.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum shmkit_status {
    /// It is done.
    SHMKIT_OK = 0,
    /// With SHMKIT_TRY: it could not be done at once.
    SHMKIT_WOULD_BLOCK = 1,
    /// The time-out or deadline passed.
    SHMKIT_TIMED_OUT = 2,
    /// A process died while it held the lock, which is not held by the caller now: `..._recover` takes it all the same.
    /// shmkit_last_pid() says who died, shmkit_last_range() which elements it was changing.
    SHMKIT_POISONED = 3,
    /// This thread holds the lock already: it would wait for itself.
    SHMKIT_WOULD_DEADLOCK = 4,
    /// This thread does not hold what it wanted to release.
    SHMKIT_NOT_HELD = 5,
    /// The handle is null, was closed, or is one of another kind.
    SHMKIT_BAD_HANDLE = 6,
    /// An argument is null that must not be, or means nothing here.
    SHMKIT_INVALID_ARGUMENT = 7,
    /// The barrier is broken until it is reset. shmkit_last_pid() says who died, if that was the cause.
    SHMKIT_BARRIER_BROKEN = 8,
    /// The ring or queue is closed, and empty for those who take out.
    SHMKIT_CLOSED = 9,
    /// Nobody else has the queue any more.
    SHMKIT_DISCONNECTED = 10,
    /// Processes died before they declared done what they had taken from a queue.
    SHMKIT_TASKS_LOST = 11,
    /// The message is longer than the queue has room for.
    SHMKIT_TOO_LARGE = 12,
    /// The message is longer than the buffer: it waits for a longer one.
    SHMKIT_BUFFER_TOO_SHORT = 13,
    /// There is something of this name already.
    SHMKIT_ALREADY_EXISTS = 14,
    /// There is nothing of this name.
    SHMKIT_NOT_FOUND = 15,
    /// It is being made, or its maker died on the way: `..._open_or_create` finishes it.
    SHMKIT_NOT_READY = 16,
    /// The name cannot be a name.
    SHMKIT_INVALID_NAME = 17,
    /// What was found is no region of shmkit, or its contents contradict themselves.
    SHMKIT_CORRUPT = 18,
    /// The region was made by a version of shmkit with another layout, or on another kind of machine.
    SHMKIT_VERSION_MISMATCH = 19,
    /// The region is another user's, others may write to it, or it belongs to another pid namespace.
    SHMKIT_WRONG_OWNER = 20,
    /// The object has another kind, type or shape.
    SHMKIT_TYPE_MISMATCH = 21,
    /// An index or range lies outside the array.
    SHMKIT_OUT_OF_RANGE = 22,
    /// As many threads, processes or claims as there is room for.
    SHMKIT_TOO_MANY = 23,
    /// The region has no room for the object.
    SHMKIT_REGION_FULL = 24,
    /// The machine has no memory for it.
    SHMKIT_OUT_OF_MEMORY = 25,
    /// The region was opened for reading only.
    SHMKIT_READ_ONLY = 26,
    /// The machine, kernel or file system lacks it.
    SHMKIT_UNSUPPORTED = 27,
    /// The system refused.
    SHMKIT_OS = 28,
    /// A bug in shmkit, or in the function that was to be called. shmkit_last_error() has the message.
    SHMKIT_PANICKED = 29,
    /// Whatever else there is.
    SHMKIT_OTHER = 30,
}

use shmkit_status::*;

/// Why a function fails.
#[derive(Debug)]
pub(super) enum Failure {
    Error(Error),
    NotHeld,
    BadHandle(&'static str),
    Null(&'static str),
    BufferTooShort { needed: usize, size: usize },
    Panicked(String),
}

pub(super) type Result<T, E = Failure> = std::result::Result<T, E>;

impl From<Error> for Failure {
    #[inline]
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl Failure {
    fn status(&self) -> shmkit_status {
        match self {
            Self::NotHeld => SHMKIT_NOT_HELD,
            Self::BadHandle(_) => SHMKIT_BAD_HANDLE,
            Self::Null(_) => SHMKIT_INVALID_ARGUMENT,
            Self::BufferTooShort { .. } => SHMKIT_BUFFER_TOO_SHORT,
            Self::Panicked(_) => SHMKIT_PANICKED,
            Self::Error(error) => match error {
                Error::WouldBlock => SHMKIT_WOULD_BLOCK,
                Error::TimedOut => SHMKIT_TIMED_OUT,
                Error::Poisoned { .. } => SHMKIT_POISONED,
                Error::WouldDeadlock => SHMKIT_WOULD_DEADLOCK,
                Error::TooManyLocks { .. }
                | Error::TooManyClaims { .. }
                | Error::TooManyMembers { .. }
                | Error::TooManyWaiters { .. } => SHMKIT_TOO_MANY,
                Error::BarrierBroken { .. } => SHMKIT_BARRIER_BROKEN,
                Error::Closed => SHMKIT_CLOSED,
                Error::Disconnected => SHMKIT_DISCONNECTED,
                Error::TasksLost { .. } => SHMKIT_TASKS_LOST,
                Error::TooLarge { .. } => SHMKIT_TOO_LARGE,
                Error::BufferTooShort { .. } => SHMKIT_BUFFER_TOO_SHORT,
                Error::AlreadyExists { .. } => SHMKIT_ALREADY_EXISTS,
                Error::NotFound { .. } => SHMKIT_NOT_FOUND,
                Error::NotReady { .. } => SHMKIT_NOT_READY,
                Error::InvalidName { .. } => SHMKIT_INVALID_NAME,
                Error::NotARegion { .. } | Error::Corrupt { .. } => SHMKIT_CORRUPT,
                Error::VersionMismatch { .. } | Error::OtherPlatform { .. } => SHMKIT_VERSION_MISMATCH,
                Error::WrongOwner { .. } | Error::OtherPidNamespace { .. } => SHMKIT_WRONG_OWNER,
                Error::TypeMismatch { .. } => SHMKIT_TYPE_MISMATCH,
                Error::InvalidArgument { .. } | Error::InvalidSize { .. } => SHMKIT_INVALID_ARGUMENT,
                Error::OutOfRange { .. } => SHMKIT_OUT_OF_RANGE,
                Error::RegionFull { .. } => SHMKIT_REGION_FULL,
                Error::OutOfMemory { .. } => SHMKIT_OUT_OF_MEMORY,
                Error::ReadOnly => SHMKIT_READ_ONLY,
                Error::Unsupported { .. } => SHMKIT_UNSUPPORTED,
                Error::Os { .. } => SHMKIT_OS,
                _ => SHMKIT_OTHER,
            },
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Error(error @ Error::Os { source, .. }) => format!("{error}: {source}"),
            Self::Error(error) => error.to_string(),
            Self::NotHeld => "this thread does not hold it".into(),
            Self::BadHandle(kind) => format!("no handle of a {kind}, or one that was closed"),
            Self::Null(what) => format!("{what} is null"),
            Self::BufferTooShort { needed, size } => format!("a message of {needed} bytes for a buffer of {size}"),
            Self::Panicked(message) => format!("panicked: {message}"),
        }
    }

    fn pid(&self) -> Option<u32> {
        match self {
            Self::Error(Error::Poisoned { pid, .. } | Error::BarrierBroken { pid }) => *pid,
            _ => None,
        }
    }

    fn range(&self) -> Option<&Range<usize>> {
        match self {
            Self::Error(Error::Poisoned { range, .. }) => range.as_ref(),
            _ => None,
        }
    }
}

/// The last failure of this thread, and its text once that was asked for.
struct Last {
    failure: Option<Failure>,
    text: Option<CString>,
}

thread_local! {
    static LAST: RefCell<Last> = const { RefCell::new(Last { failure: None, text: None }) };
}

/// Runs the body of a function, and turns what it returns into a status: no panic goes past this.
#[inline(always)]
pub(super) fn report(body: impl FnOnce() -> Result<()>) -> shmkit_status {
    // Unwind safe: what a panic leaves half done in shared memory is what a death leaves; locals are gone.
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => SHMKIT_OK,
        Ok(Err(failure)) => failed(failure),
        Err(panic) => failed(Failure::Panicked(message(&*panic))),
    }
}

#[cold]
fn failed(failure: Failure) -> shmkit_status {
    let status = failure.status();
    // A thread at its end keeps nothing.
    let _ = LAST.try_with(|last| *last.borrow_mut() = Last { failure: Some(failure), text: None });
    status
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").into()
}

/// Where a function leaves a result. Null is an error.
#[inline(always)]
pub(super) fn put<T>(out: Option<&mut T>, value: T, what: &'static str) -> Result<()> {
    *out.ok_or(Failure::Null(what))? = value;
    Ok(())
}

/// Gives C what is known of the poison of a lock that is held.
pub(super) fn put_poison(poison: Option<Poison>, poisoned: Option<&mut bool>, pid: Option<&mut u32>) -> Result<()> {
    put(poisoned, poison.is_some(), "poisoned")?;
    put(pid, poison.and_then(|poison| poison.pid).unwrap_or(0), "pid")
}

/// The text of the last failure in this thread, or an empty one. It stands until the next failure in this thread.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_last_error() -> *const c_char {
    let text = LAST.try_with(|last| {
        let Last { failure, text } = &mut *last.borrow_mut();
        let failure = failure.as_ref()?;
        let made = text.get_or_insert_with(|| CString::new(failure.text().replace('\0', "?")).unwrap_or_default());
        Some(made.as_ptr())
    });
    text.ok().flatten().unwrap_or(c"".as_ptr())
}

/// The process whose death the last failure in this thread tells of; 0 if it tells of none, or it is not known.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_last_pid() -> u32 {
    LAST.try_with(|last| last.borrow().failure.as_ref().and_then(Failure::pid)).ok().flatten().unwrap_or(0)
}

/// The elements that a dead process was changing, from `*start` to before `*end`, as the last failure in this thread tells.
/// Returns false if it tells of none in particular: then it may be all of them.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_last_range(start: Option<&mut usize>, end: Option<&mut usize>) -> bool {
    let range = LAST.try_with(|last| last.borrow().failure.as_ref().and_then(|failure| failure.range().cloned()));
    let (Some(range), Some(start), Some(end)) = (range.ok().flatten(), start, end) else { return false };
    (*start, *end) = (range.start, range.end);
    true
}

/// The version of the library, such as "0.1.0".
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    ptr::from_ref(VERSION).cast()
}
