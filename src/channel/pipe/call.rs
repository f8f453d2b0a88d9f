//! Requests and their answers.
//!
//! With each request goes one end of a new pipe, for its answer: so whoever takes the request has that end alone, and its
//! death is seen at the other one, however many processes call and answer.

use std::{
    fmt,
    marker::PhantomData,
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
    time::{Duration, Instant},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{
    connection::{clone_of_an_end, end_of_a_pipe, is_of_one_message, receive, send},
    pair,
};
use crate::{
    Error, Result,
    channel::forms::four_forms,
    os::{clock::Wait, ends::End},
    region::ticket::Message,
};

/// The end of a pipe that asks. From [`call`](crate::pipe::call()).
///
/// Any number of threads and processes can call at a time; clones, and copies in other processes, are the same end.
///
/// # If a process dies
///
/// Who waits for the answer of a process that dies, or that drops the request, gets [`NoReply`](crate::Error::NoReply) at
/// once, whoever else could answer. The answer for a caller that is gone goes nowhere.
///
/// # Examples
///
/// ```standalone_crate
/// use shmkit::{Process, Result, pipe::{self, Responder}};
///
/// fn square(requests: Responder<f64, f64>) -> Result<()> {
///     requests.serve(|x| x * x)
/// }
///
/// fn main() -> Result<()> {
///     shmkit::init();
///     let (caller, responder) = pipe::call()?;
///     let server = Process::spawn(square, (responder,))?;
///     assert_eq!(caller.call(&1.5)?, 2.25);
///     drop(caller);
///     server.join()
/// }
/// ```
pub struct Caller<Request, Response> {
    end: Arc<End>,
    _messages: PhantomData<fn(Request) -> Response>,
}

impl<Request: Message, Response: Message> Caller<Request, Response> {
    pub(super) fn new(end: End) -> Self {
        Self { end: end.into(), _messages: PhantomData }
    }

    /// Sends a request, and waits for the answer.
    ///
    /// # Errors
    ///
    /// [`Closed`](crate::Error::Closed) when there is nobody to answer: the request went to nobody.
    /// [`NoReply`](crate::Error::NoReply) when whoever has taken it will not answer. Else as
    /// [`Sender::send`](crate::pipe::Sender::send) and [`Receiver::recv`](crate::pipe::Receiver::recv).
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn call(&self, request: &Request) -> Result<Response> {
        self.call_within(request, Wait::Forever)
    }

    /// As [`call`](Self::call), waiting at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`TimedOut`](crate::Error::TimedOut), and then the answer goes nowhere; else the same.
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn call_timeout(&self, request: &Request, timeout: Duration) -> Result<Response> {
        self.call_within(request, Wait::timeout(timeout))
    }

    /// As [`call`](Self::call), until `deadline` at most.
    ///
    /// # Errors
    ///
    /// As [`call_timeout`](Self::call_timeout).
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn call_deadline(&self, request: &Request, deadline: Instant) -> Result<Response> {
        self.call_within(request, Wait::deadline(deadline))
    }

    fn call_within(&self, request: &Request, wait: Wait) -> Result<Response> {
        let (answers, theirs) = pair()?;
        send(&self.end, &(request, Reply::<Response> { end: theirs, _messages: PhantomData }), wait)?;
        match receive(&answers, wait) {
            Err(Error::Closed) => Err(Error::NoReply),
            other => other,
        }
    }
}

/// The end of a pipe that answers. From [`call`](crate::pipe::call()).
///
/// Several threads and processes can have it, and its clones: each request goes to one of them.
///
/// # If a process dies
///
/// See [`Caller`]. Requests that it had not received go to another one who has this end.
///
/// # Examples
///
/// [`serve`](Self::serve) answers one request after the other, see [`Caller`]. To answer later, or elsewhere:
///
/// ```
/// # fn main() -> shmkit::Result<()> {
/// use std::thread;
/// use shmkit::{Error, pipe};
///
/// let (caller, responder) = pipe::call::<u32, String>()?;
/// let asking = thread::spawn(move || (caller.call(&1), caller.call(&2)));
/// let (number, reply) = responder.recv()?;
/// reply.send(&number.to_string())?;
/// let (_, reply) = responder.recv()?;
/// drop(reply);
/// let (first, second) = asking.join().unwrap();
/// assert!(first? == "1" && matches!(second, Err(Error::NoReply)));
/// # Ok(())
/// # }
/// ```
pub struct Responder<Request, Response> {
    end: Arc<End>,
    _messages: PhantomData<fn(Response) -> Request>,
}

impl<Request: Message, Response: Message> Responder<Request, Response> {
    pub(super) fn new(end: End) -> Self {
        Self { end: end.into(), _messages: PhantomData }
    }

    /// Answers requests, one after the other, until there are no callers any more.
    ///
    /// A request that cannot be received here is passed over, and its caller told that nobody will answer.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv) and [`Reply::send`], but for those that concern one caller only.
    ///
    /// # Examples
    ///
    /// See [`Caller`].
    pub fn serve(&self, mut answer: impl FnMut(Request) -> Response) -> Result<()> {
        loop {
            match self.recv() {
                Ok((request, reply)) => match reply.send(&answer(request)) {
                    // Its caller is gone.
                    Ok(()) | Err(Error::Closed) => {}
                    Err(error) => return Err(error),
                },
                Err(Error::Closed) => return Ok(()),
                Err(error) if is_of_one_message(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn recv_within(&self, wait: Wait) -> Result<(Request, Reply<Response>)> {
        receive(&self.end, wait)
    }

    four_forms! {
        /// Receives the next request, and waits for it.
        ///
        /// # Errors
        ///
        /// [`Closed`](crate::Error::Closed) when there are no callers any more, and all requests were received; else as
        /// [`Receiver::recv`](crate::pipe::Receiver::recv).
        ///
        /// # Examples
        ///
        /// See the type.
        recv, try_recv, recv_timeout, recv_deadline() -> (Request, Reply<Response>): recv_within
    }
}

/// Where the answer to one request goes. From [`Responder::recv`].
///
/// It can go on to another process. When it is dropped unused, or dies with its process, the caller gets
/// [`NoReply`](crate::Error::NoReply).
///
/// # Examples
///
/// See [`Responder`].
#[must_use = "the caller waits for the answer until this is dropped"]
pub struct Reply<Response> {
    end: End,
    _messages: PhantomData<fn(Response)>,
}

impl<Response: Message> Reply<Response> {
    /// Sends the answer.
    ///
    /// # Errors
    ///
    /// [`Closed`](crate::Error::Closed) when the caller does not wait any more; else as
    /// [`Sender::send`](crate::pipe::Sender::send).
    ///
    /// # Examples
    ///
    /// See [`Responder`].
    pub fn send(self, response: &Response) -> Result<()> {
        send(&self.end, response, Wait::Forever)
    }
}

end_of_a_pipe!(Caller<Request, Response>, "Caller");
end_of_a_pipe!(Responder<Request, Response>, "Responder");
end_of_a_pipe!(Reply<Response>, "Reply");
clone_of_an_end!(Caller<Request, Response>);
clone_of_an_end!(Responder<Request, Response>);
