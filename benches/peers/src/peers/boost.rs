//! Boost.Interprocess, by way of `boost.cpp`; not there if its headers were not when this was built.

#[cfg(boost)]
mod there {
    #![expect(unsafe_code, reason = "calls C++")]

    use std::{
        cell::UnsafeCell,
        ffi::{CString, c_char, c_void},
        ptr::NonNull,
        sync::atomic::{AtomicU64, Ordering::Relaxed},
    };

    use crate::{
        peers::glibc::bump,
        sample::name,
        shared::{Shareable, Shared},
        workloads::{
            channel::{Channel, Shape},
            lock::Locker,
            rwlock::ReadWrite,
            semaphore::Signal,
        },
    };

    /// Memory in which C++ makes what it likes, up to a size and alignment that `boost.cpp` checks.
    #[repr(C, align(128))]
    struct Room(UnsafeCell<[u8; 1 << 17]>);

    // SAFETY: for sharing; C++ takes it by address.
    unsafe impl Sync for Room {}
    // SAFETY: constructed before all else; made for several processes.
    unsafe impl Shareable for Room {}

    impl Room {
        fn get(&self) -> *mut c_void {
            self.0.get().cast()
        }
    }

    unsafe extern "C" {
        fn peers_boost_mutex(memory: *mut c_void);
        fn peers_boost_lock(mutex: *mut c_void) -> bool;
        fn peers_boost_unlock(mutex: *mut c_void) -> bool;
        fn peers_boost_sharable(memory: *mut c_void);
        fn peers_boost_write(mutex: *mut c_void) -> bool;
        fn peers_boost_end_write(mutex: *mut c_void) -> bool;
        fn peers_boost_read(mutex: *mut c_void) -> bool;
        fn peers_boost_end_read(mutex: *mut c_void) -> bool;
        fn peers_boost_semaphore(memory: *mut c_void, permits: u32);
        fn peers_boost_wait(semaphore: *mut c_void) -> bool;
        fn peers_boost_post(semaphore: *mut c_void) -> bool;
        fn peers_boost_spsc(memory: *mut c_void);
        fn peers_boost_push(ring: *mut c_void, message: *const c_void) -> bool;
        fn peers_boost_pop(ring: *mut c_void, message: *mut c_void) -> bool;
        fn peers_boost_new(name: *const c_char, room: usize, size: usize) -> *mut c_void;
        fn peers_boost_drop(queue: *mut c_void);
        fn peers_boost_send(queue: *mut c_void, message: *const c_void, size: usize) -> bool;
        fn peers_boost_receive(queue: *mut c_void, message: *mut c_void, size: usize) -> bool;
    }

    pub(crate) struct Mutex(Shared<Room>);

    impl Locker for Mutex {
        fn new() -> Result<Self, String> {
            let memory = Shared::<Room>::zeroed();
            // SAFETY: memory for one, not in use yet.
            unsafe { peers_boost_mutex(memory.get()) };
            Ok(Self(memory))
        }

        #[inline]
        fn locked<R>(&self, work: impl FnOnce() -> R) -> R {
            // SAFETY: made in `new`.
            assert!(unsafe { peers_boost_lock(self.0.get()) });
            let result = work();
            // SAFETY: this thread holds it.
            assert!(unsafe { peers_boost_unlock(self.0.get()) });
            result
        }
    }

    pub(crate) struct SharableMutex(Shared<Room>, Shared<Numbers>);

    #[repr(C)]
    struct Numbers([AtomicU64; 2]);

    // SAFETY: atomics, for which zero is valid.
    unsafe impl Shareable for Numbers {}

    impl ReadWrite for SharableMutex {
        fn new() -> Result<Self, String> {
            let memory = Shared::<Room>::zeroed();
            // SAFETY: memory for one, not in use yet.
            unsafe { peers_boost_sharable(memory.get()) };
            Ok(Self(memory, Shared::zeroed()))
        }

        #[inline]
        fn read(&self, during: impl FnOnce()) -> [u64; 2] {
            // SAFETY: made in `new`.
            assert!(unsafe { peers_boost_read(self.0.get()) });
            during();
            let numbers = self.1.0.each_ref().map(|number| number.load(Relaxed));
            // SAFETY: this thread holds it.
            assert!(unsafe { peers_boost_end_read(self.0.get()) });
            numbers
        }

        #[inline]
        fn write(&self, between: impl FnOnce()) {
            // SAFETY: made in `new`.
            assert!(unsafe { peers_boost_write(self.0.get()) });
            bump(&self.1.0, between);
            // SAFETY: this thread holds it.
            assert!(unsafe { peers_boost_end_write(self.0.get()) });
        }
    }

    pub(crate) struct Semaphore(Shared<Room>);

    impl Signal for Semaphore {
        fn new(permits: u32) -> Result<Self, String> {
            let memory = Shared::<Room>::zeroed();
            // SAFETY: memory for one, not in use yet.
            unsafe { peers_boost_semaphore(memory.get(), permits) };
            Ok(Self(memory))
        }

        #[inline]
        fn acquire(&self) {
            // SAFETY: made in `new`.
            assert!(unsafe { peers_boost_wait(self.0.get()) });
        }

        #[inline]
        fn release(&self) {
            // SAFETY: made in `new`.
            assert!(unsafe { peers_boost_post(self.0.get()) });
        }
    }

    /// Boost.Lockfree's ring of two, of fixed capacity, which its users put into shared memory.
    pub(crate) struct Spsc(Shared<Room>);

    impl Channel for Spsc {
        type Sender<'a> = *mut c_void;
        type Receiver<'a> = *mut c_void;

        fn new(shape: Shape) -> Result<Self, String> {
            assert_eq!(shape.size, 64, "as the C++ side has it");
            let memory = Shared::<Room>::zeroed();
            // SAFETY: memory for one, not in use yet.
            unsafe { peers_boost_spsc(memory.get()) };
            Ok(Self(memory))
        }

        fn sender(&self) -> *mut c_void {
            self.0.get()
        }

        fn receiver(&self) -> *mut c_void {
            self.0.get()
        }

        #[inline]
        fn send(ring: &mut *mut c_void, message: &[u8]) -> Result<(), String> {
            assert_eq!(message.len(), 64);
            // SAFETY: made in `new`; one producer; the message is readable for 64 bytes.
            crate::peers::crossbeam::spin(|| unsafe { peers_boost_push(*ring, message.as_ptr().cast()) }.then_some(()));
            Ok(())
        }

        #[inline]
        fn receive(ring: &mut *mut c_void, into: &mut [u8]) -> Result<(), String> {
            assert_eq!(into.len(), 64);
            let place = into.as_mut_ptr();
            // SAFETY: made in `new`; one consumer; the place is writable for 64 bytes.
            crate::peers::crossbeam::spin(|| unsafe { peers_boost_pop(*ring, place.cast()) }.then_some(()));
            Ok(())
        }
    }

    /// For this process and those that it forks. `peers_boost_new` made it, and it is there until it is dropped.
    pub(crate) struct MessageQueue(NonNull<c_void>);

    // SAFETY: its functions take it by address, and lock what they touch.
    unsafe impl Sync for MessageQueue {}

    impl Channel for MessageQueue {
        type Sender<'a> = NonNull<c_void>;
        type Receiver<'a> = NonNull<c_void>;

        fn new(shape: Shape) -> Result<Self, String> {
            static NEXT: AtomicU64 = AtomicU64::new(0);
            let name = CString::new(name(&format!("boost{}", NEXT.fetch_add(1, Relaxed)))).expect("no zero in it");
            // SAFETY: the name is a string of C and outlives the call.
            let queue = unsafe { peers_boost_new(name.as_ptr(), shape.room(), shape.size) };
            NonNull::new(queue).map(Self).ok_or("no queue".into())
        }

        fn sender(&self) -> NonNull<c_void> {
            self.0
        }

        fn receiver(&self) -> NonNull<c_void> {
            self.0
        }

        #[inline]
        fn send(queue: &mut NonNull<c_void>, message: &[u8]) -> Result<(), String> {
            // SAFETY: the queue is there; the message is readable for its size.
            let is_sent = unsafe { peers_boost_send(queue.as_ptr(), message.as_ptr().cast(), message.len()) };
            is_sent.then_some(()).ok_or("an exception".into())
        }

        #[inline]
        fn receive(queue: &mut NonNull<c_void>, into: &mut [u8]) -> Result<(), String> {
            // SAFETY: the queue is there; the place is writable for its size.
            let is_there = unsafe { peers_boost_receive(queue.as_ptr(), into.as_mut_ptr().cast(), into.len()) };
            is_there.then_some(()).ok_or("an exception, or another length".into())
        }
    }

    impl Drop for MessageQueue {
        fn drop(&mut self) {
            // SAFETY: made in `new`, and not used any more.
            unsafe { peers_boost_drop(self.0.as_ptr()) };
        }
    }
}

#[cfg(boost)]
pub(crate) use there::{MessageQueue, Mutex, Semaphore, SharableMutex, Spsc};

#[cfg(not(boost))]
mod absent {
    //! Each says that it is not there.

    use crate::workloads::{
        channel::{Channel, Shape},
        lock::Locker,
        rwlock::ReadWrite,
        semaphore::Signal,
    };

    /// Nobody has one.
    pub(crate) enum Absent {}

    pub(crate) type Mutex = Absent;
    pub(crate) type SharableMutex = Absent;
    pub(crate) type Semaphore = Absent;
    pub(crate) type Spsc = Absent;
    pub(crate) type MessageQueue = Absent;

    fn absent() -> Result<Absent, String> {
        Err("its headers were not there when this was built".into())
    }

    impl Locker for Absent {
        fn new() -> Result<Self, String> {
            absent()
        }

        fn locked<R>(&self, _: impl FnOnce() -> R) -> R {
            match *self {}
        }
    }

    impl ReadWrite for Absent {
        fn new() -> Result<Self, String> {
            absent()
        }

        fn read(&self, _: impl FnOnce()) -> [u64; 2] {
            match *self {}
        }

        fn write(&self, _: impl FnOnce()) {
            match *self {}
        }
    }

    impl Signal for Absent {
        fn new(_: u32) -> Result<Self, String> {
            absent()
        }

        fn acquire(&self) {
            match *self {}
        }

        fn release(&self) {
            match *self {}
        }
    }

    impl Channel for Absent {
        type Sender<'a> = ();
        type Receiver<'a> = ();

        fn new(_: Shape) -> Result<Self, String> {
            absent()
        }

        fn sender(&self) {
            match *self {}
        }

        fn receiver(&self) {
            match *self {}
        }

        fn send(_: &mut (), _: &[u8]) -> Result<(), String> {
            absent().map(drop)
        }

        fn receive(_: &mut (), _: &mut [u8]) -> Result<(), String> {
            absent().map(drop)
        }
    }
}

#[cfg(not(boost))]
pub(crate) use absent::{MessageQueue, Mutex, Semaphore, SharableMutex, Spsc};
