//! The shape of an array.

use crate::{Result, region::Dims};

/// The lengths of an array's dimensions: `256`, `[64, 64]`, or a slice of up to 8 lengths.
///
/// Elements lie in row-major order: the last index runs fastest.
///
/// # Examples
///
/// ```
/// # fn main() -> shmkit::Result<()> {
/// use shmkit::RawArray;
///
/// assert_eq!(RawArray::<u8>::zeros(256)?.shape(), [256]);
/// assert_eq!(RawArray::<u8>::zeros([2, 3, 4])?.len(), 24);
/// assert!(RawArray::<u8>::zeros([1; 9]).is_err());
/// # Ok(())
/// # }
/// ```
pub trait Shape: sealed::Dimensions {}

impl<S: sealed::Dimensions> Shape for S {}

pub(crate) mod sealed {
    use super::{Dims, Result};

    pub trait Dimensions {
        #[doc(hidden)]
        fn lengths(&self) -> &[usize];
    }

    impl Dimensions for usize {
        fn lengths(&self) -> &[usize] {
            std::slice::from_ref(self)
        }
    }

    impl<const N: usize> Dimensions for [usize; N] {
        fn lengths(&self) -> &[usize] {
            self
        }
    }

    impl Dimensions for &[usize] {
        fn lengths(&self) -> &[usize] {
            self
        }
    }

    pub(crate) fn dims(shape: &impl Dimensions) -> Result<Dims> {
        Dims::new(shape.lengths())
    }
}

pub(crate) use sealed::dims;

/// A shape that is to grow to `most` rows.
pub(crate) fn growing(shape: &impl Shape, most: usize) -> Result<Dims> {
    dims(shape)?.growing(most)
}
