//! The command line.

use std::{ffi::OsString, path::PathBuf};

use lexopt::{Arg::Long, Arg::Short, Error, Parser, ValueExt};
use shmkit::{StartMethod, process};

pub(crate) const HELP: &str = "\
Simulates how heat spreads over a plate: first with one process, then with several on shared memory, each of which
changes its own rows. Both results are compared bit by bit.

Usage: cargo run --release --example heat -- [OPTIONS]

Options:
    --size <N>              points along each side of the plate [default: 2048]
    --steps <N>             steps to simulate [default: 1000]
    --processes <N>         processes that share the rows [default: one for each core, but at least 2]
    --start-method <NAME>   how processes are started: spawn or fork [default: spawn]
    --kill-one              kill one of them in the middle, half-way through its rows: the others end with an error that
                            says who died, and so does the program, with exit code 1
    --restart               go on with a new process when one has died, from the last step that was complete
    --output <FILE>         where to draw the plate [default: heat.png]
    -h, --help              this text";

/// What the user wants.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) size: usize,
    pub(crate) steps: u64,
    pub(crate) processes: usize,
    pub(crate) start_method: StartMethod,
    pub(crate) kill_one: bool,
    pub(crate) restart: bool,
    pub(crate) output: PathBuf,
}

impl Options {
    /// Reads the arguments after the program's name; `None` if the user asks for help.
    pub(crate) fn parse(arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Result<Option<Self>, Error> {
        let mut options = Self {
            size: 2048,
            steps: 1000,
            processes: process::cpu_count().max(2),
            start_method: StartMethod::Spawn,
            kill_one: false,
            restart: false,
            output: "heat.png".into(),
        };
        let mut parser = Parser::from_args(arguments);
        while let Some(argument) = parser.next()? {
            match argument {
                Long("size") => options.size = number(&mut parser, 3, 30_000)?,
                Long("steps") => options.steps = number(&mut parser, 1, 1_000_000_000)? as u64,
                Long("processes") => options.processes = number(&mut parser, 1, 1024)?,
                Long("start-method") => {
                    options.start_method = parser.value()?.parse_with(|name| match name {
                        "spawn" => Ok(StartMethod::Spawn),
                        "fork" => Ok(StartMethod::Fork),
                        _ => Err("expected spawn or fork"),
                    })?;
                }
                Long("kill-one") => options.kill_one = true,
                Long("restart") => options.restart = true,
                Long("output") => options.output = parser.value()?.into(),
                Short('h') | Long("help") => return Ok(None),
                _ => return Err(argument.unexpected()),
            }
        }
        if options.processes > options.size - 2 {
            return Err("more processes than rows inside the plate".into());
        }
        Ok(Some(options))
    }
}

fn number(parser: &mut Parser, least: usize, most: usize) -> Result<usize, Error> {
    parser.value()?.parse_with(|text| match text.parse() {
        Ok(n) if (least..=most).contains(&n) => Ok(n),
        _ => Err(format!("expected a number from {least} to {most}")),
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
        let line = "--size=64 --steps 7 --processes 3 --start-method fork --kill-one --restart --output b.png";
        let options = parse(line).unwrap().unwrap();
        assert_eq!((options.size, options.steps, options.processes), (64, 7, 3));
        assert_eq!(options.start_method, StartMethod::Fork);
        assert!(options.kill_one && options.restart && options.output.to_str() == Some("b.png"));
        assert!(parse("--help").unwrap().is_none());
        let default = parse("").unwrap().unwrap();
        assert!(!default.kill_one && !default.restart && default.processes >= 2);
    }

    #[test]
    fn wrong_options_are_refused() {
        for (line, word) in [
            ("--processes 0", "from 1 to 1024"),
            ("--size 2", "from 3 to 30000"),
            ("--size 4 --processes 3", "more processes than rows"),
            ("--steps x", "from 1 to"),
            ("--start-method thread", "spawn or fork"),
            ("more", "more"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(word), "{line}: {error}");
        }
    }
}
