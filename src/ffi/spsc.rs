//! Rings with one producer and one consumer.

#![expect(unsafe_code, reason = "exports functions, and copies messages of C")]

use std::{
    cell::UnsafeCell,
    ffi::{c_char, c_void},
};

use super::{
    handle::{Head, body, close, give, opaque},
    place::site,
    region::shmkit_region,
    ring::{copy, not_null},
    status::{Result, put, put_if_wanted, report, shmkit_status},
    types::{Opaque, Type, shmkit_type},
    wait::shmkit_wait,
};
use crate::{
    Consumer, Producer, SpscRing,
    channel::SpscCell,
    os::clock::Wait,
    region::{Description, Dims, Handle, Intent, Kind},
};

/// A bounded queue of messages of one type with one producer and one consumer: faster than a shmkit_ring. For Rust an
/// `SpscRing`. What was put in arrives, also if its producer dies; what a consumer was taking when it died stays for the next.
#[derive(Debug)]
pub struct shmkit_spsc_ring {
    head: Head,
}

/// The end of a ring that puts in: the role that it takes with the first message is nobody else's until it is closed, or its
/// process dies. One thread at a time uses it.
#[derive(Debug)]
pub struct shmkit_producer {
    head: Head,
}

/// The end of a ring that takes out, of which the same holds.
#[derive(Debug)]
pub struct shmkit_consumer {
    head: Head,
}

opaque!(shmkit_spsc_ring = 17, "ring", SpscRing<Opaque>);
opaque!(shmkit_producer = 18, "producer", End<Producer<Opaque>>);
opaque!(shmkit_consumer = 19, "consumer", End<Consumer<Opaque>>);

/// An end, with what it takes to find its places: as many as `capacity` lie from `first` on, `size` bytes each, in the mapping
/// that `end` keeps.
pub(super) struct End<E> {
    end: UnsafeCell<E>,
    first: *mut u8,
    size: usize,
    capacity: usize,
}

// SAFETY: by the contract one thread at a time uses an end, in whatever thread it was made. `first` lies in the mapping.
unsafe impl<E: Send> Send for End<E> {}
// SAFETY: as above: what threads share of it is never used by two at a time.
unsafe impl<E: Send> Sync for End<E> {}

impl<E> End<E> {
    fn new(end: E, handle: &Handle<SpscCell<Opaque>>) -> Self {
        let (first, size, capacity) = (handle.data().as_ptr(), handle.stride(), handle.len());
        Self { end: UnsafeCell::new(end), first, size, capacity }
    }

    #[inline(always)]
    fn place(&self, at: usize) -> *mut u8 {
        self.first.wrapping_add(at * self.size)
    }
}

/// Passes up to `$count` messages between `$buffer` and the ring: how many it were.
macro_rules! pass {
    ($handle:ident, $buffer:ident, $count:ident, $wait:ident, |$message:ident, $place:ident, $size:ident| $copy:expr) => {{
        let this = body($handle)?;
        if $count > 0 {
            not_null($buffer, "the messages")?;
        }
        // SAFETY: by the contract one thread at a time uses an end.
        let end = unsafe { &mut *this.end.get() };
        if $count == 0 {
            return Ok(0);
        }
        let places = end.places($count, $wait)?;
        let count = places.count.min($count);
        // Those up to the end of the ring, and those from its start on.
        let first = count.min(this.capacity - places.at);
        let pass = |from: usize, at: usize, messages: usize| {
            let ($message, $place, $size) =
                ($buffer.cast::<u8>().wrapping_add(from * this.size), this.place(at), messages * this.size);
            // SAFETY: the places are this end's alone, and by the contract there are so many messages, or room for them.
            unsafe { $copy };
        };
        pass(0, places.at, first);
        if first < count {
            pass(first, 0, count - first);
        }
        end.hand_over(places, count);
        Ok(count)
    }};
}

#[inline(always)]
fn push(producer: Option<&shmkit_producer>, messages: *const c_void, count: usize, wait: Wait) -> Result<usize> {
    pass!(producer, messages, count, wait, |message, place, size| copy(message, place, size))
}

#[inline(always)]
fn pop(consumer: Option<&shmkit_consumer>, messages: *mut c_void, count: usize, wait: Wait) -> Result<usize> {
    pass!(consumer, messages, count, wait, |message, place, size| copy(place, message, size))
}

fn make(
    region: Option<&shmkit_region>,
    name: *const c_char,
    type_: Option<&shmkit_type>,
    capacity: usize,
    intent: Intent,
) -> Result<SpscRing<Opaque>> {
    let type_ = Type::new(type_)?;
    let description = type_.describe(Kind::SpscRing, Dims::new(&[capacity])?);
    let handle = Handle::<SpscCell<Opaque>>::make(&site(region, name)?, intent, &description, &|_| {})?;
    Ok(handle.into())
}

fn find(region: Option<&shmkit_region>, name: *const c_char, type_: Option<&shmkit_type>) -> Result<SpscRing<Opaque>> {
    let type_ = Type::new(type_)?;
    let accept = |found: &Description| type_.describe(Kind::SpscRing, found.dims);
    let (handle, _) = Handle::<SpscCell<Opaque>>::find(&site(region, name)?, accept)?;
    Ok(handle.into())
}

/// Makes a ring for one producer and one consumer. With a region: in it, under `name` or, if that is null, without a name.
/// Without: in memory of its own, under `name` or anonymous. It has room for `capacity` messages.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_spsc_ring_create(
    region: Option<&shmkit_region>,
    name: *const c_char,
    type_: Option<&shmkit_type>,
    capacity: usize,
    ring: *mut *mut shmkit_spsc_ring,
) -> shmkit_status {
    report(|| give(ring, || make(region, name, type_, capacity, Intent::Create)))
}

/// Finds such a ring, or makes it as shmkit_spsc_ring_create does: also where its maker died on the way.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_spsc_ring_open_or_create(
    region: Option<&shmkit_region>,
    name: *const c_char,
    type_: Option<&shmkit_type>,
    capacity: usize,
    ring: *mut *mut shmkit_spsc_ring,
) -> shmkit_status {
    report(|| give(ring, || make(region, name, type_, capacity, Intent::OpenOrCreate)))
}

/// Finds such a ring: in a region, or at a name or file.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_spsc_ring_open(
    region: Option<&shmkit_region>,
    name: *const c_char,
    type_: Option<&shmkit_type>,
    ring: *mut *mut shmkit_spsc_ring,
) -> shmkit_status {
    report(|| give(ring, || find(region, name, type_)))
}

/// Ends a handle; the object stays for those who have it open, its ends among them, and under its name.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_spsc_ring_close(ring: *mut shmkit_spsc_ring) -> shmkit_status {
    report(|| close(ring))
}

/// How many messages are in it, and for how many it has room.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_spsc_ring_state(
    ring: Option<&shmkit_spsc_ring>,
    len: *mut usize,
    capacity: *mut usize,
) -> shmkit_status {
    report(|| {
        let ring = body(ring)?;
        put_if_wanted(len, ring.len());
        put_if_wanted(capacity, ring.capacity());
        Ok(())
    })
}

/// An end to put messages in. It takes the role with the first message, from nobody who lives: SHMKIT_ROLE_TAKEN is what that
/// message gets then. One thread at a time may use an end, in whatever function.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_producer_of(
    ring: Option<&shmkit_spsc_ring>,
    producer: *mut *mut shmkit_producer,
) -> shmkit_status {
    report(|| {
        let end = body(ring)?.producer();
        let handle = end.handle().clone();
        give(producer, || Ok(End::new(end, &handle)))
    })
}

/// An end to take messages out. It takes the role with the first message, from nobody who lives: SHMKIT_ROLE_TAKEN is what that
/// attempt gets then. One thread at a time may use an end, in whatever function.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_consumer_of(
    ring: Option<&shmkit_spsc_ring>,
    consumer: *mut *mut shmkit_consumer,
) -> shmkit_status {
    report(|| {
        let end = body(ring)?.consumer();
        let handle = end.handle().clone();
        give(consumer, || Ok(End::new(end, &handle)))
    })
}

/// Ends a handle, and gives up the role.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_producer_close(producer: *mut shmkit_producer) -> shmkit_status {
    report(|| close(producer))
}

/// Ends a handle, and gives up the role.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_consumer_close(consumer: *mut shmkit_consumer) -> shmkit_status {
    report(|| close(consumer))
}

/// Puts a message in.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_producer_push(
    producer: Option<&shmkit_producer>,
    message: *const c_void,
    wait: shmkit_wait,
) -> shmkit_status {
    report(|| push(producer, message, 1, wait.of()).map(drop))
}

/// Takes a message out.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_consumer_pop(
    consumer: Option<&shmkit_consumer>,
    message: *mut c_void,
    wait: shmkit_wait,
) -> shmkit_status {
    report(|| pop(consumer, message, 1, wait.of()).map(drop))
}

/// Puts in as many of `count` messages as there is room for, and waits for the first one if it has to. `*done` is how many.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_producer_push_many(
    producer: Option<&shmkit_producer>,
    messages: *const c_void,
    count: usize,
    wait: shmkit_wait,
    done: *mut usize,
) -> shmkit_status {
    report(|| {
        not_null(done.cast(), "done")?;
        put(done, push(producer, messages, count, wait.of())?, "done")
    })
}

/// Takes out as many of `count` messages as there are, and waits for the first one if it has to. `*done` is how many.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_consumer_pop_many(
    consumer: Option<&shmkit_consumer>,
    messages: *mut c_void,
    count: usize,
    wait: shmkit_wait,
    done: *mut usize,
) -> shmkit_status {
    report(|| {
        not_null(done.cast(), "done")?;
        put(done, pop(consumer, messages, count, wait.of())?, "done")
    })
}

/// Closes the ring for good: who puts in gets SHMKIT_CLOSED, and so does who takes out once it is empty. For the thread that
/// uses this end.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_producer_end(producer: Option<&shmkit_producer>) -> shmkit_status {
    report(|| {
        // SAFETY: by the contract one thread at a time uses an end.
        let end = unsafe { &mut *body(producer)?.end.get() };
        Ok(end.close()?)
    })
}

/// The same, by who takes out.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_consumer_end(consumer: Option<&shmkit_consumer>) -> shmkit_status {
    report(|| {
        // SAFETY: as above.
        let end = unsafe { &mut *body(consumer)?.end.get() };
        Ok(end.close()?)
    })
}
