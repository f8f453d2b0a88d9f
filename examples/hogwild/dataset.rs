//! Handwritten digits from a CSV file, and what can be wrong with it.

use std::{
    error, fmt,
    io::BufRead,
    path::{Path, PathBuf},
};

use crate::{
    digits::{self, FIELDS, PIXELS},
    random::Random,
};

/// The fewest images that can be split into four fifths to train on and one to test with.
const FEWEST: usize = 5;

/// An image and the digit that it shows, as they stand in a line of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sample(pub(crate) [u8; FIELDS]);

impl Sample {
    /// The 64 pixels, row by row, from 0 (white) to 16.
    pub(crate) fn pixels(&self) -> &[u8; PIXELS] {
        self.0.first_chunk().expect("a sample has more fields than pixels")
    }

    /// The digit.
    pub(crate) fn class(&self) -> usize {
        self.0[PIXELS].into()
    }
}

/// A file that cannot be used: which, where, and why.
#[derive(Debug)]
pub(crate) struct Error {
    path: PathBuf,
    line: Option<usize>,
    reason: String,
}

impl error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.reason)
    }
}

/// Reads a file of samples, compressed by gzip or plain.
pub(crate) fn read(path: &Path) -> Result<Vec<Sample>, Error> {
    let at = |line, reason| Error { path: path.to_owned(), line, reason };
    let samples = digits::open(path)
        .map_err(|e| at(None, e.to_string()))
        .and_then(|input| parse(input).map_err(|(line, reason)| at(Some(line), reason)))?;
    match samples.len() {
        0 => Err(at(None, "the file is empty".into())),
        n if n < FEWEST => Err(at(None, format!("{FEWEST} or more samples are needed, found {n}"))),
        _ => Ok(samples),
    }
}

/// Shuffles the samples and splits off a fifth that training never sees: `(train, test)`.
pub(crate) fn split(mut samples: Vec<Sample>, seed: u64) -> (Vec<Sample>, Vec<Sample>) {
    Random::new(seed).shuffle(&mut samples);
    let test = samples.split_off(samples.len() - samples.len() / 5);
    (samples, test)
}

fn parse(input: impl BufRead) -> Result<Vec<Sample>, (usize, String)> {
    input
        .lines()
        .zip(1..)
        .map(|(line, number)| {
            let line = line.map_err(|e| (number, e.to_string()))?;
            digits::parse_line(&line).map(Sample).map_err(|reason| (number, reason))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::{env, fs, io::Write, process};

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn line(class: &str) -> String {
        format!("{}{class}", "7,".repeat(PIXELS))
    }

    fn gzip(text: &str) -> Vec<u8> {
        let mut gz = GzEncoder::new(Vec::new(), Compression::default());
        gz.write_all(text.as_bytes()).unwrap();
        gz.finish().unwrap()
    }

    /// Reads `bytes` as a file called `name`; the error is without the folder.
    fn read_bytes(name: &str, bytes: &[u8]) -> Result<Vec<Sample>, String> {
        let folder = env::temp_dir().join(format!("hogwild-{}-{name}", process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join(name);
        fs::write(&path, bytes).unwrap();
        let samples = read(&path).map_err(|e| e.to_string().replace(&format!("{}/", folder.display()), ""));
        fs::remove_dir_all(&folder).unwrap();
        samples
    }

    #[test]
    fn the_digits_are_whole() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/digits.csv.gz");
        let samples = read(&path).unwrap();
        assert_eq!(samples.len(), 1797);
        let (train, test) = split(samples.clone(), 1);
        assert_eq!((train.len(), test.len()), (1438, 359));
        assert_ne!(train, split(samples, 2).0);
    }

    #[test]
    fn plain_and_gzipped_files_are_read() {
        let text = format!("{}\r\n", line("9")).repeat(5);
        for (name, bytes) in [("plain.csv", text.clone().into_bytes()), ("packed.csv.gz", gzip(&text))] {
            let samples = read_bytes(name, &bytes).unwrap();
            assert_eq!((samples.len(), samples[4].class(), samples[4].pixels()), (5, 9, &[7; PIXELS]), "{name}");
        }
    }

    #[test]
    fn wrong_lines_are_named() {
        let good = line("3");
        for (name, bad, expected) in [
            ("few.csv", "1,2,3", "few.csv:2: expected 65 fields (64 pixels and a class), found 3"),
            ("many.csv", &line("3,3"), "many.csv:2: expected 65 fields (64 pixels and a class), found 66"),
            ("blank.csv", "", "blank.csv:2: expected 65 fields (64 pixels and a class), found 1"),
            ("word.csv", &line("three"), "word.csv:2: field 65: \"three\" is not a number"),
            ("class.csv", &line("10"), "class.csv:2: field 65: class 10 is not from 0 to 9"),
            ("pixel.csv", &good.replacen('7', "17", 1), "pixel.csv:2: field 1: pixel 17 is not from 0 to 16"),
            ("minus.csv", &good.replacen('7', "-1", 1), "minus.csv:2: field 1: pixel -1 is not from 0 to 16"),
        ] {
            let text = format!("{good}\n{bad}\n{good}\n");
            assert_eq!(read_bytes(name, text.as_bytes()).unwrap_err(), expected);
        }
        let binary = [good.as_bytes(), b"\n\xff\xfe\n"].concat();
        assert_eq!(read_bytes("binary.csv", &binary).unwrap_err(), "binary.csv:2: stream did not contain valid UTF-8");
    }

    #[test]
    fn wrong_files_are_named() {
        let text = format!("{}\n", line("3")).repeat(500);
        let packed = gzip(&text);
        let broken = [&packed[..packed.len() - 8], b"checksum"].concat();
        for (name, bytes, expected) in [
            ("empty.csv", &b""[..], "empty.csv: the file is empty"),
            ("empty.csv.gz", &gzip(""), "empty.csv.gz: the file is empty"),
            ("short.csv", line("3").as_bytes(), "short.csv: 5 or more samples are needed, found 1"),
            ("cut.csv.gz", &packed[..packed.len() / 2], "cut.csv.gz:"),
            ("broken.csv.gz", &broken, "broken.csv.gz:"),
            ("no.csv.gz", text.as_bytes(), "no.csv.gz:1: invalid gzip header"),
        ] {
            let error = read_bytes(name, bytes).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
        assert_eq!(
            read(Path::new("/nowhere/digits.csv")).unwrap_err().to_string(),
            "/nowhere/digits.csv: No such file or directory (os error 2)"
        );
    }
}
