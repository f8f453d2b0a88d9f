//! Typed data in shared memory.

mod array;
mod atomic;
mod atomic_array;
mod atomic_value;
mod cells;
mod claim;
mod copying;
mod index;
mod raw_array;
mod read_only;
mod shape;
mod value;
#[cfg(feature = "ndarray")]
mod views;

#[cfg(feature = "mpi")]
pub(crate) use self::claim::share;
pub use self::{
    array::{Array, ArrayGuard},
    atomic::{Atomic, AtomicBits, AtomicElement, AtomicNumber},
    atomic_array::AtomicArray,
    atomic_value::AtomicValue,
    claim::{Claim, ClaimMut},
    index::ArrayIndex,
    raw_array::RawArray,
    read_only::{ReadOnlyArray, ReadOnlyValue},
    shape::Shape,
    value::{Value, ValueGuard},
};
#[cfg(feature = "capi")]
pub(crate) use self::{
    cells::{ArrayCell, AtomicArrayCell, AtomicValueCell, ValueCell},
    index::check_span,
};
