//! Typed connections between two processes, over Unix sockets.
//!
//! * [`simplex`], one way: a [`Sender`] and a [`Receiver`].
//! * [`duplex`], both ways: two [`Connection`]s.
//! * [`call()`], requests and their answers: a [`Caller`] and a [`Responder`].
//! * [`wait`], for whichever of several connections, processes and other descriptors has something to tell first.
//!
//! Ends go to a child as arguments, or through pipes and queues as parts of messages; so do all handles of shared memory,
//! and [any descriptor](Fd). At most 252 descriptors can go with one message, and each region, end and descriptor is one.
//!
//! A message is of any length, and is received whole and by one receiver, however many there are. A sender waits when
//! about 200 KiB are under way that nobody has received, or a dozen messages of more than 64 KiB, most of which lies in
//! memory of their own.
//!
//! A [`Queue`](crate::Queue) is faster, and for any number of processes. A pipe tells when its other end is gone, can be
//! polled together with other descriptors, and takes no room while it is empty.
//!
//! # The end
//!
//! When nobody has the other end any more, a receiver gets what was still under way and then
//! [`Closed`](crate::Error::Closed), and a sender gets it at once. So move an end to the process that is to have it: who
//! keeps a copy never sees that all others are gone. A [fork](crate::StartMethod::Fork) that is given arguments keeps no ends
//! but those among them. One that is given a closure ([`Process::fork`](crate::Process::fork)) has copies of all; when it uses
//! an end for the first time, its copy of the other end of the same pipe is closed.
//!
//! # If a process dies
//!
//! What it had sent arrives; what it was about to send arrives whole or not at all. What it had received, and one message
//! for each thread that was receiving, is lost with it and comes to no other receiver. What it had not begun to receive stays
//! for others that have the same end; when there are none, it is lost. The others are told that its end is closed.
//!
//! Who [calls](Caller) is told: [`NoReply`](crate::Error::NoReply) if the process died that had taken the request, which may
//! have been worked on, and [`Closed`](crate::Error::Closed) if nobody was there to take it.

mod call;
mod connection;
mod fd;

use std::{
    os::fd::AsFd,
    time::{Duration, Instant},
};

pub use self::{
    call::{Caller, Reply, Responder},
    connection::{Connection, Receiver, Sender},
    fd::Fd,
};
use crate::{
    Error, Result,
    os::{clock::Wait, ends::End, poll},
    region::ticket::Message,
};

/// A pipe with one direction.
///
/// # Errors
///
/// [`Os`](crate::Error::Os).
///
/// # Examples
///
/// See [`Receiver`].
pub fn simplex<T: Message>() -> Result<(Sender<T>, Receiver<T>)> {
    pair().map(|(one, other)| (Sender::new(one), Receiver::new(other)))
}

/// A pipe with two directions.
///
/// # Errors
///
/// [`Os`](crate::Error::Os).
///
/// # Examples
///
/// See [`Connection`].
pub fn duplex<T: Message>() -> Result<(Connection<T>, Connection<T>)> {
    pair().map(|(one, other)| (Connection::new(one), Connection::new(other)))
}

/// A pipe for requests and their answers.
///
/// # Errors
///
/// [`Os`](crate::Error::Os).
///
/// # Examples
///
/// See [`Caller`].
pub fn call<Request: Message, Response: Message>() -> Result<(Caller<Request, Response>, Responder<Request, Response>)>
{
    pair().map(|(one, other)| (Caller::new(one), Responder::new(other)))
}

fn pair() -> Result<(End, End)> {
    End::pair().map_err(|error| Error::os("socketpair", error))
}

/// Waits until some of these have something to tell, and gives their positions: a connection with a message or whose other
/// end is closed, a process that has ended, any other descriptor that can be read. At once, if there are none at all.
///
/// # Errors
///
/// [`Os`](crate::Error::Os), for more than this process may have open.
///
/// # Examples
///
/// ```standalone_crate
/// use shmkit::{Process, Result, pipe::{self, Sender}};
///
/// fn count(to: Sender<u32>) -> Result<()> {
///     (0..3).try_for_each(|number| to.send(&number))
/// }
///
/// fn main() -> Result<()> {
///     shmkit::init();
///     let (sender, receiver) = pipe::simplex()?;
///     let child = Process::spawn(count, (sender,))?;
///     let (mut numbers, mut has_ended) = (0, false);
///     while numbers < 3 || !has_ended {
///         for ready in pipe::wait(&[&receiver, &child])? {
///             match ready {
///                 0 => numbers += u32::from(receiver.try_recv().is_ok()),
///                 _ => has_ended = true,
///             }
///         }
///     }
///     child.join()
/// }
/// ```
pub fn wait(sources: &[&dyn AsFd]) -> Result<Vec<usize>> {
    wait_within(sources, Wait::Forever)
}

/// As [`wait`], at most `timeout`: then the list is empty.
///
/// # Errors
///
/// As [`wait`].
///
/// # Examples
///
/// ```
/// # fn main() -> shmkit::Result<()> {
/// use std::time::Duration;
/// use shmkit::pipe;
///
/// let (sender, receiver) = pipe::simplex()?;
/// assert_eq!(pipe::wait_timeout(&[&receiver], Duration::from_millis(1))?, []);
/// sender.send(&1)?;
/// assert_eq!(pipe::wait_timeout(&[&receiver], Duration::from_secs(9))?, [0]);
/// # Ok(())
/// # }
/// ```
pub fn wait_timeout(sources: &[&dyn AsFd], timeout: Duration) -> Result<Vec<usize>> {
    wait_within(sources, Wait::timeout(timeout))
}

/// As [`wait`], until `deadline` at most: then the list is empty.
///
/// # Errors
///
/// As [`wait`].
///
/// # Examples
///
/// See [`wait_timeout`].
pub fn wait_deadline(sources: &[&dyn AsFd], deadline: Instant) -> Result<Vec<usize>> {
    wait_within(sources, Wait::deadline(deadline))
}

fn wait_within(sources: &[&dyn AsFd], wait: Wait) -> Result<Vec<usize>> {
    if sources.is_empty() {
        return Ok(Vec::new());
    }
    let descriptors: Vec<_> = sources.iter().map(|source| source.as_fd()).collect();
    poll::readable(&descriptors, wait).map_err(|error| Error::os("poll", error))
}
