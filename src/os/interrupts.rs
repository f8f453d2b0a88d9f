//! Ctrl-C, kept from a process that works for others.
//!
//! The terminal sends SIGINT to the whole group of processes. Here it is blocked and read from a descriptor: blocked, not
//! ignored, so that what this process starts is born with the signal blocked too, and misses none until it lets them
//! through.

#![expect(unsafe_code, reason = "signal masks and descriptors of signals have no safe wrappers")]

use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd},
    ptr,
};

use super::files::off_the_streams;

/// Becomes readable when a SIGINT has come.
pub(crate) struct Interrupts {
    descriptor: OwnedFd,
    /// The signal alone.
    set: libc::sigset_t,
}

impl Interrupts {
    /// Blocks the signal in the calling thread, which should be the only one.
    pub(crate) fn hold_back() -> io::Result<Self> {
        let set = the_signal();
        change_mask(libc::SIG_BLOCK, &set)?;
        // SAFETY: reads the set.
        let fd = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: new, and nobody else's.
        let descriptor = off_the_streams(unsafe { OwnedFd::from_raw_fd(fd) })?;
        Ok(Self { descriptor, set })
    }

    /// Ends what [`hold_back`](Self::hold_back) began, in a process that was born with it: what has come since then comes
    /// now.
    pub(crate) fn let_through(self) -> io::Result<()> {
        drop(self.descriptor);
        change_mask(libc::SIG_UNBLOCK, &self.set)
    }

    /// Whether one has come since this was asked last.
    pub(crate) fn take(&self) -> bool {
        let mut info = [0_u8; size_of::<libc::signalfd_siginfo>()];
        matches!(rustix::io::read(&self.descriptor, &mut info), Ok(read) if read > 0)
    }
}

impl AsFd for Interrupts {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

fn the_signal() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: writes the set that it is given.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: the set was initialised just now.
    unsafe { libc::sigaddset(set.as_mut_ptr(), libc::SIGINT) };
    // SAFETY: as above.
    unsafe { set.assume_init() }
}

fn change_mask(how: libc::c_int, set: &libc::sigset_t) -> io::Result<()> {
    // SAFETY: reads the set; the old mask is not asked for.
    match unsafe { libc::pthread_sigmask(how, set, ptr::null_mut()) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}
