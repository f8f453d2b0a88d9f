//! shmkit.

use std::sync::Mutex;

use serde_bytes::ByteBuf;
use shmkit::{
    Array, Consumer, Error, Manager, Process, Producer, StartMethod,
    manager::{Dict, Object},
    pipe,
};

use crate::{
    peers::{taken, words},
    workloads::{
        array::Elements,
        barrier::Meeting,
        channel::{Channel, Shape},
        lock::Locker,
        manager::{ITEMS, Store},
        pool::{Tasks, busy_for, digits, plus_one},
        process::Starter,
        rwlock::ReadWrite,
        semaphore::Signal,
    },
};

/// What an attempt to lock was told: whether somebody has died.
fn told<G>(attempt: shmkit::Result<G>, repair: impl FnOnce() -> shmkit::Result<()>) -> Result<bool, String> {
    match attempt {
        Ok(_) => Ok(false),
        Err(Error::Poisoned { .. }) => repair().map(|()| true).map_err(words),
        Err(error) => Err(words(error)),
    }
}

macro_rules! locker {
    ($name:ident) => {
        pub(crate) struct $name(shmkit::$name);

        impl Locker for $name {
            fn new() -> Result<Self, String> {
                shmkit::$name::new().map(Self).map_err(words)
            }

            #[inline]
            fn locked<R>(&self, work: impl FnOnce() -> R) -> R {
                let _held = self.0.lock().expect("lock");
                work()
            }

            fn after_death(&self) -> Result<bool, String> {
                told(self.0.lock(), || self.0.recover().map(|mut guard| guard.clear_poison()))
            }
        }
    };
}

locker!(Lock);
locker!(RLock);

pub(crate) struct RwLock(shmkit::RwLock<[u64; 2]>);

impl ReadWrite for RwLock {
    fn new() -> Result<Self, String> {
        shmkit::RwLock::new([0; 2]).map(Self).map_err(words)
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

    fn after_death(&self) -> Result<bool, String> {
        told(self.0.write(), || self.0.recover().map(|mut guard| guard.clear_poison()))
    }
}

pub(crate) struct Semaphore(shmkit::Semaphore);

impl Signal for Semaphore {
    fn new(permits: u32) -> Result<Self, String> {
        shmkit::Semaphore::new(permits as usize).map(Self).map_err(words)
    }

    #[inline]
    fn acquire(&self) {
        self.0.acquire().expect("acquire");
    }

    #[inline]
    fn release(&self) {
        self.0.release().expect("release");
    }
}

/// Permits with owners.
pub(crate) struct Bounded(shmkit::BoundedSemaphore);

impl Signal for Bounded {
    fn new(permits: u32) -> Result<Self, String> {
        shmkit::BoundedSemaphore::new(permits.max(1) as usize).map(Self).map_err(words)
    }

    #[inline]
    fn acquire(&self) {
        self.0.acquire().expect("acquire").detach();
    }

    #[inline]
    fn release(&self) {
        self.0.release().expect("release");
    }
}

/// An event that is cleared by whom it lets through.
pub(crate) struct Event(shmkit::Event);

impl Signal for Event {
    fn new(permits: u32) -> Result<Self, String> {
        let event = shmkit::Event::auto_reset().map_err(words)?;
        if permits > 0 {
            event.set();
        }
        Ok(Self(event))
    }

    #[inline]
    fn acquire(&self) {
        self.0.wait().expect("wait");
    }

    #[inline]
    fn release(&self) {
        self.0.set();
    }
}

/// A condition variable, with a count in a value.
pub(crate) struct Condition(shmkit::Value<u32>, shmkit::Condvar);

impl Signal for Condition {
    fn new(permits: u32) -> Result<Self, String> {
        let value = shmkit::Value::new(permits).map_err(words)?;
        shmkit::Condvar::new().map(|changed| Self(value, changed)).map_err(words)
    }

    fn acquire(&self) {
        let mut permits = self.0.lock().expect("lock");
        self.1.wait_while(&mut permits, |permits| **permits == 0).expect("wait");
        *permits -= 1;
    }

    fn release(&self) {
        *self.0.lock().expect("lock") += 1;
        self.1.notify_one().expect("notify");
    }
}

pub(crate) struct Barrier(shmkit::Barrier);

impl Meeting for Barrier {
    fn new(parties: u32) -> Result<Self, String> {
        shmkit::Barrier::new(parties as usize).map(Self).map_err(words)
    }

    #[inline]
    fn wait(&self) -> Result<(), String> {
        self.0.wait().map(drop).map_err(words)
    }
}

/// Objects that are serialised: bytes, as serde knows them.
pub(crate) struct Queue(shmkit::Queue<ByteBuf>);

impl Channel for Queue {
    type Sender<'a> = (&'a shmkit::Queue<ByteBuf>, ByteBuf);
    type Receiver<'a> = &'a shmkit::Queue<ByteBuf>;

    fn new(_: Shape) -> Result<Self, String> {
        shmkit::Queue::new().map(Self).map_err(words)
    }

    fn sender(&self) -> Self::Sender<'_> {
        (&self.0, ByteBuf::new())
    }

    fn receiver(&self) -> Self::Receiver<'_> {
        &self.0
    }

    #[inline]
    fn send((queue, object): &mut Self::Sender<'_>, message: &[u8]) -> Result<(), String> {
        object.clear();
        object.extend_from_slice(message);
        queue.put(object).map_err(words)
    }

    #[inline]
    fn receive(queue: &mut Self::Receiver<'_>, into: &mut [u8]) -> Result<(), String> {
        into.copy_from_slice(&queue.get().map_err(words)?);
        Ok(())
    }
}

/// Plain data.
type Message = [u64; 8];

/// Why there is no ring.
const SIZE: &str = "its messages are of a fixed size";

pub(crate) struct Ring(shmkit::Ring<Message>);

impl Channel for Ring {
    type Sender<'a> = &'a shmkit::Ring<Message>;
    type Receiver<'a> = &'a shmkit::Ring<Message>;

    fn new(shape: Shape) -> Result<Self, String> {
        if shape.size != size_of::<Message>() {
            return Err(SIZE.into());
        }
        shmkit::Ring::with_capacity(shape.room()).map(Self).map_err(words)
    }

    fn sender(&self) -> Self::Sender<'_> {
        &self.0
    }

    fn receiver(&self) -> Self::Receiver<'_> {
        &self.0
    }

    #[inline]
    fn send(ring: &mut Self::Sender<'_>, message: &[u8]) -> Result<(), String> {
        ring.push(bytemuck::pod_read_unaligned(message)).map_err(words)
    }

    #[inline]
    fn receive(ring: &mut Self::Receiver<'_>, into: &mut [u8]) -> Result<(), String> {
        into.copy_from_slice(bytemuck::bytes_of(&ring.pop().map_err(words)?));
        Ok(())
    }
}

pub(crate) struct SpscRing(shmkit::SpscRing<Message>);

impl Channel for SpscRing {
    type Sender<'a> = Producer<Message>;
    type Receiver<'a> = Consumer<Message>;

    fn new(shape: Shape) -> Result<Self, String> {
        if shape.size != size_of::<Message>() {
            return Err(SIZE.into());
        }
        shmkit::SpscRing::with_capacity(shape.room()).map(Self).map_err(words)
    }

    fn sender(&self) -> Self::Sender<'_> {
        self.0.producer()
    }

    fn receiver(&self) -> Self::Receiver<'_> {
        self.0.consumer()
    }

    #[inline]
    fn send(producer: &mut Self::Sender<'_>, message: &[u8]) -> Result<(), String> {
        producer.push(bytemuck::pod_read_unaligned(message)).map_err(words)
    }

    #[inline]
    fn receive(consumer: &mut Self::Receiver<'_>, into: &mut [u8]) -> Result<(), String> {
        into.copy_from_slice(bytemuck::bytes_of(&consumer.pop().map_err(words)?));
        Ok(())
    }
}

/// A connection of two, by the kernel.
pub(crate) struct Pipe(Mutex<Option<pipe::Sender<()>>>, pipe::Receiver<()>);

impl Channel for Pipe {
    type Sender<'a> = pipe::Sender<()>;
    type Receiver<'a> = &'a pipe::Receiver<()>;

    fn new(_: Shape) -> Result<Self, String> {
        pipe::simplex().map(|(sender, receiver)| Self(Mutex::new(Some(sender)), receiver)).map_err(words)
    }

    fn sender(&self) -> Self::Sender<'_> {
        taken(&self.0)
    }

    fn receiver(&self) -> Self::Receiver<'_> {
        &self.1
    }

    fn let_go(&self) {
        drop(taken(&self.0));
    }

    fn send(sender: &mut Self::Sender<'_>, message: &[u8]) -> Result<(), String> {
        sender.send_bytes(message).map_err(words)
    }

    fn receive(receiver: &mut Self::Receiver<'_>, into: &mut [u8]) -> Result<(), String> {
        receiver.recv_bytes_into(into).map(drop).map_err(words)
    }
}

/// An array under its lock.
pub(crate) struct Locked(Array<i64>);

impl Elements for Locked {
    fn new(size: usize) -> Result<Self, String> {
        Array::zeros(size).map(Self).map_err(words)
    }

    fn with<R>(&mut self, work: impl FnOnce(&mut [i64]) -> R) -> R {
        work(&mut self.0.lock().expect("lock"))
    }
}

/// An array without a lock.
pub(crate) struct Raw(shmkit::RawArray<i64>);

impl Elements for Raw {
    fn new(size: usize) -> Result<Self, String> {
        shmkit::RawArray::zeros(size).map(Self).map_err(words)
    }

    #[expect(unsafe_code, reason = "the slices of a `RawArray` are given on the caller's word")]
    fn with<R>(&mut self, work: impl FnOnce(&mut [i64]) -> R) -> R {
        // SAFETY: nobody else has the array, and `self` is borrowed for as long as the slice.
        work(unsafe { self.0.as_mut_slice() })
    }
}

fn start(method: StartMethod, number: u64) -> Result<u64, String> {
    let builder = Process::builder(plus_one).args((number,)).start_method(method);
    builder.start().and_then(|process| process.join()).map_err(words)
}

/// By a fresh start of the program.
pub(crate) struct Spawn;

impl Starter for Spawn {
    fn call(number: u64) -> Result<u64, String> {
        start(StartMethod::Spawn, number)
    }

    fn slow_call(micros: u64) -> Result<u64, String> {
        Process::spawn(busy_for, (micros,)).and_then(|process| process.join()).map_err(words)
    }
}

/// By the fork server.
pub(crate) struct ForkServer;

impl Starter for ForkServer {
    fn call(number: u64) -> Result<u64, String> {
        start(StartMethod::ForkServer, number)
    }
}

/// By a fork.
pub(crate) struct Fork;

impl Starter for Fork {
    fn call(number: u64) -> Result<u64, String> {
        Process::fork(|| plus_one(number)).and_then(|process| process.join()).map_err(words)
    }
}

pub(crate) struct Pool(shmkit::Pool);

impl Pool {
    /// The ids of its workers.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.0.pids()
    }

    /// A task that keeps a worker busy for so long.
    pub(crate) fn task(&self, micros: u64) -> Result<u64, String> {
        self.0.apply(busy_for, (micros,)).map_err(words)
    }
}

impl Tasks for Pool {
    fn new(workers: usize) -> Result<Self, String> {
        shmkit::Pool::new(workers).map(Self).map_err(words)
    }

    fn one(&self, number: u64) -> Result<u64, String> {
        self.0.apply(plus_one, (number,)).map_err(words)
    }

    fn digits(&self, upto: u64) -> Result<Vec<u64>, String> {
        self.0.map(digits, 0..upto).map_err(words)
    }

    fn busy(&self, tasks: usize, micros: u64) -> Result<Vec<u64>, String> {
        self.0.map(busy_for, vec![micros; tasks]).map_err(words)
    }
}

/// A dict in a server, which is there as long as its manager.
pub(crate) struct Managed {
    dict: Dict,
    pub(crate) manager: Manager,
}

impl Store for Managed {
    fn new(keys: &[String]) -> Result<Self, String> {
        let manager = Manager::start().map_err(words)?;
        let items = keys.iter().map(String::as_str).zip(0..ITEMS);
        Ok(Self { dict: manager.dict_from(items).map_err(words)?, manager })
    }

    fn get(&self, key: &str) -> Result<u64, String> {
        match self.dict.get(key).map_err(words)? {
            Object::Int(number) => u64::try_from(number).map_err(words),
            other => Err(format!("{other} is no number")),
        }
    }

    fn set(&self, key: &str, number: u64) -> Result<(), String> {
        self.dict.insert(key, number).map(drop).map_err(words)
    }
}
