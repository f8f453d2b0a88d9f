//! What a call costs from C, beside the same in Rust: `cargo bench`. In interleaved runs, by the fastest of each.

use std::{
    collections::BTreeMap, hint::black_box, path::Path, process::Command, sync::atomic::Ordering::SeqCst, time::Instant,
};

use rust_shmkit::{Array, AtomicValue, Lock, Ring, RwLock, Semaphore};

const CALLS: u32 = 200_000;
const ROUNDS: usize = 5;

fn measure(best: &mut BTreeMap<String, f64>, name: &str, mut call: impl FnMut()) {
    for _ in 0..40 {
        let start = Instant::now();
        for _ in 0..CALLS {
            call();
        }
        note(best, name, start.elapsed().as_nanos() as f64 / f64::from(CALLS));
    }
}

fn note(best: &mut BTreeMap<String, f64>, name: &str, nanoseconds: f64) {
    let found = best.entry(name.into()).or_insert(f64::INFINITY);
    *found = found.min(nanoseconds);
}

fn in_rust(best: &mut BTreeMap<String, f64>) -> rust_shmkit::Result<()> {
    let (lock, semaphore, ring) = (Lock::new()?, Semaphore::new(1)?, Ring::<u64>::with_capacity(64)?);
    let (array, rwlock) = (Array::<f64>::zeros(1000)?, RwLock::new(0.0)?);
    drop(array.claim_mut(0..10)?);
    measure(best, "lock, unlock", || drop(black_box(&lock).lock().unwrap()));
    measure(best, "array: lock, unlock", || drop(black_box(&array).lock().unwrap()));
    measure(best, "acquire, release", || {
        black_box(&semaphore).acquire().unwrap();
        black_box(&semaphore).release().unwrap();
    });
    measure(best, "ring: push, pop", || {
        black_box(&ring).push(black_box(1)).unwrap();
        black_box(black_box(&ring).pop().unwrap());
    });
    let (mut producer, mut consumer) = Ring::<u64>::spsc(64)?;
    measure(best, "two ends: push, pop", || {
        black_box(&mut producer).push(black_box(1)).unwrap();
        black_box(black_box(&mut consumer).pop().unwrap());
    });
    let atomic = AtomicValue::new(0_u64)?;
    measure(best, "fetch_add", || _ = black_box(black_box(&atomic).fetch_add(black_box(1), SeqCst)));
    measure(best, "read, end", || drop(black_box(&rwlock).read().unwrap()));
    measure(best, "claim, end", || drop(black_box(&array).claim_mut(0..10).unwrap()));
    Ok(())
}

fn main() {
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let libraries = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("release");
    let run = |command: &mut Command| {
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    run(Command::new(env!("CARGO")).args(["build", "--release", "--lib"]).current_dir(package));
    // The name by which programs look for it, as the installed one has it.
    let _ = std::os::unix::fs::symlink("libshmkit.so", libraries.join("libshmkit.so.0"));
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("calls");
    let mut cc = Command::new("cc");
    cc.args(["-O2", "-std=c11", "-I"]).arg(package.join("../include")).arg(package.join("benches/calls.c"));
    cc.arg("-o").arg(&program).arg(format!("-L{}", libraries.display())).arg("-lshmkit");
    run(cc.arg(format!("-Wl,-rpath,{}", libraries.display())));

    let (mut c, mut rust) = (BTreeMap::new(), BTreeMap::new());
    for _ in 0..ROUNDS {
        in_rust(&mut rust).unwrap();
        for line in run(&mut Command::new(&program)).lines() {
            let (name, nanoseconds) = line.rsplit_once(' ').unwrap();
            note(&mut c, name.trim(), nanoseconds.parse().unwrap());
        }
    }
    println!("{:<24} {:>8} {:>8} {:>8} {:>9}", "nanoseconds", "C", "Rust", "more", "each call");
    for (name, c) in c {
        let rust = rust.get(&name).copied().unwrap_or(0.0);
        // The names are lists of what is called.
        let calls = 1 + name.matches(',').count();
        println!("{name:<24} {c:>8.2} {rust:>8.2} {:>8.2} {:>9.2}", c - rust, (c - rust) / calls as f64);
    }
}
