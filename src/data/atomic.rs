//! Atomics for every number type, the floating-point ones and `bool` included.

use std::{
    fmt,
    sync::atomic::{
        AtomicI8, AtomicI16, AtomicI32, AtomicI64, AtomicIsize, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize,
        Ordering,
    },
};

/// A number, or `bool`, that is read and changed in one step by any number of threads and processes.
///
/// Methods and orderings are those of [`std::sync::atomic`]. Floating-point numbers are compared bit by bit in
/// `compare_exchange`, and their arithmetic is a loop around it. A `bool` is a byte of which anything but 0 is true.
///
/// # Examples
///
/// ```
/// # fn main() -> shmkit::Result<()> {
/// use std::sync::atomic::Ordering::Relaxed;
/// use shmkit::AtomicArray;
///
/// let histogram = AtomicArray::<u64>::zeros(256)?;
/// histogram[7].fetch_add(1, Relaxed);
/// assert_eq!(histogram[7].load(Relaxed), 1);
/// # Ok(())
/// # }
/// ```
#[repr(transparent)]
pub struct Atomic<T: AtomicElement>(T::Repr);

/// What an [`Atomic`] can hold: the integers of 8 to 64 bits, `usize`, `isize`, `f32`, `f64` and `bool`.
pub trait AtomicElement: sealed::Element {}

/// What an [`Atomic`] can add, subtract and compare: every [`AtomicElement`] but `bool`.
pub trait AtomicNumber: AtomicElement + sealed::Number {}

/// What an [`Atomic`] can combine bit by bit: the integers and `bool`.
pub trait AtomicBits: AtomicElement + sealed::Bits {}

pub(crate) mod sealed {
    use std::sync::atomic::Ordering;

    /// The operations on the representation.
    pub trait Element: Copy + Send + Sync + fmt::Debug + 'static {
        type Repr: Send + Sync + Sized + 'static;
        /// Whether any bits are a value, so that slices can be copied as bytes.
        const ANY_BITS: bool;
        fn make(self) -> Self::Repr;
        fn load(repr: &Self::Repr, order: Ordering) -> Self;
        fn store(repr: &Self::Repr, value: Self, order: Ordering);
        fn swap(repr: &Self::Repr, value: Self, order: Ordering) -> Self;
        fn compare_exchange(r: &Self::Repr, a: Self, b: Self, s: Ordering, f: Ordering) -> Result<Self, Self>;
        fn compare_exchange_weak(r: &Self::Repr, a: Self, b: Self, s: Ordering, f: Ordering) -> Result<Self, Self>;
    }

    pub trait Number: Element {
        fn add(repr: &Self::Repr, value: Self, order: Ordering) -> Self;
        fn sub(repr: &Self::Repr, value: Self, order: Ordering) -> Self;
        fn min(repr: &Self::Repr, value: Self, order: Ordering) -> Self;
        fn max(repr: &Self::Repr, value: Self, order: Ordering) -> Self;
    }

    pub trait Bits: Element {
        fn and(repr: &Self::Repr, value: Self, order: Ordering) -> Self;
        fn or(repr: &Self::Repr, value: Self, order: Ordering) -> Self;
        fn xor(repr: &Self::Repr, value: Self, order: Ordering) -> Self;
    }

    use std::fmt;
}

use sealed::{Bits, Element, Number};

impl<T: AtomicElement> Atomic<T> {
    /// A new one, in private memory: in shared memory they come from [`AtomicValue`](crate::AtomicValue) and
    /// [`AtomicArray`](crate::AtomicArray).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::atomic::Ordering::Relaxed;
    ///
    /// assert_eq!(shmkit::Atomic::new(1.5).load(Relaxed), 1.5);
    /// ```
    pub fn new(value: T) -> Self {
        Self(value.make())
    }

    /// The value.
    ///
    /// # Panics
    ///
    /// If `order` is `Release` or `AcqRel`.
    ///
    /// # Examples
    ///
    /// See the type.
    #[inline]
    pub fn load(&self, order: Ordering) -> T {
        T::load(&self.0, order)
    }

    /// Replaces the value.
    ///
    /// # Panics
    ///
    /// If `order` is `Acquire` or `AcqRel`.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::atomic::Ordering::Relaxed;
    ///
    /// let flag = shmkit::Atomic::new(false);
    /// flag.store(true, Relaxed);
    /// assert!(flag.swap(false, Relaxed));
    /// ```
    #[inline]
    pub fn store(&self, value: T, order: Ordering) {
        T::store(&self.0, value, order);
    }

    /// Replaces the value and returns the old one.
    ///
    /// # Examples
    ///
    /// See [`store`](Self::store).
    #[inline]
    pub fn swap(&self, value: T, order: Ordering) -> T {
        T::swap(&self.0, value, order)
    }

    /// Replaces the value if it is `current`.
    ///
    /// # Errors
    ///
    /// The value that was found instead.
    ///
    /// # Panics
    ///
    /// If `failure` is `Release` or `AcqRel`.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::atomic::Ordering::Relaxed;
    ///
    /// let x = shmkit::Atomic::new(1_u8);
    /// assert_eq!(x.compare_exchange(1, 2, Relaxed, Relaxed), Ok(1));
    /// assert_eq!(x.compare_exchange(1, 3, Relaxed, Relaxed), Err(2));
    /// ```
    #[inline]
    pub fn compare_exchange(&self, current: T, new: T, success: Ordering, failure: Ordering) -> Result<T, T> {
        T::compare_exchange(&self.0, current, new, success, failure)
    }

    /// As [`compare_exchange`](Self::compare_exchange), but may fail without a reason: for loops.
    ///
    /// # Errors
    ///
    /// The value that was found.
    ///
    /// # Panics
    ///
    /// If `failure` is `Release` or `AcqRel`.
    ///
    /// # Examples
    ///
    /// See [`compare_exchange`](Self::compare_exchange).
    #[inline]
    pub fn compare_exchange_weak(&self, current: T, new: T, success: Ordering, failure: Ordering) -> Result<T, T> {
        T::compare_exchange_weak(&self.0, current, new, success, failure)
    }
}

impl<T: AtomicNumber> Atomic<T> {
    /// Adds, and returns the old value. Integers wrap around.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::atomic::Ordering::Relaxed;
    ///
    /// let x = shmkit::Atomic::new(1.5_f64);
    /// assert_eq!(x.fetch_add(1.0, Relaxed), 1.5);
    /// assert_eq!(x.fetch_sub(0.5, Relaxed), 2.5);
    /// assert_eq!(x.fetch_max(7.0, Relaxed), 2.0);
    /// assert_eq!(x.fetch_min(3.0, Relaxed), 7.0);
    /// assert_eq!(x.load(Relaxed), 3.0);
    /// ```
    #[inline]
    pub fn fetch_add(&self, value: T, order: Ordering) -> T {
        T::add(&self.0, value, order)
    }

    /// Subtracts, and returns the old value. Integers wrap around.
    ///
    /// # Examples
    ///
    /// See [`fetch_add`](Self::fetch_add).
    #[inline]
    pub fn fetch_sub(&self, value: T, order: Ordering) -> T {
        T::sub(&self.0, value, order)
    }

    /// Keeps the smaller of both, and returns the old value. Of a number and a NaN the number is kept.
    ///
    /// # Examples
    ///
    /// See [`fetch_add`](Self::fetch_add).
    #[inline]
    pub fn fetch_min(&self, value: T, order: Ordering) -> T {
        T::min(&self.0, value, order)
    }

    /// Keeps the larger of both, and returns the old value. Of a number and a NaN the number is kept.
    ///
    /// # Examples
    ///
    /// See [`fetch_add`](Self::fetch_add).
    #[inline]
    pub fn fetch_max(&self, value: T, order: Ordering) -> T {
        T::max(&self.0, value, order)
    }
}

impl<T: AtomicBits> Atomic<T> {
    /// Keeps the bits that both have, and returns the old value.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::atomic::Ordering::Relaxed;
    ///
    /// let x = shmkit::Atomic::new(0b1100_u8);
    /// assert_eq!(x.fetch_and(0b0110, Relaxed), 0b1100);
    /// assert_eq!(x.fetch_or(0b0001, Relaxed), 0b0100);
    /// assert_eq!(x.fetch_xor(0b1111, Relaxed), 0b0101);
    /// assert_eq!(x.load(Relaxed), 0b1010);
    /// ```
    #[inline]
    pub fn fetch_and(&self, value: T, order: Ordering) -> T {
        T::and(&self.0, value, order)
    }

    /// Keeps the bits that either has, and returns the old value.
    ///
    /// # Examples
    ///
    /// See [`fetch_and`](Self::fetch_and).
    #[inline]
    pub fn fetch_or(&self, value: T, order: Ordering) -> T {
        T::or(&self.0, value, order)
    }

    /// Keeps the bits that only one has, and returns the old value.
    ///
    /// # Examples
    ///
    /// See [`fetch_and`](Self::fetch_and).
    #[inline]
    pub fn fetch_xor(&self, value: T, order: Ordering) -> T {
        T::xor(&self.0, value, order)
    }
}

impl<T: AtomicElement> fmt::Debug for Atomic<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.load(Ordering::Relaxed).fmt(f)
    }
}

/// The element operations, for a number that is turned `$into` a representation's value and `$from` it.
macro_rules! element {
    ($t:ty, $repr:ty, $into:expr, $from:expr) => {
        impl Element for $t {
            type Repr = $repr;
            const ANY_BITS: bool = true;

            fn make(self) -> $repr {
                <$repr>::new($into(self))
            }

            #[inline]
            fn load(repr: &$repr, order: Ordering) -> Self {
                $from(repr.load(order))
            }

            #[inline]
            fn store(repr: &$repr, value: Self, order: Ordering) {
                repr.store($into(value), order);
            }

            #[inline]
            fn swap(repr: &$repr, value: Self, order: Ordering) -> Self {
                $from(repr.swap($into(value), order))
            }

            #[inline]
            fn compare_exchange(r: &$repr, a: Self, b: Self, s: Ordering, f: Ordering) -> Result<Self, Self> {
                r.compare_exchange($into(a), $into(b), s, f).map($from).map_err($from)
            }

            #[inline]
            fn compare_exchange_weak(r: &$repr, a: Self, b: Self, s: Ordering, f: Ordering) -> Result<Self, Self> {
                r.compare_exchange_weak($into(a), $into(b), s, f).map($from).map_err($from)
            }
        }

        impl AtomicElement for $t {}
    };
}

macro_rules! integer {
    ($($t:ty: $repr:ty),* $(,)?) => {$(
        element!($t, $repr, std::convert::identity, std::convert::identity);

        impl Number for $t {
            #[inline]
            fn add(repr: &$repr, value: Self, order: Ordering) -> Self {
                repr.fetch_add(value, order)
            }

            #[inline]
            fn sub(repr: &$repr, value: Self, order: Ordering) -> Self {
                repr.fetch_sub(value, order)
            }

            #[inline]
            fn min(repr: &$repr, value: Self, order: Ordering) -> Self {
                repr.fetch_min(value, order)
            }

            #[inline]
            fn max(repr: &$repr, value: Self, order: Ordering) -> Self {
                repr.fetch_max(value, order)
            }
        }

        impl Bits for $t {
            #[inline]
            fn and(repr: &$repr, value: Self, order: Ordering) -> Self {
                repr.fetch_and(value, order)
            }

            #[inline]
            fn or(repr: &$repr, value: Self, order: Ordering) -> Self {
                repr.fetch_or(value, order)
            }

            #[inline]
            fn xor(repr: &$repr, value: Self, order: Ordering) -> Self {
                repr.fetch_xor(value, order)
            }
        }

        impl AtomicNumber for $t {}
        impl AtomicBits for $t {}
    )*};
}

integer! {
    u8: AtomicU8,
    u16: AtomicU16,
    u32: AtomicU32,
    u64: AtomicU64,
    usize: AtomicUsize,
    i8: AtomicI8,
    i16: AtomicI16,
    i32: AtomicI32,
    i64: AtomicI64,
    isize: AtomicIsize,
}

macro_rules! float {
    ($($t:ty: $repr:ty),* $(,)?) => {$(
        element!($t, $repr, <$t>::to_bits, <$t>::from_bits);

        impl Number for $t {
            #[inline]
            fn add(repr: &$repr, value: Self, order: Ordering) -> Self {
                change::<Self>(repr, order, |old| old + value)
            }

            #[inline]
            fn sub(repr: &$repr, value: Self, order: Ordering) -> Self {
                change::<Self>(repr, order, |old| old - value)
            }

            #[inline]
            fn min(repr: &$repr, value: Self, order: Ordering) -> Self {
                change::<Self>(repr, order, |old| old.min(value))
            }

            #[inline]
            fn max(repr: &$repr, value: Self, order: Ordering) -> Self {
                change::<Self>(repr, order, |old| old.max(value))
            }
        }

        impl AtomicNumber for $t {}
    )*};
}

float! {
    f32: AtomicU32,
    f64: AtomicU64,
}

/// Bits other than 0 and 1 may be found in shared memory, so that every exchange compares with the byte that is there.
impl Element for bool {
    type Repr = AtomicU8;
    const ANY_BITS: bool = false;

    fn make(self) -> AtomicU8 {
        AtomicU8::new(u8::from(self))
    }

    #[inline]
    fn load(repr: &AtomicU8, order: Ordering) -> Self {
        repr.load(order) != 0
    }

    #[inline]
    fn store(repr: &AtomicU8, value: Self, order: Ordering) {
        repr.store(u8::from(value), order);
    }

    #[inline]
    fn swap(repr: &AtomicU8, value: Self, order: Ordering) -> Self {
        repr.swap(u8::from(value), order) != 0
    }

    #[inline]
    fn compare_exchange(r: &AtomicU8, a: Self, b: Self, s: Ordering, f: Ordering) -> Result<Self, Self> {
        let exchanged = r.fetch_update(s, f, |byte| ((byte != 0) == a).then_some(u8::from(b)));
        exchanged.map(|byte| byte != 0).map_err(|byte| byte != 0)
    }

    #[inline]
    fn compare_exchange_weak(r: &AtomicU8, a: Self, b: Self, s: Ordering, f: Ordering) -> Result<Self, Self> {
        Self::compare_exchange(r, a, b, s, f)
    }
}

impl AtomicElement for bool {}

impl Bits for bool {
    #[inline]
    fn and(repr: &AtomicU8, value: Self, order: Ordering) -> Self {
        change_bool(repr, order, |old| old & value)
    }

    #[inline]
    fn or(repr: &AtomicU8, value: Self, order: Ordering) -> Self {
        change_bool(repr, order, |old| old | value)
    }

    #[inline]
    fn xor(repr: &AtomicU8, value: Self, order: Ordering) -> Self {
        change_bool(repr, order, |old| old ^ value)
    }
}

impl AtomicBits for bool {}

/// A loop around `compare_exchange_weak`, for what the machine has no instruction for. Returns the old value.
#[inline]
fn change<T: Element>(repr: &T::Repr, order: Ordering, new: impl Fn(T) -> T) -> T {
    let mut old = T::load(repr, Ordering::Relaxed);
    loop {
        // The failed load carries nothing: the value is only the next guess.
        match T::compare_exchange_weak(repr, old, new(old), order, Ordering::Relaxed) {
            Ok(old) => return old,
            Err(now) => old = now,
        }
    }
}

#[inline]
fn change_bool(repr: &AtomicU8, order: Ordering, new: impl Fn(bool) -> bool) -> bool {
    let changed = repr.fetch_update(order, Ordering::Relaxed, |byte| Some(u8::from(new(byte != 0))));
    changed.unwrap_or_else(|byte| byte) != 0
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;

    #[test]
    fn any_byte_is_a_bool() {
        let strange = Atomic::<bool>(AtomicU8::new(0xFE));
        assert!(strange.load(Relaxed));
        assert!(strange.swap(false, Relaxed));
        assert!(!strange.fetch_xor(true, Relaxed));
        assert!(strange.fetch_and(false, Relaxed));
        assert!(!strange.fetch_or(true, Relaxed));
        assert_eq!(strange.compare_exchange(true, false, Relaxed, Relaxed), Ok(true));
    }

    #[test]
    fn numbers_are_kept_before_nan() {
        let x = Atomic::new(f32::NAN);
        assert!(x.fetch_min(2.0, Relaxed).is_nan());
        assert_eq!(x.fetch_max(f32::NAN, Relaxed), 2.0);
        assert_eq!(x.load(Relaxed), 2.0);
    }
}
