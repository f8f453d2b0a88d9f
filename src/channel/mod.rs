//! Channels: values that some processes put in and others take out.

mod forms;
mod ring;
mod spsc;

pub(crate) use self::ring::places;
pub use self::{
    ring::{Ring, RingRef, RingSlot},
    spsc::{Consumer, Producer, SpscRing},
};
