//! Heat that spreads over a plate: the two-dimensional heat equation on one grid in shared memory, of which each process
//! changes its own rows, in safe Rust. A barrier ends each step.
//!
//! ```text
//! cargo run --release --example heat
//! cargo run --release --example heat -- --kill-one
//! cargo run --release --example heat -- --kill-one --restart
//! ```
//!
//! Start reading in `worker.rs` (what each process does) and `family.rs` (what their parent does).

mod family;
mod options;
mod picture;
mod plate;
#[path = "../shared/progress.rs"]
mod progress;
mod worker;

use std::{env, error::Error, process::ExitCode, time::Instant};

use options::{HELP, Options};
use progress::Progress;

fn main() -> ExitCode {
    shmkit::init();
    let options = Options::parse(env::args_os().skip(1)).map_err(Into::into);
    match options.and_then(|options| options.map_or_else(help, simulate)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("heat: {error}");
            ExitCode::FAILURE
        }
    }
}

fn help() -> Result<(), Box<dyn Error>> {
    println!("{HELP}");
    Ok(())
}

fn simulate(options: Options) -> Result<(), Box<dyn Error>> {
    let picture = picture::open(&options.output)?;
    let Options { size, steps, processes, .. } = options;
    println!("a plate of {size} x {size} points, {steps} steps");
    let start = plate::start(size);

    let mut progress = Progress::new("one process".into());
    let began = Instant::now();
    let alone = plate::simulate(&start, size, steps, |done| progress.show(done));
    let alone_seconds = began.elapsed().as_secs_f64();
    drop(progress);
    println!("one process, private memory:  {alone_seconds:.2} s");

    let mut progress = Progress::new(format!("{processes} processes"));
    let run = family::run(&start, &options, |done| progress.show(done));
    drop(progress);
    let run = run?;
    let s = if processes == 1 { ",  " } else { "es," };
    println!(
        "{processes} process{s} shared memory: {:.2} s, {:.2} times as fast",
        run.seconds,
        alone_seconds / run.seconds
    );
    if let Some(kill) = &run.kill {
        println!("killed: {kill}; a new process went on from the last step that was complete");
    }

    let different = alone.iter().zip(&run.field).filter(|(one, other)| one.to_bits() != other.to_bits()).count();
    if different > 0 {
        return Err(format!("{different} of {} points differ from those of the one process", alone.len()).into());
    }
    println!("both results are equal to the last bit");
    picture::write(picture, &run.field, size).map_err(|e| format!("{}: {e}", options.output.display()))?;
    println!("the plate: {}", options.output.display());
    Ok(())
}
