//! The command line.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use lexopt::{Arg::Long, Arg::Short, Error, Parser, ValueExt};
use shmkit::{StartMethod, process};

/// More than any machine has use for; a typing error should not start a million processes.
const MOST_PROCESSES: usize = 1024;

pub(crate) const HELP: &str = "\
Trains one classifier of handwritten digits with several processes at once, without locks (Hogwild!), on weights in
shared memory: first with one process, then with twice as many each time, up to --processes.

Usage: cargo run --release --example hogwild -- [OPTIONS]

Options:
    --processes <N>         the most processes to train with [default: one for each core]
    --epochs <N>            how often each sample is trained on [default: 500]
    --start-method <NAME>   how processes are started: spawn or fork [default: spawn]
    --seed <N>              another seed: another split, other weights to start from [default: 1]
    --data <FILE>           digits as CSV, plain or gzip: 64 pixels from 0 to 16, then the class
                            [default: examples/data/digits.csv.gz of the crate]
    --output <FILE>         where to draw the accuracy over time [default: hogwild.png]
    -h, --help              this text";

/// What the user wants.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) processes: usize,
    pub(crate) epochs: usize,
    pub(crate) start_method: StartMethod,
    pub(crate) seed: u64,
    pub(crate) data: PathBuf,
    pub(crate) output: PathBuf,
}

impl Options {
    /// Reads the arguments after the program's name; `None` if the user asks for help.
    pub(crate) fn parse(arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Result<Option<Self>, Error> {
        let mut options = Self {
            processes: process::cpu_count().min(MOST_PROCESSES),
            epochs: 500,
            start_method: StartMethod::Spawn,
            seed: 1,
            data: Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/digits.csv.gz"),
            output: "hogwild.png".into(),
        };
        let mut parser = Parser::from_args(arguments);
        while let Some(argument) = parser.next()? {
            match argument {
                Long("processes") => options.processes = number(&mut parser, MOST_PROCESSES)?,
                Long("epochs") => options.epochs = number(&mut parser, 1_000_000)?,
                Long("start-method") => options.start_method = parser.value()?.parse_with(start_method)?,
                Long("seed") => options.seed = parser.value()?.parse()?,
                Long("data") => options.data = parser.value()?.into(),
                Long("output") => options.output = parser.value()?.into(),
                Short('h') | Long("help") => return Ok(None),
                _ => return Err(argument.unexpected()),
            }
        }
        Ok(Some(options))
    }

    /// The numbers of processes to train with: 1, 2, 4 and so on, and at last all.
    pub(crate) fn process_counts(&self) -> Vec<usize> {
        let doubled = (0..).map(|power| 1 << power).take_while(|&n| n < self.processes);
        doubled.chain([self.processes]).collect()
    }
}

fn number(parser: &mut Parser, most: usize) -> Result<usize, Error> {
    parser.value()?.parse_with(|text| match text.parse() {
        Ok(n) if (1..=most).contains(&n) => Ok(n),
        _ => Err(format!("expected a number from 1 to {most}")),
    })
}

fn start_method(name: &str) -> Result<StartMethod, &'static str> {
    match name {
        "spawn" => Ok(StartMethod::Spawn),
        "fork" => Ok(StartMethod::Fork),
        _ => Err("expected spawn or fork"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Option<Options>, String> {
        Options::parse(line.split_whitespace()).map_err(|e| e.to_string())
    }

    #[test]
    fn options_are_read() {
        let options = parse("--processes=3 --epochs 7 --start-method fork --seed 9 --data a.csv --output b.png")
            .unwrap()
            .unwrap();
        assert_eq!((options.processes, options.epochs, options.seed), (3, 7, 9));
        assert_eq!(options.start_method, StartMethod::Fork);
        assert_eq!((options.data, options.output), ("a.csv".into(), "b.png".into()));
        assert!(parse("").unwrap().unwrap().data.is_file());
        assert!(parse("--epochs 7 --help").unwrap().is_none());
    }

    #[test]
    fn wrong_options_are_refused() {
        for (line, word) in [
            ("--processes 0", "from 1 to 1024"),
            ("--processes 1025", "from 1 to 1024"),
            ("--epochs -1", "from 1 to 1000000"),
            ("--start-method thread", "spawn or fork"),
            ("--seed x", "invalid digit"),
            ("--data", "missing argument"),
            ("--verbose", "--verbose"),
            ("more", "more"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(word), "{line}: {error}");
        }
    }

    #[test]
    fn process_counts_double_up_to_all() {
        for (processes, counts) in [(1, &[1][..]), (2, &[1, 2]), (6, &[1, 2, 4, 6]), (8, &[1, 2, 4, 8])] {
            let options = Options { processes, ..parse("").unwrap().unwrap() };
            assert_eq!(options.process_counts(), counts);
        }
    }
}
