//! The constructors of objects that hold one value from the start, once for all of them.

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
