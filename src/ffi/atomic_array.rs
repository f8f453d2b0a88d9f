//! Arrays of atomics.

#![expect(unsafe_code, reason = "exports functions, and reads and writes numbers of C")]

use std::{
    ffi::{c_char, c_void},
    ptr,
    sync::atomic::Ordering::SeqCst,
};

use super::{
    array::{get_shape, put_shape},
    handle::{Head, body, close, give, opaque},
    place::site,
    region::shmkit_region,
    status::{Failure, Result, put, report, shmkit_status},
    types::{Type, shmkit_type},
};
use crate::{
    Atomic, AtomicArray, AtomicNumber, Error,
    data::AtomicArrayCell,
    region::{Dims, Handle, Intent, Resident, Site},
};

/// An array of atomic numbers, without a lock.
#[derive(Debug)]
pub struct shmkit_atomic_array {
    head: Head,
}

opaque!(shmkit_atomic_array = 14, "atomic array", Box<dyn Atomics>);

/// An array of atomics, of whatever numbers. The pointers are to one of them each, of C.
pub(super) trait Atomics {
    fn shape(&self) -> &[usize];
    fn data(&self) -> *mut c_void;
    fn load(&self, at: usize, value: *mut c_void) -> Result<()>;
    fn store(&self, at: usize, value: *const c_void) -> Result<()>;
    fn swap(&self, at: usize, new: *const c_void, old: *mut c_void) -> Result<()>;
    fn fetch_add(&self, at: usize, operand: *const c_void, old: *mut c_void) -> Result<()>;
    fn compare_exchange(&self, at: usize, expected: *mut c_void, new: *const c_void) -> Result<bool>;
}

fn get<T: AtomicNumber>(value: *const c_void) -> Result<T> {
    if value.is_null() {
        return Err(Failure::Null("the value"));
    }
    // SAFETY: by the contract it points to a number of the array's type.
    Ok(unsafe { value.cast::<T>().read() })
}

fn set<T: AtomicNumber>(place: *mut c_void, value: T) {
    if !place.is_null() {
        // SAFETY: by the contract it points to a variable of the array's type.
        unsafe { place.cast::<T>().write(value) };
    }
}

fn element<T: AtomicNumber>(array: &AtomicArray<T>, at: usize) -> Result<&Atomic<T>> {
    let outside = || Error::OutOfRange { index: at.to_string(), shape: format!("{:?}", array.shape()) };
    Ok(array.get(at).ok_or_else(outside)?)
}

impl<T: AtomicNumber> Atomics for AtomicArray<T> {
    fn shape(&self) -> &[usize] {
        AtomicArray::shape(self)
    }

    fn data(&self) -> *mut c_void {
        ptr::from_ref(&**self).cast::<c_void>().cast_mut()
    }

    fn load(&self, at: usize, value: *mut c_void) -> Result<()> {
        set(value, element(self, at)?.load(SeqCst));
        Ok(())
    }

    fn store(&self, at: usize, value: *const c_void) -> Result<()> {
        element(self, at)?.store(get(value)?, SeqCst);
        Ok(())
    }

    fn swap(&self, at: usize, new: *const c_void, old: *mut c_void) -> Result<()> {
        set(old, element(self, at)?.swap(get(new)?, SeqCst));
        Ok(())
    }

    fn fetch_add(&self, at: usize, operand: *const c_void, old: *mut c_void) -> Result<()> {
        set(old, element(self, at)?.fetch_add(get(operand)?, SeqCst));
        Ok(())
    }

    fn compare_exchange(&self, at: usize, expected: *mut c_void, new: *const c_void) -> Result<bool> {
        let exchanged = element(self, at)?.compare_exchange(get(expected)?, get(new)?, SeqCst, SeqCst);
        if let Err(found) = exchanged {
            set(expected, found);
        }
        Ok(exchanged.is_ok())
    }
}

/// Where the array is, and what is to be done there: making it with a shape, or finding it.
type Errand<'a> = (&'a Site<'a>, Option<(Dims, Intent)>);

fn of<T: AtomicNumber>((site, make): Errand<'_>) -> Result<Box<dyn Atomics>> {
    let handle = match make {
        Some((dims, intent)) => {
            Handle::<AtomicArrayCell<T>>::make(site, intent, &AtomicArrayCell::<T>::description(dims), &|_| {})?
        }
        None => Handle::find(site, |found| AtomicArrayCell::<T>::description(found.dims))?.0,
    };
    Ok(Box::new(AtomicArray::<T>::from(handle)))
}

fn run(type_: Option<&shmkit_type>, errand: Errand<'_>) -> Result<Box<dyn Atomics>> {
    match Type::new(type_)?.name.as_str() {
        "i8" => of::<i8>(errand),
        "i16" => of::<i16>(errand),
        "i32" => of::<i32>(errand),
        "i64" => of::<i64>(errand),
        "u8" => of::<u8>(errand),
        "u16" => of::<u16>(errand),
        "u32" => of::<u32>(errand),
        "u64" => of::<u64>(errand),
        "f32" => of::<f32>(errand),
        "f64" => of::<f64>(errand),
        other => Err(Error::invalid_argument(format!("there are no atomics of type {other:?}")).into()),
    }
}

fn make(
    region: Option<&shmkit_region>,
    name: *const c_char,
    type_: Option<&shmkit_type>,
    shape: Dims,
    intent: Intent,
) -> Result<Box<dyn Atomics>> {
    run(type_, (&site(region, name)?, Some((shape, intent))))
}

fn find(region: Option<&shmkit_region>, name: *const c_char, type_: Option<&shmkit_type>) -> Result<Box<dyn Atomics>> {
    run(type_, (&site(region, name)?, None))
}

/// Makes an array of atomics. With a region: in it, under `name` or, if that is null, without a name. Without: in memory of its own, under
/// `name` or anonymous. `type` is one of the
/// numbers above. All begin as zeros.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_atomic_array_create(
    region: Option<&shmkit_region>,
    name: *const c_char,
    type_: Option<&shmkit_type>,
    shape: *const usize,
    rank: usize,
    atomic_array: Option<&mut *mut shmkit_atomic_array>,
) -> shmkit_status {
    report(|| give(atomic_array, make(region, name, type_, get_shape(shape, rank)?, Intent::Create)?))
}

/// Finds an array of atomics, or makes it as shmkit_atomic_array_create does: also where its maker died on the way.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_atomic_array_open_or_create(
    region: Option<&shmkit_region>,
    name: *const c_char,
    type_: Option<&shmkit_type>,
    shape: *const usize,
    rank: usize,
    atomic_array: Option<&mut *mut shmkit_atomic_array>,
) -> shmkit_status {
    report(|| give(atomic_array, make(region, name, type_, get_shape(shape, rank)?, Intent::OpenOrCreate)?))
}

/// Finds an array of atomics: in a region, or at a name or file.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_atomic_array_open(
    region: Option<&shmkit_region>,
    name: *const c_char,
    type_: Option<&shmkit_type>,
    atomic_array: Option<&mut *mut shmkit_atomic_array>,
) -> shmkit_status {
    report(|| give(atomic_array, find(region, name, type_)?))
}

/// Ends a handle; the object stays for those who have it open, and under its name.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_atomic_array_close(atomic_array: Option<&'static shmkit_atomic_array>) -> shmkit_status {
    report(|| close(atomic_array))
}

/// Where the elements lie, in row-major order, until the handle is closed. In C they may be used as _Atomic numbers of their
/// type.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_atomic_array_data(
    atomic_array: Option<&shmkit_atomic_array>,
    data: Option<&mut *mut c_void>,
) -> shmkit_status {
    report(|| put(data, body(atomic_array)?.data(), "data"))
}

/// The number of dimensions, 1 to 8, and their lengths, of which as many are written to `shape` as `room` says.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_atomic_array_shape(
    atomic_array: Option<&shmkit_atomic_array>,
    shape: *mut usize,
    room: usize,
    rank: Option<&mut usize>,
) -> shmkit_status {
    report(|| put_shape(body(atomic_array)?.shape(), shape, room, rank))
}

/// Reads an element. This and all below are sequentially consistent; `at` counts in row-major order.
#[unsafe(no_mangle)]
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
    exchanged: Option<&mut bool>,
) -> shmkit_status {
    report(|| put(exchanged, body(atomic_array)?.compare_exchange(at, expected, value)?, "exchanged"))
}
