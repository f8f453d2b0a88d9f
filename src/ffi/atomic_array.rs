//! Arrays of atomics.

#![expect(unsafe_code, reason = "exports functions")]

use std::{
    ffi::{c_char, c_void},
    ptr,
};

use super::{
    array::{get_shape, put_shape},
    atomic::{Atomics, Errand, Make},
    handle::{Head, body, close, give, opaque},
    place::site,
    region::shmkit_region,
    status::{Result, put, report, shmkit_status},
    types::shmkit_type,
};
use crate::region::{Dims, Intent};

/// An array of atomic numbers or bools, without a lock.
#[derive(Debug)]
pub struct shmkit_atomic_array {
    head: Head,
}

opaque!(shmkit_atomic_array = 14, "atomic array", Box<dyn Atomics>);

fn make(
    region: Option<&shmkit_region>,
    name: *const c_char,
    type_: Option<&shmkit_type>,
    dims: Dims,
    intent: Intent,
) -> Result<Box<dyn Atomics>> {
    let make = Make { intent, dims, first: ptr::null() };
    Errand { site: site(region, name)?, make: Some(make) }.run(type_, true)
}

fn find(region: Option<&shmkit_region>, name: *const c_char, type_: Option<&shmkit_type>) -> Result<Box<dyn Atomics>> {
    Errand { site: site(region, name)?, make: None }.run(type_, true)
}

/// Makes an array of atomics. With a region: in it, under `name` or, if that is null, without a name. Without: in memory of
/// its own, under `name` or anonymous. `type` is one of the numbers above, or shmkit_bool. All begin as zeros.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_atomic_array_create(
    region: Option<&shmkit_region>,
    name: *const c_char,
    type_: Option<&shmkit_type>,
    shape: *const usize,
    rank: usize,
    atomic_array: *mut *mut shmkit_atomic_array,
) -> shmkit_status {
    report(|| give(atomic_array, || make(region, name, type_, get_shape(shape, rank)?, Intent::Create)))
}

/// Finds an array of atomics, or makes it as shmkit_atomic_array_create does: also where its maker died on the way.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_atomic_array_open_or_create(
    region: Option<&shmkit_region>,
    name: *const c_char,
    type_: Option<&shmkit_type>,
    shape: *const usize,
    rank: usize,
    atomic_array: *mut *mut shmkit_atomic_array,
) -> shmkit_status {
    report(|| give(atomic_array, || make(region, name, type_, get_shape(shape, rank)?, Intent::OpenOrCreate)))
}

/// Finds an array of atomics: in a region, or at a name or file.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_atomic_array_open(
    region: Option<&shmkit_region>,
    name: *const c_char,
    type_: Option<&shmkit_type>,
    atomic_array: *mut *mut shmkit_atomic_array,
) -> shmkit_status {
    report(|| give(atomic_array, || find(region, name, type_)))
}

/// Ends a handle; the object stays for those who have it open, and under its name.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_atomic_array_close(atomic_array: *mut shmkit_atomic_array) -> shmkit_status {
    report(|| close(atomic_array))
}

/// Where the elements lie, in row-major order, until the handle is closed. In C they may be used as _Atomic numbers of their
/// type.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_atomic_array_data(
    atomic_array: Option<&shmkit_atomic_array>,
    data: *mut *mut c_void,
) -> shmkit_status {
    report(|| put(data, body(atomic_array)?.data(), "data"))
}

/// The number of dimensions, 1 to 8, and their lengths, of which as many are written to `shape` as `room` says.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_atomic_array_shape(
    atomic_array: Option<&shmkit_atomic_array>,
    shape: *mut usize,
    room: usize,
    rank: *mut usize,
) -> shmkit_status {
    report(|| put_shape(body(atomic_array)?.shape(), shape, room, rank))
}

/// Reads an element. This and all below are sequentially consistent; `at` counts in row-major order.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_atomic_array_load(
    atomic_array: Option<&shmkit_atomic_array>,
    at: usize,
    value: *mut c_void,
) -> shmkit_status {
    report(|| body(atomic_array)?.load(at, value))
}

/// Writes an element.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_atomic_array_store(
    atomic_array: Option<&shmkit_atomic_array>,
    at: usize,
    value: *const c_void,
) -> shmkit_status {
    report(|| body(atomic_array)?.store(at, value))
}

/// Replaces an element. `*old` is what it was; it may be null.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_atomic_array_swap(
    atomic_array: Option<&shmkit_atomic_array>,
    at: usize,
    value: *const c_void,
    old: *mut c_void,
) -> shmkit_status {
    report(|| body(atomic_array)?.swap(at, value, old))
}

/// Adds to an element; integers wrap. `*old` is what it was; it may be null.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_atomic_array_fetch_add(
    atomic_array: Option<&shmkit_atomic_array>,
    at: usize,
    operand: *const c_void,
    old: *mut c_void,
) -> shmkit_status {
    report(|| body(atomic_array)?.fetch_add(at, operand, old))
}

/// Replaces an element if it is `*expected`, bit by bit; if not, `*expected` becomes what it is. `*exchanged` tells which.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_atomic_array_compare_exchange(
    atomic_array: Option<&shmkit_atomic_array>,
    at: usize,
    expected: *mut c_void,
    value: *const c_void,
    exchanged: *mut bool,
) -> shmkit_status {
    report(|| put(exchanged, body(atomic_array)?.compare_exchange(at, expected, value)?, "exchanged"))
}
