//! Images as they are learnt from: 8 rows of 8 pixels from 0 (white) to 1 (black), set upright.

use std::array;

use crate::{
    digits::{self, BLACK, PIXELS},
    source::Lines,
};

const SIDE: usize = 8;
const _: () = assert!(SIDE * SIDE == PIXELS);
const MIDDLE: f32 = (SIDE - 1) as f32 / 2.0;

/// A slanting digit is set upright by at most so many columns for each row.
const STEEPEST: f32 = 0.7;

pub(crate) type Image = [f32; PIXELS];

/// Reads the images of some lines into `pixels`, and returns the digits that they show; or what is wrong in which line.
pub(crate) fn parse(lines: &Lines, pixels: &mut [f32]) -> Result<Vec<u8>, String> {
    let mut digits = Vec::with_capacity(lines.count());
    for ((line, image), number) in lines.text.lines().zip(pixels.chunks_exact_mut(PIXELS)).zip(lines.first + 1..) {
        let fields = digits::parse_line(line).map_err(|reason| format!("line {number}: {reason}"))?;
        image.iter_mut().zip(fields).for_each(|(pixel, field)| *pixel = f32::from(field) / f32::from(BLACK));
        digits.push(fields[PIXELS]);
    }
    Ok(digits)
}

/// Straightens one image after the other.
pub(crate) fn straighten_all(pixels: &mut [f32]) {
    pixels.as_chunks_mut().0.iter_mut().for_each(straighten);
}

/// Sets a digit upright in the middle: people slant differently, and do not write in the middle of the box.
fn straighten(image: &mut Image) {
    let Shape { x, y, slant } = Shape::of(image);
    let old = *image;
    *image = array::from_fn(|i| {
        let down = (i / SIDE) as f32 - MIDDLE;
        ink_at(&old, x + (i % SIDE) as f32 - MIDDLE + slant * down, y + down)
    });
}

/// Where the ink of an image lies: its centre of mass, and the columns that it moves to the right from row to row.
struct Shape {
    x: f32,
    y: f32,
    slant: f32,
}

impl Shape {
    fn of(image: &Image) -> Self {
        let sum = |weight: &dyn Fn(f32, f32) -> f32| -> f32 {
            let points = image.iter().enumerate();
            points.map(|(i, ink)| ink * weight((i % SIDE) as f32, (i / SIDE) as f32)).sum()
        };
        let ink = sum(&|_, _| 1.0);
        if ink == 0.0 {
            return Self { x: MIDDLE, y: MIDDLE, slant: 0.0 };
        }
        let (x, y) = (sum(&|x, _| x) / ink, sum(&|_, y| y) / ink);
        let height = sum(&|_, down| (down - y) * (down - y));
        let slant = sum(&|across, down| (across - x) * (down - y)) / height.max(f32::MIN_POSITIVE);
        Self { x, y, slant: slant.clamp(-STEEPEST, STEEPEST) }
    }
}

/// The ink between four pixels, each by how near it is; there is none beyond the edge.
fn ink_at(image: &Image, x: f32, y: f32) -> f32 {
    let (left, top) = (x.floor(), y.floor());
    let (right_share, bottom_share) = (x - left, y - top);
    let pixel = |dx: i32, dy: i32| {
        let (column, row) = (left as i32 + dx, top as i32 + dy);
        let is_inside = (0..SIDE as i32).contains(&column) && (0..SIDE as i32).contains(&row);
        if is_inside { image[row as usize * SIDE + column as usize] } else { 0.0 }
    };
    let row = |dy| pixel(0, dy) * (1.0 - right_share) + pixel(1, dy) * right_share;
    row(0) * (1.0 - bottom_share) + row(1) * bottom_share
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_pixels_and_a_digit() {
        let line = format!("16,8{},3", ",0".repeat(PIXELS - 2));
        let lines = |text| Lines { block: 0, first: 10, text };
        let mut pixels = [1.0; 2 * PIXELS];
        assert_eq!(parse(&lines(format!("{line}\n{line}")), &mut pixels).unwrap(), [3, 3]);
        assert_eq!((&pixels[64..67], pixels[127]), (&[1.0, 0.5, 0.0][..], 0.0));
        let error = parse(&lines(format!("{line}\n1,2")), &mut pixels).unwrap_err();
        assert_eq!(error, "line 12: expected 65 fields (64 pixels and a class), found 2");
    }

    /// Ink in the columns that `column` says for each row.
    fn stroke(rows: std::ops::Range<usize>, column: impl Fn(usize) -> usize) -> Image {
        let mut image = [0.0; PIXELS];
        rows.for_each(|row| image[row * SIDE + column(row)] = 1.0);
        image
    }

    #[test]
    fn a_stroke_comes_to_stand_upright_in_the_middle() {
        for mut image in [stroke(0..4, |_| 0), stroke(2..6, |_| 7), stroke(1..7, |row| 7 - row / 2)] {
            straighten(&mut image);
            let Shape { x, y, slant } = Shape::of(&image);
            assert!((x - MIDDLE).abs() < 0.05 && (y - MIDDLE).abs() < 0.05 && slant.abs() < 0.1, "{x} {y} {slant}");
        }
    }

    #[test]
    fn ink_between_pixels_is_shared_by_nearness() {
        let mut image = [0.0; PIXELS];
        image[3 * SIDE] = 1.0;
        image[3 * SIDE + 1] = 0.5;
        let places =
            [(0.0, 3.0), (0.25, 3.0), (0.0, 2.75), (0.5, 3.5), (1.5, 3.0), (-0.5, 3.0), (-1.5, 3.0), (8.0, 9.0)];
        assert_eq!(places.map(|(x, y)| ink_at(&image, x, y)), [1.0, 0.875, 0.75, 0.375, 0.25, 0.5, 0.0, 0.0]);
    }

    #[test]
    fn no_ink_and_an_image_that_stands_right_stay_as_they_are() {
        let mut blank = [0.0; PIXELS];
        straighten(&mut blank);
        assert_eq!(blank, [0.0; PIXELS]);
        let both = |row: usize| [row * SIDE + 3, row * SIDE + 4];
        let mut bar = [0.0; PIXELS];
        (2..6).flat_map(both).for_each(|at| bar[at] = 1.0);
        let upright = bar;
        straighten(&mut bar);
        assert_eq!(bar, upright);
    }
}
