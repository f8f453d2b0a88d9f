//! Starts that come to a limit, or find the system without what they need, by every start method: each works or says why
//! not, and the next one works again.
#![expect(unsafe_code, reason = "changes the user, the limits and the mounts of a process")]

mod alone;
mod scratch;

use std::{
    collections::BTreeSet,
    env, fs,
    os::fd::AsRawFd,
    path::Path,
    process::{Command, id},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use shmkit::{
    Error, Pool, Process, Result, Value,
    process::{self, ExitStatus, StartMethod, State},
};

/// Longer than any wait that succeeds.
const LONG: Duration = Duration::from_secs(50);

fn main() {
    shmkit::init();
    if env::args().nth(1).as_deref() == Some(ELSEWHERE) {
        return starts_of_another_executable();
    }
    alone::run(&[
        ("no_descriptors_left", || METHODS.into_iter().for_each(no_descriptors_left)),
        ("no_descriptors_for_a_pool", || METHODS.into_iter().for_each(no_descriptors_for_a_pool)),
        ("no_descriptor_for_a_result", || METHODS.into_iter().for_each(no_descriptor_for_a_result)),
        ("no_processes_left", || METHODS.into_iter().for_each(no_processes_left)),
        ("no_processes_for_a_pool", || METHODS.into_iter().for_each(no_processes_for_a_pool)),
        ("without_proc", || METHODS.into_iter().for_each(without_proc)),
        ("a_state_without_proc", || METHODS.into_iter().for_each(a_state_without_proc)),
        ("the_executable_is_gone", || executable_becomes(|path| fs::remove_file(path).unwrap())),
        ("the_executable_is_another", || executable_becomes(replace)),
    ]);
}

const METHODS: [StartMethod; 3] = [StartMethod::Spawn, StartMethod::Fork, StartMethod::ForkServer];

fn joined<T>(process: &Process<T>) -> Result<T> {
    match process.join_timeout(LONG)? {
        Some(value) => Ok(value),
        None => {
            process.kill()?;
            panic!("{process:?} has not ended");
        }
    }
}

/// In a copy of this process, whose limits and mounts are nobody else's.
fn apart(run: impl FnOnce()) {
    joined(&Process::fork(run).unwrap()).unwrap();
}

fn start(method: StartMethod, value: &Value<u64>) -> Result<Process<u64>> {
    let add = |value: Value<u64>| value.update(|x| x + 1);
    Process::builder(add).args((value.clone(),)).daemon(false).start_method(method).start()
}

/// The children of this process that the crate does not show: its server.
fn servers() -> BTreeSet<u32> {
    let seen: BTreeSet<_> = process::active_children().iter().map(|child| child.pid()).collect();
    // Of each thread, which may end meanwhile.
    let threads = fs::read_dir("/proc/self/task").unwrap().map(|thread| thread.unwrap().path().join("children"));
    let lists: Vec<_> = threads.filter_map(|list| fs::read_to_string(list).ok()).collect();
    let pids = lists.iter().flat_map(|list| list.split_ascii_whitespace());
    pids.map(|pid| pid.parse().unwrap()).filter(|pid| !seen.contains(pid)).collect()
}

/// Ends the server, and waits until that was noticed.
fn end_server() {
    for server in servers() {
        // SAFETY: takes numbers. A child that was not waited for.
        unsafe { libc::kill(server as i32, libc::SIGKILL) };
    }
    let end = Instant::now() + LONG;
    while !servers().is_empty() {
        assert!(Instant::now() < end);
        thread::yield_now();
    }
}

/// How many descriptors this process has.
fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// That there are so many descriptors and no children. The thread that waits for a server's end has two descriptors of it until
/// it has run.
#[track_caller]
fn nothing_is_left_but(before: usize, left: u64) {
    let now = || (descriptors(), process::active_children().len());
    let end = Instant::now() + LONG;
    while now() != (before, 0) {
        assert!(Instant::now() < end, "with {left} left: {:?} in place of {before} and 0", now());
        thread::yield_now();
    }
}

/// Takes all numbers of descriptors below the first one that is free from there on, which it tells.
fn fill() -> (Vec<fs::File>, u64) {
    let numbers = fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap().file_name());
    let highest: i32 = numbers.map(|name| name.to_str().unwrap().parse().unwrap()).max().unwrap();
    let mut files = Vec::new();
    loop {
        let file = fs::File::open("/dev/null").unwrap();
        match file.as_raw_fd() {
            number if number > highest => return (files, number as u64),
            _ => files.push(file),
        }
    }
}

/// One descriptor more at a time, until all is well: whatever the first thing is that finds none left.
fn no_descriptors_left(method: StartMethod) {
    // A server that is there, and one that is yet to begin, and has the limit too.
    for is_there in [true, false] {
        apart(|| {
            let value = Value::new(0_u64).unwrap();
            joined(&start(method, &value).unwrap()).unwrap();
            let (_files, lowest) = fill();
            let before = descriptors();
            let limit = getrlimit(Resource::Nofile);
            let (mut failed, mut worked) = (0, 0);
            for left in 0..20 {
                if !is_there {
                    end_server();
                }
                setrlimit(Resource::Nofile, Rlimit { current: Some(lowest + left), ..limit }).unwrap();
                let result = start(method, &value).and_then(|child| joined(&child));
                setrlimit(Resource::Nofile, limit).unwrap();
                match result {
                    Ok(_) => worked += 1,
                    Err(error) => {
                        says(&error, "Too many open files");
                        failed += 1;
                    }
                }
                joined(&start(method, &value).unwrap()).unwrap_or_else(|error| panic!("afterwards: {error}"));
                nothing_is_left_but(before, left);
            }
            assert!(failed > 0 && worked > 5, "{method:?}: {failed} {worked}");
        });
    }
}

/// A pool starts with all its workers, or with none of them.
fn no_descriptors_for_a_pool(method: StartMethod) {
    apart(|| {
        let start = || Pool::builder().workers(3).start_method(method).start();
        let works = |pool: &Pool| assert_eq!(pool.map(|x: u32| x, 0..50).unwrap(), (0..50).collect::<Vec<_>>());
        works(&start().unwrap());
        let (_files, lowest) = fill();
        let before = descriptors();
        let limit = getrlimit(Resource::Nofile);
        let (mut failed, mut worked) = (0, 0);
        for left in 0.. {
            if worked == 5 {
                break;
            }
            setrlimit(Resource::Nofile, Rlimit { current: Some(lowest + left), ..limit }).unwrap();
            let result = start();
            setrlimit(Resource::Nofile, limit).unwrap();
            match result {
                Ok(pool) => {
                    works(&pool);
                    worked += 1;
                }
                Err(error) => {
                    says(&error, "Too many open files");
                    failed += 1;
                }
            }
            nothing_is_left_but(before, left);
        }
        assert!(failed > 3, "{method:?}: {failed}");
        // One that has started, and cannot replace those that die: those that are left do all, or an error says why.
        let pool = start().unwrap();
        works(&pool);
        // What the dead give back is of no use: these numbers are taken.
        setrlimit(Resource::Nofile, Rlimit { current: Some(4), ..limit }).unwrap();
        let pids = pool.pids();
        kill(pids[0]);
        until(|| pool.pids().len() == 2);
        works(&pool);
        pids[1..].iter().for_each(|pid| kill(*pid));
        until(|| pool.pids().is_empty());
        says(&pool.map(|x: u32| x, 0..50).unwrap_err(), "Too many open files");
        setrlimit(Resource::Nofile, limit).unwrap();
        until(|| pool.pids().len() == 3);
        works(&pool);
    });
}

fn kill(pid: u32) {
    // SAFETY: takes numbers. A child that was not waited for.
    unsafe { libc::kill(pid as i32, libc::SIGKILL) };
}

fn until(condition: impl Fn() -> bool) {
    let end = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < end);
        thread::yield_now();
    }
}

/// A long result travels in a file: the child may be unable to make one, and the parent to take it.
fn no_descriptor_for_a_result(method: StartMethod) {
    fn long(has_none: bool) -> Vec<u8> {
        if has_none {
            let limit = getrlimit(Resource::Nofile);
            setrlimit(Resource::Nofile, Rlimit { current: Some(0), ..limit }).unwrap();
        }
        vec![7; 100_000]
    }
    let start = |has_none| {
        let builder = Process::builder(long).args((has_none,)).daemon(false);
        builder.start_method(method).start().unwrap()
    };
    apart(|| {
        let child = start(true);
        says(&joined(&child).unwrap_err(), "Too many open files");
        assert_eq!(child.exit_status(), Some(ExitStatus::Code(1)));

        let child = start(false);
        let (files, lowest) = fill();
        let limit = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: Some(lowest), ..limit }).unwrap();
        let results = [joined(&child), joined(&child)];
        setrlimit(Resource::Nofile, limit).unwrap();
        drop(files);
        for result in results.into_iter().chain([joined(&child)]) {
            says(&result.unwrap_err(), "too many open descriptors");
        }
        assert_eq!(child.exit_status(), Some(ExitStatus::Code(0)));
    });
}

#[track_caller]
fn says(error: &Error, what: &str) {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    let text = format!("{error}: {}", cause.unwrap_or_default());
    assert!(text.contains(what), "{text}");
}

/// One process more at a time. The limit is one of a user, and binds all but root.
fn no_processes_left(method: StartMethod) {
    if !scratch::is_root() {
        println!("skipped: without root this user's other processes count too");
        return;
    }
    apart(|| {
        become_somebody_else();
        let value = Value::new(0_u64).unwrap();
        joined(&start(method, &value).unwrap()).unwrap();
        end_server();
        let (limit, before) = (getrlimit(Resource::Nproc), descriptors());
        let (mut failed, mut worked) = (0, 0);
        for left in 0..5 {
            end_server();
            setrlimit(Resource::Nproc, Rlimit { current: Some(1 + left), ..limit }).unwrap();
            let result = start(method, &value).and_then(|child| joined(&child));
            setrlimit(Resource::Nproc, limit).unwrap();
            match result {
                Ok(_) => worked += 1,
                Err(error) => {
                    says(&error, "Resource temporarily unavailable");
                    failed += 1;
                }
            }
            joined(&start(method, &value).unwrap()).unwrap_or_else(|error| panic!("afterwards: {error}"));
            end_server();
            nothing_is_left_but(before, left);
        }
        // The thread that waits for the server's end is one to the kernel.
        let needed = if method == StartMethod::ForkServer { 3 } else { 1 };
        assert_eq!((failed, worked), (needed, 5 - needed), "{method:?}");
    });
}

/// The same of a pool.
fn no_processes_for_a_pool(method: StartMethod) {
    if !scratch::is_root() {
        println!("skipped: without root this user's other processes count too");
        return;
    }
    apart(|| {
        become_somebody_else();
        let start = || Pool::builder().workers(3).start_method(method).start();
        let works = |pool: &Pool| assert_eq!(pool.map(|x: u32| x, 0..50).unwrap(), (0..50).collect::<Vec<_>>());
        works(&start().unwrap());
        end_server();
        let (limit, before) = (getrlimit(Resource::Nproc), descriptors());
        let (mut failed, mut worked) = (0, 0);
        for left in 0..20 {
            setrlimit(Resource::Nproc, Rlimit { current: Some(1 + left), ..limit }).unwrap();
            // What a worker finds out when it is there is the error of its tasks.
            let result = start().and_then(|pool| pool.map(|x: u32| x, 0..50));
            setrlimit(Resource::Nproc, limit).unwrap();
            match result {
                Ok(_) => worked += 1,
                Err(error) => {
                    says(&error, "Resource temporarily unavailable");
                    failed += 1;
                }
            }
            until(|| process::active_children().is_empty());
            // A server has the limit from when it began.
            end_server();
            works(&start().unwrap());
            end_server();
            nothing_is_left_but(before, left);
        }
        assert!(failed > 2 && worked > 2, "{method:?}: {failed} {worked}");
    });
}

/// A user who has no other process.
fn become_somebody_else() {
    let user = 2_000_000_000 + id();
    // SAFETY: takes numbers; this process has one thread.
    assert_eq!(unsafe { libc::setresuid(user, user, user) }, 0);
    // Else `/proc/self` would be root's.
    // SAFETY: takes numbers.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1) }, 0);
}

/// Where the system has none, or does not let this process look.
fn without_proc(method: StartMethod) {
    if !scratch::is_root() {
        println!("skipped: only root may change what is mounted");
        return;
    }
    // A server that has begun before is where `/proc` still was.
    for has_begun in [true, false] {
        apart(|| {
            let value = Value::new(0_u64).unwrap();
            if has_begun {
                joined(&start(method, &value).unwrap()).unwrap();
            }
            // SAFETY: takes a number; this process has one thread.
            if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
                println!("skipped: no namespaces here");
                return;
            }
            mount(c"none", c"/", None, libc::MS_REC | libc::MS_PRIVATE);
            mount(c"none", c"/proc", Some(c"tmpfs"), 0);
            assert!(!Path::new("/proc/self").exists());
            let result = start(method, &value).and_then(|child| joined(&child));
            if method == StartMethod::ForkServer && has_begun {
                assert_eq!(result.unwrap(), 2);
            } else {
                says(&result.unwrap_err(), "/proc");
            }
            assert!(process::active_children().is_empty());
        });
    }
}

/// A child of which nothing can be seen is no dead one.
fn a_state_without_proc(method: StartMethod) {
    if !scratch::is_root() {
        println!("skipped: only root may change what is mounted");
        return;
    }
    apart(|| {
        let builder = Process::builder(|| thread::sleep(LONG)).start_method(method).daemon(true);
        let child = builder.start().unwrap();
        // SAFETY: takes a number; this process has one thread.
        if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
            println!("skipped: no namespaces here");
            return;
        }
        mount(c"none", c"/", None, libc::MS_REC | libc::MS_PRIVATE);
        mount(c"none", c"/proc", Some(c"tmpfs"), 0);
        assert_eq!(child.state(), State::Running);
        child.kill().unwrap();
        assert!(joined(&child).is_err());
        assert_eq!(child.state(), State::Terminated);
    });
}

fn mount(source: &std::ffi::CStr, target: &std::ffi::CStr, kind: Option<&std::ffi::CStr>, flags: libc::c_ulong) {
    let kind = kind.map_or(std::ptr::null(), std::ffi::CStr::as_ptr);
    // SAFETY: strings that end with zeros, or null where none is needed.
    let result = unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind, flags, std::ptr::null()) };
    assert_eq!(result, 0, "mount: {}", std::io::Error::last_os_error());
}

/// Tells this program that it runs from a copy of its file.
const ELSEWHERE: &str = "elsewhere";

/// `/proc/self/exe` leads to the file that runs, whatever its name leads to by now.
fn executable_becomes(change: fn(&Path)) {
    let folder = scratch::Folder::new();
    let copy = folder.join("copy");
    fs::copy(env::current_exe().unwrap(), &copy).unwrap();
    let ready = folder.join("ready");
    let program = Command::new(&copy).args([ELSEWHERE.as_ref(), ready.as_os_str()]).spawn().unwrap();
    let end = Instant::now() + LONG;
    while !ready.exists() {
        assert!(Instant::now() < end);
        thread::yield_now();
    }
    change(&copy);
    fs::remove_file(ready).unwrap();
    assert!(scratch::finish(program).status.success());
}

fn replace(path: &Path) {
    let other = path.with_extension("new");
    fs::copy("/bin/true", &other).unwrap();
    fs::rename(other, path).unwrap();
}

/// The other side of [`executable_becomes`]: waits for the change, and starts processes.
fn starts_of_another_executable() {
    let ready = env::args_os().nth(2).unwrap();
    fs::write(&ready, "").unwrap();
    let end = Instant::now() + LONG;
    while Path::new(&ready).exists() {
        assert!(Instant::now() < end);
        thread::yield_now();
    }
    let value = Value::new(0_u64).unwrap();
    for method in METHODS.into_iter().chain(METHODS) {
        joined(&start(method, &value).unwrap()).unwrap();
    }
    assert_eq!(value.get().unwrap(), 6);
}
