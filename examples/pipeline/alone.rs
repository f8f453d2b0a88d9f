//! One process, private memory: what the pipeline is compared with.

use crate::{
    digits::PIXELS,
    image,
    model::Sums,
    source::{Lines, Source},
};

/// Learns from all images; or says what is wrong in which line.
pub(crate) fn learn(source: &Source, mut progress: impl FnMut(f64)) -> Result<Sums, String> {
    let mut sums = Sums::new();
    for lines in source.blocks() {
        let (digits, pixels) = upright(&lines)?;
        sums.learn(lines.first, &digits, &pixels);
        progress((lines.block + 1) as f64 / source.block_count() as f64);
    }
    Ok(sums)
}

/// What some lines show, and their images, straightened.
pub(crate) fn upright(lines: &Lines) -> Result<(Vec<u8>, Vec<f32>), String> {
    let mut pixels = vec![0.0; lines.count() * PIXELS];
    let digits = image::parse(lines, &mut pixels)?;
    image::straighten_all(&mut pixels);
    Ok((digits, pixels))
}
