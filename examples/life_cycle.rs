//! The life of a process: its states, the ways from one to the next, and what each end of it looks like.
//!
//! ```text
//! cargo run --example life_cycle
//! ```
//!
//! prints
//!
//! ```text
//! new: a builder, and nothing runs
//! Running: it computes
//! Blocked: it waits for an event
//! Stopped: by SIGSTOP
//! Blocked: again, by SIGCONT
//! Terminated: it has returned 42
//!
//! the process                    join says                      how it ended
//! returns a value                value 7                        exit code 0
//! returns an error               error: no more to read         exit code 1
//! panics                         panic: out of range            exit code 101
//! exits                          no result                      exit code 3
//! is asked to end                no result                      signal 15 (SIGTERM)
//! is killed                      no result                      signal 9 (SIGKILL)
//! is shut down                   no result                      signal 15 (SIGTERM)
//! is shut down, but stopped      no result                      signal 9 (SIGKILL)
//! ```

use std::{
    hint::spin_loop,
    sync::atomic::Ordering::Relaxed,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use shmkit::{AtomicValue, Error, Event, Process, Result, process::State};

fn main() -> Result<()> {
    shmkit::init();
    states()?;
    println!();
    ends()
}

fn compute_and_wait(may_wait: AtomicValue<bool>, go: Event) -> Result<u32> {
    while !may_wait.load(Relaxed) {
        spin_loop();
    }
    go.wait()?;
    Ok(42)
}

fn states() -> Result<()> {
    let (may_wait, go) = (AtomicValue::new(false)?, Event::new()?);
    let builder = Process::builder(compute_and_wait).args((may_wait.clone(), go.clone()));
    println!("new: a builder, and nothing runs");

    let process = builder.start()?;
    show(&process, State::Running, "it computes")?;
    may_wait.store(true, Relaxed);
    show(&process, State::Blocked, "it waits for an event")?;
    signal(&process, Signal::STOP);
    show(&process, State::Stopped, "by SIGSTOP")?;
    signal(&process, Signal::CONT);
    show(&process, State::Blocked, "again, by SIGCONT")?;
    go.set();
    let value = process.join()?;
    show(&process, State::Terminated, &format!("it has returned {value}"))
}

fn show(process: &Process<u32>, state: State, why: &str) -> Result<()> {
    until(process, state)?;
    println!("{state:?}: {why}");
    Ok(())
}

/// Waits until the process is in this state.
fn until(process: &Process<u32>, state: State) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(30);
    while process.state() != state {
        if Instant::now() > deadline {
            return Err(Error::TimedOut);
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn signal(process: &Process<u32>, signal: Signal) {
    let pid = i32::try_from(process.pid()).ok().and_then(Pid::from_raw).expect("the id of a process");
    kill_process(pid, signal).expect("a child that was not joined is there");
}

fn act(what: String) -> Result<u32, &'static str> {
    match &*what {
        "returns a value" => Ok(7),
        "returns an error" => Err("no more to read"),
        "panics" => panic!("out of range"),
        "exits" => std::process::exit(3),
        _ => loop {
            thread::park();
        },
    }
}

/// What brings a process to its end.
type End = dyn Fn(&Process<u32>) -> Result<()>;

fn ends() -> Result<()> {
    const GRACE: Duration = Duration::from_millis(100);
    let by_itself = |_: &Process<u32>| Ok(());
    let ends: [(&str, &End); 8] = [
        ("returns a value", &by_itself),
        ("returns an error", &by_itself),
        ("panics", &by_itself),
        ("exits", &by_itself),
        ("is asked to end", &|process| process.terminate()),
        ("is killed", &|process| process.kill()),
        // Asks, and then kills whoever has not ended in time.
        ("is shut down", &|process| process.shutdown(Duration::from_secs(30)).map(drop)),
        ("is shut down, but stopped", &|process| {
            signal(process, Signal::STOP);
            until(process, State::Stopped)?;
            process.shutdown(GRACE).map(drop)
        }),
    ];
    println!("{:31}{:31}how it ended", "the process", "join says");
    for (what, end) in ends {
        let process = Process::spawn(act, (what.to_owned(),))?;
        end(&process)?;
        let said = match process.join() {
            Ok(value) => format!("value {value}"),
            Err(Error::Failed { message }) => format!("error: {message}"),
            Err(Error::Panicked { message, .. }) => format!("panic: {message}"),
            Err(Error::ChildDied { .. }) => "no result".into(),
            Err(other) => return Err(other),
        };
        let status = process.exit_status().map_or_else(String::new, |status| status.to_string());
        println!("{what:31}{said:31}{status}");
    }
    Ok(())
}
