//! What POSIX has for processes: semaphores and message queues.

#![expect(unsafe_code, reason = "calls the C library")]

use std::{cell::UnsafeCell, ffi::CString, io, os::fd::RawFd};

use crate::{
    sample::name,
    shared::{Shareable, Shared},
    workloads::{
        channel::{Channel, Shape},
        lock::Locker,
        semaphore::Signal,
    },
};

/// A process-shared `sem_t`.
pub(crate) struct Sem(Shared<Made>);

#[repr(transparent)]
struct Made(UnsafeCell<libc::sem_t>);

// SAFETY: a semaphore is for sharing; its functions take it by address.
unsafe impl Sync for Made {}
// SAFETY: `sem_init` is called before all else; with `pshared` it works across processes.
unsafe impl Shareable for Made {}

impl Signal for Sem {
    fn new(permits: u32) -> Result<Self, String> {
        let sem = Shared::<Made>::zeroed();
        // SAFETY: the memory is not in use yet.
        assert_eq!(unsafe { libc::sem_init(sem.0.get(), 1, permits) }, 0);
        Ok(Self(sem))
    }

    #[inline]
    fn acquire(&self) {
        // SAFETY: initialised.
        while unsafe { libc::sem_wait(self.0.0.get()) } != 0 {}
    }

    #[inline]
    fn release(&self) {
        // SAFETY: initialised.
        assert_eq!(unsafe { libc::sem_post(self.0.0.get()) }, 0);
    }
}

impl Locker for Sem {
    fn new() -> Result<Self, String> {
        <Self as Signal>::new(1)
    }

    #[inline]
    fn locked<R>(&self, work: impl FnOnce() -> R) -> R {
        self.acquire();
        let result = work();
        self.release();
        result
    }
}

/// Has as much room as a user gets without asking the administrator: 10 messages of at most 8 KiB.
pub(crate) struct MessageQueue(RawFd);

impl Channel for MessageQueue {
    type Sender<'a> = RawFd;
    type Receiver<'a> = RawFd;

    fn new(shape: Shape) -> Result<Self, String> {
        let name = CString::new(format!("/{}", name("mq"))).expect("no zero in it");
        // SAFETY: plain numbers, for which zero is valid.
        let mut attributes: libc::mq_attr = unsafe { std::mem::zeroed() };
        attributes.mq_maxmsg = 10;
        attributes.mq_msgsize = shape.size as _;
        let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_CLOEXEC;
        // SAFETY: the name and the attributes outlive the call.
        let queue = unsafe { libc::mq_open(name.as_ptr(), flags, 0o600, &raw mut attributes) };
        if queue < 0 {
            let error = io::Error::last_os_error();
            return Err(match error.raw_os_error() {
                Some(libc::EINVAL) if shape.size > 8192 => "its messages have at most 8 KiB".into(),
                _ => error.to_string(),
            });
        }
        // SAFETY: a name; those who have the queue keep it.
        unsafe { libc::mq_unlink(name.as_ptr()) };
        Ok(Self(queue))
    }

    fn sender(&self) -> RawFd {
        self.0
    }

    fn receiver(&self) -> RawFd {
        self.0
    }

    fn send(queue: &mut RawFd, message: &[u8]) -> Result<(), String> {
        // SAFETY: the message is readable for its length.
        if unsafe { libc::mq_send(*queue, message.as_ptr().cast(), message.len(), 0) } == 0 {
            return Ok(());
        }
        Err(io::Error::last_os_error().to_string())
    }

    fn receive(queue: &mut RawFd, into: &mut [u8]) -> Result<(), String> {
        // SAFETY: the place is writable for its length; the priority is not asked for.
        let length = unsafe { libc::mq_receive(*queue, into.as_mut_ptr().cast(), into.len(), std::ptr::null_mut()) };
        if length < 0 {
            return Err(io::Error::last_os_error().to_string());
        }
        assert_eq!(length.cast_unsigned(), into.len(), "another length");
        Ok(())
    }
}

impl Drop for MessageQueue {
    fn drop(&mut self) {
        // SAFETY: this one's, and not used any more.
        unsafe { libc::mq_close(self.0) };
    }
}
