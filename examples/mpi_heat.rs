//! Heat that spreads over a plate which is too large for one machine: shared memory inside a node, messages between
//! nodes. Feature `mpi`.
//!
//! ```text
//! cargo build --release --features mpi --example mpi_heat
//! mpirun -n 4 target/release/examples/mpi_heat --nodes 2
//! mpirun -n 4 target/release/examples/mpi_heat --messages
//! mpirun -n 2 target/release/examples/mpi_heat --compare 5
//! srun --ntasks-per-node=32 target/release/examples/mpi_heat --size 16384
//! ```
//!
//! Each node has a stretch of the plate's rows in two arrays, with one row more above and one below: the neighbours'
//! last ones, or the plate's edge. Each rank has a slab of them. A step reads one array and writes the other. Then the
//! first rank of the node and the last one exchange their outer rows with the nodes beside them, from the arrays, into
//! the arrays; the others find what they need where it is. With `--messages` every rank is a node of its own in private
//! memory: what the same program is without shared memory.
//!
//! A step is a few microseconds where the plate is small, so the arrays are raw ones, with the barrier between steps as the
//! one rule of who may touch what. `heat`, the same in safe Rust, claims its rows.

#![expect(unsafe_code, reason = "rows of arrays that a barrier alone keeps the peace for")]

#[path = "heat/plate.rs"]
mod plate;

use std::{env, error::Error, mem, ops::Range, slice, time::Instant};

use lexopt::{Arg::Long, Arg::Short, Parser, ValueExt};
use shmkit::{
    RawArray,
    mpi::{
        NodeShared,
        rsmpi::{
            self,
            collective::SystemOperation,
            request,
            topology::{Rank, SimpleCommunicator},
            traits::*,
        },
    },
};

use plate::step_row;

const HELP: &str = "\
Simulates how heat spreads over a plate, with the ranks of an MPI program: those of a node share memory, and the nodes
send messages to each other. Rank 0 computes the same alone, and compares both bit by bit.

Usage: mpirun -n 4 target/release/examples/mpi_heat [OPTIONS]

Options:
    --size <N>              points along each side of the plate [default: 2048]
    --steps <N>             steps to simulate [default: 1000]
    --nodes <N>             have the ranks of one machine be so many nodes [default: one]
    --messages              no shared memory: messages between all neighbours
    --compare <N>           both ways, so many times in turn, and how they compare
    --unchecked             do not compute it alone first
    -h, --help              this text";

type Outcome<T> = Result<T, Box<dyn Error>>;

#[derive(Clone)]
struct Options {
    size: usize,
    steps: u64,
    nodes: i32,
    messages: bool,
    compare: usize,
    unchecked: bool,
}

fn main() {
    let universe = rsmpi::initialize().expect("nobody has started MPI before");
    let world = universe.world();
    let done = options().and_then(|options| options.map_or(Ok(()), |options| simulate(&world, &options)));
    if let Err(error) = done {
        eprintln!("mpi_heat: rank {}: {error}", world.rank());
        // The others would wait for this one.
        world.abort(1);
    }
}

/// What the user wants; `None` for the help, which is printed.
fn options() -> Outcome<Option<Options>> {
    let mut options = Options { size: 2048, steps: 1000, nodes: 1, messages: false, compare: 0, unchecked: false };
    let mut parser = Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("size") => options.size = parser.value()?.parse()?,
            Long("steps") => options.steps = parser.value()?.parse()?,
            Long("nodes") => options.nodes = parser.value()?.parse()?,
            Long("messages") => options.messages = true,
            Long("compare") => options.compare = parser.value()?.parse()?,
            Long("unchecked") => options.unchecked = true,
            Short('h') | Long("help") => {
                if env::var("OMPI_COMM_WORLD_RANK").is_ok_and(|rank| rank != "0") {
                    return Ok(None);
                }
                println!("{HELP}");
                return Ok(None);
            }
            _ => return Err(argument.unexpected().into()),
        }
    }
    if !(3..=30_000).contains(&options.size) || options.nodes < 1 {
        return Err("the plate has 3 to 30000 points along each side, and there is 1 node or more".into());
    }
    Ok(Some(options))
}

fn simulate(world: &SimpleCommunicator, options: &Options) -> Outcome<()> {
    let &Options { size, steps, nodes, messages, compare, unchecked } = options;
    let (rank, ranks) = (world.rank(), world.size());
    if 2 * ranks as usize > size - 2 || nodes > ranks {
        let inside = size - 2;
        return Err(
            format!("{ranks} ranks on {nodes} nodes for {inside} rows inside the plate: 2 for each at least").into()
        );
    }
    let node = NodeShared::by_color(world, rank * nodes / ranks)?;
    let start = plate::start(size);
    if rank == 0 {
        println!("a plate of {size} x {size} points, {steps} steps");
    }
    let alone = (rank == 0 && !unchecked).then(|| {
        let began = Instant::now();
        let alone = plate::simulate(&start, size, steps, |_| {});
        let seconds = began.elapsed().as_secs_f64();
        println!("1 rank, private memory: {seconds:.3} s");
        alone
    });
    if unchecked {
        world.barrier();
        if rank == 0 {
            println!("all ranks are at work");
        }
    }

    let mut times = [Vec::new(), Vec::new()];
    for round in 0..2 * compare.max(1) {
        // Both in turn, and the other one first in every second round.
        let messages = if compare > 0 { (round % 2 == 1) != (round % 4 >= 2) } else { messages };
        if compare == 0 && round > 0 {
            break;
        }
        let (part, mine) = match messages {
            false => by_shared_memory(world, &node, &start, options)?,
            true => by_messages(world, &node, &start, options)?,
        };
        // As long as the last one takes.
        let mut seconds = 0.0;
        world.all_reduce_into(&mine, &mut seconds, SystemOperation::max());
        let whole = gather(world, &start, part, size);
        if rank == 0 {
            let way = match (messages, node.nodes()) {
                (true, _) => "messages between all".into(),
                (false, 1) => "1 node, shared memory inside".into(),
                (false, nodes) => format!("{nodes} nodes, shared memory inside"),
            };
            println!("{ranks} ranks, {way}: {seconds:.3} s");
        }
        if let Some(alone) = &alone {
            let different = alone.iter().zip(&whole).filter(|(one, other)| one.to_bits() != other.to_bits()).count();
            if different > 0 {
                return Err(format!("{different} of {} points differ from those of one rank", alone.len()).into());
            }
        }
        times[usize::from(messages)].push(seconds);
    }
    if alone.is_some() {
        println!("all results are equal to the last bit");
    }
    if rank == 0 && compare > 0 {
        // Each against its neighbour in time: machines that others use too have fast and slow minutes.
        let ratios = times[0].iter().zip(&times[1]).map(|(shared, messages)| messages / shared).collect();
        let [shared, messages] = times.map(median);
        println!("medians of {compare}: shared memory {shared:.3} s, messages {messages:.3} s");
        println!("shared memory is {:.2} times as fast as messages, the median of the pairs", median(ratios));
    }
    Ok(())
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// The rows inside the plate that are the share of these ranks, which are counted node by node.
fn rows_of(ranks: Range<usize>, world: &SimpleCommunicator, size: usize) -> Range<usize> {
    let first = |rank| 1 + (size - 2) * rank / world.size() as usize;
    first(ranks.start)..first(ranks.end)
}

/// Seconds that the steps take, which begin together.
fn timed<T>(world: &SimpleCommunicator, steps: impl FnOnce() -> Outcome<T>) -> Outcome<(T, f64)> {
    world.barrier();
    let began = Instant::now();
    let value = steps()?;
    Ok((value, began.elapsed().as_secs_f64()))
}

/// Rows of the plate, as they are at the end, of those who are to send them.
struct Part {
    rows: Range<usize>,
    points: Vec<f64>,
}

/// Each node has its rows in shared memory, each rank a slab of them.
fn by_shared_memory(
    world: &SimpleCommunicator,
    node: &NodeShared,
    start: &[f64],
    &Options { size, steps, .. }: &Options,
) -> Outcome<(Option<Part>, f64)> {
    let (me, beside) = (node.node(), |other: Option<usize>| node.ranks_of(other?));
    let before: usize = (0..me).filter_map(|other| node.ranks_of(other)).map(<[_]>::len).sum();
    let plate_rows = rows_of(before..before + node.size(), world, size);
    // Where the row above them is, and behind the row below.
    let near = plate_rows.start - 1..plate_rows.end + 1;
    let fields = [node.raw_array::<f64>([near.len(), size])?, node.raw_array::<f64>([near.len(), size])?];
    let slab = node.rows_of(near.len(), node.rank())?;
    // What this rank alone changes, and what it reads of the last step: its rows, and one more on each side.
    let mine = slab.start.max(1)..slab.end.min(near.len() - 1);
    let seen = mine.start - 1..mine.end + 1;
    for field in &fields {
        // SAFETY: each rank writes its slab, and nobody reads before the barrier.
        let place = unsafe { rows_mut(field, &slab, size) };
        place.copy_from_slice(&start[(near.start + slab.start) * size..(near.start + slab.end) * size]);
    }
    node.barrier().wait()?;

    let above = beside(me.checked_sub(1)).map(|ranks| ranks[ranks.len() - 1]).filter(|_| slab.start == 0);
    let below = beside(me.checked_add(1)).map(|ranks| ranks[0]).filter(|_| slab.end == near.len());
    let (mut old, mut new) = (&fields[0], &fields[1]);
    let ((), seconds) = timed(world, || {
        for _ in 0..steps {
            // SAFETY: in a step each rank writes its slab of the new field, which nobody reads before the barrier at its end.
            let place = unsafe { rows_mut(new, &slab, size) };
            // SAFETY: nobody writes to the old field in this step: the barrier has ended the one in which it was the new one.
            let seen = unsafe { rows(old, &seen, size) };
            for (y, row) in place.chunks_exact_mut(size).skip(mine.start - slab.start).take(mine.len()).enumerate() {
                let near = |y: usize| &seen[y * size..(y + 1) * size];
                step_row(near(y), near(y + 1), near(y + 2), row);
            }
            // The array is the buffer of the messages.
            exchange(world, place, size, above, below);
            node.barrier().wait()?;
            mem::swap(&mut old, &mut new);
        }
        Ok(())
    })?;
    if node.rank() > 0 {
        return Ok((None, seconds));
    }
    // SAFETY: nobody writes after the last barrier.
    let points = unsafe { rows(old, &(1..near.len() - 1), size) }.to_vec();
    Ok((Some(Part { rows: plate_rows, points }), seconds))
}

/// Rows of `size` points each.
///
/// # Safety
///
/// Nobody in any process writes to them while the slice lives.
unsafe fn rows<'a>(field: &'a RawArray<f64>, rows: &Range<usize>, size: usize) -> &'a [f64] {
    assert!(rows.end * size <= field.len());
    // SAFETY: they lie in the array, just checked.
    let first = unsafe { field.as_ptr().add(rows.start * size) };
    // SAFETY: as above, the array lives as long as its handle, and the caller keeps writers away.
    unsafe { slice::from_raw_parts(first, rows.len() * size) }
}

/// As [`rows`], to be changed.
///
/// # Safety
///
/// Nobody else in any process reads or writes them while the slice lives.
#[expect(clippy::mut_from_ref, reason = "exclusiveness across processes is the caller's promise, not the borrow's")]
unsafe fn rows_mut<'a>(field: &'a RawArray<f64>, rows: &Range<usize>, size: usize) -> &'a mut [f64] {
    assert!(rows.end * size <= field.len());
    // SAFETY: they lie in the array, just checked.
    let first = unsafe { field.as_mut_ptr().add(rows.start * size) };
    // SAFETY: as above, and the caller keeps readers away too.
    unsafe { slice::from_raw_parts_mut(first, rows.len() * size) }
}

/// Each rank has its rows to itself.
fn by_messages(
    world: &SimpleCommunicator,
    node: &NodeShared,
    start: &[f64],
    &Options { size, steps, .. }: &Options,
) -> Outcome<(Option<Part>, f64)> {
    let order: Vec<Rank> = (0..node.nodes()).filter_map(|other| node.ranks_of(other)).flatten().copied().collect();
    let at = order.iter().position(|rank| *rank == world.rank()).ok_or("a rank of no node")?;
    let rows = rows_of(at..at + 1, world, size);
    let mut old = start[(rows.start - 1) * size..(rows.end + 1) * size].to_vec();
    let mut new = old.clone();
    let above = at.checked_sub(1).map(|at| order[at]);
    let below = order.get(at + 1).copied();
    let ((), seconds) = timed(world, || {
        for _ in 0..steps {
            for y in 1..=rows.len() {
                let row = |y: usize| &old[y * size..(y + 1) * size];
                step_row(row(y - 1), row(y), row(y + 1), &mut new[y * size..(y + 1) * size]);
            }
            exchange(world, &mut new, size, above, below);
            mem::swap(&mut old, &mut new);
        }
        Ok(())
    })?;
    let points = old[size..old.len() - size].to_vec();
    Ok((Some(Part { rows, points }), seconds))
}

/// Sends the outer rows to the neighbours that there are, and receives theirs beside them: of rows of `size` points the
/// first one is that of the rank above, the last one that of the rank below.
fn exchange(world: &SimpleCommunicator, rows: &mut [f64], size: usize, above: Option<Rank>, below: Option<Rank>) {
    let (their_last, rest) = rows.split_at_mut(if above.is_some() { size } else { 0 });
    let (mine, their_first) = rest.split_at_mut(rest.len() - if below.is_some() { size } else { 0 });
    let (first, last) = (&mine[..size], &mine[mine.len() - size..]);
    request::scope(|scope| {
        let sides = [(above, first, their_last), (below, last, their_first)];
        let requests = sides.map(|(rank, mine, theirs)| {
            let rank = world.process_at_rank(rank?);
            Some((rank.immediate_receive_into(scope, theirs), rank.immediate_send(scope, mine)))
        });
        for (received, sent) in requests.into_iter().flatten() {
            received.wait();
            sent.wait();
        }
    });
}

/// The whole plate, in rank 0.
fn gather(world: &SimpleCommunicator, start: &[f64], part: Option<Part>, size: usize) -> Vec<f64> {
    const WHERE: i32 = 1;
    const WHAT: i32 = 2;
    let root = world.process_at_rank(0);
    if world.rank() > 0 {
        if let Some(Part { rows, points }) = part {
            root.send_with_tag(&[rows.start as u64, rows.end as u64][..], WHERE);
            root.send_with_tag(&points[..], WHAT);
        }
        return Vec::new();
    }
    let mut whole = start.to_vec();
    let Part { rows, points } = part.expect("rank 0 is the first of its node");
    let mut missing = size - 2 - rows.len();
    whole[rows.start * size..rows.end * size].copy_from_slice(&points);
    while missing > 0 {
        let (rows, from) = world.any_process().receive_vec_with_tag::<u64>(WHERE);
        let rows = rows[0] as usize..rows[1] as usize;
        let place = &mut whole[rows.start * size..rows.end * size];
        world.process_at_rank(from.source_rank()).receive_into_with_tag(place, WHAT);
        missing -= rows.len();
    }
    whole
}
