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
    let made = with_names(&String::from_utf8(made).unwrap());
    let path = package.join("../include/shmkit.h");
    if env::var_os("SHMKIT_WRITE_HEADER").is_some() {
        fs::write(&path, &made).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(found == made, "include/shmkit.h is out of date: SHMKIT_WRITE_HEADER=1 cargo test --test header writes it");
}

/// The names of the structs and enums stand where they begin too, so that other headers can name them without this one.
fn with_names(header: &str) -> String {
    let mut lines: Vec<String> = header.lines().map(String::from).collect();
    let mut begin = 0;
    for at in 0..lines.len() {
        if lines[at].starts_with("typedef ") && lines[at].ends_with(" {") {
            begin = at;
        } else if let Some(name) = lines[at].strip_prefix("} ").and_then(|rest| rest.strip_suffix(';')) {
            let named = lines[begin].replace('{', &format!("{name} {{"));
            lines[begin] = named;
        }
    }
    lines.join("\n") + "\n"
}

/// What an argument of C is in Fortran, and whether by value. Handles and other pointers can be a `type(c_ptr)` too.
fn in_fortran(argument: &str) -> (String, bool) {
    let words: Vec<_> = argument.split([' ', '*']).filter(|word| !matches!(*word, "" | "const")).collect();
    let kind = match words[0] {
        "size_t" => "integer(c_size_t)",
        "int32_t" | "uint32_t" => "integer(c_int32_t)",
        "int64_t" => "integer(c_int64_t)",
        "double" => "real(c_double)",
        "bool" => "logical(c_bool)",
        "char" => "character(kind=c_char)",
        "void" => "type(*)",
        known @ ("shmkit_wait" | "shmkit_type" | "shmkit_claim" | "shmkit_region_options") => {
            return (format!("type({known})"), !argument.contains('*'));
        }
        handle => {
            assert!(handle.starts_with("shmkit_") && argument.contains('*'), "{argument}");
            return ("type(c_ptr)".into(), !argument.contains("**"));
        }
    };
    let is_pointer = argument.contains("**");
    (if is_pointer { "type(c_ptr)" } else { kind }.into(), !argument.contains('*'))
}

/// Whether the functions of the Fortran module are those of the header, with the same arguments, and its numbers too.
#[test]
fn fortran_declares_the_same() {
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("../include");
    let read = |file| fs::read_to_string(include.join(file)).unwrap();
    let (header, module) = (read("shmkit.h"), read("shmkit.f90"));
    let header: String =
        header.lines().filter(|line| !line.trim().starts_with("//")).map(|line| line.to_owned() + "\n").collect();
    let list = |text: &str| -> Vec<String> {
        let arguments = text.split(',').map(|argument| argument.split_whitespace().collect::<Vec<_>>().join(" "));
        arguments.filter(|argument| !matches!(argument.as_str(), "" | "void")).collect()
    };
    let mut found = 0;
    let mut lines = module.lines();
    while let Some(line) = lines.next() {
        if !(line.contains("bind(C") && line.contains("function shmkit_")) {
            continue;
        }
        let (kind, rest) = line.split_once("function ").unwrap();
        let (name, rest) = rest.split_once('(').unwrap();
        let name = line.split_once("name=\"").map_or(name, |(_, name)| name.split_once('"').unwrap().0);
        let names = list(rest.split_once(')').unwrap().0);
        let (before, in_c) =
            header.split_once(&format!("{name}(")).unwrap_or_else(|| panic!("there is no {name} in the header"));
        let in_c = list(in_c.split_once(");").unwrap().0);
        assert_eq!(names.len(), in_c.len(), "{name}");
        if before.trim_end().ends_with("shmkit_status") {
            assert_eq!(kind.trim(), "integer(c_int)", "{name}");
        }
        let declarations: Vec<_> = lines.by_ref().take_while(|line| !line.contains("end function")).collect();
        for (argument, in_c) in names.iter().zip(in_c) {
            let is_it = |declared: &str| declared.trim().split('(').next() == Some(argument.as_str());
            let mut declared = declarations.iter().filter_map(|line| line.split_once("::"));
            let (declared, _) = declared
                .find(|(_, names)| names.split(',').any(is_it))
                .unwrap_or_else(|| panic!("{name}: {argument} is not declared"));
            let by_value = declared.contains("value");
            let kind = declared.split(", ").next().unwrap().trim();
            let expected = in_fortran(&in_c);
            let is_address = in_c.contains('*') && (kind, by_value) == ("type(c_ptr)", true);
            assert!(
                (kind.to_string(), by_value) == expected || is_address,
                "{name}, {argument}: {declared}, {expected:?}"
            );
        }
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
