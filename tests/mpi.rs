//! Ranks of MPI programs that share memory inside a node, and what those see who survive another one.
//!
//! Each test has `mpirun` start this program, whose ranks play their parts. Not under libtest, which would start MPI in
//! a thread. Feature `mpi`; needs Open MPI.

#![expect(unsafe_code, reason = "sets alarms, and kills its own process")]

mod alone;

use std::{
    collections::BTreeSet,
    env, fs,
    io::Read,
    os::unix::fs::MetadataExt,
    process::{self, Command, Stdio},
    sync::atomic::Ordering::SeqCst,
    thread,
    time::{Duration, Instant},
};

use shmkit::{
    Array, AtomicArray, AtomicValue, Error, Lock, Queue, Region, Result, Value,
    mpi::{
        NodeShared,
        rsmpi::{self, topology::SimpleCommunicator, traits::*},
    },
};

const TESTS: &[(&str, fn())] = &[
    ("ranks_of_a_node_have_everything_in_common", ranks_of_a_node_have_everything_in_common),
    (
        "nodes_are_split_by_colour_and_send_claims_to_each_other",
        nodes_are_split_by_colour_and_send_claims_to_each_other,
    ),
    ("what_fails_in_one_rank_is_told_to_all", what_fails_in_one_rank_is_told_to_all),
    ("the_death_of_a_rank_is_seen_by_the_others", the_death_of_a_rank_is_seen_by_the_others),
    ("a_rank_that_dies_before_it_arrives_is_a_party", a_rank_that_dies_before_it_arrives_is_a_party),
    ("a_job_that_ends_with_a_rank_leaves_nothing", a_job_that_ends_with_a_rank_leaves_nothing),
];

/// In the environment of a rank: its part.
const PART: &str = "SHMKIT_TEST_MPI";

/// No rank takes longer; `mpirun` gets a little more.
const RANK_SECONDS: u32 = 60;
const LONG: Duration = Duration::from_secs(90);

fn main() {
    let Ok(part) = env::var(PART) else { return alone::run(TESTS) };
    // SAFETY: takes a number. A rank that waits for ever ends by the signal.
    unsafe { libc::alarm(RANK_SECONDS) };
    let universe = rsmpi::initialize().expect("MPI is not running yet");
    let world = universe.world();
    let rank = world.rank();
    let played = match part.as_str() {
        "common" => common(&world),
        "colours" => colours(&world),
        "failures" => failures(&world),
        "deaths" => deaths(&world),
        "early-death" => early_death(&world),
        "end" => end(&world),
        other => panic!("no such part: {other}"),
    };
    match played {
        Ok(()) => println!("rank {rank}: ok"),
        Err(error) => {
            eprintln!("rank {rank}: {error}");
            world.abort(1);
        }
    }
}

/// What became of a job.
struct Job {
    code: Option<i32>,
    /// The ranks that have played their part to its end.
    done: BTreeSet<usize>,
    said: String,
}

/// Has so many ranks play a part.
fn job(part: &str, ranks: usize, options: &[&str]) -> Job {
    let mut command = Command::new("mpirun");
    command.arg("-n").arg(ranks.to_string()).args(options).arg(env::current_exe().unwrap());
    // Of Open MPI: also as root in a container, and on fewer processors than there are ranks.
    let settings = [
        ("OMPI_ALLOW_RUN_AS_ROOT", "1"),
        ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"),
        ("OMPI_MCA_rmaps_base_oversubscribe", "1"),
    ];
    let command = command.env(PART, part).envs(settings).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut mpirun = command.spawn().expect("mpirun of Open MPI is needed");
    let (mut out, mut err) = (mpirun.stdout.take().unwrap(), mpirun.stderr.take().unwrap());
    let read = |from: &mut dyn Read| {
        let mut text = Vec::new();
        from.read_to_end(&mut text).map(|_| String::from_utf8_lossy(&text).into_owned()).unwrap()
    };
    let (out, err, status) = thread::scope(|scope| {
        let (out, err) = (scope.spawn(|| read(&mut out)), scope.spawn(|| read(&mut err)));
        let end = Instant::now() + LONG;
        let status = loop {
            if let Some(status) = mpirun.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > end {
                // Its ranks end by their alarms.
                mpirun.kill().unwrap();
            }
            thread::sleep(Duration::from_millis(5));
        };
        (out.join().unwrap(), err.join().unwrap(), status)
    });
    let done = out.lines().filter_map(|line| line.strip_prefix("rank ")?.strip_suffix(": ok")?.parse().ok()).collect();
    Job { code: status.code(), done, said: format!("{status}\n{out}\n{err}") }
}

/// All ranks must play the part to its end.
fn succeed(part: &str, ranks: usize) {
    let job = job(part, ranks, &[]);
    assert!(job.code == Some(0) && job.done == (0..ranks).collect(), "{part}, {ranks} ranks: {}", job.said);
}

fn check(holds: bool, what: &str) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::Failed { message: what.into() }) }
}

fn ranks_of_a_node_have_everything_in_common() {
    for ranks in [1, 2, 4] {
        succeed("common", ranks);
    }
}

fn common(world: &SimpleCommunicator) -> Result<()> {
    const ROWS: usize = 1001;
    let node = NodeShared::new(world)?;
    check((node.nodes(), node.size(), node.rank()) == (1, world.size() as usize, world.rank() as usize), "one node")?;

    let field = node.array::<u64>([ROWS, 1000])?;
    let largest = fs::read_dir("/proc/self/fd").unwrap().flatten().filter_map(|entry| {
        let is_ours = fs::read_link(entry.path()).is_ok_and(|to| to.to_string_lossy().contains("memfd:shmkit"));
        is_ours.then(|| fs::metadata(entry.path()).ok()).flatten()
    });
    let largest = largest.max_by_key(MetadataExt::size).unwrap();
    check(largest.blocks() * 512 >= (ROWS * 8000) as u64, "the memory is there")?;
    let mine = node.slab(&field, node.rank())?;
    for (y, row) in field.claim_rows_mut(mine.clone())?.chunks_exact_mut(1000).enumerate() {
        row.fill((mine.start + y) as u64);
    }
    node.barrier().wait()?;
    let sum = (ROWS * (ROWS - 1) / 2 * 1000) as u64;
    check(field.claim(..)?.iter().sum::<u64>() == sum, "all slabs are filled")?;

    let region = node.share(|| Region::anonymous(1 << 16))?;
    let made_in = |name| if node.rank() == 0 { Value::new_in(&region, name, 0) } else { Value::open_in(&region, name) };
    // One after the other: who opens it must find it.
    let first = if node.rank() == 0 { Some(made_in("count")?) } else { None };
    node.barrier().wait()?;
    let count = first.map_or_else(|| made_in("count"), Ok)?;
    let (lock, largest) = node.share(|| Ok((Lock::new()?, Value::new(0_u32)?)))?;
    for _ in 0..1000 {
        let _held = lock.lock()?;
        let next = count.get()? + 1;
        count.set(next)?;
        largest.set(largest.get()?.max(next as u32))?;
    }
    node.barrier().wait()?;
    check(count.get()? == 1000 * node.size() as i32 && largest.get()? as i32 == count.get()?, "a count under a lock")?;
    // Nobody leaves while another one is still on its way out of the barrier.
    node.communicator().barrier();
    Ok(())
}

fn nodes_are_split_by_colour_and_send_claims_to_each_other() {
    for ranks in [2, 4] {
        succeed("colours", ranks);
    }
}

fn colours(world: &SimpleCommunicator) -> Result<()> {
    let (rank, size) = (world.rank(), world.size());
    // Neighbours together, and every second one.
    for (color, by) in [(rank * 2 / size, "blocks"), (rank % 2, "turns")] {
        let node = NodeShared::by_color(world, color)?;
        check(node.nodes() == 2 && node.size() as i32 == size / 2 && node.node() as i32 == color, by)?;
        check(node.ranks_of(node.node()).unwrap()[node.rank()] == rank && node.ranks_of(2).is_none(), by)?;

        let field = node.array::<f64>([10, 1 << 16])?;
        let mine = node.slab(&field, node.rank())?;
        field.claim_rows_mut(mine)?.fill(1.0 + f64::from(color));
        node.barrier().wait()?;
        if node.rank() == 0 {
            let other = world.process_at_rank(node.ranks_of(1 - node.node()).unwrap()[0]);
            let (last, mut first) = (field.claim_rows(9..)?, field.claim_rows_mut(..1)?);
            let (at, length) = (first.as_ptr(), first.len());
            rsmpi::point_to_point::send_receive_into(&last[..], &other, &mut first[..], &other);
            check((first.as_ptr(), first.len()) == (at, length), "in its place")?;
        }
        node.barrier().wait()?;
        let seen = field.claim(..)?;
        let (first, rest) = seen.split_at(1 << 16);
        check(first.iter().all(|x| *x == 2.0 - f64::from(color)), "what came from the other node")?;
        check(rest.iter().all(|x| *x == 1.0 + f64::from(color)), "what belongs to this one")?;
        // A guard as a buffer.
        let own = Array::<i64>::zeros(4)?;
        if rank == 0 {
            own.lock()?.copy_from_slice(&[1, 2, 3, 4]);
        }
        world.process_at_rank(0).broadcast_into(&mut own.lock()?[..]);
        check(own.to_vec()? == [1, 2, 3, 4], "a broadcast into a guard")?;
        drop(seen);
        node.communicator().barrier();
    }
    Ok(())
}

fn what_fails_in_one_rank_is_told_to_all() {
    succeed("failures", 2);
}

fn failures(world: &SimpleCommunicator) -> Result<()> {
    let error = NodeShared::by_color(world, if world.rank() == 1 { -7 } else { 0 }).unwrap_err();
    check(matches!(&error, Error::InvalidArgument { reason } if reason.contains("-7")), "a colour that is none")?;

    let node = NodeShared::new(world)?;
    let failed = node.share::<u8>(|| Err(Error::TooManyLocks { limit: 3 })).unwrap_err();
    check(matches!(failed, Error::TooManyLocks { limit: 3 }), "what the maker said")?;
    check(matches!(node.array::<u64>(1 << 62), Err(Error::InvalidSize { .. })), "a size that nothing has")?;
    check(matches!(node.array::<u64>(1 << 45), Err(Error::OutOfMemory { .. })), "more than the machine has")?;
    check(matches!(node.share(Queue::<u8>::new), Err(Error::Unsupported { .. })), "a queue's sockets")?;
    // All of it has left everything as it was.
    check(node.share(|| Ok(String::from("still there")))? == "still there", "after the failures")?;
    node.barrier().wait()?;
    node.communicator().barrier();
    Ok(())
}

/// Ends this process as a killer would.
fn die() -> ! {
    // SAFETY: a signal to this process.
    unsafe { libc::kill(process::id() as i32, libc::SIGKILL) };
    unreachable!("killed")
}

/// Ends this process when all survivors have come here: MPI's own end would wait for the dead.
fn leave(rank: i32, survivors: &AtomicValue<usize>, all: usize) -> ! {
    println!("rank {rank}: ok");
    survivors.fetch_add(1, SeqCst);
    while survivors.load(SeqCst) < all {
        thread::sleep(Duration::from_millis(1));
    }
    process::exit(0)
}

fn the_death_of_a_rank_is_seen_by_the_others() {
    let job = job("deaths", 4, &["--enable-recovery"]);
    assert_eq!(job.done, [0, 1, 3].into(), "{}", job.said);
}

/// The third one dies with a lock, a claim and others at the barrier.
fn deaths(world: &SimpleCommunicator) -> Result<()> {
    let node = NodeShared::new(world)?;
    let field = node.array::<f32>([4, 1000])?;
    let (lock, pids, survivors) = node.share(|| Ok((Lock::new()?, AtomicArray::zeros(4)?, AtomicValue::new(0)?)))?;
    pids[node.rank()].store(process::id(), SeqCst);
    node.barrier().wait()?;
    let victim = pids[2].load(SeqCst);
    if node.rank() == 2 {
        let (_held, mut mine) = (lock.lock()?, field.claim_rows_mut(2..3)?);
        mine.fill(1.0);
        while node.barrier().n_waiting() < 3 {
            thread::yield_now();
        }
        die();
    }
    let error = node.barrier().wait().unwrap_err();
    check(matches!(error, Error::BarrierBroken { pid: Some(pid) } if pid == victim), &error.to_string())?;
    match lock.lock() {
        // One of them repairs it.
        Err(Error::Poisoned { pid, .. }) if pid.is_none_or(|pid| pid == victim) => lock.recover()?.clear_poison(),
        Err(error) => return Err(error),
        Ok(_) => {}
    }
    field.claim_rows_mut(node.slab(&field, node.rank())?)?.fill(2.0);
    let error = field.claim_rows(2..3).unwrap_err();
    let is_told = matches!(&error, Error::Poisoned { pid: Some(pid), range: Some(range) }
        if *pid == victim && *range == (2000..3000));
    check(is_told, &error.to_string())?;
    leave(world.rank(), &survivors, 3)
}

fn a_rank_that_dies_before_it_arrives_is_a_party() {
    let job = job("early-death", 2, &["--enable-recovery"]);
    assert_eq!(job.done, [1].into(), "{}", job.said);
}

fn early_death(world: &SimpleCommunicator) -> Result<()> {
    let node = NodeShared::new(world)?;
    let (maker, survivors) = node.share(|| Ok((process::id(), AtomicValue::new(0)?)))?;
    if node.rank() == 0 {
        // The maker of all of it.
        die();
    }
    let error = node.barrier().wait().unwrap_err();
    check(matches!(error, Error::BarrierBroken { pid: Some(pid) } if pid == maker), &error.to_string())?;
    leave(world.rank(), &survivors, 1)
}

fn a_job_that_ends_with_a_rank_leaves_nothing() {
    let names = || fs::read_dir("/dev/shm").unwrap().flatten().map(|entry| entry.file_name()).collect::<BTreeSet<_>>();
    let before = names();
    let job = job("end", 2, &[]);
    assert!(job.code != Some(0) && job.done.is_empty(), "{}", job.said);
    let left: Vec<_> =
        names().difference(&before).filter(|name| name.to_string_lossy().contains("shmkit")).cloned().collect();
    assert!(left.is_empty(), "{left:?}");
}

fn end(world: &SimpleCommunicator) -> Result<()> {
    let node = NodeShared::new(world)?;
    let field = node.array::<u8>(1 << 20)?;
    if node.rank() == 1 {
        die();
    }
    let _all = field.lock()?;
    loop {
        thread::park();
    }
}
