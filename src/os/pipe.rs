//! Messages of any length between the two ends of a pipe.
//!
//! A message is one packet, which arrives whole or not at all, and at one receiver: its first byte says what it is. What
//! is longer than a packet goes on in an anonymous file, whose descriptor is then the first one beside the packet. What was
//! sent arrives whatever becomes of the sender.
//!
//! The kernel lets a sender wait by the bytes of its packets. So the packet of a long message has a part of it that counts:
//! else hundreds of files could be under way, of any length.

use std::{
    cell::Cell,
    fs::File,
    io::{self, IoSlice, IoSliceMut},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::FileExt,
    },
    thread,
    time::Duration,
};

use rustix::{io::Errno, net::RecvFlags};

use super::{
    clock::Wait,
    ends::End,
    files,
    memory::{self, Shortage},
    packet::{self, MOST_DESCRIPTORS},
    poll,
};
use crate::{Error, Result};

/// The most descriptors of a message: one is for the file of a long one.
pub(crate) const MOST: usize = MOST_DESCRIPTORS - 1;

/// The most bytes that go in the packet itself.
const INLINE: usize = 64 * 1024 - HEAD;

/// As many bytes of a longer message go in the packet. A buffer of the usual size holds a dozen such packets: enough that
/// sender and receiver seldom wait for each other (a full packet makes long messages slower by a fifth). Less than 16 KiB,
/// with what the kernel adds, which would take the next larger piece of its memory.
const PART: usize = 15 * 1024;

/// For less there is memory, or will be: to look would take longer than it is worth.
const UNCHECKED: u64 = 1 << 26;

/// The byte before the message.
const HEAD: usize = 1;
const IN_FILE: u8 = 1 << 7;

/// How long is waited for others to take the descriptors that are under way, from the first time to the longest.
const PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// What kind of message it is: a number below 128.
pub(crate) type Kind = u8;

/// Sends a message with descriptors, at most [`MOST`].
///
/// # Errors
///
/// `Closed` when nobody has the other end; `WouldBlock`, `TimedOut`; `OutOfMemory` for a long one; `Os`.
pub(crate) fn send(end: &End, kind: Kind, bytes: &[u8], descriptors: &[OwnedFd], wait: Wait) -> Result<()> {
    // Where the packet ends, and what follows in the file.
    let mut end_of_packet = if bytes.len() > INLINE { PART } else { bytes.len() };
    let mut file = (end_of_packet < bytes.len()).then(|| in_file(&bytes[end_of_packet..])).transpose()?;
    let mut pause = PAUSE;
    loop {
        let all: Vec<_> = file.iter().chain(descriptors).map(AsFd::as_fd).collect();
        let head = [if file.is_some() { kind | IN_FILE } else { kind }];
        let parts = [IoSlice::new(&head), IoSlice::new(&bytes[..end_of_packet])];
        match packet::send(end.socket(), &parts, &all, wait == Wait::Forever) {
            Ok(()) => return Ok(()),
            // Buffers were made smaller.
            Err(Errno::MSGSIZE) if end_of_packet > 0 => {
                end_of_packet = 0;
                file = Some(in_file(bytes)?);
            }
            Err(Errno::AGAIN | Errno::TOOMANYREFS) if wait == Wait::No => return Err(Error::WouldBlock),
            Err(Errno::AGAIN | Errno::TOOMANYREFS) if wait.is_over() => return Err(Error::TimedOut),
            Err(Errno::AGAIN) => {
                poll::is_writable(end.socket(), wait).map_err(|error| Error::os("poll", error))?;
            }
            // This user has as many descriptors under way as it may have open: nothing tells when that is over.
            Err(Errno::TOOMANYREFS) => {
                thread::sleep(wait.slice(pause).remaining());
                pause = (2 * pause).min(LONGEST_PAUSE);
            }
            Err(Errno::PIPE | Errno::CONNRESET | Errno::CONNREFUSED | Errno::NOTCONN) => return Err(Error::Closed),
            Err(error) => return Err(Error::os("sending a message", error)),
        }
    }
}

fn in_file(bytes: &[u8]) -> Result<OwnedFd> {
    check_room(bytes.len() as u64)?;
    let failed = |error| Error::os("writing a long message", error);
    let file = File::from(files::anonymous().map_err(failed)?);
    // Not by its position, which the receiver begins at.
    file.write_all_at(bytes, 0).map_err(failed)?;
    Ok(file.into())
}

thread_local! {
    /// Where packets are received. Taken by whoever uses it; [`INLINE`] and one bytes long, or empty.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Receives a message, for `read` to make something of.
///
/// # Errors
///
/// `Closed` when nobody has the other end any more, and all was received that came from there; `WouldBlock`, `TimedOut`.
/// With the message that it is about: `Corrupt`; `OutOfMemory` for a long one; `Os`, which others may not be.
pub(crate) fn receive<R>(
    end: &End,
    wait: Wait,
    read: impl FnOnce(Kind, &[u8], Vec<OwnedFd>) -> Result<R>,
) -> Result<R> {
    // A thread at its end has none to keep.
    let mut buffer = BUFFER.try_with(Cell::take).unwrap_or_default();
    buffer.resize(INLINE + HEAD, 0);
    let result = receive_in(&mut buffer, end, wait, read);
    let _ = BUFFER.try_with(|kept| kept.set(buffer));
    result
}

fn receive_in<R>(
    buffer: &mut [u8],
    end: &End,
    wait: Wait,
    read: impl FnOnce(Kind, &[u8], Vec<OwnedFd>) -> Result<R>,
) -> Result<R> {
    let mut descriptors = Vec::new();
    let flags = if wait == Wait::Forever { RecvFlags::empty() } else { RecvFlags::DONTWAIT };
    let received = loop {
        match packet::receive(end.socket(), &mut [IoSliceMut::new(buffer)], flags, &mut descriptors) {
            Ok(received) => break received,
            // There never was another end.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => return Err(Error::Closed),
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                return Err(Error::os("receiving a message", error));
            }
            Err(_) if wait == Wait::No => return Err(Error::WouldBlock),
            Err(_) if wait.is_over() => return Err(Error::TimedOut),
            Err(_) => {
                poll::is_readable(end.socket(), wait).map_err(|error| Error::os("poll", error))?;
            }
        }
    };
    let Some((head, bytes)) = buffer[..received.bytes].split_first() else {
        // That is what a closed end looks like; but anybody can send nothing.
        let is_over = poll::is_closed(end.socket(), Wait::No).unwrap_or(true) && packet::is_empty(end.socket());
        return Err(if is_over { Error::Closed } else { Error::corrupt("a packet without a byte") });
    };
    if received.lacks_descriptors {
        return Err(Error::os("receiving the descriptors of a message, which is lost", Errno::MFILE));
    }
    if received.is_cut {
        return Err(Error::corrupt("a packet that is longer than any"));
    }
    if head & IN_FILE == 0 {
        return read(*head, bytes, descriptors);
    }
    if descriptors.is_empty() {
        return Err(Error::corrupt("a long message without its file"));
    }
    let bytes = with_file(bytes, descriptors.remove(0))?;
    read(head & !IN_FILE, &bytes, descriptors)
}

/// The bytes of the packet, and what follows in the file.
fn with_file(packet: &[u8], file: OwnedFd) -> Result<Vec<u8>> {
    let unreadable = |error| Error::corrupt(format!("a long message whose file cannot be read: {error}"));
    if !files::is_in_memory(&file) {
        return Err(Error::corrupt("a long message in something that is no file in memory"));
    }
    let facts = files::facts(&file).map_err(unreadable)?;
    // Whoever sent it had all of these bytes: a length alone costs the receiver nothing.
    if facts.size > facts.allocated {
        return Err(Error::corrupt(format!("a long message of {} bytes with {}", facts.size, facts.allocated)));
    }
    check_room(facts.size)?;
    let length = usize::try_from(facts.size).unwrap_or(usize::MAX);
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(length.saturating_add(packet.len())).map_err(|_| {
        Error::os("receiving a long message, which is lost", io::Error::from(io::ErrorKind::OutOfMemory))
    })?;
    bytes.extend_from_slice(packet);
    files::append(&file, length, &mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

/// Whether there is memory for a long message. The system has no error for that later, but kills somebody.
fn check_room(size: u64) -> Result<()> {
    if size < UNCHECKED {
        return Ok(());
    }
    memory::check_room(size).map_err(|Shortage { left, place }| Error::OutOfMemory { needed: size, left, place })
}
