//! Descriptors that come and go while a thread waits for any of them.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    buffer::spare_capacity,
    event::epoll::{self, CreateFlags, EventData, EventFlags},
    io::Errno,
};

use super::{files::off_the_streams, pidfd};

/// A set of descriptors, each under a number, that threads add to while another one waits.
#[derive(Debug)]
pub(crate) struct Watch {
    epoll: OwnedFd,
    bell: OwnedFd,
}

/// The number of the bell.
const BELL: u64 = u64::MAX;

/// How many are told of at a time.
const MOST: usize = 64;

impl Watch {
    pub(crate) fn new() -> io::Result<Self> {
        let (epoll, bell) = (off_the_streams(epoll::create(CreateFlags::CLOEXEC)?)?, pidfd::bell()?);
        // By the edge: each ring is told once, and nobody need silence it.
        epoll::add(&epoll, &bell, EventData::new_u64(BELL), EventFlags::IN | EventFlags::ET)?;
        Ok(Self { epoll, bell })
    }

    pub(crate) fn add(&self, fd: impl AsFd, number: u64) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, fd, EventData::new_u64(number), EventFlags::IN)?)
    }

    /// As [`add`](Self::add), of a socket that is told of only when its peer has closed it.
    pub(crate) fn add_for_its_end(&self, socket: impl AsFd, number: u64) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, socket, EventData::new_u64(number), EventFlags::RDHUP)?)
    }

    /// To be called before the descriptor is closed: while a fork has a copy of it, the kernel would go on telling of it.
    pub(crate) fn remove(&self, fd: impl AsFd) {
        // It fails only for one that is not in it.
        let _ = epoll::delete(&self.epoll, fd);
    }

    /// Has who waits come back.
    pub(crate) fn ring(&self) {
        pidfd::ring(&self.bell);
    }

    /// Waits until some are readable, or closed by their peers, or it is rung. The numbers of the former.
    pub(crate) fn wait(&self) -> Vec<u64> {
        let mut events = Vec::with_capacity(MOST);
        while let Err(Errno::INTR) = epoll::wait(&self.epoll, spare_capacity(&mut events), None) {}
        events.iter().map(|event| event.data.u64()).filter(|number| *number != BELL).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::streams;

    #[test]
    fn tells_of_what_is_readable_and_of_the_bell() {
        let watch = Watch::new().unwrap();
        let (from, into) = streams::pipe().unwrap();
        watch.add(&from, 7).unwrap();
        watch.ring();
        assert_eq!(watch.wait(), []);
        watch.ring();
        watch.ring();
        assert_eq!(watch.wait(), [], "rung again, though nobody has silenced it");
        streams::write_all(&into, b"x").unwrap();
        assert_eq!(watch.wait(), [7]);
        watch.remove(&from);
        watch.ring();
        assert_eq!(watch.wait(), []);
    }
}
