//! One sample of one subject: a process of its own, in a group of its own, which is ended as a whole when it is late.
//!
//! So a peer that hangs or crashes spoils nothing but its own sample, and whatever it started goes with it.

#![expect(unsafe_code, reason = "makes a group of processes, and ends it")]

use std::{
    env, fs,
    io::Read,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    sync::atomic::{AtomicBool, AtomicI32, Ordering::SeqCst},
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::{
    plan::{Case, Subject},
    team::{die_with, pin},
};

/// What a subject is told about the sample that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Setup {
    /// Workers, or pairs of them.
    pub(crate) processes: usize,
    /// Bytes of a message, or elements of an array.
    pub(crate) size: usize,
    /// Whether there is work inside what is measured (under the lock).
    pub(crate) works: bool,
    /// Whether only a trifle is wanted, to see that all works.
    pub(crate) quick: bool,
    /// Turns of a busy loop that take 100 ns.
    pub(crate) turns: u32,
}

impl Setup {
    pub(crate) const ONE: Self = Self { processes: 1, size: 0, works: false, quick: false, turns: 0 };

    /// How long a sample is to take.
    pub(crate) fn window(&self) -> Duration {
        Duration::from_millis(if self.quick { 4 } else { 50 })
    }
}

/// What a sample has found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Outcome {
    /// Seconds for each operation.
    Time(f64),
    /// The same, and what the slowest worker did as a part of its fair share.
    Fair { seconds: f64, least: f64 },
    /// What a death led to, and after how many seconds; `None` is never.
    Death { verdict: String, seconds: Option<f64> },
    /// The peer cannot do this, or is not there: why.
    LeftOut(String),
    /// It did wrong, crashed or hung.
    Broken(String),
}

/// What a subject returns. An error says why it is left out.
pub(crate) type Measured = Result<Outcome, String>;

/// As many operations as take about as long as a sample is to take: `run` does that many, and says how long they took.
/// What it does before is to warm up.
pub(crate) fn calibrated(setup: &Setup, first: u64, mut run: impl FnMut(u64) -> Duration) -> Outcome {
    let wanted = setup.window();
    let mut operations = first;
    loop {
        let time = run(operations).max(Duration::from_nanos(1));
        if time >= wanted.mul_f64(0.4) || operations >= 1 << 40 {
            return Outcome::Time(time.as_secs_f64() / operations as f64);
        }
        let missing = wanted.as_secs_f64() / time.as_secs_f64();
        operations = (operations as f64 * missing.clamp(2.0, 64.0)).ceil() as u64;
    }
}

/// As [`calibrated`], of a loop in this thread, on one core.
pub(crate) fn looped<R>(setup: &Setup, mut operation: impl FnMut() -> R) -> Outcome {
    pin(0);
    calibrated(setup, 1, |operations| {
        let begin = Instant::now();
        for _ in 0..operations {
            std::hint::black_box(operation());
        }
        begin.elapsed()
    })
}

/// How the command line of a sample begins.
pub(crate) const SAMPLE: &str = "--sample";

/// How the names begin of all that samples leave in folders; the id of the runner follows.
pub(crate) const PREFIX: &str = "shmkit_peers_";

const RUNNER: &str = "SHMKIT_PEERS_RUNNER";

/// A name that no other process uses, and that the runner removes if need be.
pub(crate) fn name(what: &str) -> String {
    let runner = env::var(RUNNER).unwrap_or_else(|_| process::id().to_string());
    format!("{PREFIX}{runner}_{}_{what}", process::id())
}

/// The group of processes that is at work, for whoever ends the runner. 0 if none is.
static AT_WORK: AtomicI32 = AtomicI32::new(0);

/// Ends what is at work.
pub(crate) fn end_all() {
    let group = AT_WORK.load(SeqCst);
    if group > 0 {
        // SAFETY: takes numbers; the group is that of a child that is not yet waited for.
        unsafe { libc::kill(-group, libc::SIGKILL) };
    }
}

static IS_INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Whether a signal has asked the runner to end.
pub(crate) fn is_interrupted() -> bool {
    IS_INTERRUPTED.load(SeqCst)
}

extern "C" fn interrupted(_: libc::c_int) {
    IS_INTERRUPTED.store(true, SeqCst);
    end_all();
}

/// From now on signals that ask for an end stop the sample that is at work, and the runner tidies up after it.
pub(crate) fn end_on_interrupt() {
    let handler: extern "C" fn(libc::c_int) = interrupted;
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the handler stores to atomics and calls `kill`, both of which a handler may.
        unsafe { libc::signal(signal, handler as *const () as libc::sighandler_t) };
    }
}

/// Where samples keep their files, for as long as this lives.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> std::io::Result<Self> {
        let folder = env::temp_dir().join(format!("{PREFIX}{}", process::id()));
        fs::create_dir_all(&folder)?;
        sweep(|pid| !Path::new("/proc").join(pid.to_string()).exists());
        Ok(Self(folder))
    }
}

impl Scratch {
    /// An empty folder in the place of this one.
    fn renew(&self) {
        // An error shows in the next sample.
        _ = fs::create_dir_all(&self.0);
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        end_all();
        sweep(|pid| pid == process::id());
    }
}

/// Removes what these runners left, wherever it is.
fn sweep(is_wanted: impl Fn(u32) -> bool) {
    let folders = [env::temp_dir(), PathBuf::from("/dev/shm")];
    for file in folders.into_iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten() {
        let name = file.file_name();
        let pid = name.to_str().and_then(|name| name.split_once(PREFIX)?.1.split('_').next()?.parse().ok());
        if pid.is_some_and(&is_wanted) {
            let path = file.path();
            // Gone already, if another run does the same.
            _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        }
    }
}

/// Takes a sample, in a process of its own.
pub(crate) fn take(case: &Case, subject: &Subject, setup: &Setup, scratch: &Scratch) -> Outcome {
    let limit = Duration::from_secs(if setup.quick { 60 } else { 30 });
    let setup = serde_json::to_string(setup).expect("numbers");
    let mut command = Command::new("/proc/self/exe");
    command
        .args([SAMPLE, &case.id, subject.name, &setup])
        .env("TMPDIR", &scratch.0)
        .env(RUNNER, process::id().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let outcome = match command.spawn() {
        Ok(child) => watch(child, limit),
        Err(error) => return Outcome::Broken(error.to_string()),
    };
    // What it could not remove itself, for it was killed, or never does.
    sweep(|pid| pid == process::id());
    scratch.renew();
    outcome
}

fn watch(mut child: Child, limit: Duration) -> Outcome {
    let group = child.id().cast_signed();
    AT_WORK.store(group, SeqCst);
    let deadline = Instant::now() + limit;
    let is_late = loop {
        if has_ended(group) {
            break false;
        }
        if Instant::now() >= deadline {
            break true;
        }
        thread::sleep(Duration::from_millis(1));
    };
    // What it left running goes too, before its id can be another one's.
    end_all();
    AT_WORK.store(0, SeqCst);
    let status = child.wait();
    let [mut said, mut complained] = [String::new(), String::new()];
    // All writers are gone.
    child.stdout.take().map(|mut pipe| pipe.read_to_string(&mut said));
    child.stderr.take().map(|mut pipe| pipe.read_to_string(&mut complained));
    if is_late {
        return Outcome::Broken(format!("no end after {} s", limit.as_secs()));
    }
    match said.lines().last().and_then(|line| serde_json::from_str(line).ok()) {
        Some(outcome) => outcome,
        None => Outcome::Broken(match first_complaint(&complained) {
            Some(line) => line.to_owned(),
            None => status.map_or_else(|error| error.to_string(), |status| status.to_string()),
        }),
    }
}

/// What a panic says, without where; else the last line.
fn first_complaint(complained: &str) -> Option<&str> {
    let mut lines = complained.lines().map(str::trim).filter(|line| !line.is_empty());
    let at = complained.lines().position(|line| line.contains("panicked at"));
    at.and_then(|at| complained.lines().nth(at + 1)).or_else(|| lines.next_back())
}

/// Whether a child has ended, without waiting for it: its id stays its own.
fn has_ended(pid: i32) -> bool {
    // SAFETY: plain numbers, for which zero is valid.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let how = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: writes what it is given.
    let result = unsafe { libc::waitid(libc::P_PID, pid.cast_unsigned(), &raw mut info, how) };
    // SAFETY: written by `waitid`, or zero.
    result != 0 || unsafe { info.si_pid() } != 0
}

/// What the process of a sample does.
pub(crate) fn serve(case: &str, subject: &str, setup: &str, cases: &[Case]) -> ! {
    // Not before: the children of a subject may outlive the thread that starts them.
    if let Some(runner) = env::var(RUNNER).ok().and_then(|pid| pid.parse().ok()) {
        die_with(runner);
    }
    let setup: Setup = serde_json::from_str(setup).expect("a setup");
    let case = cases.iter().find(|known| known.id == case).expect("a case");
    let subject = case.subjects.iter().find(|known| known.name == subject).expect("a subject");
    let outcome = (subject.measure)(&setup).unwrap_or_else(Outcome::LeftOut);
    println!("{}", serde_json::to_string(&outcome).expect("text"));
    process::exit(0)
}
