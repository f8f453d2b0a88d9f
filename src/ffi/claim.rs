//! Claims on parts of an array.

#![expect(unsafe_code, reason = "exports functions")]

use std::{ffi::c_void, ops::Range, ptr};

use super::{
    array::{Body, shmkit_array},
    handle::body,
    ring::not_null,
    status::{Failure, Result, put_if_wanted, put_poison, report, shmkit_status},
    types::Opaque,
    wait::shmkit_wait,
};
use crate::{
    Array, Error,
    raw::claims::{ClaimSlot, Mode},
};

/// What a claim is for.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum shmkit_mode {
    /// Several may read the same elements.
    SHMKIT_READ = 1,
    /// One alone may change them.
    SHMKIT_CHANGE = 2,
}

/// A claim on some elements of an array. It is the thread's that made it.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct shmkit_claim {
    /// The first of the elements.
    pub data: *mut c_void,
    /// Its index.
    pub start: usize,
    /// How many there are.
    pub len: usize,
    /// Not for the caller: which claim it is, 0 once it has ended.
    pub id: u64,
}

/// Modes as C passes them: any number may come.
const READ: i32 = shmkit_mode::SHMKIT_READ as i32;
const CHANGE: i32 = shmkit_mode::SHMKIT_CHANGE as i32;

/// The number of a claim on nothing, which holds nothing.
const NOTHING: u64 = u64::MAX;

/// In one function with the common case of the claim, and without what the others take.
#[inline(always)]
fn claim(
    array: Option<&shmkit_array>,
    [start, len]: [usize; 2],
    mode: i32,
    recover: bool,
    wait: shmkit_wait,
    out: *mut shmkit_claim,
) -> Result<()> {
    let body = body(array)?;
    let array = &body.array;
    not_null(out.cast(), "the claim")?;
    let mode = match mode {
        READ => Mode::Read,
        CHANGE => Mode::Change,
        other => return Err(no_mode(other)),
    };
    let handle = array.handle();
    let Some(end) = start.checked_add(len).filter(|end| *end <= array.len()) else {
        return Err(outside(array, start, len));
    };
    let (from, to) = (start as u64, end as u64);
    let quickly = if recover { None } else { handle.claim_uncontended_inline(from, to, mode) };
    let id = match quickly {
        Some(slot) => number(slot),
        None => slowly(body, from..to, mode, recover, wait)?,
    };
    // Inside the array, or at its end.
    let data = handle.data().as_ptr().wrapping_add(start * handle.stride()).cast();
    put_if_wanted(out, shmkit_claim { data, start, len, id });
    Ok(())
}

#[cold]
fn slowly(body: &Body, wanted: Range<u64>, mode: Mode, recover: bool, wait: shmkit_wait) -> Result<u64> {
    let slot = body.array.handle().claim(&wanted, mode, recover, wait.of())?;
    Ok(slot.map_or(NOTHING, number))
}

#[cold]
fn no_mode(mode: i32) -> Failure {
    Error::invalid_argument(format!("mode {mode}")).into()
}

#[cold]
fn outside(array: &Array<Opaque>, start: usize, len: usize) -> Failure {
    let index = format!("{start}, and {len} from there");
    Error::OutOfRange { index, shape: format!("{:?}", array.shape()) }.into()
}

/// The slots of the table of claims. It is there once somebody has claimed something, and never moves.
#[inline]
fn table(body: &Body) -> Result<&[ClaimSlot]> {
    match body.claims.get() {
        Some(slots) => Ok(slots),
        None => find_table(body),
    }
}

#[cold]
fn find_table(body: &Body) -> Result<&[ClaimSlot]> {
    let claims = body.array.handle().known_claims()?.ok_or(Failure::NotHeld)?;
    let slots = ptr::from_ref(claims.slots);
    // SAFETY: a table in the mapping of the array, checked; the mapping lasts as long as the array, which lies beside the only
    // copy of this reference, and `table` gives it out for as long.
    Ok(body.claims.get_or_init(|| unsafe { &*slots }))
}

/// Bits of a claim's number that say where its slot lies, in cache lines: of all addresses there are. The others say which of
/// the slot's claims it is.
const PLACE: u32 = 41;
const LINE: usize = size_of::<ClaimSlot>();

/// The number of the claim that this thread has there: of no other array's claim, nor of one that the slot had before.
#[inline(always)]
fn number(slot: &ClaimSlot) -> u64 {
    (ptr::from_ref(slot).addr() / LINE) as u64 | u64::from(slot.turn()) << PLACE
}

/// The slot of a claim, which C may have made up, or made of another array, or have ended. Its lock tells the rest.
#[inline(always)]
fn slot<'a>(body: &'a Body, claim: &shmkit_claim) -> Result<&'a ClaimSlot> {
    let slots = table(body)?;
    let place = (claim.id & ((1 << PLACE) - 1)) as usize;
    let at = place.wrapping_sub(slots.as_ptr().addr() / LINE);
    slots.get(at).filter(|slot| number(slot) == claim.id).ok_or(Failure::NotHeld)
}

/// A claim that this thread has made: of which elements.
fn mine(body: &Body, claim: *const shmkit_claim) -> Result<Range<u64>> {
    // SAFETY: by the contract null or a claim, which nobody writes during the call.
    let claim = unsafe { claim.as_ref() }.ok_or(Failure::Null("the claim"))?;
    if claim.id == NOTHING {
        return Ok(0..0);
    }
    let slot = slot(body, claim)?;
    if slot.mutex.is_mine() { Ok(slot.range()) } else { Err(Failure::NotHeld) }
}

/// Claims `len` elements from `start` on, to read or to change them, until shmkit_claim_end. Claims that are in each other's
/// way wait for each other, across threads and processes; so does shmkit_array_lock. SHMKIT_POISONED: who had claimed
/// some of them to change them died; shmkit_last_range() tells which, and shmkit_array_recover_claim claims them all the same.
/// `mode` is SHMKIT_READ or SHMKIT_CHANGE. The data of the claim stands until it ends or the array's handle is closed.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_array_claim(
    array: Option<&shmkit_array>,
    start: usize,
    len: usize,
    mode: i32,
    wait: shmkit_wait,
    claimed: *mut shmkit_claim,
) -> shmkit_status {
    report(|| claim(array, [start, len], mode, false, wait, claimed))
}

/// Claims elements to change them, poisoned or not: shmkit_claim_poison tells, shmkit_claim_clear_poison ends it.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_array_recover_claim(
    array: Option<&shmkit_array>,
    start: usize,
    len: usize,
    wait: shmkit_wait,
    claimed: *mut shmkit_claim,
) -> shmkit_status {
    report(|| claim(array, [start, len], CHANGE, true, wait, claimed))
}

/// Ends a claim. SHMKIT_NOT_HELD if it has ended, is another thread's, or one on another array.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_claim_end(array: Option<&shmkit_array>, claim: *mut shmkit_claim) -> shmkit_status {
    report(|| {
        let body = body(array)?;
        // SAFETY: by the contract null or a claim, which nobody else uses during the call. Not read as a whole: what was
        // written in parts comes late then.
        let claim = unsafe { claim.as_mut() }.ok_or(Failure::Null("the claim"))?;
        if claim.id != NOTHING && !slot(body, claim)?.mutex.unlock_if_mine() {
            return Err(Failure::NotHeld);
        }
        (claim.id, claim.data) = (0, ptr::null_mut());
        Ok(())
    })
}

/// Whether any of the elements, which this thread has claimed, is poisoned, by whose death, and which of them.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_claim_poison(
    array: Option<&shmkit_array>,
    claim: *const shmkit_claim,
    poisoned: *mut bool,
    pid: *mut u32,
    start: *mut usize,
    end: *mut usize,
) -> shmkit_status {
    report(|| {
        let body = body(array)?;
        let wanted = mine(body, claim)?;
        let array = &body.array;
        let poison = array.handle().known_claims()?.and_then(|claims| claims.poison_now(&wanted));
        let range = poison.as_ref().and_then(|poison| poison.range.clone());
        let range = range.unwrap_or(if poison.is_some() { 0..array.len() } else { 0..0 });
        put_if_wanted(start, range.start);
        put_if_wanted(end, range.end);
        put_poison(poison, poisoned, pid);
        Ok(())
    })
}

/// Declares the elements, which this thread has claimed to change them, to be whole again.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_claim_clear_poison(array: Option<&shmkit_array>, claim: *const shmkit_claim) -> shmkit_status {
    report(|| {
        let body = body(array)?;
        let range = mine(body, claim)?;
        match body.array.handle().known_claims()? {
            Some(claims) if !range.is_empty() => Ok(claims.clear_poison(&range)?),
            _ => Ok(()),
        }
    })
}
