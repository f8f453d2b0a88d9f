//! Conditions.

#![expect(unsafe_code, reason = "exports functions, and looks at handles of any kind")]

use std::{
    ffi::{c_char, c_void},
    mem::ManuallyDrop,
};

use super::{
    array::shmkit_array,
    handle::{Head, Opaque, body, close, give, kind_of, opaque},
    lock::shmkit_lock,
    place::site,
    region::shmkit_region,
    rlock::shmkit_rlock,
    rwlock::shmkit_rwlock,
    status::{Failure, Result, put, put_if_wanted, report, shmkit_status},
    value::shmkit_value,
    wait::shmkit_wait,
};
use crate::{
    Condvar, CondvarGuard,
    os::clock::Wait,
    region::{Dims, Handle, Intent, Resident},
    sync::CondvarCell,
};

/// Where holders of a lock, of whatever kind, wait for a change of what it guards.
#[derive(Debug)]
pub struct shmkit_condvar {
    head: Head,
}

opaque!(shmkit_condvar = 11, "condition", Condvar);

fn make(region: Option<&shmkit_region>, name: *const c_char, intent: Intent) -> Result<Condvar> {
    let description = CondvarCell::description(Dims::NONE);
    Ok(Handle::<CondvarCell>::make(&site(region, name)?, intent, &description, &|_| {})?.into())
}

fn find(region: Option<&shmkit_region>, name: *const c_char) -> Result<Condvar> {
    Ok(Handle::<CondvarCell>::find(&site(region, name)?, |found| CondvarCell::description(found.dims))?.0.into())
}

/// Makes a condition. With a region: in it, under `name` or, if that is null, without a name. Without: in memory of its own, under
/// `name` or anonymous.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_condvar_create(
    region: Option<&shmkit_region>,
    name: *const c_char,
    condvar: *mut *mut shmkit_condvar,
) -> shmkit_status {
    report(|| give(condvar, || make(region, name, Intent::Create)))
}

/// Finds a condition, or makes it as shmkit_condvar_create does: also where its maker died on the way.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_condvar_open_or_create(
    region: Option<&shmkit_region>,
    name: *const c_char,
    condvar: *mut *mut shmkit_condvar,
) -> shmkit_status {
    report(|| give(condvar, || make(region, name, Intent::OpenOrCreate)))
}

/// Finds a condition: in a region, or at a name or file.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_condvar_open(
    region: Option<&shmkit_region>,
    name: *const c_char,
    condvar: *mut *mut shmkit_condvar,
) -> shmkit_status {
    report(|| give(condvar, || find(region, name)))
}

/// Ends a handle; the object stays for those who have it open, and under its name.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_condvar_close(condvar: *mut shmkit_condvar) -> shmkit_status {
    report(|| close(condvar))
}

/// Releases a lock, waits for a notification, and takes the lock again, whatever it returns. `held` is the handle of a lock
/// that this thread holds: a shmkit_lock, shmkit_rlock, shmkit_value, shmkit_array, or shmkit_rwlock that it writes. It may
/// return without a notification, so wait in a loop. SHMKIT_POISONED: somebody died with the lock meanwhile; unlike
/// elsewhere it is held now, as after SHMKIT_TIMED_OUT and SHMKIT_OK. SHMKIT_INVALID_ARGUMENT for SHMKIT_TRY.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_condvar_wait(
    condvar: Option<&shmkit_condvar>,
    held: *const c_void,
    wait: shmkit_wait,
) -> shmkit_status {
    report(|| {
        let (condvar, wait) = (body(condvar)?, wait.of());
        if wait == Wait::No {
            return Err(crate::Error::invalid_argument("a wait for a notification that may not wait").into());
        }
        // SAFETY: by the contract it is null, or a handle of whatever kind, which all begin with a head.
        let kind = kind_of(unsafe { held.cast::<Head>().as_ref() });
        match kind {
            shmkit_lock::KIND => pause(condvar, reveal::<shmkit_lock>(held)?.regain(), wait),
            shmkit_rlock::KIND => pause(condvar, reveal::<shmkit_rlock>(held)?.regain(), wait),
            shmkit_value::KIND => pause(condvar, reveal::<shmkit_value>(held)?.value.regain(), wait),
            shmkit_array::KIND => pause(condvar, reveal::<shmkit_array>(held)?.array.regain(), wait),
            shmkit_rwlock::KIND => pause(condvar, reveal::<shmkit_rwlock>(held)?.lock.regain_write(), wait),
            _ => Err(Failure::BadHandle("lock")),
        }
    })
}

/// What lies behind a handle whose type C does not tell.
fn reveal<'a, O: Opaque>(handle: *const c_void) -> Result<&'a O::Body> {
    // SAFETY: by the contract a handle, which stands as long as the call, and so as long as `'a` is used; those of all kinds
    // have one layout, see `opaque`.
    body(unsafe { handle.cast::<O>().as_ref() })
}

fn pause(condvar: &Condvar, guard: Option<impl CondvarGuard>, wait: Wait) -> Result<()> {
    // Forgotten again: the lock stays held.
    let mut guard = ManuallyDrop::new(guard.ok_or(Failure::NotHeld)?);
    Ok(condvar.wait_within(&mut *guard, wait)?)
}

/// Wakes `n` of those who wait, or all if there are fewer. `*woken` is how many; it may be null.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_condvar_notify(
    condvar: Option<&shmkit_condvar>,
    n: usize,
    woken: *mut usize,
) -> shmkit_status {
    report(|| {
        put_if_wanted(woken, body(condvar)?.notify_n(n)?);
        Ok(())
    })
}

/// Wakes all who wait.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_condvar_notify_all(condvar: Option<&shmkit_condvar>) -> shmkit_status {
    report(|| Ok(body(condvar)?.notify_all().map(drop)?))
}

/// How many wait.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_condvar_n_waiting(condvar: Option<&shmkit_condvar>, waiting: *mut usize) -> shmkit_status {
    report(|| put(waiting, body(condvar)?.n_waiting()?, "waiting"))
}
