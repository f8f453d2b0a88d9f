//! The name by which programs find the shared library: with the number of the ABI, which `SHMKIT_ABI` has too.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libshmkit.so.0");
    // Threads that it has started run in it, and keys of the C library call it: dlclose leaves it where it is.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
