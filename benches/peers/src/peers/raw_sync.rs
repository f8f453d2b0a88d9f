//! raw_sync's locks and events, in segments of shared_memory, as their users do it.

#![expect(unsafe_code, reason = "its constructors are unsafe, and its types say nothing of threads")]

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use raw_sync::{
    Timeout,
    events::{EventImpl, EventInit, EventState},
    locks::{LockImpl, LockInit},
};
use shared_memory::{Shmem, ShmemConf};

use crate::{
    peers::{glibc::bump, words},
    shared::{Shareable, Shared},
    workloads::{lock::Locker, rwlock::ReadWrite, semaphore::Signal},
};

/// A segment, and what lies in it.
struct InSegment<T: ?Sized> {
    thing: Box<T>,
    // After what lies in it.
    _segment: Shmem,
}

// SAFETY: what lies there is for sharing among processes; its methods take it by address.
unsafe impl<T: ?Sized> Sync for InSegment<T> {}

fn segment() -> Result<Shmem, String> {
    let name = format!("/{}", crate::sample::name(&format!("raw{}", NEXT.fetch_add(1, Relaxed))));
    ShmemConf::new().size(4096).os_id(name).create().map_err(words)
}

static NEXT: AtomicU64 = AtomicU64::new(0);

fn lock<L: LockInit>() -> Result<InSegment<dyn LockImpl>, String> {
    let segment = segment()?;
    // SAFETY: the segment is large enough for a lock, and is kept as long as that.
    let (thing, _) = unsafe { L::new(segment.as_ptr(), segment.as_ptr()) }.map_err(words)?;
    Ok(InSegment { thing, _segment: segment })
}

pub(crate) struct Mutex(InSegment<dyn LockImpl>);

impl Locker for Mutex {
    fn new() -> Result<Self, String> {
        lock::<raw_sync::locks::Mutex>().map(Self)
    }

    #[inline]
    fn locked<R>(&self, work: impl FnOnce() -> R) -> R {
        let held = self.0.thing.lock().expect("lock");
        let result = work();
        drop(held);
        result
    }
}

pub(crate) struct RwLock(InSegment<dyn LockImpl>, Shared<Numbers>);

#[repr(C)]
struct Numbers([AtomicU64; 2]);

// SAFETY: atomics, for which zero is valid.
unsafe impl Shareable for Numbers {}

impl ReadWrite for RwLock {
    fn new() -> Result<Self, String> {
        lock::<raw_sync::locks::RwLock>().map(|lock| Self(lock, Shared::zeroed()))
    }

    #[inline]
    fn read(&self, during: impl FnOnce()) -> [u64; 2] {
        let held = self.0.thing.rlock().expect("read");
        during();
        let numbers = self.1.0.each_ref().map(|number| number.load(Relaxed));
        drop(held);
        numbers
    }

    #[inline]
    fn write(&self, between: impl FnOnce()) {
        let held = self.0.thing.lock().expect("write");
        bump(&self.1.0, between);
        drop(held);
    }
}

fn event<E: EventInit>(permits: u32) -> Result<InSegment<dyn EventImpl>, String> {
    let segment = segment()?;
    // SAFETY: the segment is large enough for an event, and is kept as long as that.
    let (thing, _) = unsafe { E::new(segment.as_ptr(), true) }.map_err(words)?;
    if permits > 0 {
        thing.set(EventState::Signaled).map_err(words)?;
    }
    Ok(InSegment { thing, _segment: segment })
}

macro_rules! signal {
    ($name:ident) => {
        pub(crate) struct $name(InSegment<dyn EventImpl>);

        impl Signal for $name {
            fn new(permits: u32) -> Result<Self, String> {
                event::<raw_sync::events::$name>(permits).map(Self)
            }

            fn acquire(&self) {
                self.0.thing.wait(Timeout::Infinite).expect("wait");
            }

            fn release(&self) {
                self.0.thing.set(EventState::Signaled).expect("set");
            }
        }
    };
}

signal!(Event);
signal!(BusyEvent);
