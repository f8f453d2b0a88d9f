//! Events: flags that others wait for.

#![expect(unsafe_code, reason = "exports functions")]

use std::ffi::c_char;

use super::{
    handle::{Head, body, close, give, opaque},
    place::{nameless, site},
    region::shmkit_region,
    status::{Result, put, report, shmkit_status},
    types::shmkit_flag,
    wait::shmkit_wait,
};
use crate::{
    Event,
    region::{Intent, Site},
};

/// A flag that others wait for.
#[derive(Debug)]
pub struct shmkit_event {
    head: Head,
}

opaque!(shmkit_event = 9, "event", Event);

fn make(region: Option<&shmkit_region>, name: *const c_char, auto_reset: bool, intent: Intent) -> Result<Event> {
    Ok(match (site(region, name)?, intent) {
        (Site::Anonymous, _) => Event::anonymous(auto_reset)?,
        (Site::Place(place), intent) => Event::at(&place, intent, auto_reset)?,
        (Site::Within(region, Some(name)), Intent::OpenOrCreate) => Event::either_within(region, name, auto_reset)?,
        (Site::Within(region, name), _) => Event::within(region, name, auto_reset)?,
    })
}

fn find(region: Option<&shmkit_region>, name: *const c_char) -> Result<Event> {
    Ok(match site(region, name)? {
        Site::Place(place) => Event::open(place)?,
        Site::Within(region, Some(name)) => Event::open_in(region, name)?,
        _ => return Err(nameless()),
    })
}

/// Makes an event. With a region: in it, under `name` or, if that is null, without a name. Without: in memory of its own, under
/// `name` or anonymous. With `auto_reset` whoever it lets
/// through clears it.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_event_create(
    region: Option<&shmkit_region>,
    name: *const c_char,
    auto_reset: shmkit_flag,
    event: *mut *mut shmkit_event,
) -> shmkit_status {
    report(|| give(event, || make(region, name, auto_reset.get(), Intent::Create)))
}

/// Finds an event, or makes it as shmkit_event_create does: also where its maker died on the way.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_event_open_or_create(
    region: Option<&shmkit_region>,
    name: *const c_char,
    auto_reset: shmkit_flag,
    event: *mut *mut shmkit_event,
) -> shmkit_status {
    report(|| give(event, || make(region, name, auto_reset.get(), Intent::OpenOrCreate)))
}

/// Finds an event: in a region, or at a name or file.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_event_open(
    region: Option<&shmkit_region>,
    name: *const c_char,
    event: *mut *mut shmkit_event,
) -> shmkit_status {
    report(|| give(event, || find(region, name)))
}

/// Ends a handle; the object stays for those who have it open, and under its name.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_event_close(event: *mut shmkit_event) -> shmkit_status {
    report(|| close(event))
}

/// Sets it: all that wait go on, or one if it resets itself.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_event_set(event: Option<&shmkit_event>) -> shmkit_status {
    report(|| {
        body(event)?.set();
        Ok(())
    })
}

/// Clears it.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_event_clear(event: Option<&shmkit_event>) -> shmkit_status {
    report(|| {
        body(event)?.clear();
        Ok(())
    })
}

/// Whether it is set.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_event_is_set(event: Option<&shmkit_event>, set: *mut bool) -> shmkit_status {
    report(|| put(set, body(event)?.is_set(), "set"))
}

/// Waits until it is set.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_event_wait(event: Option<&shmkit_event>, wait: shmkit_wait) -> shmkit_status {
    report(|| Ok(body(event)?.wait_within(wait.of())?))
}
