//! Compiles what is in C++, if this machine has what that needs.

fn main() {
    boost();
}

/// Boost's queue of messages. `cfg(boost)` says that it is there.
fn boost() {
    const SOURCE: &str = "src/boost.cpp";
    const HEADER: &str = "/usr/include/boost/interprocess/ipc/message_queue.hpp";
    println!("cargo::rerun-if-changed={SOURCE}");
    let mut build = cc::Build::new();
    build.cpp(true).std("c++17").file(SOURCE);
    // As it is built to be fast.
    build.define("NDEBUG", None);
    // The preprocessor finds the headers, or there are none. An error in what it found is one.
    if build.try_expand().is_ok() {
        build.compile("peers_boost");
        println!("cargo::rustc-cfg=boost");
    } else {
        // Looked for again each time, for it is not there.
        println!("cargo::rerun-if-changed={HEADER}");
        println!("cargo::warning=Boost is left out: no C++ compiler, or no headers (Debian: g++, libboost-dev)");
    }
}
