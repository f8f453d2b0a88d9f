//! Descriptors on their way beside messages that lie in shared memory.
//!
//! Both ends of a pair of sockets are held by all who use the queue. A packet is a number and descriptors. Senders
//! agree who sends, and receivers who receives, so packets come in the order of their numbers. What is under way is
//! kept by the kernel, whatever becomes of the sender.
//!
//! A receiver looks at a packet, takes the message, and only then takes the packet: one that dies on the way leaves a
//! packet that the next one passes over. So does a sender that dies before its message is there; and a sender that finds
//! no room takes such packets away.
//!
//! Source: `unix(7)`; a look (`MSG_PEEK`) gives descriptors of its own to the same files.

use std::{
    io::{self, IoSlice, IoSliceMut},
    os::fd::{AsFd, OwnedFd},
};

use rustix::{io::Errno, net::RecvFlags};

use super::packet;

/// The most descriptors of one message.
pub(crate) const MOST: usize = packet::MOST_DESCRIPTORS;

#[derive(Debug)]
pub(crate) struct Courier {
    pub(crate) sender: OwnedFd,
    pub(crate) receiver: OwnedFd,
}

impl Courier {
    pub(crate) fn new() -> io::Result<Self> {
        let (sender, receiver) = packet::pair()?;
        Ok(Self { sender, receiver })
    }

    /// Sends descriptors, at most [`MOST`]. `false` when too much is under way.
    pub(crate) fn send(&self, number: u64, descriptors: &[OwnedFd]) -> io::Result<bool> {
        let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
        match packet::send(&self.sender, &[IoSlice::new(&number.to_ne_bytes())], &borrowed, false) {
            // The socket is full, or this user has as many descriptors under way as it may have open.
            Err(Errno::AGAIN | Errno::TOOMANYREFS | Errno::NOBUFS) => Ok(false),
            other => other.map(|()| true).map_err(io::Error::from),
        }
    }

    /// The descriptors that were sent with `number`; packets with others are passed over. `None` when there are none.
    pub(crate) fn look(&self, number: u64) -> io::Result<Option<Vec<OwnedFd>>> {
        loop {
            match self.receive(RecvFlags::PEEK)? {
                None => return Ok(None),
                Some((found, descriptors)) if found == number => return Ok(Some(descriptors)),
                Some(_) => self.take()?,
            }
        }
    }

    /// Takes the packets before the one that was sent with `number`, or all, and says whether there were any.
    pub(crate) fn discard_until(&self, number: Option<u64>) -> io::Result<bool> {
        let mut any = false;
        while let Some(found) = self.next()? {
            if Some(found) == number {
                break;
            }
            self.take()?;
            any = true;
        }
        Ok(any)
    }

    /// The number of the next packet.
    fn next(&self) -> io::Result<Option<u64>> {
        let mut number = [0; 8];
        let peeked = packet::peek(&self.receiver, &mut number)?;
        Ok(peeked.map(|_| u64::from_ne_bytes(number)))
    }

    /// Takes the packet that was looked at.
    pub(crate) fn take(&self) -> io::Result<()> {
        packet::discard(&self.receiver)
    }

    fn receive(&self, flags: RecvFlags) -> io::Result<Option<(u64, Vec<OwnedFd>)>> {
        let (mut number, mut descriptors) = ([0; 8], Vec::new());
        let parts = &mut [IoSliceMut::new(&mut number)];
        let received = match packet::receive(&self.receiver, parts, flags | RecvFlags::DONTWAIT, &mut descriptors) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            other => other?,
        };
        if received.lacks_descriptors {
            return Err(Errno::MFILE.into());
        }
        Ok((received.bytes == number.len()).then_some((u64::from_ne_bytes(number), descriptors)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::files;

    #[test]
    fn packets_of_the_dead_are_passed_over() {
        let courier = Courier::new().unwrap();
        let file = [files::anonymous().unwrap()];
        let id = |fd: &OwnedFd| files::facts(fd).unwrap().id;
        assert!(courier.look(1).unwrap().is_none());
        for number in 1..=4 {
            assert!(courier.send(number, &file).unwrap());
        }
        // Looked at twice, by one that died and the next one.
        for number in [2, 2, 4] {
            let found = courier.look(number).unwrap().unwrap();
            assert_eq!((found.len(), id(&found[0])), (1, id(&file[0])));
        }
        courier.take().unwrap();
        assert!(courier.look(5).unwrap().is_none());
        for number in 5..=8 {
            assert!(courier.send(number, &file).unwrap());
        }
        assert!(courier.discard_until(Some(7)).unwrap() && !courier.discard_until(Some(7)).unwrap());
        assert!(courier.look(7).unwrap().is_some());
        assert!(courier.discard_until(None).unwrap() && courier.look(8).unwrap().is_none());
    }

    #[test]
    fn a_full_socket_is_no_error() {
        let courier = Courier::new().unwrap();
        let files: Vec<_> = (0..MOST).map(|_| files::anonymous().unwrap()).collect();
        let sent = (1..).take_while(|number| courier.send(*number, &files[..1]).unwrap()).count();
        assert!(sent > 10, "{sent}");
        courier.take().unwrap();
        assert!(courier.send(u64::MAX, &files[..1]).unwrap());
    }
}
