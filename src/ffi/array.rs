//! Arrays with a lock.

#![expect(unsafe_code, reason = "exports functions, and reads and writes shapes of C")]

use std::{
    ffi::{c_char, c_void},
    mem::{self, ManuallyDrop},
    slice,
    sync::OnceLock,
};

use super::{
    handle::{Head, body, close, give, opaque},
    place::site,
    region::shmkit_region,
    status::{Failure, Result, put, put_if_wanted, put_poison, report, shmkit_status},
    types::{Opaque, Type, same_type, shmkit_type},
    wait::shmkit_wait,
};
use crate::{
    Array, Error,
    data::ArrayCell,
    raw::{claims::ClaimSlot, mutex::Hold},
    region::{Dims, Handle, Intent, Kind},
};

/// An array of plain data, of 1 to 8 dimensions, with a lock.
#[derive(Debug)]
pub struct shmkit_array {
    head: Head,
}

pub(super) struct Body {
    pub(super) array: Array<Opaque>,
    type_: Type,
    /// The table of claims, once it is known: see `claim.rs`.
    pub(super) claims: OnceLock<&'static [ClaimSlot]>,
}

opaque!(shmkit_array = 5, "array", Body);

fn make(
    region: Option<&shmkit_region>,
    name: *const c_char,
    type_: Option<&shmkit_type>,
    shape: Dims,
    intent: Intent,
) -> Result<Body> {
    let type_ = Type::new(type_)?;
    let description = type_.describe(Kind::Array, shape);
    let handle = Handle::<ArrayCell<Opaque>>::make(&site(region, name)?, intent, &description, &|_| {})?;
    Ok(Body { array: handle.into(), type_, claims: OnceLock::new() })
}

fn find(region: Option<&shmkit_region>, name: *const c_char, type_: Option<&shmkit_type>) -> Result<Body> {
    let expected = Type::if_given(type_)?;
    let (handle, found) =
        Handle::<ArrayCell<Opaque>>::find(&site(region, name)?, |found| same_type(expected.as_ref(), found))?;
    Ok(Body { array: handle.into(), type_: Type::found(&found)?, claims: OnceLock::new() })
}

/// A shape that C gives.
pub(super) fn get_shape(shape: *const usize, rank: usize) -> Result<Dims> {
    if shape.is_null() {
        return Err(Failure::Null("the shape"));
    }
    // A longer one is an error, whose message does not show it.
    let rank = rank.min(9);
    // SAFETY: by the contract there are `rank` lengths at least.
    Ok(Dims::new(unsafe { slice::from_raw_parts(shape, rank) })?)
}

/// Gives C a shape.
pub(super) fn put_shape(lengths: &[usize], shape: *mut usize, room: usize, rank: *mut usize) -> Result<()> {
    put_if_wanted(rank, lengths.len());
    let count = room.min(lengths.len());
    if count > 0 {
        if shape.is_null() {
            return Err(Failure::Null("shape"));
        }
        // SAFETY: by the contract there is room for `room` lengths, which are no part of a handle.
        unsafe { shape.copy_from_nonoverlapping(lengths.as_ptr(), count) };
    }
    Ok(())
}

/// Makes an array. With a region: in it, under `name` or, if that is null, without a name. Without: in memory of its own, under
/// `name` or anonymous. `shape` has `rank` lengths,
/// 1 to 8. All elements begin as zeros.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_array_create(
    region: Option<&shmkit_region>,
    name: *const c_char,
    type_: Option<&shmkit_type>,
    shape: *const usize,
    rank: usize,
    array: *mut *mut shmkit_array,
) -> shmkit_status {
    report(|| give(array, || make(region, name, type_, get_shape(shape, rank)?, Intent::Create)))
}

/// Makes an array that can grow at its end while others have it, up to `most` rows (elements, if it has one dimension), as
/// shmkit_array_create does. It has addresses for all of them from the start, and memory for those that there are. In a
/// region the room for `most` rows is the array's, and the region grows with it if it can.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_array_create_growable(
    region: Option<&shmkit_region>,
    name: *const c_char,
    type_: Option<&shmkit_type>,
    shape: *const usize,
    rank: usize,
    most: usize,
    array: *mut *mut shmkit_array,
) -> shmkit_status {
    report(|| give(array, || make(region, name, type_, get_shape(shape, rank)?.growing(most)?, Intent::Create)))
}

/// Finds an array, or makes it as shmkit_array_create does: also where its maker died on the way.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_array_open_or_create(
    region: Option<&shmkit_region>,
    name: *const c_char,
    type_: Option<&shmkit_type>,
    shape: *const usize,
    rank: usize,
    array: *mut *mut shmkit_array,
) -> shmkit_status {
    report(|| give(array, || make(region, name, type_, get_shape(shape, rank)?, Intent::OpenOrCreate)))
}

/// Finds an array: in a region, or at a name or file. If `type` is null it may have any,
/// which shmkit_array_type tells.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_array_open(
    region: Option<&shmkit_region>,
    name: *const c_char,
    type_: Option<&shmkit_type>,
    array: *mut *mut shmkit_array,
) -> shmkit_status {
    report(|| give(array, || find(region, name, type_)))
}

/// Ends a handle; the object stays for those who have it open, and under its name.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_array_close(array: *mut shmkit_array) -> shmkit_status {
    report(|| close(array))
}

/// Takes the lock. SHMKIT_POISONED: a holder died, and the lock is not held by the caller; shmkit_array_recover takes it all
/// the same. The lock belongs to the thread: the same one must release it.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_array_lock(array: Option<&shmkit_array>, wait: shmkit_wait) -> shmkit_status {
    report(|| {
        mem::forget(body(array)?.array.acquire(wait.of())?);
        Ok(())
    })
}

/// Takes the lock, poisoned or not: shmkit_array_poison tells, and shmkit_array_clear_poison ends it after the repair.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_array_recover(array: Option<&shmkit_array>, wait: shmkit_wait) -> shmkit_status {
    report(|| {
        mem::forget(body(array)?.array.acquire_any(wait.of())?);
        Ok(())
    })
}

/// Releases the lock. SHMKIT_NOT_HELD if this thread does not hold it.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_array_unlock(array: Option<&shmkit_array>) -> shmkit_status {
    report(|| if body(array)?.array.unlock() { Ok(()) } else { Err(Failure::NotHeld) })
}

/// Whether the lock, which this thread holds, is poisoned, and whose death did it: 0 if that is not known.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_array_poison(
    array: Option<&shmkit_array>,
    poisoned: *mut bool,
    pid: *mut u32,
) -> shmkit_status {
    report(|| {
        let guard = ManuallyDrop::new(body(array)?.array.regain().ok_or(Failure::NotHeld)?);
        put_poison(guard.poison(), poisoned, pid);
        Ok(())
    })
}

/// Declares what the lock guards, which this thread holds, to be whole again.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_array_clear_poison(array: Option<&shmkit_array>) -> shmkit_status {
    report(|| {
        ManuallyDrop::new(body(array)?.array.regain().ok_or(Failure::NotHeld)?).clear_poison();
        Ok(())
    })
}

/// Where the elements lie, in row-major order, until the handle is closed. They may be touched while the lock is held, or a
/// claim of them.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_array_data(array: Option<&shmkit_array>, data: *mut *mut c_void) -> shmkit_status {
    report(|| put(data, body(array)?.array.handle().data().as_ptr().cast(), "data"))
}

/// Appends a copy of `count` elements, which are whole rows, to an array that can grow. Nothing moves: pointers and claims stay
/// what they are, in every process, and all see the old length or the new one, with all of its elements. It takes the lock,
/// unless this thread holds it already. A death meanwhile leaves either length, and no poison if the lock was not held.
/// SHMKIT_REGION_FULL: there would be more than the array was made for.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_array_extend(
    array: Option<&shmkit_array>,
    elements: *const c_void,
    count: usize,
    wait: shmkit_wait,
) -> shmkit_status {
    report(|| {
        let Body { array, type_, .. } = body(array)?;
        if elements.is_null() && count > 0 {
            return Err(Failure::Null("the elements"));
        }
        let _held = hold(array, wait)?;
        array.handle().append(count, |place| {
            // SAFETY: the place is for so many elements, which nobody reads but atomically before the length says so; by the
            // contract there are as many at `elements`.
            unsafe { type_.store(elements.cast(), place.as_ptr(), count) };
        })?;
        Ok(())
    })
}

/// Appends zeros to an array that can grow, as shmkit_array_extend does, until there are `rows` rows (elements, if it has one
/// dimension). If there are as many already, nothing happens.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_array_grow(array: Option<&shmkit_array>, rows: usize, wait: shmkit_wait) -> shmkit_status {
    report(|| {
        let Body { array, type_, .. } = body(array)?;
        let _held = hold(array, wait)?;
        let handle = array.handle();
        let wanted = handle.others().iter().try_fold(rows, |count, length| count.checked_mul(*length));
        let wanted = wanted.ok_or_else(|| Error::invalid_size(format!("{rows} rows")))?;
        let more = wanted.saturating_sub(handle.len_now());
        if more > 0 {
            handle.append(more, |place| {
                // SAFETY: the place is for so many elements, which nobody sees yet.
                unsafe { place.write_bytes(0, more * type_.size) };
            })?;
        }
        Ok(())
    })
}

/// The lock, for an array to grow, if this thread does not hold it already.
fn hold(array: &Array<Opaque>, wait: shmkit_wait) -> Result<Option<Hold<'_>>> {
    let is_mine = array.handle().head().mutex.is_mine();
    Ok(if is_mine { None } else { Some(array.hold_to_grow(wait.of())?) })
}

/// The most elements that it can have: as many as it has, unless it can grow.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_array_capacity(array: Option<&shmkit_array>, most: *mut usize) -> shmkit_status {
    report(|| put(most, body(array)?.array.capacity(), "most"))
}

/// The number of elements, as it is now.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_array_len(array: Option<&shmkit_array>, len: *mut usize) -> shmkit_status {
    report(|| put(len, body(array)?.array.len(), "len"))
}

/// The number of dimensions, 1 to 8, and their lengths, of which as many are written to `shape` as `room` says.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_array_shape(
    array: Option<&shmkit_array>,
    shape: *mut usize,
    room: usize,
    rank: *mut usize,
) -> shmkit_status {
    report(|| put_shape(body(array)?.array.shape(), shape, room, rank))
}

/// The type of the elements. Its name stands until the handle is closed.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_array_type(array: Option<&shmkit_array>, type_: *mut shmkit_type) -> shmkit_status {
    report(|| put(type_, body(array)?.type_.as_c(), "type"))
}
