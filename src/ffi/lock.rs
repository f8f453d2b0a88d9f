//! Locks.

#![expect(unsafe_code, reason = "exports functions")]

use std::{
    ffi::c_char,
    mem::{self, ManuallyDrop},
};

use super::{
    handle::{Head, body, close, give, opaque},
    place::site,
    region::shmkit_region,
    status::{Failure, put_poison, report, shmkit_status},
    wait::shmkit_wait,
};
use crate::{
    Lock,
    region::{Dims, Handle, Intent, Resident},
    sync::LockCell,
};

/// A lock between threads and processes, which the death of its holder does not leave locked.
#[derive(Debug)]
pub struct shmkit_lock {
    head: Head,
}

opaque!(shmkit_lock = 2, "lock", Lock);

fn make(region: Option<&shmkit_region>, name: *const c_char, intent: Intent) -> super::status::Result<Lock> {
    let description = LockCell::description(Dims::NONE);
    Ok(Handle::<LockCell>::make(&site(region, name)?, intent, &description, &|_| {})?.into())
}

fn find(region: Option<&shmkit_region>, name: *const c_char) -> super::status::Result<Lock> {
    Ok(Handle::<LockCell>::find(&site(region, name)?, |found| LockCell::description(found.dims))?.0.into())
}

/// Makes a lock. With a region: in it, under `name` or, if that is null, without a name. Without: in memory of its own, under
/// `name` or anonymous.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_lock_create(
    region: Option<&shmkit_region>,
    name: *const c_char,
    lock: *mut *mut shmkit_lock,
) -> shmkit_status {
    report(|| give(lock, || make(region, name, Intent::Create)))
}

/// Finds a lock, or makes it as shmkit_lock_create does: also where its maker died on the way.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_lock_open_or_create(
    region: Option<&shmkit_region>,
    name: *const c_char,
    lock: *mut *mut shmkit_lock,
) -> shmkit_status {
    report(|| give(lock, || make(region, name, Intent::OpenOrCreate)))
}

/// Finds a lock: in a region, or at a name or file.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_lock_open(
    region: Option<&shmkit_region>,
    name: *const c_char,
    lock: *mut *mut shmkit_lock,
) -> shmkit_status {
    report(|| give(lock, || find(region, name)))
}

/// Ends a handle; the object stays for those who have it open, and under its name.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_lock_close(lock: *mut shmkit_lock) -> shmkit_status {
    report(|| close(lock))
}

/// Takes the lock. SHMKIT_POISONED: a holder died, and the lock is not held by the caller; shmkit_lock_recover takes it all
/// the same. The lock belongs to the thread: the same one must release it.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_lock_lock(lock: Option<&shmkit_lock>, wait: shmkit_wait) -> shmkit_status {
    report(|| {
        mem::forget(body(lock)?.acquire(wait.of())?);
        Ok(())
    })
}

/// Takes the lock, poisoned or not: shmkit_lock_poison tells, and shmkit_lock_clear_poison ends it after the repair.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_lock_recover(lock: Option<&shmkit_lock>, wait: shmkit_wait) -> shmkit_status {
    report(|| {
        mem::forget(body(lock)?.acquire_any(wait.of())?);
        Ok(())
    })
}

/// Releases the lock. SHMKIT_NOT_HELD if this thread does not hold it.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_lock_unlock(lock: Option<&shmkit_lock>) -> shmkit_status {
    report(|| if body(lock)?.unlock() { Ok(()) } else { Err(Failure::NotHeld) })
}

/// Whether the lock, which this thread holds, is poisoned, and whose death did it: 0 if that is not known.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_lock_poison(lock: Option<&shmkit_lock>, poisoned: *mut bool, pid: *mut u32) -> shmkit_status {
    report(|| {
        let guard = ManuallyDrop::new(body(lock)?.regain().ok_or(Failure::NotHeld)?);
        put_poison(guard.poison(), poisoned, pid);
        Ok(())
    })
}

/// Declares what the lock guards, which this thread holds, to be whole again.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_lock_clear_poison(lock: Option<&shmkit_lock>) -> shmkit_status {
    report(|| {
        ManuallyDrop::new(body(lock)?.regain().ok_or(Failure::NotHeld)?).clear_poison();
        Ok(())
    })
}
