//! The lines of a file of handwritten digits: 64 pixels, then the class.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::Path,
};

use flate2::read::MultiGzDecoder;

/// The pixels of an image: 8 rows of 8.
pub(crate) const PIXELS: usize = 64;
/// The digits 0 to 9.
pub(crate) const CLASSES: usize = 10;
/// The blackest pixel.
pub(crate) const BLACK: u8 = 16;
/// The fields of a line: the pixels, then the class.
pub(crate) const FIELDS: usize = PIXELS + 1;

/// Opens a file, compressed by gzip or plain.
pub(crate) fn open(path: &Path) -> io::Result<Box<dyn BufRead>> {
    let mut file = BufReader::new(File::open(path)?);
    let gzipped = file.fill_buf()?.starts_with(b"\x1f\x8b") || path.extension().is_some_and(|e| e == "gz");
    Ok(if gzipped { Box::new(BufReader::new(MultiGzDecoder::new(file))) } else { Box::new(file) })
}

/// The fields of a line: pixels from 0 (white) to 16, then the digit; or what is wrong with it.
pub(crate) fn parse_line(line: &str) -> Result<[u8; FIELDS], String> {
    let found = line.split(',').count();
    if found != FIELDS {
        return Err(format!("expected {FIELDS} fields ({PIXELS} pixels and a class), found {found}"));
    }
    let mut fields = [0; FIELDS];
    for (i, (field, out)) in line.split(',').zip(&mut fields).enumerate() {
        let number: i64 = field.trim().parse().map_err(|_| format!("field {}: {field:?} is not a number", i + 1))?;
        let (name, most) = if i < PIXELS { ("pixel", BLACK) } else { ("class", CLASSES as u8 - 1) };
        *out = u8::try_from(number)
            .ok()
            .filter(|&n| n <= most)
            .ok_or_else(|| format!("field {}: {name} {number} is not from 0 to {most}", i + 1))?;
    }
    Ok(fields)
}
