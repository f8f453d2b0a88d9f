fn main() {
    let _ = shmkit::Array::<Vec<u8>>::zeros(4);
}
