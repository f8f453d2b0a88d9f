fn main() {
    let _ = shmkit::AtomicArray::<u128>::zeros(4);
}
