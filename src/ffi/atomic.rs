//! Single atomics, and what they have in common with arrays of them.

#![expect(unsafe_code, reason = "exports functions, and reads and writes elements of C")]

use std::{
    ffi::{c_char, c_void},
    slice,
    sync::atomic::Ordering::SeqCst,
};

use super::{
    handle::{Head, body, close, give, opaque},
    place::site,
    region::shmkit_region,
    status::{Failure, Result, put, report, shmkit_status},
    types::{Type, shmkit_type},
};
use crate::{
    Atomic, AtomicArray, AtomicElement, AtomicValue, Error,
    data::{AtomicArrayCell, AtomicValueCell},
    region::{Dims, Handle, Initialise, Intent, Resident, Site},
};

/// An atomic number or bool, without a lock.
#[derive(Debug)]
pub struct shmkit_atomic {
    head: Head,
}

opaque!(shmkit_atomic = 15, "atomic", Box<dyn Atomics>);

/// Atomics, one or many, of whatever type. The pointers are to one element each, of C.
pub(super) trait Atomics: Send + Sync {
    fn shape(&self) -> &[usize];
    fn data(&self) -> *mut c_void;
    fn load(&self, at: usize, value: *mut c_void) -> Result<()>;
    fn store(&self, at: usize, value: *const c_void) -> Result<()>;
    fn swap(&self, at: usize, new: *const c_void, old: *mut c_void) -> Result<()>;
    fn fetch_add(&self, at: usize, operand: *const c_void, old: *mut c_void) -> Result<()>;
    fn compare_exchange(&self, at: usize, expected: *mut c_void, new: *const c_void) -> Result<bool>;
}

/// Objects that hold atomics.
trait Cells {
    type Element: Element;
    fn shape(&self) -> &[usize];
    fn cells(&self) -> &[Atomic<Self::Element>];
}

impl<T: Element> Cells for AtomicValue<T> {
    type Element = T;

    fn shape(&self) -> &[usize] {
        &[]
    }

    fn cells(&self) -> &[Atomic<T>] {
        slice::from_ref(self)
    }
}

impl<T: Element> Cells for AtomicArray<T> {
    type Element = T;

    fn shape(&self) -> &[usize] {
        AtomicArray::shape(self)
    }

    fn cells(&self) -> &[Atomic<T>] {
        self
    }
}

/// A type of atomics, and how C has it.
trait Element: AtomicElement {
    /// What C has in its place: any bits are one.
    type InC: Copy;
    fn from_c(value: Self::InC) -> Self;
    fn to_c(self) -> Self::InC;
    fn add(atomic: &Atomic<Self>, operand: Self) -> Result<Self>;
}

macro_rules! numbers {
    ($($t:ty)*) => {$(
        impl Element for $t {
            type InC = $t;

            fn from_c(value: $t) -> $t {
                value
            }

            fn to_c(self) -> $t {
                self
            }

            fn add(atomic: &Atomic<$t>, operand: $t) -> Result<$t> {
                Ok(atomic.fetch_add(operand, SeqCst))
            }
        }
    )*};
}
numbers!(i8 i16 i32 i64 u8 u16 u32 u64 f32 f64);

impl Element for bool {
    type InC = u8;

    fn from_c(value: u8) -> bool {
        value != 0
    }

    fn to_c(self) -> u8 {
        self.into()
    }

    fn add(_: &Atomic<bool>, _: bool) -> Result<bool> {
        Err(Error::invalid_argument("to a bool nothing can be added").into())
    }
}

fn get<T: Element>(value: *const c_void) -> Result<T> {
    if value.is_null() {
        return Err(Failure::Null("the value"));
    }
    // SAFETY: by the contract it points to an element of the object's type, aligned or not.
    Ok(T::from_c(unsafe { value.cast::<T::InC>().read_unaligned() }))
}

fn set<T: Element>(place: *mut c_void, value: T) {
    if !place.is_null() {
        // SAFETY: by the contract it points to a variable of the object's type, aligned or not.
        unsafe { place.cast::<T::InC>().write_unaligned(value.to_c()) };
    }
}

fn element<C: Cells>(object: &C, at: usize) -> Result<&Atomic<C::Element>> {
    let outside = || Error::OutOfRange { index: at.to_string(), shape: format!("{:?}", object.shape()) };
    Ok(object.cells().get(at).ok_or_else(outside)?)
}

impl<C: Cells + Send + Sync> Atomics for C {
    fn shape(&self) -> &[usize] {
        Cells::shape(self)
    }

    fn data(&self) -> *mut c_void {
        self.cells().as_ptr().cast::<c_void>().cast_mut()
    }

    fn load(&self, at: usize, value: *mut c_void) -> Result<()> {
        if value.is_null() {
            return Err(Failure::Null("the value"));
        }
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
        set(old, Element::add(element(self, at)?, get(operand)?)?);
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

/// Where the object is, and what is to be done there: making it, or finding it.
pub(super) struct Errand<'a> {
    pub(super) site: Site<'a>,
    pub(super) make: Option<Make>,
}

/// An object that is to be made.
pub(super) struct Make {
    pub(super) intent: Intent,
    /// None for a single one.
    pub(super) dims: Dims,
    /// What a single one begins as; null: zero.
    pub(super) first: *const c_void,
}

impl Errand<'_> {
    /// Does it for a type of elements that has this name.
    pub(super) fn run(&self, type_: Option<&shmkit_type>, is_array: bool) -> Result<Box<dyn Atomics>> {
        let type_ = Type::new(type_)?;
        macro_rules! by_name {
            ($($t:ident)*) => {
                match type_.name.as_str() {
                    $(stringify!($t) => {
                        type_.must_be(size_of::<$t>(), align_of::<$t>())?;
                        if is_array { self.array::<$t>() } else { self.single::<$t>() }
                    })*
                    other => Err(Error::invalid_argument(format!("there are no atomics of type {other:?}")).into()),
                }
            };
        }
        by_name!(i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 bool)
    }

    fn handle<R: Resident>(&self, first: Initialise<'_>) -> Result<Handle<R>> {
        Ok(match &self.make {
            Some(make) => Handle::make(&self.site, make.intent, &R::description(make.dims), first)?,
            None => Handle::find(&self.site, |found| R::description(found.dims))?.0,
        })
    }

    fn array<T: Element>(&self) -> Result<Box<dyn Atomics>> {
        Ok(Box::new(AtomicArray::<T>::from(self.handle::<AtomicArrayCell<T>>(&|_| {})?)))
    }

    fn single<T: Element>(&self) -> Result<Box<dyn Atomics>> {
        let first = self.make.as_ref().map(|make| make.first).filter(|first| !first.is_null());
        let first = first.map(get::<T>).transpose()?;
        let handle = self.handle::<AtomicValueCell<T>>(&|fresh| {
            if let Some(first) = first {
                // SAFETY: the data part of a body for an `Atomic<T>`, aligned, seen by nobody else.
                unsafe { fresh.data.cast::<Atomic<T>>().write(Atomic::new(first)) };
            }
        })?;
        Ok(Box::new(AtomicValue::<T>::from(handle)))
    }
}

fn make(
    region: Option<&shmkit_region>,
    name: *const c_char,
    type_: Option<&shmkit_type>,
    first: *const c_void,
    intent: Intent,
) -> Result<Box<dyn Atomics>> {
    let make = Make { intent, dims: Dims::NONE, first };
    Errand { site: site(region, name)?, make: Some(make) }.run(type_, false)
}

/// Makes an atomic. With a region: in it, under `name` or, if that is null, without a name. Without: in memory of its own,
/// under `name` or anonymous. `type` is one of the numbers above, or shmkit_bool. It begins as `*first`, or as zero if that is
/// null.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_atomic_create(
    region: Option<&shmkit_region>,
    name: *const c_char,
    type_: Option<&shmkit_type>,
    first: *const c_void,
    atomic: *mut *mut shmkit_atomic,
) -> shmkit_status {
    report(|| give(atomic, || make(region, name, type_, first, Intent::Create)))
}

/// Finds an atomic, or makes it as shmkit_atomic_create does: also where its maker died on the way.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_atomic_open_or_create(
    region: Option<&shmkit_region>,
    name: *const c_char,
    type_: Option<&shmkit_type>,
    first: *const c_void,
    atomic: *mut *mut shmkit_atomic,
) -> shmkit_status {
    report(|| give(atomic, || make(region, name, type_, first, Intent::OpenOrCreate)))
}

/// Finds an atomic: in a region, or at a name or file.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_atomic_open(
    region: Option<&shmkit_region>,
    name: *const c_char,
    type_: Option<&shmkit_type>,
    atomic: *mut *mut shmkit_atomic,
) -> shmkit_status {
    report(|| give(atomic, || Errand { site: site(region, name)?, make: None }.run(type_, false)))
}

/// Ends a handle; the object stays for those who have it open, and under its name.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_atomic_close(atomic: *mut shmkit_atomic) -> shmkit_status {
    report(|| close(atomic))
}

/// Where it lies, until the handle is closed. In C it may be used as an _Atomic number of its type; a bool as an _Atomic
/// uint8_t, of which anything but 0 is true.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_atomic_data(atomic: Option<&shmkit_atomic>, data: *mut *mut c_void) -> shmkit_status {
    report(|| put(data, body(atomic)?.data(), "data"))
}

/// Reads it. This and all below are sequentially consistent.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_atomic_load(atomic: Option<&shmkit_atomic>, value: *mut c_void) -> shmkit_status {
    report(|| body(atomic)?.load(0, value))
}

/// Writes it.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_atomic_store(atomic: Option<&shmkit_atomic>, value: *const c_void) -> shmkit_status {
    report(|| body(atomic)?.store(0, value))
}

/// Replaces it. `*old` is what it was; it may be null.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_atomic_swap(
    atomic: Option<&shmkit_atomic>,
    value: *const c_void,
    old: *mut c_void,
) -> shmkit_status {
    report(|| body(atomic)?.swap(0, value, old))
}

/// Adds to a number; integers wrap. `*old` is what it was; it may be null.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_atomic_fetch_add(
    atomic: Option<&shmkit_atomic>,
    operand: *const c_void,
    old: *mut c_void,
) -> shmkit_status {
    report(|| body(atomic)?.fetch_add(0, operand, old))
}

/// Replaces it if it is `*expected`, bit by bit; if not, `*expected` becomes what it is. `*exchanged` tells which.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_atomic_compare_exchange(
    atomic: Option<&shmkit_atomic>,
    expected: *mut c_void,
    value: *const c_void,
    exchanged: *mut bool,
) -> shmkit_status {
    report(|| put(exchanged, body(atomic)?.compare_exchange(0, expected, value)?, "exchanged"))
}
