//! Marks on a file, each of which lasts as long as an *open file description*: until every descriptor that was
//! duplicated, inherited by a fork or sent from one `open` is closed, those on their way through a socket included.
//!
//! A mark is a lock for reading on a byte far behind the end; it excludes nobody. The kernel tells whether there is any
//! but that of the open file description that is asked with, and not whose.
//!
//! Source: `fcntl_locking(2)`, open file description locks.

#![expect(unsafe_code, reason = "open file description locks have no safe wrapper")]

use std::{
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

use rustix::fs::{Mode, OFlags, open};

use super::files::off_the_streams;

/// The byte: one that others who lock parts of a file do not come upon.
const AT: i64 = 1 << 62;

/// A mark: the descriptor that it lasts with.
#[derive(Debug)]
pub(crate) struct Mark(OwnedFd);

impl Mark {
    /// A new one on the file of `fd`.
    pub(crate) fn new(fd: impl AsFd) -> io::Result<Self> {
        let path = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
        let fd = off_the_streams(open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?)?;
        control(&fd, libc::F_OFD_SETLK, &mut lock(libc::F_RDLCK))?;
        Ok(Self(fd))
    }

    /// Whether the file has other marks.
    pub(crate) fn has_company(&self) -> io::Result<bool> {
        // Whether others would be in the way of a lock for writing.
        let mut question = lock(libc::F_WRLCK);
        control(&self.0, libc::F_OFD_GETLK, &mut question)?;
        Ok(i32::from(question.l_type) != libc::F_UNLCK)
    }

    pub(crate) fn into_fd(self) -> OwnedFd {
        self.0
    }
}

fn lock(kind: libc::c_int) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: AT,
        l_len: 1,
        // As the kernel demands.
        l_pid: 0,
    }
}

fn control(fd: &OwnedFd, command: libc::c_int, lock: &mut libc::flock) -> io::Result<()> {
    // SAFETY: the commands take a pointer to a `flock`, which is live; the descriptor is open.
    match unsafe { libc::fcntl(fd.as_raw_fd(), command, std::ptr::from_mut(lock)) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::{courier::Courier, files};

    #[test]
    fn a_mark_lasts_as_long_as_any_copy_of_its_descriptor() {
        let file = files::anonymous().unwrap();
        let mine = Mark::new(&file).unwrap();
        assert!(!mine.has_company().unwrap());
        let other = Mark::new(&mine.0).unwrap();
        assert!(mine.has_company().unwrap() && other.has_company().unwrap());
        // On its way, and nowhere else.
        let courier = Courier::new().unwrap();
        assert!(courier.send(1, &[other.into_fd()]).unwrap());
        assert!(mine.has_company().unwrap());
        let arrived = courier.look(1).unwrap();
        drop(courier);
        assert!(mine.has_company().unwrap());
        drop(arrived);
        assert!(!mine.has_company().unwrap());
    }
}
