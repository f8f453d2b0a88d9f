//! The constructors, once for all types that are made alike.

/// For a type with a handle and a function `dims`, which checks the number.
macro_rules! counted_constructors {
    ($name:literal, $count:ident, $what:literal) => {
        counted_constructors!($name, $count, $what, new, new_in);
    };
    ($name:literal, $count:ident, $what:literal, $new:ident, $new_in:ident) => {
        #[doc = concat!("A new ", $name, " for `", stringify!($count), "` ", $what, ", in shared memory of its own.")]
        ///
        /// # Errors
        ///
        #[doc = concat!("[`InvalidArgument`](crate::Error::InvalidArgument) when `", stringify!($count), "` is 0 or more than ")]
        /// [`MAX`](Self::MAX); else as [`Region::anonymous`](crate::Region::anonymous).
        ///
        /// # Examples
        ///
        /// See the type.
        pub fn $new($count: usize) -> crate::Result<Self> {
            crate::region::Handle::new(Self::dims($count)?, &|_| {}).map(Self)
        }

        #[doc = concat!("A new ", $name, " in a region, under a name or (`None`) without one.")]
        ///
        /// # Errors
        ///
        #[doc = concat!("As [`", stringify!($new), "`](Self::", stringify!($new), "), and")]
        /// [`AlreadyExists`](crate::Error::AlreadyExists),
        /// [`RegionFull`](crate::Error::RegionFull), [`InvalidName`](crate::Error::InvalidName),
        /// [`ReadOnly`](crate::Error::ReadOnly).
        ///
        /// # Examples
        ///
        /// See [`Region`](crate::Region).
        pub fn $new_in<'n>(
            region: &crate::Region,
            name: impl Into<Option<&'n str>>,
            $count: usize,
        ) -> crate::Result<Self> {
            crate::region::Handle::new_in(region, name.into(), Self::dims($count)?, &|_| {}).map(Self)
        }

        #[doc = concat!("The ", $name, " of this name in a region, or a new one.")]
        ///
        /// # Errors
        ///
        #[doc = concat!("As [`", stringify!($new_in), "`](Self::", stringify!($new_in), "), and")]
        /// [`TypeMismatch`](crate::Error::TypeMismatch), also when it was made for
        #[doc = concat!("another number of ", $what, ".")]
        ///
        /// # Examples
        ///
        /// See [`Region`](crate::Region).
        pub fn open_or_create_in(region: &crate::Region, name: &str, $count: usize) -> crate::Result<Self> {
            crate::region::Handle::open_or_create_in(region, name, Self::dims($count)?, &|_| {}).map(Self)
        }

        #[doc = concat!("A new ", $name, " that other programs find by name or file.")]
        ///
        /// # Errors
        ///
        #[doc = concat!("As [`", stringify!($new), "`](Self::", stringify!($new), ") and")]
        /// [`Region::create`](crate::Region::create).
        ///
        /// # Examples
        ///
        /// See the type.
        pub fn create(at: impl Into<crate::region::Place>, $count: usize) -> crate::Result<Self> {
            let intent = crate::region::Intent::Create;
            crate::region::Handle::at_place(&at.into(), intent, Self::dims($count)?, &|_| {}).map(Self)
        }

        #[doc = concat!("The ", $name, " at this name or file, or a new one.")]
        ///
        /// # Errors
        ///
        /// As [`create`](Self::create) and [`open`](Self::open).
        ///
        /// # Examples
        ///
        /// See the type.
        pub fn open_or_create(at: impl Into<crate::region::Place>, $count: usize) -> crate::Result<Self> {
            let intent = crate::region::Intent::OpenOrCreate;
            crate::region::Handle::at_place(&at.into(), intent, Self::dims($count)?, &|_| {}).map(Self)
        }
    };
}
pub(crate) use counted_constructors;

/// For a type with a handle and nothing to choose.
macro_rules! plain_constructors {
    ($name:literal) => {
        #[doc = concat!("A new ", $name, " in shared memory of its own.")]
        ///
        /// # Errors
        ///
        /// As [`Region::anonymous`](crate::Region::anonymous).
        ///
        /// # Examples
        ///
        /// See the type.
        pub fn new() -> crate::Result<Self> {
            crate::region::Handle::new(crate::region::Dims::NONE, &|_| {}).map(Self)
        }

        #[doc = concat!("A new ", $name, " in a region, under a name or (`None`) without one.")]
        ///
        /// # Errors
        ///
        /// [`AlreadyExists`](crate::Error::AlreadyExists), [`RegionFull`](crate::Error::RegionFull),
        /// [`InvalidName`](crate::Error::InvalidName), [`ReadOnly`](crate::Error::ReadOnly).
        ///
        /// # Examples
        ///
        /// See [`Region`](crate::Region).
        pub fn new_in<'n>(region: &crate::Region, name: impl Into<Option<&'n str>>) -> crate::Result<Self> {
            crate::region::Handle::new_in(region, name.into(), crate::region::Dims::NONE, &|_| {}).map(Self)
        }

        #[doc = concat!("A new ", $name, " that other programs find by name or file.")]
        ///
        /// # Errors
        ///
        /// As [`Region::create`](crate::Region::create).
        ///
        /// # Examples
        ///
        /// See the type.
        pub fn create(at: impl Into<crate::region::Place>) -> crate::Result<Self> {
            let intent = crate::region::Intent::Create;
            crate::region::Handle::at_place(&at.into(), intent, crate::region::Dims::NONE, &|_| {}).map(Self)
        }

        #[doc = concat!("The ", $name, " at this name or file, or a new one.")]
        ///
        /// # Errors
        ///
        /// As [`create`](Self::create) and [`open`](Self::open).
        ///
        /// # Examples
        ///
        /// See the type.
        pub fn open_or_create(at: impl Into<crate::region::Place>) -> crate::Result<Self> {
            let intent = crate::region::Intent::OpenOrCreate;
            crate::region::Handle::at_place(&at.into(), intent, crate::region::Dims::NONE, &|_| {}).map(Self)
        }
    };
}
pub(crate) use plain_constructors;

/// For a type with a handle; `$write` puts the value into a fresh body's data part.
macro_rules! valued_constructors {
    ($name:literal, $write:path) => {
        #[doc = concat!("A new ", $name, " in shared memory of its own.")]
        ///
        /// # Errors
        ///
        /// As [`Region::anonymous`](crate::Region::anonymous). Each anonymous object has a file descriptor: for
        /// thousands, use [`new_in`](Self::new_in).
        ///
        /// # Examples
        ///
        /// See the type.
        pub fn new(value: T) -> crate::Result<Self> {
            crate::region::Handle::new(crate::region::Dims::NONE, &|fresh| $write(fresh.data, value)).map(Self)
        }

        #[doc = concat!("A new ", $name, " in a region, under a name or (`None`) without one.")]
        ///
        /// # Errors
        ///
        /// [`AlreadyExists`](crate::Error::AlreadyExists), [`RegionFull`](crate::Error::RegionFull),
        /// [`InvalidName`](crate::Error::InvalidName), [`ReadOnly`](crate::Error::ReadOnly).
        ///
        /// # Examples
        ///
        /// See [`Region`](crate::Region).
        pub fn new_in<'n>(region: &crate::Region, name: impl Into<Option<&'n str>>, value: T) -> crate::Result<Self> {
            let none = crate::region::Dims::NONE;
            crate::region::Handle::new_in(region, name.into(), none, &|fresh| $write(fresh.data, value)).map(Self)
        }

        #[doc = concat!("The ", $name, " of this name in a region, or a new one with `value`.")]
        ///
        /// # Errors
        ///
        /// As [`new_in`](Self::new_in), and [`TypeMismatch`](crate::Error::TypeMismatch).
        ///
        /// # Examples
        ///
        /// ```
        /// # fn main() -> shmkit::Result<()> {
        /// use shmkit::{Region, Value};
        ///
        /// let region = Region::anonymous(4096)?;
        /// let first = Value::open_or_create_in(&region, "x", 1)?;
        /// let second = Value::open_or_create_in(&region, "x", 2)?;
        /// assert_eq!(second.get()?, 1);
        /// # Ok(())
        /// # }
        /// ```
        pub fn open_or_create_in(region: &crate::Region, name: &str, value: T) -> crate::Result<Self> {
            let none = crate::region::Dims::NONE;
            crate::region::Handle::open_or_create_in(region, name, none, &|fresh| $write(fresh.data, value)).map(Self)
        }

        #[doc = concat!("A new ", $name, " that other programs find by name or file.")]
        ///
        /// # Errors
        ///
        /// As [`Region::create`](crate::Region::create).
        ///
        /// # Examples
        ///
        /// See the type.
        pub fn create(at: impl Into<crate::region::Place>, value: T) -> crate::Result<Self> {
            let (intent, none) = (crate::region::Intent::Create, crate::region::Dims::NONE);
            crate::region::Handle::at_place(&at.into(), intent, none, &|fresh| $write(fresh.data, value)).map(Self)
        }

        #[doc = concat!("The ", $name, " at this name or file, or a new one: also where a creator died on the way.")]
        ///
        /// # Errors
        ///
        /// As [`create`](Self::create) and [`open`](Self::open).
        ///
        /// # Examples
        ///
        /// See the type.
        pub fn open_or_create(at: impl Into<crate::region::Place>, value: T) -> crate::Result<Self> {
            let (intent, none) = (crate::region::Intent::OpenOrCreate, crate::region::Dims::NONE);
            crate::region::Handle::at_place(&at.into(), intent, none, &|fresh| $write(fresh.data, value)).map(Self)
        }
    };
}
pub(crate) use valued_constructors;
