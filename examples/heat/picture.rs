//! A picture of the plate.

use std::{error, fs::File, io::BufWriter, path::Path};

/// The longest side of the picture, in pixels.
const SIDE: usize = 1024;

/// From cold to warm: black, violet, red, orange, light yellow, evenly ever lighter so that it reads in grey too.
const COLOURS: [[f64; 3]; 6] = [
    [0.0, 0.0, 4.0],
    [66.0, 10.0, 104.0],
    [147.0, 38.0, 103.0],
    [221.0, 81.0, 58.0],
    [252.0, 165.0, 10.0],
    [252.0, 255.0, 164.0],
];

/// Opens the file for the picture: better to hear before the work that it cannot be written. An old picture stays.
pub(crate) fn open(path: &Path) -> Result<File, String> {
    let file = File::options().write(true).create(true).truncate(false).open(path);
    file.map_err(|e| format!("{}: {e}", path.display()))
}

/// Draws temperatures from 0 to 1, `size` rows of as many, as a PNG file.
pub(crate) fn write(file: File, field: &[f64], size: usize) -> Result<(), Box<dyn error::Error>> {
    let side = size.min(SIDE);
    let points = |pixel: usize| pixel * size / side..(pixel + 1) * size / side;
    let mut pixels = Vec::with_capacity(side * side * 3);
    for y in 0..side {
        for x in 0..side {
            let mut sum = 0.0;
            for row in points(y) {
                sum += field[row * size..][points(x)].iter().sum::<f64>();
            }
            pixels.extend(colour(sum / (points(y).len() * points(x).len()) as f64));
        }
    }
    file.set_len(0)?;
    let mut encoder = png::Encoder::new(BufWriter::new(file), side as u32, side as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&pixels)?;
    Ok(writer.finish()?)
}

/// The colour of a temperature.
fn colour(temperature: f64) -> [u8; 3] {
    let place = temperature.clamp(0.0, 1.0) * (COLOURS.len() - 1) as f64;
    let below = (place as usize).min(COLOURS.len() - 2);
    let share = place - below as f64;
    let mix = |i: usize| COLOURS[below][i] * (1.0 - share) + COLOURS[below + 1][i] * share;
    [0, 1, 2].map(|i| mix(i).round() as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_meet_their_stops() {
        assert_eq!(colour(0.0), [0, 0, 4]);
        assert_eq!(colour(0.2), [66, 10, 104]);
        assert_eq!([colour(1.0), colour(7.0)], [[252, 255, 164]; 2]);
        assert_eq!(colour(0.1), [33, 5, 54]);
    }
}
