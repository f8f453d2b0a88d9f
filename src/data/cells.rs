//! What the kinds of data are in a region: [`Resident`]s, by type parameter.

#![expect(unsafe_code, reason = "declares what lives in shared memory")]

use std::marker::PhantomData;

use bytemuck::Pod;

use super::atomic::AtomicElement;
use crate::{
    raw::{claims::ClaimWords, mutex::RawMutex},
    region::{Kind, Resident},
};

pub(crate) struct ValueCell<T>(PhantomData<T>);
pub(crate) struct ArrayCell<T>(PhantomData<T>);
pub(crate) struct RawArrayCell<T>(PhantomData<T>);
pub(crate) struct AtomicValueCell<T>(PhantomData<T>);
pub(crate) struct AtomicArrayCell<T>(PhantomData<T>);

// SAFETY: a lock, then the element: plain data.
unsafe impl<T: Pod> Resident for ValueCell<T> {
    const KIND: Kind = Kind::Value;
    type Head = RawMutex;
    type Element = T;
    type Stored = T;
}

// SAFETY: a lock, then the elements: plain data.
unsafe impl<T: Pod> Resident for ArrayCell<T> {
    const KIND: Kind = Kind::Array;
    type Head = ClaimWords;
    type Element = T;
    type Stored = T;
}

// SAFETY: the elements alone: plain data.
unsafe impl<T: Pod> Resident for RawArrayCell<T> {
    const KIND: Kind = Kind::RawArray;
    type Head = [u8; 0];
    type Element = T;
    type Stored = T;
}

// SAFETY: an atomic alone; `AtomicElement` reads any bits.
unsafe impl<T: AtomicElement> Resident for AtomicValueCell<T> {
    const KIND: Kind = Kind::AtomicValue;
    type Head = [u8; 0];
    type Element = T;
    type Stored = T::Repr;
}

// SAFETY: atomics alone; `AtomicElement` reads any bits.
unsafe impl<T: AtomicElement> Resident for AtomicArrayCell<T> {
    const KIND: Kind = Kind::AtomicArray;
    type Head = [u8; 0];
    type Element = T;
    type Stored = T::Repr;
}
