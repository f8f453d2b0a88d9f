//! Values: one element with a lock.

#![expect(unsafe_code, reason = "exports functions")]

use std::{
    ffi::{c_char, c_void},
    mem::{self, ManuallyDrop},
    ptr::NonNull,
};

use super::{
    handle::{Head, body, close, give, opaque},
    place::site,
    region::shmkit_region,
    status::{Failure, Result, put, put_poison, report, shmkit_status},
    types::{Opaque, Type, same_type, shmkit_type},
    wait::shmkit_wait,
};
use crate::{
    Value,
    data::ValueCell,
    region::{Dims, Handle, Intent, Kind},
};

/// One value of plain data with a lock.
#[derive(Debug)]
pub struct shmkit_value {
    head: Head,
}

pub(super) struct Body {
    pub(super) value: Value<Opaque>,
    type_: Type,
}

opaque!(shmkit_value = 4, "value", Body);

fn make(
    region: Option<&shmkit_region>,
    name: *const c_char,
    type_: Option<&shmkit_type>,
    intent: Intent,
) -> Result<Body> {
    let type_ = Type::new(type_)?;
    let description = type_.describe(Kind::Value, Dims::NONE);
    let handle = Handle::<ValueCell<Opaque>>::make(&site(region, name)?, intent, &description, &|_| {})?;
    Ok(Body { value: handle.into(), type_ })
}

fn find(region: Option<&shmkit_region>, name: *const c_char, type_: Option<&shmkit_type>) -> Result<Body> {
    let expected = Type::if_given(type_)?;
    let (handle, found) =
        Handle::<ValueCell<Opaque>>::find(&site(region, name)?, |found| same_type(expected.as_ref(), found))?;
    Ok(Body { value: handle.into(), type_: Type::found(&found)? })
}

/// Makes a value. With a region: in it, under `name` or, if that is null, without a name. Without: in memory of its own, under
/// `name` or anonymous. It begins as zero.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_value_create(
    region: Option<&shmkit_region>,
    name: *const c_char,
    type_: Option<&shmkit_type>,
    value: *mut *mut shmkit_value,
) -> shmkit_status {
    report(|| give(value, || make(region, name, type_, Intent::Create)))
}

/// Finds a value, or makes it as shmkit_value_create does: also where its maker died on the way.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_value_open_or_create(
    region: Option<&shmkit_region>,
    name: *const c_char,
    type_: Option<&shmkit_type>,
    value: *mut *mut shmkit_value,
) -> shmkit_status {
    report(|| give(value, || make(region, name, type_, Intent::OpenOrCreate)))
}

/// Finds a value: in a region, or at a name or file. If `type` is null it may have any, which shmkit_value_type tells.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_value_open(
    region: Option<&shmkit_region>,
    name: *const c_char,
    type_: Option<&shmkit_type>,
    value: *mut *mut shmkit_value,
) -> shmkit_status {
    report(|| give(value, || find(region, name, type_)))
}

/// Ends a handle; the object stays for those who have it open, and under its name.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_value_close(value: *mut shmkit_value) -> shmkit_status {
    report(|| close(value))
}

/// Takes the lock. SHMKIT_POISONED: a holder died, and the lock is not held by the caller; shmkit_value_recover takes it all
/// the same. The lock belongs to the thread: the same one must release it.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_value_lock(value: Option<&shmkit_value>, wait: shmkit_wait) -> shmkit_status {
    report(|| {
        mem::forget(body(value)?.value.acquire(wait.of())?);
        Ok(())
    })
}

/// Takes the lock, poisoned or not: shmkit_value_poison tells, and shmkit_value_clear_poison ends it after the repair.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_value_recover(value: Option<&shmkit_value>, wait: shmkit_wait) -> shmkit_status {
    report(|| {
        mem::forget(body(value)?.value.acquire_any(wait.of())?);
        Ok(())
    })
}

/// Releases the lock. SHMKIT_NOT_HELD if this thread does not hold it.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_value_unlock(value: Option<&shmkit_value>) -> shmkit_status {
    report(|| if body(value)?.value.unlock() { Ok(()) } else { Err(Failure::NotHeld) })
}

/// Whether the lock, which this thread holds, is poisoned, and whose death did it: 0 if that is not known.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_value_poison(
    value: Option<&shmkit_value>,
    poisoned: *mut bool,
    pid: *mut u32,
) -> shmkit_status {
    report(|| {
        let guard = ManuallyDrop::new(body(value)?.value.regain().ok_or(Failure::NotHeld)?);
        put_poison(guard.poison(), poisoned, pid);
        Ok(())
    })
}

/// Declares what the lock guards, which this thread holds, to be whole again.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_value_clear_poison(value: Option<&shmkit_value>) -> shmkit_status {
    report(|| {
        ManuallyDrop::new(body(value)?.value.regain().ok_or(Failure::NotHeld)?).clear_poison();
        Ok(())
    })
}

/// Where the value lies, until the handle is closed. It may be touched while the lock is held.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_value_data(value: Option<&shmkit_value>, data: *mut *mut c_void) -> shmkit_status {
    report(|| put(data, NonNull::as_ptr(body(value)?.value.data()).cast(), "data"))
}

/// The type of the value. Its name stands until the handle is closed.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_value_type(value: Option<&shmkit_value>, type_: *mut shmkit_type) -> shmkit_status {
    report(|| put(type_, body(value)?.type_.as_c(), "type"))
}
