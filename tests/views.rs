//! Arrays, rows and claims as views of the `ndarray` crate.

use ndarray::{Array2, Axis, Dimension, Ix1, Ix2, Ix3, IxDyn, s};
use shmkit::{Array, Error, RawArray};

/// Shapes, strides and places are those of the slice.
#[test]
fn views_are_the_elements() {
    let array = Array::<u32>::zeros([2, 3, 4]).unwrap();
    let mut guard = array.lock().unwrap();
    guard.iter_mut().zip(0..).for_each(|(x, n)| *x = n);
    let first = guard.as_ptr();
    let view = guard.view::<Ix3>().unwrap();
    assert_eq!((view.shape(), view.strides(), view.as_ptr()), (&[2, 3, 4][..], &[12, 4, 1][..], first));
    assert_eq!((view[[1, 2, 3]], guard[[1, 2, 3]]), (23, 23));
    assert_eq!(view.index_axis(Axis(0), 1).sum(), (12..24).sum::<u32>());
    assert_eq!(guard.view::<IxDyn>().unwrap().ndim(), 3);
    for error in [guard.view::<Ix2>().unwrap_err(), guard.view_mut::<Ix1>().unwrap_err()] {
        assert!(matches!(&error, Error::InvalidArgument { reason } if reason.contains("[2, 3, 4]")), "{error}");
    }
}

#[test]
fn rows_are_claimed_and_changed_by_blocks() {
    let grid = Array::<f64>::zeros([8, 5]).unwrap();
    let mut low = grid.claim_rows_mut(..3).unwrap();
    let mut high = grid.claim_rows_mut(3..).unwrap();
    low.view_mut::<Ix2>().unwrap().slice_mut(s![1..3, ..;2]).fill(1.0);
    high.view_mut::<Ix2>().unwrap().column_mut(4).assign(&ndarray::arr1(&[1.0, 2.0, 3.0, 4.0, 5.0]));
    assert_eq!((low.view::<Ix2>().unwrap().dim(), high.view::<Ix2>().unwrap().dim()), ((3, 5), (5, 5)));
    drop((low, high));
    let all = grid.claim_rows(..).unwrap();
    let view = all.view::<Ix2>().unwrap();
    assert_eq!((view.row(2).to_vec(), view[[7, 4]], view.sum()), (vec![1.0, 0.0, 1.0, 0.0, 1.0], 5.0, 21.0));
    // Elements that are no rows have one dimension.
    let part = grid.claim(7..9).unwrap();
    assert_eq!(part.view::<Ix1>().unwrap().len(), 2);
    assert!(part.view::<Ix2>().is_err());
}

#[test]
fn nothing_in_a_shape() {
    let array = Array::<u8>::zeros([3, 0]).unwrap();
    assert_eq!(array.lock().unwrap().view::<Ix2>().unwrap().dim(), (3, 0));
    let raw = RawArray::<u8>::zeros(0).unwrap();
    #[expect(unsafe_code, reason = "a raw array is unsafe to look at")]
    // SAFETY: nobody else knows of it.
    let view = unsafe { raw.view::<Ix1>() }.unwrap();
    assert!(view.is_empty());
}

#[test]
fn copies_of_any_order() {
    let theirs = Array2::from_shape_fn((4, 3), |(i, j)| (10 * i + j) as u16);
    for view in [theirs.view(), theirs.view().reversed_axes(), theirs.slice(s![..;-1, 1..])] {
        let shared = Array::from_ndarray(&view).unwrap();
        assert_eq!(shared.shape(), view.shape());
        assert_eq!(shared.lock().unwrap().view::<Ix2>().unwrap(), view);
    }
    assert!(Array::from_ndarray(&ndarray::arr0(1_u8)).is_err());
    assert_eq!(Ix2(4, 3).size(), theirs.len());
}

/// A view has the shape of its guard, whatever the array grows to meanwhile.
#[test]
fn of_an_array_that_grows() {
    let rows = Array::<u8>::growable([1, 3], 10).unwrap();
    let claim = rows.claim_rows(..).unwrap();
    rows.extend_from_slice(&[1, 2, 3, 4, 5, 6]).unwrap();
    assert_eq!(claim.view::<Ix2>().unwrap().dim(), (1, 3));
    drop(claim);
    let mut guard = rows.lock().unwrap();
    guard.extend_from_slice(&[7, 8, 9]).unwrap();
    assert_eq!(guard.view_mut::<Ix2>().unwrap().row(3).to_vec(), [7, 8, 9]);
}
