//! Making something once, in zeroed memory that several processes may find at the same time.
//!
//! | `state` | `lock` | meaning | what the next one does |
//! | --- | --- | --- | --- |
//! | 0 | free | nobody has begun, or who began has failed | makes it |
//! | 0 | held | being made | waits |
//! | 0 | owner died | half made | makes it again, from the start |
//! | [`READY`] | any | made | uses it |
//!
//! The maker publishes with the one store of [`READY`]; a death before it leaves the second or third line, a death after
//! it leaves a thing that is whole. So what makes must not depend on what it finds in the memory.

#[cfg(loom)]
use loom::sync::atomic::Ordering::{Acquire, Release};
#[cfg(not(loom))]
use std::sync::atomic::Ordering::{Acquire, Release};

use super::{
    mutex::{RawMutex, Use},
    points::point,
    sys::AtomicU32,
};
use crate::{Error, Result, os::clock::Wait};

const READY: u32 = 0x600D_600D;

/// The lock and the state. Zeroed memory is one that nobody has begun.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct RawInit {
    lock: RawMutex,
    state: AtomicU32,
    reserved: u32,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<RawInit>() == 48);

impl RawInit {
    /// Whether the thing is made; what the maker wrote is visible if so.
    pub(crate) fn is_ready(&self) -> bool {
        // Acquire: pairs with the Release in `make`.
        self.state.load(Acquire) == READY
    }

    /// Makes the thing unless it is made, and says whether it was this call that made it.
    pub(crate) fn make(&self, wait: Wait, make: impl FnOnce() -> Result<()>) -> Result<bool> {
        if self.is_ready() {
            return Ok(false);
        }
        self.lock.lock(Use::Table, wait)?;
        let made = if self.is_ready() { Ok(false) } else { make().map(|()| true) };
        if let Ok(true) = made {
            point();
            // Release: publishes what `make` wrote.
            self.state.store(READY, Release);
        }
        self.lock.unlock();
        made
    }

    /// The lock, for the thing's own use once it is made.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] before it is.
    pub(crate) fn lock(&self) -> Result<&RawMutex> {
        if self.is_ready() { Ok(&self.lock) } else { Err(Error::corrupt("used before it was made")) }
    }
}

#[cfg(all(test, loom))]
mod loom_tests;
