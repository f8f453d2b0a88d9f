//! ipc-channel, which is Unix sockets here, by its channel for bytes.

use std::sync::{Mutex, MutexGuard};

use ipc_channel::ipc::{IpcBytesReceiver, IpcBytesSender, bytes_channel};

use crate::{
    peers::{taken, words},
    workloads::channel::{Channel, Shape},
};

pub(crate) struct Bytes(Mutex<Option<IpcBytesSender>>, Mutex<IpcBytesReceiver>);

impl Channel for Bytes {
    type Sender<'a> = IpcBytesSender;
    type Receiver<'a> = MutexGuard<'a, IpcBytesReceiver>;

    fn new(shape: Shape) -> Result<Self, String> {
        if shape.pairs > 1 {
            return Err("it has one consumer".into());
        }
        let (sender, receiver) = bytes_channel().map_err(words)?;
        Ok(Self(Mutex::new(Some(sender)), Mutex::new(receiver)))
    }

    fn sender(&self) -> Self::Sender<'_> {
        taken(&self.0)
    }

    fn let_go(&self) {
        drop(taken(&self.0));
    }

    fn receiver(&self) -> Self::Receiver<'_> {
        self.1.lock().expect("this process's")
    }

    fn send(sender: &mut Self::Sender<'_>, message: &[u8]) -> Result<(), String> {
        sender.send(message).map_err(words)
    }

    fn receive(receiver: &mut Self::Receiver<'_>, into: &mut [u8]) -> Result<(), String> {
        into.copy_from_slice(&receiver.recv().map_err(words)?);
        Ok(())
    }
}
