//! The command line.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use lexopt::{Arg::Long, Arg::Short, Error, Parser, ValueExt};
use shmkit::{StartMethod, process};

/// Each queue has room for as many processes as three stages of these, and their parent.
const MOST_WORKERS: usize = 64;

pub(crate) const HELP: &str = "\
Learns to read handwritten digits in a pipeline of three stages, each of several processes, with queues between them:
parse the lines of a file, set the images upright, and learn how they look. First the same is done by one process alone,
and both results are compared bit by bit.

Usage: cargo run --release --example pipeline -- [OPTIONS]

Options:
    --workers <N>           processes of each stage [default: one for each core]
    --passes <N>            how often the file goes through [default: 200]
    --block <N>             lines that travel at a time [default: 512]
    --start-method <NAME>   how processes are started: spawn or fork [default: spawn]
    --kill-one              kill one process in the middle, with a block in its hands: the program ends with an error that
                            says who died, and exit code 1
    --data <FILE>           digits as CSV, plain or gzip: 64 pixels from 0 to 16, then the class
                            [default: examples/data/digits.csv.gz of the crate]
    -h, --help              this text";

/// What the user wants.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) workers: usize,
    pub(crate) passes: usize,
    pub(crate) block: usize,
    pub(crate) start_method: StartMethod,
    pub(crate) kill_one: bool,
    pub(crate) data: PathBuf,
}

impl Options {
    /// Reads the arguments after the program's name; `None` if the user asks for help.
    pub(crate) fn parse(arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Result<Option<Self>, Error> {
        let mut options = Self {
            workers: process::cpu_count().min(MOST_WORKERS),
            passes: 200,
            block: 512,
            start_method: StartMethod::Spawn,
            kill_one: false,
            data: Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/digits.csv.gz"),
        };
        let mut parser = Parser::from_args(arguments);
        while let Some(argument) = parser.next()? {
            match argument {
                Long("workers") => options.workers = number(&mut parser, MOST_WORKERS)?,
                Long("passes") => options.passes = number(&mut parser, 1_000_000)?,
                Long("block") => options.block = number(&mut parser, 4096)?,
                Long("start-method") => {
                    options.start_method = parser.value()?.parse_with(|name| match name {
                        "spawn" => Ok(StartMethod::Spawn),
                        "fork" => Ok(StartMethod::Fork),
                        _ => Err("expected spawn or fork"),
                    })?;
                }
                Long("kill-one") => options.kill_one = true,
                Long("data") => options.data = parser.value()?.into(),
                Short('h') | Long("help") => return Ok(None),
                _ => return Err(argument.unexpected()),
            }
        }
        Ok(Some(options))
    }
}

fn number(parser: &mut Parser, most: usize) -> Result<usize, Error> {
    parser.value()?.parse_with(|text| match text.parse() {
        Ok(n) if (1..=most).contains(&n) => Ok(n),
        _ => Err(format!("expected a number from 1 to {most}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Option<Options>, String> {
        Options::parse(line.split_whitespace()).map_err(|e| e.to_string())
    }

    #[test]
    fn options_are_read() {
        let line = "--workers=3 --passes 7 --block 10 --start-method fork --kill-one --data a.csv";
        let options = parse(line).unwrap().unwrap();
        assert_eq!((options.workers, options.passes, options.block), (3, 7, 10));
        assert_eq!((options.start_method, options.kill_one), (StartMethod::Fork, true));
        assert_eq!(options.data.to_str(), Some("a.csv"));
        assert!(parse("--passes 7 --help").unwrap().is_none());
        let default = parse("").unwrap().unwrap();
        assert!(!default.kill_one && default.data.is_file());
    }

    #[test]
    fn wrong_options_are_refused() {
        for (line, word) in [
            ("--workers 0", "from 1 to 64"),
            ("--workers 65", "from 1 to 64"),
            ("--block 5000", "from 1 to 4096"),
            ("--passes -1", "from 1 to"),
            ("--start-method thread", "spawn or fork"),
            ("--data", "missing argument"),
            ("more", "more"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(word), "{line}: {error}");
        }
    }
}
