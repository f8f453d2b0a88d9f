//! parking_lot, among threads.

use crate::workloads::{lock::Locker, rwlock::ReadWrite, semaphore::Signal};

pub(crate) struct Mutex(parking_lot::Mutex<()>);

impl Locker for Mutex {
    const THREADS: bool = true;

    fn new() -> Result<Self, String> {
        Ok(Self(parking_lot::Mutex::new(())))
    }

    #[inline]
    fn locked<R>(&self, work: impl FnOnce() -> R) -> R {
        let _held = self.0.lock();
        work()
    }
}

pub(crate) struct RwLock(parking_lot::RwLock<[u64; 2]>);

impl ReadWrite for RwLock {
    const THREADS: bool = true;

    fn new() -> Result<Self, String> {
        Ok(Self(parking_lot::RwLock::new([0; 2])))
    }

    #[inline]
    fn read(&self, during: impl FnOnce()) -> [u64; 2] {
        let guard = self.0.read();
        during();
        *guard
    }

    #[inline]
    fn write(&self, between: impl FnOnce()) {
        let mut guard = self.0.write();
        guard[0] += 1;
        between();
        guard[1] += 1;
    }
}

/// A condition variable, with a count under a mutex.
pub(crate) struct Condvar(parking_lot::Mutex<u32>, parking_lot::Condvar);

impl Signal for Condvar {
    const THREADS: bool = true;

    fn new(permits: u32) -> Result<Self, String> {
        Ok(Self(parking_lot::Mutex::new(permits), parking_lot::Condvar::new()))
    }

    fn acquire(&self) {
        let mut permits = self.0.lock();
        self.1.wait_while(&mut permits, |permits| *permits == 0);
        *permits -= 1;
    }

    fn release(&self) {
        *self.0.lock() += 1;
        self.1.notify_one();
    }
}
