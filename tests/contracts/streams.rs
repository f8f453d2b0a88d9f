//! The standard streams of a process, however it was started: each test runs by the start method of the program that includes
//! this file.
//!
//! What needs streams of its own runs in a process of its own, the *speaker*, whose streams lead into pipes.

use std::{
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    os::fd::{FromRawFd, OwnedFd},
    process::id,
    sync::atomic::Ordering::SeqCst,
    thread,
    time::{Duration, Instant},
};

use shmkit::{
    AtomicArray, Error, Pool, Process, Result, Value,
    process::{self, ExitStatus, Message, Outcome, StartMethod, Stdio, Target},
};

use super::{LONG, Way, joined, sleep_for_ever, until, wait_for};
use crate::scratch::Folder;

/// Hands the names of all tests of this file to a macro.
macro_rules! for_each_stream_contract {
    ($run:ident) => {
        $run! {
            piped_streams,
            null_streams,
            streams_in_files,
            one_end_each,
            a_join_ends_the_input,
            the_end_of_a_scope_ends_the_input,
            a_normal_end_closes_the_ends_that_nobody_took,
            an_input_ends_though_other_children_live,
            more_than_a_pipe_holds,
            a_reader_that_is_gone,
            panics_are_told_where_the_errors_go,
            closed_streams_are_no_failure,
            closed_streams_of_the_parent,
            a_child_has_no_other_descriptors,
            lines_are_whole_and_have_names,
            lines_that_are_longer_than_any,
            lines_in_a_file,
            streams_of_a_pool,
            a_pool_whose_lines_nobody_reads,
            what_a_killed_child_has_written,
            a_grandchild_that_has_the_stream,
            lines_of_whom_nobody_joins,
            the_end_of_who_passes_lines_on,
            forks_beside_lines,
            a_reader_that_sleeps,
            a_shutdown_waits_for_no_reader,
        }
    };
}
pub(crate) use for_each_stream_contract;

fn builder<F, A>(target: F, args: A) -> process::Builder<F, A> {
    Process::builder(target).args(args).daemon(true).may_have_children(true)
}

/// Runs `target` in a process of its own, with streams that lead here: what it returned, and what it has written.
fn overhear<F, A>(target: F, args: A) -> (Result<<F::Outcome as Outcome>::Output>, String, String)
where
    F: Target<A>,
    A: Message,
{
    let speaker = builder(target, args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let speaker = speaker.start().unwrap();
    let output = text_of(speaker.take_stdout().unwrap());
    let errors = text_of(speaker.take_stderr().unwrap());
    (joined(&speaker), output, errors)
}

fn text_of(mut from: impl Read) -> String {
    let mut text = String::new();
    from.read_to_string(&mut text).unwrap();
    text
}

fn say(text: &str) {
    print!("{text}");
    io::stdout().flush().unwrap();
}

/// An answer of what it reads, to both.
fn shout() -> usize {
    let text = text_of(io::stdin());
    say(&text.to_uppercase());
    eprint!("{}", text.len());
    text.len()
}

pub(crate) fn piped_streams() {
    let child = builder(shout, ()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = child.start().unwrap();
    let mut into = child.take_stdin().unwrap();
    into.write_all(b"hello ").unwrap();
    into.write_all(b"you").unwrap();
    drop(into);
    assert_eq!(text_of(child.take_stdout().unwrap()), "HELLO YOU");
    assert_eq!(text_of(child.take_stderr().unwrap()), "9");
    assert_eq!(joined(&child).unwrap(), 9);
}

pub(crate) fn null_streams() {
    let child = builder(shout, ()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).start().unwrap();
    assert_eq!(joined(&child).unwrap(), 0);
    let links =
        || [0, 1, 2].map(|n| fs::read_link(format!("/proc/self/fd/{n}")).unwrap().display().to_string()).to_vec();
    let child = builder(links, ()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).start().unwrap();
    assert_eq!(joined(&child).unwrap(), ["/dev/null"; 3]);
}

pub(crate) fn streams_in_files() {
    let folder = Folder::new();
    let path = folder.join("both");
    fs::write(&path, "from a file").unwrap();
    let input = || fs::File::open(&path).unwrap();
    let mut output = fs::File::options().read(true).append(true).open(&path).unwrap();
    // Both to one file, one after the other; and the same again by a copy of the builder.
    let both = Stdio::from(output.try_clone().unwrap());
    let builder = builder(shout, ()).stdout(both.clone()).stderr(both);
    let builders = [builder.clone().stdin(input()), builder.stdin(input())];
    let mut expected = "from a file".to_owned();
    for builder in builders {
        assert_eq!(joined(&builder.start().unwrap()).unwrap(), expected.len());
        expected += &format!("{}{}", expected.to_uppercase(), expected.len());
        let mut text = String::new();
        io::Seek::rewind(&mut output).unwrap();
        output.read_to_string(&mut text).unwrap();
        assert_eq!(text, expected);
    }
}

pub(crate) fn one_end_each() {
    let child = builder(|| (), ()).stdin(Stdio::piped()).start().unwrap();
    assert!(child.take_stdout().is_none() && child.take_stderr().is_none());
    assert!(child.take_stdin().is_some() && child.take_stdin().is_none());
    joined(&child).unwrap();
    let child = builder(|| (), ()).start().unwrap();
    assert!(child.take_stdin().is_none());
    joined(&child).unwrap();
}

pub(crate) fn a_join_ends_the_input() {
    let child = builder(shout, ()).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).start().unwrap();
    assert_eq!(child.join().unwrap(), 0);
}

/// A handle may outlive the scope; what there is to be read stays there.
pub(crate) fn the_end_of_a_scope_ends_the_input() {
    let shouts = || builder(shout, ()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let (silent, loud) = process::scope(|scope| {
        let (silent, loud) = (scope.start(shouts()).unwrap(), scope.start(shouts()).unwrap());
        loud.take_stdin().unwrap().write_all(b"hello").unwrap();
        (silent, loud)
    })
    .unwrap();
    assert!(silent.take_stdin().is_none());
    assert_eq!((silent.join().unwrap(), loud.join().unwrap()), (0, 5));
    assert_eq!(text_of(silent.take_stdout().unwrap()), "");
    assert_eq!(text_of(loud.take_stdout().unwrap()), "HELLO");
}

/// Who waits for its children waits for none that waits for it.
pub(crate) fn a_normal_end_closes_the_ends_that_nobody_took() {
    type Seen = AtomicArray<u32>;
    fn reads(seen: Seen) {
        seen[0].store(1 + text_of(io::stdin()).len() as u32, SeqCst);
    }
    fn writes(seen: Seen) {
        let until_it_fails = |into: &mut dyn Write| while into.write_all(&[b'x'; 4096]).is_ok() {};
        until_it_fails(&mut io::stdout().lock());
        until_it_fails(&mut io::stderr());
        seen[1].store(1, SeqCst);
    }
    fn daemon(seen: Seen) {
        // SAFETY: SIG_IGN is a valid disposition.
        unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
        seen[3].store(1, SeqCst);
        text_of(io::stdin());
        seen[2].store(1, SeqCst);
    }
    fn parent(way: Way, forget: bool, seen: Seen) -> Result<()> {
        let reader = Process::builder(reads).args((seen.clone(),)).daemon(false).stdin(Stdio::piped()).start()?;
        let writer = Process::builder(writes).args((seen.clone(),)).daemon(false);
        let writer = writer.stdout(Stdio::piped()).stderr(Stdio::piped()).start()?;
        let daemon = Process::builder(daemon).args((seen.clone(),)).daemon(true).stdin(Stdio::piped()).start()?;
        until("the daemon does not listen", || seen[3].load(SeqCst) == 1);
        let kept = (reader, writer, daemon);
        if forget {
            std::mem::forget(kept);
        }
        // `exit` leaves them as they are.
        way.go()
    }
    for way in Way::ALL {
        for forget in [false, true] {
            let seen = Seen::zeros(4).unwrap();
            let ended = builder(parent, (way, forget, seen.clone())).stderr(Stdio::null()).start().unwrap();
            assert_eq!(joined(&ended).is_ok(), matches!(way, Way::Returns));
            assert_eq!(ended.exit_status(), Some(ExitStatus::Code(way.code())));
            assert_eq!(seen.to_vec(), [1; 4], "{way:?}, {forget}");
        }
    }
}

/// No other child may have this process's end of a pipe, or its reader would wait for that one too.
pub(crate) fn an_input_ends_though_other_children_live() {
    let child =
        || builder(shout, ()).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).start().unwrap();
    let children = [child(), child(), child()];
    let ends: Vec<_> = children.iter().map(|child| child.take_stdin().unwrap()).collect();
    for (child, end) in children.iter().zip(ends) {
        drop(end);
        assert_eq!(joined(child).unwrap(), 0);
    }
    // One whose reader is gone is told so, though others live.
    let writes = |go: Value<u8>| {
        wait_for(&go);
        io::stdout().write_all(b"nobody reads this").and_then(|()| io::stdout().flush()).is_err()
    };
    let go = Value::new(0_u8).unwrap();
    let first = builder(writes, (go.clone(),)).stdout(Stdio::piped()).start().unwrap();
    let lives = |ready: Value<u8>| -> Result<()> {
        ready.set(1)?;
        sleep_for_ever();
        Ok(())
    };
    let ready = Value::new(0_u8).unwrap();
    let second = builder(lives, (ready.clone(),)).start().unwrap();
    // A fork has copies until its function runs.
    wait_for(&ready);
    drop(first.take_stdout());
    go.set(1).unwrap();
    assert!(joined(&first).unwrap());
    second.kill().unwrap();
    assert!(joined(&second).is_err());
}

pub(crate) fn more_than_a_pipe_holds() {
    let writes = || print!("{}", "0123456789abcde\n".repeat(1 << 16));
    let child = builder(writes, ()).stdout(Stdio::piped()).start().unwrap();
    let from = child.take_stdout().unwrap();
    assert!(child.join_timeout(Duration::from_millis(20)).unwrap().is_none(), "it waits");
    assert_eq!(text_of(from).len(), 1 << 20);
    joined(&child).unwrap();
}

pub(crate) fn a_reader_that_is_gone() {
    let writes = || loop {
        println!("nobody reads this");
    };
    let child = builder(writes, ()).stdout(Stdio::piped()).stderr(Stdio::null()).start().unwrap();
    drop(child.take_stdout());
    assert!(matches!(joined(&child), Err(Error::Panicked { message, .. }) if message.contains("Broken pipe")));
    // And by the end of the handle, which has the end that nobody took.
    let (from, into) = io::pipe().unwrap();
    let child = builder(writes, ()).stdout(Stdio::piped()).stderr(into).start().unwrap();
    drop(child);
    assert!(text_of(from).contains("Broken pipe"));
}

pub(crate) fn panics_are_told_where_the_errors_go() {
    fn panics() {
        print!("said before");
        panic!("on purpose");
    }
    let (result, output, errors) = overhear(panics, ());
    assert!(matches!(result, Err(Error::Panicked { .. })));
    assert_eq!(output, "said before");
    let place = format!("panicked at {}:", file!());
    assert!(errors.contains("on purpose") && errors.contains(&place), "{errors}");
    let exits = || -> () {
        eprint!("a reason");
        std::process::exit(3)
    };
    let (result, _, errors) = overhear(exits, ());
    assert!(matches!(result, Err(Error::ChildDied { status, .. }) if status == "exit code 3"));
    assert_eq!(errors, "a reason");
}

pub(crate) fn closed_streams_are_no_failure() {
    fn closes() {
        close_all();
        println!("nobody reads this");
        print!("nor this");
        eprintln!("nor that");
    }
    for stdio in [Stdio::inherit, Stdio::null] {
        let child = builder(closes, ()).stdin(stdio()).stdout(stdio()).stderr(stdio()).start().unwrap();
        joined(&child).unwrap();
        assert_eq!(child.exit_status(), Some(ExitStatus::Code(0)));
    }
}

fn close_all() {
    for number in 0..3 {
        // SAFETY: nothing else in this process owns the standard streams; this one closes them once.
        drop(unsafe { OwnedFd::from_raw_fd(number) });
    }
}

/// Descriptors that are opened then have the numbers of the streams.
pub(crate) fn closed_streams_of_the_parent() {
    fn closes() -> Result<()> {
        close_all();
        // These take the numbers.
        let (from, mut into) = io::pipe().unwrap();
        let child = builder(shout, ()).stdin(from).stdout(Stdio::piped()).stderr(Stdio::piped()).start()?;
        into.write_all(b"hello").unwrap();
        drop(into);
        assert_eq!(text_of(child.take_stdout().unwrap()), "HELLO");
        assert_eq!(text_of(child.take_stderr().unwrap()), "5");
        joined(&child)?;
        // Crosswise.
        let (mut from_one, one) = io::pipe().unwrap();
        let (mut from_other, other) = io::pipe().unwrap();
        let child = builder(shout, ()).stdin(Stdio::piped()).stdout(other).stderr(one).start()?;
        child.take_stdin().unwrap().write_all(b"bye").unwrap();
        joined(&child)?;
        assert_eq!((text_of(&mut from_other), text_of(&mut from_one)), ("BYE".to_owned(), "3".to_owned()));
        // Lines that have nowhere to go.
        let child = builder(|| println!("nobody"), ()).prefix_lines(true).start()?;
        joined(&child)
    }
    let child = builder(closes, ()).start().unwrap();
    joined(&child).unwrap();
}

pub(crate) fn a_child_has_no_other_descriptors() {
    // A fork has all, and the ends of its parent's pipes that lead nowhere.
    if process::start_method() == StartMethod::Fork {
        return;
    }
    let count = || fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    // No daemon, whose watch over its parent opens a descriptor at a moment of its own.
    let plain = joined(&Process::spawn(count, ()).unwrap()).unwrap();
    let builder = Process::builder(count).stdin(Stdio::piped()).stdout(Stdio::piped()).prefix_lines(true);
    let children: Vec<_> = (0..3).map(|_| builder.clone().stderr(Stdio::null()).start().unwrap()).collect();
    for child in children {
        assert_eq!(joined(&child).unwrap(), plain);
    }
}

/// The lines of a child, each with its number, of many lengths.
fn speak(count: u32) {
    for n in 0..count {
        let length = if n % 50 == 7 { 5000 + n } else { n % 90 } as usize;
        println!("{n} {}", "x".repeat(length));
        if n % 10 == 0 {
            eprintln!("{n}");
        }
    }
    print!("no more");
}

pub(crate) fn lines_are_whole_and_have_names() {
    const LINES: u32 = 400;
    fn several() -> Result<()> {
        let names = ["one", "two", "three"];
        let children: Vec<_> = names
            .iter()
            .map(|name| builder(speak, (LINES,)).name(*name).prefix_lines(true).start())
            .collect::<Result<_>>()?;
        children.iter().try_for_each(joined)?;
        // After a join all is there, so this comes last.
        say("that was all\n");
        eprintln!("that was all");
        Ok(())
    }
    // Errors are few, so that their pipe takes them all.
    let (result, output, errors) = overhear(several, ());
    result.unwrap();
    let mut lines: Vec<_> = output.lines().collect();
    assert_eq!(lines.pop(), Some("that was all"));
    for name in ["one", "two", "three"] {
        let prefix = format!("{name}: ");
        let mine: Vec<_> = lines.extract_if(.., |line| line.starts_with(&prefix)).collect();
        for (n, line) in (0..LINES).zip(&mine) {
            let length = if n % 50 == 7 { 5000 + n } else { n % 90 } as usize;
            assert_eq!(*line, format!("{prefix}{n} {}", "x".repeat(length)));
        }
        assert_eq!(mine.last().copied(), Some(&*format!("{prefix}no more")));
        assert_eq!(mine.len(), LINES as usize + 1);
        let theirs: Vec<_> = errors.lines().filter_map(|line| line.strip_prefix(&prefix)).collect();
        assert!(theirs.iter().copied().eq((0..LINES).step_by(10).map(|n| n.to_string())), "{theirs:?}");
    }
    assert!(lines.is_empty(), "{lines:?}");
    assert!(errors.ends_with("that was all\n"));
}

pub(crate) fn lines_that_are_longer_than_any() {
    const LONGEST: usize = 1 << 20;
    fn long() -> Result<()> {
        joined(&builder(|| print!("{}", "x".repeat(LONGEST + 10)), ()).name("long").prefix_lines(true).start()?)
    }
    let (result, output, _) = overhear(long, ());
    result.unwrap();
    let lines: Vec<_> = output.lines().map(|line| line.strip_prefix("long: ").unwrap().len()).collect();
    assert_eq!(lines.iter().sum::<usize>(), LONGEST + 10);
    assert!(lines.len() == 2 && lines[0] >= LONGEST, "{lines:?}");
}

pub(crate) fn lines_in_a_file() {
    let (from, into) = io::pipe().unwrap();
    let says = |what: String| {
        println!("{what}");
        eprintln!("{what}");
    };
    let shown = builder(says, ("hello".to_owned(),)).name("n").stdout(into).stderr(Stdio::piped()).prefix_lines(true);
    let child = shown.start().unwrap();
    joined(&child).unwrap();
    assert_eq!(text_of(child.take_stderr().unwrap()), "hello\n", "what is piped is the reader's");
    let mut line = String::new();
    BufReader::new(from).read_line(&mut line).unwrap();
    assert_eq!(line, "n: hello\n");
}

pub(crate) fn streams_of_a_pool() {
    fn says(x: u32) -> usize {
        println!("{x}");
        eprint!("task ");
        eprintln!("{x}");
        if x == 7 {
            // The one that replaces it has the same streams.
            std::process::abort();
        }
        io::stdin().lock().read_line(&mut String::new()).unwrap()
    }
    /// The numbers behind the names.
    fn numbers(lines: &str, what: &str) -> Vec<u32> {
        let numbers = lines.lines().map(|line| {
            let (name, rest) = line.split_once(": ").unwrap();
            assert!(["pool-worker-1", "pool-worker-2"].contains(&name), "{line}");
            rest.strip_prefix(what).unwrap().parse().unwrap()
        });
        let mut numbers: Vec<_> = numbers.collect();
        numbers.sort_unstable();
        numbers
    }
    let folder = Folder::new();
    let [input, output] = ["input", "output"].map(|name| folder.join(name));
    fs::write(&input, "said").unwrap();
    let (mut errors, into) = io::pipe().unwrap();
    let builder = || Pool::builder().workers(2);
    let pool = builder()
        .stdin(fs::File::open(&input).unwrap())
        .stdout(fs::File::create(&output).unwrap())
        .stderr(into)
        .prefix_lines(true)
        .start()
        .unwrap();
    let results: Vec<_> = (0..20).map(|x| pool.apply(says, (x,))).collect();
    assert!(matches!(results[7], Err(Error::ChildDied { .. })));
    assert_eq!(results.iter().flatten().sum::<usize>(), 4, "one of them has read it");
    pool.close();
    pool.join().unwrap();
    drop(pool);
    let mut text = String::new();
    errors.read_to_string(&mut text).unwrap();
    assert_eq!(numbers(&text, "task "), (0..20).collect::<Vec<_>>());
    until("the lines have come", || fs::read_to_string(&output).unwrap().lines().count() == 20);
    assert_eq!(numbers(&fs::read_to_string(&output).unwrap(), ""), (0..20).collect::<Vec<_>>());
    let piped = [builder().stdin(Stdio::piped()), builder().stdout(Stdio::piped()), builder().stderr(Stdio::piped())];
    for builder in piped {
        assert!(matches!(builder.start(), Err(Error::InvalidArgument { .. })));
    }
}

/// A pool is terminated and dropped though its workers have written more than anybody reads.
pub(crate) fn a_pool_whose_lines_nobody_reads() {
    fn parent(writing: Value<u8>, over: Value<u8>) -> Result<()> {
        let writes = |writing: Value<u8>| -> Result<()> {
            writing.set(1)?;
            (0..10_000).for_each(|_| println!("{}", "x".repeat(99)));
            Ok(())
        };
        for is_dropped in [false, true] {
            let pool = Pool::builder().workers(2).prefix_lines(true).start()?;
            let tasks = [pool.submit(writes, (writing.clone(),))?, pool.submit(writes, (writing.clone(),))?];
            wait_for(&writing);
            assert!(tasks[0].get_timeout(Duration::from_millis(50)).unwrap_err().is_timed_out());
            if is_dropped {
                drop(pool);
            } else {
                pool.terminate();
            }
            assert!(tasks.iter().all(|task| matches!(task.get(), Err(Error::PoolClosed))));
            writing.set(0)?;
        }
        over.set(1)
    }
    let (writing, over) = (Value::new(0_u8).unwrap(), Value::new(0_u8).unwrap());
    let parent = builder(parent, (writing, over.clone())).stdout(Stdio::piped()).start().unwrap();
    // Less than a pool gives its workers whose end does not come.
    let deadline = Instant::now() + Duration::from_secs(8);
    while over.get().unwrap() == 0 && parent.is_alive() {
        assert!(Instant::now() < deadline, "it waits for a reader");
        thread::sleep(Duration::from_millis(2));
    }
    let lines = text_of(parent.take_stdout().unwrap());
    assert!(lines.lines().count() > 100);
    joined(&parent).unwrap();
}

pub(crate) fn what_a_killed_child_has_written() {
    fn half(go: Value<u8>) -> Result<()> {
        say("one\ntw");
        go.set(1)?;
        sleep_for_ever();
        Ok(())
    }
    fn kills() -> Result<()> {
        for _ in 0..20 {
            let go = Value::new(0_u8)?;
            let child = builder(half, (go.clone(),)).name("w").prefix_lines(true).start()?;
            wait_for(&go);
            child.kill()?;
            assert!(joined(&child).is_err());
            say("-\n");
        }
        Ok(())
    }
    let (result, output, _) = overhear(kills, ());
    result.unwrap();
    assert_eq!(output, "w: one\nw: tw\n-\n".repeat(20));
}

pub(crate) fn a_grandchild_that_has_the_stream() {
    /// What it starts outlives it, with its streams.
    #[expect(clippy::zombie_processes, reason = "it ends first")]
    fn leaves() {
        std::process::Command::new("sh").args(["-c", "read line; echo $line"]).spawn().unwrap();
        say("half");
    }
    fn middle() -> Result<()> {
        let child = builder(leaves, ()).name("w").stdin(Stdio::piped()).stderr(Stdio::piped()).prefix_lines(true);
        let child = child.start()?;
        let mut into = child.take_stdin().unwrap();
        // No hang, though somebody could write on.
        joined(&child)?;
        say("-\n");
        into.write_all(b"late\n").unwrap();
        assert_eq!(text_of(child.take_stderr().unwrap()), "", "the grandchild has ended");
        // Nobody joins it. But lines are passed on in turn: when those of a later child are, its are too.
        joined(&builder(|| (), ()).prefix_lines(true).start()?)
    }
    let (result, output, _) = overhear(middle, ());
    result.unwrap();
    assert_eq!(output, "w: half\n-\nw: late\n");
}

/// At a normal end children are waited for, and what they have written is passed on.
pub(crate) fn lines_of_whom_nobody_joins() {
    fn parent() -> Result<()> {
        for _ in 0..5 {
            let late = || {
                thread::sleep(Duration::from_millis(20));
                say("late, and without an end");
            };
            drop(Process::builder(late).name("w").prefix_lines(true).daemon(false).start()?);
        }
        Ok(())
    }
    let (result, output, _) = overhear(parent, ());
    result.unwrap();
    assert_eq!(output, "w: late, and without an end\n".repeat(5));
}

/// Writes until it cannot.
fn writes_on(told: Value<u32>) -> Result<()> {
    told.set(id())?;
    while io::stdout().write_all(b"on and on and on and on and on and on\n").is_ok() {}
    told.set(1)
}

pub(crate) fn the_end_of_who_passes_lines_on() {
    fn parent(told: Value<u32>) -> Result<()> {
        let child = Process::builder(writes_on).args((told,)).prefix_lines(true).daemon(false).start()?;
        joined(&child)
    }
    let told = Value::new(0_u32).unwrap();
    let parent = builder(parent, (told.clone(),)).stdout(Stdio::null()).start().unwrap();
    until("the child writes", || told.get().unwrap() > 1);
    parent.kill().unwrap();
    assert!(joined(&parent).is_err());
    until("the child was told", || told.get().unwrap() == 1);
}

/// The thread that passes lines on is no reason not to fork, and a fork has no part in its pipes.
pub(crate) fn forks_beside_lines() {
    fn parent(told: Value<u32>, go: Value<u8>) -> Result<()> {
        let child = Process::builder(writes_on).args((told.clone(),)).prefix_lines(true).daemon(false).start()?;
        until("the child writes", || told.get().unwrap() > 1);
        for n in 0..50_u32 {
            let fork = Process::fork(|| {
                println!("from a fork");
                n
            })?;
            assert_eq!(joined(&fork)?, n);
        }
        joined(&Process::fork(|| joined(&builder(|| println!("x"), ()).prefix_lines(true).start()?))?)?;
        // This one lives on.
        let fork = Process::fork(|| {
            go.set(1)?;
            until("it may end", || go.get().unwrap() == 2);
            Ok::<_, Error>(())
        })?;
        wait_for(&go);
        let _ = (joined(&child), joined(&fork));
        Ok(())
    }
    let (told, go) = (Value::new(0_u32).unwrap(), Value::new(0_u8).unwrap());
    // No daemon, for its forks would be too, and end with it.
    let parent = Process::builder(parent).args((told.clone(), go.clone())).daemon(false).stdout(Stdio::null());
    let parent = parent.start().unwrap();
    wait_for(&go);
    parent.kill().unwrap();
    assert!(joined(&parent).is_err());
    until("the child was told, though the fork lives", || told.get().unwrap() == 1);
    go.set(2).unwrap();
}

/// While nobody reads what they write, children wait; nothing else does.
pub(crate) fn a_reader_that_sleeps() {
    fn parent(go: Value<u8>) -> Result<()> {
        let writes = |lines: u32| (0..lines).for_each(|_| println!("{}", "x".repeat(99)));
        let child = builder(writes, (5_000,)).prefix_lines(true).start()?;
        assert!(child.join_timeout(Duration::from_millis(50))?.is_none());
        let errors = || eprintln!("not shown before the others are");
        let other = builder(errors, ()).prefix_lines(true).stdout(Stdio::null()).start()?;
        until("the other has ended", || !other.is_alive());
        assert!(other.join_timeout(Duration::from_millis(50))?.is_some(), "it has ended, and is not forgotten");
        joined(&builder(|| (), ()).stdout(Stdio::null()).start()?)?;
        joined(&Process::fork(|| ())?)?;
        go.set(1)?;
        joined(&child)?;
        joined(&other)
    }
    let go = Value::new(0_u8).unwrap();
    let parent = builder(parent, (go.clone(),)).stdout(Stdio::piped()).stderr(Stdio::null()).start().unwrap();
    wait_for(&go);
    let lines = text_of(parent.take_stdout().unwrap());
    assert_eq!(lines.lines().filter(|line| line.ends_with(&"x".repeat(99))).count(), 5_000);
    assert!(parent.join_timeout(LONG).unwrap().is_some());
}

pub(crate) fn a_shutdown_waits_for_no_reader() {
    fn parent(go: Value<u8>) -> Result<()> {
        let deaf = |ready: Value<u8>| -> Result<()> {
            // SAFETY: SIG_IGN is a valid disposition.
            unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
            ready.set(1)?;
            (0..10_000).for_each(|_| println!("{}", "x".repeat(99)));
            Ok(())
        };
        let ready = Value::new(0_u8)?;
        let child = builder(deaf, (ready.clone(),)).prefix_lines(true).start()?;
        wait_for(&ready);
        assert_eq!(child.shutdown(Duration::from_millis(50))?, ExitStatus::Signal(libc::SIGKILL));
        go.set(1)?;
        assert!(matches!(joined(&child), Err(Error::ChildDied { .. })));
        Ok(())
    }
    let go = Value::new(0_u8).unwrap();
    let parent = builder(parent, (go.clone(),)).stdout(Stdio::piped()).start().unwrap();
    wait_for(&go);
    assert!(text_of(parent.take_stdout().unwrap()).lines().count() > 100);
    joined(&parent).unwrap();
}
