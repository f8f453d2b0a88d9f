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

/// The number of a claim on nothing, which holds nothing. Others have the slot from 1 on in the lower half, and in the upper one
/// which of the slot's claims it is: one that has ended is none of those that come after it.
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
        Some(slot) => number(body, slot)?,
        None => slowly(body, from..to, mode, recover, wait)?,
    };
    put_if_wanted(out, shmkit_claim { data: place(array, start), start, len, id });
    Ok(())
}

/// Where the element `at`, which may be none, lies in this process.
#[inline(always)]
fn place(array: &Array<Opaque>, at: usize) -> *mut c_void {
    let handle = array.handle();
    handle.data().as_ptr().wrapping_add(at.wrapping_mul(handle.stride())).cast()
}

#[cold]
fn slowly(body: &Body, wanted: Range<u64>, mode: Mode, recover: bool, wait: shmkit_wait) -> Result<u64> {
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

/// The number of a claim that this thread has just made.
#[inline]
fn number(body: &Body, slot: &ClaimSlot) -> Result<u64> {
    let at = (ptr::from_ref(slot).addr() - table(body)?.as_ptr().addr()) / size_of::<ClaimSlot>();
    Ok(u64::from(slot.turn()) << 32 | (at as u64 + 1))
}

/// The slot of a claim, which C may have made up, or made of another array, or have ended. Its lock tells the rest.
#[inline(always)]
fn slot<'a>(body: &'a Body, claim: &shmkit_claim) -> Result<&'a ClaimSlot> {
    let at = (claim.id as u32 as usize).wrapping_sub(1);
    let slot = table(body)?.get(at).ok_or(Failure::NotHeld)?;
    let is_here = claim.data == place(&body.array, claim.start);
    if is_here && slot.turn() == (claim.id >> 32) as u32 { Ok(slot) } else { Err(Failure::NotHeld) }
}

/// A claim that this thread has made: of which elements.
fn mine(body: &Body, claim: *const shmkit_claim) -> Result<Range<u64>> {
    let claim = read(claim)?;
    let range = claim.start as u64..(claim.start as u64).saturating_add(claim.len as u64);
    let is_mine = claim.id == NOTHING || slot(body, &claim)?.mutex.is_mine();
    if is_mine { Ok(range) } else { Err(Failure::NotHeld) }
}

#[inline(always)]
fn read(claim: *const shmkit_claim) -> Result<shmkit_claim> {
    not_null(claim.cast(), "the claim")?;
    // SAFETY: not null; by the contract a claim.
    Ok(unsafe { claim.read() })
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
        let (body, given) = (body(array)?, read(claim)?);
        if given.id != NOTHING && !slot(body, &given)?.mutex.unlock_if_mine() {
            return Err(Failure::NotHeld);
        }
        put_if_wanted(claim, shmkit_claim { id: 0, data: ptr::null_mut(), ..given });
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
