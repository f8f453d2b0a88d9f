//! Guards, claims and raw arrays as views of the `ndarray` crate: the elements where they are, with their shape.

#![expect(unsafe_code, reason = "hands out views on the caller's word")]

use bytemuck::Pod;
use ndarray::{ArrayBase, ArrayView, ArrayViewD, ArrayViewMut, ArrayViewMutD, Data, Dimension, IxDyn, ShapeError};

use super::{Array, ArrayGuard, Claim, ClaimMut, RawArray};
use crate::{Error, Result};

fn misfit(shape: &[usize], dimensions: Option<usize>, error: &ShapeError) -> Error {
    let wanted = dimensions.map_or_else(String::new, |count| format!(" as one of {count} dimensions"));
    Error::invalid_argument(format!("a view of shape {shape:?}{wanted}: {error}"))
}

fn view<'a, T, D: Dimension>(elements: &'a [T], shape: &[usize]) -> Result<ArrayView<'a, T, D>> {
    ArrayViewD::from_shape(IxDyn(shape), elements)
        .and_then(|view| view.into_dimensionality())
        .map_err(|error| misfit(shape, D::NDIM, &error))
}

fn view_mut<'a, T, D: Dimension>(elements: &'a mut [T], shape: &[usize]) -> Result<ArrayViewMut<'a, T, D>> {
    ArrayViewMutD::from_shape(IxDyn(shape), elements)
        .and_then(|view| view.into_dimensionality())
        .map_err(|error| misfit(shape, D::NDIM, &error))
}

impl<T: Pod> Array<T> {
    /// A copy of an array of the `ndarray` crate, of its shape, in shared memory of its own. Feature `ndarray`.
    ///
    /// # Errors
    ///
    /// As [`zeros`](Self::zeros); of no dimensions or more than 8 there is none.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// use ndarray::{Ix2, arr2};
    ///
    /// let ours = arr2(&[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]);
    /// let shared = shmkit::Array::from_ndarray(&ours.t())?;
    /// assert_eq!(shared.shape(), [2, 3]);
    /// assert_eq!(shared.lock()?.view::<Ix2>()?, ours.t());
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_ndarray<S: Data<Elem = T>, D: Dimension>(array: &ArrayBase<S, D>) -> Result<Self> {
        let shared = Self::zeros(array.shape())?;
        {
            let mut guard = shared.lock()?;
            match array.as_slice() {
                Some(elements) => guard.copy_from_slice(elements),
                // In row-major order, whatever its own is.
                None => guard.iter_mut().zip(array).for_each(|(place, element)| *place = *element),
            }
        }
        Ok(shared)
    }
}

impl<T: Pod> ArrayGuard<'_, T> {
    /// The elements in their shape, as a view of the `ndarray` crate with `D` dimensions: `Ix2`, say, or `IxDyn`.
    /// Feature `ndarray`.
    ///
    /// # Errors
    ///
    /// [`InvalidArgument`](Error::InvalidArgument) when the array has another number of dimensions.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// use ndarray::{Axis, Ix1, Ix2};
    ///
    /// let grid = shmkit::Array::<f64>::zeros([3, 4])?;
    /// grid.set([1, 2], 5.0)?;
    /// let guard = grid.lock()?;
    /// assert_eq!(guard.view::<Ix2>()?.sum_axis(Axis(0)).to_vec(), [0.0, 0.0, 5.0, 0.0]);
    /// assert!(guard.view::<Ix1>().is_err());
    /// # Ok(())
    /// # }
    /// ```
    pub fn view<D: Dimension>(&self) -> Result<ArrayView<'_, T, D>> {
        view(self, self.shape())
    }

    /// As [`view`](Self::view), to be changed.
    ///
    /// # Errors
    ///
    /// As [`view`](Self::view).
    ///
    /// # Examples
    ///
    /// A block of a grid:
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// use ndarray::{Ix2, s};
    ///
    /// let grid = shmkit::Array::<u8>::zeros([3, 4])?;
    /// grid.lock()?.view_mut::<Ix2>()?.slice_mut(s![1.., 2..]).fill(7);
    /// assert_eq!(grid.to_vec()?, [0, 0, 0, 0, 0, 0, 7, 7, 0, 0, 7, 7]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn view_mut<D: Dimension>(&mut self) -> Result<ArrayViewMut<'_, T, D>> {
        let (elements, shape) = self.parts_mut();
        view_mut(elements, shape)
    }
}

impl<T: Pod> Claim<'_, T> {
    /// The claimed elements in their shape: of [rows](Array::claim_rows) that of the array with so many rows, else one
    /// dimension. Feature `ndarray`.
    ///
    /// # Errors
    ///
    /// [`InvalidArgument`](Error::InvalidArgument) when they have another number of dimensions.
    ///
    /// # Examples
    ///
    /// See [`ClaimMut::view_mut`].
    pub fn view<D: Dimension>(&self) -> Result<ArrayView<'_, T, D>> {
        view(self, self.shape())
    }
}

impl<T: Pod> ClaimMut<'_, T> {
    /// As [`Claim::view`].
    ///
    /// # Errors
    ///
    /// As [`Claim::view`].
    ///
    /// # Examples
    ///
    /// See [`view_mut`](Self::view_mut).
    pub fn view<D: Dimension>(&self) -> Result<ArrayView<'_, T, D>> {
        view(self, self.shape())
    }

    /// As [`Claim::view`], to be changed.
    ///
    /// # Errors
    ///
    /// As [`Claim::view`].
    ///
    /// # Examples
    ///
    /// Each thread, or process, has rows of its own:
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// use ndarray::{Ix2, s};
    ///
    /// let grid = shmkit::Array::<f64>::zeros([6, 4])?;
    /// std::thread::scope(|scope| {
    ///     for rank in 0..2 {
    ///         let grid = &grid;
    ///         scope.spawn(move || -> shmkit::Result<()> {
    ///             let mut rows = grid.claim_rows_mut(grid.rows_for(rank, 2)?)?;
    ///             let mut view = rows.view_mut::<Ix2>()?;
    ///             assert_eq!(view.shape(), [3, 4]);
    ///             view.slice_mut(s![.., 1..3]).fill(1.0 + rank as f64);
    ///             Ok(())
    ///         });
    ///     }
    /// });
    /// let middle = grid.claim_rows(2..4)?;
    /// assert_eq!(middle.view::<Ix2>()?.column(1).to_vec(), [1.0, 2.0]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn view_mut<D: Dimension>(&mut self) -> Result<ArrayViewMut<'_, T, D>> {
        let (elements, shape) = self.parts_mut();
        view_mut(elements, shape)
    }
}

impl<T: Pod> RawArray<T> {
    /// The elements in their shape. Feature `ndarray`.
    ///
    /// # Safety
    ///
    /// As [`as_slice`](Self::as_slice).
    ///
    /// # Errors
    ///
    /// As [`ArrayGuard::view`].
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// use ndarray::{Ix3, IxDyn};
    ///
    /// let array = shmkit::RawArray::<u32>::zeros([2, 3, 4])?;
    /// // SAFETY: nobody else knows of the array.
    /// let mut view = unsafe { array.view_mut::<Ix3>()? };
    /// view[[1, 2, 3]] = 9;
    /// // SAFETY: as above.
    /// assert_eq!(unsafe { array.view::<IxDyn>()? }.sum(), 9);
    /// # Ok(())
    /// # }
    /// ```
    pub unsafe fn view<D: Dimension>(&self) -> Result<ArrayView<'_, T, D>> {
        // SAFETY: the caller's promise.
        view(unsafe { self.as_slice() }, self.shape())
    }

    /// As [`view`](Self::view), to be changed.
    ///
    /// # Safety
    ///
    /// As [`as_mut_slice`](Self::as_mut_slice).
    ///
    /// # Errors
    ///
    /// As [`ArrayGuard::view`].
    ///
    /// # Examples
    ///
    /// See [`view`](Self::view).
    pub unsafe fn view_mut<D: Dimension>(&self) -> Result<ArrayViewMut<'_, T, D>> {
        // SAFETY: the caller's promise.
        view_mut(unsafe { self.as_mut_slice() }, self.shape())
    }
}
