//! The standard streams, by their numbers.

#![expect(unsafe_code, reason = "descriptors by number belong to whoever says so")]

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
};

use rustix::fs::{Mode, OFlags, open};

use super::files::off_the_streams;

/// How many there are: input, output, errors.
pub(crate) const COUNT: usize = 3;

/// Those of this process that a program which it starts would have too; `None` for one that is closed.
pub(crate) fn inheritable() -> [Option<BorrowedFd<'static>>; COUNT] {
    [0, 1, 2].map(|number: RawFd| {
        // SAFETY: asks for flags; any number will do.
        let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
        let is_inherited = flags >= 0 && flags & libc::FD_CLOEXEC == 0;
        // SAFETY: open just now. Who closes a standard stream at this moment has another put in its place, at worst.
        is_inherited.then(|| unsafe { BorrowedFd::borrow_raw(number) })
    })
}

/// Makes a descriptor the standard stream of this number, from 0 to 2.
pub(crate) fn replace(number: usize, by: impl AsFd) -> io::Result<()> {
    debug_assert!(number < COUNT);
    // SAFETY: the number is that of a standard stream, which code uses by its number: nobody owns it.
    match unsafe { libc::dup2(by.as_fd().as_raw_fd(), number as RawFd) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// What is empty to read, and takes all that is written.
pub(crate) fn null() -> io::Result<OwnedFd> {
    off_the_streams(open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?)
}
