//! The libraries that C, Fortran and Python link: the functions of `include/shmkit.h`, which stand in `src/ffi` of shmkit.

// For its symbols.
use rust_shmkit as _;
