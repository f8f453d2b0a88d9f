//! crossbeam, among threads.

use std::{
    hint::spin_loop,
    sync::{
        Mutex,
        atomic::{
            AtomicBool,
            Ordering::{AcqRel, Release},
        },
    },
    thread,
};

use crossbeam_channel::{Receiver, Sender, bounded};
use crossbeam_queue::ArrayQueue;
use crossbeam_utils::sync::{Parker, ShardedLock, Unparker};

use crate::{
    peers::{std::Item, words},
    workloads::{
        channel::{Channel as Messages, Shape},
        rwlock::ReadWrite,
        semaphore::Signal,
    },
};

pub(crate) struct Sharded(ShardedLock<[u64; 2]>);

impl ReadWrite for Sharded {
    const THREADS: bool = true;

    fn new() -> Result<Self, String> {
        Ok(Self(ShardedLock::new([0; 2])))
    }

    #[inline]
    fn read(&self, during: impl FnOnce()) -> [u64; 2] {
        let guard = self.0.read().expect("read");
        during();
        *guard
    }

    #[inline]
    fn write(&self, between: impl FnOnce()) {
        let mut guard = self.0.write().expect("write");
        guard[0] += 1;
        between();
        guard[1] += 1;
    }
}

/// A thread that is parked until it is its turn.
pub(crate) struct Park {
    has_turn: AtomicBool,
    parker: Mutex<Parker>,
    unparker: Unparker,
}

impl Signal for Park {
    const THREADS: bool = true;

    fn new(permits: u32) -> Result<Self, String> {
        let parker = Parker::new();
        let unparker = parker.unparker().clone();
        Ok(Self { has_turn: AtomicBool::new(permits > 0), parker: Mutex::new(parker), unparker })
    }

    fn acquire(&self) {
        while !self.has_turn.swap(false, AcqRel) {
            // One thread waits; nobody else has the lock.
            self.parker.lock().expect("one waiter").park();
        }
    }

    fn release(&self) {
        self.has_turn.store(true, Release);
        self.unparker.unpark();
    }
}

pub(crate) struct Channel<T>(Sender<T>, Receiver<T>);

impl<T: Item> Messages for Channel<T> {
    const THREADS: bool = true;
    type Sender<'a> = Sender<T>;
    type Receiver<'a> = Receiver<T>;

    fn new(shape: Shape) -> Result<Self, String> {
        let (sender, receiver) = bounded(shape.room());
        Ok(Self(sender, receiver))
    }

    fn sender(&self) -> Self::Sender<'_> {
        self.0.clone()
    }

    fn receiver(&self) -> Self::Receiver<'_> {
        self.1.clone()
    }

    #[inline]
    fn send(sender: &mut Self::Sender<'_>, message: &[u8]) -> Result<(), String> {
        sender.send(T::of(message)).map_err(words)
    }

    #[inline]
    fn receive(receiver: &mut Self::Receiver<'_>, into: &mut [u8]) -> Result<(), String> {
        receiver.recv().map_err(words)?.put(into);
        Ok(())
    }
}

/// A queue that does not wait: its users spin, and let others run now and then.
pub(crate) struct Array(ArrayQueue<[u64; 8]>);

impl Messages for Array {
    const THREADS: bool = true;
    type Sender<'a> = &'a ArrayQueue<[u64; 8]>;
    type Receiver<'a> = &'a ArrayQueue<[u64; 8]>;

    fn new(shape: Shape) -> Result<Self, String> {
        Ok(Self(ArrayQueue::new(shape.room())))
    }

    fn sender(&self) -> Self::Sender<'_> {
        &self.0
    }

    fn receiver(&self) -> Self::Receiver<'_> {
        &self.0
    }

    #[inline]
    fn send(queue: &mut Self::Sender<'_>, message: &[u8]) -> Result<(), String> {
        let message = <[u64; 8]>::of(message);
        spin(|| queue.push(message).ok());
        Ok(())
    }

    #[inline]
    fn receive(queue: &mut Self::Receiver<'_>, into: &mut [u8]) -> Result<(), String> {
        spin(|| queue.pop()).put(into);
        Ok(())
    }
}

/// Tries until something comes of it.
#[inline]
pub(crate) fn spin<R>(mut attempt: impl FnMut() -> Option<R>) -> R {
    let mut tries = 0_u32;
    loop {
        if let Some(result) = attempt() {
            return result;
        }
        tries += 1;
        if tries.is_multiple_of(256) { thread::yield_now() } else { spin_loop() }
    }
}
