//! Where the claims on an array lie: in a table of their own, made when the first one is wanted.
//!
//! ```text
//! 0                 192
//! poisoned ranges   slots, a cache line each
//! ```
//!
//! Arrays that nobody claims parts of pay two words for it.

use std::{ops::Range, sync::atomic::Ordering::Acquire};

use super::{
    handle::{Handle, Resident, Shape},
    memory::Memory,
    object::{Description, Dims, Kind, Layout},
};
use crate::{
    Error, Result,
    os::clock::Wait,
    raw::claims::{ClaimSlot, ClaimWords, Claims, Length, Mode, PoisonList},
};

/// Claims on an array that there can be at a time; on one of `WIDE` bytes or more, which more will share.
const FEW: usize = 128;
const MANY: usize = 1024;
const WIDE: u64 = 1 << 20;

/// The claims on an array of so many bytes.
#[inline]
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
        value_size: size_of::<ClaimSlot>() as u32,
        dims: Dims::new(&[slots])?,
    })
}

/// The slots of a table of this layout.
pub(super) fn slots_in(layout: Layout) -> usize {
    (layout.size - layout.data) as usize / size_of::<ClaimSlot>()
}

/// The parts of the table at `at`, an offset that may come from anywhere.
#[inline]
pub(super) fn table(memory: Memory<'_>, at: u64, slots: usize) -> Option<(&PoisonList, &[ClaimSlot])> {
    let first = at.checked_add(size_of::<PoisonList>() as u64)?;
    Some((memory.get(at)?, memory.get_slice(first, slots as u64)?))
}

pub(super) fn no_table(at: u64) -> Error {
    Error::corrupt(format!("there can be no table of claims at {at}"))
}

impl Length for Shape {
    #[cold]
    fn now(&self) -> u64 {
        self.count() as u64
    }
}

impl<R: Resident<Head = ClaimWords>> Handle<R> {
    /// The claims on this array, if there ever was one.
    pub(crate) fn known_claims(&self) -> Result<Option<Claims<'_, Shape>>> {
        match self.table() {
            0 => Ok(None),
            at => self.claims_at(at).map(Some).ok_or_else(|| no_table(at)),
        }
    }

    /// Where the table is, 0 if there is none.
    #[inline]
    fn table(&self) -> u64 {
        // Acquire: pairs with the Release of whoever made the table.
        self.head().table.load(Acquire)
    }

    #[inline]
    fn claims_at(&self, at: u64) -> Option<Claims<'_, Shape>> {
        let (poison, slots) = table(self.memory(), at, self.slots())?;
        Some(Claims { words: self.head(), poison, slots, len: self.kept_shape() })
    }

    /// The claims that there can be at a time.
    #[inline]
    fn slots(&self) -> usize {
        slots_for(self.most() as u64 * self.stride() as u64)
    }

    /// [`Claims::claim_uncontended`], if anybody ever claimed a part of this array.
    ///
    /// A function of its own, which returns a register: inlined, the whole is slower.
    #[inline(never)]
    pub(crate) fn claim_uncontended(&self, start: u64, end: u64, mode: Mode) -> Option<&ClaimSlot> {
        self.claim_uncontended_inline(start, end, mode)
    }

    /// [`claim_uncontended`](Self::claim_uncontended), for what is a function of its own already.
    #[inline(always)]
    pub(crate) fn claim_uncontended_inline(&self, start: u64, end: u64, mode: Mode) -> Option<&ClaimSlot> {
        match self.table() {
            0 => None,
            _ if start == end => None,
            at => self.claims_at(at)?.claim_uncontended(&(start..end), mode),
        }
    }

    /// [`Claims::claim`]; `None` for a claim of nothing.
    ///
    /// # Errors
    ///
    /// Its own; [`Error::RegionFull`](crate::Error::RegionFull) when there is no room for the table,
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory) when there is no memory for it, and those of the directory.
    #[cold]
    pub(crate) fn claim(
        &self,
        wanted: &Range<u64>,
        mode: Mode,
        recover: bool,
        wait: Wait,
    ) -> Result<Option<&ClaimSlot>> {
        if wanted.is_empty() { Ok(None) } else { self.claims()?.claim(wanted, mode, recover, wait).map(Some) }
    }

    /// The claims on this array, from now on.
    fn claims(&self) -> Result<Claims<'_, Shape>> {
        if let Some(claims) = self.known_claims()? {
            return Ok(claims);
        }
        self.directory_of()?.provide_claims(&self.head().table, self.slots())?;
        self.known_claims()?.ok_or_else(|| Error::corrupt("the table of claims has gone"))
    }
}
