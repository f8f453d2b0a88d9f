//! Channels: values that some processes put in and others take out.

mod buffer;
pub(crate) mod forms;
pub mod pipe;
mod queue;
mod ring;
mod spsc;

pub(crate) use forms::four_forms;

use crate::{Error, Result, raw::ring::MOST_SLOTS, region::Dims};

pub use self::{
    queue::{Iter as QueueIter, Queue, QueueOptions},
    ring::{Ring, RingRef, RingSlot},
    spsc::{Consumer, Producer, SpscRef, SpscRing, SpscSlot},
};

/// Whether a ring, of either kind, can have room for so many values.
fn check_capacity(dims: Dims) -> Result<()> {
    match dims.as_slice() {
        [1..=MOST_SLOTS] => Ok(()),
        other => Err(Error::invalid_argument(format!(
            "a ring with room for {other:?} values; 1 to {MOST_SLOTS} are possible"
        ))),
    }
}
