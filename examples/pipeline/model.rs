//! What is learnt from the images, in one pass over them: how each digit looks on average, and how pixels vary together.
//! From that alone follows a classifier: linear discriminant analysis (Fisher, 1936).
//!
//! All sums are of integers, so they are the same in whatever order they are added up.

use std::array;

use crate::{
    digits::{CLASSES, PIXELS},
    image::Image,
};

/// The images are divided in so many parts, each of which is told by what was learnt from the others.
const PARTS: usize = 5;

/// What is summed up for a part. Of the images of each digit: how many, and the sum of each pixel; then of all images the
/// products of any two pixels.
const LEN: usize = CLASSES + CLASSES * PIXELS + PIXELS * PIXELS;

/// A pixel as an integer: black is 2^12. Products of two go into 25 bits, so there is room for 2^38 images.
const BLACK: f32 = 4096.0;

/// A part of the mean variance that every pixel has on top of its own, for there are some that are always white.
const RIDGE: f64 = 0.02;

/// What was learnt from some images.
#[derive(PartialEq)]
pub(crate) struct Sums(Vec<i64>);

impl Sums {
    /// The number of integers.
    pub(crate) const LEN: usize = PARTS * LEN;

    pub(crate) fn new() -> Self {
        Self(vec![0; Self::LEN])
    }

    /// What was [added up](Self::add_to).
    pub(crate) fn of(sums: Vec<i64>) -> Self {
        assert_eq!(sums.len(), Self::LEN);
        Self(sums)
    }

    /// Learns from images that stand in the file from line `first` on, and the digits that they show.
    pub(crate) fn learn(&mut self, first: usize, digits: &[u8], pixels: &[f32]) {
        for ((image, digit), line) in pixels.as_chunks().0.iter().zip(digits).zip(first..) {
            add(&mut self.0[line % PARTS * LEN..][..LEN], image, usize::from(*digit));
        }
    }

    /// Adds what was learnt to what others have learnt.
    pub(crate) fn add_to(&self, all: &mut [i64]) {
        add_to(all, &self.0);
    }

    /// How many of the file's images are told right, each by what was learnt from the other parts.
    pub(crate) fn tell_right(&self, digits: &[u8], pixels: &[f32]) -> usize {
        let classifiers: [_; PARTS] = array::from_fn(|part| Classifier::new(&self.all_but(part)));
        let images = pixels.as_chunks().0.iter().zip(digits).enumerate();
        images.filter(|(line, (image, digit))| classifiers[line % PARTS].tell(image) == usize::from(**digit)).count()
    }

    fn all_but(&self, part: usize) -> Vec<i64> {
        let mut sums = vec![0; LEN];
        let others = self.0.chunks_exact(LEN).enumerate().filter(|(other, _)| *other != part);
        others.for_each(|(_, other)| add_to(&mut sums, other));
        sums
    }
}

fn add_to(sums: &mut [i64], more: &[i64]) {
    sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
}

/// Adds an image to the sums of its part.
fn add(sums: &mut [i64], image: &Image, digit: usize) {
    let image = image.map(|ink| (ink * BLACK).round() as i32);
    let (counts, rest) = sums.split_at_mut(CLASSES);
    let (totals, products) = rest.split_at_mut(CLASSES * PIXELS);
    counts[digit] += 1;
    let total = totals[digit * PIXELS..][..PIXELS].iter_mut();
    total.zip(image).for_each(|(total, pixel)| *total += i64::from(pixel));
    for (row, pixel) in products.chunks_exact_mut(PIXELS).zip(image) {
        row.iter_mut().zip(image).for_each(|(product, other)| *product += i64::from(pixel * other));
    }
}

/// Tells digits apart by a weight of each pixel for each digit: the greatest sum wins.
struct Classifier([Score; CLASSES]);

/// How much an image looks like one digit.
struct Score {
    weights: [f64; PIXELS],
    offset: f64,
}

impl Classifier {
    fn new(sums: &[i64]) -> Self {
        let (counts, rest) = sums.split_at(CLASSES);
        let (totals, products) = rest.split_at(CLASSES * PIXELS);
        let black = f64::from(BLACK);
        let all = counts.iter().sum::<i64>().max(1) as f64;
        let share = |digit: usize| counts[digit].max(1) as f64 / all;
        let mean = |digit: usize| -> [f64; PIXELS] {
            array::from_fn(|i| totals[digit * PIXELS + i] as f64 / black / (share(digit) * all))
        };
        let means: [_; CLASSES] = array::from_fn(mean);

        // How pixels vary together around the mean of the digit.
        let mut scatter: Vec<f64> = products.iter().map(|&product| product as f64 / black / black / all).collect();
        for (i, row) in scatter.chunks_exact_mut(PIXELS).enumerate() {
            for (digit, mean) in means.iter().enumerate() {
                row.iter_mut().zip(mean).for_each(|(entry, other)| *entry -= share(digit) * mean[i] * other);
            }
        }
        let diagonal = || (0..PIXELS).map(|i| i * (PIXELS + 1));
        let variance: f64 = diagonal().map(|at| scatter[at]).sum::<f64>() / PIXELS as f64;
        diagonal().for_each(|at| scatter[at] += RIDGE * variance);

        Self(array::from_fn(|digit| {
            let weights = solve(&scatter, &means[digit]);
            Score { weights, offset: share(digit).ln() - dot(&weights, &means[digit]) / 2.0 }
        }))
    }

    fn tell(&self, image: &Image) -> usize {
        let image = image.map(f64::from);
        let score = |digit: &usize| self.0[*digit].offset + dot(&self.0[*digit].weights, &image);
        (0..CLASSES).max_by(|a, b| score(a).total_cmp(&score(b))).expect("there are ten")
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Solves linear equations with a symmetric, positive definite matrix: no pivots are needed.
fn solve(matrix: &[f64], right: &[f64; PIXELS]) -> [f64; PIXELS] {
    let mut rows: Vec<_> =
        matrix.chunks_exact(PIXELS).zip(right).map(|(row, right)| [row, &[*right]].concat()).collect();
    for i in 0..PIXELS {
        let (done, below) = rows.split_at_mut(i + 1);
        for row in below {
            let factor = row[i] / done[i][i];
            row[i..].iter_mut().zip(&done[i][i..]).for_each(|(entry, above)| *entry -= factor * above);
        }
    }
    let mut solution = [0.0; PIXELS];
    for i in (0..PIXELS).rev() {
        solution[i] = (rows[i][PIXELS] - dot(&rows[i][i + 1..PIXELS], &solution[i + 1..])) / rows[i][i];
    }
    solution
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equations_are_solved() {
        let entry = |at: usize| 1.0 / (1.0 + (at / PIXELS).abs_diff(at % PIXELS) as f64);
        let matrix: Vec<f64> = (0..PIXELS * PIXELS).map(entry).collect();
        let expected: [f64; PIXELS] = array::from_fn(|i| i as f64 - 7.0);
        let right = array::from_fn(|i| dot(&matrix[i * PIXELS..][..PIXELS], &expected));
        let solution = solve(&matrix, &right);
        assert!(solution.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-9), "{solution:?}");
    }

    /// Of each digit, one pixel is dark in all of its images.
    fn digits(count: usize) -> (Vec<u8>, Vec<f32>) {
        let digit = |i: usize| i / PARTS % CLASSES;
        let pixel =
            |i: usize, at: usize| if at == 5 * digit(i) { 0.9 } else { ((i * 31 + at * 17) % 13) as f32 / 26.0 };
        (
            (0..count).map(|i| digit(i) as u8).collect(),
            (0..count * PIXELS).map(|i| pixel(i / PIXELS, i % PIXELS)).collect(),
        )
    }

    #[test]
    fn what_is_learnt_does_not_depend_on_the_order() {
        let (shown, pixels) = digits(100);
        let (mut whole, mut parts) = (Sums::new(), Sums::new());
        whole.learn(0, &shown, &pixels);
        for some in [67..100, 0..30, 30..67] {
            parts.learn(some.start, &shown[some.clone()], &pixels[some.start * PIXELS..some.end * PIXELS]);
        }
        assert!(whole == parts);
        let mut twice = whole.0.clone();
        parts.add_to(&mut twice);
        assert!(twice.iter().zip(&whole.0).all(|(twice, once)| *twice == 2 * once));
        assert_eq!(whole.0[..CLASSES], [2; CLASSES]);
    }

    #[test]
    fn digits_are_told_by_what_was_learnt_from_others() {
        let (shown, pixels) = digits(200);
        let mut sums = Sums::new();
        sums.learn(0, &shown, &pixels);
        assert_eq!(sums.tell_right(&shown, &pixels), 200);
        let wrong: Vec<_> = shown.iter().map(|digit| (digit + 1) % CLASSES as u8).collect();
        assert_eq!(sums.tell_right(&wrong, &pixels), 0);
    }

    #[test]
    fn no_image_is_told_by_what_was_learnt_from_its_own_part() {
        let (shown, pixels) = digits(200);
        let mut sums = Sums::new();
        for i in (0..200).step_by(PARTS) {
            sums.learn(i, &shown[i..=i], &pixels[i * PIXELS..][..PIXELS]);
        }
        // Of the 40 that were learnt, those 4 may be told right that show what is said of an image when nothing is known.
        assert!((160..=164).contains(&sums.tell_right(&shown, &pixels)));
    }
}
