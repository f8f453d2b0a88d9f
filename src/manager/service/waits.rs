//! Which services of this process wait for which: one that would wait for itself is told so.
//!
//! Of those that wait from other threads than their own, or by way of other processes, nobody knows.

use std::{
    cell::Cell,
    ptr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::super::words::Bell;
use crate::{Error, Result};

thread_local! {
    /// The service whose thread this is, by the address of its bell, or 0.
    static ME: Cell<usize> = const { Cell::new(0) };
}

/// Who waits, and for whom.
static WAITS: Mutex<Vec<(usize, usize)>> = Mutex::new(Vec::new());

fn waits() -> MutexGuard<'static, Vec<(usize, usize)>> {
    WAITS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All handles of a region that a process has are of one mapping.
fn address(bell: &Bell) -> usize {
    ptr::from_ref(bell.head()).addr()
}

/// This thread is that of the service with this bell.
pub(super) fn begin_life(bell: &Bell) {
    ME.set(address(bell));
}

/// A wait that is under way.
pub(in crate::manager) struct Waiting(usize);

/// This thread is about to wait for the service with this bell. Nothing, if it is not a service's thread.
///
/// # Errors
///
/// `WouldDeadlock` when that one waits for this one.
#[inline]
pub(in crate::manager) fn begin(bell: &Bell) -> Result<Option<Waiting>> {
    match ME.get() {
        0 => Ok(None),
        me => begin_as(me, address(bell)).map(Some),
    }
}

#[cold]
fn begin_as(me: usize, to: usize) -> Result<Waiting> {
    let mut waits = waits();
    let mut next = Some(to);
    // Each waits for one at a time, so there are no more steps than those who wait.
    for _ in 0..=waits.len() {
        match next {
            Some(at) if at == me => return Err(Error::WouldDeadlock),
            Some(at) => next = waits.iter().rev().find(|(who, _)| *who == at).map(|(_, to)| *to),
            None => break,
        }
    }
    waits.push((me, to));
    Ok(Waiting(me))
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut waits = waits();
        if let Some(at) = waits.iter().rposition(|(who, _)| *who == self.0) {
            waits.swap_remove(at);
        }
    }
}
