//! Barriers.

#![expect(unsafe_code, reason = "exports functions")]

use std::{
    ffi::{c_char, c_int, c_void},
    time::Duration,
};

use super::{
    handle::{Head, body, close, give, opaque},
    place::site,
    region::shmkit_region,
    status::{Failure, Result, put_if_wanted, report, shmkit_status},
    wait::shmkit_wait,
};
use crate::{
    Barrier, Error,
    os::clock::Wait,
    region::{Dims, Handle, Intent, Resident},
    sync::BarrierCell,
};

/// Parties that wait for each other. The death of one breaks it, and the others are told whose it was.
#[derive(Debug)]
pub struct shmkit_barrier {
    head: Head,
}

opaque!(shmkit_barrier = 8, "barrier", Barrier);

fn make(region: Option<&shmkit_region>, name: *const c_char, parties: usize, intent: Intent) -> Result<Barrier> {
    let description = BarrierCell::description(Dims::new(&[parties])?);
    Ok(Handle::<BarrierCell>::make(&site(region, name)?, intent, &description, &|_| {})?.into())
}

fn find(region: Option<&shmkit_region>, name: *const c_char) -> Result<Barrier> {
    Ok(Handle::<BarrierCell>::find(&site(region, name)?, |found| BarrierCell::description(found.dims))?.0.into())
}

/// Makes a barrier. With a region: in it, under `name` or, if that is null, without a name. Without: in memory of its own, under
/// `name` or anonymous.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_barrier_create(
    region: Option<&shmkit_region>,
    name: *const c_char,
    parties: usize,
    barrier: *mut *mut shmkit_barrier,
) -> shmkit_status {
    report(|| give(barrier, || make(region, name, parties, Intent::Create)))
}

/// Finds a barrier, or makes it as shmkit_barrier_create does: also where its maker died on the way.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_barrier_open_or_create(
    region: Option<&shmkit_region>,
    name: *const c_char,
    parties: usize,
    barrier: *mut *mut shmkit_barrier,
) -> shmkit_status {
    report(|| give(barrier, || make(region, name, parties, Intent::OpenOrCreate)))
}

/// Finds a barrier: in a region, or at a name or file.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_barrier_open(
    region: Option<&shmkit_region>,
    name: *const c_char,
    barrier: *mut *mut shmkit_barrier,
) -> shmkit_status {
    report(|| give(barrier, || find(region, name)))
}

/// Ends a handle; the object stays for those who have it open, and under its name.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_barrier_close(barrier: *mut shmkit_barrier) -> shmkit_status {
    report(|| close(barrier))
}

/// Waits for all parties. `*index` is another number for each of them, below that of the parties; 0 is the leader. It may
/// be null. SHMKIT_BARRIER_BROKEN: a party died (shmkit_last_pid() says who) or ran out of time, or somebody broke it.
/// SHMKIT_FOREVER means the barrier's own time-out, if it has one.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_barrier_wait(
    barrier: Option<&shmkit_barrier>,
    wait: shmkit_wait,
    index: *mut usize,
) -> shmkit_status {
    report(|| pass(barrier, wait, None::<fn() -> crate::Result<()>>, index))
}

/// The same, with a function that the last party to come calls before anybody goes on. If it returns anything but 0 the
/// barrier breaks. It must return: no exception, longjmp or pthread_exit may leave it.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_barrier_wait_with(
    barrier: Option<&shmkit_barrier>,
    action: Option<extern "C-unwind" fn(*mut c_void) -> c_int>,
    argument: *mut c_void,
    wait: shmkit_wait,
    index: *mut usize,
) -> shmkit_status {
    report(|| {
        let action = action.ok_or(Failure::Null("the action"))?;
        let act = || match action(argument) {
            0 => Ok(()),
            code => Err(Error::Failed { message: format!("the barrier's action returned {code}") }),
        };
        pass(barrier, wait, Some(act), index)
    })
}

fn pass(
    barrier: Option<&shmkit_barrier>,
    wait: shmkit_wait,
    action: Option<impl FnOnce() -> crate::Result<()>>,
    index: *mut usize,
) -> Result<()> {
    let barrier = body(barrier)?;
    let wait = match wait.of() {
        Wait::Forever => barrier.default_wait(),
        wait => wait,
    };
    let passed = barrier.pass(wait, action)?;
    put_if_wanted(index, passed.index());
    Ok(())
}

/// Breaks it: all that wait get SHMKIT_BARRIER_BROKEN, and so do all that come, until it is reset.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_barrier_abort(barrier: Option<&shmkit_barrier>) -> shmkit_status {
    report(|| {
        body(barrier)?.abort();
        Ok(())
    })
}

/// Makes it whole again. Those who wait get SHMKIT_BARRIER_BROKEN.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_barrier_reset(barrier: Option<&shmkit_barrier>) -> shmkit_status {
    report(|| Ok(body(barrier)?.reset()?))
}

/// Its own time-out, for all parties, in seconds; 0 for none.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_barrier_set_timeout(barrier: Option<&shmkit_barrier>, seconds: f64) -> shmkit_status {
    report(|| {
        let timeout = (seconds > 0.0).then(|| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX));
        body(barrier)?.set_timeout(timeout);
        Ok(())
    })
}

/// How many parties it has, how many wait now, and whether it is broken.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_barrier_state(
    barrier: Option<&shmkit_barrier>,
    parties: *mut usize,
    waiting: *mut usize,
    broken: *mut bool,
) -> shmkit_status {
    report(|| {
        let barrier = body(barrier)?;
        put_if_wanted(parties, barrier.parties());
        put_if_wanted(waiting, barrier.n_waiting());
        put_if_wanted(broken, barrier.is_broken());
        Ok(())
    })
}
