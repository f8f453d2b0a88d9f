//! Boost.Interprocess's `message_queue`, by way of `boost.cpp`.

#![expect(unsafe_code, reason = "calls C++")]

use std::{
    ffi::{CString, c_char, c_void},
    process,
    ptr::NonNull,
};

use crate::flow::{Message, ROOM, message};

/// The queue as C++ has it.
#[repr(C)]
struct Opaque {
    _private: [u8; 0],
}

unsafe extern "C" {
    fn peers_boost_new(name: *const c_char, room: usize, size: usize) -> *mut Opaque;
    fn peers_boost_drop(queue: *mut Opaque);
    fn peers_boost_send(queue: *mut Opaque, message: *const c_void, size: usize) -> bool;
    fn peers_boost_receive(queue: *mut Opaque, message: *mut c_void, size: usize) -> bool;
}

/// For this process and those that it forks. `peers_boost_new` made it, and it is there until it is dropped.
pub(crate) struct MessageQueue(NonNull<Opaque>);

// SAFETY: its functions take it by address, and lock what they touch.
unsafe impl Sync for MessageQueue {}

impl MessageQueue {
    pub(crate) fn new() -> Self {
        let name = CString::new(format!("shmkit-peers-{}", process::id())).expect("no zero in it");
        // SAFETY: the name is a string of C and outlives the call.
        let queue = unsafe { peers_boost_new(name.as_ptr(), ROOM, size_of::<Message>()) };
        Self(NonNull::new(queue).expect("a queue"))
    }

    #[inline]
    pub(crate) fn send(&self, message: &Message) {
        // SAFETY: the queue is there; the message is readable for its size.
        let is_sent = unsafe { peers_boost_send(self.0.as_ptr(), (&raw const *message).cast(), size_of::<Message>()) };
        assert!(is_sent);
    }

    #[inline]
    pub(crate) fn receive(&self) -> Message {
        let mut place = message(0);
        // SAFETY: the queue is there; the place is writable for its size.
        let is_received =
            unsafe { peers_boost_receive(self.0.as_ptr(), (&raw mut place).cast(), size_of::<Message>()) };
        assert!(is_received);
        place
    }
}

impl Drop for MessageQueue {
    fn drop(&mut self) {
        // SAFETY: made in `new`, and not used any more.
        unsafe { peers_boost_drop(self.0.as_ptr()) };
    }
}
