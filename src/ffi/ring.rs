//! Rings: bounded queues of messages of one size, without a lock.

#![expect(unsafe_code, reason = "exports functions, and copies messages of C")]

use std::{
    alloc::Layout,
    ffi::{c_char, c_void},
    ptr,
    sync::atomic::AtomicU64,
};

use super::{
    handle::{Head, body, close, give, opaque},
    place::site,
    region::shmkit_region,
    status::{Failure, Result, put, put_if_wanted, report, shmkit_status},
    types::{Opaque, Type, shmkit_type},
    wait::shmkit_wait,
};
use crate::{
    channel::RingCell,
    os::clock::Wait,
    raw::ring::{Claimed, Onward, Ring as Raw, Slots},
    region::{Description, Dims, Handle, Intent, Kind},
};

/// A bounded queue of messages of one type, many in and many out, without a lock. What was put in arrives once, unless
/// the process that takes it dies with it; a slot that a dead one had is passed over.
#[derive(Debug)]
pub struct shmkit_ring {
    head: Head,
}

pub(super) struct Body {
    handle: Handle<RingCell<Opaque>>,
    places: Places,
    /// Bytes of a message.
    size: usize,
}

opaque!(shmkit_ring = 12, "ring", Body);

/// The slots of a ring for messages of a type that is known at run time only: a state and a message each, as those of
/// [`crate::Ring`].
///
/// Invariant: `count` slots lie from `first` on, `stride` bytes apart, in the mapping of the handle beside this.
#[derive(Clone, Copy)]
struct Places {
    first: *mut u8,
    count: usize,
    stride: usize,
    /// Where the message begins in a slot.
    message: usize,
}

// SAFETY: the states are atomics, and a message is touched by whoever has claimed its slot alone.
unsafe impl Send for Places {}
// SAFETY: as above.
unsafe impl Sync for Places {}

impl Slots for &Places {
    #[inline]
    fn count(&self) -> usize {
        self.count
    }

    #[inline]
    fn state(&self, at: usize) -> Option<&AtomicU64> {
        let state = (at < self.count).then(|| self.first.wrapping_add(at * self.stride).cast())?;
        // SAFETY: the invariant: a slot, which begins with its state, aligned as the description says, to 8 at least.
        Some(unsafe { AtomicU64::from_ptr(state) })
    }
}

impl Places {
    /// Where the message of a claimed slot lies.
    #[inline]
    fn message(&self, claimed: Claimed) -> *mut u8 {
        self.first.wrapping_add(claimed.at * self.stride + self.message)
    }
}

/// Copies a message. Those of the usual sizes need no call.
///
/// # Safety
///
/// Both have `size` bytes, and do not overlap.
#[inline(always)]
pub(super) unsafe fn copy(from: *const u8, to: *mut u8, size: usize) {
    macro_rules! as_one_of {
        ($($known:literal)*) => {
            match size {
                // SAFETY: the caller's promise; the size is this one.
                $($known => unsafe { to.copy_from_nonoverlapping(from, $known) },)*
                // SAFETY: the caller's promise.
                _ => unsafe { to.copy_from_nonoverlapping(from, size) },
            }
        };
    }
    as_one_of!(4 8 16 24 32 64)
}

/// A slot for a message of this type, and where the message begins in it. As `repr(C)` lays a state and a value out.
fn slot(type_: &Type) -> Result<(Layout, usize)> {
    let invalid = |_| crate::Error::invalid_size(format!("messages of {} bytes", type_.size));
    let message = Layout::from_size_align(type_.size, type_.align).map_err(invalid)?;
    let (slot, at) = Layout::new::<AtomicU64>()
        .extend(message)
        .map_err(|error| crate::Error::invalid_size(format!("messages of {} bytes: {error}", type_.size)))?;
    Ok((slot.pad_to_align(), at))
}

fn describe(type_: &Type, dims: Dims) -> Result<Description> {
    let (slot, _) = slot(type_)?;
    let element_size = u32::try_from(slot.size())
        .map_err(|_| crate::Error::invalid_size(format!("messages of {} bytes", type_.size)))?;
    Ok(Description { element_size, element_align: slot.align() as u16, ..type_.describe(Kind::Ring, dims) })
}

impl Body {
    fn new(handle: Handle<RingCell<Opaque>>, type_: &Type) -> Result<Self> {
        let (_, message) = slot(type_)?;
        let places = Places { first: handle.data().as_ptr(), count: handle.len(), stride: handle.stride(), message };
        Ok(Self { handle, places, size: type_.size })
    }

    #[inline]
    fn raw(&self) -> Raw<'_, &Places> {
        Raw { words: self.handle.head(), slots: &self.places }
    }

    #[inline(always)]
    fn push(&self, message: *const u8, wait: Wait) -> Result<()> {
        let ring = self.raw();
        // No closure, which would be a call.
        let claimed = if let Some(me) = self.handle.known_member()
            && let Some(claimed) = ring.claim_room_at_once(me)
        {
            claimed
        } else {
            self.wait_for_room(wait)?
        };
        // SAFETY: by the contract the message has the size of the type; the slot is claimed, so nobody else uses its room.
        unsafe { copy(message, self.places.message(claimed), self.size) };
        ring.publish(claimed);
        Ok(())
    }

    #[cold]
    fn wait_for_room(&self, wait: Wait) -> Result<Claimed> {
        Ok(self.raw().claim_room(self.handle.member()?, || self.handle.members(), wait)?)
    }

    #[inline(always)]
    fn pop(&self, message: *mut u8, wait: Wait) -> Result<()> {
        let ring = self.raw();
        // No closure, which would be a call.
        let claimed = if let Some(me) = self.handle.known_member()
            && let Some(claimed) = ring.claim_value_at_once(me)
        {
            claimed
        } else {
            self.wait_for_value(wait)?
        };
        // SAFETY: by the contract there is room for a message; the slot is claimed, so nobody writes it.
        unsafe { copy(self.places.message(claimed), message, self.size) };
        ring.free(claimed);
        Ok(())
    }

    #[cold]
    fn wait_for_value(&self, wait: Wait) -> Result<Claimed> {
        Ok(self.raw().claim_value(self.handle.member()?, || self.handle.members(), wait)?)
    }

    /// Does something for as many messages as go: it may wait for the first. Returns how many; whatever the reason is that
    /// it ends, what was done is done.
    fn as_many(&self, most: usize, wait: Wait, one: impl Fn(usize, Wait) -> Result<()>) -> Result<u32> {
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        let mut count = 0;
        while count < most {
            match one(count as usize * self.size, if count == 0 { wait } else { Wait::No }) {
                Ok(()) => count += 1,
                Err(_) if count > 0 => break,
                Err(failure) => return Err(failure),
            }
        }
        Ok(count)
    }
}

fn make(
    region: Option<&shmkit_region>,
    name: *const c_char,
    type_: Option<&shmkit_type>,
    capacity: usize,
    intent: Intent,
) -> Result<Body> {
    let type_ = Type::new(type_)?;
    let description = describe(&type_, Dims::new(&[capacity])?)?;
    Body::new(Handle::make(&site(region, name)?, intent, &description, &|_| {})?, &type_)
}

fn find(region: Option<&shmkit_region>, name: *const c_char, type_: Option<&shmkit_type>) -> Result<Body> {
    let type_ = Type::new(type_)?;
    let expected = describe(&type_, Dims::NONE)?;
    let (handle, _) = Handle::find(&site(region, name)?, |found| Description { dims: found.dims, ..expected })?;
    Body::new(handle, &type_)
}

/// Makes a ring. With a region: in it, under `name` or, if that is null, without a name. Without: in memory of its own, under
/// `name` or anonymous. It has room for `capacity`
/// messages.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_ring_create(
    region: Option<&shmkit_region>,
    name: *const c_char,
    type_: Option<&shmkit_type>,
    capacity: usize,
    ring: *mut *mut shmkit_ring,
) -> shmkit_status {
    report(|| give(ring, || make(region, name, type_, capacity, Intent::Create)))
}

/// Finds a ring, or makes it as shmkit_ring_create does: also where its maker died on the way.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_ring_open_or_create(
    region: Option<&shmkit_region>,
    name: *const c_char,
    type_: Option<&shmkit_type>,
    capacity: usize,
    ring: *mut *mut shmkit_ring,
) -> shmkit_status {
    report(|| give(ring, || make(region, name, type_, capacity, Intent::OpenOrCreate)))
}

/// Finds a ring: in a region, or at a name or file.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_ring_open(
    region: Option<&shmkit_region>,
    name: *const c_char,
    type_: Option<&shmkit_type>,
    ring: *mut *mut shmkit_ring,
) -> shmkit_status {
    report(|| give(ring, || find(region, name, type_)))
}

/// Ends a handle; the object stays for those who have it open, and under its name.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_ring_close(ring: *mut shmkit_ring) -> shmkit_status {
    report(|| close(ring))
}

/// Puts a message in.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_ring_push(
    ring: Option<&shmkit_ring>,
    message: *const c_void,
    wait: shmkit_wait,
) -> shmkit_status {
    report(|| {
        let ring = body(ring)?;
        not_null(message, "the message")?;
        ring.push(message.cast(), wait.of())?;
        ring.raw().notify_values(1);
        Ok(())
    })
}

/// Takes a message out.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_ring_pop(
    ring: Option<&shmkit_ring>,
    message: *mut c_void,
    wait: shmkit_wait,
) -> shmkit_status {
    report(|| {
        let ring = body(ring)?;
        not_null(message, "the message")?;
        ring.pop(message.cast(), wait.of())?;
        ring.raw().notify_room(1);
        Ok(())
    })
}

/// Puts in as many of `count` messages as there is room for, and waits for the first one if it has to. `*done` is how many.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_ring_push_many(
    ring: Option<&shmkit_ring>,
    messages: *const c_void,
    count: usize,
    wait: shmkit_wait,
    done: *mut usize,
) -> shmkit_status {
    report(|| {
        let ring = body(ring)?;
        not_null(done.cast(), "done")?;
        if count > 0 {
            not_null(messages, "the messages")?;
        }
        let from = messages.cast::<u8>();
        let pushed = ring.as_many(count, wait.of(), |at, wait| ring.push(from.wrapping_add(at), wait))?;
        ring.raw().notify_values(pushed);
        put(done, pushed as usize, "done")
    })
}

/// Takes out as many of `count` messages as there are, and waits for the first one if it has to. `*done` is how many.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_ring_pop_many(
    ring: Option<&shmkit_ring>,
    messages: *mut c_void,
    count: usize,
    wait: shmkit_wait,
    done: *mut usize,
) -> shmkit_status {
    report(|| {
        let ring = body(ring)?;
        not_null(done.cast(), "done")?;
        if count > 0 {
            not_null(messages, "the messages")?;
        }
        let into = messages.cast::<u8>();
        let popped = ring.as_many(count, wait.of(), |at, wait| ring.pop(into.wrapping_add(at), wait))?;
        ring.raw().notify_room(popped);
        put(done, popped as usize, "done")
    })
}

pub(super) fn not_null(pointer: *const c_void, what: &'static str) -> Result<()> {
    if pointer.is_null() { Err(Failure::Null(what)) } else { Ok(()) }
}

/// A place of a ring that this process has: to write a message where it will be read, or to read one where it lies.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct shmkit_slot {
    /// The message, until the place is given back or the ring's handle is closed.
    pub data: *mut c_void,
    /// Not for the caller, as what follows: which place it is.
    pub at: usize,
    pub lap: u32,
    pub to_write: u32,
}

fn give_slot(ring: &Body, claimed: Claimed, to_write: bool, slot: *mut shmkit_slot) {
    let data = ring.places.message(claimed).cast();
    put_if_wanted(slot, shmkit_slot { data, at: claimed.at, lap: claimed.lap(), to_write: to_write.into() });
}

/// Hands a place over that C has, and may have made up, or given back before, or be giving back in another thread.
fn give_back(ring: &Body, slot: *mut shmkit_slot, to: Onward) -> Result<()> {
    // SAFETY: by the contract null or a slot, which nobody else uses during the call.
    let given = unsafe { slot.as_mut() }.ok_or(Failure::Null("the slot"))?;
    let me = ring.handle.known_member().ok_or(Failure::NotHeld)?;
    let is_to_write = u32::from(to != Onward::Freed);
    // One of another ring has its message elsewhere.
    let claimed = Claimed::from_parts(given.at, given.lap);
    let is_here = ring.places.count > given.at && ring.places.message(claimed).cast() == given.data;
    if given.to_write != is_to_write || !is_here || !ring.raw().hand_over_if_mine(me, claimed, to) {
        return Err(Failure::NotHeld);
    }
    given.data = ptr::null_mut();
    Ok(())
}

/// Reserves the next place, whose message arrives with shmkit_ring_publish. It holds what was there before. As long as it is
/// reserved those who take out wait for it; if the process dies it is passed over.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_ring_reserve(
    ring: Option<&shmkit_ring>,
    wait: shmkit_wait,
    slot: *mut shmkit_slot,
) -> shmkit_status {
    report(|| {
        let ring = body(ring)?;
        not_null(slot.cast(), "the slot")?;
        give_slot(ring, ring.wait_for_room(wait.of())?, true, slot);
        Ok(())
    })
}

/// Lets the message of a reserved place arrive. SHMKIT_NOT_HELD if this process has not reserved it, or given it up.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_ring_publish(ring: Option<&shmkit_ring>, slot: *mut shmkit_slot) -> shmkit_status {
    report(|| {
        let ring = body(ring)?;
        give_back(ring, slot, Onward::Published)?;
        ring.raw().notify_values(1);
        Ok(())
    })
}

/// Gives a reserved place up: no message arrives.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_ring_give_up(ring: Option<&shmkit_ring>, slot: *mut shmkit_slot) -> shmkit_status {
    report(|| give_back(body(ring)?, slot, Onward::Void))
}

/// Takes the next message where it lies, until shmkit_ring_done. If the process dies it is lost with it.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_ring_take(
    ring: Option<&shmkit_ring>,
    wait: shmkit_wait,
    slot: *mut shmkit_slot,
) -> shmkit_status {
    report(|| {
        let ring = body(ring)?;
        not_null(slot.cast(), "the slot")?;
        give_slot(ring, ring.wait_for_value(wait.of())?, false, slot);
        Ok(())
    })
}

/// Frees the place of a message that was taken. SHMKIT_NOT_HELD if this process has not taken it, or freed it before.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_ring_done(ring: Option<&shmkit_ring>, slot: *mut shmkit_slot) -> shmkit_status {
    report(|| {
        let ring = body(ring)?;
        give_back(ring, slot, Onward::Freed)?;
        ring.raw().notify_room(1);
        Ok(())
    })
}

/// Closes it for those who put in: they get SHMKIT_CLOSED, and so do those who take out once it is empty. The handle stays.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_ring_end(ring: Option<&shmkit_ring>) -> shmkit_status {
    report(|| {
        body(ring)?.raw().close();
        Ok(())
    })
}

/// How many messages are in it, for how many it has room, and whether it is closed for those who put in.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_ring_state(
    ring: Option<&shmkit_ring>,
    len: *mut usize,
    capacity: *mut usize,
    ended: *mut bool,
) -> shmkit_status {
    report(|| {
        let ring = body(ring)?;
        put_if_wanted(len, ring.raw().len());
        put_if_wanted(capacity, ring.places.count);
        put_if_wanted(ended, ring.raw().is_closed());
        Ok(())
    })
}
