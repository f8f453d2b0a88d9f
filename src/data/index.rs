//! Indices of arrays: a number, a range, or one number for each dimension.

use std::ops::{Range, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive};

use crate::{Error, Result};

/// What an array can be indexed by: `usize`, the ranges (over the elements in row-major order), and `[usize; N]` with
/// one number for each of the array's dimensions.
///
/// # Examples
///
/// ```
/// # fn main() -> shmkit::Result<()> {
/// let grid = shmkit::Array::<u8>::zeros([3, 4])?;
/// let mut cells = grid.lock()?;
/// cells[[2, 1]] = 7;
/// assert_eq!(cells[9], 7);
/// assert_eq!(cells[8..10], [0, 7]);
/// drop(cells);
/// assert_eq!(grid.get([2, 1])?, 7);
/// assert!(grid.get([1, 4]).is_err());
/// # Ok(())
/// # }
/// ```
pub trait ArrayIndex<T> {
    /// An element, or a slice of them.
    type Output: ?Sized;

    /// The part that the index means; `None` when it does not lie in the array.
    fn get<'a>(self, data: &'a [T], shape: &[usize]) -> Option<&'a Self::Output>;

    /// The same, to be changed.
    fn get_mut<'a>(self, data: &'a mut [T], shape: &[usize]) -> Option<&'a mut Self::Output>;

    /// The index as text, for an error.
    fn describe(&self) -> String;
}

macro_rules! slice_indices {
    ($($index:ty => $output:ty),* $(,)?) => {$(
        impl<T> ArrayIndex<T> for $index {
            type Output = $output;

            #[inline]
            fn get<'a>(self, data: &'a [T], _: &[usize]) -> Option<&'a $output> {
                data.get(self)
            }

            #[inline]
            fn get_mut<'a>(self, data: &'a mut [T], _: &[usize]) -> Option<&'a mut $output> {
                data.get_mut(self)
            }

            fn describe(&self) -> String {
                format!("{self:?}")
            }
        }
    )*};
}

slice_indices! {
    usize => T,
    Range<usize> => [T],
    RangeFrom<usize> => [T],
    RangeTo<usize> => [T],
    RangeInclusive<usize> => [T],
    RangeToInclusive<usize> => [T],
    RangeFull => [T],
}

impl<T, const N: usize> ArrayIndex<T> for [usize; N] {
    type Output = T;

    #[inline]
    fn get<'a>(self, data: &'a [T], shape: &[usize]) -> Option<&'a T> {
        data.get(flat(self, shape)?)
    }

    #[inline]
    fn get_mut<'a>(self, data: &'a mut [T], shape: &[usize]) -> Option<&'a mut T> {
        data.get_mut(flat(self, shape)?)
    }

    fn describe(&self) -> String {
        format!("{self:?}")
    }
}

/// The row-major position of an index, each part of which lies in its own dimension.
#[inline]
fn flat<const N: usize>(index: [usize; N], shape: &[usize]) -> Option<usize> {
    let shape: &[usize; N] = shape.try_into().ok()?;
    let mut flat = 0;
    for (at, length) in index.into_iter().zip(shape) {
        if at >= *length {
            return None;
        }
        flat = flat * length + at;
    }
    Some(flat)
}

pub(crate) fn out_of_range(index: String, shape: &[usize]) -> Error {
    Error::OutOfRange { index, shape: format!("{shape:?}") }
}

/// The range, if it lies in `0..len`.
pub(crate) fn check_range(range: Range<usize>, len: usize) -> Result<Range<usize>> {
    if range.start <= range.end && range.end <= len {
        Ok(range)
    } else {
        Err(out_of_range(format!("{range:?}"), &[len]))
    }
}

/// The elements from `at` on, `count` of them, of `len`.
#[inline]
pub(crate) fn check_span(at: usize, count: usize, len: usize, shape: &[usize]) -> Result<()> {
    match at.checked_add(count) {
        Some(end) if end <= len => Ok(()),
        _ => Err(span_out_of_range(at, count, shape)),
    }
}

#[cold]
fn span_out_of_range(at: usize, count: usize, shape: &[usize]) -> Error {
    out_of_range(format!("{at}..{at}+{count}"), shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dimension_is_checked() {
        assert_eq!(flat([1, 2], &[2, 3]), Some(5));
        assert_eq!(flat([0, 3], &[2, 3]), None);
        assert_eq!(flat([2, 0], &[2, 3]), None);
        assert_eq!(flat([0], &[2, 3]), None);
        assert_eq!(flat([usize::MAX, 0], &[usize::MAX, 0]), None);
    }
}
