//! Claims on parts of an array.

#![expect(unsafe_code, reason = "exports functions")]

use std::{ffi::c_void, ops::Range, ptr};

use super::{
    array::{Body, shmkit_array},
    handle::body,
    status::{Failure, Result, put, put_poison, report, shmkit_status},
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
    pub slot: usize,
}

/// Modes as C passes them: any number may come.
const READ: i32 = shmkit_mode::SHMKIT_READ as i32;
const CHANGE: i32 = shmkit_mode::SHMKIT_CHANGE as i32;

/// A claim on nothing, which holds nothing.
const NOTHING: usize = usize::MAX;

/// In one function with the common case of the claim, and without what the others take.
#[inline(always)]
fn claim(
    array: Option<&shmkit_array>,
    [start, len]: [usize; 2],
    mode: i32,
    recover: bool,
    wait: shmkit_wait,
    out: Option<&mut shmkit_claim>,
) -> Result<()> {
    let body = body(array)?;
    let array = &body.array;
    let out = out.ok_or(Failure::Null("the claim"))?;
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
    let slot = match quickly {
        Some(slot) => number(body, slot)?,
        None => slowly(body, from..to, mode, recover, wait)?,
    };
    // Inside the array, or at its end.
    let data = handle.data().as_ptr().wrapping_add(start * handle.stride()).cast();
    *out = shmkit_claim { data, start, len, slot };
    Ok(())
}

#[cold]
fn slowly(body: &Body, wanted: Range<u64>, mode: Mode, recover: bool, wait: shmkit_wait) -> Result<usize> {
    let slot = body.array.handle().claim(&wanted, mode, recover, wait.of())?;
    slot.map_or(Ok(NOTHING), |slot| number(body, slot))
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

/// Which slot of the table it is, from 1 on.
#[inline]
fn number(body: &Body, slot: &ClaimSlot) -> Result<usize> {
    Ok((ptr::from_ref(slot).addr() - table(body)?.as_ptr().addr()) / size_of::<ClaimSlot>() + 1)
}

/// The slot of a claim, which C may have made up.
#[inline]
fn slot<'a>(body: &'a Body, claim: &shmkit_claim) -> Result<&'a ClaimSlot> {
    claim.slot.checked_sub(1).and_then(|at| table(body).ok()?.get(at)).ok_or(Failure::NotHeld)
}

/// Whether this thread has made the claim.
fn check(body: &Body, claim: &shmkit_claim) -> Result<()> {
    if slot(body, claim)?.mutex.is_mine() { Ok(()) } else { Err(Failure::NotHeld) }
}

/// Claims `len` elements from `start` on, to read or to change them, until shmkit_claim_end. Claims that are in each other's
/// way wait for each other, across threads and processes; so does shmkit_array_lock. SHMKIT_POISONED: who had claimed
/// some of them to change them died; shmkit_last_range() tells which, and shmkit_array_recover_claim claims them all the same.
/// `mode` is SHMKIT_READ or SHMKIT_CHANGE.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_array_claim(
    array: Option<&shmkit_array>,
    start: usize,
    len: usize,
    mode: i32,
    wait: shmkit_wait,
    claimed: Option<&mut shmkit_claim>,
) -> shmkit_status {
    report(|| claim(array, [start, len], mode, false, wait, claimed))
}

/// Claims elements to change them, poisoned or not: shmkit_claim_poison tells, shmkit_claim_clear_poison ends it.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_array_recover_claim(
    array: Option<&shmkit_array>,
    start: usize,
    len: usize,
    wait: shmkit_wait,
    claimed: Option<&mut shmkit_claim>,
) -> shmkit_status {
    report(|| claim(array, [start, len], CHANGE, true, wait, claimed))
}

/// Ends a claim. SHMKIT_NOT_HELD if it has ended, or is another thread's.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_claim_end(array: Option<&shmkit_array>, claim: Option<&mut shmkit_claim>) -> shmkit_status {
    report(|| {
        let (body, claim) = (body(array)?, claim.ok_or(Failure::Null("the claim"))?);
        if claim.slot != NOTHING && !slot(body, claim)?.mutex.unlock_if_mine() {
            return Err(Failure::NotHeld);
        }
        (claim.slot, claim.data) = (0, ptr::null_mut());
        Ok(())
    })
}

/// Whether any of the elements, which this thread has claimed, is poisoned, by whose death, and which of them.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_claim_poison(
    array: Option<&shmkit_array>,
    claim: Option<&shmkit_claim>,
    poisoned: Option<&mut bool>,
    pid: Option<&mut u32>,
    start: Option<&mut usize>,
    end: Option<&mut usize>,
) -> shmkit_status {
    report(|| {
        let (body, claim) = (body(array)?, claim.ok_or(Failure::Null("the claim"))?);
        check(body, claim)?;
        let array = &body.array;
        let wanted = claim.start as u64..(claim.start + claim.len) as u64;
        let poison = array.handle().known_claims()?.and_then(|claims| claims.poison_now(&wanted));
        let range = poison.as_ref().and_then(|poison| poison.range.clone());
        let range = range.unwrap_or(if poison.is_some() { 0..array.len() } else { 0..0 });
        put(start, range.start, "start")?;
        put(end, range.end, "end")?;
        put_poison(poison, poisoned, pid)
    })
}

/// Declares the elements, which this thread has claimed to change them, to be whole again.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_claim_clear_poison(
    array: Option<&shmkit_array>,
    claim: Option<&shmkit_claim>,
) -> shmkit_status {
    report(|| {
        let (body, claim) = (body(array)?, claim.ok_or(Failure::Null("the claim"))?);
        check(body, claim)?;
        let array = &body.array;
        let claims = array.handle().known_claims()?.ok_or(Failure::NotHeld)?;
        Ok(claims.clear_poison(&(claim.start as u64..(claim.start + claim.len) as u64))?)
    })
}
