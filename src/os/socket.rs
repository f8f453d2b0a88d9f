//! Messages with descriptors between two processes, over a pair of Unix sockets.
//!
//! A message is never larger than the socket takes at once: longer bytes go in an anonymous file beside it. So sending
//! does not wait for the receiver, be it slow, stopped or dead (but see [`PAUSE`]).
//!
//! Source: `unix(7)`; at most 253 descriptors go with one packet (`SCM_MAX_FD`).

use std::{
    fs::File,
    io::{self, IoSlice, IoSliceMut, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::FileExt,
    },
    sync::Arc,
    thread,
    time::Duration,
};

use rustix::{io::Errno, net::RecvFlags};

use super::{
    files,
    packet::{self, MOST_DESCRIPTORS},
};

/// The most bytes that travel in the packet itself.
const INLINE: usize = 8 * 1024;

/// Bytes before the message: how it travels, and how many descriptors it has in all.
const HEAD: usize = 5;
const IN_PACKET: u8 = 0;
const IN_FILE: u8 = 1;

/// How long is waited for others to take the descriptors that are under way to them: 10 s in all.
const PAUSE: Duration = Duration::from_millis(1);
const PAUSES: u32 = 10_000;

/// Bytes, and the descriptors that came with them.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) bytes: Vec<u8>,
    pub(crate) descriptors: Arc<[OwnedFd]>,
}

/// Sends one message, whole.
pub(crate) fn send(socket: impl AsFd, bytes: &[u8], descriptors: &[impl AsFd]) -> io::Result<()> {
    let mut file = None;
    if bytes.len() > INLINE {
        let mut memory = File::from(files::anonymous()?);
        memory.write_all(bytes)?;
        file = Some(OwnedFd::from(memory));
    }
    let all: Vec<_> = file.iter().map(AsFd::as_fd).chain(descriptors.iter().map(AsFd::as_fd)).collect();
    let count = u32::try_from(all.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut head = [IN_PACKET; HEAD];
    head[0] = if file.is_some() { IN_FILE } else { IN_PACKET };
    head[1..].copy_from_slice(&count.to_le_bytes());
    let body = if file.is_some() { &[] } else { bytes };

    let mut patience = PAUSES;
    let mut first = true;
    let mut groups = all.chunks(MOST_DESCRIPTORS);
    loop {
        let group = groups.next().unwrap_or_default();
        if group.is_empty() && !first {
            return Ok(());
        }
        let parts = [IoSlice::new(&head), IoSlice::new(if first { body } else { &[] })];
        loop {
            match packet::send(&socket, &parts, group, false) {
                // Too many descriptors of this user are under way: those who were sent them have yet to take them.
                Err(Errno::TOOMANYREFS) if patience > 0 => {
                    patience -= 1;
                    thread::sleep(PAUSE);
                }
                other => break other?,
            }
        }
        first = false;
    }
}

/// Receives one message; `None` when the other end is closed. With `wait` false, no message is `WouldBlock`.
pub(crate) fn receive(socket: impl AsFd, wait: bool) -> io::Result<Option<Message>> {
    let mut descriptors = Vec::new();
    let Some((head, mut bytes)) = next(&socket, wait, &mut descriptors)? else { return Ok(None) };
    let count = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
    while descriptors.len() < count {
        // All packets of a message are sent at once: without `wait`, the sender has ended, and what is not there now was
        // never sent.
        let before = descriptors.len();
        if next(&socket, wait, &mut descriptors)?.is_none() || descriptors.len() == before {
            return Ok(None);
        }
    }
    if head[0] == IN_FILE {
        if descriptors.is_empty() {
            return Err(incomplete());
        }
        let file = File::from(descriptors.remove(0));
        bytes = vec![0; usize::try_from(file.metadata()?.len()).map_err(|_| incomplete())?];
        file.read_exact_at(&mut bytes, 0)?;
    }
    Ok(Some(Message { bytes, descriptors: descriptors.into() }))
}

/// Whether it says that nobody has the other end.
pub(crate) fn is_closed(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EPIPE | libc::ECONNRESET))
}

fn next(socket: &impl AsFd, wait: bool, into: &mut Vec<OwnedFd>) -> io::Result<Option<([u8; HEAD], Vec<u8>)>> {
    let flags = if wait { RecvFlags::empty() } else { RecvFlags::DONTWAIT };
    // Nearly always they are few, and a process that has just begun gets each page from the kernel, those of a buffer for
    // the most too: to ask first costs less than one of them. Nor zeroes, for which glibc looks elsewhere than among what was
    // freed just now.
    let length = packet::length(socket, flags)?.saturating_sub(HEAD).min(INLINE);
    let (mut head, mut body) = ([0; HEAD], vec![u8::MAX; length]);
    let parts = &mut [IoSliceMut::new(&mut head), IoSliceMut::new(&mut body)];
    let received = packet::receive(socket, parts, flags, into)?;
    if received.bytes == 0 {
        return Ok(None);
    }
    if received.bytes < HEAD || received.is_cut || received.lacks_descriptors {
        return Err(incomplete());
    }
    body.truncate(received.bytes - HEAD);
    Ok(Some((head, body)))
}

fn incomplete() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a message arrived cut off (too many open descriptors?)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_large_and_many_descriptors() {
        let (here, there) = packet::pair().unwrap();
        for (len, descriptors) in [(0, 0), (100, 3), (INLINE, 0), (INLINE + 1, 0), (1 << 24, 2), (10, 600)] {
            let bytes: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let descriptors: Vec<_> = (0..descriptors).map(|_| files::anonymous().unwrap()).collect();
            send(&here, &bytes, &descriptors).unwrap();
            let message = receive(&there, true).unwrap().unwrap();
            assert!(message.bytes == bytes && message.descriptors.len() == descriptors.len(), "{len}");
        }
        assert_eq!(receive(&there, false).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(here);
        assert!(receive(&there, true).unwrap().is_none());
    }
}
