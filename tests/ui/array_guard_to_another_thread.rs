fn main() {
    let array = shmkit::Array::<u8>::zeros(4).unwrap();
    let guard = array.lock().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| guard.len());
    });
}
