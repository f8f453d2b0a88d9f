//! Where the claims on an array lie: in a table of their own, made when the first one is wanted.
//!
//! ```text
//! 0                 192
//! poisoned ranges   slots, a cache line each
//! ```
//!
//! Arrays that nobody claims parts of pay two words for it.

use std::sync::atomic::Ordering::Acquire;

use super::{
    handle::{Handle, Resident},
    memory::Memory,
    object::{Description, Dims, Kind, Layout},
};
use crate::{
    Result,
    raw::claims::{ClaimSlot, ClaimWords, Claims, PoisonList},
};

/// Claims on an array that there can be at a time; on one of `WIDE` bytes or more, which more will share.
const FEW: usize = 128;
const MANY: usize = 1024;
const WIDE: u64 = 1 << 20;

/// The claims on an array of so many bytes.
pub(super) fn slots_for(bytes: u64) -> usize {
    if bytes < WIDE { FEW } else { MANY }
}

/// What the table of `slots` claims is, as an object of the arena.
pub(super) fn description(slots: usize) -> Result<Description> {
    Ok(Description {
        kind: Kind::Claims,
        tag: "".into(),
        element_size: size_of::<ClaimSlot>() as u32,
        element_align: size_of::<ClaimSlot>() as u16,
        dims: Dims::new(&[slots])?,
    })
}

/// The slots of a table of this layout.
pub(super) fn slots_in(layout: Layout) -> usize {
    (layout.size - layout.data) as usize / size_of::<ClaimSlot>()
}

/// The parts of the table at `at`, an offset that may come from anywhere.
pub(super) fn table(memory: Memory<'_>, at: u64, slots: usize) -> Result<(&PoisonList, &[ClaimSlot])> {
    let poison = memory.at::<PoisonList>(at)?;
    Ok((poison, memory.slice::<ClaimSlot>(at + size_of::<PoisonList>() as u64, slots as u64)?))
}

impl<R: Resident<Head = ClaimWords>> Handle<R> {
    /// The claims on this array, if there ever was one.
    pub(crate) fn known_claims(&self) -> Result<Option<Claims<'_>>> {
        let words = self.head();
        // Acquire: pairs with the Release of whoever made the table.
        match words.table.load(Acquire) {
            0 => Ok(None),
            at => {
                let slots = slots_for(self.len() as u64 * size_of::<R::Stored>() as u64);
                let (poison, slots) = table(self.memory(), at, slots)?;
                Ok(Some(Claims { words, poison, slots, len: self.len() as u64 }))
            }
        }
    }

    /// The claims on this array.
    ///
    /// # Errors
    ///
    /// [`Error::RegionFull`](crate::Error::RegionFull) when there is no room for the table, and those of the directory.
    pub(crate) fn claims(&self) -> Result<Claims<'_>> {
        if let Some(claims) = self.known_claims()? {
            return Ok(claims);
        }
        let slots = slots_for(self.len() as u64 * size_of::<R::Stored>() as u64);
        self.directory_of()?.provide_claims(&self.head().table, slots)?;
        self.known_claims()?.ok_or_else(|| crate::Error::corrupt("the table of claims has gone"))
    }
}
