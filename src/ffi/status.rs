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

/// The number of the ABI: programs that were compiled with another one need another library. While it is 0 any version of
/// shmkit may change it. What never changes: statuses keep their numbers, and new ones get new numbers.
pub const SHMKIT_ABI: u32 = 0;
/// The version of this header.
pub const SHMKIT_VERSION_MAJOR: u32 = 0;
pub const SHMKIT_VERSION_MINOR: u32 = 1;
pub const SHMKIT_VERSION_PATCH: u32 = 0;

const fn is(number: u32, text: &str) -> bool {
    matches!(u32::from_str_radix(text, 10), Ok(found) if found == number)
}
const _: () = assert!(is(SHMKIT_VERSION_MAJOR, env!("CARGO_PKG_VERSION_MAJOR")));
const _: () = assert!(is(SHMKIT_VERSION_MINOR, env!("CARGO_PKG_VERSION_MINOR")));
const _: () = assert!(is(SHMKIT_VERSION_PATCH, env!("CARGO_PKG_VERSION_PATCH")));

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
    /// A process died while it held the lock. What was to take the lock has not taken it, and `..._recover` does all the
    /// same; but shmkit_condvar_wait has it, as always. shmkit_last_pid() says who died, shmkit_last_range() which elements
    /// it was changing.
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
    /// Nobody else has the queue any more, and so what is waited for never comes.
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
    /// The role at this end of the ring is another's.
    SHMKIT_ROLE_TAKEN = 31,
    /// The function that was to be called returned that it failed.
    SHMKIT_FAILED = 32,
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
                Error::RoleTaken { .. } => SHMKIT_ROLE_TAKEN,
                Error::Failed { .. } => SHMKIT_FAILED,
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
            Self::Error(Error::Poisoned { pid, .. } | Error::BarrierBroken { pid } | Error::RoleTaken { pid }) => *pid,
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

/// Where a function leaves its result. Null is an error.
#[inline(always)]
pub(super) fn put<T>(out: *mut T, value: T, what: &'static str) -> Result<()> {
    if out.is_null() {
        return Err(Failure::Null(what));
    }
    put_if_wanted(out, value);
    Ok(())
}

/// Where a function leaves one of its results. Null is nowhere. No reference is made of the pointer: the variable may be
/// uninitialised, and that of another result too.
#[inline(always)]
pub(super) fn put_if_wanted<T>(out: *mut T, value: T) {
    if !out.is_null() {
        // SAFETY: by the contract a variable of this type.
        unsafe { out.write(value) };
    }
}

/// Gives C what is known of the poison of a lock that is held.
pub(super) fn put_poison(poison: Option<Poison>, poisoned: *mut bool, pid: *mut u32) {
    put_if_wanted(poisoned, poison.is_some());
    put_if_wanted(pid, poison.and_then(|poison| poison.pid).unwrap_or(0));
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

/// The process whose death the last failure in this thread tells of, or which has the role that was wanted; 0 if it tells of
/// none, or it is not known.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_last_pid() -> u32 {
    LAST.try_with(|last| last.borrow().failure.as_ref().and_then(Failure::pid)).ok().flatten().unwrap_or(0)
}

/// The elements that a dead process was changing, from `*start` to before `*end`, as the last failure in this thread tells.
/// Returns false if it tells of none in particular: then it may be all of them.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_last_range(start: *mut usize, end: *mut usize) -> bool {
    let range = LAST.try_with(|last| last.borrow().failure.as_ref().and_then(|failure| failure.range().cloned()));
    let Some(range) = range.ok().flatten() else { return false };
    put_if_wanted(start, range.start);
    put_if_wanted(end, range.end);
    true
}

/// The name of a status, such as "SHMKIT_OK"; an empty text if there is none of this number.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_status_name(status: i32) -> *const c_char {
    macro_rules! name_of {
        ($($name:ident)*) => {
            $(if status == $name as i32 {
                return ptr::from_ref(concat!(stringify!($name), "\0")).cast();
            })*
        };
    }
    name_of!(SHMKIT_OK SHMKIT_WOULD_BLOCK SHMKIT_TIMED_OUT SHMKIT_POISONED SHMKIT_WOULD_DEADLOCK SHMKIT_NOT_HELD
        SHMKIT_BAD_HANDLE SHMKIT_INVALID_ARGUMENT SHMKIT_BARRIER_BROKEN SHMKIT_CLOSED SHMKIT_DISCONNECTED SHMKIT_TASKS_LOST
        SHMKIT_TOO_LARGE SHMKIT_BUFFER_TOO_SHORT SHMKIT_ALREADY_EXISTS SHMKIT_NOT_FOUND SHMKIT_NOT_READY SHMKIT_INVALID_NAME
        SHMKIT_CORRUPT SHMKIT_VERSION_MISMATCH SHMKIT_WRONG_OWNER SHMKIT_TYPE_MISMATCH SHMKIT_OUT_OF_RANGE SHMKIT_TOO_MANY
        SHMKIT_REGION_FULL SHMKIT_OUT_OF_MEMORY SHMKIT_READ_ONLY SHMKIT_UNSUPPORTED SHMKIT_OS SHMKIT_PANICKED SHMKIT_OTHER
        SHMKIT_ROLE_TAKEN SHMKIT_FAILED);
    c"".as_ptr()
}

/// SHMKIT_ABI of the library: not that of the header if the program was compiled with another version.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_abi() -> u32 {
    SHMKIT_ABI
}

/// The version of the library, such as "0.1.0".
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    ptr::from_ref(VERSION).cast()
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use super::*;

    #[test]
    fn panics_go_no_further() {
        assert_eq!(report(|| panic!("{} pages", 3)), SHMKIT_PANICKED);
        // SAFETY: it ends with a NUL, and nothing fails in this thread meanwhile.
        let text = unsafe { CStr::from_ptr(shmkit_last_error()) };
        assert_eq!(text, c"panicked: 3 pages");
        assert_eq!(report(|| Ok(())), SHMKIT_OK);
    }

    /// Of each number that is one, and of no other.
    #[test]
    fn every_status_has_a_name() {
        for number in -1..40 {
            // SAFETY: a constant text.
            let name = unsafe { CStr::from_ptr(shmkit_status_name(number)) }.to_bytes();
            assert_eq!(name.is_empty(), !(0..=SHMKIT_FAILED as i32).contains(&number), "{number}");
        }
    }
}
