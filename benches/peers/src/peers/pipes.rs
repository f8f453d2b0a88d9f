//! The kernel's: pipes and Unix sockets.

use std::{
    io::{PipeReader, PipeWriter, Read, Write, pipe},
    os::unix::net::{UnixDatagram, UnixStream},
    sync::Mutex,
};

use crate::{
    peers::{taken, words},
    workloads::{
        channel::{Channel, Shape},
        semaphore::Signal,
    },
};

/// A pipe in which each byte is a permit.
pub(crate) struct PipeByte(PipeReader, PipeWriter);

impl Signal for PipeByte {
    fn new(permits: u32) -> Result<Self, String> {
        let (reader, writer) = pipe().map_err(words)?;
        let signal = Self(reader, writer);
        (0..permits).for_each(|_| signal.release());
        Ok(signal)
    }

    fn acquire(&self) {
        (&self.0).read_exact(&mut [0]).expect("a byte");
    }

    fn release(&self) {
        (&self.1).write_all(&[1]).expect("a pipe");
    }
}

/// The same by a Unix stream socket.
pub(crate) struct SocketByte(UnixStream, UnixStream);

impl Signal for SocketByte {
    fn new(permits: u32) -> Result<Self, String> {
        let (reader, writer) = UnixStream::pair().map_err(words)?;
        let signal = Self(reader, writer);
        (0..permits).for_each(|_| signal.release());
        Ok(signal)
    }

    fn acquire(&self) {
        (&self.0).read_exact(&mut [0]).expect("a byte");
    }

    fn release(&self) {
        (&self.1).write_all(&[1]).expect("a socket");
    }
}

/// Messages of one size, one after the other.
pub(crate) struct Pipe(PipeReader, Mutex<Option<PipeWriter>>);

impl Channel for Pipe {
    type Sender<'a> = PipeWriter;
    type Receiver<'a> = &'a PipeReader;

    fn new(shape: Shape) -> Result<Self, String> {
        if shape.pairs > 1 && shape.size > libc::PIPE_BUF {
            return Err("writes of more than 4 KiB are torn among several writers".into());
        }
        let (reader, writer) = pipe().map_err(words)?;
        Ok(Self(reader, Mutex::new(Some(writer))))
    }

    fn sender(&self) -> Self::Sender<'_> {
        taken(&self.1)
    }

    fn let_go(&self) {
        drop(taken(&self.1));
    }

    fn receiver(&self) -> Self::Receiver<'_> {
        &self.0
    }

    fn send(writer: &mut Self::Sender<'_>, message: &[u8]) -> Result<(), String> {
        writer.write_all(message).map_err(words)
    }

    fn receive(reader: &mut Self::Receiver<'_>, into: &mut [u8]) -> Result<(), String> {
        reader.read_exact(into).map_err(words)
    }
}

/// A pair of datagram sockets, which keep messages whole and in order.
pub(crate) struct Socket(UnixDatagram, Mutex<Option<UnixDatagram>>);

impl Channel for Socket {
    type Sender<'a> = UnixDatagram;
    type Receiver<'a> = &'a UnixDatagram;

    fn new(_: Shape) -> Result<Self, String> {
        let (reader, writer) = UnixDatagram::pair().map_err(words)?;
        Ok(Self(reader, Mutex::new(Some(writer))))
    }

    fn sender(&self) -> Self::Sender<'_> {
        taken(&self.1)
    }

    fn let_go(&self) {
        drop(taken(&self.1));
    }

    fn receiver(&self) -> Self::Receiver<'_> {
        &self.0
    }

    fn send(socket: &mut Self::Sender<'_>, message: &[u8]) -> Result<(), String> {
        let sent = socket.send(message).map_err(words)?;
        assert_eq!(sent, message.len(), "another length");
        Ok(())
    }

    fn receive(socket: &mut Self::Receiver<'_>, into: &mut [u8]) -> Result<(), String> {
        let got = socket.recv(into).map_err(words)?;
        assert_eq!(got, into.len(), "another length");
        Ok(())
    }
}
