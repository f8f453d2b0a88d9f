//! Marks on a file, each of which lasts as long as an *open file description*: until every descriptor that was duplicated,
//! inherited by a fork or sent from one `open` is closed, those on their way through a socket included.
//!
//! A mark is a lock for reading on one byte, whether the file has that byte or not; it excludes nobody. The kernel tells
//! whether there is any among certain bytes, and not whose.
//!
//! Source: `fcntl_locking(2)`, open file description locks.

#![expect(unsafe_code, reason = "open file description locks have no safe wrapper")]

use std::{
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    process,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

use rustix::fs::{Mode, OFlags, open};

use super::files::off_the_streams;

/// A mark, and the descriptor that it lasts with.
#[derive(Debug)]
pub(crate) struct Mark {
    pub(crate) fd: OwnedFd,
    /// The byte. No other mark has it.
    at: i64,
}

impl Mark {
    /// A new one on the file of `fd`.
    pub(crate) fn new(fd: impl AsFd) -> io::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let path = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
        let fd = off_the_streams(open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?)?;
        let at = i64::from(process::id()) << 32 | i64::from(COUNT.fetch_add(1, Relaxed));
        control(&fd, libc::F_OFD_SETLK, &mut lock(libc::F_RDLCK, at, 1))?;
        Ok(Self { fd, at })
    }

    /// Whether the file has other marks.
    pub(crate) fn has_company(&self) -> io::Result<bool> {
        // 0: up to the end of all files.
        for (start, length) in [(0, self.at), (self.at + 1, 0)] {
            let mut question = lock(libc::F_WRLCK, start, length);
            control(&self.fd, libc::F_OFD_GETLK, &mut question)?;
            if i32::from(question.l_type) != libc::F_UNLCK {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn lock(kind: libc::c_int, start: i64, length: i64) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: start,
        l_len: length,
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
        let other = Mark::new(&mine.fd).unwrap();
        assert!(mine.has_company().unwrap() && other.has_company().unwrap());
        // On its way, and nowhere else.
        let courier = Courier::new().unwrap();
        assert!(courier.send(1, &[other.fd]).unwrap());
        assert!(mine.has_company().unwrap());
        let arrived = courier.look(1).unwrap();
        drop(courier);
        assert!(mine.has_company().unwrap());
        drop(arrived);
        assert!(!mine.has_company().unwrap());
    }
}
