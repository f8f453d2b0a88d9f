//! Whether `include/shmkit.h` is what cbindgen makes of `src/ffi`.
//!
//! `SHMKIT_WRITE_HEADER=1 cargo test --test header` writes it.

use std::{env, fs, path::Path};

/// In the order in which they are to be read.
const FILES: [&str; 21] = [
    "status",
    "wait",
    "types",
    "region",
    "lock",
    "rlock",
    "value",
    "array",
    "claim",
    "view",
    "atomic",
    "atomic_array",
    "rwlock",
    "semaphore",
    "bounded_semaphore",
    "condvar",
    "event",
    "barrier",
    "ring",
    "spsc",
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

/// Whether the functions of the Fortran module are those of the header, with as many arguments, and its numbers too.
#[test]
fn fortran_declares_the_same() {
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("../include");
    let read = |file| fs::read_to_string(include.join(file)).unwrap();
    let (header, module) = (read("shmkit.h"), read("shmkit.f90"));
    let header: String =
        header.lines().filter(|line| !line.trim().starts_with("//")).map(|line| line.to_owned() + "\n").collect();
    let arguments = |list: &str| list.split(',').filter(|argument| !matches!(argument.trim(), "" | "void")).count();
    let in_c = |name: &str| {
        let (_, rest) = header.split_once(&format!("{name}(")).unwrap_or_else(|| panic!("there is no {name}"));
        arguments(rest.split_once(");").unwrap().0)
    };
    let mut found = 0;
    for line in module.lines().filter(|line| line.contains("bind(C") && line.contains("function ")) {
        let (name, rest) = line.split_once("function ").unwrap().1.split_once('(').unwrap();
        let name = line.split_once("name=\"").map_or(name, |(_, name)| name.split_once('"').unwrap().0);
        assert_eq!(arguments(rest.split_once(')').unwrap().0), in_c(name), "{name}");
        found += 1;
    }
    assert!(found > 50, "{found} functions");
    let numbers: Vec<_> = module.split([',', ' ', '&', '\n']).filter(|word| word.starts_with("SHMKIT_")).collect();
    for name in numbers {
        let value = |text: &str| {
            let (_, rest) = text.split_once(&format!("{name} = "))?;
            rest.split(|c: char| !c.is_ascii_digit()).next().filter(|digits| !digits.is_empty()).map(String::from)
        };
        if let Some(expected) = value(&module) {
            assert_eq!(value(&header), Some(expected), "{name}");
        }
    }
}
