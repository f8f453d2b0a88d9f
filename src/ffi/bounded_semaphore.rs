//! Semaphores whose permits have owners.

#![expect(unsafe_code, reason = "exports functions")]

use std::ffi::c_char;

use super::{
    handle::{Head, body, close, give, opaque},
    place::site,
    region::shmkit_region,
    status::{Failure, Result, put_if_wanted, report, shmkit_status},
    wait::shmkit_wait,
};
use crate::{
    BoundedSemaphore, Error,
    region::{Dims, Handle, Intent, Resident},
    sync::BoundedCell,
};

/// A number of permits with owners: those of a process that dies come back, and no more are given back than were taken.
#[derive(Debug)]
pub struct shmkit_bounded_semaphore {
    head: Head,
}

opaque!(shmkit_bounded_semaphore = 7, "bounded semaphore", BoundedSemaphore);

fn make(
    region: Option<&shmkit_region>,
    name: *const c_char,
    permits: usize,
    intent: Intent,
) -> Result<BoundedSemaphore> {
    let description = BoundedCell::description(Dims::new(&[permits])?);
    Ok(Handle::<BoundedCell>::make(&site(region, name)?, intent, &description, &|_| {})?.into())
}

fn find(region: Option<&shmkit_region>, name: *const c_char) -> Result<BoundedSemaphore> {
    Ok(Handle::<BoundedCell>::find(&site(region, name)?, |found| BoundedCell::description(found.dims))?.0.into())
}

/// Makes a bounded semaphore. With a region: in it, under `name` or, if that is null, without a name. Without: in memory of its own, under
/// `name` or anonymous.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_bounded_semaphore_create(
    region: Option<&shmkit_region>,
    name: *const c_char,
    permits: usize,
    bounded_semaphore: *mut *mut shmkit_bounded_semaphore,
) -> shmkit_status {
    report(|| give(bounded_semaphore, || make(region, name, permits, Intent::Create)))
}

/// Finds a bounded semaphore, or makes it as shmkit_bounded_semaphore_create does: also where its maker died on the way.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_bounded_semaphore_open_or_create(
    region: Option<&shmkit_region>,
    name: *const c_char,
    permits: usize,
    bounded_semaphore: *mut *mut shmkit_bounded_semaphore,
) -> shmkit_status {
    report(|| give(bounded_semaphore, || make(region, name, permits, Intent::OpenOrCreate)))
}

/// Finds a bounded semaphore: in a region, or at a name or file.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_bounded_semaphore_open(
    region: Option<&shmkit_region>,
    name: *const c_char,
    bounded_semaphore: *mut *mut shmkit_bounded_semaphore,
) -> shmkit_status {
    report(|| give(bounded_semaphore, || find(region, name)))
}

/// Ends a handle; the object stays for those who have it open, and under its name.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_bounded_semaphore_close(bounded_semaphore: *mut shmkit_bounded_semaphore) -> shmkit_status {
    report(|| close(bounded_semaphore))
}

/// Takes a permit for this process, any thread of which may give it back.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_bounded_semaphore_acquire(
    bounded_semaphore: Option<&shmkit_bounded_semaphore>,
    wait: shmkit_wait,
) -> shmkit_status {
    report(|| {
        body(bounded_semaphore)?.take(wait.of())?.detach();
        Ok(())
    })
}

/// Gives a permit back. SHMKIT_NOT_HELD if this process has none.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_bounded_semaphore_release(
    bounded_semaphore: Option<&shmkit_bounded_semaphore>,
) -> shmkit_status {
    report(|| match body(bounded_semaphore)?.release() {
        Err(Error::InvalidArgument { .. }) => Err(Failure::NotHeld),
        result => Ok(result?),
    })
}

/// The number of permits that can be had now, and of all.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_bounded_semaphore_value(
    bounded_semaphore: Option<&shmkit_bounded_semaphore>,
    available: *mut usize,
    permits: *mut usize,
) -> shmkit_status {
    report(|| {
        let semaphore = body(bounded_semaphore)?;
        put_if_wanted(available, semaphore.available()?);
        put_if_wanted(permits, semaphore.permits());
        Ok(())
    })
}
