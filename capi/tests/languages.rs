//! Programs in Fortran, Python and Rust that share memory. Each is skipped, with a word, where its language is missing.

mod support;

use std::{path::Path, process::Command, time::Duration};

use rust_shmkit::{Array, Error, Queue, Result, Ring};
use support::{compile_c, has, libraries, package, run, scratch};

/// A name that is removed again, also after a failure.
struct Name(String);

impl Name {
    fn new(test: &str) -> Self {
        Self(format!("shmkit-{test}-{}", std::process::id()))
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let _ = rust_shmkit::Region::unlink(&self.0);
    }
}

/// A script, by its path or as one of the examples.
fn python(script: impl AsRef<Path>, libraries: &Path) -> Command {
    let mut command = Command::new("python3");
    command.arg(package().join("../examples/python").join(script));
    command.env("SHMKIT_LIBRARY", libraries.join("libshmkit.so")).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

fn has_numpy() -> bool {
    let found = has("python3") && Command::new("python3").args(["-c", "import numpy"]).status().unwrap().success();
    if !found {
        eprintln!("skipped: there is no numpy");
    }
    found
}

#[test]
fn numpy_changes_what_rust_sees() -> Result<()> {
    if !has_numpy() {
        return Ok(());
    }
    let name = Name::new("numpy");
    let array = Array::<f64>::create(&name.0, [3, 4])?;
    array.lock()?.iter_mut().zip(1..).for_each(|(x, i)| *x = f64::from(i));
    let printed = run(python("scale.py", &libraries()).args([&name.0, "2"]));
    assert_eq!(printed, "float64 (3, 4), sum 156.0\n");
    assert_eq!(array.lock()?.row(1), [10.0, 12.0, 14.0, 16.0]);
    let printed = run(python("watch.py", &libraries()).arg(&name.0));
    assert_eq!(printed, "float64 (3, 4), from 2.0 to 24.0, writable: False\n");
    Ok(())
}

/// What NumPy has of a handle lasts as long as it has it; what a dead process left Python repairs too.
#[test]
fn python_recovers_and_closes() -> Result<()> {
    if !has_numpy() {
        return Ok(());
    }
    const SCRIPT: &str = "
import sys, gc, shmkit
view = shmkit.Array(sys.argv[1]).numpy[1:]
array = shmkit.Array(sys.argv[1])
try:
    with array.lock(timeout=60): print('not told')
except shmkit.Error as error:
    assert error.status == shmkit.POISONED, error
with array.recover(timeout=60) as elements:
    elements[0] = 7
with array.lock(timeout=60) as elements:
    gc.collect()
    print(elements[0], view[0], view.sum())
";
    let name = Name::new("repair");
    let array = Array::<i32>::create(&name.0, 5)?;
    array.lock()?[1] = 3;
    assert!(!python("die.py", &libraries()).arg(&name.0).status().unwrap().success());
    let script = scratch("repair").join("repair.py");
    std::fs::write(&script, SCRIPT).unwrap();
    let examples = package().join("../examples/python");
    let printed = run(python(&script, &libraries()).env("PYTHONPATH", examples).arg(&name.0));
    assert_eq!(printed, "7 3 3\n");
    assert_eq!(array.to_vec()?, [7, 3, 0, 0, 0]);
    Ok(())
}

#[test]
fn a_killed_python_poisons_and_rust_recovers() -> Result<()> {
    if !has_numpy() {
        return Ok(());
    }
    let name = Name::new("killed");
    let array = Array::<i32>::create(&name.0, 5)?;
    let mut child = python("die.py", &libraries()).arg(&name.0).spawn().unwrap();
    let pid = child.id();
    assert!(!child.wait().unwrap().success());
    match array.lock_timeout(Duration::from_secs(60)) {
        Err(Error::Poisoned { pid: Some(found), .. }) => assert_eq!(found, pid),
        other => panic!("{:?}", other.err()),
    }
    let mut guard = array.recover_timeout(Duration::from_secs(60))?;
    assert_eq!(guard[0], -1);
    guard[0] = 0;
    guard.clear_poison();
    drop(guard);
    assert_eq!(array.to_vec()?, [0; 5]);
    Ok(())
}

/// What a program in Fortran prints.
fn fortran(source: &str, printed: &str) {
    if !has("gfortran") {
        return;
    }
    let source = package().join(source).with_extension("f90");
    let example = source.file_stem().unwrap().to_str().unwrap();
    let (libraries, scratch, name) = (libraries(), scratch(example), Name::new(example));
    let program = scratch.join(example);
    let mut gfortran = Command::new("gfortran");
    gfortran.args(["-std=f2018", "-Wall", "-Wextra", "-Werror", "-g", "-J"]).arg(&scratch);
    gfortran.arg(package().join("../include/shmkit.f90"));
    gfortran.arg(&source).arg("-o").arg(&program).arg(format!("-L{}", libraries.display())).arg("-lshmkit");
    run(gfortran.arg(format!("-Wl,-rpath,{}", libraries.display())));
    assert_eq!(run(Command::new(program).arg(&name.0)), printed);
}

#[test]
fn fortran_has_the_same_array() {
    fortran("../examples/fortran/field", "shape 3 x 4, sum 26.0\nhistory of 12 numbers, the last 12.0\n");
}

#[test]
fn fortran_in_two_processes() {
    fortran("../examples/fortran/line", "numbers 100, sum 2525.0, said: all of them\n");
}

#[test]
fn fortran_has_what_the_examples_do_without() {
    fortran("tests/fortran/kinds", "all kinds\n");
}

/// The struct of `tests/c/peer/peer.c`.
#[derive(Debug, Clone, Copy, PartialEq, rust_shmkit::bytemuck::Pod, rust_shmkit::bytemuck::Zeroable)]
#[bytemuck(crate = "rust_shmkit::bytemuck")]
#[repr(C)]
struct Sample {
    weight: [f64; 3],
    id: u32,
    kind: u32,
}

const _: () = assert!(size_of::<Sample>() == 32 && align_of::<Sample>() == 8);

/// What Rust puts in, C takes out, changes and sends back: structs in rings, bytes in queues.
#[test]
fn c_and_rust_have_the_same_structs() -> Result<()> {
    let names = ["there", "back", "bytes"].map(Name::new);
    let there = Ring::<Sample>::create(&names[0].0, 3)?;
    let back = Ring::<Sample>::create(&names[1].0, 3)?;
    let bytes = Queue::<Vec<u8>>::create(&names[2].0)?;
    let peer = compile_c(&package().join("tests/c/peer/peer.c"), &scratch("peer"), &libraries());
    // A thread waits for it, also if this fails before; the peer ends itself.
    let mut peer = Command::new(peer).args(names.iter().map(|name| &name.0)).spawn().unwrap();
    let peer = std::thread::spawn(move || peer.wait().unwrap());
    for id in 0..20 {
        there.push_timeout(Sample { weight: [1.5, f64::from(id), -2.0], id, kind: 7 }, Duration::from_secs(60))?;
        let answer = back.pop_timeout(Duration::from_secs(60))?;
        assert_eq!(answer, Sample { weight: [3.0, 2.0 * f64::from(id), -4.0], id: id + 1, kind: 7 });
    }
    let message: Vec<u8> = (0..300_u32).map(|i| i as u8).collect();
    bytes.put_timeout(&message, Duration::from_secs(60))?;
    assert!(peer.join().unwrap().success());
    assert_eq!(bytes.get_timeout(Duration::from_secs(60))?, message.into_iter().rev().collect::<Vec<_>>());
    Ok(())
}
