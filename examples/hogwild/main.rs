//! Several processes train one model at once, without locks, on weights in shared memory: Hogwild! stochastic gradient
//! descent (Recht, Ré, Wright and Niu, 2011). The model reads handwritten digits.
//!
//! ```text
//! cargo run --release --example hogwild
//! ```
//!
//! Start reading in `worker.rs` (what each process does) and `training.rs` (what their parent does).

mod chart;
mod dataset;
#[path = "../shared/digits.rs"]
mod digits;
#[path = "../shared/explain.rs"]
mod explain;
mod image;
mod network;
mod options;
#[path = "../shared/progress.rs"]
mod progress;
mod random;
mod training;
mod worker;

use std::{env, error::Error, process::ExitCode};

use explain::explain;
use options::{HELP, Options};
use progress::Progress;
use training::Run;
use worker::Plan;

/// The share of unseen digits that the model should take for the right ones, and by far does.
const AIM: f64 = 0.96;

fn main() -> ExitCode {
    shmkit::init();
    match Options::parse(env::args_os().skip(1))
        .map_err(Into::into)
        .and_then(|options| options.map_or_else(help, train))
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hogwild: {}", explain(&*error));
            ExitCode::FAILURE
        }
    }
}

fn help() -> Result<(), Box<dyn Error>> {
    println!("{HELP}");
    Ok(())
}

fn train(options: Options) -> Result<(), Box<dyn Error>> {
    let (train, test) = dataset::split(dataset::read(&options.data)?, options.seed);
    let picture = chart::open(&options.output)?;
    let Options { epochs, seed, start_method, .. } = options;
    println!("handwritten digits: {} to train on, {} others to test with", train.len(), test.len());
    println!("weights: {}, shared by all processes, without a lock", network::WEIGHTS);
    println!("epochs: {epochs}, seed: {seed}, start method: {start_method:?}\n");
    println!("processes   accuracy   time per epoch   samples/s    speed");
    let mut runs: Vec<Run> = Vec::new();
    for processes in options.process_counts() {
        let mut progress = Progress::new(format!("training with {processes} of {}", options.processes));
        let plan = Plan { processes, epochs, seed };
        let run = training::run((&train, &test), plan, start_method, |done| progress.show(done))?;
        drop(progress);
        println!(
            "{processes:9}   {:6.2} %   {:11.2} ms   {:9.0}   {:5.2}x",
            100.0 * run.reached(),
            1e3 * run.seconds / epochs as f64,
            run.samples_per_second(),
            run.samples_per_second() / runs.first().unwrap_or(&run).samples_per_second()
        );
        runs.push(run);
    }

    let worst = runs.iter().map(Run::reached).fold(1.0, f64::min);
    let verdict = if worst > AIM { "passed" } else { "missed" };
    println!("\n{verdict} {:.0} %: the least accurate model reached {:.2} %", 100.0 * AIM, 100.0 * worst);
    chart::write(picture, &runs, AIM).map_err(|e| format!("{}: {e}", options.output.display()))?;
    println!("accuracy over time: {}", options.output.display());
    Ok(())
}
