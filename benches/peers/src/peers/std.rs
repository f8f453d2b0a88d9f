//! The standard library: among threads, and processes that run a program.

use std::{
    env,
    process::Command,
    sync::{
        Mutex as StdMutex, MutexGuard,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
};

use crate::{
    peers::words,
    workloads::{
        array::Elements,
        barrier::Meeting,
        channel::{Channel as Messages, Shape},
        lock::Locker,
        process::Starter,
        rwlock::ReadWrite,
        semaphore::Signal,
    },
};

pub(crate) struct Mutex(StdMutex<()>);

impl Locker for Mutex {
    const THREADS: bool = true;

    fn new() -> Result<Self, String> {
        Ok(Self(StdMutex::new(())))
    }

    #[inline]
    fn locked<R>(&self, work: impl FnOnce() -> R) -> R {
        let _held = self.0.lock().expect("lock");
        work()
    }
}

pub(crate) struct RwLock(std::sync::RwLock<[u64; 2]>);

impl ReadWrite for RwLock {
    const THREADS: bool = true;

    fn new() -> Result<Self, String> {
        Ok(Self(std::sync::RwLock::new([0; 2])))
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

/// A condition variable, with a count under a mutex.
pub(crate) struct Condvar(StdMutex<u32>, std::sync::Condvar);

impl Signal for Condvar {
    const THREADS: bool = true;

    fn new(permits: u32) -> Result<Self, String> {
        Ok(Self(StdMutex::new(permits), std::sync::Condvar::new()))
    }

    fn acquire(&self) {
        let permits = self.0.lock().expect("lock");
        *self.1.wait_while(permits, |permits| *permits == 0).expect("wait") -= 1;
    }

    fn release(&self) {
        *self.0.lock().expect("lock") += 1;
        self.1.notify_one();
    }
}

pub(crate) struct Barrier(std::sync::Barrier);

impl Meeting for Barrier {
    const THREADS: bool = true;

    fn new(parties: u32) -> Result<Self, String> {
        Ok(Self(std::sync::Barrier::new(parties as usize)))
    }

    fn wait(&self) -> Result<(), String> {
        self.0.wait();
        Ok(())
    }
}

/// What a channel among threads carries, made of a message's bytes.
pub(crate) trait Item: Send + 'static {
    fn of(message: &[u8]) -> Self;
    fn put(self, into: &mut [u8]);
}

impl Item for Vec<u8> {
    #[inline]
    fn of(message: &[u8]) -> Self {
        message.to_vec()
    }

    #[inline]
    fn put(self, into: &mut [u8]) {
        into.copy_from_slice(&self);
    }
}

impl Item for [u64; 8] {
    #[inline]
    fn of(message: &[u8]) -> Self {
        bytemuck::pod_read_unaligned(message)
    }

    #[inline]
    fn put(self, into: &mut [u8]) {
        into.copy_from_slice(bytemuck::bytes_of(&self));
    }
}

pub(crate) struct Channel<T>(SyncSender<T>, StdMutex<Receiver<T>>);

impl<T: Item> Messages for Channel<T> {
    const THREADS: bool = true;
    type Sender<'a> = SyncSender<T>;
    type Receiver<'a> = MutexGuard<'a, Receiver<T>>;

    fn new(shape: Shape) -> Result<Self, String> {
        if shape.pairs > 1 {
            return Err("it has one consumer".into());
        }
        let (sender, receiver) = sync_channel(shape.room());
        Ok(Self(sender, StdMutex::new(receiver)))
    }

    fn sender(&self) -> Self::Sender<'_> {
        self.0.clone()
    }

    fn receiver(&self) -> Self::Receiver<'_> {
        self.1.lock().expect("one consumer")
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

impl Elements for Vec<i64> {
    fn new(size: usize) -> Result<Self, String> {
        Ok(vec![0; size])
    }

    fn with<R>(&mut self, work: impl FnOnce(&mut [i64]) -> R) -> R {
        work(self)
    }
}

/// Set for a child that adds 1 to a number and does nothing else.
pub(crate) const IDLE: &str = "SHMKIT_PEERS_IDLE";

/// What such a child does: its number and the result go by the environment and the exit code.
pub(crate) fn idle() {
    if let Some(number) = env::var(IDLE).ok().and_then(|number| number.parse::<i32>().ok()) {
        std::process::exit(number + 1);
    }
}

/// This program once more, as a command.
pub(crate) struct RunProgram;

impl Starter for RunProgram {
    fn call(number: u64) -> Result<u64, String> {
        let number = number % 100;
        let status = Command::new("/proc/self/exe").env(IDLE, number.to_string()).status().map_err(words)?;
        let code = status.code().ok_or("no exit code")?;
        u64::try_from(code).map_err(words)
    }
}
