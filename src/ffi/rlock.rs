//! Locks that their holder may take again.

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
    RLock,
    region::{Dims, Handle, Intent, Resident},
    sync::RLockCell,
};

/// A lock that its holder may take again. It is free when it has been released as often as it was taken.
#[derive(Debug)]
pub struct shmkit_rlock {
    head: Head,
}

opaque!(shmkit_rlock = 3, "lock that may be taken again", RLock);

fn make(region: Option<&shmkit_region>, name: *const c_char, intent: Intent) -> super::status::Result<RLock> {
    let description = RLockCell::description(Dims::NONE);
    Ok(Handle::<RLockCell>::make(&site(region, name)?, intent, &description, &|_| {})?.into())
}

fn find(region: Option<&shmkit_region>, name: *const c_char) -> super::status::Result<RLock> {
    Ok(Handle::<RLockCell>::find(&site(region, name)?, |found| RLockCell::description(found.dims))?.0.into())
}

/// Makes a lock. With a region: in it, under `name` or, if that is null, without a name. Without: in memory of its own, under
/// `name` or anonymous.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_rlock_create(
    region: Option<&shmkit_region>,
    name: *const c_char,
    rlock: *mut *mut shmkit_rlock,
) -> shmkit_status {
    report(|| give(rlock, || make(region, name, Intent::Create)))
}

/// Finds a lock, or makes it as shmkit_rlock_create does: also where its maker died on the way.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_rlock_open_or_create(
    region: Option<&shmkit_region>,
    name: *const c_char,
    rlock: *mut *mut shmkit_rlock,
) -> shmkit_status {
    report(|| give(rlock, || make(region, name, Intent::OpenOrCreate)))
}

/// Finds a lock: in a region, or at a name or file.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_rlock_open(
    region: Option<&shmkit_region>,
    name: *const c_char,
    rlock: *mut *mut shmkit_rlock,
) -> shmkit_status {
    report(|| give(rlock, || find(region, name)))
}

/// Ends a handle; the object stays for those who have it open, and under its name.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_rlock_close(rlock: *mut shmkit_rlock) -> shmkit_status {
    report(|| close(rlock))
}

/// Takes the lock. SHMKIT_POISONED: a holder died, and the lock is not held by the caller; shmkit_rlock_recover takes it all
/// the same. The lock belongs to the thread: the same one must release it.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_rlock_lock(rlock: Option<&shmkit_rlock>, wait: shmkit_wait) -> shmkit_status {
    report(|| {
        mem::forget(body(rlock)?.acquire(wait.of())?);
        Ok(())
    })
}

/// Takes the lock, poisoned or not: shmkit_rlock_poison tells, and shmkit_rlock_clear_poison ends it after the repair.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_rlock_recover(rlock: Option<&shmkit_rlock>, wait: shmkit_wait) -> shmkit_status {
    report(|| {
        mem::forget(body(rlock)?.acquire_any(wait.of())?);
        Ok(())
    })
}

/// Releases the lock. SHMKIT_NOT_HELD if this thread does not hold it.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_rlock_unlock(rlock: Option<&shmkit_rlock>) -> shmkit_status {
    report(|| {
        drop(body(rlock)?.regain().ok_or(Failure::NotHeld)?);
        Ok(())
    })
}

/// Whether the lock, which this thread holds, is poisoned, and whose death did it: 0 if that is not known.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_rlock_poison(
    rlock: Option<&shmkit_rlock>,
    poisoned: *mut bool,
    pid: *mut u32,
) -> shmkit_status {
    report(|| {
        let guard = ManuallyDrop::new(body(rlock)?.regain().ok_or(Failure::NotHeld)?);
        put_poison(guard.poison(), poisoned, pid);
        Ok(())
    })
}

/// Declares what the lock guards, which this thread holds, to be whole again.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_rlock_clear_poison(rlock: Option<&shmkit_rlock>) -> shmkit_status {
    report(|| {
        ManuallyDrop::new(body(rlock)?.regain().ok_or(Failure::NotHeld)?).clear_poison();
        Ok(())
    })
}
