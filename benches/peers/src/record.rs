//! What was found, as it is kept in `samples.json`.

use std::{fs, io, path::Path, process::Command};

use serde::{Deserialize, Serialize};

use crate::{plan::Case, sample::Outcome, stats::Spread, team::cores};

/// Where all of it was measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    pub(crate) libc: String,
    pub(crate) python: String,
    /// Of the last minute, when the run began: figures of a busy machine mean little.
    pub(crate) load: String,
}

impl Machine {
    pub(crate) fn this() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let first_word = |text: String| text.split_whitespace().next().unwrap_or_default().to_owned();
        let said = |program: &str, arg: &str| {
            let output = Command::new(program).arg(arg).output().map(|output| output.stdout).unwrap_or_default();
            String::from_utf8_lossy(&output).lines().next().unwrap_or_default().trim().to_owned()
        };
        let processors = read("/proc/cpuinfo");
        let model = processors.lines().find(|line| line.starts_with("model name"));
        Self {
            processor: model
                .and_then(|line| line.split_once(':'))
                .map(|(_, name)| name.trim().into())
                .unwrap_or_default(),
            cores: cores(),
            kernel: first_word(read("/proc/sys/kernel/osrelease")),
            libc: said("getconf", "GNU_LIBC_VERSION"),
            python: said("python3", "--version"),
            load: first_word(read("/proc/loadavg")),
        }
    }
}

/// All samples of one subject in one case.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) case: String,
    pub(crate) subject: String,
    /// Seconds for each operation; `None` is never.
    pub(crate) seconds: Vec<Option<f64>>,
    /// What the slowest worker did, as a part of its fair share.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) least: Vec<f64>,
    /// What a death led to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) verdicts: Vec<String>,
    /// Why there are no samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) left_out: Option<String>,
    /// What went wrong, in whichever round.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) broken: Option<String>,
}

impl Run {
    pub(crate) fn add(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Time(seconds) => self.seconds.push(Some(seconds)),
            Outcome::Fair { seconds, least } => {
                self.seconds.push(Some(seconds));
                self.least.push(least);
            }
            Outcome::Death { verdict, seconds } => {
                self.seconds.push(seconds);
                self.verdicts.push(verdict);
            }
            Outcome::LeftOut(reason) => self.left_out = Some(reason),
            Outcome::Broken(reason) => self.broken = Some(reason),
        }
    }

    /// Whether another round would tell anything: not if it is left out or broken, and two times never is never.
    pub(crate) fn goes_on(&self) -> bool {
        self.left_out.is_none()
            && self.broken.is_none()
            && self.seconds.iter().filter(|seconds| seconds.is_none()).count() < 2
    }

    /// Of what has gone well: a broken peer is not fast.
    pub(crate) fn spread(&self) -> Option<Spread> {
        if self.broken.is_some() {
            return None;
        }
        Spread::of(&self.seconds.iter().map(|seconds| seconds.unwrap_or(f64::INFINITY)).collect::<Vec<_>>())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) machine: Machine,
    pub(crate) runs: Vec<Run>,
}

impl Record {
    pub(crate) fn load(path: &Path) -> io::Result<Self> {
        Ok(serde_json::from_slice(&fs::read(path)?)?)
    }

    pub(crate) fn save(&self, path: &Path) -> io::Result<()> {
        fs::write(path, serde_json::to_string_pretty(self)? + "\n")
    }

    /// Takes the place of what is known of the same cases.
    pub(crate) fn replace(&mut self, runs: Vec<Run>) {
        self.runs.retain(|old| runs.iter().all(|new| new.case != old.case));
        self.runs.extend(runs);
    }

    pub(crate) fn of(&self, case: &Case, subject: &str) -> Option<&Run> {
        self.runs.iter().find(|run| run.case == case.id && run.subject == subject)
    }

    /// The median of the subject that others are compared with.
    pub(crate) fn reference(&self, case: &Case) -> Option<f64> {
        Some(self.of(case, case.reference().name)?.spread()?.median)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(case: &str, outcomes: Vec<Outcome>) -> Run {
        let mut run = Run { case: case.into(), subject: "it".into(), ..Run::default() };
        outcomes.into_iter().for_each(|outcome| run.add(outcome));
        run
    }

    #[test]
    fn what_is_broken_is_not_fast() {
        let run = run("a", vec![Outcome::Time(1e-9), Outcome::Broken("lost".into())]);
        assert!(!run.goes_on());
        assert_eq!(run.spread(), None);
    }

    #[test]
    fn never_twice_is_enough() {
        let never = || Outcome::Death { verdict: "hangs".into(), seconds: None };
        assert!(run("a", vec![never()]).goes_on());
        let run = run("a", vec![never(), never()]);
        assert!(!run.goes_on());
        assert_eq!(run.spread().map(|spread| spread.median), Some(f64::INFINITY));
    }

    #[test]
    fn it_is_read_as_it_was_written() {
        let never = Outcome::Death { verdict: "hangs".into(), seconds: None };
        let mut record = Record { machine: Machine::this(), runs: vec![run("a", vec![Outcome::Time(0.5), never])] };
        let text = serde_json::to_string(&record).expect("text");
        assert_eq!(serde_json::from_str::<Record>(&text).expect("a record"), record);
        record.replace(vec![run("b", vec![Outcome::Time(2.0)]), run("a", vec![Outcome::Time(1.0)])]);
        assert_eq!(record.runs.len(), 2);
    }
}
