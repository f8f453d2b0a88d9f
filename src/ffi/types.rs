//! Types of elements, which C tells at run time.

#![expect(unsafe_code, reason = "exports variables, and declares a stand-in plain data")]

use std::{
    ffi::{CString, c_char},
    ptr,
};

use super::{
    place::text,
    status::{Failure, Result},
};
use crate::{
    Error,
    os::copy,
    region::{Description, Dims, Kind, MAX_NAME},
};

/// A `bool` that C passes. Compilers of other languages have more than one number for true, which no `bool` of Rust can be.
#[repr(transparent)]
#[derive(Debug, Clone, Copy)]
pub struct shmkit_flag(u8);

impl shmkit_flag {
    pub(super) fn get(self) -> bool {
        self.0 != 0
    }
}

/// The type of elements. A program in Rust has the same one if its name there, without the path, its size and its alignment
/// are the same: "f64", or "Sample" for a `#[repr(C)] struct Sample`. All its bits must be data: no pointers.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct shmkit_type {
    /// Its name in Rust. It must stand as long as it is used.
    pub name: *const c_char,
    /// Bytes of one element.
    pub size: usize,
    /// Where elements lie: at multiples of so many bytes.
    pub align: usize,
}

// SAFETY: `name` is only ever read: by the contract it stands and does not change.
unsafe impl Sync for shmkit_type {}

macro_rules! number {
    ($t:ty) => {
        shmkit_type {
            name: ptr::from_ref(concat!(stringify!($t), "\0")).cast(),
            size: size_of::<$t>(),
            align: align_of::<$t>(),
        }
    };
}

/// int8_t
#[unsafe(no_mangle)]
pub static shmkit_i8: shmkit_type = number!(i8);
/// int16_t
#[unsafe(no_mangle)]
pub static shmkit_i16: shmkit_type = number!(i16);
/// int32_t
#[unsafe(no_mangle)]
pub static shmkit_i32: shmkit_type = number!(i32);
/// int64_t
#[unsafe(no_mangle)]
pub static shmkit_i64: shmkit_type = number!(i64);
/// uint8_t
#[unsafe(no_mangle)]
pub static shmkit_u8: shmkit_type = number!(u8);
/// uint16_t
#[unsafe(no_mangle)]
pub static shmkit_u16: shmkit_type = number!(u16);
/// uint32_t
#[unsafe(no_mangle)]
pub static shmkit_u32: shmkit_type = number!(u32);
/// uint64_t
#[unsafe(no_mangle)]
pub static shmkit_u64: shmkit_type = number!(u64);
/// float
#[unsafe(no_mangle)]
pub static shmkit_f32: shmkit_type = number!(f32);
/// double
#[unsafe(no_mangle)]
pub static shmkit_f64: shmkit_type = number!(f64);

/// bool: a byte, of which anything but 0 is true. Only atomics have this type in Rust.
#[unsafe(no_mangle)]
pub static shmkit_bool: shmkit_type = number!(bool);

/// An element of a type that is known at run time only. Handles of such know the distance from one to the next; nobody
/// takes a reference to one.
#[derive(Debug, Clone, Copy)]
#[repr(transparent)]
pub(super) struct Opaque(u8);

// SAFETY: a byte.
unsafe impl bytemuck::Zeroable for Opaque {}
// SAFETY: a byte.
unsafe impl bytemuck::Pod for Opaque {}

/// Whether there are types of this size and alignment, which copies rely on.
fn can_be(size: usize, align: usize) -> bool {
    size > 0 && u32::try_from(size).is_ok() && align.is_power_of_two() && align <= 4096 && size.is_multiple_of(align)
}

/// A type that was checked.
#[derive(Debug)]
pub(super) struct Type {
    pub(super) name: String,
    pub(super) size: usize,
    pub(super) align: usize,
    name_of_c: CString,
}

impl Type {
    pub(super) fn new(given: Option<&shmkit_type>) -> Result<Self> {
        Self::if_given(given)?.ok_or(Failure::Null("the type"))
    }

    pub(super) fn if_given(given: Option<&shmkit_type>) -> Result<Option<Self>> {
        let Some(given) = given else { return Ok(None) };
        let name = text(given.name)?.ok_or(Failure::Null("the name of the type"))?;
        let (size, align) = (given.size, given.align);
        if name.is_empty() || name.len() > MAX_NAME {
            return Err(Error::invalid_argument(format!("a type whose name has {} bytes", name.len())).into());
        }
        if !can_be(size, align) {
            return Err(Error::invalid_argument(format!("{name:?}, of {size} bytes, aligned to {align}")).into());
        }
        Ok(Some(Self::of(name, size, align)))
    }

    /// As it is on record, which anybody may have written.
    pub(super) fn found(description: &Description) -> Result<Self> {
        let (size, align) = (description.element_size as usize, description.element_align.into());
        if !can_be(size, align) {
            return Err(Error::corrupt(format!("elements of {size} bytes, aligned to {align}")).into());
        }
        Ok(Self::of(&description.tag, size, align))
    }

    /// Refuses the type if one of this name has another size or alignment.
    pub(super) fn must_be(&self, size: usize, align: usize) -> Result<()> {
        if (self.size, self.align) == (size, align) {
            return Ok(());
        }
        let text = |size, align| format!("{} of {size} bytes, aligned to {align}", self.name);
        Err(Error::TypeMismatch { expected: text(size, align), found: text(self.size, self.align) }.into())
    }

    fn of(name: &str, size: usize, align: usize) -> Self {
        let name_of_c = CString::new(name.replace('\0', "?")).unwrap_or_default();
        Self { name: name.into(), size, align, name_of_c }
    }

    pub(super) fn describe(&self, kind: Kind, dims: Dims) -> Description {
        Description {
            kind,
            tag: self.name.clone().into(),
            // Checked when it was made.
            element_size: self.size as u32,
            element_align: self.align as u16,
            value_size: self.size as u32,
            dims,
        }
    }

    /// Copies elements that others may write at that time out of shared memory: each aligned part of up to 8 bytes is whole.
    ///
    /// # Safety
    ///
    /// Both are valid for `count` elements, and the shared ones aligned for this type; the two do not overlap; nobody else
    /// touches the private ones.
    pub(super) unsafe fn load(&self, shared: *const u8, private: *mut u8, count: usize) {
        let bytes = count * self.size;
        // Each: elements of no larger alignment than that of the type, of which the size is a multiple.
        match self.align {
            // SAFETY: the caller's promise.
            1 => unsafe { copy::load::<u8>(shared, private, bytes) },
            // SAFETY: as above.
            2 => unsafe { copy::load::<u16>(shared.cast(), private.cast(), bytes / 2) },
            // SAFETY: as above.
            4 => unsafe { copy::load::<u32>(shared.cast(), private.cast(), bytes / 4) },
            // SAFETY: as above.
            _ => unsafe { copy::load::<u64>(shared.cast(), private.cast(), bytes / 8) },
        }
    }

    /// Copies elements into shared memory that others may read at that time, as [`load`](Self::load) does.
    ///
    /// # Safety
    ///
    /// As for [`load`](Self::load), but others may read the private ones.
    pub(super) unsafe fn store(&self, private: *const u8, shared: *mut u8, count: usize) {
        let bytes = count * self.size;
        match self.align {
            // SAFETY: the caller's promise.
            1 => unsafe { copy::store::<u8>(private, shared, bytes) },
            // SAFETY: as above.
            2 => unsafe { copy::store::<u16>(private.cast(), shared.cast(), bytes / 2) },
            // SAFETY: as above.
            4 => unsafe { copy::store::<u32>(private.cast(), shared.cast(), bytes / 4) },
            // SAFETY: as above.
            _ => unsafe { copy::store::<u64>(private.cast(), shared.cast(), bytes / 8) },
        }
    }

    /// For C, as long as this stands.
    pub(super) fn as_c(&self) -> shmkit_type {
        shmkit_type { name: self.name_of_c.as_ptr(), size: self.size, align: self.align }
    }
}

/// Refuses what has another type than the one that is expected, if one is.
pub(super) fn same_type(expected: Option<&Type>, found: &Description) -> Description {
    expected.map_or_else(|| found.clone(), |expected| expected.describe(found.kind, found.dims))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_types_on_record() {
        let found = |element_size, element_align| {
            let description = Description {
                kind: Kind::Array,
                tag: "Sample".into(),
                element_size,
                element_align,
                value_size: element_size,
                dims: Dims::NONE,
            };
            Type::found(&description)
        };
        assert!(found(24, 8).is_ok_and(|type_| (type_.size, type_.align) == (24, 8)));
        for (size, align) in [(24, 3), (24, 0), (12, 8), (0, 1), (8192, 8192)] {
            let failure = found(size, align).map(drop);
            assert!(matches!(failure, Err(Failure::Error(Error::Corrupt { .. }))), "{size}, {align}: {failure:?}");
        }
    }
}
