//! shmkit against its peers: see `README.md`.

mod cli;
mod peers;
mod plan;
mod plot;
mod record;
mod report;
mod sample;
#[path = "../../support/shared.rs"]
mod shared;
#[path = "../../support/spinning_ring.rs"]
mod spinning_ring;
mod stats;
mod team;
mod workloads;

use std::{
    env,
    error::Error,
    fs,
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use cli::{HELP, Options};
use indicatif::{ProgressBar, ProgressStyle};
use plan::{Case, cases};
use record::{Machine, Record, Run};
use sample::{SAMPLE, Scratch, Setup, take};

fn main() -> ExitCode {
    peers::std::idle();
    shmkit::init();
    procspawn::init();
    let args: Vec<_> = env::args().skip(1).collect();
    if let [word, case, subject, setup] = &args[..]
        && word == SAMPLE
    {
        sample::serve(case, subject, setup, &cases());
    }
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let options = Options::parse(lexopt::Parser::from_env())?;
    if options.help {
        print!("{HELP}");
        return Ok(());
    }
    let cases = cases();
    let wanted: Vec<_> = cases.iter().filter(|case| options.wants(&case.id)).collect();
    if wanted.is_empty() {
        return Err("no case has such a name; --list shows them".into());
    }
    if options.list {
        for case in wanted {
            println!("{:<34} {}", case.id, case.about);
            case.subjects.iter().for_each(|subject| println!("    {}", subject.name));
        }
        return Ok(());
    }
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/peers");
    let folder = options.output.clone().unwrap_or_else(default);
    fs::create_dir_all(&folder)?;
    let folder = fs::canonicalize(folder)?;
    let samples = folder.join("samples.json");
    let mut record = if options.merge || options.report { Record::load(&samples)? } else { Record::default() };
    if !options.report {
        record.machine = Machine::this();
        let begin = Instant::now();
        let runs = measure(&wanted, &options)?;
        record.replace(runs);
        record.save(&samples)?;
        println!("measured in {} s", begin.elapsed().as_secs());
    }
    write(&cases, &record, &folder)
}

/// Report and plots.
fn write(cases: &[Case], record: &Record, folder: &Path) -> Result<(), Box<dyn Error>> {
    let plots = plot::write(cases, record, folder)?;
    fs::write(folder.join("report.md"), report::write(cases, record, &plots)?)?;
    for case in cases.iter().filter(|case| !case.is_death()) {
        for (name, ratio) in report::ahead(case, record) {
            println!("ahead of shmkit in {}: {name}, {} of its time", case.id, report::number(ratio));
        }
    }
    for run in &record.runs {
        if let Some(reason) = &run.broken {
            println!("broken in {}: {}: {reason}", run.case, run.subject);
        }
    }
    println!("{}", folder.join("report.md").display());
    Ok(())
}

/// Takes all samples: round by round, so that what disturbs the machine disturbs all subjects of a case.
fn measure(cases: &[&Case], options: &Options) -> Result<Vec<Run>, Box<dyn Error>> {
    let scratch = Scratch::new()?;
    sample::end_on_interrupt();
    let turns = turns_of_100_ns();
    let rounds = |case: &Case| match options.rounds {
        _ if options.quick => 1,
        Some(rounds) => rounds,
        None => case.rounds(),
    };
    let all: usize =
        cases.iter().map(|case| case.subjects.iter().map(|subject| of(subject, rounds(case))).sum::<usize>()).sum();
    let bar = ProgressBar::new(all as u64);
    bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len}, {eta} left, {msg}")?);
    let mut done = Vec::new();
    for case in cases {
        let setup = Setup { quick: options.quick, turns, ..case.setup };
        let setup = if options.quick { Setup { size: setup.size.min(1 << 16), ..setup } } else { setup };
        let new =
            |subject: &plan::Subject| Run { case: case.id.clone(), subject: subject.name.into(), ..Run::default() };
        let mut runs: Vec<Run> = case.subjects.iter().map(new).collect();
        for round in 0..rounds(case) {
            for (subject, run) in case.subjects.iter().zip(&mut runs) {
                if round < of(subject, rounds(case)) {
                    bar.set_message(format!("{}: {}", case.id, subject.name));
                    if run.goes_on() {
                        run.add(take(case, subject, &setup, &scratch));
                    }
                    if sample::is_interrupted() {
                        bar.abandon();
                        return Err("interrupted".into());
                    }
                    bar.inc(1);
                }
            }
        }
        done.extend(runs);
    }
    bar.finish_and_clear();
    Ok(done)
}

/// The rounds of a subject, of so many of its case.
fn of(subject: &plan::Subject, rounds: usize) -> usize {
    subject.rounds.map_or(rounds, |most| most.min(rounds))
}

/// How many turns of the busy loop take 100 ns, when nothing disturbs it.
fn turns_of_100_ns() -> u32 {
    const PROBE: u32 = 100_000;
    let time = |_| {
        let begin = Instant::now();
        workloads::busy(PROBE);
        begin.elapsed()
    };
    let best = (0..50).map(time).min().unwrap_or(Duration::from_nanos(1));
    (f64::from(PROBE) * 100.0 / best.as_nanos() as f64).round() as u32
}
