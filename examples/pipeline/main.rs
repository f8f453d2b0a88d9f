//! A pipeline of three stages, several processes each, that learns to read handwritten digits: parse the lines of a file,
//! set the images upright, and sum up how they look. Between the stages are queues. The images themselves stay where they
//! are in shared memory: tickets for them go from queue to queue.
//!
//! ```text
//! cargo run --release --example pipeline
//! cargo run --release --example pipeline -- --kill-one
//! ```
//!
//! Start reading in `worker.rs` (what each process does) and `family.rs` (what their parent does).

mod alone;
#[path = "../shared/digits.rs"]
mod digits;
#[path = "../shared/explain.rs"]
mod explain;
mod family;
mod image;
mod model;
mod options;
#[path = "../shared/progress.rs"]
mod progress;
mod source;
mod worker;

use std::{env, error::Error, process::ExitCode, time::Instant};

use explain::explain;
use family::Done;
use options::{HELP, Options};
use progress::Progress;
use source::Source;

fn main() -> ExitCode {
    shmkit::init();
    let options = Options::parse(env::args_os().skip(1)).map_err(Into::into);
    match options.and_then(|options| options.map_or_else(help, learn)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pipeline: {}", explain(&*error));
            ExitCode::FAILURE
        }
    }
}

fn help() -> Result<(), Box<dyn Error>> {
    println!("{HELP}");
    Ok(())
}

fn learn(options: Options) -> Result<(), Box<dyn Error>> {
    let Options { workers, passes, block, .. } = options;
    let in_file = |reason: String| format!("{}: {reason}", options.data.display());
    let source = Source::read(&options.data, passes, block).map_err(|e| in_file(e.to_string()))?;
    println!("digits: {}, passes: {passes}, blocks: {}", source.lines, source.block_count());

    let mut progress = Progress::new("one process".into());
    let began = Instant::now();
    let alone = alone::learn(&source, |done| progress.show(done)).map_err(in_file)?;
    let alone_seconds = began.elapsed().as_secs_f64();
    drop(progress);
    println!("one process, private memory: {alone_seconds:.2} s");

    let mut progress = Progress::new(format!("three stages of {workers}"));
    let run = family::run(&source, &options, |done| progress.show(done));
    drop(progress);
    let run = run?;
    let times = alone_seconds / run.seconds;
    println!("three stages of {workers}, by queues: {:.2} s, {times:.2} times as fast\n", run.seconds);
    print(&run.stages, workers);

    if run.sums != alone {
        return Err("the processes have learnt something else than the one".into());
    }
    println!("both have learnt the same, to the last bit");
    let (digits, pixels) = alone::upright(&source.whole()).map_err(in_file)?;
    let right = run.sums.tell_right(&digits, &pixels);
    let share = 100.0 * right as f64 / source.lines as f64;
    println!("told right, each by what was learnt from others: {right} of {} digits, {share:.2} %", source.lines);
    Ok(())
}

/// A line for each stage: how much went through, and how much of the time its workers had something in their hands.
fn print(stages: &[Done], workers: usize) {
    println!("stage            images/s       MB/s     busy");
    for Done { stage, work, seconds } in stages {
        let (images, bytes) = (work.images as f64 / seconds, work.bytes as f64 / seconds / 1e6);
        let busy = 100.0 * work.busy.as_secs_f64() / seconds / workers as f64;
        println!("{:14} {images:10.0} {bytes:10.1} {busy:6.0} %", stage.to_string());
    }
    println!();
}
