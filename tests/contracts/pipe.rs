//! What pipes promise, between processes that were started in any way: each test runs by the start method of the program
//! that includes this file.
//!
//! Impossible by types (`tests/ui`): a receiver that sends and a sender that receives or polls; use after the end was
//! closed (dropped); an offset or size that lies outside the bytes (they are slices); a negative time limit; a descriptor
//! that is none.
//! There are no listeners: a program that was not started by another one finds it by names in shared memory.

use std::{
    fs::{self, File},
    io::{Read, Seek, Write},
    os::{
        fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
        unix::net::UnixStream,
    },
    sync::atomic::{AtomicU64, Ordering::SeqCst},
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use shmkit::{
    Array, Error, Event, Process, Queue, Result, Value,
    pipe::{self, Caller, Connection, Fd, Receiver, Reply, Responder, Sender},
    process::{Message, Outcome, Target},
};

/// Longer than any wait that succeeds.
const LONG: Duration = Duration::from_secs(50);

/// Hands the names of all tests of this file to a macro.
macro_rules! for_each_contract {
    ($run:ident) => {
        $run! {
            objects_and_bytes,
            sixteen_mebibytes,
            the_end_of_a_connection,
            what_was_sent_before_the_end_arrives,
            boundaries_are_kept,
            boundaries_are_kept_among_several_receivers,
            polls_take_nothing,
            times,
            a_full_pipe_makes_the_sender_wait,
            long_messages_make_the_sender_wait_too,
            small_buffers,
            sockets_that_do_not_wait,
            descriptors_travel,
            a_descriptor_that_did_not_come,
            ends_travel,
            ends_that_are_under_way,
            handles_travel,
            waiting_for_many,
            waiting_for_processes_and_connections,
            signals_change_nothing,
            a_killed_process_closes_its_ends,
            a_child_has_the_ends_that_it_was_given,
            requests_and_answers,
            requests_that_nobody_answers,
            answers_by_another_one,
            objects_that_cannot_travel,
        }
    };
}
pub(crate) use for_each_contract;

/// A child that does not outlive the test, whatever becomes of it.
fn start<F, A>(target: F, args: A) -> Process<<F::Outcome as Outcome>::Output>
where
    F: Target<A>,
    A: Message,
{
    Process::builder(target).args(args).daemon(true).start().unwrap()
}

fn joined<T>(process: &Process<T>) -> T {
    match process.join_timeout(LONG).unwrap() {
        Some(value) => value,
        None => {
            process.kill().unwrap();
            panic!("{process:?} has not ended");
        }
    }
}

fn is_closed<T>(result: Result<T>) -> bool {
    matches!(result, Err(Error::Closed))
}

fn echo(connection: Connection<Vec<f64>>) -> Result<()> {
    for object in connection.iter() {
        connection.send(&object?)?;
        let bytes = connection.recv_bytes()?;
        connection.send_bytes(&bytes)?;
    }
    Ok(())
}

/// `test_connection`, `test_sendbytes`.
pub(crate) fn objects_and_bytes() {
    let (here, there) = pipe::duplex().unwrap();
    let child = start(echo, (there,));
    let numbers: Vec<f64> = (0..100).map(f64::from).collect();
    let text = b"latin to the end";
    for range in [0..16, 6..16, 6..8, 0..0, 16..16] {
        here.send(&numbers).unwrap();
        assert_eq!(here.recv_timeout(LONG).unwrap(), numbers);
        here.send_bytes(&text[range.clone()]).unwrap();
        assert_eq!(here.recv_bytes_timeout(LONG).unwrap(), &text[range]);
    }
    let echoed = |bytes: &[u8]| {
        here.send(&Vec::new()).unwrap();
        here.recv_timeout(LONG).unwrap();
        here.send_bytes(bytes).unwrap();
    };
    // Into a part of a buffer.
    let mut buffer = [7_u8; 12];
    echoed(&text[..5]);
    assert_eq!(here.recv_bytes_into_timeout(&mut buffer[4..], LONG).unwrap(), 5);
    assert_eq!(&buffer, b"\x07\x07\x07\x07latin\x07\x07\x07");
    echoed(text);
    match here.recv_bytes_into_timeout(&mut buffer, LONG) {
        Err(Error::BufferTooShort { message, room: 12 }) => assert_eq!(message, text),
        other => panic!("{other:?}"),
    }
    drop(here);
    joined(&child);
}

/// `test_connection`, in both ways; and sizes about those at which a message changes its way.
pub(crate) fn sixteen_mebibytes() {
    let (here, there) = pipe::duplex().unwrap();
    let child = start(echo, (there,));
    for size in [0, 1, 65534, 65535, 65536, 16 << 20] {
        let bytes: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
        here.send(&vec![0.5; size / 8]).unwrap();
        assert!(here.recv_timeout(LONG).unwrap() == vec![0.5; size / 8], "{size}");
        here.send_bytes(&bytes).unwrap();
        assert!(here.recv_bytes_timeout(LONG).unwrap() == bytes, "{size}");
    }
    drop(here);
    joined(&child);
}

/// `test_connection`, `test_spawn_close`, `test_context`.
pub(crate) fn the_end_of_a_connection() {
    let (here, there) = pipe::duplex::<u32>().unwrap();
    // The child's end is closed here at once.
    let child = start(|connection: Connection<u32>| connection.send(&connection.recv()?), (there,));
    here.send(&5).unwrap();
    assert_eq!(here.recv_timeout(LONG).unwrap(), 5);
    assert!(is_closed(here.recv_timeout(LONG)) && is_closed(here.recv_bytes()) && is_closed(here.try_recv()));
    assert!(here.poll().unwrap());
    assert!(is_closed(here.send(&5)) && is_closed(here.try_send(&5)) && is_closed(here.send_bytes(&[0; 1 << 20])));
    joined(&child);

    let (sender, receiver) = pipe::simplex::<u32>().unwrap();
    let child = start(|sender: Sender<u32>| sender.send(&1), (sender,));
    assert_eq!(receiver.iter().map(Result::unwrap).collect::<Vec<_>>(), [1]);
    joined(&child);

    let (sender, receiver) = pipe::simplex::<u32>().unwrap();
    let child = start(
        |receiver: Receiver<u32>| {
            drop(receiver);
        },
        (receiver,),
    );
    joined(&child);
    assert!(is_closed(sender.send(&1)));

    // Clones are one end.
    let (sender, receiver) = pipe::simplex::<u32>().unwrap();
    let clone = sender.clone();
    drop(sender);
    clone.send(&2).unwrap();
    drop(clone);
    assert_eq!(receiver.recv_timeout(LONG).unwrap(), 2);
    assert!(is_closed(receiver.recv_timeout(LONG)));
}

/// 14725: also what was sent to one who had not read what was sent to it.
pub(crate) fn what_was_sent_before_the_end_arrives() {
    let (here, there) = pipe::duplex::<u32>().unwrap();
    here.send(&0).unwrap();
    let child = start(|connection: Connection<u32>| (1..=3).try_for_each(|i| connection.send(&i)), (there,));
    joined(&child);
    assert!(here.poll_timeout(LONG).unwrap());
    let received: Vec<_> = here.iter().map(Result::unwrap).collect();
    assert_eq!(received, [1, 2, 3]);
    assert!(is_closed(here.send(&4)));
}

/// `_TestPoll`: messages are not merged, and not parted.
pub(crate) fn boundaries_are_kept() {
    let (sender, receiver) = pipe::simplex::<()>().unwrap();
    let child = start(
        |sender: Sender<()>| (0..100_usize).try_for_each(|i| sender.send_bytes(&vec![i as u8; (i * 7919) % 70_000])),
        (sender,),
    );
    for i in 0..100_usize {
        assert!(receiver.recv_bytes_timeout(LONG).unwrap() == vec![i as u8; (i * 7919) % 70_000], "{i}");
    }
    assert!(is_closed(receiver.recv_bytes_timeout(LONG)));
    joined(&child);
}

/// `_TestPoll`, with several who receive: each message is whole, and one's.
pub(crate) fn boundaries_are_kept_among_several_receivers() {
    const MESSAGES: u32 = 100;
    let bytes = |number: u32| vec![number as u8; (number as usize * 7919) % 140_000];
    let (sender, receiver) = pipe::simplex::<(u32, Vec<u8>)>().unwrap();
    let take = |receiver: Receiver<(u32, Vec<u8>)>| receiver.iter().collect::<Result<Vec<_>>>();
    let children = [0; 3].map(|_| start(take, (receiver.clone(),)));
    drop(receiver);
    (0..MESSAGES).for_each(|number| sender.send(&(number, bytes(number))).unwrap());
    drop(sender);
    let mut all: Vec<_> = children.iter().flat_map(joined).collect();
    all.sort_unstable();
    assert!(all.into_iter().eq((0..MESSAGES).map(|number| (number, bytes(number)))));
}

/// `_TestPoll`: an empty message can be polled for, twice; who polls elsewhere takes nothing.
pub(crate) fn polls_take_nothing() {
    let (sender, receiver) = pipe::simplex::<()>().unwrap();
    assert!(!receiver.poll().unwrap());
    sender.send_bytes(b"").unwrap();
    assert!(receiver.poll().unwrap() && receiver.poll_timeout(LONG).unwrap());
    assert_eq!(receiver.recv_bytes().unwrap(), b"");
    assert!(!receiver.poll().unwrap());

    let stop = Event::new().unwrap();
    let child = start(
        |receiver: Receiver<()>, stop: Event| {
            while !stop.is_set() {
                receiver.poll_timeout(Duration::from_millis(1))?;
            }
            Ok::<_, Error>(())
        },
        (receiver.clone(), stop.clone()),
    );
    for i in 0..200_u8 {
        sender.send_bytes(&[i; 50]).unwrap();
        assert_eq!(receiver.recv_bytes_timeout(LONG).unwrap(), [i; 50]);
    }
    stop.set();
    joined(&child);
}

/// The time-outs of `test_connection` and `_TestPoll`.
pub(crate) fn times() {
    let (here, there) = pipe::duplex::<u8>().unwrap();
    let time = Duration::from_millis(150);
    let begin = Instant::now();
    assert!(!here.poll().unwrap() && !here.poll_timeout(Duration::ZERO).unwrap());
    assert!(!here.poll_deadline(begin).unwrap());
    assert!(here.try_recv().unwrap_err().is_would_block() && here.try_recv_bytes().unwrap_err().is_would_block());
    for waits in [
        |connection: &Connection<u8>, time| connection.poll_timeout(time).map(|ready| assert!(!ready)),
        |connection: &Connection<u8>, time| {
            connection.poll_deadline(Instant::now() + time).map(|ready| assert!(!ready))
        },
    ] {
        let begin = Instant::now();
        waits(&here, time).unwrap();
        assert!(begin.elapsed() >= time);
    }
    for waits in [
        |connection: &Connection<u8>, time| connection.recv_timeout(time).map(drop),
        |connection: &Connection<u8>, time| connection.recv_deadline(Instant::now() + time).map(drop),
        |connection: &Connection<u8>, time| connection.recv_bytes_timeout(time).map(drop),
        |connection: &Connection<u8>, time| connection.recv_bytes_into_timeout(&mut [0], time).map(drop),
    ] {
        let begin = Instant::now();
        assert!(waits(&here, time).unwrap_err().is_timed_out());
        assert!(begin.elapsed() >= time);
    }
    there.send(&1).unwrap();
    assert_eq!(here.recv_timeout(Duration::MAX).unwrap(), 1);
}

/// Whoever is faster.
pub(crate) fn a_full_pipe_makes_the_sender_wait() {
    let (sender, receiver) = pipe::simplex::<[u64; 32]>().unwrap();
    let mut sent = 0;
    while sender.try_send(&[sent; 32]).is_ok() {
        sent += 1;
    }
    assert!(sent > 100, "{sent}");
    assert!(sender.try_send(&[0; 32]).unwrap_err().is_would_block());
    let begin = Instant::now();
    assert!(sender.send_timeout(&[0; 32], Duration::from_millis(150)).unwrap_err().is_timed_out());
    assert!(begin.elapsed() >= Duration::from_millis(150));
    let child = start(
        |receiver: Receiver<[u64; 32]>| {
            let numbers = receiver.iter().map(|message| message.map(|numbers| numbers[31]));
            numbers.collect::<Result<Vec<u64>>>()
        },
        (receiver,),
    );
    for number in sent..10_000 {
        match number % 3 {
            0 => sender.send(&[number; 32]).unwrap(),
            1 => sender.send_timeout(&[number; 32], LONG).unwrap(),
            _ => sender.send_deadline(&[number; 32], Instant::now() + LONG).unwrap(),
        }
    }
    drop(sender);
    assert_eq!(joined(&child), (0..10_000).collect::<Vec<_>>());

    // One who waits is told when the other end is closed.
    let (sender, receiver) = pipe::simplex::<[u64; 32]>().unwrap();
    let waiting = thread::spawn(move || (0..1_000_000).try_for_each(|i| sender.send(&[i; 32])));
    receiver.recv_timeout(LONG).unwrap();
    thread::sleep(Duration::from_millis(20));
    drop(receiver);
    assert!(is_closed(waiting.join().unwrap()));
}

/// They lie in memory of their own, and yet only a few are under way: a receiver that is slow costs no more memory than that.
pub(crate) fn long_messages_make_the_sender_wait_too() {
    const LENGTH: usize = 1 << 20;
    let (sender, receiver) = pipe::simplex::<()>().unwrap();
    let mut sent = 0;
    while sender.try_send_bytes(&vec![sent; LENGTH]).is_ok() {
        sent += 1;
    }
    assert!((1..=20).contains(&sent), "{sent}");
    assert!(sender.send_bytes_timeout(&vec![sent; LENGTH], Duration::from_millis(50)).unwrap_err().is_timed_out());
    let child = start(
        |receiver: Receiver<()>| {
            (0..50).try_for_each(|number| {
                receiver.recv_bytes().map(|bytes| assert!(bytes.len() == LENGTH && bytes.iter().all(|b| *b == number)))
            })
        },
        (receiver,),
    );
    for number in sent..50 {
        match number % 2 {
            0 => sender.send_bytes(&vec![number; LENGTH]).unwrap(),
            _ => sender.send_bytes_timeout(&vec![number; LENGTH], LONG).unwrap(),
        }
    }
    joined(&child);
}

/// Of a socket whose buffer somebody has made as small as it can be.
pub(crate) fn small_buffers() {
    let (here, there) = pipe::duplex::<Vec<f64>>().unwrap();
    let size: libc::c_int = 1;
    // SAFETY: reads a live number.
    let set = unsafe {
        let length = size_of_val(&size) as libc::socklen_t;
        libc::setsockopt(here.as_fd().as_raw_fd(), libc::SOL_SOCKET, libc::SO_SNDBUF, (&raw const size).cast(), length)
    };
    assert_eq!(set, 0);
    let child = start(echo, (there,));
    for length in [0, 100, 1000, 5000, 10_000, 100_000] {
        here.send(&vec![0.25; length]).unwrap();
        assert!(here.recv_timeout(LONG).unwrap() == vec![0.25; length], "{length}");
        here.send_bytes_timeout(&vec![3; length], LONG).unwrap();
        assert!(here.recv_bytes_timeout(LONG).unwrap() == vec![3; length], "{length}");
    }
    drop(here);
    joined(&child);
}

/// Whoever else has an end can tell the kernel that nobody waits at it: those who want to wait do.
pub(crate) fn sockets_that_do_not_wait() {
    let (here, there) = pipe::duplex::<[u64; 32]>().unwrap();
    for end in [&here, &there] {
        // SAFETY: changes a flag of a descriptor that is open.
        assert_eq!(unsafe { libc::fcntl(end.as_fd().as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) }, 0);
    }
    let child = start(
        |connection: Connection<[u64; 32]>| {
            let numbers = connection.recv()?;
            (0..2000).try_for_each(|_| connection.send(&numbers))?;
            connection.recv()
        },
        (there,),
    );
    thread::sleep(Duration::from_millis(20));
    here.send(&[1; 32]).unwrap();
    assert!(here.poll_timeout(LONG).unwrap());
    thread::sleep(Duration::from_millis(50));
    (0..2000).for_each(|_| assert_eq!(here.recv().unwrap(), [1; 32]));
    here.send(&[2; 32]).unwrap();
    assert_eq!(joined(&child), [2; 32]);
}

fn file_of(fd: Fd) -> File {
    File::from(OwnedFd::from(fd))
}

/// `test_fd_transfer`, `test_large_fd_transfer`.
pub(crate) fn descriptors_travel() {
    let memory = file_of(memory());
    // SAFETY: duplicates a live descriptor.
    let high = unsafe { libc::fcntl(memory.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 500) };
    assert!(high >= 500);
    // SAFETY: just made.
    let high = unsafe { OwnedFd::from_raw_fd(high) };
    let (sender, receiver) = pipe::simplex::<Vec<Fd>>().unwrap();
    let child = start(
        |files: Receiver<Vec<Fd>>, one: Fd| {
            write!(file_of(one), "one ").unwrap();
            for fd in files.recv()? {
                write!(file_of(fd), "more ").unwrap();
            }
            Ok::<_, Error>(())
        },
        (receiver, Fd::from(memory.as_fd().try_clone_to_owned().unwrap())),
    );
    let low = memory.as_fd().try_clone_to_owned().unwrap();
    sender.send(&vec![low.into(), high.into()]).unwrap();
    joined(&child);
    let mut text = String::new();
    (&memory).rewind().unwrap();
    (&memory).read_to_string(&mut text).unwrap();
    assert_eq!(text, "one more more ");

    // Through a queue, too.
    let queue = Queue::new().unwrap();
    queue.put(&Fd::from(OwnedFd::from(memory))).unwrap();
    let mut file = file_of(queue.get_timeout(LONG).unwrap());
    file.rewind().unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "one more more ");
}

fn memory() -> Fd {
    // SAFETY: takes a name and flags.
    let fd = unsafe { libc::memfd_create(c"shmkit-test".as_ptr(), libc::MFD_CLOEXEC) };
    assert!(fd >= 0);
    // SAFETY: just made.
    unsafe { OwnedFd::from_raw_fd(fd) }.into()
}

/// What says that a descriptor goes along where none does.
#[derive(Debug)]
struct Forged;

impl Serialize for Forged {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        0_u32.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Forged {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Fd::deserialize(deserializer).map(|_| Self)
    }
}

/// Of a pipe's end that was said to come, an ordinary file comes.
#[derive(Debug)]
struct NoEnd;

impl Serialize for NoEnd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (memory(), 0_u64).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for NoEnd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Sender::<u8>::deserialize(deserializer).map(|_| Self)
    }
}

/// `test_missing_fd_transfer`.
pub(crate) fn a_descriptor_that_did_not_come() {
    let (here, there) = pipe::duplex::<Forged>().unwrap();
    here.send(&Forged).unwrap();
    let error = there.recv_timeout(LONG).unwrap_err();
    assert!(matches!(error, Error::NotSendable { .. }) && error.to_string().contains("descriptor 0 of 0"), "{error}");
    let (here, there) = pipe::duplex::<NoEnd>().unwrap();
    here.send(&NoEnd).unwrap();
    let error = there.recv_timeout(LONG).unwrap_err();
    assert!(error.to_string().contains("no end of a pipe"), "{error}");
    let (here, there) = pipe::duplex::<Vec<Fd>>().unwrap();
    let too_many = (0..253).map(|_| memory()).collect();
    assert!(matches!(here.send(&too_many), Err(Error::InvalidArgument { .. })));
    here.send(&too_many.into_iter().skip(1).collect()).unwrap();
    assert_eq!(there.recv_timeout(LONG).unwrap().len(), 252);
}

/// `_TestPicklingConnections`.
pub(crate) fn ends_travel() {
    type Ends = (Connection<String>, Sender<String>, Receiver<String>, Fd);
    let (parcels, childs) = pipe::simplex::<Ends>().unwrap();
    let child = start(
        |parcels: Receiver<Ends>| {
            let (connection, sender, receiver, socket) = parcels.recv()?;
            connection.send(&connection.recv()?.to_uppercase())?;
            sender.send(&receiver.recv()?.to_uppercase())?;
            let mut socket = UnixStream::from(OwnedFd::from(socket));
            let mut text = String::new();
            socket.read_to_string(&mut text).unwrap();
            write!(socket, "{}", text.to_uppercase()).unwrap();
            Ok::<_, Error>(())
        },
        (childs,),
    );
    let (connection, its_connection) = pipe::duplex().unwrap();
    let (its_sender, receiver) = pipe::simplex().unwrap();
    let (sender, its_receiver) = pipe::simplex().unwrap();
    let (mut socket, its_socket) = UnixStream::pair().unwrap();
    parcels.send(&(its_connection, its_sender, its_receiver, OwnedFd::from(its_socket).into())).unwrap();
    connection.send(&"both".into()).unwrap();
    sender.send(&"one".into()).unwrap();
    write!(socket, "any").unwrap();
    socket.shutdown(std::net::Shutdown::Write).unwrap();
    let mut text = String::new();
    socket.read_to_string(&mut text).unwrap();
    assert_eq!(text, "ANY");
    assert_eq!(connection.recv_timeout(LONG).unwrap(), "BOTH");
    assert_eq!(receiver.recv_timeout(LONG).unwrap(), "ONE");
    joined(&child);
    assert!(is_closed(connection.recv_timeout(LONG)) && is_closed(receiver.recv_timeout(LONG)));
}

/// One is somebody's as long as it can still be received; and no longer.
pub(crate) fn ends_that_are_under_way() {
    let (here, there) = pipe::duplex::<u32>().unwrap();
    let (parcels, its_parcels) = pipe::simplex::<Connection<u32>>().unwrap();
    parcels.send(&there).unwrap();
    drop((parcels, there));
    assert!(!here.poll().unwrap() && here.try_recv().unwrap_err().is_would_block());
    here.send(&1).unwrap();
    let child = start(
        |parcels: Receiver<Connection<u32>>| {
            let connection = parcels.recv()?;
            connection.send(&(connection.recv()? + 1))
        },
        (its_parcels,),
    );
    assert_eq!(here.recv_timeout(LONG).unwrap(), 2);
    assert!(is_closed(here.recv_timeout(LONG)));
    joined(&child);

    // The one who could have received it is killed.
    let (here, there) = pipe::duplex::<u32>().unwrap();
    let (parcels, its_parcels) = pipe::simplex::<Connection<u32>>().unwrap();
    let child = start(
        |_parcels: Receiver<Connection<u32>>| -> Result<()> {
            loop {
                thread::park();
            }
        },
        (its_parcels,),
    );
    parcels.send(&there).unwrap();
    drop(there);
    assert!(here.try_recv().unwrap_err().is_would_block());
    child.kill().unwrap();
    assert!(is_closed(here.recv_timeout(LONG)) && is_closed(parcels.send(&here)));
}

/// Also when the sender is gone before they are received.
pub(crate) fn handles_travel() {
    let (sender, receiver) = pipe::simplex::<(Array<u64>, Vec<Value<f64>>)>().unwrap();
    let child = start(
        |sender: Sender<(Array<u64>, Vec<Value<f64>>)>| {
            sender.send(&(Array::from_iter(0..1000)?, vec![Value::new(0.5)?, Value::new(1.5)?]))
        },
        (sender,),
    );
    joined(&child);
    let (array, values) = receiver.recv_timeout(LONG).unwrap();
    assert_eq!(array.lock().unwrap().iter().sum::<u64>(), 499_500);
    assert_eq!(values.iter().map(|value| value.get().unwrap()).sum::<f64>(), 2.0);
}

/// `TestWait`: until all are at their ends; other descriptors, too.
pub(crate) fn waiting_for_many() {
    let time = Duration::from_millis(150);
    assert_eq!(pipe::wait(&[]).unwrap(), []);
    let (_sender, receiver) = pipe::simplex::<u32>().unwrap();
    let begin = Instant::now();
    assert_eq!(pipe::wait_timeout(&[&receiver], Duration::ZERO).unwrap(), []);
    assert_eq!(pipe::wait_timeout(&[&receiver], time).unwrap(), []);
    assert!(begin.elapsed() >= time);
    assert_eq!(pipe::wait_deadline(&[&receiver], Instant::now()).unwrap(), []);

    let mut children = Vec::new();
    let mut receivers = Vec::new();
    for who in 0..4_u32 {
        let (sender, receiver) = pipe::simplex::<(u32, u32)>().unwrap();
        children.push(start(
            |sender: Sender<(u32, u32)>, who: u32| {
                for number in 0..10 {
                    thread::sleep(Duration::from_millis(u64::from((7 * number + who) % 4)));
                    sender.send(&(who, number))?;
                }
                Ok::<_, Error>(())
            },
            (sender, who),
        ));
        receivers.push(receiver);
    }
    let mut got = Vec::new();
    while !receivers.is_empty() {
        let sources: Vec<&dyn AsFd> = receivers.iter().map(|receiver| receiver as &dyn AsFd).collect();
        let ready = pipe::wait_timeout(&sources, LONG).unwrap();
        assert!(!ready.is_empty());
        for at in ready.into_iter().rev() {
            match receivers[at].try_recv() {
                Ok(message) => got.push(message),
                Err(Error::Closed) => drop(receivers.remove(at)),
                Err(error) => panic!("{error}"),
            }
        }
    }
    got.sort_unstable();
    assert_eq!(got, (0..4).flat_map(|who| (0..10).map(move |number| (who, number))).collect::<Vec<_>>());
    children.iter().for_each(joined);

    let (here, mut there) = UnixStream::pair().unwrap();
    assert_eq!(pipe::wait_timeout(&[&here], Duration::ZERO).unwrap(), []);
    there.write_all(b"?").unwrap();
    assert_eq!(pipe::wait_timeout(&[&receiver, &here], LONG).unwrap(), [1]);
}

/// `TestWait`: `wait_integer`, `wait_socket`, a sentinel among others.
pub(crate) fn waiting_for_processes_and_connections() {
    let (a, its_a) = pipe::duplex::<u8>().unwrap();
    let (b, its_b) = pipe::duplex::<u8>().unwrap();
    let go = Event::new().unwrap();
    let child = start(|go: Event| go.wait(), (go.clone(),));
    let all: [&dyn AsFd; 3] = [&a, &child, &b];
    assert_eq!(pipe::wait_timeout(&all, Duration::from_millis(20)).unwrap(), []);
    its_b.send(&1).unwrap();
    assert_eq!(pipe::wait_timeout(&all, LONG).unwrap(), [2]);
    go.set();
    joined(&child);
    assert_eq!(pipe::wait_timeout(&all, LONG).unwrap(), [1, 2]);
    drop(its_a);
    assert_eq!(pipe::wait_timeout(&all, LONG).unwrap(), [0, 1, 2]);
}

/// `TestIgnoreEINTR`: in a child that is interrupted every millisecond.
pub(crate) fn signals_change_nothing() {
    static SIGNALS: AtomicU64 = AtomicU64::new(0);
    let (here, there) = pipe::duplex::<Vec<u64>>().unwrap();
    let child = start(
        |connection: Connection<Vec<u64>>| {
            crate::support::storm_of_signals(&SIGNALS);
            for _ in 0..3 {
                let numbers = connection.recv()?;
                assert!(!connection.poll_timeout(Duration::from_millis(30))?);
                assert!(connection.recv_timeout(Duration::from_millis(30)).unwrap_err().is_timed_out());
                assert_eq!(pipe::wait_timeout(&[&connection], Duration::from_millis(30))?, []);
                // More than is received at once; long ones, too.
                (0..20).try_for_each(|_| connection.send(&numbers))?;
                (0..20).try_for_each(|_| connection.send_timeout(&numbers, LONG))?;
                (0..4).try_for_each(|i| connection.send_bytes(&vec![i; 1 << 20]))?;
            }
            connection.send(&vec![SIGNALS.load(SeqCst)])
        },
        (there,),
    );
    let numbers: Vec<u64> = (0..5000).collect();
    for _ in 0..3 {
        thread::sleep(Duration::from_millis(30));
        here.send(&numbers).unwrap();
        thread::sleep(Duration::from_millis(100));
        (0..40).for_each(|_| assert_eq!(here.recv_timeout(LONG).unwrap(), numbers));
        (0..4).for_each(|i| assert!(here.recv_bytes_timeout(LONG).unwrap() == vec![i; 1 << 20]));
    }
    assert!(here.recv_timeout(LONG).unwrap()[0] > 100);
    joined(&child);
}

/// While others wait for it.
pub(crate) fn a_killed_process_closes_its_ends() {
    let (here, there) = pipe::duplex::<u32>().unwrap();
    let (sender, its_receiver) = pipe::simplex::<[u64; 32]>().unwrap();
    let child = start(
        |connection: Connection<u32>, receiver: Receiver<[u64; 32]>| {
            connection.send(&1)?;
            connection.recv()?;
            receiver.recv().map(drop)
        },
        (there, its_receiver),
    );
    let sending = thread::spawn(move || (0..).try_for_each(|i| sender.send(&[i; 32])));
    assert_eq!(here.recv_timeout(LONG).unwrap(), 1);
    let killing = thread::spawn(move || {
        thread::sleep(Duration::from_millis(50));
        child.kill().unwrap();
        child
    });
    assert!(is_closed(here.recv_timeout(LONG)));
    assert!(is_closed(sending.join().unwrap()));
    assert!(matches!(killing.join().unwrap().join(), Err(Error::ChildDied { .. })));
}

/// By whatever start: of two children, each sees the end of this process's ends although the other one was started in
/// between.
pub(crate) fn a_child_has_the_ends_that_it_was_given() {
    let wait = |connection: Connection<u32>| {
        let first = connection.recv()?;
        match connection.recv_timeout(LONG) {
            Err(Error::Closed) => Ok(first),
            Err(error) => Err(error),
            Ok(_) => unreachable!(),
        }
    };
    let (a, its_a) = pipe::duplex::<u32>().unwrap();
    let (b, its_b) = pipe::duplex::<u32>().unwrap();
    let children = [start(wait, (its_a,)), start(wait, (its_b,))];
    a.send(&1).unwrap();
    b.send(&2).unwrap();
    drop((a, b));
    assert_eq!(children.map(|child| joined(&child)), [1, 2]);

    // All of those that are anywhere among the arguments, and both ends of one pipe.
    let (a, b) = pipe::duplex::<u32>().unwrap();
    let child = start(
        |mut ends: Vec<Option<Connection<u32>>>| {
            let (a, b) = (ends.remove(2).unwrap(), ends.remove(0).unwrap());
            a.send(&1)?;
            b.send(&2)?;
            Ok::<_, Error>((a.recv()?, b.recv()?))
        },
        (vec![Some(b), None, Some(a)],),
    );
    assert_eq!(joined(&child), (2, 1));
}

/// `pipe::call`: many who ask, many who answer.
pub(crate) fn requests_and_answers() {
    let (caller, responder) = pipe::call::<u64, String>().unwrap();
    let serve = |responder: Responder<u64, String>| responder.serve(|number| format!("{number}!"));
    let servers = [start(serve, (responder.clone(),)), start(serve, (responder,))];
    let asking = start(
        |caller: Caller<u64, String>| {
            (0..100).try_for_each(|i| caller.call(&i).map(|answer| assert_eq!(answer, format!("{i}!"))))
        },
        (caller.clone(),),
    );
    thread::scope(|scope| {
        for first in [1000, 2000, 3000] {
            let caller = caller.clone();
            scope.spawn(move || {
                for i in first..first + 100 {
                    assert_eq!(caller.call_timeout(&i, LONG).unwrap(), format!("{i}!"));
                }
            });
        }
    });
    joined(&asking);
    assert_eq!(caller.call_deadline(&7, Instant::now() + LONG).unwrap(), "7!");
    drop(caller);
    servers.iter().for_each(joined);
}

/// Who has taken a request dies or drops it, although another could answer; or nobody has taken it.
pub(crate) fn requests_that_nobody_answers() {
    let (caller, responder) = pipe::call::<bool, ()>().unwrap();
    let child = start(
        |responder: Responder<bool, ()>| {
            loop {
                match responder.recv()? {
                    (true, reply) => reply.send(&())?,
                    (false, _reply) => loop {
                        thread::park();
                    },
                }
            }
            #[expect(unreachable_code, reason = "names the type")]
            Ok::<(), Error>(())
        },
        (responder.clone(),),
    );
    caller.call_timeout(&true, LONG).unwrap();
    // Answered too late.
    assert!(caller.call_timeout(&false, Duration::from_millis(50)).unwrap_err().is_timed_out());
    // This process could answer, but the child has taken the request, and dies.
    assert!(responder.try_recv().unwrap_err().is_would_block());
    child.kill().unwrap();
    joined_dead(&child);
    let asking = thread::spawn({
        let caller = caller.clone();
        move || (caller.call_timeout(&true, LONG), caller.call_timeout(&true, LONG), caller.call_timeout(&true, LONG))
    });
    drop(responder.recv_timeout(LONG).unwrap());
    responder.recv_timeout(LONG).unwrap().1.send(&()).unwrap();
    eventually(|| responder_has_a_request(&responder));
    // Nobody has it any more.
    drop(responder);
    let (dropped, answered, abandoned) = asking.join().unwrap();
    assert!(matches!(dropped, Err(Error::NoReply)) && answered.is_ok() && matches!(abandoned, Err(Error::NoReply)));
    assert!(is_closed(caller.call(&true)));
}

/// The one who has taken requests hands on where their answers go; whoever gets them answers one and dies.
pub(crate) fn answers_by_another_one() {
    type Job = (u32, Reply<String>);
    let (caller, responder) = pipe::call::<u32, String>().unwrap();
    let ask = |number| {
        let caller = caller.clone();
        let asking = thread::spawn(move || caller.call_timeout(&number, LONG));
        (asking, responder.recv_timeout(LONG).unwrap())
    };
    let (jobs, its_jobs) = pipe::simplex::<Job>().unwrap();
    let child = start(
        |jobs: Receiver<Job>| -> Result<()> {
            let (number, reply) = jobs.recv()?;
            reply.send(&number.to_string())?;
            let _other = jobs.recv()?;
            loop {
                thread::park();
            }
        },
        (its_jobs,),
    );
    let (asking, job) = ask(1);
    jobs.send(&job).unwrap();
    drop(job);
    assert_eq!(asking.join().unwrap().unwrap(), "1");
    let (asking, job) = ask(2);
    jobs.send(&job).unwrap();
    drop(job);
    child.kill().unwrap();
    joined_dead(&child);
    assert!(matches!(asking.join().unwrap(), Err(Error::NoReply)));
}

fn joined_dead<T>(child: &Process<T>) {
    assert!(matches!(child.join_timeout(LONG), Err(Error::ChildDied { .. })));
}

fn responder_has_a_request(responder: &Responder<bool, ()>) -> bool {
    pipe::wait_timeout(&[responder], Duration::ZERO).unwrap() == [0]
}

#[track_caller]
fn eventually(condition: impl Fn() -> bool) {
    let end = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < end);
        thread::yield_now();
    }
}

/// They cost nothing but that call.
pub(crate) fn objects_that_cannot_travel() {
    #[derive(Debug, PartialEq)]
    struct Even(u32);
    impl Serialize for Even {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            match self.0 {
                13 => Err(serde::ser::Error::custom("thirteen")),
                other => other.serialize(serializer),
            }
        }
    }
    impl<'de> Deserialize<'de> for Even {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            match u32::deserialize(deserializer)? {
                odd if odd % 2 == 1 => Err(serde::de::Error::custom("odd")),
                even => Ok(Self(even)),
            }
        }
    }
    let (here, there) = pipe::duplex::<Even>().unwrap();
    assert!(matches!(here.send(&Even(13)), Err(Error::NotSendable { .. })));
    for number in [1, 2, 3, 4] {
        here.send(&Even(number)).unwrap();
    }
    here.send_bytes(b"6").unwrap();
    here.send(&Even(8)).unwrap();
    drop(here);
    assert!(matches!(there.recv(), Err(Error::NotSendable { .. })));
    assert_eq!(there.recv().unwrap(), Even(2));
    assert!(matches!(there.recv_bytes(), Err(Error::TypeMismatch { .. })));
    let rest: Vec<_> = there.iter().collect();
    assert!(matches!(rest[..], [Ok(Even(4)), Err(Error::TypeMismatch { .. }), Ok(Even(8))]), "{rest:?}");
}

/// No descriptor, whatever became of the messages. Where nothing else runs in this process.
#[allow(dead_code, reason = "for programs without threads")]
pub(crate) fn nothing_is_left_open() {
    let open = || fs::read_dir("/proc/self/fd").unwrap().count();
    let round = || {
        let (a, b) = pipe::duplex::<Vec<Fd>>().unwrap();
        for _ in 0..3 {
            a.send(&vec![memory(), memory()]).unwrap();
            a.send_bytes(&[1; 1 << 17]).unwrap();
        }
        b.recv().unwrap();
        b.recv_bytes().unwrap();
        assert!(b.recv_bytes().is_err() && b.recv().is_err());
        let (caller, responder) = pipe::call::<u8, Fd>().unwrap();
        assert!(caller.call_timeout(&1, Duration::from_millis(1)).unwrap_err().is_timed_out());
        let (_, reply) = responder.recv().unwrap();
        assert!(is_closed(reply.send(&memory())));
    };
    round();
    let before = open();
    (0..20).for_each(|_| round());
    assert_eq!(open(), before);
}
