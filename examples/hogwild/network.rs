//! A classifier of two layers: 64 pixels, 128 hidden units (ReLU), softmax over the 10 digits.

use crate::{
    dataset::Sample,
    digits::{CLASSES, PIXELS},
    image::{self, Image},
    random::Random,
};

/// The hidden units.
pub(crate) const HIDDEN: usize = 128;
/// All weights, in one row: pixels to hidden units, their biases, hidden units to classes, their biases.
pub(crate) const WEIGHTS: usize = (PIXELS + 1) * HIDDEN + (HIDDEN + 1) * CLASSES;

/// Where the first three parts of the row end, each counted from the end of the one before.
const SIZES: [usize; 3] = [PIXELS * HIDDEN, HIDDEN, HIDDEN * CLASSES];
const MATCH: &str = "WEIGHTS is the sum of the layers";

/// The parts of a row of weights (or of their gradient).
struct Layers<'a> {
    hidden: &'a [[f32; HIDDEN]; PIXELS],
    hidden_bias: &'a [f32; HIDDEN],
    output: &'a [[f32; CLASSES]; HIDDEN],
    output_bias: &'a [f32; CLASSES],
}

impl<'a> Layers<'a> {
    fn of(weights: &'a [f32]) -> Self {
        let (hidden, rest) = weights.split_at(SIZES[0]);
        let (hidden_bias, rest) = rest.split_at(SIZES[1]);
        let (output, output_bias) = rest.split_at(SIZES[2]);
        Self {
            hidden: hidden.as_chunks().0.try_into().expect(MATCH),
            hidden_bias: hidden_bias.try_into().expect(MATCH),
            output: output.as_chunks().0.try_into().expect(MATCH),
            output_bias: output_bias.try_into().expect(MATCH),
        }
    }
}

/// [`Layers`] to write to.
struct LayersMut<'a> {
    hidden: &'a mut [[f32; HIDDEN]; PIXELS],
    hidden_bias: &'a mut [f32; HIDDEN],
    output: &'a mut [[f32; CLASSES]; HIDDEN],
    output_bias: &'a mut [f32; CLASSES],
}

impl<'a> LayersMut<'a> {
    fn of(weights: &'a mut [f32]) -> Self {
        let (hidden, rest) = weights.split_at_mut(SIZES[0]);
        let (hidden_bias, rest) = rest.split_at_mut(SIZES[1]);
        let (output, output_bias) = rest.split_at_mut(SIZES[2]);
        Self {
            hidden: hidden.as_chunks_mut().0.try_into().expect(MATCH),
            hidden_bias: hidden_bias.try_into().expect(MATCH),
            output: output.as_chunks_mut().0.try_into().expect(MATCH),
            output_bias: output_bias.try_into().expect(MATCH),
        }
    }
}

/// Random weights to start from (He et al., *Delving deep into rectifiers*, 2015); biases are 0.
pub(crate) fn initial_weights(seed: u64) -> Vec<f32> {
    let mut random = Random::stream(seed, 1);
    let mut weights = vec![0.0; WEIGHTS];
    let layers = LayersMut::of(&mut weights);
    for (layer, inputs) in [(layers.hidden.as_flattened_mut(), PIXELS), (layers.output.as_flattened_mut(), HIDDEN)] {
        let most = (6.0 / inputs as f32).sqrt();
        layer.fill_with(|| random.signed() * most);
    }
    weights
}

/// Adds to `gradient` how the loss (cross-entropy) at one image changes with each weight.
pub(crate) fn add_gradient(weights: &[f32], image: &Image, class: usize, gradient: &mut [f32]) {
    let (layers, gradient) = (Layers::of(weights), LayersMut::of(gradient));
    let hidden = layers.hidden_units(image);
    let mut error = softmax(layers.scores(&hidden));
    error[class] -= 1.0;

    let mut back = [0.0; HIDDEN];
    for (h, &unit) in hidden.iter().enumerate() {
        if unit > 0.0 {
            back[h] = layers.output[h].iter().zip(&error).map(|(w, e)| w * e).sum();
            add_scaled(&mut gradient.output[h], unit, &error);
        }
    }
    add_scaled(gradient.output_bias, 1.0, &error);
    add_scaled(gradient.hidden_bias, 1.0, &back);
    for (row, &pixel) in gradient.hidden.iter_mut().zip(image) {
        if pixel != 0.0 {
            add_scaled(row, pixel, &back);
        }
    }
}

/// The share of the samples that the network takes for the right digit, from 0 to 1.
pub(crate) fn accuracy(weights: &[f32], samples: &[Sample]) -> f64 {
    let layers = Layers::of(weights);
    let right = samples.iter().filter(|s| {
        let scores = layers.scores(&layers.hidden_units(&image::of(s)));
        (0..CLASSES).max_by(|&a, &b| scores[a].total_cmp(&scores[b])) == Some(s.class())
    });
    right.count() as f64 / samples.len() as f64
}

impl Layers<'_> {
    fn hidden_units(&self, image: &Image) -> [f32; HIDDEN] {
        let mut units = *self.hidden_bias;
        for (row, &pixel) in self.hidden.iter().zip(image) {
            if pixel != 0.0 {
                add_scaled(&mut units, pixel, row);
            }
        }
        units.map(|u| u.max(0.0))
    }

    fn scores(&self, hidden: &[f32; HIDDEN]) -> [f32; CLASSES] {
        let mut scores = *self.output_bias;
        for (row, &unit) in self.output.iter().zip(hidden) {
            add_scaled(&mut scores, unit, row);
        }
        scores
    }
}

fn softmax(scores: [f32; CLASSES]) -> [f32; CLASSES] {
    let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers = scores.map(|s| (s - most).exp());
    let sum: f32 = powers.iter().sum();
    powers.map(|p| p / sum)
}

fn add_scaled<const N: usize>(sum: &mut [f32; N], factor: f32, row: &[f32; N]) {
    for (s, r) in sum.iter_mut().zip(row) {
        *s += factor * r;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loss(weights: &[f32], image: &Image, class: usize) -> f32 {
        let layers = Layers::of(weights);
        -softmax(layers.scores(&layers.hidden_units(image)))[class].ln()
    }

    #[test]
    fn the_gradient_is_the_slope_of_the_loss() {
        let mut random = Random::new(7);
        let mut weights = initial_weights(7);
        let image = std::array::from_fn(|_| random.signed().max(0.0));
        let mut gradient = vec![0.0; WEIGHTS];
        add_gradient(&weights, &image, 3, &mut gradient);
        const STEP: f32 = 1e-2;
        for i in (0..WEIGHTS).step_by(97).chain(WEIGHTS - CLASSES..WEIGHTS) {
            let old = weights[i];
            weights[i] = old + STEP;
            let above = loss(&weights, &image, 3);
            weights[i] = old - STEP;
            let below = loss(&weights, &image, 3);
            weights[i] = old;
            let slope = (above - below) / (2.0 * STEP);
            assert!((slope - gradient[i]).abs() < 2e-3, "weight {i}: {slope} measured, {} computed", gradient[i]);
        }
    }
}
