//! Programs in C: those in `tests/c`, which fail by their own checks and deadlines, and the examples.

mod support;

use std::process::Command;

use support::{compile_c, files, has, libraries, run, run_both, scratch};

#[test]
fn programs() {
    let (libraries, scratch) = (libraries(), scratch("c"));
    for source in files("tests/c", "c") {
        run(&mut Command::new(compile_c(&source, &scratch, &libraries)));
    }
}

/// No invalid access, in the programs and their children; and nothing lost where no fork leaves things of other threads.
#[test]
fn under_valgrind() {
    if !has("valgrind") {
        return;
    }
    let (libraries, scratch) = (libraries(), scratch("valgrind"));
    let sources = [files("tests/c", "c"), files("../examples/c", "c")].concat();
    for source in sources {
        let program = compile_c(&source, &scratch, &libraries);
        let mut valgrind = Command::new("valgrind");
        valgrind.args(["-q", "--error-exitcode=99"]);
        if source.ends_with("smoke.c") {
            valgrind.args(["--leak-check=full", "--show-leak-kinds=definite", "--errors-for-leak-kinds=definite"]);
        }
        let errors = run_both(valgrind.arg(program)).1;
        // Those of a child that is killed are in no exit status.
        assert!(!errors.lines().any(|line| line.starts_with("==")), "{errors}");
    }
}

#[test]
fn examples() {
    let (libraries, scratch) = (libraries(), scratch("examples"));
    let mut printed = String::new();
    for source in files("../examples/c", "c") {
        printed += &run(&mut Command::new(compile_c(&source, &scratch, &libraries)));
    }
    assert!(printed.contains("repaired: 100 + 0 = 100\n"), "{printed}");
    assert!(printed.contains("sum of 1000000 numbers by 4 processes: 499999500000\n"), "{printed}");
}

/// A program in C++, by the same header.
#[test]
fn header_in_cpp() {
    if !has("c++") {
        return;
    }
    const PROGRAM: &str = "#include <shmkit.h>
int main() {
    shmkit_lock *lock;
    if (shmkit_lock_create(nullptr, nullptr, &lock) != SHMKIT_OK) return 1;
    if (shmkit_lock_lock(lock, SHMKIT_TRY) != SHMKIT_OK || shmkit_lock_unlock(lock) != SHMKIT_OK) return 2;
    if (shmkit_lock_lock(lock, SHMKIT_FOREVER) != SHMKIT_OK || shmkit_lock_unlock(lock) != SHMKIT_OK) return 3;
    return shmkit_lock_close(lock);
}
";
    let (libraries, scratch) = (libraries(), scratch("cpp"));
    let (source, program) = (scratch.join("header.cpp"), scratch.join("header"));
    std::fs::write(&source, PROGRAM).unwrap();
    let include = support::package().join("../include");
    for standard in ["-std=c++11", "-std=c++17"] {
        let mut compiler = Command::new("c++");
        compiler
            .args([standard, "-Wall", "-Wextra", "-Werror", "-I"])
            .arg(&include)
            .arg(&source)
            .arg("-o")
            .arg(&program);
        compiler.arg(format!("-L{}", libraries.display())).arg("-lshmkit");
        run(compiler.arg(format!("-Wl,-rpath,{}", libraries.display())));
        run(&mut Command::new(&program));
    }
}
