//! Channels: values that some processes put in and others take out.
//!
//! What was put in arrives, unless a consumer dies with it in its hands. What that costs, and the test that shows it:
//!
//! | a consumer dies | costs | test |
//! | --- | --- | --- |
//! | `Ring`, in `pop` or with a `RingRef` | the value | `death_points::ring_consumer`, `death_channels::a_ring` |
//! | `Ring`, in `pop_slice` | what it had taken so far, the whole slice at most | `death_points::ring_slices_and_closing`, `death_channels::a_ring_in_slices` |
//! | `SpscRing`, before the counter moves | nothing: its successor gets the same values | `death_points::spsc_ends`, `death_channels::a_ring_of_two` |
//! | `SpscRing`, after that | what one call returns | the same |
//! | `Queue`, before the head moves | nothing | `death_points::queue_consumer` |
//! | `Queue`, after that | the object, and those at work; `join` counts them | `death_channels::a_queue`, `death_queue::tasks_are_lost` |
//! | pipe, in `recv` | the message, for each thread that receives | `death_pipe::senders_and_receivers_are_killed` |
//! | call, with the request | the request; the caller is told at once | `death_pipe::those_who_answer_are_killed` |

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
#[cfg(feature = "capi")]
pub(crate) use self::{ring::RingCell, spsc::SpscCell};

/// Whether a ring, of either kind, can have room for so many values.
fn check_capacity(dims: Dims) -> Result<()> {
    match dims.as_slice() {
        [1..=MOST_SLOTS] => Ok(()),
        other => Err(Error::invalid_argument(format!(
            "a ring with room for {other:?} values; 1 to {MOST_SLOTS} are possible"
        ))),
    }
}
