//! Queues of bytes.

#![expect(unsafe_code, reason = "exports functions, and copies bytes of C")]

use std::{
    collections::VecDeque,
    ffi::{c_char, c_void},
    slice,
};

use super::{
    handle::{Head, body, close, give, opaque},
    place::{nameless, site},
    region::shmkit_region,
    ring::not_null,
    status::{Failure, Result, put_if_wanted, report, shmkit_status},
    wait::shmkit_wait,
};
use crate::{
    Queue,
    os::{
        own::{Held, Own},
        robust::Generation,
    },
    region::{Intent, Site},
};

/// A bounded queue of messages of any length, many in and many out. For Rust a `Queue<Vec<u8>>`. What was put in arrives
/// once, unless the process that takes it dies with it.
#[derive(Debug)]
pub struct shmkit_queue {
    head: Head,
}

pub(super) struct Body {
    queue: Queue<Vec<u8>>,
    kept: Own<Kept>,
}

/// Messages that were longer than the buffers they were to go to.
struct Kept {
    /// Who took them out. In a fork they are its parent's.
    of: Generation,
    messages: VecDeque<Vec<u8>>,
}

impl Default for Kept {
    fn default() -> Self {
        Self { of: Generation::NONE, messages: VecDeque::new() }
    }
}

impl Body {
    /// Those of this process.
    fn kept(&self) -> Result<Held<'_, Kept>> {
        let mut kept = self.kept.lock();
        if !kept.of.is_this() {
            *kept = Kept { of: Generation::this()?, messages: VecDeque::new() };
        }
        Ok(kept)
    }
}

opaque!(shmkit_queue = 13, "queue", Body);

impl From<Queue<Vec<u8>>> for Body {
    fn from(queue: Queue<Vec<u8>>) -> Self {
        Self { queue, kept: Own::new() }
    }
}

fn make(region: Option<&shmkit_region>, name: *const c_char, capacity: usize, intent: Intent) -> Result<Body> {
    let options = Queue::<Vec<u8>>::options().capacity(capacity);
    let queue = match (site(region, name)?, intent) {
        (Site::Anonymous, _) => options.create()?,
        (Site::Place(place), Intent::OpenOrCreate) => options.open_or_create_at(place)?,
        (Site::Place(place), _) => options.create_at(place)?,
        (Site::Within(region, Some(name)), Intent::OpenOrCreate) => options.open_or_create_in(region, name)?,
        (Site::Within(region, name), _) => options.create_in(region, name)?,
    };
    Ok(queue.into())
}

fn find(region: Option<&shmkit_region>, name: *const c_char) -> Result<Body> {
    let queue = match site(region, name)? {
        Site::Place(place) => Queue::open(place)?,
        Site::Within(region, Some(name)) => Queue::open_in(region, name)?,
        _ => return Err(nameless()),
    };
    Ok(queue.into())
}

/// Makes a queue. With a region: in it, under `name` or, if that is null, without a name. Without: in memory of its own, under
/// `name` or anonymous. It has room for `capacity` bytes.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_queue_create(
    region: Option<&shmkit_region>,
    name: *const c_char,
    capacity: usize,
    queue: *mut *mut shmkit_queue,
) -> shmkit_status {
    report(|| give(queue, || make(region, name, capacity, Intent::Create)))
}

/// Finds a queue, or makes it as shmkit_queue_create does: also where its maker died on the way.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_queue_open_or_create(
    region: Option<&shmkit_region>,
    name: *const c_char,
    capacity: usize,
    queue: *mut *mut shmkit_queue,
) -> shmkit_status {
    report(|| give(queue, || make(region, name, capacity, Intent::OpenOrCreate)))
}

/// Finds a queue: in a region, or at a name or file.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_queue_open(
    region: Option<&shmkit_region>,
    name: *const c_char,
    queue: *mut *mut shmkit_queue,
) -> shmkit_status {
    report(|| give(queue, || find(region, name)))
}

/// Ends a handle; the object stays for those who have it open, and under its name.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_queue_close(queue: *mut shmkit_queue) -> shmkit_status {
    report(|| close(queue))
}

/// Puts a message of `size` bytes in. SHMKIT_TOO_LARGE if it could never fit. SHMKIT_DISCONNECTED: there is no room, and nobody
/// else has the queue who could make any.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_queue_put(
    queue: Option<&shmkit_queue>,
    message: *const c_void,
    size: usize,
    wait: shmkit_wait,
) -> shmkit_status {
    report(|| {
        let queue = &body(queue)?.queue;
        let message = match size {
            0 => Vec::new(),
            _ if message.is_null() => return Err(Failure::Null("the message")),
            // SAFETY: by the contract there are `size` bytes, which nobody changes during the call.
            _ => unsafe { slice::from_raw_parts(message.cast::<u8>(), size) }.to_vec(),
        };
        Ok(queue.put_within(&message, wait.of())?)
    })
}

/// Takes a message out into a buffer of `room` bytes. `*size` is its length. SHMKIT_BUFFER_TOO_SHORT, which leaves that too: it
/// waits, as the next one for this handle and this process alone, for a buffer of `*size` bytes. It is out of the queue then:
/// shmkit_queue_state does not count it, nobody else who waits is woken for it, and it is lost if the handle is closed.
/// SHMKIT_DISCONNECTED: the queue is empty, and nobody else has it who could put anything in.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_queue_get(
    queue: Option<&shmkit_queue>,
    buffer: *mut c_void,
    room: usize,
    size: *mut usize,
    wait: shmkit_wait,
) -> shmkit_status {
    report(|| {
        let body = body(queue)?;
        not_null(size.cast(), "size")?;
        if buffer.is_null() && room > 0 {
            return Err(Failure::Null("the buffer"));
        }
        let kept = body.kept()?.messages.pop_front();
        let message = match kept {
            Some(message) => message,
            None => body.queue.get_within(wait.of())?,
        };
        let needed = message.len();
        put_if_wanted(size, needed);
        if needed > room {
            body.kept()?.messages.push_front(message);
            return Err(Failure::BufferTooShort { needed, size: room });
        }
        if !message.is_empty() {
            // SAFETY: by the contract the buffer has `room` bytes, which are as many at least.
            unsafe { buffer.cast::<u8>().copy_from_nonoverlapping(message.as_ptr(), message.len()) };
        }
        Ok(())
    })
}

/// Declares a message that was taken out to be done. See shmkit_queue_join.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_queue_task_done(queue: Option<&shmkit_queue>) -> shmkit_status {
    report(|| Ok(body(queue)?.queue.task_done()?))
}

/// Waits until all messages that were put in are done. SHMKIT_TASKS_LOST: processes died before they had done theirs.
/// SHMKIT_DISCONNECTED: some are not, and nobody else has the queue who could do them.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_queue_join(queue: Option<&shmkit_queue>, wait: shmkit_wait) -> shmkit_status {
    report(|| Ok(body(queue)?.queue.join_within(wait.of())?))
}

/// Closes it for those who put in: they get SHMKIT_CLOSED, and so do those who take out once it is empty. The handle stays.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_queue_end(queue: Option<&shmkit_queue>) -> shmkit_status {
    report(|| {
        body(queue)?.queue.close();
        Ok(())
    })
}

/// How many messages are in it, for how many bytes it has room, and whether it is closed for those who put in.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_queue_state(
    queue: Option<&shmkit_queue>,
    len: *mut usize,
    capacity: *mut usize,
    ended: *mut bool,
) -> shmkit_status {
    report(|| {
        let queue = &body(queue)?.queue;
        put_if_wanted(len, queue.len());
        put_if_wanted(capacity, queue.capacity());
        put_if_wanted(ended, queue.is_closed());
        Ok(())
    })
}
