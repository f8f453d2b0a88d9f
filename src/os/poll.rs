//! Waits for descriptors.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
};

use super::clock::Wait;

/// Waits until one of the descriptors is readable, or closed by its peer, and says which are: nothing, if none is in time.
pub(crate) fn readable(descriptors: &[BorrowedFd<'_>], wait: Wait) -> io::Result<Vec<usize>> {
    let mut list: Vec<_> = descriptors.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    until_ready(&mut list, wait)?;
    Ok(list.iter().enumerate().filter(|(_, fd)| !fd.revents().is_empty()).map(|(at, _)| at).collect())
}

/// The same for one.
pub(crate) fn is_readable(fd: impl AsFd, wait: Wait) -> io::Result<bool> {
    until_ready(&mut [PollFd::new(&fd, PollFlags::IN)], wait)
}

/// Waits until a descriptor can be written to, or its peer has closed it.
pub(crate) fn is_writable(fd: impl AsFd, wait: Wait) -> io::Result<bool> {
    until_ready(&mut [PollFd::new(&fd, PollFlags::OUT)], wait)
}

/// Waits until the peer of a connected socket has closed it.
pub(crate) fn is_closed(fd: impl AsFd, wait: Wait) -> io::Result<bool> {
    until_ready(&mut [PollFd::new(&fd, PollFlags::RDHUP)], wait)
}

fn until_ready(list: &mut [PollFd<'_>], wait: Wait) -> io::Result<bool> {
    loop {
        match poll(list, wait.timespec().as_ref()) {
            Err(Errno::INTR) => {}
            Ok(0) if !wait.is_over() => {}
            other => return Ok(other? > 0),
        }
    }
}
