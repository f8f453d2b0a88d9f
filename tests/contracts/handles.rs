//! Every kind of handle, through processes that were started in every way, and back.

use std::{
    fs,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::atomic::Ordering::SeqCst,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use shmkit::{
    Array, AtomicArray, AtomicValue, Barrier, BoundedSemaphore, Condvar, Consumer, Event, Lock, Process, Producer,
    Queue, RLock, RawArray, Region, Result, Ring, RwLock, Semaphore, Value, pipe,
};

use super::{ALL, LONG, joined, run};

/// One of each. Most count the processes that they have been in.
#[derive(Serialize, Deserialize)]
struct Everything {
    value: Value<u64>,
    array: Array<u64>,
    atomic: AtomicValue<u64>,
    atomics: AtomicArray<u64>,
    raw: RawArray<u64>,
    lock: Lock,
    rlock: RLock,
    semaphore: Semaphore,
    bounded: BoundedSemaphore,
    event: Event,
    condvar: Condvar,
    barrier: Barrier,
    shared: RwLock<u64>,
    ring: Ring<u64>,
    producer: Producer<u64>,
    consumer: Consumer<u64>,
    queue: Queue<u64>,
    sender: pipe::Sender<u64>,
    receiver: pipe::Receiver<u64>,
    one: pipe::Connection<u64>,
    other: pipe::Connection<u64>,
    caller: pipe::Caller<u64, u64>,
    responder: pipe::Responder<u64, u64>,
    region: Region,
    file: pipe::Fd,
}

impl Everything {
    fn new() -> Result<Self> {
        let (producer, consumer) = Ring::spsc(4)?;
        let (sender, receiver) = pipe::simplex()?;
        let (one, other) = pipe::duplex()?;
        let (caller, responder) = pipe::call()?;
        let everything = Self {
            value: Value::new(0)?,
            array: Array::zeros(3)?,
            atomic: AtomicValue::new(0)?,
            atomics: AtomicArray::zeros(3)?,
            raw: RawArray::zeros(3)?,
            lock: Lock::new()?,
            rlock: RLock::new()?,
            semaphore: Semaphore::new(0)?,
            bounded: BoundedSemaphore::new(1)?,
            event: Event::new()?,
            condvar: Condvar::new()?,
            barrier: Barrier::new(1)?,
            shared: RwLock::new(0)?,
            ring: Ring::with_capacity(4)?,
            producer,
            consumer,
            queue: Queue::new()?,
            sender,
            receiver,
            one,
            other,
            caller,
            responder,
            region: Region::options().size(1 << 16).create()?,
            file: pipe::Fd::from(OwnedFd::from(fs::File::open("/dev/null").unwrap())),
        };
        Value::<u64>::new_in(&everything.region, "in a region", 0)?;
        Ok(everything)
    }

    /// Uses each, in the process number `n`.
    fn count(&mut self, n: u64) -> Result<()> {
        assert_eq!(self.value.update(|x| x + 1)?, n);
        self.array.lock()?[2] += 1;
        assert_eq!(self.atomic.fetch_add(1, SeqCst), n - 1);
        assert_eq!(self.atomics[2].fetch_add(1, SeqCst), n - 1);
        assert_eq!(self.raw.len(), 3);
        {
            let mut held = self.lock.lock_timeout(LONG)?;
            let (_once, _twice) = (self.rlock.lock_timeout(LONG)?, self.rlock.lock_timeout(LONG)?);
            self.condvar.notify_all()?;
            assert!(self.condvar.wait_timeout(&mut held, Duration::ZERO).is_err());
        }
        self.semaphore.release()?;
        drop(self.bounded.acquire_timeout(LONG)?);
        assert_eq!(self.event.is_set(), n > 1);
        self.event.set();
        self.barrier.wait_timeout(LONG)?;
        *self.shared.write_timeout(LONG)? += 1;
        self.ring.push_timeout(n, LONG)?;
        self.producer.push_timeout(n, LONG)?;
        self.queue.put_timeout(&n, LONG)?;
        self.sender.send_timeout(&n, LONG)?;
        self.one.send_timeout(&n, LONG)?;
        self.other.send_timeout(&n, LONG)?;
        let got = [
            self.ring.pop_timeout(LONG)?,
            self.consumer.pop_timeout(LONG)?,
            self.queue.get_timeout(LONG)?,
            self.receiver.recv_timeout(LONG)?,
            self.other.recv_timeout(LONG)?,
            self.one.recv_timeout(LONG)?,
        ];
        assert_eq!(got, [n; 6]);
        // There is one thread, which does not wait for its own answer.
        assert!(self.caller.call_timeout(&n, Duration::ZERO).unwrap_err().is_timed_out());
        assert_eq!(self.responder.recv_timeout(LONG)?.0, n);
        assert_eq!(Value::<u64>::open_in(&self.region, "in a region")?.update(|x| x + 1)?, n);
        assert!(fs::metadata(format!("/proc/self/fd/{}", self.file.as_fd().as_raw_fd())).is_ok());
        Ok(())
    }
}

/// One of every kind goes to a child, its child, and so on, each started in another way; and all the way back.
pub(crate) fn every_handle_goes_everywhere() {
    const DEPTH: u64 = 6;
    fn down(mut everything: Everything, n: u64) -> Result<Everything> {
        everything.count(n)?;
        if n < DEPTH {
            let builder = Process::builder(down).args((everything, n + 1)).start_method(ALL[n as usize % ALL.len()]);
            everything = joined(&builder.daemon(true).may_have_children(true).start()?)?;
        }
        everything.count(2 * DEPTH + 1 - n)?;
        Ok(everything)
    }
    let mut everything = run(down, (Everything::new().unwrap(), 1)).unwrap();
    everything.count(2 * DEPTH + 1).unwrap();
    assert_eq!(everything.array.to_vec().unwrap(), [0, 0, 2 * DEPTH + 1]);
    assert_eq!(*everything.shared.read().unwrap(), 2 * DEPTH + 1);
}
