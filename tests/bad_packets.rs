//! Pipes that get packets which nothing of this crate sends. Each is an error of one message, for whoever receives it: it
//! ends nothing, costs no descriptor and hardly any memory, and the next message arrives.

#![allow(unsafe_code, reason = "maps memory; the module with the deadline forks")]

mod measuring;
mod support;

use std::{
    fs::{self, File},
    io::{IoSlice, IoSliceMut, Seek, Write},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    thread,
    time::Duration,
};

use measuring::most_at_a_time;
use rustix::{
    fs::{MemfdFlags, Mode, OFlags, memfd_create, open},
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
        recvmsg, sendmsg,
    },
};
use shmkit::{
    Array, Error, Process, Result, Value,
    pipe::{self, Connection, Fd},
};
use support::{Deadline, Random};

shmkit::init_in_tests!();

const LONG: Duration = Duration::from_secs(50);

/// The first byte of a packet: what it is, and whether it goes on in a file.
const OBJECT: u8 = 0;
const BYTES: u8 = 1;
const IN_FILE: u8 = 128;

/// One packet, as whoever has a descriptor of the end could send it.
fn inject(end: impl AsFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(descriptors.is_empty() || control.push(SendAncillaryMessage::ScmRights(descriptors)));
    sendmsg(end, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL).unwrap();
}

/// The next packet, as it came.
fn capture(end: impl AsFd) -> (Vec<u8>, Vec<OwnedFd>) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = vec![0; 1 << 17];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let length = recvmsg(end, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags).unwrap().bytes;
    bytes.truncate(length);
    let rights = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    (bytes, rights.flatten().collect())
}

fn memory(bytes: &[u8]) -> File {
    let mut file = File::from(memfd_create("shmkit-test", MemfdFlags::CLOEXEC).unwrap());
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    file
}

/// A file that says to be so long, and has no memory at all.
fn hollow(length: u64) -> File {
    let file = memory(b"");
    file.set_len(length).unwrap();
    file
}

/// The same, to be written only.
fn write_only(file: &File) -> OwnedFd {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

#[test]
fn packets_that_are_no_messages() {
    let _deadline = Deadline::seconds(100, "packets_that_are_no_messages");
    let file = memory(b"a file");
    let (hollow_gibibyte, hollow_exbibyte) = (hollow(1 << 30), hollow(1 << 60));
    let write_only = write_only(&file);
    let on_disk = File::open("Cargo.toml").unwrap();
    let (folder, device) = (File::open("src").unwrap(), File::open("/dev/zero").unwrap());
    let (_sender, socket) = UnixStream::pair().unwrap();
    let long = vec![BYTES; (1 << 16) + 1];
    let cases: &[(&[u8], &[BorrowedFd<'_>])] = &[
        // No bytes: what a closed end looks like.
        (&[], &[]),
        (&[], &[file.as_fd()]),
        // Kinds that there are not.
        (&[2], &[]),
        (&[IN_FILE - 1, 1, 2, 3], &[file.as_fd()]),
        (&[IN_FILE | 2], &[file.as_fd()]),
        (&[255], &[file.as_fd(), file.as_fd()]),
        // More than goes in a packet.
        (&long, &[]),
        (&long, &[file.as_fd(); 253]),
        // No file to go on in.
        (&[IN_FILE | OBJECT], &[]),
        (&[IN_FILE | BYTES], &[]),
        (&[IN_FILE | BYTES], &[folder.as_fd()]),
        (&[IN_FILE | BYTES], &[device.as_fd()]),
        (&[IN_FILE | BYTES], &[socket.as_fd(), file.as_fd()]),
        (&[IN_FILE | BYTES], &[on_disk.as_fd()]),
        (&[IN_FILE | BYTES], &[write_only.as_fd()]),
        // Files without their bytes.
        (&[IN_FILE | BYTES], &[hollow_gibibyte.as_fd()]),
        (&[IN_FILE | OBJECT, 1], &[hollow_exbibyte.as_fd()]),
    ];
    let (here, there) = pipe::duplex::<u32>().unwrap();
    type Receive = fn(&Connection<u32>) -> Result<()>;
    let receive: &[Receive] = &[
        |there| there.recv().map(drop),
        |there| there.try_recv().map(drop),
        |there| there.recv_timeout(LONG).map(drop),
        |there| there.recv_bytes().map(drop),
        |there| there.recv_bytes_into(&mut [0; 1000]).map(drop),
        |there| there.iter().next().unwrap().map(drop),
    ];
    for (number, (bytes, descriptors)) in cases.iter().enumerate() {
        for receive in receive {
            inject(&here, bytes, descriptors);
            here.send(&7).unwrap();
            let error = receive(&there).unwrap_err();
            assert!(matches!(error, Error::Corrupt { .. }), "case {number}: {error}");
            assert_eq!(there.try_recv().unwrap(), 7, "case {number}");
        }
    }
    let most = most_at_a_time();
    assert!(most < 1 << 20, "{most} bytes asked for");
    // They end no iteration.
    cases.iter().for_each(|(bytes, descriptors)| inject(&here, bytes, descriptors));
    here.send(&8).unwrap();
    drop(here);
    let all: Vec<_> = there.iter().collect();
    assert!(all.len() == cases.len() + 1 && matches!(all[cases.len()], Ok(8)), "{all:?}");
}

type Object = (String, Vec<f64>, Option<Value<u64>>, Vec<Fd>, Option<Connection<u8>>, Array<u32>);

fn object() -> Object {
    let fds = (0..2).map(|_| Fd::from(OwnedFd::from(memory(b"a file")))).collect();
    let (connection, _) = pipe::duplex().unwrap();
    let array = Array::from_iter(0..5).unwrap();
    ("text".into(), vec![0.5, 1.5], Some(Value::new(7).unwrap()), fds, Some(connection), array)
}

fn is_of_one_message(error: &Error) -> bool {
    matches!(error, Error::NotSendable { .. } | Error::TypeMismatch { .. } | Error::Corrupt { .. })
}

#[test]
fn objects_that_are_no_objects() {
    let _deadline = Deadline::seconds(100, "objects_that_are_no_objects");
    let (here, there) = pipe::duplex::<Object>().unwrap();
    let refused = |bytes: &[u8], descriptors: &[BorrowedFd<'_>], why: &str| {
        inject(&here, bytes, descriptors);
        here.send(&object()).unwrap();
        let error = there.recv().map(drop).unwrap_err();
        assert!(matches!(error, Error::NotSendable { .. }) && error.to_string().contains(why), "{error}, not {why}");
        assert_eq!(there.recv().unwrap().2.unwrap().get().unwrap(), 7);
    };
    here.send(&object()).unwrap();
    let (bytes, descriptors) = capture(&there);
    let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
    assert_eq!(descriptors.len(), 5);
    inject(&here, &bytes, &descriptors);
    drop(there.recv().unwrap());
    for length in 1..bytes.len() {
        refused(&bytes[..length], &descriptors, "");
    }
    // More than there should be.
    refused(&[&*bytes, &[0]].concat(), &descriptors, "1 bytes follow");
    refused(&[&*bytes, &bytes[1..]].concat(), &descriptors, "bytes follow");
    inject(&here, &bytes, &[&*descriptors, &[descriptors[0]; 248]].concat());
    drop(there.recv().unwrap());
    // Fewer descriptors, none, and in another order.
    (0..5).for_each(|count| refused(&bytes, &descriptors[..count], &format!("of {count}")));
    let reversed: Vec<_> = descriptors.iter().rev().copied().collect();
    refused(&bytes, &reversed, "");
    let socket = UnixStream::pair().unwrap().0;
    for at in [0, 3, 4] {
        for other in [socket.as_fd(), memory(b"").as_fd(), hollow(1 << 50).as_fd(), File::open("src").unwrap().as_fd()]
        {
            let mut mixed = descriptors.clone();
            mixed[at] = other;
            refused(&bytes, &mixed, "");
        }
    }
    // Lengths of nearly 2^64 bytes, and as many elements: of the text, and of the vector after it.
    let huge = [255, 255, 255, 255, 255, 255, 255, 255, 255, 1];
    refused(&[&[OBJECT], &huge[..], b"text"].concat(), &descriptors, "");
    refused(&[&[OBJECT, 1, b'a'], &huge[..], &[0; 64]].concat(), &descriptors, "");
    let almost_huge = [255, 255, 255, 255, 7];
    refused(&[&[OBJECT, 1, b'a'], &almost_huge[..], &[0; 64]].concat(), &descriptors, "");
    let most = most_at_a_time();
    assert!(most < 4 << 20, "{most} bytes asked for");
}

/// Bytes changed, cut and repeated; descriptors left out, repeated and exchanged.
#[test]
fn anything_at_all() {
    fn inject_anything() -> Result<(usize, usize)> {
        let mut random = Random::new();
        let (here, there) = pipe::duplex::<Object>()?;
        let open = || fs::read_dir("/proc/self/fd").unwrap().count();
        let (mut good, mut bad, mut before) = (0, 0, 0);
        for round in 0..3000 {
            let (mut bytes, mut descriptors) = match random.below(3) {
                0 => (
                    vec![random.below(4) as u8 * 64 + random.below(3) as u8; 1 + random.below(30) as usize],
                    Vec::new(),
                ),
                _ => {
                    here.send(&object())?;
                    capture(&there)
                }
            };
            let changes = random.below(4);
            for _ in 0..changes {
                let at = random.below(bytes.len() as u64) as usize;
                match random.below(7) {
                    0 => bytes[at] = random.below(256) as u8,
                    1 => bytes[at] ^= 1 << random.below(8),
                    2 => bytes.truncate(at + 1),
                    3 => bytes.extend_from_within(at..),
                    4 => descriptors.truncate(random.below(6) as usize),
                    5 => descriptors.push(memory(&bytes).into()),
                    _ => descriptors.reverse(),
                }
            }
            inject(&here, &bytes, &descriptors.iter().map(AsFd::as_fd).collect::<Vec<_>>());
            drop(descriptors);
            let received = match random.below(4) {
                0 => there.recv_bytes().map(drop),
                1 => there.recv_timeout(LONG).map(drop),
                2 => there.try_recv().map(drop),
                _ => there.recv().map(drop),
            };
            match received {
                Ok(()) => good += 1,
                Err(error) if is_of_one_message(&error) => bad += 1,
                Err(error) => return Err(error),
            }
            here.send(&object())?;
            assert_eq!(there.try_recv()?.2.unwrap().get()?, 7);
            assert!(there.try_recv().is_err_and(|error| error.is_would_block()));
            if round == 100 {
                before = open();
            }
        }
        assert_eq!(open(), before, "descriptors");
        let most = most_at_a_time();
        assert!(most < 4 << 20, "{most} bytes asked for");
        Ok((good, bad))
    }
    let _deadline = Deadline::seconds(100, "anything_at_all");
    let (good, bad) = Process::spawn(inject_anything, ()).unwrap().join().unwrap();
    assert!(good > 100 && bad > 100, "{good} good, {bad} bad");
}

/// Whoever serves many goes on when one of them sends what is no request.
#[test]
fn requests_that_are_none() {
    let _deadline = Deadline::seconds(100, "requests_that_are_none");
    let (caller, responder) = pipe::call::<u32, u32>().unwrap();
    let serving = thread::spawn(move || responder.serve(|number| number + 1));
    for bytes in [&[][..], &[OBJECT], &[OBJECT, 1], &[OBJECT, 1, 0], &[BYTES], &[77], &[IN_FILE], &[OBJECT, 1, 200, 1]]
    {
        for descriptors in [&[][..], &[memory(b"").as_fd()], &[pipe::duplex::<u32>().unwrap().0.as_fd(); 3]] {
            inject(&caller, bytes, descriptors);
            assert_eq!(caller.call_timeout(&1, LONG).unwrap(), 2);
        }
    }
    drop(caller);
    serving.join().unwrap().unwrap();
}

/// A message for which there is no memory is an error before any of it is taken.
#[test]
fn more_than_there_is_memory() {
    const LENGTH: usize = 1 << 46;
    let _deadline = Deadline::seconds(100, "more_than_there_is_memory");
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new mapping at an address of the kernel's choice.
    let address = unsafe { libc::mmap(std::ptr::null_mut(), LENGTH, libc::PROT_READ, flags, -1, 0) };
    if address == libc::MAP_FAILED {
        eprintln!("skipped: this system reserves memory for whatever is mapped");
        return;
    }
    // SAFETY: mapped to be read, for the rest of the process's life, and written by nobody.
    let bytes = unsafe { std::slice::from_raw_parts(address.cast::<u8>(), LENGTH) };
    let (sender, receiver) = pipe::simplex::<()>().unwrap();
    assert!(matches!(sender.send_bytes(bytes), Err(Error::OutOfMemory { .. })));
    assert!(matches!(sender.try_send_bytes(bytes), Err(Error::OutOfMemory { .. })));
    sender.send_bytes(b"less").unwrap();
    assert_eq!(receiver.recv_bytes().unwrap(), b"less");
    // SAFETY: mapped above; the slice is not used any more.
    assert_eq!(unsafe { libc::munmap(address, LENGTH) }, 0);
}

/// An end that never had another one.
#[test]
fn ends_that_are_connected_to_nothing() {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    let socket = || socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    let (here, there) = pipe::duplex::<Connection<u32>>().unwrap();
    here.send(&pipe::duplex().unwrap().0).unwrap();
    let (bytes, _) = capture(&there);
    inject(&here, &bytes, &[socket().as_fd()]);
    let end = there.recv().unwrap();
    assert!(end.poll().unwrap());
    assert!(matches!(end.recv(), Err(Error::Closed)) && matches!(end.send(&1), Err(Error::Closed)));
    assert!(end.iter().next().is_none());
}
