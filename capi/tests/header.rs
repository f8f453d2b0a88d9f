//! Whether `include/shmkit.h` is what cbindgen makes of `src/ffi`.
//!
//! `SHMKIT_WRITE_HEADER=1 cargo test --test header` writes it.

use std::{env, fs, path::Path};

/// In the order in which they are to be read.
const FILES: [&str; 18] = [
    "status",
    "wait",
    "types",
    "region",
    "lock",
    "rlock",
    "value",
    "array",
    "claim",
    "atomic_array",
    "rwlock",
    "semaphore",
    "bounded_semaphore",
    "condvar",
    "event",
    "barrier",
    "ring",
    "queue",
];

#[test]
fn is_current() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(package.join("cbindgen.toml")).unwrap();
    let sources = FILES.iter().fold(cbindgen::Builder::new(), |builder, file| {
        builder.with_src(package.join("../src/ffi").join(file).with_extension("rs"))
    });
    let mut made = Vec::new();
    sources.with_config(config).generate().unwrap().write(&mut made);
    let path = package.join("../include/shmkit.h");
    if env::var_os("SHMKIT_WRITE_HEADER").is_some() {
        fs::write(&path, &made).unwrap();
    }
    let found = fs::read(&path).unwrap_or_default();
    assert!(found == made, "include/shmkit.h is out of date: SHMKIT_WRITE_HEADER=1 cargo test --test header writes it");
}
