//! The command line.

use std::path::PathBuf;

use lexopt::{Arg, Parser, ValueExt};

pub(crate) const HELP: &str = "\
Measures shmkit against its peers: the same workloads, in interleaved rounds, each figure checked.

    cargo run --release --manifest-path benches/peers/Cargo.toml -- [OPTIONS]

    --only <WORDS>      cases whose name has one of these words, separated by commas; may be repeated
    --list              what there is, and nothing is run
    --quick             one short round of each, to see that all works: its figures say nothing
    --rounds <N>        so many rounds, in place of 9 (5 and 3 where processes are killed)
    --merge             keeps the samples of the last run for the cases that are not run now
    --report            only writes report and plots anew, from the samples of the last run
    --output <FOLDER>   where they go [default: target/peers in the crate's folder]
    --help
";

#[derive(Debug, Default, PartialEq)]
pub(crate) struct Options {
    pub(crate) only: Vec<String>,
    pub(crate) list: bool,
    pub(crate) quick: bool,
    pub(crate) rounds: Option<usize>,
    pub(crate) merge: bool,
    pub(crate) report: bool,
    pub(crate) output: Option<PathBuf>,
    pub(crate) help: bool,
}

impl Options {
    pub(crate) fn parse(mut parser: Parser) -> Result<Self, lexopt::Error> {
        let mut options = Self::default();
        while let Some(arg) = parser.next()? {
            match arg {
                Arg::Long("only") => {
                    let words = parser.value()?.string()?;
                    options.only.extend(words.split(',').filter(|word| !word.is_empty()).map(str::to_owned));
                }
                Arg::Long("list") => options.list = true,
                Arg::Long("quick") => options.quick = true,
                Arg::Long("rounds") => {
                    options.rounds = Some(parser.value()?.parse_with(|text| match text.parse() {
                        Ok(0) | Err(_) => Err("a number from 1 on"),
                        Ok(rounds) => Ok(rounds),
                    })?)
                }
                Arg::Long("merge") => options.merge = true,
                Arg::Long("report") => options.report = true,
                Arg::Long("output") => options.output = Some(parser.value()?.into()),
                Arg::Long("help") | Arg::Short('h') => options.help = true,
                other => return Err(other.unexpected()),
            }
        }
        Ok(options)
    }

    /// Whether a case of this name is wanted.
    pub(crate) fn wants(&self, id: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|word| id.contains(word.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, lexopt::Error> {
        Options::parse(Parser::from_args(line.split_whitespace()))
    }

    #[test]
    fn all_options() {
        let options = parse("--only lock,queue/ --only pool --quick --rounds 3 --merge --output there").expect("right");
        assert_eq!(options.only, ["lock", "queue/", "pool"]);
        assert!(options.quick && options.merge && !options.report && !options.list);
        assert_eq!((options.rounds, options.output), (Some(3), Some("there".into())));
    }

    #[test]
    fn what_is_wanted() {
        let options = parse("--only lock,2p2c").expect("right");
        assert!(options.wants("lock/contended 2") && options.wants("queue/1 B, 2p2c") && !options.wants("pool/map"));
        assert!(Options::default().wants("anything"));
    }

    #[test]
    fn what_is_wrong() {
        assert!(parse("--rounds 0").is_err() && parse("--nonsense").is_err() && parse("stray").is_err());
    }
}
