//! Packets between two processes: bytes, and descriptors beside them, whole or not at all.
//!
//! Source: `unix(7)`, `SOCK_SEQPACKET`.

#![expect(unsafe_code, reason = "asks the kernel through the C library what of a socket's packets was received")]

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use rustix::{
    io::Errno,
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
    },
};

use super::files::off_the_streams;

/// The most descriptors of one packet (`SCM_MAX_FD` of the kernel).
pub(crate) const MOST_DESCRIPTORS: usize = 253;

/// Two connected ends; both are closed by `exec`.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (one, other) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    Ok((off_the_streams(one)?, off_the_streams(other)?))
}

/// Whether it is an end of such a pair.
pub(crate) fn is_end(fd: impl AsFd) -> bool {
    use rustix::net::sockopt::{socket_domain, socket_type};
    socket_domain(&fd) == Ok(AddressFamily::UNIX) && socket_type(fd) == Ok(SocketType::SEQPACKET)
}

/// Sends one packet, if `wait` is false only if that is possible at once.
pub(crate) fn send(
    socket: impl AsFd,
    parts: &[IoSlice<'_>],
    descriptors: &[BorrowedFd<'_>],
    wait: bool,
) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(Errno::INVAL);
    }
    let flags = SendFlags::NOSIGNAL | if wait { SendFlags::empty() } else { SendFlags::DONTWAIT };
    loop {
        match sendmsg(&socket, parts, &mut control, flags) {
            Err(Errno::INTR) => {}
            other => return other.map(drop),
        }
    }
}

/// What has become of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Received {
    /// Its bytes, as many as there was room for. 0 if the other end is closed; or if somebody has sent that few.
    pub(crate) bytes: usize,
    /// It was longer.
    pub(crate) is_cut: bool,
    /// It had more descriptors than this process may open.
    pub(crate) lacks_descriptors: bool,
}

/// Receives one packet, or with [`RecvFlags::PEEK`] looks at it. Its descriptors are added to `into`.
pub(crate) fn receive(
    socket: impl AsFd,
    parts: &mut [IoSliceMut<'_>],
    flags: RecvFlags,
    into: &mut Vec<OwnedFd>,
) -> io::Result<Received> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        match recvmsg(&socket, parts, &mut control, flags | RecvFlags::CMSG_CLOEXEC) {
            // Reset: the other end was closed before all of ours was read there. It is told once, and before what came
            // from there.
            Err(Errno::INTR | Errno::CONNRESET) => {}
            other => break other?,
        }
    };
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = part {
            for descriptor in descriptors {
                into.push(off_the_streams(descriptor)?);
            }
        }
    }
    Ok(Received {
        bytes: received.bytes,
        is_cut: received.flags.contains(ReturnFlags::TRUNC),
        lacks_descriptors: received.flags.contains(ReturnFlags::CTRUNC),
    })
}

/// Receives one packet if there is one. Its descriptors are added to `into`.
pub(crate) fn receive_now(
    socket: impl AsFd,
    parts: &mut [IoSliceMut<'_>],
    into: &mut Vec<OwnedFd>,
) -> io::Result<Option<Received>> {
    match receive(socket, parts, RecvFlags::DONTWAIT, into) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        other => other.map(Some),
    }
}

/// Sends one packet, and waits until that is possible. `false` if the other end is closed.
pub(crate) fn send_if_open(socket: impl AsFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<bool> {
    match send(socket, &[IoSlice::new(bytes)], descriptors, true) {
        Ok(()) => Ok(true),
        Err(Errno::PIPE | Errno::CONNRESET | Errno::CONNREFUSED | Errno::NOTCONN) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// How long the next packet is. 0 if the other end is closed.
pub(crate) fn length(socket: impl AsFd, flags: RecvFlags) -> io::Result<usize> {
    let flags = flags | RecvFlags::PEEK | RecvFlags::TRUNC;
    loop {
        match recvmsg(&socket, &mut [], &mut RecvAncillaryBuffer::default(), flags) {
            Err(Errno::INTR | Errno::CONNRESET) => {}
            other => return Ok(other?.bytes),
        }
    }
}

/// Whether there are no bytes to receive.
pub(crate) fn is_empty(socket: impl AsFd) -> bool {
    rustix::io::ioctl_fionread(socket).unwrap_or(0) == 0
}

/// Whether what was sent from here was not received yet, nor thrown away with the other end.
///
/// Source: `SIOCOUTQ` in `unix(7)`.
pub(crate) fn is_unread(socket: impl AsFd) -> bool {
    let mut count: libc::c_int = 0;
    // SAFETY: an open socket, of which this writes a number.
    let result = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut count) };
    result == 0 && count != 0
}

/// What a process is told that can open no more.
pub(crate) fn no_descriptors() -> io::Error {
    Errno::MFILE.into()
}

/// Whether it failed for want of something that there may be more of later.
pub(crate) fn is_shortage(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS))
}

/// Looks at the next packet without its descriptors, and says how many of its bytes are in `bytes`.
pub(crate) fn peek(socket: impl AsFd, bytes: &mut [u8]) -> io::Result<Option<usize>> {
    without_descriptors(socket, &mut [IoSliceMut::new(bytes)], RecvFlags::PEEK)
}

/// Takes a packet that was looked at, without its descriptors.
pub(crate) fn discard(socket: impl AsFd) -> io::Result<()> {
    without_descriptors(socket, &mut [], RecvFlags::empty()).map(drop)
}

fn without_descriptors(socket: impl AsFd, parts: &mut [IoSliceMut<'_>], flags: RecvFlags) -> io::Result<Option<usize>> {
    let mut none = RecvAncillaryBuffer::default();
    loop {
        match recvmsg(&socket, parts, &mut none, flags | RecvFlags::DONTWAIT) {
            Err(Errno::INTR | Errno::CONNRESET) => {}
            Err(Errno::AGAIN) => return Ok(None),
            other => return Ok(Some(other?.bytes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::files;

    /// A packet as a string, and how many descriptors came with it.
    fn next(socket: &OwnedFd) -> io::Result<(Received, String, usize)> {
        let (mut bytes, mut descriptors) = ([0; 8], Vec::new());
        let received = receive(socket, &mut [IoSliceMut::new(&mut bytes)], RecvFlags::DONTWAIT, &mut descriptors)?;
        Ok((received, String::from_utf8_lossy(&bytes[..received.bytes]).into_owned(), descriptors.len()))
    }

    #[test]
    fn what_a_closed_end_had_sent_arrives() {
        let (here, there) = pair().unwrap();
        assert!(is_end(&here) && !is_end(files::anonymous().unwrap()));
        let file = files::anonymous().unwrap();
        send(&there, &[IoSlice::new(b"on"), IoSlice::new(b"e")], &[file.as_fd()], false).unwrap();
        send(&there, &[IoSlice::new(b"a long one")], &[], false).unwrap();
        // Never read there, so the end is reset.
        send(&here, &[IoSlice::new(b"?")], &[], false).unwrap();
        drop(there);
        let (received, text, descriptors) = next(&here).unwrap();
        assert_eq!((text.as_str(), descriptors), ("one", 1));
        assert!(!received.is_cut && !received.lacks_descriptors);
        let (received, text, _) = next(&here).unwrap();
        assert!(received.is_cut && text == "a long o");
        assert_eq!(next(&here).unwrap().0.bytes, 0);
        assert!(matches!(send(&here, &[IoSlice::new(b"?")], &[], true), Err(Errno::PIPE)));
    }

    #[test]
    fn what_was_not_received_is_known() {
        let (here, there) = pair().unwrap();
        assert!(!is_unread(&here));
        send(&here, &[IoSlice::new(b"one")], &[files::anonymous().unwrap().as_fd()], false).unwrap();
        assert!(is_unread(&here) && !is_unread(&there));
        assert_eq!(next(&there).unwrap().2, 1);
        assert!(!is_unread(&here));
        send(&here, &[IoSlice::new(b"two")], &[], false).unwrap();
        discard(&there).unwrap();
        assert!(!is_unread(&here));
        send(&here, &[IoSlice::new(b"three")], &[], false).unwrap();
        drop(there);
        assert!(!is_unread(&here));
    }

    #[test]
    fn as_many_descriptors_as_go_with_one() {
        let (here, there) = pair().unwrap();
        let file = files::anonymous().unwrap();
        send(&here, &[IoSlice::new(b"all")], &[file.as_fd(); MOST_DESCRIPTORS], false).unwrap();
        assert_eq!(next(&there).unwrap().2, MOST_DESCRIPTORS);
        let too_many = [file.as_fd(); MOST_DESCRIPTORS + 1];
        assert!(send(&here, &[IoSlice::new(b"more")], &too_many, false).is_err());
        assert_eq!(next(&there).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
}
