//! The standard streams, by their numbers.

#![expect(unsafe_code, reason = "descriptors by number belong to whoever says so")]

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
};

use rustix::{
    fs::{Mode, OFlags, open},
    io::Errno,
    pipe::{PipeFlags, pipe_with},
};

use super::{clock::Wait, files::off_the_streams, poll};

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

/// Another descriptor of the same, if it has the number of a standard stream: to be put in their places one by one.
pub(crate) fn away_from_them(fd: &OwnedFd) -> io::Result<Option<OwnedFd>> {
    if fd.as_raw_fd() < COUNT as RawFd { off_the_streams(fd.try_clone()?).map(Some) } else { Ok(None) }
}

/// A new pipe: what is written into the second comes out of the first.
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (from, into) = pipe_with(PipeFlags::CLOEXEC)?;
    Ok((off_the_streams(from)?, off_the_streams(into)?))
}

/// Has reads of this end of a pipe wait for nothing, from now on.
pub(crate) fn make_impatient(from: &OwnedFd) -> io::Result<()> {
    Ok(rustix::io::ioctl_fionbio(from, true)?)
}

/// What is there, and as much as there is room for: `None` if nothing is yet, 0 bytes if nothing will be.
pub(crate) fn read_some(from: &OwnedFd, bytes: &mut [u8]) -> io::Result<Option<usize>> {
    loop {
        match rustix::io::read(from, &mut *bytes) {
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(None),
            other => return Ok(Some(other?)),
        }
    }
}

/// How many bytes can be read from this end of a pipe.
pub(crate) fn waiting(from: &OwnedFd) -> u64 {
    rustix::io::ioctl_fionread(from).unwrap_or(0)
}

/// Writes all of it, in one go where the kernel lets it. Waits for room, whether the descriptor is one that waits or not.
pub(crate) fn write_all(into: impl AsFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(&into, bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => _ = poll::is_writable(&into, Wait::Forever)?,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
