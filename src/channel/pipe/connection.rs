//! The ends of a pipe.

use std::{
    fmt,
    marker::PhantomData,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
    time::{Duration, Instant},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::Error as _};

use crate::{
    Error, Result,
    channel::{buffer, forms::four_forms},
    os::{
        clock::Wait,
        ends::{End, Which},
        packet,
        pipe::{self, Kind},
        poll,
    },
    region::ticket::{self, Arrived, Message, Route},
};

const OBJECT: Kind = 0;
const BYTES: Kind = 1;

/// Sends an object.
pub(super) fn send<T: Serialize>(end: &End, object: &T, wait: Wait) -> Result<()> {
    let mut buffer = buffer::take();
    let encoded = ticket::encode_into(object, Route::default(), &mut buffer);
    let result = encoded.and_then(|descriptors| match descriptors.len() {
        0..=pipe::MOST => pipe::send(end, OBJECT, &buffer, &descriptors, wait),
        many => Err(Error::invalid_argument(format!("a message with {many} descriptors; the most is {}", pipe::MOST))),
    });
    buffer::keep(buffer);
    result
}

/// Receives an object.
pub(super) fn receive<T: Message>(end: &End, wait: Wait) -> Result<T> {
    pipe::receive(end, wait, |kind, bytes, descriptors| {
        check(kind, OBJECT)?;
        let arrived = (!descriptors.is_empty()).then(|| Arrived::new(descriptors)).transpose();
        let arrived =
            arrived.map_err(|error| Error::os("copying the descriptors of a message, which is lost", error))?;
        ticket::decode_from(bytes, arrived, Route::default())
    })
}

/// Receives bytes.
fn receive_bytes<R>(end: &End, wait: Wait, read: impl FnOnce(&[u8]) -> Result<R>) -> Result<R> {
    pipe::receive(end, wait, |kind, bytes, _| {
        check(kind, BYTES)?;
        read(bytes)
    })
}

/// Whether it was one message that could not be received, and the next one may be better.
pub(super) fn is_of_one_message(error: &Error) -> bool {
    matches!(error, Error::NotSendable { .. } | Error::TypeMismatch { .. } | Error::Corrupt { .. })
}

fn check(found: Kind, expected: Kind) -> Result<()> {
    let name = |kind| match kind {
        OBJECT => Ok("an object"),
        BYTES => Ok("bytes"),
        other => Err(Error::corrupt(format!("a message of the kind {other}"))),
    };
    if found == expected {
        return Ok(());
    }
    Err(Error::TypeMismatch { expected: name(expected)?.into(), found: name(found)?.into() })
}

/// What all ends have: a descriptor, and a way to other processes.
macro_rules! end_of_a_pipe {
    ($end:ident<$($type:ident),+>, $name:literal) => {
        /// The socket, to wait for: for [`pipe::wait`](crate::pipe::wait), or with others.
        impl<$($type),+> AsFd for $end<$($type),+> {
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.end.socket()
            }
        }

        impl<$($type),+> fmt::Debug for $end<$($type),+> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple($name).field(&self.as_fd()).finish()
            }
        }

        /// As an argument of a process, or in a message. Who drops it afterwards has sent it away.
        impl<$($type),+> Serialize for $end<$($type),+> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                $crate::channel::pipe::connection::serialize(&self.end, serializer)
            }
        }

        impl<'de, $($type),+> Deserialize<'de> for $end<$($type),+> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let end = $crate::channel::pipe::connection::deserialize(deserializer)?;
                Ok(Self { end: end.into(), _messages: PhantomData })
            }
        }
    };
}
pub(super) use end_of_a_pipe;

macro_rules! clone_of_an_end {
    ($end:ident<$($type:ident),+>) => {
        impl<$($type),+> Clone for $end<$($type),+> {
            fn clone(&self) -> Self {
                Self { end: Arc::clone(&self.end), _messages: PhantomData }
            }
        }
    };
}
pub(super) use clone_of_an_end;

pub(super) fn serialize<S: Serializer>(end: &End, serializer: S) -> Result<S::Ok, S::Error> {
    let number = ticket::pack(end.socket()).map_err(|error| S::Error::custom(ticket::keep_reason(error)))?;
    (number, end.which().to_bits()).serialize(serializer)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<End, D::Error> {
    let (number, which) = <(u32, u64)>::deserialize(deserializer)?;
    let check = |socket: OwnedFd| match packet::is_end(&socket) {
        true => Ok(End::received(socket, Which::from_bits(which))),
        false => Err(Error::corrupt("a descriptor that is no end of a pipe")),
    };
    let end = ticket::unpack(number).and_then(check);
    end.map_err(|error| D::Error::custom(ticket::keep_reason(error)))
}

macro_rules! sends {
    () => {
        fn send_within(&self, object: &T, wait: Wait) -> Result<()> {
            send(&self.end, object, wait)
        }

        fn send_bytes_within(&self, bytes: &[u8], wait: Wait) -> Result<()> {
            pipe::send(&self.end, BYTES, bytes, &[], wait)
        }

        four_forms! {
            /// Sends an object, and waits while too much is under way.
            ///
            /// # Errors
            ///
            /// [`Closed`](crate::Error::Closed) when nobody has the other end;
            /// [`NotSendable`](crate::Error::NotSendable) when it cannot be serialised,
            /// [`InvalidArgument`](crate::Error::InvalidArgument) with more than 252 descriptors,
            /// [`OutOfMemory`](crate::Error::OutOfMemory) for a long one; [`Os`](crate::Error::Os).
            ///
            /// # Examples
            ///
            /// See the type.
            send, try_send, send_timeout, send_deadline(object: &T) -> (): send_within
        }

        four_forms! {
            /// Sends bytes as they are, which may be none: for `recv_bytes` at the other end.
            ///
            /// # Errors
            ///
            /// [`Closed`](crate::Error::Closed) when nobody has the other end;
            /// [`OutOfMemory`](crate::Error::OutOfMemory) for a long message; [`Os`](crate::Error::Os).
            ///
            /// # Examples
            ///
            /// See [`Connection`](crate::pipe::Connection).
            send_bytes, try_send_bytes, send_bytes_timeout, send_bytes_deadline(bytes: &[u8]) -> (): send_bytes_within
        }
    };
}

macro_rules! receives {
    () => {
        fn recv_within(&self, wait: Wait) -> Result<T> {
            receive(&self.end, wait)
        }

        fn recv_bytes_within(&self, wait: Wait) -> Result<Vec<u8>> {
            receive_bytes(&self.end, wait, |bytes| Ok(bytes.to_vec()))
        }

        fn recv_bytes_into_within(&self, buffer: &mut [u8], wait: Wait) -> Result<usize> {
            receive_bytes(&self.end, wait, |bytes| match buffer.get_mut(..bytes.len()) {
                Some(room) => {
                    room.copy_from_slice(bytes);
                    Ok(bytes.len())
                }
                None => Err(Error::BufferTooShort { message: bytes.to_vec(), room: buffer.len() }),
            })
        }

        fn poll_within(&self, wait: Wait) -> Result<bool> {
            poll::is_readable(self.end.socket(), wait).map_err(|error| Error::os("poll", error))
        }

        four_forms! {
            /// Receives the next object, and waits for it.
            ///
            /// # Errors
            ///
            /// [`Closed`](crate::Error::Closed) when nobody has the other end any more and nothing is left. A message that
            /// is not one of these objects is received all the same, and lost: [`NotSendable`](crate::Error::NotSendable),
            /// [`TypeMismatch`](crate::Error::TypeMismatch) for bytes, [`OutOfMemory`](crate::Error::OutOfMemory),
            /// [`Os`](crate::Error::Os) when this process can have no more descriptors and some came with it,
            /// [`Corrupt`](crate::Error::Corrupt) for what nothing of this crate sends.
            ///
            /// # Examples
            ///
            /// See the type.
            recv, try_recv, recv_timeout, recv_deadline() -> T: recv_within
        }

        four_forms! {
            /// Receives the next message, which was sent as bytes, and waits for it.
            ///
            /// # Errors
            ///
            /// As [`recv`](Self::recv); [`TypeMismatch`](crate::Error::TypeMismatch) for an object, which is lost.
            ///
            /// # Examples
            ///
            /// See [`Connection`](crate::pipe::Connection).
            recv_bytes, try_recv_bytes, recv_bytes_timeout, recv_bytes_deadline() -> Vec<u8>: recv_bytes_within
        }

        four_forms! {
            /// Receives the next message, which was sent as bytes, at the beginning of `buffer`, and says how long it is.
            ///
            /// # Errors
            ///
            /// As [`recv_bytes`](Self::recv_bytes); [`BufferTooShort`](crate::Error::BufferTooShort), which has the
            /// message.
            ///
            /// # Examples
            ///
            /// See [`Connection`](crate::pipe::Connection).
            recv_bytes_into, try_recv_bytes_into, recv_bytes_into_timeout, recv_bytes_into_deadline(buffer: &mut [u8])
                -> usize: recv_bytes_into_within
        }

        /// Whether there is a message, or the other end is closed.
        ///
        /// # Errors
        ///
        /// [`Os`](crate::Error::Os).
        ///
        /// # Examples
        ///
        /// See [`Connection`](crate::pipe::Connection).
        pub fn poll(&self) -> Result<bool> {
            self.poll_within(Wait::No)
        }

        /// As [`poll`](Self::poll), and waits at most `timeout` for it.
        ///
        /// # Errors
        ///
        /// [`Os`](crate::Error::Os).
        ///
        /// # Examples
        ///
        /// See [`Connection`](crate::pipe::Connection).
        pub fn poll_timeout(&self, timeout: Duration) -> Result<bool> {
            self.poll_within(Wait::timeout(timeout))
        }

        /// As [`poll`](Self::poll), and waits for it until `deadline` at most.
        ///
        /// # Errors
        ///
        /// [`Os`](crate::Error::Os).
        ///
        /// # Examples
        ///
        /// See [`Connection`](crate::pipe::Connection).
        pub fn poll_deadline(&self, deadline: Instant) -> Result<bool> {
            self.poll_within(Wait::deadline(deadline))
        }

        /// The objects, one after the other, until the other end is closed. Waits for each.
        ///
        /// It ends after an error that would come again. A message that is none of these objects does not end it.
        ///
        /// # Examples
        ///
        /// See [`Receiver`](crate::pipe::Receiver).
        pub fn iter(&self) -> impl Iterator<Item = Result<T>> {
            let mut is_over = false;
            std::iter::from_fn(move || {
                if is_over {
                    return None;
                }
                let next = self.recv();
                is_over =
                    next.as_ref().is_err_and(|error| !$crate::channel::pipe::connection::is_of_one_message(error));
                match next {
                    Err(Error::Closed) => None,
                    next => Some(next),
                }
            })
        }
    };
}

/// The sending end of a pipe. From [`simplex`](crate::pipe::simplex).
///
/// A clone is the same end: the receiver sees it closed when all clones are gone, in all processes.
///
/// # If a process dies
///
/// See [`pipe`](crate::pipe).
///
/// # Examples
///
/// See [`Receiver`].
pub struct Sender<T> {
    end: Arc<End>,
    _messages: PhantomData<fn(T)>,
}

impl<T: Message> Sender<T> {
    pub(super) fn new(end: End) -> Self {
        Self { end: end.into(), _messages: PhantomData }
    }

    sends!();
}

/// The receiving end of a pipe. From [`simplex`](crate::pipe::simplex).
///
/// A clone is the same end: each message is received once, by one of those who have it.
///
/// # If a process dies
///
/// See [`pipe`](crate::pipe).
///
/// # Examples
///
/// ```standalone_crate
/// use shmkit::{Error, Process, Result, pipe::{self, Sender}};
///
/// fn measure(to: Sender<(String, f64)>) -> Result<()> {
///     to.send(&("length".into(), 2.5))?;
///     to.send(&("width".into(), 4.0))
/// }
///
/// fn main() -> Result<()> {
///     shmkit::init();
///     let (sender, receiver) = pipe::simplex()?;
///     let child = Process::spawn(measure, (sender,))?;
///     let area = receiver.iter().map(|size| Ok(size?.1)).product::<Result<f64>>()?;
///     assert_eq!(area, 10.0);
///     assert!(matches!(receiver.recv(), Err(Error::Closed)));
///     child.join()
/// }
/// ```
pub struct Receiver<T> {
    end: Arc<End>,
    _messages: PhantomData<fn() -> T>,
}

impl<T: Message> Receiver<T> {
    pub(super) fn new(end: End) -> Self {
        Self { end: end.into(), _messages: PhantomData }
    }

    receives!();
}

/// One of the two ends of a pipe that goes both ways. From [`duplex`](crate::pipe::duplex).
///
/// A clone is the same end.
///
/// # If a process dies
///
/// See [`pipe`](crate::pipe).
///
/// # Examples
///
/// ```standalone_crate
/// use shmkit::{Array, Process, Result, pipe::{self, Connection}};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// enum Message {
///     Sum(Array<f64>),
///     Result(f64),
/// }
///
/// fn work(parent: Connection<Message>) -> Result<()> {
///     for message in parent.iter() {
///         if let Message::Sum(array) = message? {
///             parent.send(&Message::Result(array.lock()?.iter().sum()))?;
///         }
///     }
///     Ok(())
/// }
///
/// fn main() -> Result<()> {
///     shmkit::init();
///     let (connection, its) = pipe::duplex()?;
///     let child = Process::spawn(work, (its,))?;
///     connection.send(&Message::Sum(Array::from_iter([0.5, 1.5])?))?;
///     assert!(matches!(connection.recv()?, Message::Result(2.0)));
///     drop(connection);
///     child.join()
/// }
/// ```
///
/// Bytes, and questions:
///
/// ```
/// # fn main() -> shmkit::Result<()> {
/// use std::time::Duration;
/// use shmkit::{Error, pipe};
///
/// let (a, b) = pipe::duplex::<()>()?;
/// assert!(!b.poll()? && !b.poll_timeout(Duration::from_millis(1))?);
/// a.send_bytes(b"some bytes")?;
/// a.send_bytes(b"more")?;
/// assert!(b.poll()?);
/// let mut buffer = [0; 5];
/// assert!(matches!(b.recv_bytes_into(&mut buffer), Err(Error::BufferTooShort { message, .. }) if message == b"some bytes"));
/// let length = b.recv_bytes_into(&mut buffer)?;
/// assert_eq!(&buffer[..length], b"more");
/// assert!(b.recv_timeout(Duration::from_millis(1)).unwrap_err().is_timed_out());
/// drop(a);
/// assert!(b.poll()? && matches!(b.recv_bytes(), Err(Error::Closed)));
/// # Ok(())
/// # }
/// ```
pub struct Connection<T> {
    end: Arc<End>,
    _messages: PhantomData<fn(T) -> T>,
}

impl<T: Message> Connection<T> {
    pub(super) fn new(end: End) -> Self {
        Self { end: end.into(), _messages: PhantomData }
    }

    sends!();
    receives!();
}

end_of_a_pipe!(Sender<T>, "Sender");
end_of_a_pipe!(Receiver<T>, "Receiver");
end_of_a_pipe!(Connection<T>, "Connection");
clone_of_an_end!(Sender<T>);
clone_of_an_end!(Receiver<T>);
clone_of_an_end!(Connection<T>);
