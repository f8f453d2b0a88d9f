//! Subjects that do the same thing, timed in interleaved runs (A B C A B C ...), so that what disturbs the machine
//! disturbs all of them, and judged by the ratios of their medians.

#![allow(dead_code, reason = "part of every bench, none of which uses all of it")]

use std::{
    env, fs,
    hint::black_box,
    thread,
    time::{Duration, Instant},
};

use criterion::{BenchmarkId, Criterion};

/// Whether this is `cargo bench`, not a test run that only asks whether all of it works.
pub(crate) fn in_earnest() -> bool {
    env::args().any(|arg| arg == "--bench")
}

/// Whether the command line leaves this title in.
fn is_wanted(title: &str) -> bool {
    let mut filters = env::args().skip(1).filter(|arg| !arg.starts_with('-')).peekable();
    filters.peek().is_none() || filters.any(|filter| title.contains(&filter))
}

/// Criterion, with runs that are short enough for all benches in a few minutes. Says what the machine was like.
pub(crate) fn criterion() -> Criterion {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("unknown");
    println!("{cores} cores, load average {load}: contended runs mean little unless it is near 0");
    Criterion::default()
        .sample_size(15)
        .warm_up_time(Duration::from_millis(150))
        .measurement_time(Duration::from_millis(600))
        .configure_from_args()
}

/// What a number means.
#[derive(Clone, Copy)]
pub(crate) enum Unit {
    Nanoseconds,
    Microseconds,
    Milliseconds,
    /// Operations in a microsecond.
    PerMicrosecond,
    /// Operations in a millisecond.
    PerMillisecond,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::Nanoseconds => "ns",
            Self::Microseconds => "us",
            Self::Milliseconds => "ms",
            Self::PerMicrosecond => "ops/us",
            Self::PerMillisecond => "ops/ms",
        }
    }

    fn of(self, seconds: f64) -> f64 {
        match self {
            Self::Nanoseconds => seconds * 1e9,
            Self::Microseconds => seconds * 1e6,
            Self::Milliseconds => seconds * 1e3,
            Self::PerMicrosecond => 1e-6 / seconds,
            Self::PerMillisecond => 1e-3 / seconds,
        }
    }

    /// Whether more is better.
    fn is_rate(self) -> bool {
        matches!(self, Self::PerMicrosecond | Self::PerMillisecond)
    }

    /// The better one of two.
    fn best(self, a: f64, b: f64) -> f64 {
        if self.is_rate() { a.max(b) } else { a.min(b) }
    }
}

/// One run: so many operations took so long. `note` is whatever else is worth a column.
pub(crate) struct Run {
    pub(crate) operations: u64,
    pub(crate) time: Duration,
    pub(crate) note: f64,
}

type Sample<'a> = Box<dyn FnMut(u64) -> Run + 'a>;

struct Subject<'a> {
    name: String,
    sample: Sample<'a>,
    /// How many operations make one run.
    operations: u64,
}

/// An aim: `of` against the best of `against`, or against a number.
struct Goal {
    of: &'static str,
    against: Vec<&'static str>,
    bound: f64,
}

/// Subjects to be compared.
pub(crate) struct Comparison<'a> {
    title: &'static str,
    unit: Unit,
    subjects: Vec<Subject<'a>>,
    goals: Vec<Goal>,
    rounds: usize,
    note: Option<&'static str>,
}

impl<'a> Comparison<'a> {
    pub(crate) fn new(title: &'static str, unit: Unit) -> Self {
        Self { title, unit, subjects: Vec::new(), goals: Vec::new(), rounds: 15, note: None }
    }

    pub(crate) fn rounds(mut self, rounds: usize) -> Self {
        self.rounds = rounds;
        self
    }

    /// The heading of a column for the runs' notes.
    pub(crate) fn note(mut self, heading: &'static str) -> Self {
        self.note = Some(heading);
        self
    }

    /// A subject whose one operation is `operation`.
    pub(crate) fn time<R>(self, name: &str, mut operation: impl FnMut() -> R + 'a) -> Self {
        self.custom(name, move |operations| {
            let start = Instant::now();
            for _ in 0..operations {
                black_box(operation());
            }
            Run { operations, time: start.elapsed(), note: 0.0 }
        })
    }

    /// A subject that times itself, for as many operations as it is told, or as it sees fit.
    pub(crate) fn custom(mut self, name: &str, sample: impl FnMut(u64) -> Run + 'a) -> Self {
        self.subjects.push(Subject { name: name.to_owned(), sample: Box::new(sample), operations: 1 });
        self
    }

    /// Aims at: the median of `of` is at most `bound` times the best median of `against` (at least, for rates).
    pub(crate) fn goal(mut self, of: &'static str, bound: f64, against: &[&'static str]) -> Self {
        self.goals.push(Goal { of, against: against.to_vec(), bound });
        self
    }

    /// Aims at: the median of `of` is at most `bound`.
    pub(crate) fn goal_alone(self, of: &'static str, bound: f64) -> Self {
        self.goal(of, bound, &[])
    }

    /// Runs every subject under criterion, which remembers its last results.
    pub(crate) fn criterion(mut self, criterion: &mut Criterion) -> Self {
        let mut group = criterion.benchmark_group(self.title);
        for subject in &mut self.subjects {
            group.bench_function(BenchmarkId::from_parameter(&subject.name), |bencher| {
                bencher.iter_custom(|operations| (subject.sample)(operations).time);
            });
        }
        group.finish();
        self
    }

    /// Runs all in turns, and prints medians, spreads and ratios to the best, then the goals.
    pub(crate) fn table(mut self) {
        if !is_wanted(self.title) {
            return;
        }
        let rounds = if in_earnest() { self.rounds } else { 1 };
        if in_earnest() {
            self.subjects.iter_mut().for_each(Subject::calibrate);
        }
        let mut values = vec![Vec::with_capacity(rounds); self.subjects.len()];
        let mut notes = values.clone();
        for _ in 0..rounds {
            for (i, subject) in self.subjects.iter_mut().enumerate() {
                let run = (subject.sample)(subject.operations);
                values[i].push(self.unit.of(run.time.as_secs_f64() / run.operations as f64));
                notes[i].push(run.note);
            }
        }
        values.iter_mut().chain(&mut notes).for_each(|values| values.sort_by(f64::total_cmp));
        self.print(rounds, &values, &notes);
    }

    fn print(&self, rounds: usize, values: &[Vec<f64>], notes: &[Vec<f64>]) {
        let best = values.iter().map(|values| median(values)).reduce(|a, b| self.unit.best(a, b)).unwrap_or(f64::NAN);
        println!("\n{} ({}, {rounds} interleaved runs)", self.title, self.unit.name());
        let note = self.note.unwrap_or("");
        println!("  {:<34}{:>10} {:>10} {:>10} {:>8} {note:>14}", "", "median", "quarter", "3 quarters", "/ best");
        for ((subject, values), notes) in self.subjects.iter().zip(values).zip(notes) {
            let (low, high) = (values[values.len() / 4], values[values.len() * 3 / 4]);
            let middle = median(values);
            print!("  {:<34}{middle:>10.2} {low:>10.2} {high:>10.2} {:>8.2}", subject.name, middle / best);
            if self.note.is_some() {
                print!(" {:>14.2}", median(notes));
            }
            println!();
        }
        // One run of unoptimised code says nothing.
        if in_earnest() {
            self.goals.iter().for_each(|goal| self.judge(goal, values));
        }
    }

    fn judge(&self, goal: &Goal, values: &[Vec<f64>]) {
        let of = |name: &str| {
            let i = self.subjects.iter().position(|subject| subject.name == name).expect("a goal names its subjects");
            median(&values[i])
        };
        let against = goal.against.iter().map(|name| of(name)).reduce(|a, b| self.unit.best(a, b));
        let value = of(goal.of) / against.unwrap_or(1.0);
        let (relation, met) = match self.unit.is_rate() {
            true => ("at least", value >= goal.bound),
            false => ("at most", value <= goal.bound),
        };
        let measure = match against {
            Some(_) if goal.against.len() > 1 => format!("times the best of {}", goal.against.join(", ")),
            Some(_) => format!("times {}", goal.against[0]),
            None => self.unit.name().to_owned(),
        };
        let verdict = if met { "met" } else { "MISSED" };
        println!("  goal: {} {relation} {} {measure}: {value:.2}, {verdict}", goal.of, goal.bound);
    }
}

impl Subject<'_> {
    /// Finds how many operations take some 10 ms, for subjects that do as they are told.
    fn calibrate(&mut self) {
        const LONG: Duration = Duration::from_millis(10);
        loop {
            let run = (self.sample)(self.operations);
            if run.time >= LONG || run.operations != self.operations {
                return;
            }
            let missing = LONG.as_secs_f64() / run.time.as_secs_f64().max(1e-9);
            self.operations = (self.operations as f64 * missing.clamp(1.5, 100.0)).ceil() as u64;
        }
    }
}

fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}
