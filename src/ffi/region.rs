//! Regions: memory that many objects share.

#![expect(unsafe_code, reason = "exports functions")]

use std::ffi::c_char;

use super::{
    handle::{Head, body, close, give, opaque},
    place::{place, text},
    status::{Failure, put_if_wanted, report, shmkit_status},
    types::shmkit_flag,
};
use crate::Region;

/// Memory that many objects share: anonymous (for this process and its forks), under a name, or in a file.
#[derive(Debug)]
pub struct shmkit_region {
    head: Head,
}

opaque!(shmkit_region = 1, "region", Region);

/// How a region is made.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct shmkit_region_options {
    /// Bytes, which are rounded up to whole pages.
    pub size: usize,
    /// How many processes can be members: those that use barriers, rings, queues and the like. 0: as many as fit the size.
    pub members: usize,
    /// Whether memory is taken when it is touched, not when the region is made.
    pub sparse: shmkit_flag,
    /// Whether core dumps contain it.
    pub core_dump: shmkit_flag,
    /// Bytes that it can grow to, for which it takes addresses and no memory. 0: it does not grow.
    pub max_size: usize,
    /// For what may come: zeros.
    pub reserved: [u64; 4],
}

fn make(name: *const c_char, options: Option<&shmkit_region_options>, or_open: bool) -> super::status::Result<Region> {
    let options = options.ok_or(Failure::Null("the options"))?;
    if options.reserved != [0; 4] {
        return Err(crate::Error::invalid_argument("options of a later version, or not set to zero first").into());
    }
    let mut with = Region::options().size(options.size).sparse(options.sparse.get()).core_dump(options.core_dump.get());
    if options.members > 0 {
        with = with.members(options.members);
    }
    if options.max_size > 0 {
        with = with.max_size(options.max_size);
    }
    if !name.is_null() {
        with = with.at(place(name)?);
    }
    Ok(if or_open { with.open_or_create()? } else { with.create()? })
}

/// Makes a region: anonymous if `name` is null.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_region_create(
    name: *const c_char,
    options: Option<&shmkit_region_options>,
    region: *mut *mut shmkit_region,
) -> shmkit_status {
    report(|| give(region, || make(name, options, false)))
}

/// Finds a region, or makes it: also where its maker died on the way.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_region_open_or_create(
    name: *const c_char,
    options: Option<&shmkit_region_options>,
    region: *mut *mut shmkit_region,
) -> shmkit_status {
    report(|| give(region, || make(name, options, true)))
}

/// Finds a region. SHMKIT_NOT_FOUND if there is none; SHMKIT_VERSION_MISMATCH if a version of shmkit with another layout
/// made it, and shmkit_last_error() has both versions.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_region_open(name: *const c_char, region: *mut *mut shmkit_region) -> shmkit_status {
    report(|| give(region, || Ok(Region::open(place(name)?)?)))
}

/// Ends a handle. The memory goes with the last object in it that is open.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_region_close(region: *mut shmkit_region) -> shmkit_status {
    report(|| close(region))
}

/// Makes it larger while others have it: up to what it was made for. Nothing moves. If it has as many bytes, nothing happens.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_region_grow(region: Option<&shmkit_region>, size: usize) -> shmkit_status {
    report(|| Ok(body(region)?.grow(size)?))
}

/// Its bytes, and how many of them are free.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_region_size(
    region: Option<&shmkit_region>,
    size: *mut usize,
    left: *mut usize,
) -> shmkit_status {
    report(|| {
        let region = body(region)?;
        put_if_wanted(size, region.size());
        put_if_wanted(left, region.left()?);
        Ok(())
    })
}

/// Removes an object from a region. Those who have it open keep it; its space is not used again.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_region_remove(region: Option<&shmkit_region>, name: *const c_char) -> shmkit_status {
    report(|| Ok(body(region)?.remove(text(name)?.ok_or(Failure::Null("the name"))?)?))
}

/// Removes the name or file of a region, or of an object that has a region of its own. Those who have it open keep it.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_unlink(name: *const c_char) -> shmkit_status {
    report(|| Ok(Region::unlink(place(name)?)?))
}
