//! Semaphores: counts of permits that anybody gives and takes.

#![expect(unsafe_code, reason = "exports functions")]

use std::ffi::c_char;

use super::{
    handle::{Head, body, close, give, opaque},
    place::{nameless, site},
    region::shmkit_region,
    status::{Result, put, report, shmkit_status},
    wait::shmkit_wait,
};
use crate::{
    Semaphore,
    region::{Intent, Site},
};

/// A count of permits that anybody gives and takes. Permits of the dead are lost; see shmkit_bounded_semaphore.
#[derive(Debug)]
pub struct shmkit_semaphore {
    head: Head,
}

opaque!(shmkit_semaphore = 6, "semaphore", Semaphore);

fn make(region: Option<&shmkit_region>, name: *const c_char, count: usize, intent: Intent) -> Result<Semaphore> {
    Ok(match (site(region, name)?, intent) {
        (Site::Anonymous, _) => Semaphore::new(count)?,
        (Site::Place(place), Intent::OpenOrCreate) => Semaphore::open_or_create(place, count)?,
        (Site::Place(place), _) => Semaphore::create(place, count)?,
        (Site::Within(region, Some(name)), Intent::OpenOrCreate) => Semaphore::open_or_create_in(region, name, count)?,
        (Site::Within(region, name), _) => Semaphore::new_in(region, name, count)?,
    })
}

fn find(region: Option<&shmkit_region>, name: *const c_char) -> Result<Semaphore> {
    Ok(match site(region, name)? {
        Site::Place(place) => Semaphore::open(place)?,
        Site::Within(region, Some(name)) => Semaphore::open_in(region, name)?,
        _ => return Err(nameless()),
    })
}

/// Makes a semaphore. With a region: in it, under `name` or, if that is null, without a name. Without: in memory of its own, under
/// `name` or anonymous. It begins with `count` permits.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_semaphore_create(
    region: Option<&shmkit_region>,
    name: *const c_char,
    count: usize,
    semaphore: *mut *mut shmkit_semaphore,
) -> shmkit_status {
    report(|| give(semaphore, || make(region, name, count, Intent::Create)))
}

/// Finds a semaphore, or makes it as shmkit_semaphore_create does: also where its maker died on the way.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_semaphore_open_or_create(
    region: Option<&shmkit_region>,
    name: *const c_char,
    count: usize,
    semaphore: *mut *mut shmkit_semaphore,
) -> shmkit_status {
    report(|| give(semaphore, || make(region, name, count, Intent::OpenOrCreate)))
}

/// Finds a semaphore: in a region, or at a name or file.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_semaphore_open(
    region: Option<&shmkit_region>,
    name: *const c_char,
    semaphore: *mut *mut shmkit_semaphore,
) -> shmkit_status {
    report(|| give(semaphore, || find(region, name)))
}

/// Ends a handle; the object stays for those who have it open, and under its name.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_semaphore_close(semaphore: *mut shmkit_semaphore) -> shmkit_status {
    report(|| close(semaphore))
}

/// Takes a permit.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_semaphore_acquire(semaphore: Option<&shmkit_semaphore>, wait: shmkit_wait) -> shmkit_status {
    report(|| Ok(body(semaphore)?.take(wait.of())?))
}

/// Gives `n` permits.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_semaphore_release(semaphore: Option<&shmkit_semaphore>, n: usize) -> shmkit_status {
    report(|| Ok(body(semaphore)?.release_many(n)?))
}

/// The number of permits there are now.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_semaphore_value(semaphore: Option<&shmkit_semaphore>, value: *mut usize) -> shmkit_status {
    report(|| put(value, body(semaphore)?.value(), "value"))
}
